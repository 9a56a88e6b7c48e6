#include "report.hpp"

#include "arguments.hpp"

#include <nlohmann/json.hpp>

#include <fstream>

namespace transunet::slicer {

using Json = nlohmann::ordered_json;

std::vector<std::string> warnings_of(const Model &model) {
  return Json::parse(model.describe()).at("warnings").get<std::vector<std::string>>();
}

void write_report(const Run &run, const std::filesystem::path &path, const Control &control) {
  const Json runtime = Json::parse(run.runtime.describe());
  const Json series = Json::parse(run.volume.describe()).at("series");
  const Json model = Json::parse(run.model.describe());
  const Json labelmap = Json::parse(run.labelmap.describe());
  const Json::json_pointer trained("/provenance/training/mixed_precision");
  Json report;
  report["transunet"] = version();
  report["model"] = detail::utf8(run.model_path);
  report["devices"] = runtime.at("devices");
  report["device_fallback"] = runtime.at("fallback");
  report["precision"] = model.at("precision");
  report["training_precision"] = model.contains(trained) ? model.at(trained) : Json();
  report["modality"] = series.is_null() ? Json() : series.at("modality");
  report.update(Json::parse(run.labelmap.statistics(control).str()));
  report["receipt"] = labelmap.at("receipt");
  report["outputs"] = Json::array();
  for (const auto &output : run.outputs) report["outputs"].push_back(detail::utf8(output));
  report["seconds"] = {{"read", run.seconds.read},
                       {"load_model", run.seconds.load_model},
                       {"segment", run.seconds.segment},
                       {"write", run.seconds.write},
                       {"total", run.seconds.total}};
  // Inside a host, the memory of the process is mostly the host's.
  report["peak_memory_bytes"] = nullptr;
  report["warnings"] = run.warnings;
  std::ofstream out(path, std::ios::binary);
  out << report.dump(2) << '\n' << std::flush;
  if (!out) throw Refusal(path.filename().string() + ": the report cannot be written");
}

}  // namespace transunet::slicer
