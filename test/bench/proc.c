/* SPDX-License-Identifier: MIT */
/*
 * What the server has used, from outside. CPU time comes from the CPU clock of the process:
 * nanoseconds, and threads that have ended are in it. Context switches are kept per thread and are
 * lost with it, so samples are taken while the connections are open. Memory is the process's since
 * its start.
 */
#include "test/bench/bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts) != 0)
		return 0;
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static size_t read_file(int dir, const char *path, char *buf, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return 0;
	/* Files of /proc may come page by page. */
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	buf[len] = '\0';
	return len;
}

static long field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p == NULL ? 0 : strtol(p + strlen(name), NULL, 10);
}

static void sample_threads(struct proc_sample *s)
{
	char path[64], buf[4096];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)opt.pid);
	d = opendir(path);
	if (!d)
		die("no server process %d", (int)opt.pid);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%.20s/status", e->d_name);
		if (read_file(dirfd(d), path, buf, sizeof(buf)) == 0)
			continue; /* has just ended */
		s->threads++;
		s->voluntary += (uint64_t)field(buf, "\nvoluntary_ctxt_switches:");
		s->involuntary += (uint64_t)field(buf, "\nnonvoluntary_ctxt_switches:");
	}
	closedir(d);
}

void proc_memory(struct proc_memory *m)
{
	char path[64], buf[4096];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)opt.pid);
	if (read_file(AT_FDCWD, path, buf, sizeof(buf)) == 0)
		die("no server process %d", (int)opt.pid);
	m->rss_kb = field(buf, "\nVmRSS:");
	m->peak_kb = field(buf, "\nVmHWM:");
	m->tables_kb = field(buf, "\nVmPTE:");
	m->threads = field(buf, "\nThreads:");
}

int proc_descriptors(void)
{
	char path[64];
	int n = 0;
	DIR *d;

	if (opt.pid == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)opt.pid);
	d = opendir(path);
	if (!d)
		die("no server process %d", (int)opt.pid);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* 0 where the kernel does not count it, or may not say. */
static uint64_t disk_bytes(void)
{
	char path[64], buf[1024];

	snprintf(path, sizeof(path), "/proc/%d/io", (int)opt.pid);
	if (read_file(AT_FDCWD, path, buf, sizeof(buf)) == 0)
		return 0;
	return (uint64_t)field(buf, "\nwrite_bytes:");
}

void proc_sample(struct proc_sample *s)
{
	struct proc_memory m;
	clockid_t clock;

	memset(s, 0, sizeof(*s));
	s->own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (opt.pid == 0)
		return;
	if (clock_getcpuclockid(opt.pid, &clock) != 0)
		die("no server process %d", (int)opt.pid);
	s->cpu_ns = clock_ns(clock);
	s->disk_bytes = disk_bytes();
	sample_threads(s);
	proc_memory(&m);
	s->rss_kb = m.rss_kb;
	s->peak_kb = m.peak_kb;
}

/*
 * Pages that processors keep for themselves after they were freed: a kernel since 6.7 lets that be
 * hundreds of MB after many threads have ended, and counts them as neither free nor available.
 */
static long per_cpu_lists_kb(void)
{
	static char buf[256 * 1024];
	long pages = 0;

	read_file(AT_FDCWD, "/proc/zoneinfo", buf, sizeof(buf));
	for (char *p = strstr(buf, " count:"); p; p = strstr(p + 1, " count:"))
		pages += atol(p + sizeof(" count:") - 1);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

long mem_available_kb(void)
{
	char buf[4096];

	read_file(AT_FDCWD, "/proc/meminfo", buf, sizeof(buf));
	return field(buf, "\nMemAvailable:") + per_cpu_lists_kb();
}

void await_steady_memory(void)
{
	long last = mem_available_kb(), steady = 0;

	for (int i = 0; i < 100 && steady < 5; i++) {
		long now;

		usleep(100000);
		now = mem_available_kb();
		steady = labs(now - last) < 1024 ? steady + 1 : 0;
		last = now;
	}
}

long tcp_memory_kb(void)
{
	char buf[1024];
	char *tcp;

	read_file(AT_FDCWD, "/proc/net/sockstat", buf, sizeof(buf));
	tcp = strstr(buf, "TCP:");
	return tcp == NULL ? 0 : field(tcp, " mem") * (sysconf(_SC_PAGESIZE) / 1024);
}

void proc_print(const struct proc_sample *a, const struct proc_sample *b, uint64_t messages)
{
	double n = (double)messages;

	printf(" gen_us=%.3f", (double)(b->own_cpu_ns - a->own_cpu_ns) / 1e3 / n);
	if (opt.pid == 0)
		return;
	printf(" disk_b=%.1f", (double)(b->disk_bytes - a->disk_bytes) / n);
	printf(" cpu_us=%.3f vcs=%.4f ics=%.4f ctx=%.4f threads=%d rss_kb=%ld peak_kb=%ld",
		(double)(b->cpu_ns - a->cpu_ns) / 1e3 / n,
		(double)(b->voluntary - a->voluntary) / n,
		(double)(b->involuntary - a->involuntary) / n,
		(double)(b->voluntary + b->involuntary - a->voluntary - a->involuntary) / n,
		b->threads, b->rss_kb, b->peak_kb);
}
