/* SPDX-License-Identifier: MIT */
/*
 * The tickers of tasks: timerproc.h has the idea. Mirrors timerproc and addtimer of runtime/time.go
 * (until Go 1.13). The thread "timerproc"; timer_expect runs in any thread that parks a task.
 *
 * Why no deadline is missed. A thread that parks a task opens its claim, and then reads when_ns. A
 * look writes when_ns, and then claims. All four are sequentially consistent. So if the claim fails,
 * because the task is not parked yet, the other thread reads INT64_MAX, and plans a new look.
 */
#include "common/timerproc.h"

#include <pthread.h>
#include <stddef.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/futex.h"
#include "common/gothread.h"
#include "common/lock.h"

/* The most tasks that are claimed in one go, under the lock. */
#define MOST_AT_ONCE 16

static struct {
	pthread_mutex_t lock;     /* a leaf; guards the next three */
	struct heap heap;         /* of all timers, by when_ns */
	struct wake_list given;   /* claimed tasks, whose steps it is to take */
	bool stopping;            /* no task is left */
	_Atomic uint32_t changed; /* atomic; more when the thread is to look at the heap */
	void (*take_steps)(struct wake_list *due); /* immutable while the thread runs */
	struct wait_group group;                   /* the thread */
} proc = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct timer *timer_of(struct heap_node *n)
{
	return (struct timer *)((char *)n - offsetof(struct timer, node));
}

static void plan_locked(struct timer *t, int64_t when_ns)
{
	plain_mutex_assert_locked(&proc.lock);
	atomic_store(&t->when_ns, when_ns);
	heap_fix(&proc.heap, &t->node, when_ns);
}

void timer_init(struct timer *t, struct parker *p)
{
	t->parker = p;
	atomic_init(&t->when_ns, INT64_MAX);
	PT_OK(pthread_mutex_lock(&proc.lock));
	heap_push(&proc.heap, &t->node, INT64_MAX);
	PT_OK(pthread_mutex_unlock(&proc.lock));
}

void timer_destroy(struct timer *t)
{
	PT_OK(pthread_mutex_lock(&proc.lock));
	heap_remove(&proc.heap, &t->node);
	heap_trim(&proc.heap);
	PT_OK(pthread_mutex_unlock(&proc.lock));
}

bool timer_expect(struct timer *t, int64_t when_ns)
{
	if (when_ns >= atomic_load(&t->when_ns))
		return false;
	PT_OK(pthread_mutex_lock(&proc.lock));
	bool is_next = when_ns < heap_least(&proc.heap);
	if (when_ns < atomic_load_explicit(&t->when_ns, memory_order_relaxed))
		plan_locked(t, when_ns);
	PT_OK(pthread_mutex_unlock(&proc.lock));
	return is_next;
}

void timerproc_give(struct wake_list *l)
{
	struct parker *p;
	PT_OK(pthread_mutex_lock(&proc.lock));
	while ((p = wake_list_take(l)))
		wake_list_add(&proc.given, p);
	PT_OK(pthread_mutex_unlock(&proc.lock));
	timerproc_wake();
}

void timerproc_wake(void)
{
	atomic_fetch_add_explicit(&proc.changed, 1, memory_order_relaxed);
	futex_wake_one(&proc.changed);
}

/*
 * Claims the tasks to be looked at now, but for those that are not parked; and takes those that have
 * been given. When the next one is to be looked at.
 */
static int64_t claim_due(struct wake_list *due)
{
	int64_t now = clock_mono_ns();
	struct parker *p;
	PT_OK(pthread_mutex_lock(&proc.lock));
	while (due->n < MOST_AT_ONCE / 2 && (p = wake_list_take(&proc.given)))
		wake_list_add(due, p);
	for (int n = (int)due->n; n < MOST_AT_ONCE && heap_least(&proc.heap) <= now; n++) {
		struct timer *t = timer_of(heap_peek(&proc.heap));
		plan_locked(t, INT64_MAX);
		if (!park_claim_in_order(t->parker))
			continue;
		t->parker->won = NULL;
		wake_list_add(due, t->parker);
	}
	int64_t next = heap_least(&proc.heap);
	PT_OK(pthread_mutex_unlock(&proc.lock));
	return next;
}

static bool is_stopping(void)
{
	PT_OK(pthread_mutex_lock(&proc.lock));
	bool stopping = proc.stopping;
	PT_OK(pthread_mutex_unlock(&proc.lock));
	return stopping;
}

static void timerproc(void *arg)
{
	(void)arg;
	for (;;) {
		/* Before it looks at anything: what changes after a look ends the sleep. */
		uint32_t seen = atomic_load_explicit(&proc.changed, memory_order_relaxed);
		struct wake_list due = {NULL, NULL, 0};
		if (is_stopping())
			return;
		int64_t next = claim_due(&due);
		park_perturb(PERTURB_PARK);
		if (due.first)
			proc.take_steps(&due);
		else
			futex_wait_until(&proc.changed, seen, next == INT64_MAX ? 0 : next);
	}
}

int timerproc_start(void (*take_steps)(struct wake_list *due), struct err *err)
{
	proc.stopping = false;
	proc.take_steps = take_steps;
	wait_group_init(&proc.group);
	if (wait_group_wrap(&proc.group, "timerproc", timerproc, NULL, err) == 0)
		return 0;
	wait_group_destroy(&proc.group);
	return -1;
}

void timerproc_stop(void)
{
	PT_OK(pthread_mutex_lock(&proc.lock));
	CHECK(proc.heap.len == 0);
	proc.stopping = true;
	PT_OK(pthread_mutex_unlock(&proc.lock));
	timerproc_wake();
	wait_group_wait(&proc.group);
	wait_group_destroy(&proc.group);
	heap_free(&proc.heap);
}
