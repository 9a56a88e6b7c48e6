// The command line that a host makes from a module's parameters.
#ifndef TRANSUNET_SLICER_ARGUMENTS_HPP
#define TRANSUNET_SLICER_ARGUMENTS_HPP

#include <transunet/values.hpp>

#include <map>
#include <stdexcept>

namespace transunet::slicer {

/// Types of parameters, as the module's XML names them.
enum Kind { boolean, integer, string, string_enumeration, file, directory, image };

/// One line of a module's parameter table.
struct Parameter {
  /// Also the long flag.
  const char *name;
  /// A letter, or "".
  const char *flag;
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
  [[nodiscard]] bool flag(const std::string &name) const { return text(name) == "true"; }

  /// Empty if not given. Refuses what lies in the host's memory.
  [[nodiscard]] std::filesystem::path path(const std::string &name) const;

  /// Refuses all but whole numbers from 0 to `most`.
  [[nodiscard]] std::uint32_t number(const std::string &name, std::uint32_t most = UINT32_MAX) const;

 private:
  std::map<std::string, std::string> values_;
};

/// Flags that every module has, besides its own: --xml, --help, --version, and those by which hosts pass files and addresses.
[[nodiscard]] View<const Parameter> common_parameters() noexcept;

}  // namespace transunet::slicer

#endif
