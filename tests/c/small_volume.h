#ifndef SMALL_VOLUME_H
#define SMALL_VOLUME_H

#include "check.h"

/* A volume of 3 columns, 2 rows, `slices` slices with voxels 0, 1, 2, ... */
static transunet_volume *small_volume(uint32_t slices) {
  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  transunet_volume *volume = NULL;
  size_t count = (size_t)6 * slices, at;
  int16_t *voxels = (int16_t *)malloc(count * sizeof *voxels);
  CHECK(voxels);
  for (at = 0; at < count; at++) voxels[at] = (int16_t)at;
  geometry.columns = 3;
  geometry.rows = 2;
  geometry.slices = slices;
  SUCCEEDS(transunet_volume_from_memory(voxels, count * sizeof *voxels, TRANSUNET_VOXEL_I16, &geometry, &volume, &error));
  free(voxels); /* the library has copied them */
  CHECK(volume);
  return volume;
}

#endif
