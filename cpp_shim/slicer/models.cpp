#include "models.hpp"

#include <nlohmann/json.hpp>

#include <transunet/library.hpp>

namespace transunet::slicer {
namespace fs = std::filesystem;
namespace {

/// The one model of `folder`, or the installed one with `id`; nothing where there is not exactly that.
std::optional<fs::path> listed(const fs::path &folder, const std::string &id) {
  const auto models = nlohmann::json::parse(transunet::models(folder).str()).at("models");
  if (!folder.empty() && models.size() != 1) return std::nullopt;
  for (const auto &model : models) {
    if (!folder.empty() || model.at("id") == id) return fs::u8path(model.at("path").get<std::string>());
  }
  return std::nullopt;
}

}  // namespace

fs::path chosen_model(const Arguments &arguments) {
  const fs::path file = arguments.path("model_file"), folder = arguments.path("model_folder");
  if (!file.empty() && !folder.empty()) {
    throw Refusal("--model_file and --model_folder are both given: expected one of them");
  }
  if (!file.empty()) {
    if (!fs::is_regular_file(file)) throw Refusal("--model_file: " + file.string() + " is not a file");
    return file;
  }
  const std::string &id = arguments.text("model");
  // What is not found goes to the library as it is, whose error says what there is.
  return listed(folder, id).value_or(folder.empty() ? fs::u8path(id) : folder);
}

}  // namespace transunet::slicer
