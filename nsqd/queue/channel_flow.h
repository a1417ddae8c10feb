/* SPDX-License-Identifier: MIT */
/*
 * How many messages a channel lets go to its consumers, and how fast: the settings max_in_flight and
 * rate. (No Go file.) Neither takes back what a consumer has: they hold up the channel's pump.
 *
 * max_in_flight is exact. What counts is in flight, or on its way there: handed out, but with a
 * consumer's pump, which has not put it in flight yet. So two counts run always, whatever is set:
 *
 *     on their way = handed - arrived
 *
 * Both only grow. The channel's pump adds to the first, once for a batch; the thread that takes the
 * messages adds to the second. So the limit holds also for what was handed out before it was set.
 */
#ifndef NSQD_CHANNEL_FLOW_H
#define NSQD_CHANNEL_FLOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ticker.h"
#include "nsqd/core/settings.h"

struct channel_flow {
	_Atomic uint64_t handed; /* messages; the pump adds, and channel_take_messages */
	uint64_t arrived; /* guarded by in_flight_lock: of these; in flight, returned, left out */
	bool waits;       /* guarded by in_flight_lock: the pump is to be told of room */

	/* The next are the pump's own. */
	struct ticker more;  /* when there will be messages to hand out again; stopped: no limit */
	int64_t credit;      /* may be handed out; in billionths of a message */
	int64_t credited_ns; /* up to when (monotonic) the credit has grown */
};

/* Is one of the two set? Then only the channel's pump may hand out messages. */
static inline bool channel_flow_is_limited(const struct setting_values *v)
{
	return v->rate > 0 || v->max_in_flight > 0;
}

/*
 * How many more there may be in flight: less than 0 after the limit was lowered; INT64_MAX without one
 * (max 0). The caller holds in_flight_lock.
 */
int64_t channel_flow_room_locked(const struct channel_flow *f, int64_t max, size_t in_flight);
/*
 * How many of n > 0 messages the rate (more than 0) allows now. 0: none, and f->more ticks when it
 * allows some. The channel's pump.
 */
size_t channel_flow_tokens(struct channel_flow *f, int64_t rate, size_t n);
/* n messages were handed out to consumers. rate: 0 for none. The channel's pump. */
void channel_flow_handed(struct channel_flow *f, int64_t rate, size_t n);

#endif
