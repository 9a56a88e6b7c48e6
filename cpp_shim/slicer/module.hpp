// A module as its host sees it: a description, a table of parameters, and one function.
#ifndef TRANSUNET_SLICER_MODULE_HPP
#define TRANSUNET_SLICER_MODULE_HPP

#include "arguments.hpp"
#include "host.hpp"

#include <transunet/runtime.hpp>

namespace transunet::slicer {

struct Module {
  const char *name;
  /// The description that --xml prints.
  const char *xml;
  View<const Parameter> parameters;
  void (*run)(const Arguments &, Host &);
};

/// What ModuleEntryPoint does: 0 after success and after a stop, anything else after an error, which std::cerr tells.
int enter(const Module &module, int count, char **words) noexcept;

/// What the library warned of, for the run's end: hosts take text on stderr for a failure.
class Warnings {
 public:
  /// `options` with a log that ends here; they must not outlive this.
  [[nodiscard]] RuntimeOptions logged(RuntimeOptions options);
  void add(const std::string &warning);
  [[nodiscard]] std::vector<std::string> all() const;
  /// "Done", and the first warning.
  [[nodiscard]] std::string closing_words() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> warnings_;
};

/// The device and threads that the parameters of these names ask for.
[[nodiscard]] RuntimeOptions runtime_options(const Arguments &arguments);

/// "slice 3 of 20".
[[nodiscard]] std::string count_words(const std::string &unit, const Progress &progress);

}  // namespace transunet::slicer

#endif
