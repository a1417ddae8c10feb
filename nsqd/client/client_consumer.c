/* SPDX-License-Identifier: MIT */
/*
 * How client_v2 implements Consumer: mirrors that interface of nsqd/channel.go. Runs in the threads
 * that call a channel: the channel's pump, scan workers, operators, main.
 */
#include "nsqd/client/client_consumer.h"

#include "nsqd/client/client_v2.h"

static void consumer_close(struct consumer *c)
{
	client_v2_close(client_v2_of(c));
}

static void consumer_empty(struct consumer *c)
{
	client_v2_empty(client_v2_of(c));
}

static void consumer_timed_out_messages(struct consumer *c, size_t n)
{
	client_v2_timed_out_messages(client_v2_of(c), n);
}

static void consumer_ready_changed(struct consumer *c)
{
	client_v2_try_update_ready_state(client_v2_of(c));
}

static void consumer_stats(struct consumer *c, const char *topic, struct client_v2_stats *out)
{
	client_v2_stats(client_v2_of(c), topic, out);
}

const struct consumer_ops client_consumer_ops = {
	.close = consumer_close,
	.empty = consumer_empty,
	.timed_out_messages = consumer_timed_out_messages,
	.ready_changed = consumer_ready_changed,
	.stats = consumer_stats,
};
