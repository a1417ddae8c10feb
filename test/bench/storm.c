/* SPDX-License-Identifier: MIT */
/*
 * Storms of connections.
 *
 * Mode storm: opt.conns consumers connect at once, and then get one message each (crowd.c). What it
 * costs the server in memory and threads is looked at every millisecond (watch.c), and shortly
 * beyond the last answer.
 *
 * Mode storm-latency: publishes and consumes at a fixed rate (open_loop.c), first alone, then while
 * --storm-rate short connections a second come from other threads (churn.c). Half of them publish
 * to a topic of their own, the other half subscribe to a channel of it. Both halves of the run have
 * the same number of messages, and their latencies are printed apart (`quiet`, `busy`).
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BEYOND_US = 200000, /* how long a peak is looked for after the work is done */
	STORMERS = 8,
	CONNECTIONS_MAX = 1 << 20,
};

/* ---- mode storm ---- */

static double ms_since(uint64_t began)
{
	return (double)(now_ns() - began) / 1e6;
}

void run_storm(void)
{
	struct crowd *c;
	struct peak connected, delivered;
	struct proc_sample before, between, after;
	struct watch *w;
	double connect_ms, deliver_ms;
	uint64_t began;

	create_channels();
	c = crowd_new();
	await_steady_memory();
	proc_sample(&before);
	w = watch_begin();
	began = now_ns();
	crowd_connect(c);
	connect_ms = ms_since(began);
	usleep(BEYOND_US);
	connected = watch_end(w);
	proc_sample(&between);
	w = watch_begin();
	began = now_ns();
	crowd_deliver(c);
	deliver_ms = ms_since(began);
	usleep(BEYOND_US);
	delivered = watch_end(w);
	proc_sample(&after);
	crowd_finish(c);
	printf("mode=storm msgs=%d redelivered=0 empty_kb=%ld connect_ms=%.1f deliver_ms=%.1f"
	       " connect_cpu_us=%.1f deliver_cpu_us=%.1f",
		opt.conns, before.rss_kb, connect_ms, deliver_ms,
		(double)(between.cpu_ns - before.cpu_ns) / 1e3 / opt.conns,
		(double)(after.cpu_ns - between.cpu_ns) / 1e3 / opt.conns);
	peak_print("connected_", &connected);
	peak_print("delivered_", &delivered);
	printf("\n");
	crowd_free(c);
}

/* ---- mode storm-latency ---- */

/* A thread that opens connections on time, of one kind. */
struct stormer {
	struct churner *churner;
	uint64_t interval; /* ns */
	uint64_t *took;    /* ns from when a connection was due to its end */
	size_t n;
	_Atomic bool *stop;
	pthread_t thread;
};

struct storm {
	char topic[NAME_SIZE];
	struct stormer list[STORMERS];
	_Atomic bool stop;
	uint64_t began;
	double seconds;
};

static void *stormer_main(void *arg)
{
	struct stormer *s = arg;

	for (uint64_t due = now_ns(); s->n < CONNECTIONS_MAX; due += s->interval) {
		sleep_until(due);
		if (atomic_load(s->stop))
			break;
		churner_once(s->churner, s->n);
		s->took[s->n++] = now_ns() - due;
	}
	return NULL;
}

static struct storm *storm_new(void)
{
	struct storm *s = xalloc(sizeof(*s));

	snprintf(s->topic, sizeof(s->topic), "%s-storm", opt.topic);
	create_channel(s->topic, opt.channel);
	for (int i = 0; i < STORMERS; i++) {
		struct stormer *one = &s->list[i];
		one->churner = churner_new(
			i % 2 == 0 ? CHURN_PUB : CHURN_SUB, (uint32_t)i, s->topic, opt.channel);
		one->interval = (uint64_t)(1e9 * STORMERS / opt.storm_rate);
		one->took = xalloc(CONNECTIONS_MAX * sizeof(*one->took));
		one->stop = &s->stop;
	}
	return s;
}

static void storm_begin(struct storm *s)
{
	s->began = now_ns();
	for (int i = 0; i < STORMERS; i++)
		if (pthread_create(&s->list[i].thread, NULL, stormer_main, &s->list[i]) != 0)
			die("pthread_create failed");
}

static void storm_end(struct storm *s)
{
	atomic_store(&s->stop, true);
	for (int i = 0; i < STORMERS; i++)
		pthread_join(s->list[i].thread, NULL);
	s->seconds = (double)(now_ns() - s->began) / 1e9;
}

/* A server that slows the storm down is charged for it: each took its time from when it was due. */
static void storm_print(struct storm *s)
{
	uint64_t *all = xalloc((size_t)STORMERS * CONNECTIONS_MAX * sizeof(*all));
	uint64_t published = 0;
	size_t n = 0;

	for (int i = 0; i < STORMERS; i++) {
		memcpy(all + n, s->list[i].took, s->list[i].n * sizeof(*all));
		n += s->list[i].n;
		published += i % 2 == 0 ? s->list[i].n : 0;
	}
	printf(" storm_rate=%.0f storm_published=%llu", (double)n / s->seconds,
		(unsigned long long)published);
	print_distribution("storm", "ms", 1e6, all, n);
	free(all);
}

static void storm_free(struct storm *s)
{
	for (int i = 0; i < STORMERS; i++) {
		churner_free(s->list[i].churner);
		free(s->list[i].took);
	}
	free(s);
}

void run_storm_latency(void)
{
	uint64_t skip = opt.total / 20, half = skip + (opt.total - skip) / 2, timed;
	struct latency *l = latency_new(skip, opt.total);
	struct consumers *c = consumers_open(opt.total, latency_observer(l));
	struct source *sources = sources_open();
	struct storm *s = storm_new();
	struct proc_sample before, after;

	consumers_run(c);
	sources_publish(sources, 0, half);
	tallies_await(consumers_tallies(c), half);
	proc_sample(&before);
	storm_begin(s);
	sources_publish(sources, half, opt.total);
	storm_end(s);
	proc_sample(&after);
	consumers_finish(c, opt.total, &timed);
	printf("mode=storm-latency msgs=%llu redelivered=%llu", (unsigned long long)opt.total,
		(unsigned long long)consumers_redelivered(c));
	latency_print(l, "quiet_", skip, half);
	latency_print(l, "busy_", half, opt.total);
	proc_print(&before, &after, opt.total - half);
	storm_print(s);
	printf("\n");
	sources_close(sources);
	consumers_close(c);
	latency_free(l);
	storm_free(s);
}
