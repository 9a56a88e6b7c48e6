#include "arguments.hpp"

#include <charconv>
#include <locale>
#include <sstream>

namespace transunet::slicer {
namespace {

constexpr Parameter COMMON[] = {
    {"xml", Kind::Switch, ""},
    {"help", Kind::Switch, ""},
    {"version", Kind::Switch, ""},
    {"echo", Kind::Switch, ""},
    {"processinformationaddress", Kind::Text, ""},
    // For parameters that come back as text, of which there are none.
    {"returnparameterfile", Kind::File, ""},
};

const Parameter *find(View<const Parameter> known, const std::string &name) {
  for (const auto parameters : {known, common_parameters()}) {
    for (const Parameter &parameter : parameters) {
      if (name == parameter.name) return &parameter;
    }
  }
  return nullptr;
}

}  // namespace

View<const Parameter> common_parameters() noexcept { return COMMON; }

Arguments::Arguments(View<const Parameter> known, int count, const char *const *words) {
  for (int at = 1; at < count; at++) {
    // "--name value", "--name=value", or "--name" alone for a switch.
    const std::string word = words[at];
    const std::size_t equals = word.find('=');
    const bool is_flag = word.rfind("--", 0) == 0;
    const Parameter *parameter = is_flag ? find(known, word.substr(2, equals - 2)) : nullptr;
    if (!parameter) throw Refusal(word + " is not a parameter of this module; --help lists them");
    const std::string name = parameter->name;
    std::string value = "true";
    if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else if (parameter->kind != Kind::Switch) {
      if (++at == count) throw Refusal("--" + name + " has no value");
      value = words[at];
    }
    if (parameter->kind == Kind::Switch && value != "true" && value != "false") {
      throw Refusal("--" + name + " is \"" + value + "\", expected true or false");
    }
    if (!values_.emplace(name, value).second) throw Refusal("--" + name + " is given twice");
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

std::int64_t Arguments::integer(const std::string &name, std::int64_t least, std::int64_t most) const {
  const std::string &value = text(name);
  std::int64_t number = 0;
  const char *end = value.data() + value.size();
  const auto [rest, fault] = std::from_chars(value.data(), end, number);
  if (fault != std::errc() || rest != end || number < least || number > most) {
    throw Refusal("--" + name + " is \"" + value + "\", expected a whole number from " + std::to_string(least) + " to " +
                  std::to_string(most));
  }
  return number;
}

double Arguments::number(const std::string &name) const {
  std::istringstream in(text(name));
  in.imbue(std::locale::classic());
  double number = 0.0;
  if (!(in >> number) || !in.eof()) throw Refusal("--" + name + " is \"" + text(name) + "\", expected a number");
  return number;
}

}  // namespace transunet::slicer
