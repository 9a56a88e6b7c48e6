// The files of one run, which appear together or not at all.
#ifndef TRANSUNET_SLICER_OUTPUTS_HPP
#define TRANSUNET_SLICER_OUTPUTS_HPP

#include <filesystem>
#include <string>
#include <vector>

namespace transunet::slicer {

/// Files are written in hidden folders beside their targets and renamed when all of them are whole.
class Outputs {
 public:
  Outputs() = default;
  ~Outputs();
  Outputs(const Outputs &) = delete;
  Outputs &operator=(const Outputs &) = delete;

  /// Announces `target`, which parameter `name` gives; an empty path is none. Refuses now what could not be written later:
  /// a name without one of the `endings`, a folder, a missing or closed folder, a target that is named twice or is also
  /// among `sources`.
  void want(const std::string &name, const std::filesystem::path &target, const std::vector<std::string> &endings,
            const std::vector<std::filesystem::path> &sources);

  [[nodiscard]] bool empty() const noexcept { return files_.empty(); }
  [[nodiscard]] std::vector<std::filesystem::path> targets() const;

  /// Where to write the file of parameter `name`; empty if none is wanted.
  [[nodiscard]] std::filesystem::path staged(const std::string &name) const;

  /// Moves all files to their targets.
  void commit();

 private:
  struct File {
    std::string name;
    std::filesystem::path target, folder;
    [[nodiscard]] std::filesystem::path staged() const { return folder / target.filename(); }
  };

  std::vector<File> files_;
};

}  // namespace transunet::slicer

#endif
