/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the chan share. They look into chan_internal.h for one thing: to know that a
 * thread sleeps in a queue, instead of sleeping a while and hoping that it does.
 */
#ifndef TEST_UNIT_CHAN_HARNESS_H
#define TEST_UNIT_CHAN_HARNESS_H

#include "test/unit/helper.h"

#include <math.h>
#include <sched.h>

#include "common/chan_internal.h"
#include "common/check.h"
#include "common/rand.h"

/* How many stand in the queue of op, served elsewhere or not. */
static inline size_t count_waiters(struct chan *c, enum chan_op op)
{
	size_t n = 0;
	chan_lock(c);
	for (struct waiter *w = (op == CHAN_SEND   ? &c->sendq
				 : op == CHAN_RECV ? &c->recvq
						   : &c->demandq)
					->first;
		w; w = w->next)
		n++;
	chan_unlock(c);
	return n;
}

/* Returns when exactly n do. */
static inline void await_waiters(struct chan *c, enum chan_op op, size_t n)
{
	wait_for(count_waiters(c, op) == n);
}

/*
 * Is first, of so many trials, as often as the other? Go's bound. Of a million fair runs one is
 * beyond it, and there are many: so each such test has a second one.
 */
static inline bool is_half(int first, int trials)
{
	return fabs((double)first / trials - 0.5) < 4.891676 / (2 * sqrt(trials));
}

#endif
