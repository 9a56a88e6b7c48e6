/* dicom CT FOLDER-OF-SEVERAL TILTED: real series through the API. Run in an empty folder. */
#include "check.h"

struct watch {
  int events;
  int stop_at; /* 0 = never */
  uint64_t done;
  transunet_cancel *trigger;
};

static transunet_flow on_progress(const transunet_progress *event, void *user_data) {
  struct watch *watch = (struct watch *)user_data;
  CHECK(event->struct_size == sizeof *event && event->stage == TRANSUNET_STAGE_READ && event->epoch == 0);
  CHECK(event->total == 0 || event->done <= event->total);
  CHECK(event->done >= watch->done);
  CHECK(event->loss != event->loss && event->dice != event->dice); /* NaN: nothing is trained */
  watch->done = event->done;
  watch->events++;
  if (watch->trigger) {
    transunet_cancel_trigger(watch->trigger);
    transunet_cancel_free(watch->trigger); /* the running call keeps the flag */
    watch->trigger = NULL;
  }
  return watch->events == watch->stop_at ? TRANSUNET_FLOW_CANCEL : TRANSUNET_FLOW_CONTINUE;
}

static transunet_control watched(struct watch *watch) {
  transunet_control control = TRANSUNET_CONTROL_INIT;
  memset(watch, 0, sizeof *watch);
  control.on_progress = on_progress;
  control.user_data = watch;
  return control;
}

static void one_series(const char *folder) {
  struct watch watch;
  transunet_control control = watched(&watch);
  transunet_volume *volume = NULL;
  transunet_text *list = NULL;
  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  float *slice;
  size_t count, at;
  int differs = 0;

  SUCCEEDS(transunet_series_list(folder, &control, &list, &error));
  CHECK(strstr(transunet_text_data(list), "\"modality\":\"CT\"") && strstr(transunet_text_data(list), "\"series_uid\":\""));
  transunet_text_free(list);
  CHECK(watch.events > 0);

  control = watched(&watch);
  SUCCEEDS(transunet_volume_open(folder, NULL, &control, &volume, &error));
  CHECK(watch.events > 0);
  CHECK(strstr(transunet_volume_describe(volume), "\"modality\":\"CT\""));
  SUCCEEDS(transunet_volume_geometry(volume, &geometry, &error));
  CHECK(geometry.slices > 1 && geometry.spacing[2] > 0.0);
  count = (size_t)geometry.columns * geometry.rows;
  slice = (float *)malloc(count * sizeof *slice);
  CHECK(slice);
  SUCCEEDS(transunet_volume_read_slice(volume, geometry.slices / 2, slice, count, &error));
  for (at = 0; at < count; at++) {
    CHECK(slice[at] >= -32768.0f && slice[at] <= 65535.0f);
    if (slice[at] != slice[0]) differs = 1;
  }
  CHECK(differs);
  free(slice);
  transunet_volume_free(volume);
}

static void cancelled(const char *folder) {
  struct watch watch;
  transunet_control control = watched(&watch);
  transunet_volume *volume = (transunet_volume *)(void *)&watch;
  transunet_cancel *cancel = NULL;
  watch.stop_at = 1;
  FAILS(transunet_volume_open(folder, NULL, &control, &volume, &error), TRANSUNET_STATUS_CANCELLED, "cancelled");
  CHECK(volume == NULL && watch.events == 1);

  control = watched(&watch);
  SUCCEEDS(transunet_cancel_create(&cancel, &error));
  watch.trigger = cancel;
  control.cancel = cancel;
  FAILS(transunet_volume_open(folder, NULL, &control, &volume, &error), TRANSUNET_STATUS_CANCELLED, "cancelled");
  CHECK(volume == NULL && watch.events == 1);
}

static void refusals(const char *several, const char *tilted) {
  transunet_volume *volume = NULL;
  transunet_volume_options options = TRANSUNET_VOLUME_OPTIONS_INIT;
  const char *missing[] = {"missing.dcm"};
  const char *files[] = {"text"};
  FILE *file = fopen("text", "w");
  CHECK(file && fputs("not an image", file) >= 0 && fclose(file) == 0);
  file = fopen("bad.nrrd", "w");
  CHECK(file && fputs("NRRD0004\nnonsense\n", file) >= 0 && fclose(file) == 0);

#define OPEN(path) transunet_volume_open(path, &options, NULL, &volume, &error)
  FAILS(OPEN("missing"), TRANSUNET_STATUS_IO, "missing");
  FAILS(OPEN("missing.nii.gz"), TRANSUNET_STATUS_IO, "missing.nii.gz");
  FAILS(OPEN("text"), TRANSUNET_STATUS_DICOM_PARSE, "");
  FAILS(OPEN("bad.nrrd"), TRANSUNET_STATUS_VOLUME_FORMAT, "bad.nrrd");
  FAILS(OPEN(several), TRANSUNET_STATUS_SERIES_CHOICE, "series fit");
  options.tilt = "refuse";
  FAILS(OPEN(tilted), TRANSUNET_STATUS_DICOM_GEOMETRY, "gantry tilt");
  options.tilt = "straighten";
  REFUSED(OPEN(tilted), "expected keep, resample, refuse");
  options.tilt = "resample";
  SUCCEEDS(OPEN(tilted));
  transunet_volume_free(volume);
  volume = NULL;
  options.tilt = NULL;
  options.series = "1.2.3.4";
  FAILS(OPEN(several), TRANSUNET_STATUS_SERIES_CHOICE, "1.2.3.4");
  options.series = "modality";
  REFUSED(OPEN(several), "series choice");
#undef OPEN
  FAILS(transunet_volume_open_files(missing, 1, NULL, NULL, &volume, &error), TRANSUNET_STATUS_IO, "missing.dcm");
  FAILS(transunet_volume_open_files(files, 1, NULL, NULL, &volume, &error), TRANSUNET_STATUS_DICOM_PARSE, "");
  CHECK(volume == NULL);
}

int main(int count, char **arguments) {
  CHECK(count == 4);
  one_series(arguments[1]);
  cancelled(arguments[1]);
  refusals(arguments[2], arguments[3]);
  return 0;
}
