// A host like 3D Slicer, without 3D Slicer: loads the modules' shared form, runs them, stops them, gives them what they
// must refuse, and unloads them; everything twice. Arguments: MODULES MODEL CT TRAINING.yaml FOLDER
// Nothing may reach stdout, which is the caller's to see.
#include <dlfcn.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

#include "check.hpp"

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

/// As SlicerExecutionModel declares it.
struct ProcessInformation {
  unsigned char Abort = 0;
  float Progress = 0.0f, StageProgress = 0.0f;
  char ProgressMessage[1024] = "";
  void (*ProgressCallbackFunction)(void *) = nullptr;
  void *ProgressCallbackClientData = nullptr;
  double ElapsedTime = 0.0;
};

double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

/// What a call came to.
struct Outcome {
  int status;
  std::string error;
  std::vector<float> progress;
  std::string message;
};

class Module {
 public:
  Module(const fs::path &folder, const std::string &name) : path_(folder / ("lib" + name + "Lib.so")) {
    handle_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle_) std::fprintf(stderr, "%s\n", dlerror());
    CHECK(handle_);
    entry_ = reinterpret_cast<int (*)(int, char **)>(dlsym(handle_, "ModuleEntryPoint"));
    CHECK(entry_);
    CHECK(std::strncmp(static_cast<const char *>(symbol("XMLModuleDescription")), "<?xml", 5) == 0);
    const auto number = [&](const char *part) { return *static_cast<const int *>(symbol(part)); };
    const unsigned long length = *static_cast<const unsigned long *>(symbol("ModuleLogoLength"));
    CHECK(length == static_cast<unsigned long>(number("ModuleLogoWidth") * number("ModuleLogoHeight") * 4));
    const auto *pixels = static_cast<const unsigned char *>(symbol("ModuleLogoImage"));
    CHECK(number("ModuleLogoPixelSize") == 4 && pixels[3] == 0 && pixels[length / 2 + 4 * 8 + 3] == 255);
  }

  /// Unloads the module, really.
  ~Module() {
    CHECK(dlclose(handle_) == 0);
    CHECK(dlopen(path_.c_str(), RTLD_NOW | RTLD_NOLOAD) == nullptr);
  }

  [[nodiscard]] const void *symbol(const char *name) const {
    const void *found = dlsym(handle_, name);
    CHECK(found);
    return found;
  }

  /// Runs the module as Slicer does; `watch` sees the struct at every callback.
  Outcome run(std::vector<std::string> words, const std::function<void(ProcessInformation &)> &watch = {},
              bool aborted = false) {
    ProcessInformation information;
    information.Abort = aborted;
    std::vector<float> progress;
    const std::function<void()> called = [&] {
      progress.push_back(information.Progress);
      if (watch) watch(information);
    };
    information.ProgressCallbackFunction = [](void *data) { (*static_cast<const std::function<void()> *>(data))(); };
    information.ProgressCallbackClientData = const_cast<std::function<void()> *>(&called);
    char address[32];
    std::snprintf(address, sizeof address, "%p", static_cast<void *>(&information));
    words.insert(words.begin(), {"slicer:0x1234", "--processinformationaddress", address});
    std::vector<char *> arguments;
    for (std::string &word : words) arguments.push_back(word.data());
    // Hosts show what the C++ stream got.
    std::ostringstream errors;
    std::streambuf *const usual = std::cerr.rdbuf(errors.rdbuf());
    const int status = entry_(static_cast<int>(arguments.size()), arguments.data());
    std::cerr.rdbuf(usual);
    return {status, errors.str(), progress, information.ProgressMessage};
  }

 private:
  fs::path path_;
  void *handle_;
  int (*entry_)(int, char **);
};

std::size_t entries(const fs::path &folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

void succeeds(const Outcome &outcome) {
  if (outcome.status != 0) std::fprintf(stderr, "status %d: %s\n", outcome.status, outcome.error.c_str());
  CHECK(outcome.status == 0 && outcome.error.empty());
  CHECK(outcome.progress.size() > 5 && outcome.progress.back() == 1.0f);
  for (std::size_t n = 1; n < outcome.progress.size(); n++) CHECK(outcome.progress[n] >= outcome.progress[n - 1]);
  CHECK(outcome.message.rfind("Done", 0) == 0);
}

void refused(const Outcome &outcome, const std::string &part) {
  if (outcome.status == 0 || !contains(outcome.error, part)) {
    std::fprintf(stderr, "status %d: %s (expected: %s)\n", outcome.status, outcome.error.c_str(), part.c_str());
  }
  CHECK(outcome.status != 0 && contains(outcome.error, part));
}

struct Place {
  std::string modules, model, ct, configuration;
  fs::path folder;
};

/// Stops the module once its message begins with `message`: at once, or from another thread after `delay` ms. Returns how
/// long it took to come back.
double stopped(Module &module, const std::vector<std::string> &words, const std::string &message, int delay) {
  Clock::time_point at{};
  std::thread person;
  bool seen = false;
  const Outcome outcome = module.run(words, [&](ProcessInformation &information) {
    if (seen || std::string(information.ProgressMessage).rfind(message, 0) != 0) return;
    seen = true;
    const auto stop = [&at, &information, delay] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay));
      at = Clock::now();
      __atomic_store_n(&information.Abort, 1, __ATOMIC_RELAXED);
    };
    if (delay == 0) return stop();
    person = std::thread(stop);
  });
  const auto back = Clock::now();
  CHECK(seen);
  if (person.joinable()) person.join();
  CHECK(outcome.status == 0 && outcome.error.empty());
  const double time = milliseconds(back - at);
  std::fprintf(stderr, "stopped at \"%s\": back after %.1f ms\n", message.c_str(), time);
  return time;
}

void segmentation(Module &module, const Place &place, int round) {
  const fs::path folder = place.folder / ("segmentation" + std::to_string(round));
  fs::create_directory(folder);
  const auto at = [&](const char *name) { return (folder / name).string(); };
  const std::vector<std::string> image = {"--dicom_folder", place.ct, "--model_file", place.model, "--device", "cpu"};
  const auto with = [&](std::vector<std::string> words) {
    words.insert(words.begin(), image.begin(), image.end());
    return words;
  };
  const std::vector<std::string> all = {"--output_labels", at("a.seg.nrrd"), "--dicom_seg", at("a.dcm"),
                                        "--report", at("a.json"), "--picture", at("a.png")};

  // Stops leave nothing, at once or in the middle.
  CHECK(module.run(with(all), {}, true).status == 0);
  CHECK(entries(folder) == 0);
  CHECK(stopped(module, with(all), "Reading file", 0) < 250.0);
  CHECK(stopped(module, with(all), "Segmenting slice 2 of", 10) < 250.0);
  CHECK(stopped(module, with(all), "Segmenting slice 9 of", 0) < 250.0);
  CHECK(stopped(module, with(all), "Writing frame 20 of", 0) < 250.0);
  CHECK(entries(folder) == 0);

  succeeds(module.run(with(all)));
  CHECK(entries(folder) == 4);

  // What cannot be done ends as a text. Nothing half done stays, and the host lives.
  std::ofstream(at("bad.nrrd")) << "NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nencoding: raw\n\nshort";
  std::ofstream(at("bad.safetensors")) << "no weights";
  const std::size_t there = entries(folder);
  const auto volume = [&](const std::string &path) {
    return std::vector<std::string>{"--input_volume", path, "--model_file", place.model, "--report", at("b.json")};
  };
  refused(module.run({}), "--input_volume or --dicom_folder");
  refused(module.run(with({})), "nothing to write");
  refused(module.run(volume(at("bad.nrrd"))), "bad.nrrd");
  refused(module.run(volume(at("absent.nrrd"))), "absent.nrrd");
  refused(module.run(volume("slicer:0x55#vtkMRMLScalarVolumeNode1")), "AllowInMemoryTransfer");
  refused(module.run({"--dicom_folder", place.ct, "--model", "nobody", "--report", at("b.json")}), "nobody");
  refused(module.run({"--dicom_folder", place.ct, "--model_file", at("absent.pth"), "--report", at("b.json")}), "absent.pth");
  refused(module.run({"--dicom_folder", place.ct, "--model_file", at("bad.safetensors"), "--report", at("b.json")}),
          "bad.safetensors");
  refused(module.run({"--dicom_folder", at(""), "--model_file", place.model, "--report", at("b.json")}),
          "a segmentation, not an image");
  refused(module.run({"--dicom_folder", place.ct, "--input_volume", at("bad.nrrd"), "--report", at("b.json")}), "one of them");
  auto dicom_of_a_volume = volume(at("bad.nrrd"));
  dicom_of_a_volume.insert(dicom_of_a_volume.end(), {"--dicom_seg", at("b.dcm")});
  refused(module.run(dicom_of_a_volume), "a DICOM SEG refers to DICOM images");
  refused(module.run(with({"--report", at("no/such/b.json")})), "no/such/b.json");
  refused(module.run(with({"--report", at("b.json"), "--series", "77"})), "77");
  refused(module.run(with({"--report", at("b.txt")})), ".json");
  refused(module.run(with({"--report", at("b.json"), "--picture", folder.string()})), "expected a name that ends in .png");
  refused(module.run(with({"--nonsense", "1"})), "--nonsense");
  refused(module.run(with({"--report"})), "no value");
  refused(module.run(with({"--batch", "-3", "--report", at("b.json")})), "--batch");
  const auto cuda = module.run({"--dicom_folder", place.ct, "--model_file", place.model, "--device", "cuda", "--report",
                                at("b.json")});
  if (cuda.status != 0) refused(cuda, "cuda:0");
  if (cuda.status == 0) fs::remove(at("b.json"));
  CHECK(entries(folder) == there);

  // A later output that fails takes the earlier ones with it: the DICOM SEG's target becomes a folder meanwhile.
  const auto meanwhile = [&](ProcessInformation &information) {
    if (std::string(information.ProgressMessage) == "Segmenting slice 9 of 32") fs::create_directory(at("b.dcm"));
  };
  refused(module.run(with({"--output_labels", at("b.seg.nrrd"), "--dicom_seg", at("b.dcm")}), meanwhile), "b.dcm");
  CHECK(!fs::exists(at("b.seg.nrrd")) && entries(folder) == there + 1);
}

void training(Module &module, const Place &place, int round) {
  const fs::path folder = place.folder / ("training" + std::to_string(round));
  fs::create_directory(folder);
  const std::string run = (folder / "run").string();
  const std::vector<std::string> words = {"--configuration", place.configuration, "--output", run, "--device", "cpu",
                                          "--output_model", (folder / "copy.safetensors").string()};
  CHECK(module.run(words, {}, true).status == 0);
  CHECK(entries(folder) == 0);
  stopped(module, words, "Checking case 2", 0);
  CHECK(entries(folder) == 0);

  stopped(module, words, "Step 2 of 12, epoch 1, loss ", 0);
  CHECK(fs::exists(folder / "run/model.safetensors") && !fs::exists(folder / "copy.safetensors"));
  refused(module.run(words), "holds a run already");
  auto resumed = words;
  resumed.push_back("--resume");
  succeeds(module.run(resumed));
  CHECK(fs::file_size(folder / "copy.safetensors") == fs::file_size(folder / "run/model.safetensors"));
  CHECK(entries(folder) == 2);

  refused(module.run({"--output", run}), "--data or --configuration");
  refused(module.run({"--data", (folder / "nowhere").string(), "--output", run}), "nowhere");
  refused(module.run({"--data", folder.string(), "--output", run, "--preset", "giant"}), "giant");
  refused(module.run({"--data", folder.string(), "--output", run, "--epochs", "1,5"}), "--epochs");
}

}  // namespace

int main(int count, char **arguments) {
  CHECK(count == 6);
  const Place place{arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]};
  for (int round = 0; round < 2; round++) {
    Module first(place.modules, "TransUNet"), second(place.modules, "TransUNetTraining");
    segmentation(first, place, round);
    training(second, place, round);
    segmentation(first, place, 2 + round);
  }
  return 0;
}
