// What 3D Slicer and CTK hosts expect of a command line module that they load as a shared library.
#ifndef TRANSUNET_SLICER_CONTRACT_HPP
#define TRANSUNET_SLICER_CONTRACT_HPP

#include "logo.hpp"

#include <cstddef>

#if defined(_WIN32)
#  define MODULE_EXPORT __declspec(dllexport)
#else
#  define MODULE_EXPORT __attribute__((visibility("default")))
#endif

namespace transunet::slicer {

/// The host's struct whose address follows --processinformationaddress. Names and layout are SlicerExecutionModel's.
struct ProcessInformation {
  /// Set by the host, from another thread, to stop the module.
  volatile unsigned char Abort;
  /// 0 to 1: of everything, and of the part at hand.
  float Progress, StageProgress;
  char ProgressMessage[1024];
  /// Called after each change; may be NULL.
  void (*ProgressCallbackFunction)(void *);
  void *ProgressCallbackClientData;
  /// Seconds.
  double ElapsedTime;
};

static_assert(sizeof(void *) != 8 || (offsetof(ProcessInformation, Progress) == 4 &&
                                      offsetof(ProcessInformation, ProgressMessage) == 12 &&
                                      offsetof(ProcessInformation, ProgressCallbackFunction) == 1040 &&
                                      offsetof(ProcessInformation, ElapsedTime) == 1056));

}  // namespace transunet::slicer

// The symbols that hosts look up.
extern "C" {
/// The text itself: a pointer to it would be read as the text.
MODULE_EXPORT extern const char XMLModuleDescription[];
MODULE_EXPORT int ModuleEntryPoint(int count, char **words);

MODULE_EXPORT extern const transunet::slicer::logo::Image ModuleLogoImage;
MODULE_EXPORT extern const int ModuleLogoWidth;
MODULE_EXPORT extern const int ModuleLogoHeight;
MODULE_EXPORT extern const int ModuleLogoPixelSize;
MODULE_EXPORT extern const unsigned long ModuleLogoLength;
}

#endif
