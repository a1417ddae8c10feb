/* SPDX-License-Identifier: MIT */
/*
 * Publish-to-receive latency at a fixed rate, open loop (open_loop.c).
 *
 * Two distributions are printed. `due`: from the due time, so a server that stalls the publisher is
 * charged for every message that should have gone out meanwhile (no coordinated omission). `sent`:
 * from the send. Their difference is how late the generator was, printed as `late`; on a machine
 * without real time it is part of `due` even with an infinitely fast server.
 *
 * The first 5 % of the messages warm up. They are not counted, nor is what they cost the server.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct latency {
	struct observer observer; /* first: it gets a pointer to it */
	uint64_t from, to;
	/* In ns, by sequence number, for each channel; of one message by one thread. */
	uint64_t *due, *sent, *late;
};

static void record(
	struct observer *o, int channel, const char *body, unsigned attempts, uint64_t received_at)
{
	struct latency *l = (struct latency *)o;
	struct stamps t;
	size_t i;

	(void)attempts;
	memcpy(&t, body, sizeof(t));
	if (t.seq < l->from || t.seq >= l->to)
		return;
	i = (size_t)(t.seq - l->from) * (size_t)opt.channels + (size_t)channel;
	l->due[i] = received_at - t.due;
	l->sent[i] = received_at - t.sent;
	l->late[i] = t.sent - t.due;
}

struct latency *latency_new(uint64_t from, uint64_t to)
{
	struct latency *l = xalloc(sizeof(*l));
	size_t size = (size_t)(to - from) * (size_t)opt.channels * sizeof(uint64_t);

	l->observer.delivered = record;
	l->from = from;
	l->to = to;
	l->due = xalloc(size);
	l->sent = xalloc(size);
	l->late = xalloc(size);
	return l;
}

struct observer *latency_observer(struct latency *l)
{
	return &l->observer;
}

void latency_free(struct latency *l)
{
	free(l->due);
	free(l->sent);
	free(l->late);
	free(l);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void print_distribution(const char *name, const char *unit, double scale, uint64_t *v, size_t n)
{
	static const struct {
		const char *name;
		double at;
	} points[] = {{"p50", 0.50}, {"p90", 0.90}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};

	qsort(v, n, sizeof(*v), compare);
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		printf(" %s_%s_%s=%.3f", name, points[i].name, unit,
			(double)v[(size_t)((double)(n - 1) * points[i].at)] / scale);
}

void latency_print(struct latency *l, const char *prefix, uint64_t from, uint64_t to)
{
	size_t channels = (size_t)opt.channels;
	size_t first = (size_t)(from - l->from) * channels, n = (size_t)(to - from) * channels;
	const struct {
		const char *name;
		uint64_t *v;
	} all[] = {{"due", l->due}, {"sent", l->sent}, {"late", l->late}};
	char name[32];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, all[i].name);
		print_distribution(name, "us", 1e3, all[i].v + first, n);
	}
}

void run_latency(void)
{
	uint64_t skip = opt.total / 20, n = (opt.total - skip) * (uint64_t)opt.channels;
	struct latency *l = latency_new(skip, opt.total);
	struct consumers *c = consumers_open(opt.total, latency_observer(l));
	struct source *sources = sources_open();
	struct proc_sample before, after;
	uint64_t t0, t1, timed;

	consumers_run(c);
	sources_publish(sources, 0, skip);
	tallies_await(consumers_tallies(c), skip);
	proc_sample(&before);
	t0 = now_ns();
	sources_publish(sources, skip, opt.total);
	t1 = consumers_finish(c, opt.total, &timed);
	proc_sample(&after);
	printf("mode=latency msgs=%llu rate=%.0f redelivered=%llu", (unsigned long long)n,
		(double)((timed - skip) * (uint64_t)opt.channels) * 1e9 / (double)(t1 - t0),
		(unsigned long long)consumers_redelivered(c));
	latency_print(l, "", skip, opt.total);
	proc_print(&before, &after, n);
	printf("\n");
	sources_close(sources);
	consumers_close(c);
	latency_free(l);
}
