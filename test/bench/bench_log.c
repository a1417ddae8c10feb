/* SPDX-License-Identifier: MIT */
/*
 * What the log does, without the rest of the daemon: appends by several threads, with and without
 * fdatasync, and readers of what is there.
 *
 *     bench_log DIRECTORY [SECONDS]
 *
 * Makes its logs below the directory, and removes them. Prints a row for each case: messages per
 * second, appends per commit, commits per second, processor time per message.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/xalloc.h"
#include "nsqd/log/log.h"
#include "nsqd/log/log_read.h"

#define MOST 64

static struct lg lg;
static int64_t run_ns = NSEC_PER_SEC;

struct worker {
	struct log *l;
	size_t batch, size;
	int64_t end_ns;
	uint64_t done;
};

static int64_t cpu_ns(void)
{
	struct rusage ru;
	getrusage(RUSAGE_SELF, &ru);
	return (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NSEC_PER_SEC +
	       (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * NSEC_PER_USEC;
}

static struct log *open_bench(bool disk)
{
	struct log *l = NULL;
	struct err err = {0};
	struct log_opts opts = {.dir = AT_FDCWD, .disk = disk, .lg = &lg, .topic = "bench"};
	if (log_open(&opts, &l, &err) != 0) {
		fprintf(stderr, "bench_log: %s\n", err.msg);
		exit(1);
	}
	return l;
}

static void append(void *arg)
{
	struct worker *w = arg;
	struct message *msgs[MOST];
	struct err err;
	for (size_t i = 0; i < w->batch; i++) {
		struct message_body *body = message_body_new(w->size);
		memset(body->data, 'x', w->size);
		msgs[i] =
			message_new((struct message_id){"0123456789abcdef"}, body, clock_wall_ns());
	}
	while (clock_mono_ns() < w->end_ns) {
		CHECK(log_append(w->l, msgs, w->batch, &err) == 0);
		w->done += w->batch;
	}
	message_unref_all(msgs, w->batch);
}

static void read_all(void *arg)
{
	struct worker *w = arg;
	struct log_reader *r = log_reader_open(w->l, 1, 0);
	struct log_item item;
	struct err err;
	while (log_reader_next(r, &item, &err) == LOG_READ_MESSAGE) {
		message_unref(item.msg);
		w->done++;
	}
	log_reader_close(r);
}

static void run(struct worker *workers, size_t n, void (*fn)(void *))
{
	struct wait_group wg;
	wait_group_init(&wg);
	for (size_t i = 0; i < n; i++)
		CHECK(wait_group_wrap(&wg, "bench", fn, &workers[i], NULL) == 0);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
}

static void report(const char *what, const struct worker *workers, size_t n, int64_t took,
	int64_t cpu, const struct log_stats *s)
{
	uint64_t done = 0;
	for (size_t i = 0; i < n; i++)
		done += workers[i].done;
	double seconds = (double)took / (double)NSEC_PER_SEC;
	printf("%-28s %2zu threads, %2zu x %4zu bytes: %9.0f messages/s, %6.2f us cpu each", what,
		n, workers[0].batch, workers[0].size, (double)done / seconds,
		(double)cpu / (double)done / 1000);
	if (s && s->commits > 0)
		printf(", %7.0f commits/s of %5.2f appends", (double)s->commits / seconds,
			(double)s->batches / (double)s->commits);
	printf("\n");
	fflush(stdout);
}

static void bench(bool disk, size_t threads, size_t batch, size_t size, bool reads)
{
	struct worker workers[MOST] = {{0}};
	struct log_stats s;
	struct err err = {0};
	struct log *l = open_bench(disk);
	int64_t start = clock_mono_ns(), cpu = cpu_ns();
	for (size_t i = 0; i < threads; i++)
		workers[i] = (struct worker){l, batch, size, start + run_ns, 0};
	run(workers, threads, append);
	log_get_stats(l, &s);
	report(disk ? "append, disk" : "append, process", workers, threads, clock_mono_ns() - start,
		cpu_ns() - cpu, &s);
	for (size_t n = 1; reads && n <= 8; n *= 8) {
		for (size_t i = 0; i < n; i++)
			workers[i] = (struct worker){l, 1, size, 0, 0};
		start = clock_mono_ns();
		cpu = cpu_ns();
		run(workers, n, read_all);
		report("read", workers, n, clock_mono_ns() - start, cpu_ns() - cpu, NULL);
	}
	CHECK(log_delete(l, AT_FDCWD, &err) == 0);
}

int main(int argc, char **argv)
{
	if (argc < 2 || chdir(argv[1]) != 0) {
		fprintf(stderr, "usage: bench_log DIRECTORY [SECONDS]\n");
		return 2;
	}
	if (argc > 2)
		run_ns = (int64_t)(atof(argv[2]) * (double)NSEC_PER_SEC);
	lg_init(&lg, STDERR_FILENO, "", LG_WARN);
	for (int disk = 0; disk < 2; disk++) {
		bench(disk, 2, 64, 200, !disk);
		bench(disk, 1, 64, 200, false);
		bench(disk, 1, 1, 200, false);
		bench(disk, 2, 1, 200, false);
		bench(disk, 16, 1, 200, false);
		bench(disk, 2, 1, 16384, false);
	}
	gothread_drain();
	lg_destroy(&lg);
	return 0;
}
