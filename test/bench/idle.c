/* SPDX-License-Identifier: MIT */
/*
 * Idle connections: opens opt.conns of them, subscribes every second one with RDY, answers
 * heartbeats and reports what the server pays for them. Nothing is published.
 *
 * What a thread costs is not all in the server's RSS. Kernel stacks are added to it by their known
 * size; they, task structures, page tables and socket buffers are also seen in MemAvailable, which
 * counts the generator's side of the sockets as well, and whatever else the machine does meanwhile.
 */
#include "test/bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { INPUT = 256, EVENTS = 64, HEARTBEAT_MS = 30000, REST_S = 5 };

static void answer(struct conn *c)
{
	struct frame f;
	size_t used = 0;

	conn_recv(c);
	while (conn_frame(c, &used, &f)) {
		if (!frame_is(&f, "_heartbeat_"))
			die("unexpected on an idle connection: %.*s", (int)f.len, f.data);
		conn_send(c, "NOP\n", 4);
	}
	conn_consume(c, used);
}

static void hold(struct conn *conns, int n, double seconds)
{
	struct epoll_event ev[EVENTS];
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0)
		die("epoll_create1: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &conns[i]};
		if (epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &e) != 0)
			die("epoll_ctl: %s", strerror(errno));
	}
	for (uint64_t now = now_ns(); now < end; now = now_ns()) {
		int k = epoll_wait(ep, ev, EVENTS, (int)((end - now) / 1000000) + 1);
		for (int i = 0; i < k; i++)
			answer(ev[i].data.ptr);
	}
	close(ep);
}

void run_idle(void)
{
	struct conn *conns = xalloc((size_t)opt.conns * sizeof(*conns));
	struct proc_sample empty, before, after;
	long avail, n = opt.conns;
	uint64_t t0, t1, t2;
	char rdy[32];
	int len = snprintf(rdy, sizeof(rdy), "RDY %d\n", opt.rdy);

	await_steady_memory();
	proc_sample(&empty);
	avail = mem_available_kb();
	t0 = now_ns();
	for (int i = 0; i < opt.conns; i++) {
		conn_open(&conns[i], opt.port, INPUT);
		conn_identify(&conns[i], HEARTBEAT_MS);
		if (i % 2 == 0) {
			conn_subscribe(&conns[i], opt.topic, opt.channel);
			conn_send(&conns[i], rdy, (size_t)len);
		}
	}
	t1 = now_ns();
	hold(conns, opt.conns, REST_S); /* lets the server settle */
	proc_sample(&before);
	avail -= mem_available_kb();
	t2 = now_ns();
	hold(conns, opt.conns, opt.seconds);
	proc_sample(&after);

	double held = (double)(now_ns() - t2) / 1e9;
	printf("mode=idle conns=%d seconds=%.3f open_us=%.1f open_cpu_us=%.1f", opt.conns, held,
		(double)(t1 - t0) / 1e3 / (double)n,
		(double)(before.cpu_ns - empty.cpu_ns) / 1e3 / (double)n);
	double rss = (double)(before.rss_kb - empty.rss_kb);
	double stacks = (double)(after.threads - empty.threads) * KERNEL_STACK_KB;
	printf(" rss_conn_kb=%.2f mem_conn_kb=%.2f avail_conn_kb=%.2f", rss / (double)n,
		(rss + stacks) / (double)n, (double)avail / (double)n);
	printf(" cpu_percent=%.2f ctx_per_s=%.0f threads=%d",
		(double)(after.cpu_ns - before.cpu_ns) / 1e7 / held,
		(double)(after.voluntary + after.involuntary - before.voluntary -
			 before.involuntary) /
			held,
		after.threads);
	printf(" rss_kb=%ld peak_kb=%ld\n", after.rss_kb, after.peak_kb);
	for (int i = 0; i < opt.conns; i++)
		conn_close(&conns[i]);
	free(conns);
}
