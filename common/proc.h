/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about this process, and how much it may have. Any thread; the functions read
 * /proc, and do not wait for a disk.
 */
#ifndef COMMON_PROC_H
#define COMMON_PROC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads up to size - 1 bytes of a file, and terminates them. Returns how many, or -1: then buf is
 * "".
 */
ssize_t proc_read_file(const char *path, char *buf, size_t size);
/* The numbers that a directory of /proc has as names, sorted; *n of them. The caller frees them. */
int *proc_list_numbers(const char *dir, size_t *n);

/* Of a limit, and of what the kernel does not tell. */
#define PROC_NONE INT64_MAX

struct proc_stats {
	double cpu_seconds;
	int64_t virtual_bytes;
	int64_t virtual_max; /* PROC_NONE: no limit, as in the next ones */
	int64_t resident_bytes;
	int64_t threads;
	int64_t threads_max_user;      /* RLIMIT_NPROC, which does not hold for root */
	int64_t threads_max_system;    /* kernel.threads-max */
	int64_t threads_max_container; /* pids.max of the cgroup that is mounted at the top */
	int64_t open_fds;              /* PROC_NONE: not known */
	int64_t max_fds;
};

void proc_get_stats(struct proc_stats *out);

#endif
