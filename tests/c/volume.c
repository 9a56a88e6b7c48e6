/* Volumes from the host's memory: every voxel type, geometry both ways, slices out. */
#include "small_volume.h"

static transunet_geometry grid(uint32_t columns, uint32_t rows, uint32_t slices) {
  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  geometry.columns = columns;
  geometry.rows = rows;
  geometry.slices = slices;
  return geometry;
}

/* Reads back the two voxels of a 2 x 1 x 1 volume. */
static void two(const void *voxels, size_t size, transunet_voxel_type type, float first, float second) {
  transunet_geometry geometry = grid(2, 1, 1);
  transunet_volume *volume = NULL;
  float out[2];
  SUCCEEDS(transunet_volume_from_memory(voxels, size, type, &geometry, &volume, &error));
  SUCCEEDS(transunet_volume_read_slice(volume, 0, out, 2, &error));
  CHECK(out[0] == first && out[1] == second);
  transunet_volume_free(volume);
}

static void voxel_types(void) {
  static const uint8_t u8[] = {0, 255};
  static const int8_t i8[] = {-128, 127};
  static const uint16_t u16[] = {0, 65535};
  static const int16_t i16[] = {-32768, 32767};
  static const uint32_t u32[] = {0, 16777216};
  static const int32_t i32[] = {-16777216, 7};
  static const float f32[] = {-0.5f, 1e30f};
  static const double f64[] = {-0.25, 1024.0};
  struct {
    char odd;
    char bytes[8];
  } unaligned = {0, {0}};
  two(u8, sizeof u8, TRANSUNET_VOXEL_U8, 0.0f, 255.0f);
  two(i8, sizeof i8, TRANSUNET_VOXEL_I8, -128.0f, 127.0f);
  two(u16, sizeof u16, TRANSUNET_VOXEL_U16, 0.0f, 65535.0f);
  two(i16, sizeof i16, TRANSUNET_VOXEL_I16, -32768.0f, 32767.0f);
  two(u32, sizeof u32, TRANSUNET_VOXEL_U32, 0.0f, 16777216.0f);
  two(i32, sizeof i32, TRANSUNET_VOXEL_I32, -16777216.0f, 7.0f);
  two(f32, sizeof f32, TRANSUNET_VOXEL_F32, -0.5f, 1e30f);
  two(f64, sizeof f64, TRANSUNET_VOXEL_F64, -0.25f, 1024.0f);
  memcpy(unaligned.bytes, f32, sizeof f32);
  two(unaligned.bytes, sizeof f32, TRANSUNET_VOXEL_F32, -0.5f, 1e30f);
}

static void refusals(void) {
  static const uint8_t voxels[24] = {0};
  transunet_geometry good = grid(4, 3, 2), bad;
  transunet_volume *out = NULL;
#define FROM(geometry, size, type) transunet_volume_from_memory(voxels, size, type, geometry, &out, &error)
  REFUSED(transunet_volume_from_memory(NULL, 24, TRANSUNET_VOXEL_U8, &good, &out, &error), "voxels is NULL");
  REFUSED(transunet_volume_from_memory(voxels, 24, TRANSUNET_VOXEL_U8, &good, NULL, &error), "out is NULL");
  REFUSED(FROM(NULL, 24, TRANSUNET_VOXEL_U8), "geometry is NULL");
  REFUSED(FROM(&good, 23, TRANSUNET_VOXEL_U8), "voxels_size is 23, expected 24");
  REFUSED(FROM(&good, 0, TRANSUNET_VOXEL_U8), "voxels_size is 0");
  REFUSED(FROM(&good, 24, TRANSUNET_VOXEL_F64), "voxels_size is 24, expected 192");
  REFUSED(FROM(&good, 24, 0), "voxel_type is 0");
  REFUSED(FROM(&good, 24, 99), "voxel_type is 99");
  bad = good;
  bad.struct_size = sizeof bad - 8;
  REFUSED(FROM(&bad, 24, TRANSUNET_VOXEL_U8), "geometry->struct_size");
  bad = grid(4, 0, 2);
  REFUSED(FROM(&bad, 24, TRANSUNET_VOXEL_U8), "has a zero");
  bad = grid(4294967295u, 4294967295u, 4294967295u);
  REFUSED(FROM(&bad, 24, TRANSUNET_VOXEL_U8), "too large");
  bad = good;
  bad.spacing[1] = 0.0;
  REFUSED(FROM(&bad, 24, TRANSUNET_VOXEL_U8), "spacing");
  bad = good;
  bad.origin[2] = 1e308 * 10.0;
  REFUSED(FROM(&bad, 24, TRANSUNET_VOXEL_U8), "origin");
  bad = good;
  bad.direction[0] = 0.0;
  REFUSED(FROM(&bad, 24, TRANSUNET_VOXEL_U8), "direction");
  bad = good;
  bad.direction[3] = 1.0;
  bad.direction[4] = 0.0;
  REFUSED(FROM(&bad, 24, TRANSUNET_VOXEL_U8), "not orthogonal");
  CHECK(out == NULL);
#undef FROM
}

static void geometry_both_ways(void) {
  static const float voxels[6] = {0};
  transunet_geometry in = grid(3, 2, 1), out = TRANSUNET_GEOMETRY_INIT;
  transunet_volume *volume = NULL;
  int at;
  /* Sagittal: columns to the back, rows to the feet, slices to the right. */
  const double axes[9] = {0, 1, 0, 0, 0, -1, -1, 0, 0};
  for (at = 0; at < 9; at++) in.direction[at] = axes[at];
  for (at = 0; at < 3; at++) in.spacing[at] = 0.5 + at, in.origin[at] = -10.25 * at;
  SUCCEEDS(transunet_volume_from_memory(voxels, sizeof voxels, TRANSUNET_VOXEL_F32, &in, &volume, &error));
  SUCCEEDS(transunet_volume_geometry(volume, &out, &error));
  CHECK(memcmp(&in, &out, sizeof in) == 0);
  CHECK(strstr(transunet_volume_describe(volume), "\"origin\":\"memory\""));
  CHECK(strstr(transunet_volume_describe(volume), "\"series\":null"));

  REFUSED(transunet_volume_geometry(NULL, &out, &error), "volume is NULL");
  CHECK(out.columns == 0 && out.direction[1] == 0.0 && out.struct_size == sizeof out);
  REFUSED(transunet_volume_geometry(volume, NULL, &error), "out is NULL");
  out.struct_size = sizeof out - 1;
  REFUSED(transunet_volume_geometry(volume, &out, &error), "out->struct_size");
  transunet_volume_free(volume);
}

static void slices(void) {
  transunet_volume *volume = small_volume(3);
  float out[6];
  int at;
  SUCCEEDS(transunet_volume_read_slice(volume, 2, out, 6, &error));
  for (at = 0; at < 6; at++) CHECK(out[at] == (float)(12 + at));
  REFUSED(transunet_volume_read_slice(NULL, 0, out, 6, &error), "volume is NULL");
  REFUSED(transunet_volume_read_slice(volume, 0, NULL, 6, &error), "out is NULL");
  REFUSED(transunet_volume_read_slice(volume, 3, out, 6, &error), "slice is 3, the volume has 3 slices");
  REFUSED(transunet_volume_read_slice(volume, 0, out, 5, &error), "count is 5, expected 6");
  transunet_volume_free(volume);
}

int main(void) {
  voxel_types();
  refusals();
  geometry_both_ways();
  slices();
  return 0;
}
