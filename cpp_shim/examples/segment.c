/* Segments an image and prints the volume of every label: segment MODEL IMAGE OUTPUT
 *   MODEL   a bundle, a checkpoint, or the id of a model that comes with TransUNet, such as phantom
 *   IMAGE   a DICOM folder, or a .nrrd, .nii or .nii.gz file
 *   OUTPUT  its name says the format: .dcm (DICOM SEG), .seg.nrrd, .nrrd, .nii, .nii.gz */
#include <stdio.h>
#include <transunet.h>

static transunet_flow show(const transunet_progress *event, void *user_data) {
  (void)user_data;
  if (event->stage == TRANSUNET_STAGE_INFER)
    fprintf(stderr, "\rslice %u of %u", (unsigned)event->done, (unsigned)event->total);
  return TRANSUNET_FLOW_CONTINUE;
}

int main(int argc, char **argv) {
  transunet_control control = TRANSUNET_CONTROL_INIT;
  transunet_error *error = NULL;
  transunet_runtime *runtime = NULL;
  transunet_model *model = NULL;
  transunet_volume *volume = NULL;
  transunet_labelmap *labels = NULL;
  transunet_text *statistics = NULL;
  int failed;
  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL IMAGE OUTPUT\n", argv[0]);
    return 2;
  }
  if (transunet_abi_version() >> 16 != TRANSUNET_ABI_VERSION >> 16 || transunet_abi_version() < TRANSUNET_ABI_VERSION) {
    fprintf(stderr, "libtransunet %s is too old for this program\n", transunet_version_string());
    return 1;
  }
  control.on_progress = show;
  if (transunet_runtime_create(NULL, &runtime, &error) == TRANSUNET_STATUS_OK &&
      transunet_model_load(runtime, argv[1], NULL, NULL, &model, &error) == TRANSUNET_STATUS_OK &&
      transunet_volume_open(argv[2], NULL, NULL, &volume, &error) == TRANSUNET_STATUS_OK &&
      transunet_segment(model, volume, NULL, &control, &labels, &error) == TRANSUNET_STATUS_OK &&
      transunet_labelmap_write(labels, argv[3], NULL, &error) == TRANSUNET_STATUS_OK &&
      transunet_labelmap_statistics(labels, NULL, &statistics, &error) == TRANSUNET_STATUS_OK)
    printf("%s\n", transunet_text_data(statistics));
  if (error) fprintf(stderr, "%s: %s\n", transunet_status_name(transunet_error_code(error)), transunet_error_message(error));
  else fprintf(stderr, "\n");

  /* Freeing NULL does nothing. */
  transunet_text_free(statistics);
  transunet_labelmap_free(labels);
  transunet_volume_free(volume);
  transunet_model_free(model);
  transunet_runtime_free(runtime);
  failed = error != NULL;
  transunet_error_free(error);
  return failed;
}
