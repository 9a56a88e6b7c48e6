#include "models.hpp"

#include <nlohmann/json.hpp>

#include <transunet/library.hpp>

namespace transunet::slicer {
namespace {

/// The path of model `id` in `folder`; of its only model, whatever its id, where `id` is empty.
std::filesystem::path model_in(const std::filesystem::path &folder, const std::string &id) {
  const auto models = nlohmann::json::parse(transunet::models(folder).str()).at("models");
  std::string ids;
  for (const auto &model : models) {
    if (model.at("id") == id || (id.empty() && models.size() == 1)) {
      return std::filesystem::u8path(model.at("path").get<std::string>());
    }
    ids += (ids.empty() ? "" : ", ") + model.at("id").get<std::string>();
  }
  if (models.empty()) throw Refusal("--model_folder: " + folder.string() + " has no model");
  throw Refusal("--model_folder: " + folder.string() + " has " + (id.empty() ? "several models" : "no model " + id) +
                "; it has: " + ids);
}

}  // namespace

std::filesystem::path chosen_model(const Arguments &arguments) {
  const auto file = arguments.path("model_file"), folder = arguments.path("model_folder");
  if (!file.empty()) {
    if (!std::filesystem::is_regular_file(file)) throw Refusal("--model_file: " + file.string() + " is not a file");
    return file;
  }
  const std::string &model = arguments.text("model");
  const std::string id = model == "file" ? "" : model;
  if (!folder.empty()) return model_in(folder, id);
  if (id.empty()) throw Refusal("no model: expected --model, --model_file or --model_folder");
  return std::filesystem::u8path(id);
}

}  // namespace transunet::slicer
