/* SPDX-License-Identifier: MIT */
/*
 * SIGTERM to a server with opt.conns consumers (crowd.c): how long until the process is gone, with
 * its memory and its descriptors.
 *
 * Mode exit: each has just had a message, and the server has taken all FINs. So nothing may be left.
 *
 * Mode exit-traffic: a publisher with opt.outstanding commands at a time and all consumers are at
 * work. What the server has acknowledged must have come, or be there for the next server. The
 * numbers of those messages that have not come are printed (`unseen`). The publisher waits where
 * LAG_MAX messages have not come, so that it is the connections that take time, and not a backlog.
 */
#include "test/bench/bench.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

enum { END_S = 60, INPUT = 4096, LAG_MAX = 2000, TRAFFIC_MS = 1000 };

/* From SIGTERM to the end of the process, in s. */
static double end_server(void)
{
	struct pollfd p = {.fd = pidfd_open(opt.pid, 0), .events = POLLIN};
	uint64_t began = now_ns();

	if (p.fd < 0)
		die("pidfd_open %d: %s", (int)opt.pid, strerror(errno));
	if (kill(opt.pid, SIGTERM) != 0)
		die("kill: %s", strerror(errno));
	if (poll(&p, 1, END_S * 1000) != 1)
		die("the server did not end within %d s", END_S);
	close(p.fd);
	return (double)(now_ns() - began) / 1e9;
}

void run_exit(void)
{
	struct proc_sample before;
	struct crowd *c;
	double seconds;

	create_channels();
	c = crowd_new();
	crowd_connect(c);
	crowd_deliver(c);
	stats_await("in_flight_count", 0);
	proc_sample(&before);
	seconds = end_server();
	crowd_expect_end(c);
	printf("mode=exit msgs=%d redelivered=0 exit_s=%.4f threads=%d rss_kb=%ld\n", opt.conns,
		seconds, before.threads, before.rss_kb);
	crowd_free(c);
}

/* ---- in the middle of traffic ---- */

struct traffic {
	struct crowd *crowd;
	struct conn conn;
	char *out; /* opt.outstanding commands, one behind the other */
	size_t head, command;
	uint64_t sent, acknowledged; /* each is the first numbers: answers come in order */
	pthread_t thread;
};

static void build(struct traffic *t)
{
	char head[NAME_SIZE + 16];

	t->head = put_command(head, "PUB", opt.topic, opt.size);
	t->command = t->head + opt.size;
	t->out = xalloc((size_t)opt.outstanding * t->command);
	for (int i = 0; i < opt.outstanding; i++) {
		char *command = t->out + (size_t)i * t->command;
		memcpy(command, head, t->head);
		body_fill(command + t->head, opt.size, (uint32_t)i);
	}
}

static void publish_window(struct traffic *t)
{
	struct timespec ms = {.tv_nsec = 1000000};
	size_t n = 0;

	if (t->sent - crowd_seen(t->crowd) > LAG_MAX) {
		nanosleep(&ms, NULL);
		return;
	}
	for (; t->sent - t->acknowledged < (uint64_t)opt.outstanding; t->sent++)
		body_stamp(t->out + n++ * t->command + t->head, opt.size, t->sent);
	if (t->sent > CROWD_TRAFFIC_MAX)
		die("more messages than a crowd can note");
	conn_send(&t->conn, t->out, n * t->command);
}

static void read_answers(struct traffic *t)
{
	struct frame f;
	size_t used = 0;

	conn_recv(&t->conn);
	for (; conn_frame(&t->conn, &used, &f); t->acknowledged++) {
		if (f.type == FRAME_ERROR) { /* none of those behind it is acknowledged */
			t->conn.done = true;
			break;
		}
		if (!frame_is(&f, "OK") || t->acknowledged == t->sent)
			die("an answer to no publish: %.*s", (int)f.len, f.data);
	}
	conn_consume(&t->conn, used);
}

static void *publish_main(void *arg)
{
	struct traffic *t = arg;

	while (!t->conn.done) {
		publish_window(t);
		if (t->sent > t->acknowledged)
			read_answers(t);
	}
	return NULL;
}

void run_exit_traffic(void)
{
	struct traffic t = {0};
	struct proc_sample before;
	double seconds;

	create_channels();
	t.crowd = crowd_new();
	crowd_connect(t.crowd);
	conn_open(&t.conn, opt.port, INPUT);
	conn_identify(&t.conn, -1);
	build(&t);
	crowd_traffic_begin(t.crowd);
	if (pthread_create(&t.thread, NULL, publish_main, &t) != 0)
		die("pthread_create failed");
	usleep(TRAFFIC_MS * 1000);
	proc_sample(&before);
	conn_expect_end();
	seconds = end_server();
	pthread_join(t.thread, NULL);
	crowd_traffic_end(t.crowd);
	printf("mode=exit-traffic msgs=%llu redelivered=0 exit_s=%.4f threads=%d rss_kb=%ld"
	       " rate=%.0f seen=%llu unseen=",
		(unsigned long long)t.acknowledged, seconds, before.threads, before.rss_kb,
		(double)crowd_seen(t.crowd) * 1000 / TRAFFIC_MS,
		(unsigned long long)crowd_seen(t.crowd));
	crowd_print_unseen(t.crowd, t.acknowledged);
	printf("\n");
	conn_close(&t.conn);
	free(t.out);
	crowd_free(t.crowd);
}
