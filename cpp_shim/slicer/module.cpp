#include "module.hpp"

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include <transunet/library.hpp>

namespace transunet::slicer {
namespace {

ProcessInformation *information_at(const std::string &address) {
  char *end = nullptr;
  const unsigned long long number = std::strtoull(address.c_str(), &end, 16);
  if (!address.empty() && *end != '\0') throw Refusal("--processinformationaddress is " + address);
  return reinterpret_cast<ProcessInformation *>(static_cast<std::uintptr_t>(number));
}

void print_help(const Module &module) {
  std::cout << module.name << " (libtransunet " << version() << "), a command line module for 3D Slicer.\n"
            << "Its description is in " << module.name << ".xml; --xml prints it.\n\n";
  for (const auto parameters : {module.parameters, common_parameters()}) {
    for (const Parameter &parameter : parameters) {
      std::cout << "  --" << parameter.name;
      if (parameter.kind != Kind::Switch) std::cout << " VALUE";
      if (parameter.initial[0]) std::cout << "  [default: " << parameter.initial << "]";
      std::cout << '\n';
    }
  }
  std::cout << std::flush;
}

void serve(const Module &module, int count, char **words) {
  const Arguments arguments(module.parameters, count, words);
  if (arguments.on("xml")) {
    std::cout << module.xml << std::flush;
  } else if (arguments.on("help")) {
    print_help(module);
  } else if (arguments.on("version")) {
    std::cout << module.name << ' ' << version() << std::endl;
  } else {
    Host host(module.name, information_at(arguments.text("processinformationaddress")));
    module.run(arguments, host);
  }
}

}  // namespace

int enter(const Module &module, int count, char **words) noexcept {
  try {
    serve(module, count, words);
    return 0;
  } catch (const Cancelled &) {
    return 0;
  } catch (const std::exception &error) {
    // Hosts that load the module show what std::cerr got; stderr of the C library does not reach them.
    std::cerr << error.what() << std::endl;
  } catch (...) {
    std::cerr << module.name << ": an unknown exception" << std::endl;
  }
  return 1;
}

RuntimeOptions Warnings::logged(RuntimeOptions options) {
  options.log_level = LogLevel::Warn;
  options.on_log = [this](LogLevel, std::string_view, std::string_view message) { add(std::string(message)); };
  return options;
}

void Warnings::add(const std::string &warning) {
  const std::lock_guard<std::mutex> lock(mutex_);
  warnings_.push_back(warning);
}

std::vector<std::string> Warnings::all() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return warnings_;
}

std::string Warnings::closing_words() const {
  const auto warnings = all();
  if (warnings.empty()) return "Done";
  const std::string more = warnings.size() == 1 ? "" : " (and " + std::to_string(warnings.size() - 1) + " more warnings)";
  return "Done. Warning: " + warnings.front() + more;
}

RuntimeOptions runtime_options(const Arguments &arguments) {
  RuntimeOptions options;
  options.device = arguments.text("device");
  options.cpu_threads = static_cast<std::uint32_t>(arguments.integer("threads", 0, UINT16_MAX));
  return options;
}

std::string count_words(const std::string &unit, const Progress &progress) {
  const auto done = std::to_string(progress.done);
  return unit + " " + (progress.total == 0 ? done : done + " of " + std::to_string(progress.total));
}

}  // namespace transunet::slicer
