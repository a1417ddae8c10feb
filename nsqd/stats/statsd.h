/* SPDX-License-Identifier: MIT */
/* Pushing the counters to statsd (nsqd/statsd.go). */
#ifndef NSQD_STATSD_H
#define NSQD_STATSD_H

#include "common/statsd_client.h"
#include "nsqd/core/options.h"
#include "nsqd/stats/stats.h"

/*
 * The thread "statsd", if --statsd-address is given; arg is the struct topics. Ends when exit_chan
 * is closed.
 */
void statsd_loop(void *arg);

/*
 * Adds the lines of one push to client, without mem.*. Gauges are those of now, counters the
 * difference from last (zeroed the first time).
 */
void statsd_add_stats(struct statsd_client *client, const struct options *opts,
	const struct stats *now, const struct stats *last);

#endif
