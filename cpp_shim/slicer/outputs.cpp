#include "outputs.hpp"

#include "arguments.hpp"

#include <algorithm>
#include <cctype>
#include <random>

namespace transunet::slicer {
namespace fs = std::filesystem;
namespace {

std::string in_lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool ends_with(const std::string &text, const std::string &ending) {
  return text.size() > ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

/// The path by which two names of one file are found to be the same.
fs::path real(const fs::path &path) {
  std::error_code fault;
  const fs::path folder = fs::canonical(fs::absolute(path).parent_path(), fault);
  return fault ? fs::absolute(path) : folder / path.filename();
}

/// A new folder beside `target`, which also shows that files can be made there.
fs::path folder_beside(const fs::path &target) {
  std::random_device random;
  for (int attempt = 0; attempt < 100; attempt++) {
    const fs::path folder = fs::absolute(target).parent_path() / (".transunet-" + std::to_string(random()));
    std::error_code fault;
    if (fs::create_directory(folder, fault)) return folder;
    if (fault) throw Refusal(target.string() + ": cannot create: " + fault.message());
  }
  throw Refusal(target.string() + ": cannot create a folder beside it");
}

}  // namespace

Outputs::~Outputs() {
  for (const File &file : files_) {
    std::error_code ignored;
    fs::remove_all(file.folder, ignored);
  }
}

void Outputs::want(const std::string &name, const fs::path &target, const std::vector<std::string> &endings,
                   const std::vector<fs::path> &sources) {
  if (target.empty()) return;
  const std::string lower = in_lower_case(target.filename().string());
  if (std::none_of(endings.begin(), endings.end(), [&](const auto &ending) { return ends_with(lower, ending); })) {
    std::string expected = endings.front();
    for (std::size_t n = 1; n < endings.size(); n++) expected += (n + 1 == endings.size() ? " or " : ", ") + endings[n];
    throw Refusal("--" + name + ": " + target.string() + ": expected a name that ends in " + expected);
  }
  std::error_code ignored;
  if (fs::is_directory(target, ignored)) throw Refusal("--" + name + ": " + target.string() + " is a folder");
  const fs::path place = real(target);
  for (const fs::path &source : sources) {
    if (!source.empty() && place == real(source)) {
      throw Refusal("--" + name + ": " + target.string() + " is also read; choose another name");
    }
  }
  for (const File &file : files_) {
    if (place == real(file.target)) {
      throw Refusal("--" + name + " and --" + file.name + " are both " + target.string());
    }
  }
  files_.push_back({name, target, folder_beside(target)});
}

std::vector<fs::path> Outputs::targets() const {
  std::vector<fs::path> targets;
  for (const File &file : files_) targets.push_back(file.target);
  return targets;
}

fs::path Outputs::staged(const std::string &name) const {
  for (const File &file : files_) {
    if (file.name == name) return file.staged();
  }
  return {};
}

void Outputs::commit() {
  std::vector<fs::path> fresh;
  for (const File &file : files_) {
    std::error_code fault;
    const bool replaces = fs::exists(file.target, fault);
    fs::rename(file.staged(), file.target, fault);
    if (fault) {
      std::error_code ignored;
      for (const fs::path &path : fresh) fs::remove(path, ignored);
      throw Refusal(file.target.string() + ": cannot write: " + fault.message());
    }
    if (!replaces) fresh.push_back(file.target);
  }
}

}  // namespace transunet::slicer
