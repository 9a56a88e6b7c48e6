/* Checks of the C tests: the first that fails says where and ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transunet.h"

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

static void check_outcome(const char *file, int line, transunet_status status, transunet_status expected,
                          transunet_error *error, const char *word) {
  if (status != expected || transunet_error_code(error) != expected ||
      !strstr(transunet_error_message(error), word)) {
    fprintf(stderr, "%s:%d: status %d (%s), error %d \"%s\"; expected %d and \"%s\"\n", file, line, (int)status,
            transunet_status_name(status), (int)transunet_error_code(error), transunet_error_message(error),
            (int)expected, word);
    exit(1);
  }
  transunet_error_free(error);
}

/* `call` passes &error. On success the error is NULL, whatever it held before. */
#define SUCCEEDS(call)                                                      \
  do {                                                                      \
    transunet_error *error = (transunet_error *)(void *)&error;             \
    transunet_status status_ = (call);                                      \
    if (status_ != 0) fprintf(stderr, "%s\n", transunet_error_message(error)); \
    CHECK(status_ == TRANSUNET_STATUS_OK && error == NULL);                 \
  } while (0)

#define FAILS(call, status, word)                                           \
  do {                                                                      \
    transunet_error *error = (transunet_error *)(void *)&error;             \
    transunet_status status_ = (call);                                      \
    check_outcome(__FILE__, __LINE__, status_, status, error, word);        \
  } while (0)

/* 100, with a message that has `word`. */
#define REFUSED(call, word) FAILS(call, TRANSUNET_STATUS_INVALID_ARGUMENT, word)

#endif
