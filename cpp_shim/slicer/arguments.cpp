#include "arguments.hpp"

#include <charconv>

namespace transunet::slicer {
namespace {

constexpr Parameter COMMON[] = {
    {"xml", "", boolean, ""},
    {"help", "h", boolean, ""},
    {"version", "", boolean, ""},
    {"echo", "", boolean, ""},
    {"processinformationaddress", "", string, ""},
    // For parameters that come back as text, of which there are none.
    {"returnparameterfile", "", file, ""},
};

/// The parameter that `word` ("--name", "--name=value" or "-f") means, and its value if that is in it.
struct Match {
  const Parameter *parameter = nullptr;
  std::optional<std::string> value;
};

Match match(View<const Parameter> known, const std::string &word) {
  const bool is_long = word.rfind("--", 0) == 0;
  const std::size_t equals = is_long ? word.find('=') : std::string::npos;
  Match found;
  if (equals != std::string::npos) found.value = word.substr(equals + 1);
  const std::string name = word.substr(is_long ? 2 : 1, is_long ? equals - 2 : std::string::npos);
  for (const auto parameters : {known, common_parameters()}) {
    for (const Parameter &parameter : parameters) {
      if (!name.empty() && name == (is_long ? parameter.name : parameter.flag)) found.parameter = &parameter;
    }
  }
  return found;
}

}  // namespace

View<const Parameter> common_parameters() noexcept { return COMMON; }

Arguments::Arguments(View<const Parameter> known, int count, const char *const *words) {
  for (int at = 1; at < count; at++) {
    const std::string word = words[at];
    auto [parameter, value] = word.rfind('-', 0) == 0 ? match(known, word) : Match{};
    if (!parameter) throw Refusal(word + " is not a parameter of this module; --help lists them");
    const std::string name = parameter->name;
    if (!value && parameter->kind == boolean) value = "true";
    if (!value && at + 1 < count) value = words[++at];
    if (!value) throw Refusal("--" + name + " has no value");
    if (parameter->kind == boolean && *value != "true" && *value != "false") {
      throw Refusal("--" + name + " is \"" + *value + "\", expected true or false");
    }
    if (!values_.emplace(name, *value).second) throw Refusal("--" + name + " is given twice");
  }
  for (const auto parameters : {known, common_parameters()}) {
    for (const Parameter &parameter : parameters) values_.emplace(parameter.name, parameter.initial);
  }
}

std::filesystem::path Arguments::path(const std::string &name) const {
  const std::string &value = text(name);
  if (value.rfind("slicer:", 0) == 0) {
    throw Refusal("--" + name + " is " + value +
                  ", which is in the host's memory; expected a file (keep AllowInMemoryTransfer off)");
  }
  return std::filesystem::u8path(value);
}

std::uint32_t Arguments::number(const std::string &name, std::uint32_t most) const {
  const std::string &value = text(name);
  if (value.empty()) return 0;
  std::uint32_t number = 0;
  const char *end = value.data() + value.size();
  const auto [rest, fault] = std::from_chars(value.data(), end, number);
  if (fault != std::errc() || rest != end || number > most) {
    throw Refusal("--" + name + " is \"" + value + "\", expected a whole number from 0 to " + std::to_string(most));
  }
  return number;
}

}  // namespace transunet::slicer
