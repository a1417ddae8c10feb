/* SPDX-License-Identifier: MIT */
/*
 * The stacks of all threads, as the last words of a process: what the Go runtime prints when
 * SIGQUIT ends it. Each thread walks its own stack, in a handler of STACKS_SIGNAL, and stands still
 * from then on.
 */
#ifndef COMMON_STACKS_H
#define COMMON_STACKS_H

#include <signal.h>
#include <stdint.h>

/*
 * The one signal that gothread leaves unblocked in its threads. Nothing happens to those that get
 * it from elsewhere: its default is to be ignored, and there is no handler before stacks_print. (It
 * is also the one that the Go runtime interrupts its threads with.)
 */
#define STACKS_SIGNAL SIGURG

/*
 * Stops all threads but the calling one for good, and prints title, and the names and stacks of all
 * of them to fd, one call per line: function and offset, file and what addr2line wants. Threads
 * that do not answer within a second (in the kernel's hands, or with the signal blocked) are named
 * only. Neither they nor an fd that nobody reads hold it up beyond deadline_ns (monotonic), or
 * little more. Waits for no lock, and takes no memory of malloc's. What is left for the caller is
 * _exit.
 */
void stacks_print(int fd, const char *title, int64_t deadline_ns);

#endif
