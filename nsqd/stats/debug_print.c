/* SPDX-License-Identifier: MIT */
/*
 * The page of GET /debug/, with what the process uses. No Go file: stock has the profiles of
 * net/http/pprof. Runs in the threads of HTTP connections.
 */
#include "nsqd/stats/debug_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/gothread.h"
#include "common/libc.h"
#include "common/proc.h"
#include "common/strbuf.h"
#include "common/version.h"
#include "common/xalloc.h"

/* --- threads ---------------------------------------------------------------------------------- */

struct thread {
	int tid;
	char *name; /* owned */
};

struct threads {
	struct thread *v;
	size_t n;
	size_t cap;
};

/* gothread_each calls it with the list of threads locked: it only copies. */
static void add_thread(void *arg, const char *name, int tid)
{
	struct threads *t = arg;
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->v = xreallocarray(t->v, t->cap, sizeof(*t->v));
	}
	t->v[t->n++] = (struct thread){.tid = tid, .name = xstrdup(name)};
}

static int compare_tids(const void *a, const void *b)
{
	const struct thread *x = a, *y = b;
	return (x->tid > y->tid) - (x->tid < y->tid);
}

/* A line for one of /proc/self/task: state and CPU seconds, and the full name if we know it. */
static void print_thread(struct strbuf *out, int tid, const struct threads *known)
{
	char path[64], stat[512], state = '?';
	unsigned long long user = 0, system = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	if (proc_read_file(path, stat, sizeof(stat)) <= 0)
		return; /* ended meanwhile */
	/* "tid (name) state ...": a name may contain anything but is followed by the last ")". */
	char *open = strchr(stat, '('), *close = strrchr(stat, ')');
	if (!open || !close)
		return;
	*close = '\0';
	sscanf(close + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &state, &user,
		&system);
	const struct thread key = {.tid = tid};
	const struct thread *t = bsearch(&key, known->v, known->n, sizeof(key), compare_tids);
	double hz = (double)sysconf(_SC_CLK_TCK);
	strbuf_addf(out, "   %-8d %c %10.2f  %s\n", tid, state, (double)(user + system) / hz,
		t ? t->name : open + 1);
}

static void print_limit(struct strbuf *out, const char *name, int resource)
{
	struct rlimit r;
	if (getrlimit(resource, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
		strbuf_addf(out, "   %-25s\tunlimited\n", name);
	else
		strbuf_addf(out, "   %-25s\t%ju\n", name, (uintmax_t)r.rlim_cur);
}

static void print_file_limit(struct strbuf *out, const char *name, const char *path)
{
	char buf[64];
	if (proc_read_file(path, buf, sizeof(buf)) <= 0)
		return;
	buf[strcspn(buf, "\n")] = '\0';
	strbuf_addf(out, "   %-25s\t%s\n", name, buf);
}

static void print_threads(struct strbuf *out)
{
	struct threads known = {0};
	size_t n;
	gothread_each(add_thread, &known);
	if (known.n > 0)
		qsort(known.v, known.n, sizeof(*known.v), compare_tids);
	int *tids = proc_list_numbers("/proc/self/task", &n);
	strbuf_addf(out, "\nThreads: %zu\n   %-25s\t%zu\n", n, "kept", gothread_kept());
	print_limit(out, "limit_user", RLIMIT_NPROC);
	print_file_limit(out, "limit_system", "/proc/sys/kernel/threads-max");
	print_file_limit(out, "limit_container", "/sys/fs/cgroup/pids.max");
	strbuf_addf(out, "\n   %-8s %s %10s  %s\n", "tid", "S", "cpu_sec", "name");
	for (size_t i = 0; i < n; i++)
		print_thread(out, tids[i], &known);
	free(tids);
	for (size_t i = 0; i < known.n; i++)
		free(known.v[i].name);
	free(known.v);
}

/* --- the rest of the page --------------------------------------------------------------------- */

static void print_descriptors(struct strbuf *out)
{
	size_t n;
	free(proc_list_numbers("/proc/self/fd", &n));
	/* One of them is the directory that was read. */
	strbuf_addf(out, "\nDescriptors: %zu\n", n > 0 ? n - 1 : 0);
	print_limit(out, "limit", RLIMIT_NOFILE);
}

static void print_allocator(struct strbuf *out)
{
	const struct libc_mallinfo mi = libc_get_mallinfo();
	const struct {
		const char *name;
		size_t value;
	} rows[] = {
		{"arena_bytes", mi.arena},
		{"arena_used_bytes", mi.uordblks},
		{"arena_free_bytes", mi.fordblks},
		{"arena_free_chunks", mi.ordblks},
		{"arena_trimmable_bytes", mi.keepcost},
		{"mapped_blocks", mi.hblks},
		{"mapped_bytes", mi.hblkhd},
	};
	strbuf_adds(out, "\nAllocator:\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		strbuf_addf(out, "   %-25s\t%zu\n", rows[i].name, rows[i].value);
}

static void print_process(struct strbuf *out)
{
	char statm[128];
	unsigned long long size = 0, resident = 0;
	struct rusage ru;
	if (proc_read_file("/proc/self/statm", statm, sizeof(statm)) > 0)
		sscanf(statm, "%llu %llu", &size, &resident);
	const unsigned long long page = (unsigned long long)sysconf(_SC_PAGESIZE);
	strbuf_addf(out, "\nProcess: %d\n   %-25s\t%llu\n   %-25s\t%llu\n", (int)getpid(),
		"virtual_bytes", size * page, "resident_bytes", resident * page);
	if (getrusage(RUSAGE_SELF, &ru) == 0)
		strbuf_addf(out, "   %-25s\t%.3f\n   %-25s\t%.3f\n", "cpu_user_sec",
			(double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6,
			"cpu_system_sec",
			(double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6);
}

void debug_print(struct strbuf *out)
{
	strbuf_adds(out, VERSION_STRING "\n" PRODUCT_STRING "\n");
	print_process(out);
	print_descriptors(out);
	print_allocator(out);
	print_threads(out);
}
