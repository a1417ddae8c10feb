/* SPDX-License-Identifier: MIT */
/*
 * What the models of the end and of the pumps ask of the daemon about settings: nothing is set for
 * anybody, and so there are no dead letters. Nobody hears of changes.
 */
#include <stddef.h>

#include "nsqd/core/context.h"
#include "nsqd/core/dead_letter_name.h"
#include "nsqd/core/settings.h"
#include "test/model/mc.h"

static struct settings plain = {.v = {.msg_timeout = INT64_MAX,
					.max_msg_timeout = INT64_MAX,
					.max_req_timeout = INT64_MAX}};

struct settings *settings_store_get(
	struct settings_store *s, const char *topic, const char *channel)
{
	(void)s, (void)topic, (void)channel;
	return &plain;
}

struct settings *settings_ref(struct settings *s)
{
	return s;
}

void settings_unref(struct settings *s)
{
	(void)s;
}

void nsqd_forget_settings(struct context *c, const char *topic, const char *channel)
{
	(void)c, (void)topic, (void)channel;
}

char *dead_letter_name(
	const char *pattern, const char *topic, const char *channel, char out[NAME_SIZE])
{
	(void)pattern, (void)topic, (void)channel;
	MC_CHECK(false);
	return out;
}

void nsqd_notify(struct context *c, const char *topic, const char *channel, bool gone, bool persist)
{
	(void)c, (void)topic, (void)channel, (void)gone, (void)persist;
}

void nsqd_set_health(struct context *c, const struct err *err)
{
	(void)c, (void)err;
}
