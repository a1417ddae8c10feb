/* SPDX-License-Identifier: MIT */
/*
 * runnext: the next step of a parked thread, taken by the thread that wakes it.
 *
 * In Go, a goroutine that readies another puts it into runnext of its processor. So the other runs
 * next, on the same thread of the kernel, and no thread is woken (runtime/proc.go). Here a goroutine
 * is a thread, and to wake one costs microseconds. But a thread that does nothing but select and act
 * need not be woken for that: what it does is a function, what it knows is a struct. So its waker
 * may take the step in its place, and leave it asleep.
 *
 * Such a thread is the owner of a *task*. It runs task_run, a loop of
 *
 *      prepare: which cases?      select      act: run the case
 *
 * Each turn of this loop is a *step*. A thread that wakes a task claims it. It may then hand the
 * task to its owner, as park_wake does; or it takes the step itself, as long as that cannot block.
 * The next select is made in the owner's place, too, and the task is parked again. docs/channels.md
 * has the argument why that is right, and docs/runnext.md the story.
 *
 * A thread runs the steps of others only if it says so:
 *
 *      runnext_begin();
 *      chan_signal(c);         the task that receives from c is claimed, and kept
 *      ...                     other work; locks may be held, and nothing should block
 *      runnext_end();          its step is taken here, and those of tasks that this wakes
 *
 * Between the two it should not block. Where it has to, it calls runnext_handoff() before, unless it
 * blocks on a chan, which does that by itself. Task steps that the thread has no time for go to the
 * owner of the first of them, which goes on with the others as well.
 *
 * A task of task_run has its owner from start to end. One of task_start begins without: it is
 * *ownerless*. Where an owner would be woken, it gets one: ops->go starts a thread that calls
 * task_own. That thread leaves when it has slept for a while, and the task is ownerless again.
 */
#ifndef COMMON_RUNNEXT_H
#define COMMON_RUNNEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan_internal.h"
#include "common/err.h"
#include "common/park.h"
#include "common/select_internal.h"
#include "common/timerproc.h"

/* The most cases that the select of any task has. */
#define TASK_CASES 10
/* The most steps that a thread takes in one go for others. */
#define RUNNEXT_STEPS 16
/* A task that is woken by more values than this is worth its own thread: there is much to do. */
#define RUNNEXT_VALUES 16

struct task;

enum task_result {
	TASK_ON,       /* done: the next select */
	TASK_END,      /* done: there is no next select, the task has ended */
	TASK_NOT_DONE, /* nothing is done, it is the owner's to do. Not the owner */
};

/*
 * What makes a task. One thread at a time calls these functions, the one with the claim; it holds no
 * lock. owner: it is the task's own thread, which may block; but it keeps the tasks that it wakes, so
 * before that it calls runnext_handoff, unless it blocks on a chan. Else it is any thread, the owner
 * or another, and must not block, nor take long.
 */
struct task_ops {
	/*
	 * Fills t->cases for the next select; returns how many, at most t->max_cases. One of them at
	 * least is a chan's. -1: there is no next select (owner); it is the owner's to prepare
	 * (another thread, which has done nothing then that could not be done again).
	 */
	int (*prepare)(struct task *t, bool owner);
	/*
	 * May another thread than the owner run this case, with n values? It has not been run. Locks
	 * may be held. A guess: act may still refuse, and tickers are not asked about before.
	 */
	bool (*may_run)(struct task *t, int chosen, size_t n);
	/* Runs case number chosen. */
	enum task_result (*act)(struct task *t, int chosen, bool owner);

	/* The next three are for task_start; of a task of task_run they are NULL. */

	/*
	 * The task needs an owner: starts a thread that calls task_own. Called once each time, by any
	 * thread. Locks may be held, though no chan's, so it takes leaf locks only, and must not
	 * block. Once that thread may run, t is that thread's: go touches it no more. If none can be
	 * had now, go keeps the request, and starts one later. Until then the task stands still.
	 */
	void (*go)(struct task *t);
	/*
	 * The task has ended: the last access to t, whose memory may be freed here. Called once, by
	 * the thread that took the last step: the owner or another, so it must not block. What it
	 * wakes, the thread keeps, as after a step.
	 */
	void (*ended)(struct task *t);
	/*
	 * May be NULL. The owner leaves: the task gives up what is on that thread's stack or its
	 * alone. Steps and perhaps other owners follow. By the owner, which must not block.
	 */
	void (*leave)(struct task *t);
};

/*
 * The user's memory: it lives until task_run returns, or ops->ended is called. What is not said to
 * be another's belongs to the thread with the claim. The parker has a line of the cache of its own.
 * So malloc does not do for a struct that contains a task: xcalloc_aligned(_Alignof(struct x),
 * sizeof(struct x)) does, freed by free.
 */
struct task {
	struct parker parker;       /* see park.h; claimed, unless the task is parked */
	const struct task_ops *ops; /* immutable */
	struct timer timer;         /* see timerproc.h */
	int chosen;                 /* what the owner is to go on with; see runnext.c */
	int max_cases;              /* immutable; of the next two; at most TASK_CASES */
	struct chan_case *cases;    /* the pointer is immutable; for prepare to fill */
	struct waiter *waiters;     /* likewise; while the task is parked: the chans' */
	struct sel sel;
};

/*
 * Before the first task_run, and after the last has returned: starts and ends the thread "timerproc"
 * (timerproc.h). 0, or -1 with err set: there is no thread. Once per process at a time.
 */
int runnext_start(struct err *err);
void runnext_stop(void);

/*
 * Before task_run or task_start: the memory for the select of t, of max cases. Both arrays are
 * borrowed as long as t is. They need not be initialised.
 */
void task_init(struct task *t, struct chan_case *cases, struct waiter *waiters, int max);
/* Runs the task until its end; the caller is its owner, for as long. ops is borrowed. */
void task_run(struct task *t, const struct task_ops *ops);
/*
 * Begins a task without an owner; ops is borrowed. The calling thread takes the first steps, as any
 * thread but the owner: before this returns; or if it keeps tasks, in runnext_end, with theirs. From
 * now on t is other threads', and may be gone when this returns. The caller holds no lock.
 */
void task_start(struct task *t, const struct task_ops *ops);
/*
 * For the thread that ops->go has started, once for each call of that: it is the owner of t, until
 * the end of the task, or until it has slept for patience_ns (not 0). Before this call the task is
 * that thread's already, as in a step. After it t is not to be touched, since it may be another
 * thread's, or gone. The caller keeps no tasks, and holds no lock.
 */
void task_own(struct task *t, int64_t patience_ns);
/*
 * For a thread that has tried in vain to start the owner that ops->go has asked for: t goes on
 * waiting, but those that wait with it need not. Takes their steps: before this returns; or if the
 * caller keeps tasks, in runnext_end. The caller holds no lock.
 */
void task_relieve(struct task *t);

/* Begins to keep the tasks that this thread wakes. Not between another begin and its end. */
void runnext_begin(void);
/* Takes their next steps, and ends that. The caller holds no lock. Blocks no longer than they do. */
void runnext_end(void);
/*
 * Before the calling thread blocks otherwise than on a chan: what it keeps, if anything, goes to its
 * owners. Locks may be held.
 */
void runnext_handoff(void);
/* Does the calling thread keep any? */
bool runnext_keeps(void);

#endif
