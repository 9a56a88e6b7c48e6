/* Training from C: refusals, a stop by the host, going on, the model at the end.
 * Arguments: a configuration, the folder of its data, two folders to write to. */
#include "check.h"

#define STEPS 12

struct watch {
  int steps, stop_at;
  double loss;
};

static transunet_flow on_progress(const transunet_progress *event, void *user_data) {
  struct watch *watch = (struct watch *)user_data;
  if (event->stage == TRANSUNET_STAGE_TRAIN) {
    CHECK(event->total == STEPS && event->done <= STEPS && event->epoch >= 1);
    watch->loss = event->loss;
    watch->steps++;
    if (watch->steps == watch->stop_at) return TRANSUNET_FLOW_CANCEL;
  }
  return TRANSUNET_FLOW_CONTINUE;
}

int main(int count, char **arguments) {
  transunet_runtime_options runtime_options = TRANSUNET_RUNTIME_OPTIONS_INIT;
  transunet_train_options options = TRANSUNET_TRAIN_OPTIONS_INIT;
  transunet_control control = TRANSUNET_CONTROL_INIT;
  transunet_runtime *runtime = NULL;
  transunet_model *model = NULL;
  struct watch watch = {0, 4, 0.0};
  const char *config = arguments[1];
  CHECK(count == 5);
  runtime_options.device = "cpu";
  SUCCEEDS(transunet_runtime_create(&runtime_options, &runtime, &error));

  REFUSED(transunet_train(NULL, config, NULL, NULL, &model, &error), "runtime is NULL");
  FAILS(transunet_train(runtime, NULL, NULL, NULL, &model, &error), TRANSUNET_STATUS_CONFIG, "data");
  options.settings = "preset: enormous";
  FAILS(transunet_train(runtime, config, &options, NULL, &model, &error), TRANSUNET_STATUS_CONFIG, "enormous");
  options.settings = "colour: red";
  FAILS(transunet_train(runtime, config, &options, NULL, &model, &error), TRANSUNET_STATUS_CONFIG, "colour");
  options.settings = NULL;
  REFUSED(transunet_train(runtime, config, NULL, NULL, NULL, &error), "out is NULL");
  options.resume = 2;
  REFUSED(transunet_train(runtime, config, &options, NULL, &model, &error), "options->resume is 2");
  options.resume = 0;
  options.data_folder = "nowhere";
  REFUSED(transunet_train(runtime, config, &options, NULL, &model, &error), "nowhere");
  FAILS(transunet_train(runtime, "absent.yaml", NULL, NULL, &model, &error), TRANSUNET_STATUS_IO, "absent.yaml");

  options.data_folder = arguments[2];
  options.output_folder = arguments[3];
  control.on_progress = on_progress;
  control.user_data = &watch;
  SUCCEEDS(transunet_train(runtime, config, &options, &control, &model, &error));
  CHECK(watch.steps == 4 && watch.loss > 0.0);
  CHECK(transunet_model_label_count(model) == 2);
  transunet_model_free(model);
  REFUSED(transunet_train(runtime, config, &options, NULL, &model, &error), "holds a run already");

  watch.steps = 0;
  watch.stop_at = 0;
  options.resume = 1;
  SUCCEEDS(transunet_train(runtime, config, &options, &control, &model, &error));
  CHECK(watch.steps == STEPS - 3 + 1); /* one before each step left, one at the end */
  CHECK(strstr(transunet_model_describe(model), "training_cases"));
  transunet_model_free(model);

  /* Without a configuration: all that is not said is planned. */
  watch.steps = 0;
  options.resume = 0;
  options.output_folder = NULL;
  options.settings = "preset: tiny";
  FAILS(transunet_train(runtime, NULL, &options, NULL, &model, &error), TRANSUNET_STATUS_CONFIG, "output");
  options.output_folder = arguments[4];
  options.settings = "preset: tiny\nsteps: 12\nvalidations: 1\nbatch: 2\n"
                     "architecture: { hidden: 16, heads: 2, layers: 1, mlp: 16 }";
  SUCCEEDS(transunet_train(runtime, NULL, &options, &control, &model, &error));
  CHECK(watch.steps == STEPS + 1);
  CHECK(transunet_model_label_count(model) == 2);
  transunet_model_free(model);
  transunet_runtime_free(runtime);
  return 0;
}
