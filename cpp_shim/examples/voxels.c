/* Segments voxels of the program's own, without a file in between: voxels MODEL
 * The image is a made-up one: an ellipsoid of tissue in air. */
#include <stdio.h>
#include <stdlib.h>
#include <transunet.h>

enum { COLUMNS = 64, ROWS = 64, SLICES = 8 };

static int16_t tissue(int i, int j, int k) {
  const double x = (i - 31.5) / 26, y = (j - 31.5) / 18, z = (k - 3.5) / 4;
  return x * x + y * y + z * z < 1.0 ? 60 : -1000; /* HU */
}

int main(int argc, char **argv) {
  transunet_geometry grid = TRANSUNET_GEOMETRY_INIT;
  transunet_error *error = NULL;
  transunet_runtime *runtime = NULL;
  transunet_model *model = NULL;
  transunet_volume *volume = NULL;
  transunet_labelmap *labelmap = NULL;
  int16_t *voxels = (int16_t *)malloc(COLUMNS * ROWS * SLICES * sizeof *voxels);
  size_t at = 0, count = 0, labelled = 0;
  int i, j, k, failed;
  if (argc != 2 || !voxels) {
    fprintf(stderr, "usage: %s MODEL\n", argv[0]);
    free(voxels);
    return 2;
  }
  /* Columns are fastest, then rows, then slices. */
  for (k = 0; k < SLICES; k++)
    for (j = 0; j < ROWS; j++)
      for (i = 0; i < COLUMNS; i++) voxels[at++] = tissue(i, j, k);
  grid.columns = COLUMNS;
  grid.rows = ROWS;
  grid.slices = SLICES;
  grid.spacing[0] = grid.spacing[1] = 5.6; /* mm */
  grid.spacing[2] = 6.0;

  if (transunet_runtime_create(NULL, &runtime, &error) == TRANSUNET_STATUS_OK &&
      transunet_model_load(runtime, argv[1], NULL, NULL, &model, &error) == TRANSUNET_STATUS_OK &&
      transunet_volume_from_memory(voxels, at * sizeof *voxels, TRANSUNET_VOXEL_I16, &grid, &volume, &error) ==
          TRANSUNET_STATUS_OK &&
      transunet_segment(model, volume, NULL, NULL, &labelmap, &error) == TRANSUNET_STATUS_OK) {
    const uint8_t *labels = transunet_labelmap_voxels(labelmap, &count);
    for (at = 0; at < count; at++) labelled += labels[at] != 0;
    printf("%lu of %lu voxels have a label\n", (unsigned long)labelled, (unsigned long)count);
  }
  if (error) fprintf(stderr, "%s: %s\n", transunet_status_name(transunet_error_code(error)), transunet_error_message(error));

  transunet_labelmap_free(labelmap);
  transunet_volume_free(volume);
  transunet_model_free(model);
  transunet_runtime_free(runtime);
  free(voxels);
  failed = error != NULL;
  transunet_error_free(error);
  return failed;
}
