/* SPDX-License-Identifier: MIT */
/*
 * Tasks for the tests of runnext and timerproc: workers, which receive numbers, and whose steps say
 * what a test wants. They look into a task for one thing: to know that it is parked and its owner
 * asleep, so that what happens next is decided by the test.
 */
#ifndef TEST_UNIT_TASK_HARNESS_H
#define TEST_UNIT_TASK_HARNESS_H

#include "test/unit/chan_harness.h"

#include "common/runnext.h"
#include "common/xalloc.h"

/* The cases of each worker; those of one test follow. */
enum { IN, QUIT, TICK, MORE, MAX_CASES = MORE + 2 };

#define WORKER_BATCH 32

struct worker;

/* What a test may leave NULL. In the thread with the claim. */
struct worker_ops {
	/* Adds cases from MORE on; returns how many there are in all. -1 as in struct task_ops. */
	int (*prepare)(struct worker *w, bool owner);
	bool (*may_run)(struct worker *w, int chosen, size_t n);
	enum task_result (*act)(struct worker *w, int chosen, size_t n, bool owner);
	/* In the owner, after task_run. */
	void (*after)(struct worker *w);
	/* Of a worker without a thread. NULL: an owner is started at once. */
	void (*go)(struct worker *w);
	void (*leave)(struct worker *w);
	void (*ended)(struct worker *w); /* adds to n_ended, or frees the worker */
};

struct worker {
	struct task task; /* first */
	struct chan_case cases[MAX_CASES];
	struct waiter waiters[MAX_CASES];
	const struct worker_ops *ops;
	void *arg;
	struct chan *in;   /* of uint64_t */
	struct chan *quit; /* a value ends the task */
	uint64_t values[WORKER_BATCH];
	size_t max; /* how many values a step takes; 0: none now */
	struct ticker ticker;
	bool inside;               /* plain: a race if two threads run the task */
	_Atomic size_t n_prepared; /* times */
	_Atomic size_t n_steps;    /* that acted on a case, but for QUIT */
	_Atomic size_t n_by_owner; /* of these */
	_Atomic uint64_t sum;      /* of what came */
	_Atomic int ran_by;        /* the thread that took the last of these steps */
	_Atomic int tid;           /* the owner; 0: not yet, or no longer */
	struct wait_group wg;
	/* Of a worker without a thread: */
	int64_t patience_ns;    /* of its owners */
	_Atomic size_t n_gone;  /* how often an owner was asked for */
	_Atomic size_t n_left;  /* how often one has left */
	_Atomic size_t n_ended; /* 1: and which thread that was */
	_Atomic int ended_by;
};

static inline void enter(struct worker *w)
{
	CHECK(!w->inside);
	w->inside = true;
}

static inline void leave(struct worker *w)
{
	w->inside = false;
}

static inline int worker_prepare(struct task *t, bool owner)
{
	struct worker *w = (struct worker *)t;
	int n = MORE;
	enter(w);
	atomic_fetch_add(&w->n_prepared, 1);
	t->cases[IN] = chan_case_recv_n(w->in, w->values, w->max);
	t->cases[QUIT] = chan_case_recv(w->quit, NULL);
	t->cases[TICK] = chan_case_tick(&w->ticker);
	if (w->ops->prepare)
		n = w->ops->prepare(w, owner);
	leave(w);
	return n;
}

static inline bool worker_may_run(struct task *t, int chosen, size_t n)
{
	struct worker *w = (struct worker *)t;
	enter(w);
	bool may = !w->ops->may_run || w->ops->may_run(w, chosen, n);
	leave(w);
	return may;
}

static inline enum task_result worker_act(struct task *t, int chosen, bool owner)
{
	struct worker *w = (struct worker *)t;
	size_t n = t->cases[chosen].n;
	enum task_result res = TASK_ON;
	enter(w);
	if (w->ops->act)
		res = w->ops->act(w, chosen, n, owner);
	if (chosen == QUIT)
		res = TASK_END;
	if (res != TASK_NOT_DONE && chosen != QUIT) {
		for (size_t i = 0; chosen == IN && i < n; i++)
			atomic_fetch_add(&w->sum, w->values[i]);
		atomic_store(&w->ran_by, gettid());
		if (gettid() == atomic_load(&w->tid))
			atomic_fetch_add(&w->n_by_owner, 1);
		atomic_fetch_add(&w->n_steps, 1); /* last: tests wait for it */
	}
	leave(w);
	return res;
}

static const struct task_ops worker_task_ops = {
	.prepare = worker_prepare, .may_run = worker_may_run, .act = worker_act};

static inline void worker_run(void *arg)
{
	struct worker *w = arg;
	atomic_store(&w->tid, gettid());
	task_run(&w->task, &worker_task_ops);
	if (w->ops->after)
		w->ops->after(w);
	atomic_store(&w->tid, 0);
}

/* How often the owner has gone to sleep; -1: it is not asleep now. */
static inline long sleeps_of(const struct worker *w)
{
	char path[64], line[128], state = 0;
	long n = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", atomic_load(&w->tid));
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "State: %c", &state);
		sscanf(line, "voluntary_ctxt_switches: %ld", &n);
	}
	if (f)
		fclose(f);
	return state == 'S' ? n : -1;
}

/* Is the task parked, and its owner asleep in the kernel for that? */
static inline bool is_asleep(struct worker *w)
{
	return atomic_load(&w->tid) != 0 && atomic_load(&w->n_prepared) > 0 &&
	       !park_is_claimed(&w->task.parker) && park_is_away(&w->task.parker) &&
	       sleeps_of(w) >= 0;
}

static inline void await_asleep(struct worker *w)
{
	wait_for(is_asleep(w));
}

/* A worker with room for cap numbers in its chan; NULL ops: it counts and adds. */
static inline struct worker *worker_new(const struct worker_ops *ops, size_t cap)
{
	static const struct worker_ops none;
	struct worker *w = xcalloc_aligned(_Alignof(struct worker), sizeof(*w));
	w->ops = ops ? ops : &none;
	w->in = chan_new(sizeof(uint64_t), cap);
	w->quit = chan_new(0, 1);
	w->max = WORKER_BATCH;
	task_init(&w->task, w->cases, w->waiters, MAX_CASES);
	wait_group_init(&w->wg);
	return w;
}

/* Returns when its owner sleeps. */
static inline void worker_go(struct worker *w)
{
	go(&w->wg, worker_run, w);
	await_asleep(w);
}

static inline struct worker *worker_start(const struct worker_ops *ops, size_t cap)
{
	struct worker *w = worker_new(ops, cap);
	worker_go(w);
	return w;
}

static inline void worker_free(struct worker *w)
{
	join(&w->wg);
	chan_free(w->in);
	chan_free(w->quit);
	free(w);
}

static inline void worker_stop(struct worker *w)
{
	chan_signal(w->quit);
	worker_free(w);
}

/* --- workers without a thread ----------------------------------------------------------------- */

/* The threads of all owners. Not part of a worker, which may end before the thread that woke it. */
static struct wait_group owners;

static inline void worker_own(void *arg)
{
	struct worker *w = arg;
	atomic_store(&w->tid, gettid());
	task_own(&w->task, w->patience_ns);
}

static inline void worker_get_owner(struct task *t)
{
	struct worker *w = (struct worker *)t;
	CHECK(!w->inside);
	atomic_fetch_add(&w->n_gone, 1);
	if (w->ops->go)
		w->ops->go(w);
	else
		go(&owners, worker_own, w);
}

static inline void worker_leave(struct task *t)
{
	struct worker *w = (struct worker *)t;
	enter(w);
	CHECK(atomic_exchange(&w->tid, 0) == gettid());
	/* The select is over: its cases and waiters are nobody's by now. */
	memset(w->cases, 0, sizeof(w->cases));
	memset(w->waiters, 0xdd, sizeof(w->waiters));
	if (w->ops->leave)
		w->ops->leave(w);
	leave(w);
	atomic_fetch_add(&w->n_left, 1);
}

static inline void worker_ended(struct task *t)
{
	struct worker *w = (struct worker *)t;
	CHECK(!w->inside && w->n_ended == 0);
	atomic_store(&w->ended_by, gettid());
	if (w->ops->ended)
		w->ops->ended(w);
	else
		atomic_fetch_add(&w->n_ended, 1); /* the test may free it now */
}

static inline void worker_begin(struct worker *w)
{
	static const struct task_ops ops = {.prepare = worker_prepare,
		.may_run = worker_may_run,
		.act = worker_act,
		.go = worker_get_owner,
		.ended = worker_ended,
		.leave = worker_leave};
	task_start(&w->task, &ops);
}

/* Is the task parked, and without an owner? */
static inline bool is_ownerless(struct worker *w)
{
	return park_is_absent(&w->task.parker) && !park_is_claimed(&w->task.parker);
}

/* Its owners stay for long. */
#define LONG_PATIENCE (600 * NSEC_PER_SEC)

static inline struct worker *worker_new_ownerless(const struct worker_ops *ops, size_t cap)
{
	struct worker *w = worker_new(ops, cap);
	w->patience_ns = LONG_PATIENCE;
	return w;
}

static inline struct worker *worker_start_ownerless(const struct worker_ops *ops, size_t cap)
{
	struct worker *w = worker_new_ownerless(ops, cap);
	worker_begin(w);
	assert_true(is_ownerless(w));
	return w;
}

/* It has ended, or is about to. */
static inline void worker_free_ownerless(struct worker *w)
{
	wait_for(w->n_ended == 1);
	worker_free(w);
}

static inline void worker_stop_ownerless(struct worker *w)
{
	chan_signal(w->quit);
	worker_free_ownerless(w);
}

static inline void give(struct worker *w, uint64_t value)
{
	CHECK(chan_try_send_n(w->in, &value, 1) == 1);
}

/* The same between a begin and an end: the calling thread takes the step, if any but the owner does. */
static inline void give_here(struct worker *w, uint64_t value)
{
	runnext_begin();
	give(w, value);
	runnext_end();
}

static inline int start_runnext(void **state)
{
	struct err err = {0};
	wait_group_init(&owners);
	return runnext_start(&err);
}

static inline int stop_runnext(void **state)
{
	join(&owners);
	runnext_stop();
	return 0;
}

#endif
