/* A host that loads the library, uses it, closes it and loads it again, as plugin hosts do. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transunet.h"

/* check.h calls the library, with which this program is not linked. */
#define CHECK(condition)                           \
  do {                                             \
    if (!(condition)) {                            \
      fprintf(stderr, "not true: %s\n", #condition); \
      exit(1);                                     \
    }                                              \
  } while (0)

typedef transunet_status (*create_fn)(const transunet_runtime_options *, transunet_runtime **, transunet_error **);
typedef void (*free_fn)(transunet_runtime *);
typedef uint32_t (*version_fn)(void);

/* ISO C has no cast from void * to a function pointer. */
static void function(void *library, const char *name, void *out) {
  void *symbol = dlsym(library, name);
  CHECK(symbol);
  memcpy(out, &symbol, sizeof symbol);
}

int main(void) {
  int round;
  for (round = 0; round < 3; round++) {
    transunet_runtime *runtime = NULL;
    create_fn create;
    free_fn release;
    version_fn version;
    void *library = dlopen("./libtransunet.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "%s\n", dlerror());
    CHECK(library);
    function(library, "transunet_abi_version", &version);
    function(library, "transunet_runtime_create", &create);
    function(library, "transunet_runtime_free", &release);
    CHECK(version() == TRANSUNET_ABI_VERSION);
    CHECK(create(NULL, &runtime, NULL) == TRANSUNET_STATUS_OK && runtime);
    release(runtime);
    CHECK(dlclose(library) == 0);
  }
  return 0;
}
