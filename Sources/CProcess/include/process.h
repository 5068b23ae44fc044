// What Swift can't say or does not import from glibc: fork and exec, signal handlers, netlink. Used by Host alone.
#ifndef SKERRY_PROCESS_H
#define SKERRY_PROCESS_H
#include <stddef.h>
#include <sys/types.h>

struct skerry_spawn {
  const char *path;
  char *const *arguments;
  char *const *environment;
  int standard_input;   // descriptors that become 0, 1 and 2
  int standard_output;
  int standard_error;
  const int *passed;    // descriptors that become 3, 4 and so on; at most 32
  size_t passed_count;
  int nice;             // added to the niceness
  unsigned long address_space;  // RLIMIT_AS in bytes; 0 leaves it
  unsigned long open_files;     // RLIMIT_NOFILE; 0 leaves it
  unsigned long data;           // RLIMIT_DATA in bytes; 0 leaves it
  unsigned long file_size;      // RLIMIT_FSIZE in bytes; 0 leaves it
  int no_core;                  // 1: RLIMIT_CORE becomes 0
  int group;                    // a control group's file of processes, open for writing; -1: stays where the parent is
};

// Starts the program in a process group of its own, with no signal blocked or ignored, every other descriptor
// closed, and SIGKILL to come when the calling thread ends. 0, or the errno of the step that failed.
int skerry_spawn(const struct skerry_spawn *what, pid_t *pid, int *pidfd);

// Each of these signals becomes one byte, its number, in the pipe. 0 or an errno.
int skerry_signals_to_pipe(const int *numbers, size_t count, int descriptor);

int skerry_ignore_signal(int number);

// A pipe whose ends close on exec. 0 or an errno.
int skerry_pipe(int ends[2]);

// A socket that gets the kernel's news of links and routes (rtnetlink(7)), or minus an errno.
int skerry_route_socket(void);

// From here on the calling thread gets what the disk and the processor have left over.
void skerry_be_idle(void);

// The file that this code was loaded from, as the loader knows it; NULL when it does not.
const char *skerry_image(void);

void skerry_name_thread(const char *name);
#endif
