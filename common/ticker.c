/* SPDX-License-Identifier: MIT */
/*
 * Tickers and timers as deadlines. Mirrors time/tick.go and time/sleep.go. Threads: only the one
 * that selects on a ticker uses it.
 *
 * Different from Go: no chan and no runtime timer, just a time that select compares with the clock.
 * So a tick cannot be buffered: the select decides whether a ticker is due, and all missed ticks
 * are one tick.
 *
 * Lessons in docs/course/: 09-ticker.
 */
#include "common/ticker.h"

#include "common/clock.h"

static int64_t add_saturated(int64_t a, int64_t b)
{
	int64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

void ticker_start(struct ticker *t, int64_t period_ns)
{
	t->period_ns = period_ns > 0 ? period_ns : 0;
	t->next_ns = period_ns > 0 ? add_saturated(clock_mono_ns(), period_ns) : 0;
}

void ticker_start_in_step(struct ticker *t, int64_t period_ns)
{
	ticker_start(t, period_ns);
	if (period_ns >= 8)
		t->next_ns -= t->next_ns % (period_ns / 8);
}

void ticker_after(struct ticker *t, int64_t delay_ns)
{
	t->period_ns = 0;
	t->next_ns = add_saturated(clock_mono_ns(), delay_ns > 0 ? delay_ns : 0);
}

void ticker_stop(struct ticker *t)
{
	t->period_ns = 0;
	t->next_ns = 0;
}

bool ticker_take(struct ticker *t, int64_t now_ns)
{
	if (t->next_ns == 0 || now_ns < t->next_ns)
		return false;
	if (t->period_ns == 0) {
		t->next_ns = 0;
	} else {
		/*
		 * As runtime/time.go: the first multiple of the period after now, which keeps the
		 * phase.
		 */
		int64_t missed = (now_ns - t->next_ns) / t->period_ns;
		t->next_ns = add_saturated(t->next_ns, t->period_ns * (1 + missed));
	}
	return true;
}
