/* SPDX-License-Identifier: MIT */
/*
 * /proc, for GET /debug/ and GET /metrics. Go has no such file; client_golang's process collector
 * reads the same. Runs in any thread.
 */
#include "common/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/xalloc.h"

ssize_t proc_read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	buf[0] = '\0';
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, buf, size - 1);
	close(fd);
	buf[n < 0 ? 0 : n] = '\0';
	return n;
}

static int compare_ints(const void *a, const void *b)
{
	const int *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

int *proc_list_numbers(const char *dir, size_t *n)
{
	int *v = NULL;
	size_t cap = 0;
	DIR *d = opendir(dir);
	*n = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (*n == cap) {
			cap = cap ? cap * 2 : 64;
			v = xreallocarray(v, cap, sizeof(*v));
		}
		v[(*n)++] = atoi(e->d_name);
	}
	if (d)
		closedir(d);
	if (*n > 0)
		qsort(v, *n, sizeof(*v), compare_ints);
	return v;
}

static int64_t limit_of(int resource)
{
	struct rlimit r;
	if (getrlimit(resource, &r) != 0 || r.rlim_cur == RLIM_INFINITY || r.rlim_cur > INT64_MAX)
		return PROC_NONE;
	return (int64_t)r.rlim_cur;
}

/* A file with a number in it; "max" and no file are PROC_NONE. */
static int64_t number_in(const char *path)
{
	char text[64];
	if (proc_read_file(path, text, sizeof(text)) <= 0 || !isdigit((unsigned char)text[0]))
		return PROC_NONE;
	return strtoll(text, NULL, 10);
}

/* Linux 6.2 and later know without a look at each of them. */
static int64_t count_fds(void)
{
	struct stat st;
	size_t n;
	if (stat("/proc/self/fd", &st) != 0)
		return PROC_NONE;
	if (st.st_size > 0)
		return st.st_size;
	free(proc_list_numbers("/proc/self/fd", &n));
	/* One of them is the directory that was read. */
	return n > 0 ? (int64_t)n - 1 : PROC_NONE;
}

static int64_t count_threads(void)
{
	char status[4096];
	const char *line = NULL;
	if (proc_read_file("/proc/self/status", status, sizeof(status)) > 0)
		line = strstr(status, "\nThreads:");
	return line ? strtoll(line + strlen("\nThreads:"), NULL, 10) : PROC_NONE;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void proc_get_stats(struct proc_stats *out)
{
	char statm[128];
	long long size = 0, resident = 0, page = sysconf(_SC_PAGESIZE);
	struct rusage ru;
	*out = (struct proc_stats){
		.virtual_max = limit_of(RLIMIT_AS),
		.threads = count_threads(),
		.threads_max_user = geteuid() == 0 ? PROC_NONE : limit_of(RLIMIT_NPROC),
		.threads_max_system = number_in("/proc/sys/kernel/threads-max"),
		.threads_max_container = number_in("/sys/fs/cgroup/pids.max"),
		.open_fds = count_fds(),
		.max_fds = limit_of(RLIMIT_NOFILE),
	};
	if (proc_read_file("/proc/self/statm", statm, sizeof(statm)) > 0 &&
		sscanf(statm, "%lld %lld", &size, &resident) == 2) {
		out->virtual_bytes = size * page;
		out->resident_bytes = resident * page;
	}
	if (getrusage(RUSAGE_SELF, &ru) == 0)
		out->cpu_seconds = seconds(ru.ru_utime) + seconds(ru.ru_stime);
}
