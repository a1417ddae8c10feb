/* SPDX-License-Identifier: MIT */
/* The name of a dead-letter topic. No Go file. Any thread; it keeps no state. */
#include "nsqd/core/dead_letter_name.h"

#include <stdio.h>
#include <string.h>

#include "common/digest.h"
#include "common/strbuf.h"

static const char ephemeral[] = "#ephemeral";
#define EPHEMERAL_LENGTH (sizeof(ephemeral) - 1)
/* "-" and the digits. */
#define HASH_LENGTH 9

static bool begins(const char *s, const char *word)
{
	return strncmp(s, word, strlen(word)) == 0;
}

/* A name without its "#ephemeral". */
static void add_name(struct strbuf *sb, const char *name)
{
	size_t len = strlen(name);
	strbuf_add(sb, name, is_ephemeral_name(name) ? len - EPHEMERAL_LENGTH : len);
}

static void expand(struct strbuf *sb, const char *pattern, const char *topic, const char *channel)
{
	for (const char *p = pattern; *p;) {
		if (begins(p, "{topic}")) {
			add_name(sb, topic);
			p += strlen("{topic}");
		} else if (begins(p, "{channel}")) {
			add_name(sb, channel);
			p += strlen("{channel}");
		} else {
			strbuf_addc(sb, *p++);
		}
	}
}

bool dead_letter_pattern_ok(const char *pattern)
{
	struct strbuf sb = STRBUF_INIT;
	if (strlen(pattern) >= PATTERN_SIZE)
		return false;

	expand(&sb, pattern, "t", "c");
	size_t len = sb.len;
	if (len >= EPHEMERAL_LENGTH && is_ephemeral_name(sb.data))
		len -= EPHEMERAL_LENGTH;
	bool ok = len > 0;
	for (size_t i = 0; ok && i < len; i++)
		ok = is_valid_topic_name(sb.data + i, 1);
	strbuf_free(&sb);
	return ok;
}

char *dead_letter_name(
	const char *pattern, const char *topic, const char *channel, char out[NAME_SIZE])
{
	struct strbuf sb = STRBUF_INIT;
	expand(&sb, pattern, topic, channel);
	size_t suffix = is_ephemeral_name(sb.data) ? EPHEMERAL_LENGTH : 0;
	if (is_valid_topic_name(sb.data, sb.len)) {
		snprintf(out, NAME_SIZE, "%s", sb.data);
	} else {
		int keep = (int)(NAME_MAX_LENGTH - suffix - HASH_LENGTH);
		snprintf(out, NAME_SIZE, "%.*s-%08x%s", keep, sb.data,
			digest_crc32(sb.data, sb.len), suffix ? ephemeral : "");
	}
	strbuf_free(&sb);
	return out;
}
