/* SPDX-License-Identifier: MIT */
/*
 * The model of tasks: scenarios of runnext.c and timerproc.c. Threads wake a task, and take its
 * steps or leave them to its owner. One thread at a time takes a step, no value is lost, and no
 * step that is due is left undone.
 */
#include <stdlib.h>

#include "common/gothread.h"
#include "common/runnext.h"
#include "common/xalloc.h"

#include "test/model/mc.h"
#include "test/model/mc_stubs.h"

enum { VALUE, TICK, EXIT, CASES };

/* A task that receives from a, until something comes from the chan exit. */
struct receiver {
	struct task task;
	struct chan_case cases[CASES];
	struct waiter waiters[CASES];
	struct ticker ticker;
	struct chan *a;
	struct chan *to; /* if not NULL, it passes on what it gets */
	int v;
	_Atomic bool in_step; /* one thread at a time */
	_Atomic bool waits;   /* for an owner, of which there was none */
	/* 1: a value is the owner's; 2: that is found out in the step; 3: the first one is. */
	int no_step;
};

static MC_GHOST struct chan *a, *b, *ex;
static MC_GHOST struct receiver *r;
static int values[] = {0, 1, 2, 3, 4};
static MC_GHOST int times_got[5], n_got, n_ticks;
static MC_GHOST int n_ended;

void mc_always(void)
{
}

static void enter(struct receiver *q)
{
	/* Relaxed: it must not be what puts the steps of two threads in order. */
	MC_CHECK(!atomic_exchange_explicit(&q->in_step, true, memory_order_relaxed));
}

static void leave_step(struct receiver *q)
{
	MC_CHECK(atomic_exchange_explicit(&q->in_step, false, memory_order_relaxed));
}

static int prepare(struct task *t, bool owner)
{
	struct receiver *q = (struct receiver *)t;
	(void)owner;
	enter(q);
	q->cases[VALUE] = chan_case_recv(q->a, &q->v);
	q->cases[TICK] = chan_case_tick(&q->ticker);
	q->cases[EXIT] = chan_case_recv(ex, NULL);
	leave_step(q);
	return CASES;
}

static bool may_run(struct task *t, int chosen, size_t n)
{
	struct receiver *q = (struct receiver *)t;
	(void)n;
	return chosen != VALUE || !(q->no_step == 1 || (q->no_step == 3 && n_got == 0));
}

static enum task_result act(struct task *t, int chosen, bool owner)
{
	struct receiver *q = (struct receiver *)t;
	enter(q);
	if (chosen == VALUE && q->no_step == 2 && !owner) {
		leave_step(q);
		return TASK_NOT_DONE;
	}
	if (chosen == TICK)
		n_ticks++;
	if (chosen == VALUE && q->to) {
		MC_CHECK(chan_try_send_n(q->to, NULL, 1) == 1);
	} else if (chosen == VALUE) {
		MC_CHECK(times_got[q->v]++ == 0);
		n_got++;
	}
	leave_step(q);
	return chosen == EXIT ? TASK_END : TASK_ON;
}

static const struct task_ops owned = {.prepare = prepare, .may_run = may_run, .act = act};

static struct receiver *new_receiver(struct chan *from)
{
	struct receiver *q = xcalloc_aligned(_Alignof(struct receiver), sizeof(*q));
	q->a = from;
	q->no_step = mc_param("nostep", 0);
	task_init(&q->task, q->cases, q->waiters, CASES);
	return q;
}

static void own_it(void *arg)
{
	struct receiver *q = arg;
	task_run(&q->task, &owned);
	n_ended++;
}

/* Sends as a thread that takes steps, or as one that does not. */
static void send_and_run(void *arg)
{
	runnext_begin();
	chan_send(a, arg);
	runnext_end();
}

static void send_only(void *arg)
{
	chan_send(a, arg);
}

static bool all_got(void *arg)
{
	return n_got + n_ticks >= (int)(intptr_t)arg;
}

static bool have_ended(void *arg)
{
	return n_ended == (int)(intptr_t)arg;
}

/* Ends so many tasks, and then timerproc. */
static void end_tasks(int n)
{
	for (int i = 0; i < n; i++)
		chan_send(ex, NULL);
	mc_wait(have_ended, (void *)(intptr_t)n);
	runnext_stop();
}

/* When all has come. */
static void end_it(void *arg)
{
	mc_wait(all_got, arg);
	end_tasks(1);
}

static void make(void)
{
	struct err err;
	a = chan_new(sizeof(int), (size_t)mc_param("cap", 0));
	b = chan_new(0, 2);
	ex = chan_new(0, 0);
	MC_CHECK(runnext_start(&err) == 0);
	mc_settle();
}

/* Two wakers, of which one takes steps, and an owner. */
static void setup_owned(void)
{
	make();
	mc_set_timeouts(0);
	r = new_receiver(a);
	mc_go("owner", own_it, r);
	if (mc_param("parked", 1))
		mc_settle();
	mc_go("send, run", send_and_run, &values[1]);
	if (mc_param("both", 0))
		mc_go("send, run 2", send_and_run, &values[2]);
	else
		mc_go("send", send_only, &values[2]);
	mc_go("end", end_it, (void *)2);
}

static void end_owned(void)
{
	MC_CHECK(n_ended == 1 && n_got == 2);
}

/* A ticker, and a value that may come before, after, or at the same time. */
static void setup_ticker(void)
{
	make();
	mc_set_timeouts((unsigned)mc_param("timeouts", 0));
	r = new_receiver(a);
	ticker_after(&r->ticker, 100);
	mc_go("owner", own_it, r);
	mc_go("send, run", send_and_run, &values[1]);
	mc_go("end", end_it, (void *)2);
}

static void end_ticker(void)
{
	MC_CHECK(n_ended == 1 && n_got + n_ticks >= 2 && n_got <= 1);
	MC_CHECK(n_ticks == 1);
}

/* A thread that keeps the tasks which it has woken, and then waits for what they do. */
static MC_GHOST struct chan *woken[2];

static void wake_and_wait(void *arg)
{
	int n = (int)(intptr_t)arg;
	runnext_begin();
	for (int i = 0; i < n; i++)
		chan_signal(woken[i]);
	for (int i = 0; i < n; i++)
		MC_CHECK(chan_recv(b, NULL));
	runnext_end();
	end_tasks(n);
}

static void setup_blocks(void)
{
	int n = mc_param("tasks", 1);
	make();
	mc_set_timeouts(0);
	for (int i = 0; i < n; i++) {
		woken[i] = chan_new(sizeof(int), 1);
		r = new_receiver(woken[i]);
		r->to = b;
		mc_go("owner", own_it, r);
	}
	mc_settle();
	mc_go("wake", wake_and_wait, (void *)(intptr_t)n);
}

static void end_blocks(void)
{
	MC_CHECK(n_ended == mc_param("tasks", 1));
}

/* --- a task without an owner ------------------------------------------------------------------ */

static struct wait_group owners;
static MC_GHOST struct receiver *tasks[2]; /* all of them; NULL: it has ended */

static void be_owner(void *arg)
{
	task_own(arg, 50);
}

static bool start_owner(struct task *t)
{
	struct err err;
	return wait_group_wrap(&owners, "owner", be_owner, t, &err) == 0;
}

static void go_owner(struct task *t)
{
	if (!start_owner(t))
		atomic_store(&((struct receiver *)t)->waits, true);
}

static void ended_without(struct task *t)
{
	for (int i = 0; i < 2; i++) {
		if (tasks[i] == (struct receiver *)t)
			tasks[i] = NULL;
	}
	free(t);
	n_ended++;
}

static const struct task_ops ownerless = {
	.prepare = prepare, .may_run = may_run, .act = act, .go = go_owner, .ended = ended_without};

/* One that waits for an owner. */
static struct receiver *one_that_waits(void)
{
	for (int i = 0; i < 2; i++) {
		if (tasks[i] && tasks[i]->waits)
			return tasks[i];
	}
	return NULL;
}

static bool waits_or_all_ended(void *arg)
{
	(void)arg;
	return one_that_waits() || (!tasks[0] && !tasks[1]);
}

/* What io_loop does for a client's pump: now and then it tries again. */
static void retry(void *arg)
{
	(void)arg;
	for (;;) {
		mc_wait(waits_or_all_ended, NULL);
		struct receiver *q = one_that_waits();
		if (!q)
			return;
		atomic_store(&q->waits, false);
		if (start_owner(&q->task))
			continue;
		task_relieve(&q->task);
		atomic_store(&q->waits, true);
	}
}

static void start_it(void *arg)
{
	struct receiver *q = arg;
	task_start(&q->task, &ownerless);
}

static void setup_ownerless(void)
{
	make();
	mc_set_timeouts((unsigned)mc_param("timeouts", 1));
	mc_thread_failures = mc_param("failures", 0);
	r = tasks[0] = new_receiver(a);
	if (mc_param("tick", 0))
		ticker_after(&r->ticker, 100);
	mc_go("start", start_it, r);
	mc_settle();
	mc_go("retry", retry, NULL);
	mc_go("send, run", send_and_run, &values[1]);
	if (mc_param("sends", 2) > 1)
		mc_go("send", mc_param("both", 0) ? send_and_run : send_only, &values[2]);
	mc_go("end", end_it, (void *)(intptr_t)(mc_param("sends", 2) + mc_param("tick", 0)));
}

/*
 * A thread keeps two tasks, and then waits for what they do. The first has the second to hand on,
 * and there is no thread for it.
 */
static void setup_relieve(void)
{
	make();
	mc_set_timeouts(0);
	for (int i = 0; i < 2; i++) {
		woken[i] = chan_new(sizeof(int), 1);
		tasks[i] = new_receiver(woken[i]);
		tasks[i]->to = b;
		mc_go("start", start_it, tasks[i]);
	}
	mc_settle();
	mc_thread_failures = mc_param("failures", 2);
	mc_go("retry", retry, NULL);
	mc_go("wake", wake_and_wait, (void *)2);
}

static void end_relieve(void)
{
	MC_CHECK(n_ended == 2 && owners.running == 0);
}

static void end_ownerless(void)
{
	MC_CHECK(n_ended == 1 && n_got == mc_param("sends", 2) && owners.running == 0);
}

const struct mc_scenario mc_scenarios[] = {
	{"ownerless", setup_ownerless, end_ownerless},
	{"relieve", setup_relieve, end_relieve},
	{"owned", setup_owned, end_owned},
	{"blocks", setup_blocks, end_blocks},
	{"ticker", setup_ticker, end_ticker},
	{NULL, NULL, NULL},
};
