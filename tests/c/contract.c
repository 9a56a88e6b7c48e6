/* The contract of every function that needs no model: NULLs, sizes, texts, outputs on failure. */
#include "small_volume.h"

#define GARBAGE(type) ((type *)(void *)&garbage)
static int garbage;

static const char *const BAD_UTF8 = "caf\xe9";

static void library(void) {
  int32_t status;
  CHECK(transunet_abi_version() == TRANSUNET_ABI_VERSION);
  {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", TRANSUNET_VERSION_MAJOR, TRANSUNET_VERSION_MINOR,
             TRANSUNET_VERSION_PATCH);
    CHECK(strcmp(transunet_version_string(), version) == 0);
  }
  CHECK(strcmp(transunet_status_name(TRANSUNET_STATUS_OK), "OK") == 0);
  CHECK(strcmp(transunet_status_name(TRANSUNET_STATUS_SERIES_CHOICE), "SERIES_CHOICE") == 0);
  for (status = -1000; status < 1000; status++) CHECK(transunet_status_name(status)[0] != 0);
  CHECK(strcmp(transunet_status_name(INT32_MIN), "UNKNOWN") == 0);
}

/* Releases and getters take NULL. */
static void null_handles(void) {
  size_t count = 7;
  transunet_error_free(NULL);
  transunet_text_free(NULL);
  transunet_runtime_free(NULL);
  transunet_cancel_free(NULL);
  transunet_model_free(NULL);
  transunet_volume_free(NULL);
  transunet_labelmap_free(NULL);
  CHECK(transunet_error_code(NULL) == TRANSUNET_STATUS_OK);
  CHECK(strcmp(transunet_error_message(NULL), "") == 0);
  CHECK(transunet_text_data(NULL) == NULL && transunet_text_size(NULL) == 0);
  CHECK(transunet_runtime_describe(NULL) == NULL);
  CHECK(transunet_model_describe(NULL) == NULL && transunet_model_label_count(NULL) == 0);
  CHECK(transunet_volume_describe(NULL) == NULL);
  CHECK(transunet_labelmap_describe(NULL) == NULL && transunet_labelmap_label_count(NULL) == 0);
  CHECK(transunet_labelmap_voxels(NULL, &count) == NULL && count == 0);
  CHECK(transunet_labelmap_voxels(NULL, NULL) == NULL);
  transunet_cancel_trigger(NULL);
  CHECK(transunet_cancel_is_triggered(NULL) == 0);
}

static void runtime(void) {
  transunet_runtime *out = GARBAGE(transunet_runtime);
  transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;

  REFUSED(transunet_runtime_create(NULL, NULL, &error), "out is NULL");
  CHECK(transunet_runtime_create(NULL, NULL, NULL) == TRANSUNET_STATUS_INVALID_ARGUMENT);

  options.struct_size = 0;
  REFUSED(transunet_runtime_create(&options, &out, &error), "options->struct_size is 0");
  CHECK(out == NULL);
  options.struct_size = sizeof options - 1;
  REFUSED(transunet_runtime_create(&options, &out, &error), "INIT");
}

static void runtime_options(void) {
  static const struct {
    const char *device;
    int32_t level;
    transunet_status status;
    const char *word;
  } cases[] = {
      {"gpu", 0, 100, "options->device: \"gpu\", expected auto, cpu, cuda:N"},
      {"cuda:", 0, 100, "options->device: \"cuda:\""},
      {"", 0, 100, "options->device: \"\""},
      {"\xff", 0, 100, "options->device"},
      {"cpu,cuda:0", 0, 100, "but cpu goes alone"},
      {"auto,cuda:0", 0, 100, "but auto goes alone"},
      {"cuda:1,cuda:1", 0, 100, "names cuda:1 twice"},
      {"cpu", 6, 100, "log_level is 6"},
      {"cpu", -1, 100, "log_level is -1"},
      {"cuda:4000000000", 0, 400, "cuda:4000000000"},
      {"cuda:4000000000,cuda:4000000001", 0, 400, "cuda:4000000000"},
  };
  size_t at;
  for (at = 0; at < sizeof cases / sizeof *cases; at++) {
    transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
    transunet_runtime *out = GARBAGE(transunet_runtime);
    options.device = cases[at].device;
    options.log_level = cases[at].level;
    FAILS(transunet_runtime_create(&options, &out, &error), cases[at].status, cases[at].word);
    CHECK(out == NULL);
  }
  {
    transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
    transunet_runtime *out = NULL;
    options.cpu_threads = 4000000000u;
    REFUSED(transunet_runtime_create(&options, &out, &error), "cpu_threads is 4000000000");
    options.cpu_threads = 0;
    options.device = "cpu";
    options.kernel_cache = "/dev/null/kernels";
    FAILS(transunet_runtime_create(&options, &out, &error), TRANSUNET_STATUS_IO, "/dev/null/kernels");
  }
}

/* A struct from a newer header: larger, with bytes that this library does not know. */
static void larger_structs(void) {
  struct {
    transunet_runtime_options options;
    char more[100];
  } newer = {TRANSUNET_RUNTIME_OPTIONS_INIT, {1}};
  struct {
    transunet_geometry geometry;
    char more[16];
  } wide = {TRANSUNET_GEOMETRY_INIT, "untouched"};
  transunet_runtime *runtime = NULL;
  transunet_volume *volume = small_volume(4);
  newer.options.struct_size = sizeof newer;
  newer.options.device = "cpu";
  SUCCEEDS(transunet_runtime_create(&newer.options, &runtime, &error));
  transunet_runtime_free(runtime);
  wide.geometry.struct_size = sizeof wide;
  SUCCEEDS(transunet_volume_geometry(volume, &wide.geometry, &error));
  CHECK(wide.geometry.struct_size == sizeof wide && wide.geometry.slices == 4);
  CHECK(strcmp(wide.more, "untouched") == 0);
  transunet_volume_free(volume);
}

static void runtime_describes_itself(void) {
  transunet_runtime *runtime = NULL;
  transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
  transunet_text *devices = NULL;
  const char *text;
  SUCCEEDS(transunet_runtime_create(NULL, &runtime, &error)); /* automatic choice never fails */
  text = transunet_runtime_describe(runtime);
  CHECK(strstr(text, "\"devices\":[") && strstr(text, "\"cpu_threads\":") && strstr(text, "\"version\":"));
  CHECK(strstr(text, "\"id\":\"cuda:0\"") || (strstr(text, "\"id\":\"cpu\"") && strstr(text, "\"fallback\":\"cuda:0: ")));
  CHECK(text == transunet_runtime_describe(runtime));
  transunet_runtime_free(runtime);

  options.device = "cpu";
  SUCCEEDS(transunet_runtime_create(&options, &runtime, &error));
  CHECK(strstr(transunet_runtime_describe(runtime), "\"id\":\"cpu\""));
  CHECK(strstr(transunet_runtime_describe(runtime), "\"fallback\":null"));
  transunet_runtime_free(runtime);

  SUCCEEDS(transunet_device_list(&devices, &error));
  text = transunet_text_data(devices);
  CHECK(text[0] == '[' && strstr(text, "\"id\":\"cpu\"") && strstr(text, "\"id\":\"cuda:0\""));
  CHECK(transunet_text_size(devices) == strlen(text));
  transunet_text_free(devices);
  REFUSED(transunet_device_list(NULL, &error), "out is NULL");
}

static void cancel(void) {
  transunet_cancel *cancel = NULL;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  transunet_text *list = GARBAGE(transunet_text);
  REFUSED(transunet_cancel_create(NULL, &error), "out is NULL");
  SUCCEEDS(transunet_cancel_create(&cancel, &error));
  CHECK(transunet_cancel_is_triggered(cancel) == 0);
  transunet_cancel_trigger(cancel);
  transunet_cancel_trigger(cancel);
  CHECK(transunet_cancel_is_triggered(cancel) == 1);

  control.cancel = cancel;
  FAILS(transunet_series_list(".", &control, &list, &error), TRANSUNET_STATUS_CANCELLED, "cancelled");
  CHECK(list == NULL);
  control.struct_size = sizeof(size_t);
  REFUSED(transunet_series_list(".", &control, &list, &error), "control->struct_size");
  transunet_cancel_free(cancel);
}

static void model(const transunet_runtime *runtime) {
  transunet_model *out = GARBAGE(transunet_model);
  transunet_model_options options = TRANSUNET_MODEL_OPTIONS_INIT;
  transunet_label_info info = TRANSUNET_LABEL_INFO_INIT;
  REFUSED(transunet_model_load(NULL, "m.safetensors", NULL, NULL, &out, &error), "runtime is NULL");
  CHECK(out == NULL);
  REFUSED(transunet_model_load(runtime, NULL, NULL, NULL, &out, &error), "model is NULL");
  REFUSED(transunet_model_load(runtime, "", NULL, NULL, &out, &error), "model is empty");
  REFUSED(transunet_model_load(runtime, BAD_UTF8, NULL, NULL, &out, &error), "model is not valid UTF-8");
  REFUSED(transunet_model_load(runtime, "m.safetensors", NULL, NULL, NULL, &error), "out is NULL");
  options.precision = 3;
  REFUSED(transunet_model_load(runtime, "m.safetensors", &options, NULL, &out, &error), "options->precision is 3");
  options.struct_size = 4;
  REFUSED(transunet_model_load(runtime, "m.safetensors", &options, NULL, &out, &error), "options->struct_size is 4");
  REFUSED(transunet_model_save(NULL, "m.safetensors", &error), "model is NULL");
  info.value = 9;
  REFUSED(transunet_model_label(NULL, 0, &info, &error), "model is NULL");
  CHECK(info.value == 0 && info.struct_size == sizeof info);
  REFUSED(transunet_model_label(NULL, 0, NULL, &error), "out is NULL");
  info.struct_size = 8;
  REFUSED(transunet_model_label(NULL, 0, &info, &error), "sizeof(transunet_label_info)");
}

static void volume_files(void) {
  transunet_volume *out = GARBAGE(transunet_volume);
  transunet_volume_options options = TRANSUNET_VOLUME_OPTIONS_INIT;
  transunet_text *list = GARBAGE(transunet_text);
  const char *paths[] = {"a.dcm", NULL, "c.dcm"};
  const char *bad[] = {BAD_UTF8};

  REFUSED(transunet_volume_open(NULL, NULL, NULL, &out, &error), "path is NULL");
  CHECK(out == NULL);
  REFUSED(transunet_volume_open("", NULL, NULL, &out, &error), "path is empty");
  REFUSED(transunet_volume_open(BAD_UTF8, NULL, NULL, &out, &error), "path is not valid UTF-8");
  REFUSED(transunet_volume_open("x", NULL, NULL, NULL, &error), "out is NULL");
  options.series = BAD_UTF8;
  REFUSED(transunet_volume_open("x", &options, NULL, &out, &error), "options->series is not valid UTF-8");
  options.series = "1.2.3";
  REFUSED(transunet_volume_open("x.nii.gz", &options, NULL, &out, &error), "is not DICOM");
  options.struct_size = 4;
  REFUSED(transunet_volume_open("x", &options, NULL, &out, &error), "options->struct_size is 4");

  REFUSED(transunet_volume_open_files(NULL, 1, NULL, NULL, &out, &error), "paths is NULL");
  REFUSED(transunet_volume_open_files(paths, 0, NULL, NULL, &out, &error), "count is 0");
  REFUSED(transunet_volume_open_files(paths, 3, NULL, NULL, &out, &error), "paths[1] is NULL");
  REFUSED(transunet_volume_open_files(bad, 1, NULL, NULL, &out, &error), "paths[0] is not valid UTF-8");
  REFUSED(transunet_volume_open_files(paths, 1, NULL, NULL, NULL, &error), "out is NULL");
  REFUSED(transunet_volume_open_files(paths, 1, &options, NULL, &out, &error), "options->struct_size is 4");
  CHECK(out == NULL);

  REFUSED(transunet_series_list(NULL, NULL, &list, &error), "path is NULL");
  CHECK(list == NULL);
  REFUSED(transunet_series_list("x", NULL, NULL, &error), "out is NULL");
}

static void plugin(const transunet_runtime *runtime) {
  transunet_text *list = GARBAGE(transunet_text);
  transunet_model *out = GARBAGE(transunet_model);
  const char *manifest = transunet_plugin_manifest();
  CHECK(strstr(manifest, "\"entry_point\":\"transunet_segment\"") && manifest == transunet_plugin_manifest());
  REFUSED(transunet_models_list("", &list, &error), "folder is empty");
  CHECK(list == NULL);
  REFUSED(transunet_models_list(NULL, NULL, &error), "out is NULL");
  FAILS(transunet_models_list("nowhere", &list, &error), TRANSUNET_STATUS_IO, "nowhere");
  SUCCEEDS(transunet_models_list(NULL, &list, &error));
  CHECK(strstr(transunet_text_data(list), "\"models\":["));
  transunet_text_free(list);
  REFUSED(transunet_model_load(runtime, "no-such-model", NULL, NULL, &out, &error), "neither a file nor an installed model");
  CHECK(out == NULL);
}

static void segment(void) {
  transunet_labelmap *out = GARBAGE(transunet_labelmap);
  transunet_volume *volume = small_volume(1);
  REFUSED(transunet_segment(NULL, volume, NULL, NULL, &out, &error), "model is NULL");
  CHECK(out == NULL);
  REFUSED(transunet_segment(NULL, volume, NULL, NULL, NULL, &error), "out is NULL");
  transunet_volume_free(volume);
}

static void labelmap(void) {
  transunet_labelmap *out = GARBAGE(transunet_labelmap);
  transunet_text *text = GARBAGE(transunet_text);
  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  transunet_label_info info = TRANSUNET_LABEL_INFO_INIT;
  uint8_t voxel = 0;
  REFUSED(transunet_labelmap_geometry(NULL, &geometry, &error), "labelmap is NULL");
  CHECK(geometry.spacing[0] == 0.0); /* zeroed, as on every failure */
  REFUSED(transunet_labelmap_geometry(NULL, NULL, &error), "out is NULL");
  REFUSED(transunet_labelmap_label(NULL, 0, &info, &error), "labelmap is NULL");
  REFUSED(transunet_labelmap_with_voxels(NULL, &voxel, 1, &out, &error), "labelmap is NULL");
  CHECK(out == NULL);
  REFUSED(transunet_labelmap_with_voxels(NULL, &voxel, 1, NULL, &error), "out is NULL");
  REFUSED(transunet_labelmap_statistics(NULL, NULL, &text, &error), "labelmap is NULL");
  CHECK(text == NULL);
  REFUSED(transunet_labelmap_write(NULL, "x.dcm", NULL, &error), "labelmap is NULL");
  REFUSED(transunet_labelmap_write_dicom_seg(NULL, "x.dcm", NULL, NULL, &error), "labelmap is NULL");
  REFUSED(transunet_labelmap_write_picture(NULL, "x.png", NULL, NULL, &error), "labelmap is NULL");
}

/* Errors outlive what they tell of, and the caller may do without them. */
static void errors(void) {
  transunet_error *first = NULL, *second = NULL;
  CHECK(transunet_volume_open(NULL, NULL, NULL, NULL, NULL) == TRANSUNET_STATUS_INVALID_ARGUMENT);
  CHECK(transunet_cancel_create(NULL, &first) == TRANSUNET_STATUS_INVALID_ARGUMENT);
  CHECK(transunet_model_save(NULL, NULL, &second) == TRANSUNET_STATUS_INVALID_ARGUMENT);
  CHECK(first != second && strcmp(transunet_error_message(first), transunet_error_message(second)) != 0);
  transunet_error_free(first);
  CHECK(transunet_error_code(second) == TRANSUNET_STATUS_INVALID_ARGUMENT);
  transunet_error_free(second);
}

int main(void) {
  transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
  transunet_runtime *cpu = NULL;
  options.device = "cpu";
  SUCCEEDS(transunet_runtime_create(&options, &cpu, &error));
  library();
  null_handles();
  runtime();
  runtime_options();
  larger_structs();
  runtime_describes_itself();
  cancel();
  plugin(cpu);
  model(cpu);
  volume_files();
  segment();
  labelmap();
  errors();
  transunet_runtime_free(cpu);
  return 0;
}
