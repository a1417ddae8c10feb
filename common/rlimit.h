/* SPDX-License-Identifier: MIT */
/* How many descriptors the process may have (Go's syscall/rlimit.go). */
#ifndef COMMON_RLIMIT_H
#define COMMON_RLIMIT_H

/*
 * Raises the soft limit of descriptors to the hard one, as the Go runtime does at its start: the
 * usual 1024 are for programs that call select(2), which this one does not. Where that fails the
 * limit stays. Before other threads.
 */
void rlimit_raise_nofile(void);
/* The limit as it is now: descriptors are below it. Any thread; one system call. */
int rlimit_nofile(void);

#endif
