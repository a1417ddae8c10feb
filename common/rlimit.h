/* SPDX-License-Identifier: MIT */
/* How many descriptors the process may have (syscall/rlimit.go). */
#ifndef COMMON_RLIMIT_H
#define COMMON_RLIMIT_H

/*
 * Raises the soft limit of descriptors to the hard one, as the Go runtime does at its start. The
 * usual 1024 are for programs that call select(2), and this daemon does not. If that fails, the
 * limit stays. To be called before other threads start.
 */
void rlimit_raise_nofile(void);
/* The current limit; all descriptors are below it. Any thread; one system call. */
int rlimit_nofile(void);

#endif
