// The module "TransUNet": segments a volume or a DICOM series.
#include "models.hpp"
#include "module.hpp"
#include "outputs.hpp"
#include "report.hpp"

#include "TransUNet.module.inc"

namespace transunet::slicer {
namespace {

namespace fs = std::filesystem;

constexpr Parameter PARAMETERS[] = {TRANSUNET_MODULE_PARAMETERS(TRANSUNET_PARAMETER)};

/// The one image that is segmented.
struct Input {
  fs::path path;
  SeriesOptions series;
  bool dicom;
};

Input input_of(const Arguments &arguments) {
  const fs::path volume = arguments.path("input_volume"), folder = arguments.path("dicom_folder");
  const std::string &series = arguments.text("series");
  if (volume.empty() && folder.empty()) throw Refusal("no input: expected --input_volume or --dicom_folder");
  if (!volume.empty() && !folder.empty()) {
    throw Refusal("--input_volume and --dicom_folder are both given: expected one of them");
  }
  if (folder.empty()) {
    if (!series.empty()) throw Refusal("--series is for --dicom_folder: " + volume.string() + " is one volume");
    if (!fs::is_regular_file(volume)) throw Refusal("--input_volume: " + volume.string() + " is not a file");
    return {volume, {}, false};
  }
  if (!fs::is_directory(folder)) throw Refusal("--dicom_folder: " + folder.string() + " is not a folder");
  return {folder, {series, arguments.text("tilt")}, true};
}

void want_outputs(const Arguments &arguments, const Input &input, const fs::path &model, Outputs &outputs) {
  const std::vector<fs::path> sources = {input.path, model};
  if (!input.dicom && !arguments.text("dicom_seg").empty()) {
    throw Refusal("--dicom_seg: a DICOM SEG refers to DICOM images, and " + input.path.string() +
                  " is none; expected --dicom_folder");
  }
  outputs.want("output_labels", arguments.path("output_labels"), {".seg.nrrd", ".nrrd", ".nii.gz", ".nii"}, sources);
  outputs.want("dicom_seg", arguments.path("dicom_seg"), {".dcm"}, sources);
  outputs.want("picture", arguments.path("picture"), {".png"}, sources);
  outputs.want("report", arguments.path("report"), {".json"}, sources);
  if (outputs.empty()) {
    throw Refusal("nothing to write: expected --output_labels, --dicom_seg, --report or --picture");
  }
}

std::string words(const Progress &progress) {
  switch (progress.stage) {
    case Stage::Read: return count_words("Reading file", progress);
    case Stage::Preprocess: return count_words("Measuring intensities, slice", progress);
    case Stage::Infer: return count_words("Segmenting slice", progress);
    case Stage::Compile: return "Compiling kernels for the GPU";
    case Stage::Write: return count_words("Writing frame", progress);
    default: return "Working";
  }
}

/// Refuses what is none of the choices.
ModelOptions model_options(const Arguments &arguments) {
  const std::string &precision = arguments.text("precision");
  if (precision == "f32") return {Precision::F32};
  if (precision == "bf16") return {Precision::Bf16};
  if (precision == "f16") return {Precision::F16};
  throw Refusal("--precision: " + precision + ", expected f32, bf16 or f16");
}

/// Seconds since the last call, or since it was made.
class Clock {
 public:
  double lap() {
    const auto last = last_;
    last_ = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(last_ - last).count();
  }
  [[nodiscard]] double total() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

 private:
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = began_;
};

void segment(const Arguments &arguments, Host &host) {
  const Input input = input_of(arguments);
  const fs::path model_path = chosen_model(arguments);
  Outputs outputs;
  want_outputs(arguments, input, model_path, outputs);
  SegmentOptions options;
  const ModelOptions load = model_options(arguments);
  options.batch = static_cast<std::size_t>(arguments.integer("batch", 0, UINT16_MAX));
  Warnings warnings;

  Clock clock;
  Seconds seconds;
  host.show(0.0, "Opening the device");
  const Runtime runtime(warnings.logged(runtime_options(arguments)));
  host.show(0.01, "Reading " + input.path.filename().string());
  const Volume volume = Volume::open(input.path, input.series, host.part(0.01, 0.05, words));
  seconds.read = clock.lap();
  host.show(0.05, "Loading the model");
  const Model model = runtime.load(model_path, load, host.part(0.05, 0.1, words));
  for (const std::string &warning : warnings_of(model)) warnings.add(warning);
  seconds.load_model = clock.lap();
  const Labelmap labelmap = model.segment(volume, options, host.part(0.1, 0.9, words));
  seconds.segment = clock.lap();

  host.show(0.9, "Writing the segmentation");
  if (const auto path = outputs.staged("output_labels"); !path.empty()) {
    labelmap.write(path, host.part(0.9, 0.92, words));
  }
  if (const auto path = outputs.staged("dicom_seg"); !path.empty()) {
    labelmap.write_dicom_seg(path, {}, host.part(0.92, 0.96, words));
  }
  if (const auto path = outputs.staged("picture"); !path.empty()) {
    labelmap.write_picture(path, {}, host.part(0.96, 0.98, words));
  }
  if (const auto path = outputs.staged("report"); !path.empty()) {
    seconds.write = clock.lap();
    seconds.total = clock.total();
    const Run run{runtime, volume, model, labelmap, model_path, outputs.targets(), seconds, warnings.all()};
    write_report(run, path, host.part(0.98, 1.0, words));
  }
  host.check();
  outputs.commit();
  host.finish(warnings.closing_words());
}

const Module MODULE = {TRANSUNET_MODULE_ID, XMLModuleDescription, PARAMETERS, segment};

}  // namespace
}  // namespace transunet::slicer

const char XMLModuleDescription[] = TRANSUNET_MODULE_XML;

int ModuleEntryPoint(int count, char **words) { return transunet::slicer::enter(transunet::slicer::MODULE, count, words); }
