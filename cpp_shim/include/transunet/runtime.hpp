// Devices that are open, and what begins there: loading and training models.
#ifndef TRANSUNET_RUNTIME_HPP
#define TRANSUNET_RUNTIME_HPP

#include <transunet/model.hpp>

namespace transunet {

enum class LogLevel : std::int32_t {
  /// Warnings and errors.
  Default = TRANSUNET_LOG_DEFAULT,
  Error = TRANSUNET_LOG_ERROR,
  Warn = TRANSUNET_LOG_WARN,
  Info = TRANSUNET_LOG_INFO,
  /// These may name patients' files and identifiers.
  Debug = TRANSUNET_LOG_DEBUG,
  Trace = TRANSUNET_LOG_TRACE,
};

/// Receives lines of diagnostics: level, where they come from, what they say. From any thread, one at a time. What it
/// throws is dropped.
using OnLog = std::function<void(LogLevel, std::string_view target, std::string_view message)>;

struct RuntimeOptions {
  /// "auto" (CUDA if usable, else the CPU; Runtime::describe says which and why), "cpu", "cuda:0", or several GPUs that share
  /// the work, "cuda:0,cuda:1". What is named fails rather than falls back.
  std::string device = "auto";
  /// Folder where a GPU's compiled kernels are kept; empty = in the user's folder for caches.
  std::filesystem::path kernel_cache;
  /// Threads that compute on the CPU; 0 = one for each core. The first runtime decides for the process.
  std::uint32_t cpu_threads = 0;
  LogLevel log_level = LogLevel::Default;
  OnLog on_log;
};

/// What matrices and kernels are multiplied in. The half precisions are for GPUs.
enum class Precision : std::int32_t {
  F32 = TRANSUNET_PRECISION_F32,
  /// 8 significant bits, the range of float32.
  Bf16 = TRANSUNET_PRECISION_BF16,
  /// 11 significant bits, numbers up to 65504.
  F16 = TRANSUNET_PRECISION_F16,
};

struct ModelOptions {
  /// What the network computes with; norms, exponentials and logits are float32 with any of them.
  Precision precision = Precision::F32;
};

/// What a training run takes from elsewhere than its configuration; empty = the configuration's.
struct TrainOptions {
  /// YAML whose keys replace the configuration's, such as "preset: tiny\nepochs: 20".
  std::string settings;
  std::filesystem::path data;
  std::filesystem::path output;
  /// Goes on from the output folder's checkpoint; without it a folder that has one is refused.
  bool resume = false;
};

/// Open devices. Models that were loaded with it live on without it.
class Runtime {
 public:
  explicit Runtime(const RuntimeOptions &options = {}) {
    transunet_runtime_options raw = TRANSUNET_RUNTIME_OPTIONS_INIT;
    const std::string kernel_cache = detail::utf8(options.kernel_cache);
    raw.device = options.device.c_str();
    raw.kernel_cache = detail::or_null(kernel_cache);
    raw.cpu_threads = options.cpu_threads;
    raw.log_level = static_cast<transunet_log_level>(options.log_level);
    if (options.on_log) {
      on_log_ = std::make_unique<OnLog>(options.on_log);
      raw.on_log = &Runtime::logged;
      raw.log_user_data = on_log_.get();
    }
    handle_ = detail::make<transunet_runtime>(
        [&](auto **out, auto **error) { return transunet_runtime_create(&raw, out, error); });
  }

  Runtime(Runtime &&) noexcept = default;
  Runtime &operator=(Runtime &&other) noexcept {
    // The callable goes after the handle, which may still call it.
    handle_ = std::move(other.handle_);
    on_log_ = std::move(other.on_log_);
    return *this;
  }

  /// A bundle (.safetensors), a foreign checkpoint (.pth, .npz, .safetensors with its .yaml), a folder with one bundle, or
  /// the id of an installed model (models()).
  [[nodiscard]] Model load(const std::filesystem::path &model, const ModelOptions &options = {},
                           const Control &control = {}) const {
    transunet_model_options load = TRANSUNET_MODEL_OPTIONS_INIT;
    load.precision = static_cast<transunet_precision>(options.precision);
    return Model(detail::make<transunet_model>(control, [&](auto *raw, auto **out, auto **error) {
      return transunet_model_load(get(), detail::utf8(model).c_str(), &load, raw, out, error);
    }));
  }

  /// Trains as the YAML file `configuration` says; without one, all that `options` leave open is planned from the data.
  /// Blocks, for hours. Once steps are made, cancelling stops the run after its step and is no failure: the model so far
  /// is returned, and the run can be resumed.
  [[nodiscard]] Model train(const std::filesystem::path &configuration, const TrainOptions &options = {},
                            const Control &control = {}) const {
    const std::string path = detail::utf8(configuration);
    const std::string data = detail::utf8(options.data), output = detail::utf8(options.output);
    transunet_train_options train = TRANSUNET_TRAIN_OPTIONS_INIT;
    train.data_folder = detail::or_null(data);
    train.output_folder = detail::or_null(output);
    train.resume = options.resume ? 1 : 0;
    train.settings = detail::or_null(options.settings);
    return Model(detail::make<transunet_model>(control, [&](auto *raw, auto **out, auto **error) {
      return transunet_train(get(), detail::or_null(path), &train, raw, out, error);
    }));
  }

  /// As JSON: {"version","abi_version","devices","fallback","cpu_threads","kernel_cache"}. Lives as long as the runtime.
  [[nodiscard]] std::string_view describe() const & noexcept { return transunet_runtime_describe(get()); }
  std::string_view describe() && = delete;

  [[nodiscard]] const transunet_runtime *get() const noexcept { return handle_.get(); }

 private:
  static void logged(transunet_log_level level, const char *target, const char *message, void *user_data) noexcept {
    try {
      (*static_cast<const OnLog *>(user_data))(static_cast<LogLevel>(level), target, message);
    } catch (...) {  // there is no call that it could come out of
    }
  }

  // In this order: freeing the handle waits for a call that runs.
  std::unique_ptr<OnLog> on_log_;
  detail::Handle<transunet_runtime> handle_;
};

}  // namespace transunet

#endif
