// What a segmentation run found and how, as the command `transunet segment --report` writes it.
#ifndef TRANSUNET_SLICER_REPORT_HPP
#define TRANSUNET_SLICER_REPORT_HPP

#include <transunet/transunet.hpp>

namespace transunet::slicer {

/// How long each part took.
struct Seconds {
  double read = 0.0, load_model = 0.0, segment = 0.0, write = 0.0, total = 0.0;
};

/// Everything that a report tells of.
struct Run {
  const Runtime &runtime;
  const Volume &volume;
  const Model &model;
  const Labelmap &labelmap;
  std::filesystem::path model_path;
  std::vector<std::filesystem::path> outputs;
  Seconds seconds;
  std::vector<std::string> warnings;
};

/// Warnings of the model: what to know before using it.
[[nodiscard]] std::vector<std::string> warnings_of(const Model &model);

/// Writes the report of `run` as JSON to a new file.
void write_report(const Run &run, const std::filesystem::path &path, const Control &control);

}  // namespace transunet::slicer

#endif
