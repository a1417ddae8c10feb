/* SPDX-License-Identifier: MIT */
/*
 * What a log line is about. No Go file: stock's lines are text. Runs in any thread that logs.
 *
 * The texts are stock's, and people search for them. So they are what they are, and the fields are
 * read from them: there is one place that knows how they begin, not a hundred that say it twice.
 */
#include <string.h>

#include "nsqd/core/log_fields.h"

/* The rest of a text. */
struct rest {
	const char *p;
	size_t n;
};

static bool skip(struct rest *r, const char *prefix)
{
	size_t n = strlen(prefix);
	if (r->n < n || memcmp(r->p, prefix, n) != 0)
		return false;
	r->p += n;
	r->n -= n;
	return true;
}

/* What stands before the first of these bytes; empty if none comes. */
static struct lg_text until(struct rest *r, char end)
{
	const char *at = r->n > 0 ? memchr(r->p, end, r->n) : NULL;
	if (!at)
		return (struct lg_text){NULL, 0};
	struct lg_text t = {r->p, (size_t)(at - r->p)};
	r->n -= t.n + 1;
	r->p = at + 1;
	return t;
}

static void text_set(struct lg_text *t, const char *s)
{
	*t = (struct lg_text){s, strlen(s)};
}

/* "t" or "t:c", the name of a disk queue. */
static void queue_name(struct lg_text name, struct lg_fields *out)
{
	const char *colon = name.n > 0 ? memchr(name.s, ':', name.n) : NULL;
	out->topic = name;
	if (!colon)
		return;
	out->topic.n = (size_t)(colon - name.s);
	out->channel = (struct lg_text){colon + 1, name.n - out->topic.n - 1};
}

static void about_topic(struct rest *r, struct lg_fields *out)
{
	out->topic = until(r, ')');
	if (skip(r, ": new channel("))
		out->channel = until(r, ')');
	else if (skip(r, ": deleting channel "))
		out->channel = (struct lg_text){r->p, r->n};
}

static void about_channel(struct rest *r, struct lg_fields *out)
{
	out->channel = until(r, ')');
}

static void about_queue(struct rest *r, struct lg_fields *out)
{
	queue_name(until(r, ')'), out);
}

static void about_client(struct rest *r, struct lg_fields *out)
{
	out->client = until(r, ')');
}

static void about_protocol(struct rest *r, struct lg_fields *out)
{
	(void)until(r, ')');
	if (!skip(r, ": ["))
		return;
	/* An IPv6 address has brackets of its own: "[[::1]:4150]". */
	struct lg_text inner = until(r, ']');
	if (inner.n > 0 && inner.s[0] == '[' && r->n > 0 && r->p[0] == ':') {
		struct lg_text port = until(r, ']');
		if (port.s)
			inner.n = (size_t)(port.s + port.n - inner.s);
	}
	out->client = inner;
}

static void about_tcp(struct rest *r, struct lg_fields *out)
{
	if (skip(r, "new client(") || skip(r, "closing client("))
		out->client = until(r, ')');
}

static void about_nothing(struct rest *r, struct lg_fields *out)
{
	(void)r;
	(void)out;
}

/* How a text begins, and what follows. */
static const struct {
	const char *prefix, *component;
	void (*read)(struct rest *r, struct lg_fields *out);
} kinds[] = {
	{"TOPIC(", "TOPIC", about_topic},
	{"CHANNEL(", "CHANNEL", about_channel},
	{"DISKQUEUE(", "DISKQUEUE", about_queue},
	{"PROTOCOL(", "PROTOCOL", about_protocol},
	{"CLIENT(", "CLIENT", about_client},
	{"client(", "CLIENT", about_client},
	{"topic(", "TOPIC", about_topic},
	{"channel(", "CHANNEL", about_channel},
	{"TCP: ", "TCP", about_tcp},
	{"HTTP: ", "HTTP", about_nothing},
	{"HTTPS: ", "HTTPS", about_nothing},
	{"http", "HTTP", about_nothing},
	{"LOOKUPD(", "LOOKUPD", about_nothing},
	{"LOOKUP", "LOOKUP", about_nothing},
	{"NSQ: ", "NSQ", about_nothing},
	{"QUEUESCAN: ", "QUEUESCAN", about_nothing},
	{"STATSD: ", "STATSD", about_nothing},
	{"CI: ", "CI", about_nothing},
};

/* "200 GET /ping (127.0.0.1:54321) 12.3us": a target may have brackets, an address has none. */
static void about_request(const char *text, size_t len, struct lg_fields *out)
{
	const char *close = memrchr(text, ')', len);
	const char *open = close ? memrchr(text, '(', (size_t)(close - text)) : NULL;
	text_set(&out->component, "HTTP");
	if (open)
		out->client = (struct lg_text){open + 1, (size_t)(close - open - 1)};
}

static bool is_request(const char *text, size_t len)
{
	if (len <= 4 || text[3] != ' ')
		return false;
	for (int i = 0; i < 3; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
	}
	return true;
}

void log_fields_describe(const char *text, size_t len, struct lg_fields *out)
{
	*out = (struct lg_fields){0};
	if (is_request(text, len)) {
		about_request(text, len, out);
		return;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct rest r = {text, len};
		if (!skip(&r, kinds[i].prefix))
			continue;
		text_set(&out->component, kinds[i].component);
		kinds[i].read(&r, out);
		return;
	}
}
