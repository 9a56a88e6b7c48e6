/* Several threads share handles, cancel, and log; handles are freed in any order. */
#include <pthread.h>

#include "small_volume.h"

enum { THREADS = 4, ROUNDS = 200, SLICES = 16 };

static void *read_slices(void *shared) {
  const transunet_volume *volume = (const transunet_volume *)shared;
  int round;
  for (round = 0; round < ROUNDS; round++) {
    uint32_t slice = (uint32_t)round % SLICES;
    float out[6];
    transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
    SUCCEEDS(transunet_volume_read_slice(volume, slice, out, 6, &error));
    CHECK(out[5] == (float)(6 * slice + 5));
    SUCCEEDS(transunet_volume_geometry(volume, &geometry, &error));
    CHECK(geometry.slices == SLICES && strlen(transunet_volume_describe(volume)) > 10);
    REFUSED(transunet_volume_read_slice(volume, SLICES, out, 6, &error), "slices"); /* errors do not mix */
  }
  return NULL;
}

static void shared_volume(void) {
  transunet_volume *volume = small_volume(SLICES);
  pthread_t threads[THREADS];
  int at;
  for (at = 0; at < THREADS; at++) CHECK(pthread_create(&threads[at], NULL, read_slices, volume) == 0);
  for (at = 0; at < THREADS; at++) CHECK(pthread_join(threads[at], NULL) == 0);
  transunet_volume_free(volume);
}

static void *trigger(void *shared) {
  transunet_cancel_trigger((const transunet_cancel *)shared);
  return NULL;
}

static void cancel_from_elsewhere(void) {
  transunet_cancel *cancel = NULL;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  transunet_volume *volume = NULL;
  pthread_t thread;
  SUCCEEDS(transunet_cancel_create(&cancel, &error));
  CHECK(pthread_create(&thread, NULL, trigger, cancel) == 0);
  while (!transunet_cancel_is_triggered(cancel)) {
  }
  control.cancel = cancel;
  FAILS(transunet_volume_open("nowhere", NULL, &control, &volume, &error), TRANSUNET_STATUS_CANCELLED, "cancelled");
  CHECK(volume == NULL);
  CHECK(pthread_join(thread, NULL) == 0);
  transunet_cancel_free(cancel);
}

struct diary {
  int lines;
  int inside;
  int reenter;
  int32_t highest;
};

static void on_log(int32_t level, const char *target, const char *message, void *user_data) {
  struct diary *diary = (struct diary *)user_data;
  CHECK(diary->inside++ == 0); /* one call at a time */
  CHECK(level >= TRANSUNET_LOG_ERROR && level <= TRANSUNET_LOG_TRACE && target && message);
  if (level > diary->highest) diary->highest = level;
  diary->lines++;
  if (diary->reenter) {
    transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
    transunet_runtime *inner = NULL;
    diary->reenter = 0;
    options.device = "cpu";
    SUCCEEDS(transunet_runtime_create(&options, &inner, &error)); /* may call back into the library */
    transunet_runtime_free(inner);
  }
  diary->inside--;
}

static transunet_runtime *logging_runtime(struct diary *diary, int32_t level) {
  transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
  transunet_runtime *runtime = NULL;
  options.device = "cpu";
  options.log_level = level;
  options.on_log = on_log;
  options.log_user_data = diary;
  SUCCEEDS(transunet_runtime_create(&options, &runtime, &error));
  return runtime;
}

static void *make_runtimes(void *unused) {
  int round;
  (void)unused;
  for (round = 0; round < 50; round++) {
    struct diary own = {0, 0, 0, 0};
    transunet_runtime_free(logging_runtime(&own, TRANSUNET_LOG_INFO));
    CHECK(own.lines >= 1);
  }
  return NULL;
}

static void logs(void) {
  struct diary all = {0, 0, 1, 0}, grave = {0, 0, 0, 0};
  transunet_runtime *first = logging_runtime(&all, TRANSUNET_LOG_TRACE);
  transunet_runtime *second = logging_runtime(&grave, TRANSUNET_LOG_ERROR);
  pthread_t threads[THREADS];
  int at, lines;
  CHECK(all.lines >= 2); /* its own device and the second runtime's */
  CHECK(grave.lines == 0);
  for (at = 0; at < THREADS; at++) CHECK(pthread_create(&threads[at], NULL, make_runtimes, NULL) == 0);
  for (at = 0; at < THREADS; at++) CHECK(pthread_join(threads[at], NULL) == 0);
  CHECK(all.lines >= 2 + THREADS * 50 && all.highest >= TRANSUNET_LOG_INFO && grave.lines == 0);
  transunet_runtime_free(first);
  lines = all.lines;
  transunet_runtime_free(logging_runtime(&grave, TRANSUNET_LOG_INFO));
  CHECK(all.lines == lines); /* a freed runtime is not told any more */
  transunet_runtime_free(second);
}

static void any_order(void) {
  struct diary diary = {0, 0, 0, 0};
  transunet_runtime *runtime = logging_runtime(&diary, TRANSUNET_LOG_INFO);
  transunet_volume *volume = small_volume(2);
  transunet_text *devices = NULL;
  transunet_error *failure = NULL;
  float out[6];
  SUCCEEDS(transunet_device_list(&devices, &error));
  CHECK(transunet_volume_read_slice(volume, 9, out, 6, &failure) == TRANSUNET_STATUS_INVALID_ARGUMENT);
  transunet_runtime_free(runtime);
  SUCCEEDS(transunet_volume_read_slice(volume, 1, out, 6, &error));
  transunet_volume_free(volume);
  CHECK(strstr(transunet_error_message(failure), "slice is 9"));
  transunet_error_free(failure);
  CHECK(transunet_text_size(devices) > 0);
  transunet_text_free(devices);
}

int main(void) {
  shared_volume();
  cancel_from_elsewhere();
  logs();
  any_order();
  return 0;
}
