/* device REASON: an explicit CUDA device is refused with REASON, automatic choice falls back and says the same, and the
 * list of devices shows it. The process goes on. */
#include "small_volume.h"

int main(int count, char **arguments) {
  transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
  transunet_runtime *runtime = NULL;
  transunet_text *devices = NULL;
  transunet_volume *volume;
  const char *reason;
  CHECK(count == 2);
  reason = arguments[1];

  options.device = "cuda:0";
  FAILS(transunet_runtime_create(&options, &runtime, &error), TRANSUNET_STATUS_DEVICE_UNAVAILABLE, reason);
  FAILS(transunet_runtime_create(&options, &runtime, &error), TRANSUNET_STATUS_DEVICE_UNAVAILABLE, reason);
  CHECK(runtime == NULL);

  SUCCEEDS(transunet_runtime_create(NULL, &runtime, &error));
  CHECK(strstr(transunet_runtime_describe(runtime), "\"id\":\"cpu\""));
  CHECK(strstr(transunet_runtime_describe(runtime), "\"fallback\":\"cuda:0: "));
  CHECK(strstr(transunet_runtime_describe(runtime), reason));
  transunet_runtime_free(runtime);

  SUCCEEDS(transunet_device_list(&devices, &error));
  printf("%s\n", transunet_text_data(devices));
  transunet_text_free(devices);

  volume = small_volume(2);
  transunet_volume_free(volume);
  return 0;
}
