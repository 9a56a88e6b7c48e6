/* segment MODEL: a model file of 2 labels through every function of models, segmentation and label maps.
 * Run in an empty folder. */
#include <pthread.h>

#include "cpu.h"

enum { COLUMNS = 40, ROWS = 36, SLICES = 12, VOXELS = COLUMNS * ROWS * SLICES };

static int exists(const char *path) {
  FILE *file = fopen(path, "rb");
  return file && fclose(file) == 0;
}

/* A ramp with a bright box, as large as a small scan. */
static transunet_volume *scan(void) {
  static float voxels[VOXELS];
  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  transunet_volume *volume = NULL;
  int at;
  for (at = 0; at < VOXELS; at++) {
    int i = at % COLUMNS, j = at / COLUMNS % ROWS;
    voxels[at] = (float)(i + j) / 80.0f + (i > 10 && i < 25 && j > 8 && j < 20 ? 1.0f : 0.0f);
  }
  geometry.columns = COLUMNS;
  geometry.rows = ROWS;
  geometry.slices = SLICES;
  geometry.spacing[2] = 3.0;
  SUCCEEDS(transunet_volume_from_memory(voxels, sizeof voxels, TRANSUNET_VOXEL_F32, &geometry, &volume, &error));
  return volume;
}

static transunet_model *load(const char *path) {
  transunet_runtime *runtime = cpu();
  transunet_model *model = NULL;
  SUCCEEDS(transunet_model_load(runtime, path, NULL, NULL, &model, &error));
  transunet_runtime_free(runtime); /* a model needs no runtime */
  return model;
}

static void describes_itself(const char *path) {
  transunet_model *model = load(path);
  transunet_label_info info = TRANSUNET_LABEL_INFO_INIT;
  const char *text = transunet_model_describe(model);
  CHECK(strstr(text, "\"architecture\":") && strstr(text, "\"warnings\":") && strstr(text, "\"id\":\"cpu\""));
  CHECK(strstr(text, "\"precision\":\"f32\"") != NULL);
  CHECK(transunet_model_label_count(model) == 2);
  SUCCEEDS(transunet_model_label(model, 1, &info, &error));
  CHECK(info.value == 2 && info.name && info.name[0] && info.type.scheme && !info.region.value);
  REFUSED(transunet_model_label(model, 2, &info, &error), "index is 2, there are 2 labels");
  CHECK(info.value == 0 && info.name == NULL);
  transunet_model_free(model);
}

static void loads_and_saves(const char *path) {
  transunet_runtime *runtime = cpu();
  transunet_model *model = load(path), *copy = NULL;
  transunet_model_options options = TRANSUNET_MODEL_OPTIONS_INIT;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  transunet_cancel *cancel = NULL;
  FILE *file;
  SUCCEEDS(transunet_model_save(model, "copy.safetensors", &error));
  copy = load("copy.safetensors");
  CHECK(strcmp(transunet_model_describe(model), transunet_model_describe(copy)) == 0);
  transunet_model_free(copy);
  FAILS(transunet_model_save(model, "no/such/folder/copy.safetensors", &error), TRANSUNET_STATUS_IO, "no/such/folder");
  REFUSED(transunet_model_save(model, NULL, &error), "path is NULL");

  copy = model;
  FAILS(transunet_model_load(runtime, "missing.safetensors", NULL, NULL, &copy, &error), TRANSUNET_STATUS_IO, "missing");
  CHECK(copy == NULL);
  options.precision = TRANSUNET_PRECISION_F16;
  REFUSED(transunet_model_load(runtime, path, &options, NULL, &copy, &error), "does not compute in f16, expected f32");
  file = fopen("noise.safetensors", "w");
  CHECK(file && fputs("not a model at all", file) >= 0 && fclose(file) == 0);
  FAILS(transunet_model_load(runtime, "noise.safetensors", NULL, NULL, &copy, &error), TRANSUNET_STATUS_WEIGHTS_FORMAT, "noise");
  SUCCEEDS(transunet_cancel_create(&cancel, &error));
  transunet_cancel_trigger(cancel);
  control.cancel = cancel;
  FAILS(transunet_model_load(runtime, path, NULL, &control, &copy, &error), TRANSUNET_STATUS_CANCELLED, "cancelled");
  transunet_cancel_free(cancel);
  transunet_model_free(model);
  transunet_runtime_free(runtime);
}

struct watch {
  int events, stop_at;
  uint64_t last;
};

static transunet_flow on_progress(const transunet_progress *event, void *user_data) {
  struct watch *watch = (struct watch *)user_data;
  CHECK(event->total == 0 || event->done <= event->total);
  watch->events++;
  if (event->stage == TRANSUNET_STAGE_INFER) watch->last = event->done;
  return watch->events == watch->stop_at ? TRANSUNET_FLOW_CANCEL : TRANSUNET_FLOW_CONTINUE;
}

static void segments(const char *path) {
  transunet_model *model = load(path);
  transunet_volume *volume = scan();
  transunet_labelmap *labelmap = NULL;
  transunet_segment_options options = TRANSUNET_SEGMENT_OPTIONS_INIT;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  struct watch watch = {0, 0, 0};
  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  transunet_text *figures = NULL;
  const uint8_t *voxels;
  uint8_t slice[COLUMNS * ROWS];
  size_t count = 0, at;

  REFUSED(transunet_segment(model, NULL, NULL, NULL, &labelmap, &error), "volume is NULL");
  REFUSED(transunet_segment(model, volume, NULL, NULL, NULL, &error), "out is NULL");
  options.batch = (size_t)1 << 40;
  REFUSED(transunet_segment(model, volume, &options, NULL, &labelmap, &error), "options->batch");
  options.batch = 5;
  options.keep_probabilities = 2;
  REFUSED(transunet_segment(model, volume, &options, NULL, &labelmap, &error), "options->keep_probabilities is 2");
  options.keep_probabilities = 1;
  options.probabilities_path = "caf\xe9.nii.gz";
  REFUSED(transunet_segment(model, volume, &options, NULL, &labelmap, &error), "options->probabilities_path");
  options.probabilities_path = "p.nii.gz";
  control.on_progress = on_progress;
  control.user_data = &watch;
  SUCCEEDS(transunet_segment(model, volume, &options, &control, &labelmap, &error));
  CHECK(watch.events > 2 && watch.last == SLICES);
  CHECK(exists("p.nii.gz"));

  /* The label map needs neither. */
  transunet_model_free(model);
  transunet_volume_free(volume);
  voxels = transunet_labelmap_voxels(labelmap, &count);
  CHECK(count == VOXELS);
  for (at = 0; at < count; at++) CHECK(voxels[at] <= 2);
  SUCCEEDS(transunet_labelmap_read_slice(labelmap, 1, slice, sizeof slice, &error));
  CHECK(memcmp(slice, voxels + COLUMNS * ROWS, sizeof slice) == 0);
  REFUSED(transunet_labelmap_read_slice(labelmap, SLICES, slice, sizeof slice, &error), "the volume has");
  REFUSED(transunet_labelmap_read_slice(labelmap, 1, slice, sizeof slice - 1, &error), "count is");
  REFUSED(transunet_labelmap_read_slice(labelmap, 1, NULL, sizeof slice, &error), "out is NULL");
  REFUSED(transunet_labelmap_read_slice(NULL, 1, slice, sizeof slice, &error), "labelmap is NULL");
  SUCCEEDS(transunet_labelmap_geometry(labelmap, &geometry, &error));
  CHECK(geometry.columns == COLUMNS && geometry.rows == ROWS && geometry.spacing[2] == 3.0);
  SUCCEEDS(transunet_labelmap_statistics(labelmap, NULL, &figures, &error));
  transunet_text_free(figures);
  SUCCEEDS(transunet_labelmap_write(labelmap, "out.seg.nrrd", NULL, &error));
  SUCCEEDS(transunet_labelmap_write_picture(labelmap, "out.png", NULL, NULL, &error));
  REFUSED(transunet_labelmap_write(labelmap, "out.dcm", NULL, &error), "DICOM");
  transunet_labelmap_free(labelmap);
}

static void stops(const char *path) {
  transunet_model *model = load(path);
  transunet_volume *volume = scan();
  transunet_labelmap *labelmap = (transunet_labelmap *)(void *)&model;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  transunet_segment_options options = TRANSUNET_SEGMENT_OPTIONS_INIT;
  struct watch watch = {0, 2, 0};
  options.batch = 1;
  options.probabilities_path = "cancelled.nii.gz";
  control.on_progress = on_progress;
  control.user_data = &watch;
  FAILS(transunet_segment(model, volume, &options, &control, &labelmap, &error), TRANSUNET_STATUS_CANCELLED, "cancelled");
  CHECK(labelmap == NULL && watch.events == 2);
  CHECK(!exists("cancelled.nii.gz"));
  transunet_model_free(model);
  transunet_volume_free(volume);
}

struct job {
  const transunet_model *model;
  const transunet_volume *volume;
  const transunet_cancel *cancel;
  transunet_labelmap *labelmap;
  transunet_status status;
};

static void *work(void *shared) {
  struct job *job = (struct job *)shared;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  control.cancel = job->cancel;
  job->status = transunet_segment(job->model, job->volume, NULL, &control, &job->labelmap, NULL);
  while (job->cancel && job->status == TRANSUNET_STATUS_OK) { /* until the flag stops one */
    transunet_labelmap_free(job->labelmap);
    job->status = transunet_segment(job->model, job->volume, NULL, &control, &job->labelmap, NULL);
  }
  return NULL;
}

static void shared_by_threads(const char *path) {
  transunet_model *model = load(path);
  transunet_volume *volume = scan();
  transunet_cancel *cancel = NULL;
  struct job jobs[3];
  pthread_t threads[3];
  int at;
  SUCCEEDS(transunet_cancel_create(&cancel, &error));
  for (at = 0; at < 3; at++) {
    jobs[at].model = model;
    jobs[at].volume = volume;
    jobs[at].cancel = at == 2 ? cancel : NULL;
    jobs[at].labelmap = NULL;
    CHECK(pthread_create(&threads[at], NULL, work, &jobs[at]) == 0);
  }
  for (at = 0; at < 2; at++) CHECK(pthread_join(threads[at], NULL) == 0);
  transunet_cancel_trigger(cancel); /* the third runs on until now */
  CHECK(pthread_join(threads[2], NULL) == 0);
  CHECK(jobs[0].status == 0 && jobs[1].status == 0 && jobs[2].status == TRANSUNET_STATUS_CANCELLED);
  CHECK(jobs[2].labelmap == NULL);
  CHECK(memcmp(transunet_labelmap_voxels(jobs[0].labelmap, NULL), transunet_labelmap_voxels(jobs[1].labelmap, NULL),
               VOXELS) == 0);
  transunet_model_free(model);
  transunet_cancel_free(cancel);
  transunet_volume_free(volume);
  transunet_labelmap_free(jobs[0].labelmap);
  transunet_labelmap_free(jobs[1].labelmap);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  describes_itself(arguments[1]);
  loads_and_saves(arguments[1]);
  segments(arguments[1]);
  stops(arguments[1]);
  shared_by_threads(arguments[1]);
  return 0;
}
