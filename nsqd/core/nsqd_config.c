/* SPDX-License-Identifier: MIT */
/*
 * The options that change while the daemon runs. Mirrors swapOpts, getOpts and
 * triggerOptsNotification of nsqd/nsqd.go, for the one option that needs them. Runs in any thread.
 *
 * Different from Go: there every reader of the options gets the new copy, and the collector takes
 * the old one. Here one list under one lock has two readers.
 */
#include "nsqd/core/nsqd_config.h"

static void copy(struct strarray *to, const struct strarray *from)
{
	*to = (struct strarray){0};
	for (size_t i = 0; i < from->n; i++)
		strarray_add(to, from->v[i]);
}

void nsqd_config_init(struct nsqd_config *c, const struct options *opts)
{
	mutex_init(&c->lock, RANK_LEAF);
	copy(&c->nsqlookupd_tcp_addresses, &opts->nsqlookupd_tcp_addresses);
	c->opts_notification_chan = chan_new(0, 1);
}

void nsqd_config_destroy(struct nsqd_config *c)
{
	mutex_destroy(&c->lock);
	strarray_free(&c->nsqlookupd_tcp_addresses);
	chan_free(c->opts_notification_chan);
}

void nsqd_config_get_lookupd(struct nsqd_config *c, struct strarray *out)
{
	mutex_lock(&c->lock);
	copy(out, &c->nsqlookupd_tcp_addresses);
	mutex_unlock(&c->lock);
}

void nsqd_config_take_lookupd(struct nsqd_config *c, struct strarray *take)
{
	mutex_lock(&c->lock);
	struct strarray old = c->nsqlookupd_tcp_addresses;
	c->nsqlookupd_tcp_addresses = *take;
	mutex_unlock(&c->lock);
	strarray_free(&old);
	*take = (struct strarray){0};
	chan_signal(c->opts_notification_chan);
}
