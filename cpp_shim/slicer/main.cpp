// The executable form of a module: its shared form's entry point, and signals that stop it without leaving files.
#include "contract.hpp"
#include "host.hpp"

int main(int count, char **words) {
  for (const int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, [](int number) { transunet::slicer::interrupted = number; });
  }
  const int status = ModuleEntryPoint(count, words);
  // As a shell reports a process that a signal ended.
  return transunet::slicer::interrupted ? 128 + transunet::slicer::interrupted : status;
}
