#ifndef CPU_H
#define CPU_H

#include "check.h"

static transunet_runtime *cpu(void) {
  transunet_runtime_options options = TRANSUNET_RUNTIME_OPTIONS_INIT;
  transunet_runtime *runtime = NULL;
  options.device = "cpu";
  SUCCEEDS(transunet_runtime_create(&options, &runtime, &error));
  return runtime;
}

#endif
