/* SPDX-License-Identifier: MIT */
/*
 * A thread that looks at the server's memory and threads every millisecond, and keeps what was
 * most. The RSS that the kernel remembers itself is exact (VmHWM, which is set back first).
 *
 * Of the kernel's share, the server's own are page tables (VmPTE) and the stacks of its threads, by
 * their known size. The rest is known for the whole machine only: the loss of MemAvailable, and the
 * buffers of TCP sockets, both ends of them.
 */
#include "test/bench/bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct watch {
	pthread_t thread;
	_Atomic bool stop;
	long avail_before, sockets_before;
	struct peak peak; /* the thread's, until it has ended */
};

static void keep_max(long *max, long now)
{
	if (now > *max)
		*max = now;
}

static void look(struct watch *w)
{
	struct proc_memory m;

	proc_memory(&m);
	keep_max(&w->peak.threads, m.threads);
	keep_max(&w->peak.rss_kb, m.peak_kb);
	keep_max(&w->peak.kernel_kb, m.tables_kb + m.threads * KERNEL_STACK_KB);
	keep_max(&w->peak.memory_kb, m.rss_kb + m.tables_kb + m.threads * KERNEL_STACK_KB);
	keep_max(&w->peak.avail_kb, w->avail_before - mem_available_kb());
	keep_max(&w->peak.sockets_kb, tcp_memory_kb() - w->sockets_before);
}

static void *watch_main(void *arg)
{
	struct timespec ms = {.tv_nsec = 1000000};
	struct watch *w = arg;

	while (!atomic_load(&w->stop)) {
		look(w);
		nanosleep(&ms, NULL);
	}
	look(w);
	return NULL;
}

/* From now on VmHWM is of now on. */
static void forget_peak(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)opt.pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "5", 1) != 1)
		die("%s cannot be written", path);
	close(fd);
}

struct watch *watch_begin(void)
{
	struct watch *w = xalloc(sizeof(*w));

	if (opt.pid == 0)
		die("%s: needs --pid", opt.mode);
	forget_peak();
	w->avail_before = mem_available_kb();
	w->sockets_before = tcp_memory_kb();
	if (pthread_create(&w->thread, NULL, watch_main, w) != 0)
		die("pthread_create failed");
	return w;
}

struct peak watch_end(struct watch *w)
{
	struct peak peak;

	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	peak = w->peak;
	free(w);
	return peak;
}

void peak_print(const char *prefix, const struct peak *p)
{
	printf(" %smemory_kb=%ld %srss_kb=%ld %skernel_kb=%ld %savail_kb=%ld %ssockets_kb=%ld"
	       " %sthreads=%ld",
		prefix, p->memory_kb, prefix, p->rss_kb, prefix, p->kernel_kb, prefix, p->avail_kb,
		prefix, p->sockets_kb, prefix, p->threads);
}
