/* SPDX-License-Identifier: MIT */
/*
 * GET /channel/peek and /topic/peek, POST /channel/message/finish and /requeue. No Go file: stock
 * has none of these. Runs in the threads of HTTP connections, since it may wait for a disk and for
 * a channel's pump. The answer is made when no lock is held any more.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_request.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/channel_inspect.h"
#include "nsqd/queue/dead_targets.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"

#define BAD_REQUEST 400
#define NOT_FOUND 404
#define CONFLICT 409
#define UNAVAILABLE 503

#define DEFAULT_N 10
#define DEFAULT_BODY 4096
/* Bytes of one body, and of all bodies of an answer: n * body must not be more. */
#define BODY_MAX ((size_t)8 << 20)

/* --- arguments -------------------------------------------------------------------------------- */

/* A number in [0, max], or otherwise if it is absent. False with the answer given: neither. */
static bool get_number(struct http_request *req, const char *key, size_t otherwise, size_t max,
	const char *invalid, size_t *out)
{
	const char *s = http_get_param(req, key);
	char *end;
	*out = otherwise;
	if (!s)
		return true;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 10);
	if (*s < '0' || *s > '9' || *end || errno || v > max) {
		http_respond_error(req, BAD_REQUEST, invalid);
		return false;
	}
	*out = (size_t)v;
	return true;
}

/* One of n words, the first if it is absent. False with the answer given: it is none of them. */
static bool get_word(struct http_request *req, const char *key, const char *const *words, size_t n,
	const char *invalid, size_t *out)
{
	const char *s = http_get_param(req, key);
	for (*out = 0; s && *out < n && strcmp(s, words[*out]) != 0;)
		++*out;
	if (*out < n)
		return true;
	http_respond_error(req, BAD_REQUEST, invalid);
	return false;
}

static const char *const states[] = {[CHANNEL_READY] = "ready",
	[CHANNEL_IN_FLIGHT] = "in_flight",
	[CHANNEL_DEFERRED] = "deferred"};

enum from { FROM_ALL, FROM_MEMORY, FROM_DISK };
static const char *const froms[] = {"all", "memory", "disk"};

struct peek_args {
	size_t state; /* enum channel_state */
	size_t from;  /* enum from */
	size_t n;
	size_t body;
};

static bool get_peek_args(struct http_request *req, struct peek_args *a)
{
	if (!get_number(req, "n", DEFAULT_N, PEEK_MAX, "INVALID_N", &a->n) ||
		!get_number(req, "body", DEFAULT_BODY, BODY_MAX, "INVALID_BODY", &a->body) ||
		!get_word(req, "state", states, 3, "INVALID_STATE", &a->state) ||
		!get_word(req, "from", froms, 3, "INVALID_FROM", &a->from))
		return false;
	if (a->n > 0 && a->body > BODY_MAX / a->n) {
		http_respond_error(req, BAD_REQUEST, "TOO_MANY_BYTES");
		return false;
	}
	return true;
}

/* The id: any 16 bytes, as FIN takes them. False with the answer given. */
static bool get_id(struct http_request *req, struct message_id *id)
{
	const char *s = http_get_param(req, "id");
	if (s && strlen(s) == MSG_ID_LENGTH) {
		memcpy(id->hex, s, MSG_ID_LENGTH);
		return true;
	}
	http_respond_error(req, BAD_REQUEST, s ? "INVALID_ID" : "MISSING_ARG_ID");
	return false;
}

/* Milliseconds, as REQ and /pub have them, or a duration; absent: 0. False with the answer given. */
static bool get_delay(struct http_request *req, const struct channel *c, int64_t *ns)
{
	const char *s = http_get_param(req, "delay");
	const struct options *opts = nsqd_get_opts(req->ctx);
	int64_t max = opts->max_req_timeout;
	if (c->logged && opts->max_defer_timeout > max)
		max = opts->max_defer_timeout;
	*ns = 0;
	if (!s)
		return true;
	bool ok = *s != '\0';
	if (ok && strspn(s, "0123456789") == strlen(s)) {
		errno = 0;
		int64_t ms = strtoll(s, NULL, 10);
		ok = errno == 0 && !__builtin_mul_overflow(ms, NSEC_PER_MSEC, ns);
	} else if (ok) {
		ok = duration_parse(s, ns);
	}
	if (ok && *ns >= 0 && *ns <= max)
		return true;
	http_respond_error(req, BAD_REQUEST, "INVALID_DELAY");
	return false;
}

/* --- the answer of peek ----------------------------------------------------------------------- */

/* The consumers of the messages that were seen: each is asked once. */
struct consumers {
	struct client_v2_stats *v; /* owned; [0, n) */
	bool *gone;                /* owned */
	size_t n;
};

/* NULL: it has gone. */
static const struct client_v2_stats *find_consumer(
	struct consumers *all, struct channel *c, int64_t id)
{
	size_t i = 0;
	while (i < all->n && all->v[i].id != id)
		i++;
	if (i == all->n) {
		all->gone[i] = !channel_get_consumer(c, id, &all->v[i]);
		all->v[i].id = id;
		all->n++;
	}
	return all->gone[i] ? NULL : &all->v[i];
}

static void free_consumers(struct consumers *all)
{
	for (size_t i = 0; i < all->n; i++) {
		if (!all->gone[i])
			client_v2_stats_free(&all->v[i]);
	}
	free(all->v);
	free(all->gone);
}

static void add_text(struct strbuf *out, const char *key, const char *s, size_t len)
{
	strbuf_addf(out, ",\"%s\":", key);
	strbuf_add_json(out, s ? s : "", len);
}

static void add_client(struct strbuf *out, int64_t id, const struct client_v2_stats *s)
{
	strbuf_addf(out, ",\"client\":{\"id\":%" PRId64, id);
	if (s) {
		add_text(out, "client_id", s->client_id.s, s->client_id.len);
		add_text(out, "hostname", s->hostname.s, s->hostname.len);
		add_text(out, "remote_address", s->remote_address, strlen(s->remote_address));
	}
	strbuf_addc(out, '}');
}

/* The two clocks at the moment of the answer. */
struct now {
	int64_t wall, mono;
};

/* due_ns may be at the end of time. */
static void add_due(struct strbuf *out, const struct now *now, int64_t due_ns)
{
	int64_t in = due_ns - now->mono, due;
	if (__builtin_add_overflow(now->wall, in, &due))
		due = INT64_MAX;
	strbuf_addf(out, ",\"due\":%" PRId64 ",\"due_in\":%" PRId64, due, in);
}

static void add_message(struct strbuf *out, const struct peek_args *a, const struct message_view *m,
	const struct now *now)
{
	static const char *const places[] = {[PLACE_BATCH] = "memory",
		[PLACE_MEMORY] = "memory",
		[PLACE_KEPT] = "kept",
		[PLACE_DISK] = "disk",
		[PLACE_DEAD] = "given_up"};
	size_t len = m->body->len < a->body ? m->body->len : a->body;
	int64_t age;
	/* A damaged record may have any timestamp. */
	if (__builtin_sub_overflow(now->wall, m->timestamp, &age))
		age = m->timestamp < 0 ? INT64_MAX : INT64_MIN;
	strbuf_adds(out, "{\"id\":");
	strbuf_add_json(out, m->id.hex, MSG_ID_LENGTH);
	strbuf_addf(out, ",\"timestamp\":%" PRId64 ",\"age\":%" PRId64 ",\"attempts\":%d",
		m->timestamp, age, m->attempts);
	strbuf_addf(out, ",\"from\":\"%s\",\"body_size\":%zu,\"body\":\"", places[m->place],
		m->body_len);
	base64_add(out, m->body->data, len);
	strbuf_addc(out, '"');
	if (m->place == PLACE_DEAD)
		strbuf_addf(out, ",\"reason\":\"%s\"", dead_reason_name((int)m->client_id));
}

/* --- dead letters ----------------------------------------------------------------------------- */

/* Where the messages come from, if they are dead letters. */
struct origins {
	struct dead_entry *v; /* owned, as is the next; one for each message that was seen */
	bool *found;
	struct err err; /* msg: "", or why some may be missing */
};

static void find_origins(struct origins *o, struct http_request *req, const char *topic,
	const struct message_views *seen)
{
	*o = (struct origins){
		xcalloc(seen->n + 1, sizeof(*o->v)), xcalloc(seen->n + 1, sizeof(*o->found)), {0}};
	struct err err = {0};
	for (size_t i = 0; i < seen->n; i++)
		o->v[i].id = seen->v[i].id;
	if (dead_targets_origins(
		    &req->daemon->topics->dead_targets, topic, o->v, o->found, seen->n, &err) != 0)
		o->err = err;
}

static void free_origins(struct origins *o)
{
	free(o->v);
	free(o->found);
}

static void add_origin(struct strbuf *out, const struct dead_letter *from)
{
	strbuf_adds(out, ",\"dead_letter\":{\"topic\":");
	strbuf_add_json(out, from->topic, strlen(from->topic));
	add_text(out, "channel", from->channel, strlen(from->channel));
	add_text(out, "id", from->id.hex, MSG_ID_LENGTH);
	strbuf_addf(out,
		",\"timestamp\":%" PRId64 ",\"attempts\":%d,\"reason\":\"%s\",\"time\":%" PRId64
		"}",
		from->timestamp, from->attempts, dead_reason_name(from->reason), from->time);
}

/* --- the answer ------------------------------------------------------------------------------- */

/* The messages that were seen, in JSON. c is NULL for a topic's own. */
static void add_messages(struct strbuf *out, const struct peek_args *a,
	const struct message_views *seen, struct channel *c, const struct origins *origins)
{
	struct now now = {clock_wall_ns(), clock_mono_ns()};
	struct consumers all = {
		xcalloc(seen->n + 1, sizeof(*all.v)), xcalloc(seen->n + 1, sizeof(*all.gone)), 0};
	for (size_t i = 0; i < seen->n; i++) {
		const struct message_view *m = &seen->v[i];
		if (i > 0)
			strbuf_addc(out, ',');
		add_message(out, a, m, &now);
		if (origins->found[i])
			add_origin(out, &origins->v[i].from);
		if (a->state == CHANNEL_IN_FLIGHT)
			add_client(out, m->client_id, find_consumer(&all, c, m->client_id));
		if (a->state != CHANNEL_READY)
			add_due(out, &now, m->due_ns);
		strbuf_addc(out, '}');
	}
	free_consumers(&all);
}

static void add_error(struct strbuf *out, const char *key, const struct err *err)
{
	if (*err->msg)
		add_text(out, key, err->msg, strlen(err->msg));
}

/* c is NULL for a topic's own messages. */
static void respond_peek(struct http_request *req, const struct peek_args *a,
	const struct message_views *seen, const char *topic, struct channel *c,
	const struct err *disk_err)
{
	struct strbuf *out = &req->out;
	struct origins origins;
	find_origins(&origins, req, topic, seen);
	strbuf_adds(out, "{\"messages\":[");
	add_messages(out, a, seen, c, &origins);
	strbuf_addc(out, ']');
	add_error(out, "disk_error", disk_err);
	add_error(out, "dead_letter_error", &origins.err);
	strbuf_addc(out, '}');
	free_origins(&origins);
	http_respond_out(req, true);
}

/* --- the handlers ----------------------------------------------------------------------------- */

/* A channel that exits is as good as gone, unless the daemon does. */
static void respond_exiting(struct http_request *req)
{
	if (context_is_exiting(req->ctx))
		http_respond_error(req, UNAVAILABLE, "EXITING");
	else
		http_respond_error(req, NOT_FOUND, "CHANNEL_NOT_FOUND");
}

void http_do_channel_peek(struct http_request *req)
{
	struct peek_args a;
	struct message_views seen;
	struct err disk_err;
	struct channel *c = http_get_existing_channel(req);
	if (!c)
		return;
	if (get_peek_args(req, &a)) {
		message_views_init(&seen, a.n, a.body);
		if (channel_peek(c, (enum channel_state)a.state, a.from != FROM_DISK,
			    a.from != FROM_MEMORY, &seen, &disk_err))
			respond_peek(req, &a, &seen, c->topic_name, c, &disk_err);
		else
			respond_exiting(req);
		message_views_free(&seen);
	}
	channel_unref(c);
}

void http_do_topic_peek(struct http_request *req)
{
	struct peek_args a;
	struct message_views seen;
	struct err disk_err;
	struct topic *t = http_get_existing_topic(req);
	if (!t)
		return;
	bool ok = get_peek_args(req, &a);
	if (ok && a.state != CHANNEL_READY) {
		http_respond_error(req, BAD_REQUEST, "INVALID_STATE");
	} else if (ok) {
		message_views_init(&seen, a.n, a.body);
		topic_peek(t, a.from != FROM_DISK, a.from != FROM_MEMORY, &seen, &disk_err);
		respond_peek(req, &a, &seen, t->name, NULL, &disk_err);
		message_views_free(&seen);
	}
	topic_unref(t);
}

static void respond_by_id(struct http_request *req, enum by_id result)
{
	switch (result) {
	case BY_ID_DONE:
		http_respond_empty(req);
		break;
	case BY_ID_NOT_FOUND:
		http_respond_error(req, NOT_FOUND, "MESSAGE_NOT_FOUND");
		break;
	case BY_ID_ON_DISK:
		http_respond_error(req, CONFLICT, "MESSAGE_IS_ON_DISK");
		break;
	case BY_ID_NOT_IN_MEMORY:
		http_respond_error(req, CONFLICT, "MESSAGE_NOT_IN_MEMORY");
		break;
	case BY_ID_EXITING:
		respond_exiting(req);
		break;
	}
}

void http_do_message_finish(struct http_request *req)
{
	struct message_id id;
	struct channel *c = http_get_existing_channel(req);
	if (!c)
		return;
	if (get_id(req, &id))
		respond_by_id(req, channel_finish_by_id(c, id));
	channel_unref(c);
}

void http_do_message_requeue(struct http_request *req)
{
	struct message_id id;
	int64_t delay_ns;
	struct channel *c = http_get_existing_channel(req);
	if (!c)
		return;
	if (get_id(req, &id) && get_delay(req, c, &delay_ns))
		respond_by_id(req, channel_requeue_by_id(c, id, delay_ns));
	channel_unref(c);
}
