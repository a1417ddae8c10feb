/* SPDX-License-Identifier: MIT */
/*
 * Changes of settings. Mirrors no Go file. Runs in the threads of HTTP connections, and in
 * main.
 */
#include "nsqd/queue/settings_change.h"

#include <errno.h>
#include <stdlib.h>

#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topic_internal.h"

/* The pumps of all channels, without a lock: each is asked, and answers. */
static void tell_pumps(struct topic *t)
{
	size_t n;
	struct channel **channels = topic_channels(t, &n);
	for (size_t i = 0; i < n; i++)
		channel_pump_fetches_settings(channels[i]);
	topic_free_channels(channels, n);
}

static int set_locked(struct topic *t, struct channel *c, struct json_value object, struct err *err)
{
	struct settings_store *s = &t->ctx->settings;
	/* What is set from now on the deletion would not forget. */
	if (topic_exiting(t) || (c && channel_exiting(c)))
		return err_set(err, ECANCELED, "exiting");
	if (settings_store_set_locked(s, t->name, c ? c->name : NULL, object, err) != 0)
		return -1;
	if (c)
		channel_fetch_settings(c);
	else
		topic_fetch_settings(t);
	return 0;
}

int nsqd_set_settings(struct topic *t, struct channel *c, struct json_value object, struct err *err)
{
	struct settings_store *s = &t->ctx->settings;
	mutex_lock(&s->change_lock);
	int rc = set_locked(t, c, object, err);
	mutex_unlock(&s->change_lock);
	if (rc != 0)
		return -1;
	if (c)
		channel_pump_fetches_settings(c);
	else
		tell_pumps(t);
	topic_settle_settings(t);
	return 0;
}

void nsqd_reload_settings(struct topics *ts, const struct options *opts)
{
	struct settings_store *s = &ts->ctx->settings;
	size_t n;
	mutex_lock(&s->change_lock);
	settings_store_reload_locked(s, opts);
	struct topic **topics = nsqd_topics(ts, &n);
	for (size_t i = 0; i < n; i++)
		topic_fetch_settings(topics[i]);
	mutex_unlock(&s->change_lock);
	for (size_t i = 0; i < n; i++) {
		tell_pumps(topics[i]);
		topic_settle_settings(topics[i]);
		topic_unref(topics[i]);
	}
	free(topics);
}
