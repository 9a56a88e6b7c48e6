/* Stands in for libcuda (CARDS, INIT_RESULT; ANCIENT lacks some of its functions; on one that is FULL
 * others have taken all memory) and, empty as it is, for libnvrtc:
 * drivers that this machine does not have. */
#include <string.h>

#ifdef CARDS
int cuInit(unsigned flags) { return flags == 0 ? INIT_RESULT : 1; }
int cuGetErrorString(int result, const char **text) {
  (void)result;
  *text = "as the test wants";
  return 0;
}
int cuDeviceGetCount(int *count) {
  *count = CARDS;
  return 0;
}
int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return 0;
}
int cuDeviceGetName(char *name, int size, int device) {
  strncpy(name, device == 0 ? "Fake GPU 0" : "Fake GPU 1", (size_t)size);
  return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  *bytes = (size_t)(device + 1) << 30;
  return 0;
}
#ifndef ANCIENT
int cuDriverGetVersion(int *version) {
  *version = 13020;
  return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : device; /* major of the compute capability */
  return 0;
}
#endif
#ifdef FULL
int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = 0;
  return device < 0 ? 101 : 2; /* out of memory */
}
#endif
#else
int nvrtc_stands_here;
#endif
