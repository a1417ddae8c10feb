/* SPDX-License-Identifier: MIT */
/*
 * Tickers and one-shot timers as cases of a select (time.Ticker, time.After). A ticker is a
 * deadline, not a thread: select compares it with the monotonic clock and parks until the earliest
 * one. It belongs to the thread that selects on it, so it needs no lock.
 */
#ifndef COMMON_TICKER_H
#define COMMON_TICKER_H

#include <stdbool.h>
#include <stdint.h>

struct ticker {
	int64_t period_ns; /* 0: one shot */
	int64_t next_ns;   /* on the monotonic clock; 0: stopped, never ready */
};

/*
 * time.NewTicker(period). First tick one period from now; missed ticks merge, the phase is kept. A
 * period <= 0 is a stopped ticker.
 */
void ticker_start(struct ticker *t, int64_t period_ns);
/*
 * The same for one of many tickers of one period, such as all clients' flush timers: the first tick
 * comes up to an eighth of the period sooner, so that many of them tick at the same moment. Then the
 * thread that waits for all of them wakes once.
 */
void ticker_start_in_step(struct ticker *t, int64_t period_ns);
/* time.After(delay): ready once, then stopped. delay_ns <= 0 is ready at once. */
void ticker_after(struct ticker *t, int64_t delay_ns);
/* t.Stop(). */
void ticker_stop(struct ticker *t);
/* True if it is due at now_ns; then it moves on to its next tick (select's own use, and tests). */
bool ticker_take(struct ticker *t, int64_t now_ns);

#endif
