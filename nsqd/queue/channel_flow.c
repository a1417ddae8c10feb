/* SPDX-License-Identifier: MIT */
/*
 * max_in_flight and rate. Mirrors no Go file. Runs in the channel's pump and the threads that take
 * its steps; the first also in those that take messages out of flight.
 *
 * Note on rate. It is a bucket of tokens: credit grows with time, up to a tenth of a second's worth
 * (one message at least), and each message that is handed out costs one. All is in whole numbers, so
 * that no message is won or lost by rounding. A pump without a token does not wake up for each one
 * that comes, but a thousand times a second at most.
 */
#include "nsqd/queue/channel_flow.h"

#include "common/clock.h"

/* One message, in the units of credit: a rate is so many of these in a nanosecond. */
#define TOKEN NSEC_PER_SEC
/* A part of a second's worth that may go in a burst; and so often a pump wakes up at most. */
#define BURST_PER_SEC 10
#define WAKE_PER_SEC 1000

static int64_t max_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* --- rate ------------------------------------------------------------------------------------- */

/* The credit as it is now. */
static void earn(struct channel_flow *f, int64_t rate)
{
	int64_t now = clock_mono_ns(), passed = now - f->credited_ns;
	int64_t most = max_of(rate / BURST_PER_SEC, 1) * TOKEN;
	/* In a second every bucket is full; and the product has a bound. */
	if (passed > NSEC_PER_SEC)
		passed = NSEC_PER_SEC;
	f->credit += rate * passed;
	f->credited_ns = now;
	if (f->credit > most)
		f->credit = most;
}

size_t channel_flow_tokens(struct channel_flow *f, int64_t rate, size_t n)
{
	earn(f, rate);
	if (f->credit >= TOKEN) {
		size_t have = (size_t)(f->credit / TOKEN);
		ticker_stop(&f->more);
		return n < have ? n : have;
	}
	int64_t missing = max_of(rate / WAKE_PER_SEC, 1) * TOKEN - f->credit;
	ticker_after(&f->more, (missing + rate - 1) / rate);
	return 0;
}

void channel_flow_handed(struct channel_flow *f, int64_t rate, size_t n)
{
	atomic_fetch_add_explicit(&f->handed, n, memory_order_relaxed);
	if (rate > 0)
		f->credit -= (int64_t)n * TOKEN;
}

/* --- max_in_flight ---------------------------------------------------------------------------- */

int64_t channel_flow_room_locked(const struct channel_flow *f, int64_t max, size_t in_flight)
{
	/* Of the two, the first may be behind for a moment: the pump counts after it has handed out. */
	int64_t on_their_way = (int64_t)(atomic_load(&f->handed) - f->arrived);
	return max > 0 ? max - (int64_t)in_flight - on_their_way : INT64_MAX;
}
