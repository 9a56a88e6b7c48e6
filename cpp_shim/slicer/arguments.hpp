// The command line that a host makes from a module's parameters.
#ifndef TRANSUNET_SLICER_ARGUMENTS_HPP
#define TRANSUNET_SLICER_ARGUMENTS_HPP

#include <transunet/values.hpp>

#include <map>
#include <stdexcept>

namespace transunet::slicer {

/// Types of parameters, as the plugin manifest calls them.
enum class Kind { Volume, Labels, Folder, File, Model, Text, Choice, Integer, Number, Switch };

/// One line of a module's parameter table.
struct Parameter {
  /// Also the long flag.
  const char *name;
  Kind kind;
  /// "" = not given.
  const char *initial;
};

/// What the host or the user asked for cannot be done; the text says why.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Values by name. Hosts leave out empty texts, so that an empty text means: not given.
class Arguments {
 public:
  /// Refuses what is not in `known` nor common to all modules, and parameters without their value or given twice.
  Arguments(View<const Parameter> known, int count, const char *const *words);

  [[nodiscard]] const std::string &text(const std::string &name) const { return values_.at(name); }
  [[nodiscard]] bool on(const std::string &name) const { return text(name) == "true"; }

  /// Empty if not given. Refuses what lies in the host's memory.
  [[nodiscard]] std::filesystem::path path(const std::string &name) const;

  /// Refuses all but whole numbers from `least` to `most`.
  [[nodiscard]] std::int64_t integer(const std::string &name, std::int64_t least, std::int64_t most) const;
  /// Refuses all but finite numbers, with a point whatever the locale.
  [[nodiscard]] double number(const std::string &name) const;

 private:
  std::map<std::string, std::string> values_;
};

/// What every module has besides: --xml, --help, --version, and what hosts pass files and addresses by.
[[nodiscard]] View<const Parameter> common_parameters() noexcept;

}  // namespace transunet::slicer

/// A line of the table that a .module.inc lists.
#define TRANSUNET_PARAMETER(name, kind, initial) {name, ::transunet::slicer::Kind::kind, initial},

#endif
