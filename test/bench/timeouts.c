/* SPDX-License-Identifier: MIT */
/*
 * Timeouts: the consumers answer no first delivery, and finish the second one. In mode timeouts,
 * --total messages are there from the start, so all of them are in flight at once and run out. In
 * mode expiring they are published at a fixed rate (open_loop.c), so one at a time runs out.
 *
 * A message's deadline is its first delivery as seen here, plus msg_timeout. That is later than the
 * server's by the time the message took to come, and lateness is too small by that. One bound is
 * exact: no message may come again before the RDY that let them come, plus msg_timeout.
 *
 * The server's deadlines are as far apart as its deliveries were. So `span` is printed beside the
 * rate at which messages came again: the time from the first deadline to the last.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct timeouts {
	struct observer observer; /* first: it gets a pointer to it */
	uint64_t timeout;         /* ns */
	uint64_t not_before;      /* ns: no second delivery */
	/* In ns; only the one consuming thread uses them. */
	uint64_t *first_at; /* by sequence number */
	uint64_t *late;
	uint64_t n_late, first_again, first_due, last_due;
};

static void note_first(struct timeouts *t, uint64_t seq, uint64_t received_at)
{
	uint64_t due = received_at + t->timeout;

	t->first_at[seq] = received_at;
	if (t->first_due == 0)
		t->first_due = due;
	t->last_due = due;
}

/* What comes before it is due, as seen here, was late in coming the first time. */
static void note_again(struct timeouts *t, uint64_t seq, uint64_t received_at)
{
	uint64_t due = t->first_at[seq] + t->timeout;

	if (received_at < t->not_before)
		die("message %llu came again %.1f ms before any could have timed out",
			(unsigned long long)seq, (double)(t->not_before - received_at) / 1e6);
	if (t->first_again == 0)
		t->first_again = received_at;
	t->late[t->n_late++] = received_at > due ? received_at - due : 0;
}

static void delivered(
	struct observer *o, int channel, const char *body, unsigned attempts, uint64_t received_at)
{
	struct timeouts *t = (struct timeouts *)o;
	uint64_t seq;

	(void)channel;
	memcpy(&seq, body, sizeof(seq));
	if (attempts == 1)
		note_first(t, seq, received_at);
	else if (attempts == 2 && t->n_late < opt.total)
		note_again(t, seq, received_at);
}

/* Samples when all are in flight; in mode expiring, before the first one is published. */
static void let_run_out(const struct timeouts *t, struct consumers *c, struct source *sources,
	struct proc_sample *s)
{
	if (sources) {
		proc_sample(s);
		sources_publish(sources, 0, opt.total);
		return;
	}
	tallies_await_first(consumers_tallies(c), opt.total);
	if (now_ns() >= t->first_due)
		die("the first message timed out before the last one had come");
	proc_sample(s);
}

void run_timeouts(void)
{
	struct timeouts t = {.observer.delivered = delivered};
	struct consumers *c = consumers_open(opt.total, &t.observer);
	struct source *sources = strcmp(opt.mode, "expiring") == 0 ? sources_open() : NULL;
	struct proc_sample before, after;
	uint64_t marked, timed;

	t.timeout = (uint64_t)opt.msg_timeout * 1000000;
	t.first_at = xalloc(opt.total * sizeof(uint64_t));
	t.late = xalloc(opt.total * sizeof(uint64_t));
	t.not_before = now_ns() + t.timeout;
	consumers_run(c);
	let_run_out(&t, c, sources, &before);
	marked = consumers_finish(c, opt.total, &timed);
	proc_sample(&after);
	printf("mode=%s msgs=%llu rate=%.0f span_ms=%.1f redelivered=%llu", opt.mode,
		(unsigned long long)opt.total,
		(double)timed * 1e9 / (double)(marked - t.first_again),
		(double)(t.last_due - t.first_due) / 1e6,
		(unsigned long long)consumers_redelivered(c));
	print_distribution("late", "ms", 1e6, t.late, t.n_late);
	proc_print(&before, &after, opt.total);
	printf("\n");
	if (sources)
		sources_close(sources);
	consumers_close(c);
	free(t.first_at);
	free(t.late);
}
