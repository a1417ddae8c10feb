/* SPDX-License-Identifier: MIT */
/* The process of a fuzz target: its start, its directory, and what it must not use up. */
#include "test/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/gothread.h"
#include "common/xalloc.h"

/* How long threads and descriptors may take to go: those of disk queues end a little later. */
#define PATIENCE (10 * NSEC_PER_SEC)

static char dir[4096];

char *input_string(struct input in)
{
	char *s = xcalloc(1, in.n + 1);
	if (in.n > 0)
		memcpy(s, in.p, in.n);
	return s;
}

void fuzz_process_init(void)
{
	xalloc_init();
	gothread_adopt("main");
}

/* --- files -------------------------------------------------------------------------------------- */

static void remove_dir(void)
{
	fuzz_empty_dir(dir);
	rmdir(dir);
}

const char *fuzz_dir(void)
{
	const char *parent = getenv("FUZZ_SCRATCH");
	if (*dir)
		return dir;
	if (!parent)
		parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(dir, sizeof(dir), "%s/nsqd-fuzz.XXXXXX", parent);
	CHECK(mkdtemp(dir) != NULL);
	atexit(remove_dir);
	return dir;
}

const char *fuzz_path(const char *name)
{
	static char path[4][sizeof(dir) + 256];
	static size_t i;
	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", fuzz_dir(), name);
	return path[i];
}

void fuzz_write_file(const char *path, const void *data, size_t n)
{
	(void)rmdir(path); /* an input may have made one there */
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK(n == 0 || write(fd, data, n) == (ssize_t)n);
	close(fd);
}

void fuzz_empty_dir(const char *path)
{
	char sub[2 * sizeof(dir)];
	DIR *d = opendir(path);
	struct dirent *e;
	CHECK(d != NULL);
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			unlinkat(dirfd(d), e->d_name, 0) == 0)
			continue;
		CHECK(snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) < (int)sizeof(sub));
		fuzz_empty_dir(sub);
		CHECK(rmdir(sub) == 0);
	}
	closedir(d);
}

/* --- what an input leaves behind ---------------------------------------------------------------- */

/* Pipes are libFuzzer's: it asks another program for the names of functions. */
static size_t count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	struct stat st;
	size_t n = 0;
	CHECK(d != NULL);
	while ((e = readdir(d)))
		n += fstatat(dirfd(d), e->d_name, &st, 0) == 0 && !S_ISFIFO(st.st_mode);
	closedir(d);
	return n;
}

void fuzz_check_resources(void)
{
	static size_t descriptors = SIZE_MAX, threads = SIZE_MAX;
	int64_t end_ns = clock_mono_ns() + PATIENCE;
	size_t d, t;
	for (;;) {
		d = count_descriptors();
		t = gothread_count();
		if ((d <= descriptors && t <= threads) || clock_mono_ns() >= end_ns)
			break;
		usleep(100);
	}
	CHECK(d <= descriptors);
	CHECK(t <= threads);
	descriptors = d;
	threads = t;
}
