// What the file system offers beyond POSIX and Swift's Glibc does not show.
#pragma once
#include <sys/types.h>

// Gives the room of a piece of a file back; it reads as zeros from then on, and the file keeps its length. -1 with errno.
int skerry_punch(int descriptor, off_t start, off_t length);
