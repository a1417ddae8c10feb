/* SPDX-License-Identifier: MIT */
/* The envelope of a dead letter. Mirrors no Go file. Any thread; it keeps no state. */
#include "nsqd/queue/dead_envelope.h"

#include <inttypes.h>
#include <string.h>

#include "common/base64.h"
#include "common/json.h"
#include "common/strbuf.h"

static void add_name(struct strbuf *sb, const char *key, const char *name)
{
	strbuf_addf(sb, "\"%s\":", key);
	strbuf_add_json(sb, name, strlen(name));
	strbuf_addc(sb, ',');
}

static struct message_body *body_of(const struct strbuf *sb)
{
	struct message_body *b = message_body_new(sb->len);
	if (sb->len > 0)
		memcpy(b->data, sb->data, sb->len);
	return b;
}

struct message_body *dead_envelope_new(
	const struct dead_letter *from, const struct message_body *body, size_t max)
{
	struct strbuf sb = STRBUF_INIT;
	strbuf_reserve(&sb, (size_t)body->len / 3 * 4 + 512);
	strbuf_addc(&sb, '{');
	add_name(&sb, "topic", from->topic);
	add_name(&sb, "channel", from->channel);
	strbuf_adds(&sb, "\"id\":");
	strbuf_add_json(&sb, from->id.hex, MSG_ID_LENGTH);
	strbuf_addf(&sb, ",\"timestamp\":%" PRId64 ",\"attempts\":%u,\"reason\":\"%s\"",
		from->timestamp, from->attempts, dead_reason_name(from->reason));
	strbuf_addf(&sb, ",\"time\":%" PRId64 ",\"body\":\"", from->time);
	base64_add(&sb, body->data, body->len);
	strbuf_adds(&sb, "\"}");
	struct message_body *b = sb.len <= max ? body_of(&sb) : NULL;
	strbuf_free(&sb);
	return b;
}

/* --- opening ------------------------------------------------------------------------------------ */

/* The value of a base64 digit; -1: it is none. */
static int digit(char c)
{
	return c >= 'A' && c <= 'Z'   ? c - 'A'
	       : c >= 'a' && c <= 'z' ? c - 'a' + 26
	       : c >= '0' && c <= '9' ? c - '0' + 52
	       : c == '+'             ? 62
	       : c == '/'             ? 63
				      : -1;
}

static bool add_decoded(struct strbuf *out, const char *s, size_t len)
{
	size_t pad = len > 0 && s[len - 1] == '=' ? 1 : 0;
	pad += pad && len > 1 && s[len - 2] == '=';
	if (len % 4 != 0)
		return false;
	uint32_t bits = 0;
	for (size_t i = 0; i < len; i++) {
		int v = i >= len - pad ? 0 : digit(s[i]);
		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 != 3)
			continue;
		char three[] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
		strbuf_add(out, three, i + 1 == len ? 3 - pad : 3);
	}
	return true;
}

static bool find_body(struct json_value root, struct json_value *body)
{
	struct json_value key;
	size_t pos = 0;
	while (root.type == JSON_OBJECT && json_next_member(root, &pos, &key, body)) {
		if (json_key_is(key, "body"))
			return body->type == JSON_STRING;
	}
	return false;
}

struct message_body *dead_envelope_open(const struct message_body *envelope)
{
	struct json_value body;
	struct strbuf text = STRBUF_INIT, out = STRBUF_INIT;
	struct message_body *b = NULL;
	if (!json_valid(envelope->data, envelope->len) ||
		!find_body(json_root(envelope->data, envelope->len), &body))
		return NULL;
	json_add_string(&text, body);
	if (add_decoded(&out, text.data, text.len))
		b = body_of(&out);
	strbuf_free(&text);
	strbuf_free(&out);
	return b;
}
