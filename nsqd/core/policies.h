/* SPDX-License-Identifier: MIT */
/*
 * The [[policy]] tables of the config file: settings for all topics and channels whose names match.
 * Stock ignores such tables. Immutable once read; counted, since a reload replaces them.
 *
 *   [[policy]]
 *   match = "orders.*"       topics, and all of their channels; as TOPIC/CHANNEL: those channels
 *   max_attempts = 5
 */
#ifndef NSQD_POLICIES_H
#define NSQD_POLICIES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/toml.h"
#include "nsqd/core/settings.h"

struct policy {
	char *match;   /* as it was written */
	char *topic;   /* a glob: *, ?, [...] */
	char *channel; /* likewise; NULL: the topic, and any channel */
	int line;      /* of its table */
	struct settings_patch patch;
};

struct policies {
	_Atomic int refs;
	struct policy *v; /* owned, in the order of the file */
	size_t n;
};

/* Is this entry of the config file one of a [[policy]] table? */
bool policies_is_entry(const struct toml_entry *e);
/*
 * All of the file's. *out has one reference. -1 with err set, and *out NULL: "line 7: ...", a
 * setting that there is not, or not for channels alone, or a table without match.
 */
int policies_parse(const struct toml *t, struct policies **out, struct err *err);
/*
 * Can they hold, with these defaults? -1 with err set: one that can not, whatever the others say.
 */
int policies_check(
	const struct policies *p, const struct setting_values *defaults, struct err *err);
/* None at all: one reference. */
struct policies *policies_none(void);
struct policies *policies_ref(struct policies *p);
/* NULL is fine. */
void policies_unref(struct policies *p);
/* Do both say the same? */
bool policies_equal(const struct policies *a, const struct policies *b);
/* Does it hold for the topic (channel NULL), or for that channel of it? */
bool policy_matches(const struct policy *p, const char *topic, const char *channel);

#endif
