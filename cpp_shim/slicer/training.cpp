// The module "TransUNet Training": makes a model from labelled images.
#include "module.hpp"
#include "outputs.hpp"

#include "TransUNetTraining.module.inc"

#include <nlohmann/json.hpp>

#include <cmath>
#include <sstream>

namespace transunet::slicer {
namespace {

namespace fs = std::filesystem;

constexpr Parameter PARAMETERS[] = {TRANSUNET_MODULE_PARAMETERS(TRANSUNET_PARAMETER)};

/// The folder of a run, where a parameter gives it: one that a run without a single step leaves as it found it.
class RunFolder {
 public:
  explicit RunFolder(fs::path path) : path_(std::move(path)), existed_(!path_.empty() && fs::exists(path_)) {
    if (existed_ && !fs::is_directory(path_)) throw Refusal("--output: " + path_.string() + " is not a folder");
    fresh_ = !path_.empty() && (!existed_ || fs::is_empty(path_));
  }

  [[nodiscard]] const fs::path &path() const noexcept { return path_; }
  [[nodiscard]] bool given() const noexcept { return !path_.empty(); }
  [[nodiscard]] fs::path model() const { return given() ? path_ / "model.safetensors" : fs::path(); }

  /// Takes away what a run wrote that came to nothing.
  void restore() const {
    if (!fresh_) return;
    std::error_code ignored;
    for (const auto &entry : fs::directory_iterator(path_, ignored)) fs::remove_all(entry.path(), ignored);
    if (!existed_) fs::remove(path_, ignored);
  }

 private:
  fs::path path_;
  bool existed_, fresh_;
};

/// What the parameters lay over the configuration, as JSON, which is YAML too. Their defaults lay nothing.
std::string settings_of(const Arguments &arguments) {
  nlohmann::ordered_json settings = nlohmann::ordered_json::object();
  if (const auto &preset = arguments.text("preset"); preset != "configuration") settings["preset"] = preset;
  if (const double epochs = arguments.number("epochs"); epochs != 0.0) settings["epochs"] = epochs;
  if (const auto seed = arguments.integer("seed", -1, INT32_MAX); seed >= 0) settings["seed"] = seed;
  return settings.dump();
}

/// Steps are all that counts for how much is done; the other stages happen in between.
class Course {
 public:
  explicit Course(Host &host) : host_(host) {}

  [[nodiscard]] Control control() {
    return {[this](const Progress &progress) {
              if (progress.stage == Stage::Train) done_ = 0.05 + 0.93 * progress.fraction();
              host_.tell(done_, progress.fraction(), words(progress));
            },
            &host_.cancel()};
  }

 private:
  static std::string words(const Progress &progress) {
    switch (progress.stage) {
      case Stage::Read: return count_words("Checking case", progress);
      case Stage::Preprocess: return count_words("Preparing case", progress);
      case Stage::Compile: return "Compiling kernels for the GPU";
      case Stage::Validate: return count_words("Validating case", progress);
      case Stage::Train: break;
      default: return "Writing";
    }
    std::ostringstream text;
    text.imbue(std::locale::classic());
    text.precision(3);
    text << count_words("Step", progress) << ", epoch " << progress.epoch << std::fixed;
    if (!std::isnan(progress.loss)) text << ", loss " << progress.loss;
    if (!std::isnan(progress.dice)) text << ", Dice " << progress.dice;
    return text.str();
  }

  Host &host_;
  double done_ = 0.0;
};

void train(const Arguments &arguments, Host &host) {
  const fs::path configuration = arguments.path("configuration"), data = arguments.path("data");
  const RunFolder folder(arguments.path("output"));
  if (configuration.empty() && data.empty()) throw Refusal("nothing to learn from: expected --data or --configuration");
  if (configuration.empty() && !folder.given()) throw Refusal("no place for the run: expected --output");
  if (!data.empty() && !fs::is_directory(data)) throw Refusal("--data: " + data.string() + " is not a folder");
  Outputs outputs;
  outputs.want("output_model", arguments.path("output_model"), {".safetensors"}, {configuration, folder.model()});

  TrainOptions options;
  options.settings = settings_of(arguments);
  options.data = data;
  options.output = folder.path();
  options.resume = arguments.on("resume");
  Warnings warnings;
  host.show(0.0, "Opening the device");
  const Runtime runtime(warnings.logged(runtime_options(arguments)));
  Course course(host);
  try {
    const Model model = runtime.train(configuration, options, course.control());
    // After a stop, the run's folder has a model and a checkpoint to go on from; a copy would look like the result.
    if (host.cancel().is_triggered()) return;
    if (const auto path = outputs.staged("output_model"); !path.empty()) {
      folder.given() ? static_cast<void>(fs::copy_file(folder.model(), path)) : model.save(path);
    }
  } catch (const Cancelled &) {
    folder.restore();
    throw;
  }
  outputs.commit();
  host.finish(warnings.closing_words());
}

const Module MODULE = {TRANSUNET_MODULE_ID, XMLModuleDescription, PARAMETERS, train};

}  // namespace
}  // namespace transunet::slicer

const char XMLModuleDescription[] = TRANSUNET_MODULE_XML;

int ModuleEntryPoint(int count, char **words) { return transunet::slicer::enter(transunet::slicer::MODULE, count, words); }
