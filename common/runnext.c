/* SPDX-License-Identifier: MIT */
/*
 * Tasks, and the threads that take their steps: runnext.h has the idea. Mirrors goready, runqput and
 * schedule of runtime/proc.go. The owners of tasks run task_run. io_loops, the scan loop and its
 * workers, timerproc and the owners themselves take the steps of others.
 *
 * One thread at a time runs a task: the one with the claim on its parker. The owner has it first. It
 * ends with task_park, which queues the waiters and opens the parker. The next thread to claim the
 * parker, by one of these waiters or for a ticker, has the claim then. So the claim, and with it the
 * task, goes from thread to thread, without the owner, until one of them wakes the owner for it.
 *
 * A claimed task that is to be run here is in the list of its thread (park_keep), and its `chosen`
 * says how it goes on.
 *
 * A task of task_start may be without an owner. Then park_wake has ops->go start one, and a step that
 * ends the task does so without.
 */
#include "common/runnext.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/lock.h"

/* task.chosen, if it is not the index of a case that is to be acted on. */
enum {
	BY_WAKER = -1, /* what the thread that claimed it has written to parker.won */
	AGAIN = -2,    /* nothing: the next select is to be made */
	ENDED = -3,    /* the last step has been taken */
};
/* The most turns of a task in a row, while others wait for theirs. */
#define TASK_TURNS 8

/* What task_select returns, if no case was ready. */
#define PARKED (-4)
/* What owner_wait returns, if the owner has left: the task is not its any more. */
#define LEFT (-5)

/* The tasks that this thread keeps between runnext_begin and the end of runnext_end. */
static _Thread_local struct wake_list kept;
static _Thread_local bool keeping;

static struct task *task_of(struct parker *p)
{
	return (struct task *)((char *)p - offsetof(struct task, parker));
}

/* parker.may_run: not if the owner would answer at once, or is wanted, or there is much to do. */
static bool task_may_run(struct parker *p)
{
	struct task *t = task_of(p);
	const struct waiter *won = p->won;
	return won->n <= RUNNEXT_VALUES && park_is_away(p) &&
	       t->ops->may_run(t, won->index, won->n);
}

/* parker.absent: a step is the owner's, and there is none. */
static void task_absent(struct parker *p)
{
	struct task *t = task_of(p);
	t->ops->go(t);
}

void task_init(struct task *t, struct chan_case *cases, struct waiter *waiters, int max)
{
	CHECK(max > 0 && max <= TASK_CASES);
	t->cases = cases;
	t->waiters = waiters;
	t->max_cases = max;
}

/* The calling thread has the claim. */
static void begin_task(struct task *t, const struct task_ops *ops)
{
	t->ops = ops;
	t->chosen = AGAIN;
	park_init(&t->parker, task_may_run, ops->go ? task_absent : NULL);
	timer_init(&t->timer, &t->parker);
}

/* For tasks of task_start. t is gone then. */
static void end_task(struct task *t)
{
	timer_destroy(&t->timer);
	t->ops->ended(t);
}

/* --- one step --------------------------------------------------------------------------------- */

/*
 * Parks the task, with all chans of its select locked and no case ready. The order matters, and
 * docs/channels.md says why. After the first unlock t may be another thread's, and soon gone.
 */
static void task_park(struct task *t)
{
	struct chan *locked[TASK_CASES] UNINITIALIZED;
	struct wake_list wakes = {NULL, NULL, 0};
	unsigned n = t->sel.nlocks;
	CHECK(n > 0);
	for (unsigned i = 0; i < n; i++)
		locked[i] = sel_lock_at(&t->sel, i);
	t->chosen = BY_WAKER;
	int64_t deadline_ns = sel_enqueue_locked(&t->sel, &t->parker, t->waiters);
	park_reopen(&t->parker);
	park_perturb(PERTURB_ARM);
	bool is_next = deadline_ns != 0 && timer_expect(&t->timer, deadline_ns);
	sel_announce_locked(&t->sel, &wakes);
	for (unsigned i = n; i > 0; i--)
		chan_unlock(locked[i - 1]);
	wake_list_wake(&wakes);
	if (is_next)
		timerproc_wake();
}

/* The index of a case that has been run, or PARKED. */
static int task_select(struct task *t, int n_cases)
{
	CHECK(n_cases <= t->max_cases);
	sel_init(&t->sel, t->cases, n_cases);
	int chosen = sel_try(&t->sel);
	if (chosen >= 0)
		return chosen;
	task_park(t);
	return PARKED;
}

/* How a claimed task goes on: a case, AGAIN or ENDED. */
static int task_resolve(struct task *t)
{
	if (t->chosen != BY_WAKER)
		return t->chosen;
	int chosen = sel_resolve(&t->sel, t->waiters, t->parker.won);
	return chosen >= 0 ? chosen : AGAIN;
}

/* The owner is to go on with this. */
static void hand_over(struct task *t, int chosen)
{
	t->chosen = chosen;
	park_wake(&t->parker);
}

/* The last step has been taken here. */
static void finish(struct task *t)
{
	if (park_is_absent(&t->parker))
		end_task(t);
	else
		hand_over(t, ENDED);
}

/*
 * One turn of another thread's task. False: it is parked, its owner's, or has ended. True: a case is
 * ready again, *chosen, that may be run here.
 */
static bool take_turn(struct task *t, int *chosen)
{
	if (*chosen >= 0) {
		enum task_result res = t->ops->act(t, *chosen, false);
		if (res == TASK_END)
			finish(t);
		else if (res == TASK_NOT_DONE)
			hand_over(t, *chosen);
		if (res != TASK_ON)
			return false;
	}
	int n_cases = t->ops->prepare(t, false);
	if (n_cases < 0) {
		hand_over(t, AGAIN);
		return false;
	}
	*chosen = task_select(t, n_cases);
	if (*chosen == PARKED)
		return false;
	if (t->ops->may_run(t, *chosen, t->cases[*chosen].n))
		return true;
	hand_over(t, *chosen);
	return false;
}

/*
 * The step of another thread's task. The task goes on while it can, since tasks that have woken
 * others, such as a sender, had better be parked again before those take long. But not for ever.
 */
static void take_step(struct task *t)
{
	int chosen = task_resolve(t);
	park_perturb(PERTURB_STEP);
	for (int i = 0; i < TASK_TURNS; i++) {
		if (!take_turn(t, &chosen))
			return;
	}
	t->chosen = chosen;
	wake_list_add(&kept, &t->parker);
}

/* --- the steps of others ---------------------------------------------------------------------- */

void runnext_begin(void)
{
	CHECK(!keeping);
	keeping = true;
	park_keep(&kept);
}

static void end_keeping(void)
{
	park_hand_off();
	park_keep(NULL);
	keeping = false;
}

void runnext_end(void)
{
	struct parker *p;
	CHECK(keeping);
	for (int i = 0; i < RUNNEXT_STEPS && (p = wake_list_take(&kept)); i++)
		take_step(task_of(p));
	end_keeping();
}

bool runnext_keeps(void)
{
	return kept.first != NULL;
}

void runnext_handoff(void)
{
	park_hand_off();
}

/* Those that timerproc has claimed. */
static void take_steps(struct wake_list *due)
{
	runnext_begin();
	kept = *due;
	runnext_end();
}

int runnext_start(struct err *err)
{
	if (timerproc_start(take_steps, err) != 0)
		return -1;
	park_set_steps_taker(timerproc_give);
	return 0;
}

void runnext_stop(void)
{
	park_set_steps_taker(NULL);
	timerproc_stop();
}

/* --- the owner -------------------------------------------------------------------------------- */

/*
 * Takes the steps of others, until there are none, or the owner's own task is its to go on with: then
 * the others are handed on.
 */
static void owner_take_steps(struct task *t)
{
	struct parker *p;
	if (kept.first)
		park_busy(&t->parker);
	while (!park_is_woken(&t->parker) && (p = wake_list_take(&kept)))
		take_step(task_of(p));
	end_keeping();
}

/* The task has been handed over, with perhaps some others. How it goes on. */
static int take_over(struct task *t)
{
	runnext_begin();
	kept = t->parker.rest;
	t->parker.rest = (struct wake_list){NULL, NULL, 0};
	return task_resolve(t);
}

/* False: the owner has slept for its patience (0: it has no end), and has the claim on its task. */
static bool owner_sleep(struct task *t, int64_t patience_ns)
{
	if (patience_ns == 0)
		return park_wait(&t->parker, 0);
	while (!park_wait(&t->parker, clock_mono_ns() + patience_ns)) {
		park_perturb(PERTURB_LEAVE);
		if (park_claim(&t->parker))
			return false;
		/* A step is under way, after which it may be parked again; or a wake-up. */
	}
	return true;
}

/*
 * The owner, which has claimed its task in its sleep, leaves. The order matters, and docs/channels.md
 * says why. After the step t may be another thread's, and soon gone.
 */
static void owner_leave(struct task *t)
{
	park_perturb(PERTURB_LEAVE);
	t->parker.won = NULL;
	t->chosen = task_resolve(t);
	if (t->ops->leave)
		t->ops->leave(t);
	park_leave(&t->parker);
	runnext_begin();
	take_step(t);
}

/* Sleeps until the task is handed over. How it goes on, or LEFT. */
static int owner_wait(struct task *t, int64_t patience_ns)
{
	owner_take_steps(t);
	if (owner_sleep(t, patience_ns))
		return take_over(t);
	owner_leave(t);
	return LEFT;
}

/* What this thread keeps is not to wait for what it does next. */
static void take_kept_steps(void)
{
	runnext_end();
	runnext_begin();
}

/* Acts on a case: as another thread would, if that goes without blocking. */
static enum task_result owner_act(struct task *t, int chosen)
{
	enum task_result res = TASK_NOT_DONE;
	if (t->ops->may_run(t, chosen, t->cases[chosen].n))
		res = t->ops->act(t, chosen, false);
	if (res != TASK_NOT_DONE)
		return res;
	take_kept_steps();
	res = t->ops->act(t, chosen, true);
	CHECK(res != TASK_NOT_DONE);
	return res;
}

static int owner_prepare(struct task *t)
{
	int n_cases = t->ops->prepare(t, false);
	if (n_cases >= 0)
		return n_cases;
	take_kept_steps();
	return t->ops->prepare(t, true);
}

/*
 * The owner's loop: goes on with chosen, until the end of the task, or until it has slept for its
 * patience. The thread keeps tasks, before and after. False: it has left, and t is not its any more.
 */
static bool own(struct task *t, int chosen, int64_t patience_ns)
{
	int n_cases, turns = 0;
	for (;;) {
		if (chosen == LEFT)
			return false;
		if (chosen == ENDED || (chosen >= 0 && owner_act(t, chosen) == TASK_END))
			return true;
		n_cases = owner_prepare(t);
		if (n_cases < 0)
			return true;
		chosen = task_select(t, n_cases);
		if (chosen == PARKED) {
			chosen = owner_wait(t, patience_ns);
			turns = 0;
		} else if (++turns % TASK_TURNS == 0) {
			/* Ready again and again, it has no time for those that it keeps. */
			park_hand_off();
		}
	}
}

void task_run(struct task *t, const struct task_ops *ops)
{
	CHECK(!ops->go);
	begin_task(t, ops);
	runnext_begin();
	own(t, AGAIN, 0);
	runnext_end();
	timer_destroy(&t->timer);
}

/* --- tasks without an owner ------------------------------------------------------------------- */

/* Adds what this thread has the claim on to what it keeps. */
static void keep(struct parker *p)
{
	if (kept.n >= PARK_KEPT_MAX)
		park_hand_off();
	wake_list_add(&kept, p);
}

void task_start(struct task *t, const struct task_ops *ops)
{
	bool keeps_already = keeping;
	CHECK(ops->go && ops->ended);
	begin_task(t, ops);
	park_leave(&t->parker);
	if (!keeps_already)
		runnext_begin();
	keep(&t->parker);
	if (!keeps_already)
		runnext_end();
}

void task_relieve(struct task *t)
{
	bool keeps_already = keeping;
	struct wake_list rest = t->parker.rest;
	struct parker *p;
	CHECK(park_is_woken(&t->parker));
	t->parker.rest = (struct wake_list){NULL, NULL, 0};
	if (!keeps_already)
		runnext_begin();
	while ((p = wake_list_take(&rest)))
		keep(p);
	if (!keeps_already)
		runnext_end();
}

void task_own(struct task *t, int64_t patience_ns)
{
	CHECK(patience_ns > 0 && park_is_woken(&t->parker));
	park_wait(&t->parker, 0);
	if (own(t, take_over(t), patience_ns))
		end_task(t);
	runnext_end();
}
