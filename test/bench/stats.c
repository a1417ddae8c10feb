/* SPDX-License-Identifier: MIT */
/*
 * GET /stats?format=json, as a monitor sends it: a connection for each request, HTTP/1.0, so that
 * the answer ends with the connection.
 *
 * Mode stats publishes and consumes at a fixed rate (open_loop.c), first without requests, then
 * with one each --stats-interval from another thread. Both halves have the same number of messages,
 * and their latencies are printed apart (`quiet`, `busy`). At last nothing flows, and a few
 * requests show what one of them costs the server. Each answer must be complete, with all topics.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const uint64_t STALL_NS = 30000000000;

enum { ANSWER_MIN = 1 << 20, COSTED = 10, REQUESTS_MAX = 10000 };

/* One request at a time. */
struct monitor {
	char *answer;
	size_t len, cap;
	uint64_t took[REQUESTS_MAX]; /* ns from before connect() to the end of the answer */
	size_t n;
	_Atomic bool stop;
	pthread_t thread;
};

static void get(struct monitor *m, const char *path)
{
	char request[256];
	int n = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\nHost: bench\r\n\r\n", path);
	int fd = dial(opt.http_port);
	ssize_t got;

	send_all(fd, request, (size_t)n);
	m->len = 0;
	do {
		if (m->cap - m->len < 2) {
			m->cap = m->cap * 2 + ANSWER_MIN;
			m->answer = realloc(m->answer, m->cap);
			if (!m->answer)
				die("out of memory");
		}
		got = recv(fd, m->answer + m->len, m->cap - m->len - 1, 0);
		if (got < 0)
			die("no answer to GET %s", path);
		m->len += (size_t)got;
	} while (got > 0);
	close(fd);
	m->answer[m->len] = '\0';
	if (m->len < 12 || memcmp(m->answer, "HTTP/1.", 7) != 0 ||
		memcmp(m->answer + 8, " 200", 4) != 0)
		die("GET %s: %.80s", path, m->answer);
}

static void check_complete(const struct monitor *m)
{
	const char *end = m->answer + m->len;
	int topics = 0;

	while (end > m->answer && (end[-1] == '\n' || end[-1] == ' '))
		end--;
	if (end == m->answer || end[-1] != '}')
		die("/stats breaks off after %zu bytes", m->len);
	for (const char *p = m->answer; (p = strstr(p, "\"topic_name\":")) != NULL; p++)
		topics++;
	if (topics != opt.stored_topics + 1)
		die("/stats has %d topics of %d", topics, opt.stored_topics + 1);
}

static void measure(struct monitor *m)
{
	uint64_t began = now_ns();

	get(m, "/stats?format=json");
	if (m->n < REQUESTS_MAX)
		m->took[m->n++] = now_ns() - began;
	check_complete(m);
}

static void *monitor_main(void *arg)
{
	struct monitor *m = arg;

	for (uint64_t due = now_ns(); !atomic_load(&m->stop);) {
		struct timespec ms = {.tv_nsec = 1000000};
		if (now_ns() < due) {
			nanosleep(&ms, NULL);
			continue;
		}
		due += (uint64_t)opt.stats_interval * 1000000;
		measure(m);
	}
	return NULL;
}

/* What a request costs while nothing else goes on, in ms. */
static double cost_ms(struct monitor *m)
{
	struct proc_sample before, after;

	proc_sample(&before);
	for (int i = 0; i < COSTED; i++) {
		get(m, "/stats?format=json");
		check_complete(m);
	}
	proc_sample(&after);
	return (double)(after.cpu_ns - before.cpu_ns) / 1e6 / COSTED;
}

/* The second half, with requests. */
static void publish_monitored(struct monitor *m, struct source *sources, uint64_t from)
{
	if (pthread_create(&m->thread, NULL, monitor_main, m) != 0)
		die("pthread_create failed");
	sources_publish(sources, from, opt.total);
	atomic_store(&m->stop, true);
	pthread_join(m->thread, NULL);
}

void run_stats(void)
{
	uint64_t skip = opt.total / 20, half = skip + (opt.total - skip) / 2, timed;
	struct latency *l = latency_new(skip, opt.total);
	struct consumers *c = consumers_open(opt.total, latency_observer(l));
	struct source *sources = sources_open();
	struct monitor *m = xalloc(sizeof(*m));
	struct proc_sample before, after;
	double cost;

	consumers_run(c);
	sources_publish(sources, 0, skip);
	proc_sample(&before);
	sources_publish(sources, skip, half);
	publish_monitored(m, sources, half);
	tallies_await(consumers_tallies(c), opt.total);
	proc_sample(&after);
	cost = cost_ms(m);
	consumers_finish(c, opt.total, &timed);
	printf("mode=stats msgs=%llu requests=%zu request_cpu_ms=%.3f answer_kb=%.1f"
	       " redelivered=%llu",
		(unsigned long long)opt.total, m->n, cost, (double)m->len / 1024,
		(unsigned long long)consumers_redelivered(c));
	latency_print(l, "quiet_", skip, half);
	latency_print(l, "busy_", half, opt.total);
	print_distribution("request", "ms", 1e6, m->took, m->n);
	proc_print(&before, &after, opt.total - skip);
	printf("\n");
	sources_close(sources);
	consumers_close(c);
	latency_free(l);
	free(m->answer);
	free(m);
}

/* The number behind "NAME": in the last answer. */
static uint64_t number(const struct monitor *m, const char *name)
{
	char key[64];
	int n = snprintf(key, sizeof(key), "\"%s\":", name);
	const char *p = strstr(m->answer, key);

	if (!p)
		die("/stats has no %s", name);
	return strtoull(p + n, NULL, 10);
}

void stats_await(const char *counter, uint64_t expected)
{
	struct timespec pause = {.tv_nsec = 20000000};
	struct monitor m = {0};
	uint64_t before = UINT64_MAX, changed = now_ns();
	char path[256];

	snprintf(path, sizeof(path), "/stats?format=json&include_clients=false&topic=%s&channel=%s",
		opt.topic, opt.channel);
	for (;;) {
		uint64_t n;
		get(&m, path);
		n = number(&m, counter);
		if (n == expected)
			break;
		if (n != before)
			changed = now_ns();
		before = n;
		if (now_ns() - changed > STALL_NS)
			die("%s is %llu, not %llu", counter, (unsigned long long)n,
				(unsigned long long)expected);
		nanosleep(&pause, NULL);
	}
	free(m.answer);
}
