#define _GNU_SOURCE
#include "file.h"

#include <fcntl.h>

int skerry_punch(int descriptor, off_t start, off_t length) {
  return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, length);
}
