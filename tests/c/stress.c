/* stress MODEL OTHER CANCELS: many segmentations at once on two models, handles freed while calls run with them,
 * and CANCELS stops at random moments, whose times are printed. Run in an empty folder. */
#include <dirent.h>
#include <pthread.h>
#include <time.h>

#include "cpu.h"

enum { COLUMNS = 72, ROWS = 68, SLICES = 12, VOXELS = COLUMNS * ROWS * SLICES, THREADS = 6, ROUNDS = 3 };

static double now(void) {
  struct timespec time;
  CHECK(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void wait_for(double seconds) {
  struct timespec time;
  time.tv_sec = (time_t)seconds;
  time.tv_nsec = (long)(1e9 * (seconds - (double)time.tv_sec));
  nanosleep(&time, NULL);
}

/* xorshift: the same moments in every run. */
static uint64_t state = 88172645463325252u;
static double uniform(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) / 9007199254740992.0;
}

static int files(void) {
  DIR *folder = opendir(".");
  struct dirent *entry;
  int count = 0;
  CHECK(folder);
  while ((entry = readdir(folder))) count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  closedir(folder);
  return count;
}

static transunet_model *load(const char *path) {
  transunet_runtime *runtime = cpu();
  transunet_model *model = NULL;
  SUCCEEDS(transunet_model_load(runtime, path, NULL, NULL, &model, &error));
  transunet_runtime_free(runtime);
  return model;
}

/* A ramp with a bright box, in units of CT. */
static transunet_volume *scan(void) {
  static int16_t voxels[VOXELS];
  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  transunet_volume *volume = NULL;
  int at;
  for (at = 0; at < VOXELS; at++) {
    int i = at % COLUMNS, j = at / COLUMNS % ROWS;
    voxels[at] = (int16_t)(4 * (i + j) - 300 + (i > 20 && i < 50 && j > 16 && j < 40 ? 200 : 0));
  }
  geometry.columns = COLUMNS;
  geometry.rows = ROWS;
  geometry.slices = SLICES;
  geometry.spacing[0] = geometry.spacing[1] = 2.8;
  geometry.spacing[2] = 6.0;
  SUCCEEDS(transunet_volume_from_memory(voxels, sizeof voxels, TRANSUNET_VOXEL_I16, &geometry, &volume, &error));
  return volume;
}

static void same(const transunet_labelmap *one, const transunet_labelmap *other) {
  CHECK(memcmp(transunet_labelmap_voxels(one, NULL), transunet_labelmap_voxels(other, NULL), VOXELS) == 0);
}

/* ---- many at once ---- */

struct job {
  const transunet_model *model;
  const transunet_volume *volume;
  const transunet_labelmap *expected;
  int number;
};

static void *segment(void *shared) {
  const struct job *job = (const struct job *)shared;
  int round;
  for (round = 0; round < ROUNDS; round++) {
    transunet_segment_options options = TRANSUNET_SEGMENT_OPTIONS_INIT;
    transunet_labelmap *labelmap = NULL;
    transunet_text *figures = NULL;
    char path[32];
    options.batch = (size_t)(1 + (job->number + round) % 4);
    options.keep_probabilities = round % 2;
    SUCCEEDS(transunet_segment(job->model, job->volume, &options, NULL, &labelmap, &error));
    same(labelmap, job->expected);
    sprintf(path, "many-%d.nii.gz", job->number % 3); /* some write the same file */
    SUCCEEDS(transunet_labelmap_write(labelmap, path, NULL, &error));
    SUCCEEDS(transunet_labelmap_statistics(labelmap, NULL, &figures, &error));
    transunet_text_free(figures);
    transunet_labelmap_free(labelmap);
  }
  return NULL;
}

/* Others come and go meanwhile. */
static void *come_and_go(void *shared) {
  const char *path = (const char *)shared;
  int round;
  for (round = 0; round < 4 * ROUNDS; round++) {
    transunet_model *model = load(path);
    CHECK(transunet_model_label_count(model) > 0);
    transunet_model_free(model);
  }
  return NULL;
}

static void many_at_once(const char *paths[2]) {
  transunet_model *models[2];
  transunet_labelmap *expected[2] = {NULL, NULL};
  transunet_volume *volume = scan();
  struct job jobs[THREADS];
  pthread_t threads[THREADS + 1];
  int at;
  for (at = 0; at < 2; at++) {
    models[at] = load(paths[at]);
    SUCCEEDS(transunet_segment(models[at], volume, NULL, NULL, &expected[at], &error));
  }
  for (at = 0; at < THREADS; at++) {
    jobs[at].model = models[at % 2];
    jobs[at].expected = expected[at % 2];
    jobs[at].volume = volume;
    jobs[at].number = at;
    CHECK(pthread_create(&threads[at], NULL, segment, &jobs[at]) == 0);
  }
  CHECK(pthread_create(&threads[THREADS], NULL, come_and_go, (void *)(size_t)paths[0]) == 0);
  for (at = 0; at <= THREADS; at++) CHECK(pthread_join(threads[at], NULL) == 0);
  for (at = 0; at < 2; at++) {
    transunet_labelmap_free(expected[at]);
    transunet_model_free(models[at]);
  }
  transunet_volume_free(volume);
  CHECK(files() == 3);
  for (at = 0; at < 3; at++) {
    char path[32];
    sprintf(path, "many-%d.nii.gz", at);
    CHECK(remove(path) == 0);
  }
}

/* ---- a segmentation that another thread watches ---- */

struct call {
  transunet_model *model;
  transunet_volume *volume;
  transunet_cancel *cancel;
  const char *probabilities;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int slices; /* done, from the first progress on; -1 before */
  transunet_status status;
  double returned;
  transunet_labelmap *labelmap;
};

static transunet_flow on_progress(const transunet_progress *event, void *user_data) {
  struct call *call = (struct call *)user_data;
  CHECK(pthread_mutex_lock(&call->lock) == 0);
  call->slices = event->stage == TRANSUNET_STAGE_INFER ? (int)event->done : 0;
  CHECK(pthread_cond_broadcast(&call->changed) == 0);
  CHECK(pthread_mutex_unlock(&call->lock) == 0);
  return TRANSUNET_FLOW_CONTINUE;
}

static void *watched(void *shared) {
  struct call *call = (struct call *)shared;
  transunet_segment_options options = TRANSUNET_SEGMENT_OPTIONS_INIT;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  options.probabilities_path = call->probabilities;
  control.on_progress = on_progress;
  control.user_data = call;
  control.cancel = call->cancel;
  call->status = transunet_segment(call->model, call->volume, &options, &control, &call->labelmap, NULL);
  call->returned = now();
  return NULL;
}

static pthread_t begin(struct call *call, transunet_model *model, transunet_volume *volume, const char *probabilities) {
  pthread_t thread;
  memset(call, 0, sizeof *call);
  call->model = model;
  call->volume = volume;
  call->probabilities = probabilities;
  call->slices = -1;
  SUCCEEDS(transunet_cancel_create(&call->cancel, &error));
  CHECK(pthread_mutex_init(&call->lock, NULL) == 0 && pthread_cond_init(&call->changed, NULL) == 0);
  CHECK(pthread_create(&thread, NULL, watched, call) == 0);
  return thread;
}

static void end(struct call *call, pthread_t thread) {
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(pthread_cond_destroy(&call->changed) == 0 && pthread_mutex_destroy(&call->lock) == 0);
}

static void freed_while_running(const char *path) {
  transunet_labelmap *expected = NULL;
  int round;
  for (round = 0; round < 6; round++) {
    transunet_model *model = load(path);
    transunet_volume *volume = scan();
    struct call call;
    pthread_t thread;
    if (!expected) SUCCEEDS(transunet_segment(model, volume, NULL, NULL, &expected, &error));
    thread = begin(&call, model, volume, round % 2 ? "freed.nii" : NULL);
    CHECK(pthread_mutex_lock(&call.lock) == 0);
    while (call.slices < round % 3) CHECK(pthread_cond_wait(&call.changed, &call.lock) == 0);
    CHECK(pthread_mutex_unlock(&call.lock) == 0);
    transunet_model_free(model);
    transunet_volume_free(volume);
    if (round >= 3) transunet_cancel_trigger(call.cancel);
    transunet_cancel_free(call.cancel);
    end(&call, thread);
    if (call.status == TRANSUNET_STATUS_OK) {
      same(call.labelmap, expected);
    } else {
      CHECK(round >= 3 && call.status == TRANSUNET_STATUS_CANCELLED && call.labelmap == NULL);
    }
    CHECK(files() == (call.status == TRANSUNET_STATUS_OK && round % 2));
    remove("freed.nii");
    transunet_labelmap_free(call.labelmap);
  }
  transunet_labelmap_free(expected);
}

/* ---- cancel ---- */

static int ascending(const void *one, const void *other) {
  double difference = *(const double *)one - *(const double *)other;
  return (difference > 0) - (difference < 0);
}

static void cancels_at_random(const char *path, int cancels) {
  transunet_model *model = load(path);
  transunet_volume *volume = scan();
  transunet_labelmap *expected = NULL, *again = NULL;
  double *times = (double *)malloc((size_t)cancels * sizeof *times), usual;
  int at, stopped = 0;
  CHECK(times);
  SUCCEEDS(transunet_segment(model, volume, NULL, NULL, &again, &error)); /* the first takes longer */
  usual = now();
  SUCCEEDS(transunet_segment(model, volume, NULL, NULL, &expected, &error));
  usual = now() - usual;
  same(again, expected);
  transunet_labelmap_free(again);
  for (at = 0; at < cancels; at++) {
    struct call call;
    double triggered;
    pthread_t thread = begin(&call, model, volume, at % 2 ? "cancelled.nii.gz" : NULL);
    wait_for(uniform() * usual);
    triggered = now();
    transunet_cancel_trigger(call.cancel);
    end(&call, thread);
    transunet_cancel_free(call.cancel);
    if (call.status == TRANSUNET_STATUS_CANCELLED) {
      CHECK(call.labelmap == NULL && files() == 0);
      times[stopped++] = call.returned > triggered ? call.returned - triggered : 0.0;
    } else { /* it was done before */
      CHECK(call.status == TRANSUNET_STATUS_OK && call.labelmap && files() == at % 2);
      remove("cancelled.nii.gz");
      transunet_labelmap_free(call.labelmap);
    }
  }
  CHECK(cancels == 0 || stopped > 0);
  REFUSED(transunet_segment(model, NULL, NULL, NULL, &again, &error), "volume is NULL");
  SUCCEEDS(transunet_segment(model, volume, NULL, NULL, &again, &error));
  same(again, expected);
  qsort(times, (size_t)stopped, sizeof *times, ascending);
  if (stopped > 0) {
    printf("%d of %d calls of %.0f ms cancelled: p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", stopped, cancels, 1e3 * usual,
           1e3 * times[stopped / 2], 1e3 * times[(stopped - 1) * 99 / 100], 1e3 * times[stopped - 1]);
  }
  free(times);
  transunet_labelmap_free(expected);
  transunet_labelmap_free(again);
  transunet_model_free(model);
  transunet_volume_free(volume);
}

int main(int count, char **arguments) {
  const char *paths[2];
  CHECK(count == 4);
  paths[0] = arguments[1];
  paths[1] = arguments[2];
  many_at_once(paths);
  freed_while_running(paths[0]);
  cancels_at_random(paths[0], atoi(arguments[3]));
  return 0;
}
