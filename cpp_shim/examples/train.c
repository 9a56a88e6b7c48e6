/* Trains a small network on a folder of labelled images: train DATA OUTPUT EPOCHS
 * Ctrl-C stops it with a usable model in OUTPUT; the same call again goes on. */
#include <signal.h>
#include <stdio.h>
#include <transunet.h>

static volatile sig_atomic_t stop = 0;

static void on_interrupt(int signal) {
  (void)signal;
  stop = 1;
}

static transunet_flow show(const transunet_progress *event, void *user_data) {
  (void)user_data;
  if (event->stage == TRANSUNET_STAGE_TRAIN)
    fprintf(stderr, "step %u of %u, epoch %u, loss %.3f, Dice %.3f\n", (unsigned)event->done, (unsigned)event->total,
            (unsigned)event->epoch, event->loss, event->dice);
  return stop ? TRANSUNET_FLOW_CANCEL : TRANSUNET_FLOW_CONTINUE;
}

int main(int argc, char **argv) {
  transunet_train_options options = TRANSUNET_TRAIN_OPTIONS_INIT;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  transunet_error *error = NULL;
  transunet_runtime *runtime = NULL;
  transunet_model *model = NULL;
  char settings[256], checkpoint[4096];
  FILE *file;
  int failed;
  if (argc != 4) {
    fprintf(stderr, "usage: %s DATA OUTPUT EPOCHS\n", argv[0]);
    return 2;
  }
  signal(SIGINT, on_interrupt);

  /* What else can be set: docs/training.md. */
  snprintf(settings, sizeof settings, "preset: tiny\nepochs: %s\n", argv[3]);
  options.settings = settings;
  options.data_folder = argv[1];
  options.output_folder = argv[2];
  snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint.safetensors", argv[2]);
  file = fopen(checkpoint, "rb");
  if (file) {
    fclose(file);
    options.resume = 1;
  }
  control.on_progress = show;
  if (transunet_runtime_create(NULL, &runtime, &error) == TRANSUNET_STATUS_OK &&
      transunet_train(runtime, NULL, &options, &control, &model, &error) == TRANSUNET_STATUS_OK)
    printf("%s/model.safetensors has %u labels\n", argv[2], (unsigned)transunet_model_label_count(model));
  if (error) fprintf(stderr, "%s: %s\n", transunet_status_name(transunet_error_code(error)), transunet_error_message(error));

  transunet_model_free(model);
  transunet_runtime_free(runtime);
  failed = error != NULL;
  transunet_error_free(error);
  return failed;
}
