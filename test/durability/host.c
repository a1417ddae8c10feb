/* SPDX-License-Identifier: MIT */
/*
 * A host whose wall clock and disk obey a test: a library in front of libc (LD_PRELOAD). The file that
 * HOST_FILE names has a struct host, which may change at any time. All threads of the daemon call this.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct host {
	int64_t clock_ns; /* CLOCK_REALTIME shows so much more */
	int64_t hangs;    /* not 0: pread does not return */
};

static int (*real_clock_gettime)(clockid_t clock, struct timespec *ts);
static ssize_t (*real_pread)(int fd, void *buf, size_t n, off_t off);
static const volatile struct host *host;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void)
{
	const char *name = getenv("HOST_FILE");
	*(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	*(void **)&real_pread = dlsym(RTLD_NEXT, "pread");
	int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0 || !real_clock_gettime || !real_pread)
		abort();
	void *p = mmap(NULL, sizeof(*host), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		abort();
	host = p;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	pthread_once(&once, begin);
	int rc = real_clock_gettime(clock, ts);
	if (rc != 0 || clock != CLOCK_REALTIME)
		return rc;
	int64_t ns = ts->tv_sec * INT64_C(1000000000) + ts->tv_nsec + host->clock_ns;
	ts->tv_sec = ns / INT64_C(1000000000);
	ts->tv_nsec = ns % INT64_C(1000000000);
	return 0;
}

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	pthread_once(&once, begin);
	while (host->hangs)
		nanosleep(&pause, NULL);
	return real_pread(fd, buf, n, off);
}
