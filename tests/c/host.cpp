// A C++17 host: handles in unique_ptr, statuses as exceptions, callbacks with state.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "transunet.h"

namespace {

struct Free {
  void operator()(transunet_error *handle) const { transunet_error_free(handle); }
  void operator()(transunet_text *handle) const { transunet_text_free(handle); }
  void operator()(transunet_runtime *handle) const { transunet_runtime_free(handle); }
  void operator()(transunet_cancel *handle) const { transunet_cancel_free(handle); }
  void operator()(transunet_volume *handle) const { transunet_volume_free(handle); }
};
template <class T>
using Handle = std::unique_ptr<T, Free>;

struct Failure : std::runtime_error {
  transunet_status status;
  explicit Failure(const Handle<transunet_error> &error)
      : std::runtime_error(transunet_error_message(error.get())), status(transunet_error_code(error.get())) {}
};

template <class T, class Call>
Handle<T> made(Call call) {
  T *out = nullptr;
  transunet_error *error = nullptr;
  if (call(&out, &error) != TRANSUNET_STATUS_OK) throw Failure(Handle<transunet_error>(error));
  return Handle<T>(out);
}

void check(bool condition, const char *what) {
  if (!condition) {
    std::fprintf(stderr, "not true: %s\n", what);
    std::exit(1);
  }
}

}  // namespace

int main() {
  std::vector<std::string> diary;
  transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
  options.device = "cpu";
  options.log_level = TRANSUNET_LOG_INFO;
  options.log_user_data = &diary;
  options.on_log = [](int32_t, const char *, const char *message, void *user_data) {
    static_cast<std::vector<std::string> *>(user_data)->push_back(message);
  };
  auto create = [&](transunet_runtime **out, transunet_error **error) {
    return transunet_runtime_create(&options, out, error);
  };
  auto runtime = made<transunet_runtime>(create);
  check(!diary.empty() && diary.front().find("cpu") != std::string::npos, "the log names the device");

  transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
  geometry.columns = 5, geometry.rows = 4, geometry.slices = 3;
  std::vector<float> voxels(60, 1.5f);
  auto volume = made<transunet_volume>([&](auto out, auto error) {
    return transunet_volume_from_memory(voxels.data(), voxels.size() * sizeof(float), TRANSUNET_VOXEL_F32, &geometry, out,
                                        error);
  });
  runtime.reset();
  check(std::string(transunet_volume_describe(volume.get())).front() == '{', "a volume describes itself");

  try {
    options.device = "gpu77";
    made<transunet_runtime>(create);
    check(false, "device gpu77 is refused");
  } catch (const Failure &failure) {
    check(failure.status == TRANSUNET_STATUS_INVALID_ARGUMENT, "the status arrives");
    check(std::string(failure.what()).find("gpu77") != std::string::npos, "the message arrives");
  }
  auto cancel = made<transunet_cancel>(transunet_cancel_create);
  check(transunet_cancel_is_triggered(cancel.get()) == 0, "a flag starts untriggered");
  auto devices = made<transunet_text>(transunet_device_list);
  check(std::string(transunet_text_data(devices.get())).size() == transunet_text_size(devices.get()), "sizes agree");
}
