/* SPDX-License-Identifier: MIT */
/*
 * What can be set for a topic or a channel (stock has no such thing). One table, in settings.c, has
 * a row for each setting: its name, its type, its range, its default, and where it applies. From it
 * come the [[policy]] tables of the config file, the JSON of /topic/config and /channel/config, and
 * the table in docs/settings.md, which `make docs` compares.
 *
 * A topic or channel holds a snapshot, struct settings, which never changes. A change puts another
 * one in its place. So a reader sees settings that belong together, and a setting costs a load.
 */
#ifndef NSQD_SETTINGS_H
#define NSQD_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/json.h"
#include "common/strbuf.h"
#include "common/toml.h"
#include "nsqd/core/dead_letter_name.h"

/* The most delays of a backoff. */
#define BACKOFF_MAX 32
/* What becomes of a message for which there is no room. */
enum overflow { OVERFLOW_REJECT, OVERFLOW_DROP_HEAD };
/* What an OK survives: stock's memory; the end of the process; a loss of power. */
enum durability { DURABILITY_NONE, DURABILITY_PROCESS, DURABILITY_DISK, N_DURABILITIES };
/* "none", "process", "disk". */
const char *durability_name(int durability);
/* What becomes of messages while their topic has no channel. */
enum no_channel { NO_CHANNEL_BUFFER, NO_CHANNEL_DROP, NO_CHANNEL_REJECT };

struct backoff {
	size_t n; /* 0: none */
	int64_t delay_ns[BACKOFF_MAX];
};

/* The values. Durations are in ns; 0 is none, where not said otherwise. */
struct setting_values {
	int64_t max_depth;                    /* messages that wait: depth and deferred */
	int64_t max_bytes;                    /* of the bodies of these */
	int overflow;                         /* enum overflow */
	int64_t message_ttl;                  /* from its publication */
	int64_t max_attempts;                 /* deliveries of a message */
	char dead_letter_topic[PATTERN_SIZE]; /* a pattern; "": none */
	bool dead_letter_envelope;
	bool requeue_on_disconnect;
	bool count_disconnect_as_attempt; /* default: true */
	struct backoff backoff;
	int64_t msg_timeout; /* these three are never 0: the flags are their defaults */
	int64_t max_msg_timeout;
	int64_t max_req_timeout; /* 0: REQ has no delay */
	int64_t max_in_flight;   /* messages with all consumers together */
	int64_t rate;            /* messages a second to all consumers together */
	int64_t channel_expire;  /* without consumers */
	int no_channel;          /* enum no_channel */
	int durability;          /* enum durability; the flag is the default */
};

/* A snapshot: counted, immutable. */
struct settings {
	_Atomic int refs;
	struct setting_values v;
};

/* Values of some settings, as one source gives them: a policy, or a PUT. */
struct settings_patch {
	uint32_t set; /* bit i: row i of the table has a value here */
	struct setting_values v;
};

/* To what a setting applies. */
enum setting_scope { SETTING_TOPIC = 1, SETTING_CHANNEL = 2 };

/* The snapshot of a topic or channel for which nothing is set; one reference. */
struct settings *settings_new(const struct setting_values *v);
struct settings *settings_ref(struct settings *s);
/* NULL is fine. */
void settings_unref(struct settings *s);

/* How many rows the table has; a row's name; a bit mask of enum setting_scope. */
size_t settings_count(void);
const char *settings_name(size_t row);
int settings_scope(size_t row);
/* What the patch sets goes into v. */
void settings_apply(struct setting_values *v, const struct settings_patch *p);

/*
 * Puts one value into the patch, as the config file has it. -1 with err set: there is no such
 * setting, or not this value, and what is wanted instead. The code is EINVAL.
 */
int settings_patch_set(struct settings_patch *p, const char *name, const struct toml_value *value,
	struct err *err);
/*
 * The members of a JSON object, which json_valid has accepted. null takes a setting back: it is not
 * in the patch any more. -1 with err set; then p is as it was. Only settings of scope: for a topic
 * all of them, since its channels inherit them. One that comes twice is refused.
 */
int settings_patch_set_json(
	struct settings_patch *p, struct json_value object, int scope, struct err *err);
/* Are all that it sets of this scope? -1 with err set: that names one that is not. */
int settings_patch_check_scope(const struct settings_patch *p, int scope, struct err *err);
/* Do these go together? -1 with err set: that names two that do not. */
int settings_check(const struct setting_values *v, struct err *err);
/* Makes them go together, where each comes from another source: msg_timeout is max_msg_timeout. */
void settings_bound(struct setting_values *v);

/* Appends a value as JSON, such as can be set; none is 0, "0s", "" or []. */
void settings_add_json(struct strbuf *sb, size_t row, const struct setting_values *v);
/* Appends what the patch sets as the members of a JSON object, without the braces. */
void settings_patch_add_json(struct strbuf *sb, const struct settings_patch *p);

#endif
