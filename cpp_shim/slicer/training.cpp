// The module "TransUNet Training": makes a model from labelled images.
#include "module.hpp"
#include "outputs.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <sstream>

namespace transunet::slicer {
namespace {

namespace fs = std::filesystem;

constexpr Parameter PARAMETERS[] = {
#define MODULE_PARAMETERS
#include "TransUNetTraining.module.inc"
#undef MODULE_PARAMETERS
};

/// The folder of a run: one that a run without a single step leaves as it found it.
class RunFolder {
 public:
  explicit RunFolder(fs::path path) : path_(std::move(path)), existed_(fs::exists(path_)) {
    if (existed_ && !fs::is_directory(path_)) throw Refusal("--output_folder: " + path_.string() + " is not a folder");
    empty_ = !existed_ || fs::is_empty(path_);
  }

  [[nodiscard]] const fs::path &path() const noexcept { return path_; }
  [[nodiscard]] fs::path model() const { return path_ / "model.safetensors"; }

  /// Takes away what a run wrote that came to nothing; keeps what was there before.
  void restore() const noexcept {
    std::error_code ignored;
    if (!existed_) {
      fs::remove_all(path_, ignored);
    } else if (empty_) {
      for (const auto &entry : fs::directory_iterator(path_, ignored)) fs::remove_all(entry.path(), ignored);
    }
  }

 private:
  fs::path path_;
  bool existed_, empty_;
};

/// What the parameters lay over the configuration, as YAML, which reads JSON. "default" and 0 lay nothing.
std::string settings_of(const Arguments &arguments, const fs::path &data, const fs::path &output) {
  nlohmann::ordered_json settings = nlohmann::ordered_json::object();
  if (arguments.text("configuration").empty()) {
    settings["data"]["folder"] = detail::utf8(fs::absolute(data));
    settings["output"] = detail::utf8(fs::absolute(output));
  }
  const std::string &preset = arguments.text("preset");
  if (preset != "default" && !preset.empty()) settings["preset"] = preset;
  for (const std::string name : {"epochs", "seed"}) {
    if (const std::uint32_t number = arguments.number(name, INT32_MAX)) settings[name] = number;
  }
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
  const fs::path configuration = arguments.path("configuration"), data = arguments.path("data_folder");
  if (arguments.text("output_folder").empty()) throw Refusal("no place for the run: expected --output_folder");
  if (data.empty() && configuration.empty()) {
    throw Refusal("nothing to learn from: expected --data_folder or --configuration");
  }
  if (!data.empty() && !fs::is_directory(data)) throw Refusal("--data_folder: " + data.string() + " is not a folder");
  const RunFolder folder(arguments.path("output_folder"));
  Outputs outputs;
  outputs.want("output_model", arguments.path("output_model"), {".safetensors"}, {configuration, folder.model()});

  TrainOptions options;
  options.data = data;
  options.output = folder.path();
  options.settings = settings_of(arguments, data, folder.path());
  options.resume = arguments.flag("resume");
  Warnings warnings;
  host.show(0.0, "Opening the device");
  const Runtime runtime(warnings.logged(runtime_options(arguments)));
  Course course(host);
  try {
    static_cast<void>(runtime.train(configuration, options, course.control()));
  } catch (const Cancelled &) {
    folder.restore();
    throw;
  }
  // After a stop, the run's folder has a model and a checkpoint to go on from; a copy would look like the result.
  if (host.cancel().is_triggered()) return;
  if (const auto path = outputs.staged("output_model"); !path.empty()) fs::copy_file(folder.model(), path);
  outputs.commit();
  host.finish(warnings.closing_words());
}

const Module MODULE = {"TransUNetTraining", XMLModuleDescription, PARAMETERS, train};

}  // namespace
}  // namespace transunet::slicer

const char XMLModuleDescription[] =
#define MODULE_XML
#include "TransUNetTraining.module.inc"
#undef MODULE_XML
    ;

int ModuleEntryPoint(int count, char **words) { return transunet::slicer::enter(transunet::slicer::MODULE, count, words); }
