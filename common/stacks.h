/* SPDX-License-Identifier: MIT */
/*
 * The stacks of all threads, printed by a process that is about to end, as the Go runtime does upon
 * SIGQUIT. Each thread walks its own stack, in a handler of STACKS_SIGNAL, and stands still from
 * then on.
 */
#ifndef COMMON_STACKS_H
#define COMMON_STACKS_H

#include <stdint.h>

#include "common/stacks_signal.h"

/*
 * Stops all threads but the calling one for good. Prints title, and the names and stacks of all
 * threads to fd, one call per line: function and offset, then file and the address for addr2line. A
 * thread that does not answer within a second (stuck in the kernel, or with the signal blocked) is
 * only named. Returns at deadline_ns (monotonic) or little later, even if fd has no reader. Waits
 * for no lock, and does not call malloc. After this the caller can only _exit.
 */
void stacks_print(int fd, const char *title, int64_t deadline_ns);

#endif
