/* SPDX-License-Identifier: MIT */
/* A goroutine without a thread: a thread that has something for it takes its next step. */
#include <stdio.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/runnext.h"

#include "test/course/go.h"

struct adder {
	struct task task;
	struct chan_case cases[1];
	struct waiter waiters[1];
	struct chan *in; /* of int */
	int v, sum;
	int by_others, by_owner, threads; /* steps taken; threads started for it */
	struct wait_group wg;
};

static struct adder adder; /* task is its first member */

/* The loop `for v := range in { sum += v }` in pieces: which cases ... */
static int prepare(struct task *t, bool owner)
{
	(void)owner;
	t->cases[0] = chan_case_recv(adder.in, &adder.v);
	return 1;
}

/* ... and what to do when one has fired. */
static enum task_result act(struct task *t, int chosen, bool owner)
{
	if (!t->cases[chosen].ok)
		return TASK_END;
	adder.sum += adder.v;
	if (owner)
		adder.by_owner++;
	else
		adder.by_others++;
	return TASK_ON;
}

/* May another thread than its own do it? Here a negative number stands for work that may block. */
static bool may_run(struct task *t, int chosen, size_t n)
{
	(void)t, (void)chosen, (void)n;
	return adder.v >= 0;
}

static void own(void *t)
{
	task_own(t, NSEC_PER_SEC);
}

/* A step is not for others: it gets a thread of its own, for as long as there is something to do. */
static void start_owner(struct task *t)
{
	adder.threads++;
	go(&adder.wg, "adder", own, t);
}

static void ended(struct task *t)
{
	(void)t;
	wait_group_done(&adder.wg);
}

static const struct task_ops ops = {prepare, may_run, act, start_owner, ended, NULL};

static void give(int v)
{
	runnext_begin();
	chan_send(adder.in, &v); /* the adder waits there: it is claimed, and kept for later */
	runnext_end();           /* now this thread takes its step */
}

int main(void)
{
	struct err err;

	if (runnext_start(&err) < 0) {
		printf("%s\n", err.msg);
		return 1;
	}
	adder.in = chan_new(sizeof(int), 0);
	wait_group_init(&adder.wg);
	wait_group_add(&adder.wg);
	task_init(&adder.task, adder.cases, adder.waiters, 1);
	task_start(&adder.task, &ops);

	for (int i = 1; i <= 1000; i++)
		give(i);
	printf("%d steps by others, %d by its own thread, ", adder.by_others, adder.by_owner);
	printf("%d threads started\n", adder.threads);

	give(-1);
	chan_close(adder.in);
	wait_group_wait(&adder.wg);
	printf("%d steps by others, %d by its own thread, ", adder.by_others, adder.by_owner);
	printf("%d threads started, sum %d\n", adder.threads, adder.sum);
	wait_group_destroy(&adder.wg);
	runnext_stop();
	gothread_drain();
	chan_free(adder.in);
	return 0;
}
