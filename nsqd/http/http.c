/* SPDX-License-Identifier: MIT */
/*
 * The HTTP API. Mirrors nsqd/http.go, route by route and error by error. The handlers run in the
 * threads of HTTP connections. They may block as in Go: on the disk, and on a topic's or channel's
 * pump. Where http_route.may_block says that one will not, it runs at a poller. (/config is in
 * http_config.c, /debug in http_debug.c, peek and single messages in http_inspect.c, /metrics and
 * /health in http_metrics.c, the page of /stats in stats_print.c.)
 *
 * A body is read before its handler runs. Where a handler may refuse it first, that comes before
 * the body (HTTP_TOPIC_FIRST).
 */
#include "nsqd/http/http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/http/http_request.h"
#include "nsqd/queue/metadata.h"
#include "nsqd/stats/stats.h"
#include "nsqd/stats/stats_print.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "protocol/names.h"

#define BAD_REQUEST 400
#define NOT_FOUND 404
#define TOO_LARGE 413
#define INTERNAL 500
#define UNAVAILABLE 503
/* The most messages that a poller makes of one request. */
#define SHORT_MPUB 256

/* --- arguments ------------------------------------------------------------------------------ */

/* A name of the query. NULL with the answer given: it is missing, or not valid (NULL: any is). */
static const char *get_name(struct http_request *req, const char *key, const char *missing,
	bool (*is_valid)(const char *name, size_t len), const char *invalid)
{
	const char *name = http_get_param(req, key);
	if (!name)
		http_respond_error(req, BAD_REQUEST, missing);
	else if (!is_valid || is_valid(name, strlen(name)))
		return name;
	else
		http_respond_error(req, BAD_REQUEST, invalid);
	return NULL;
}

/* The topic's. invalid: the answer to one that is not valid; NULL: stock does not look. */
static const char *get_topic_name(struct http_request *req, const char *invalid)
{
	if (!http_parse_params(req))
		return NULL;
	return get_name(
		req, "topic", "MISSING_ARG_TOPIC", invalid ? is_valid_topic_name : NULL, invalid);
}

/*
 * Answers for a daemon that exits, or has refused something since it drains, as why says: by now the
 * drain may have been called off. False, and no answer: it is neither.
 */
static bool respond_refused(struct http_request *req, const struct err *why)
{
	if (why->code == ERR_FULL)
		http_respond_error(req, UNAVAILABLE, limits_http_text(why));
	else if (why->code == ERR_DRAINING)
		http_respond_error(req, UNAVAILABLE, "DRAINING");
	else if (context_is_exiting(req->ctx))
		http_respond_error(req, UNAVAILABLE, "EXITING");
	else
		return false;
	return true;
}

/* How a topic is found or made: nsqd_get_topic, or nsqd_create_topic. */
typedef struct topic *get_topic_fn(struct topics *ts, const char *name, struct err *err);

/* getTopicFromQuery: creates it. NULL with the answer given. */
static struct topic *get_topic_from_query(struct http_request *req, get_topic_fn *get)
{
	struct err err;
	const char *name = get_topic_name(req, "INVALID_TOPIC");
	if (!name)
		return NULL;
	struct topic *t = get(req->daemon->topics, name, &err);
	if (t)
		return t;
	if (respond_refused(req, &err))
		return NULL;
	nsqd_logf(req->ctx, LG_ERROR, "TOPIC(%s): cannot be created - %s", name, err.msg);
	http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
	return NULL;
}

bool http_find_topic(struct http_request *req)
{
	struct topic *t = get_topic_from_query(req, nsqd_get_topic);
	topic_unref(t);
	return t != NULL;
}

/* The existing topic, for the other topic handlers; as get_topic_name, and NULL if name is. */
static struct topic *get_existing_topic(struct http_request *req, const char *name)
{
	struct topic *t = name ? nsqd_get_existing_topic(req->daemon->topics, name) : NULL;
	if (name && !t)
		http_respond_error(req, NOT_FOUND, "TOPIC_NOT_FOUND");
	return t;
}

/* getExistingTopicFromQuery: with the name of the channel. */
static struct topic *get_existing_topic_from_query(struct http_request *req, const char **channel)
{
	const char *topic = get_topic_name(req, "INVALID_ARG_TOPIC");
	if (!topic)
		return NULL;
	*channel = get_name(req, "channel", "MISSING_ARG_CHANNEL", is_valid_channel_name,
		"INVALID_ARG_CHANNEL");
	return *channel ? get_existing_topic(req, topic) : NULL;
}

struct topic *http_get_existing_topic(struct http_request *req)
{
	return get_existing_topic(req, get_topic_name(req, "INVALID_TOPIC"));
}

struct channel *http_get_existing_channel(struct http_request *req)
{
	const char *name;
	struct topic *t = get_existing_topic_from_query(req, &name);
	if (!t)
		return NULL;
	struct channel *c = topic_get_existing_channel(t, name);
	topic_unref(t);
	if (!c)
		http_respond_error(req, NOT_FOUND, "CHANNEL_NOT_FOUND");
	return c;
}

/* --- /ping, /info --------------------------------------------------------------------------- */

static void ping_handler(struct http_request *req)
{
	char health[520];
	if (nsqd_is_healthy(req->ctx))
		http_respond_text(req, "OK");
	else
		http_respond_error(
			req, INTERNAL, nsqd_get_health(req->ctx, health, sizeof(health)));
}

static void do_info(struct http_request *req)
{
	char hostname[256];
	const struct http_daemon *d = req->daemon;
	const struct options *o = nsqd_get_opts(req->ctx);
	struct strbuf *out = &req->out;
	if (gethostname(hostname, sizeof(hostname)) != 0) {
		http_respond_error(req, INTERNAL, strerror(errno));
		return;
	}
	hostname[sizeof(hostname) - 1] = '\0';
	strbuf_adds(out, "{\"version\":\"" NSQ_VERSION "\",\"broadcast_address\":");
	strbuf_add_json(out, o->broadcast_address, strlen(o->broadcast_address));
	strbuf_adds(out, ",\"hostname\":");
	strbuf_add_json(out, hostname, strlen(hostname));
	strbuf_addf(out,
		",\"http_port\":%d,\"tcp_port\":%d,\"start_time\":%" PRId64
		",\"max_heartbeat_interval\":%" PRId64 ",\"max_output_buffer_size\":%" PRId64
		",\"max_output_buffer_timeout\":%" PRId64 ",\"max_deflate_level\":%d",
		d->http_port, d->tcp_port, (int64_t)(req->ctx->start_time_ns / NSEC_PER_SEC),
		o->max_heartbeat_interval, o->max_output_buffer_size, o->max_output_buffer_timeout,
		o->max_deflate_level);
	topology_add_zone_region_json(out, o);
	strbuf_addc(out, '}');
	http_respond_out(req, true);
}

/* --- /pub ------------------------------------------------------------------------------------- */

/* A size flag as a limit: at most what a body's 32-bit length can say. */
static int64_t as_limit(int64_t option)
{
	return option < 0 ? 0 : option > INT32_MAX ? INT32_MAX : option;
}

static int64_t max_msg_size(const struct options *o)
{
	return as_limit(o->max_msg_size);
}

static int64_t max_body_size(const struct options *o)
{
	return as_limit(o->max_body_size);
}

/* The delay in ns; -1: not a number, or out of range. */
static int64_t parse_defer(const char *s, int64_t max)
{
	char *end;
	if (!*s || !strchr("+-0123456789", *s) || ((*s == '+' || *s == '-') && !s[1]))
		return -1;
	errno = 0;
	long long ms = strtoll(s, &end, 10);
	if (*end || errno || end[-1] == '+' || end[-1] == '-' || ms < 0 || ms > max / NSEC_PER_MSEC)
		return -1;
	return ms * NSEC_PER_MSEC;
}

/* why: if not ok. */
static void respond_put(struct http_request *req, bool ok, const struct err *why)
{
	if (ok)
		http_respond_text(req, "OK");
	else if (!respond_refused(req, why))
		http_respond_error(req, UNAVAILABLE, "EXITING");
}

static void do_pub(struct http_request *req)
{
	struct err err;
	int64_t limit = max_msg_size(nsqd_get_opts(req->ctx)), deferred = 0;
	if (req->content_length > limit || (int64_t)req->body_len > limit) {
		http_respond_error(req, TOO_LARGE, "MSG_TOO_BIG");
		return;
	}
	if (req->body_failed) {
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
		return;
	}
	if (req->body_len == 0) {
		http_respond_error(req, BAD_REQUEST, "MSG_EMPTY");
		return;
	}
	struct topic *t = get_topic_from_query(req, nsqd_get_topic);
	if (!t)
		return;
	const char *defer = http_get_param(req, "defer");
	if (defer)
		deferred = parse_defer(defer, topic_max_defer(t));
	if (deferred < 0) {
		http_respond_error(req, BAD_REQUEST, "INVALID_DEFER");
	} else {
		struct message_body *body = http_take_body(req);
		bool ok = deferred ? topic_put_message_deferred(t, body, deferred, &err) == 0
				   : topic_put_messages(t, &body, 1, &err) == 1;
		respond_put(req, ok, &err);
	}
	topic_unref(t);
}

/* --- /mpub ------------------------------------------------------------------------------------ */

struct bodies {
	struct message_body **v; /* owned, and a reference each */
	size_t n;
	size_t cap;
};

static void add_body(struct bodies *b, const char *data, size_t len)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 64;
		b->v = xreallocarray(b->v, b->cap, sizeof(*b->v));
	}
	struct message_body *m = message_body_new(len);
	memcpy(m->data, data, len);
	b->v[b->n++] = m;
}

/* A message per line; empty ones are left out. Returns the error's text, or NULL. */
static const char *read_lines(const struct http_request *req, struct bodies *out)
{
	const struct options *o = nsqd_get_opts(req->ctx);
	size_t read_max = (size_t)max_body_size(o) + 1;
	const char *p = http_body(req), *start = p, *end = p + req->body_len;
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *next = nl ? nl + 1 : end;
		/* A line that is cut off does not count. */
		if (!nl && req->body_failed)
			break;
		size_t len = (size_t)((nl ? nl : end) - p);
		if ((size_t)(next - start) == read_max)
			return "BODY_TOO_BIG";
		if (len > (size_t)max_msg_size(o))
			return "MSG_TOO_BIG";
		if (len > 0)
			add_body(out, p, len);
		p = next;
	}
	return NULL;
}

/* readMPUB: the count, then a size and that many bytes each. Returns the error's text, or NULL. */
static const char *read_binary(const struct http_request *req, struct bodies *out)
{
	const struct options *o = nsqd_get_opts(req->ctx);
	const unsigned char *p = (const unsigned char *)http_body(req), *end = p + req->body_len;
	if (req->body_len < 4)
		return "BAD_BODY";
	int32_t count = (int32_t)get_be32(p);
	/* 4 == total num, 5 == length + min 1 */
	if (count <= 0 || count > (o->max_body_size - 4) / 5)
		return "BAD_BODY";
	p += 4;
	for (int32_t i = 0; i < count; i++) {
		if (end - p < 4)
			return "BAD_MESSAGE";
		int32_t size = (int32_t)get_be32(p);
		p += 4;
		if (size <= 0 || size > o->max_msg_size || end - p < size)
			return "BAD_MESSAGE";
		add_body(out, (const char *)p, (size_t)size);
		p += size;
	}
	return NULL;
}

/* Unrecognised values mean true. */
static bool is_binary(const struct http_request *req)
{
	const char *v = http_get_param(req, "binary");
	if (!v)
		return false;
	bool binary = http_get_bool(req, "binary", true);
	if (binary && strcmp(v, "true") != 0 && strcmp(v, "1") != 0)
		nsqd_logf(
			req->ctx, LG_WARN, "deprecated value '%s' used for /mpub binary param", v);
	return binary;
}

/* The most messages that the body can hold. */
static size_t count_messages(const struct http_request *req)
{
	const char *p = http_body(req), *end = p + req->body_len;
	size_t n = 1;
	if (http_get_bool(req, "binary", http_get_param(req, "binary") != NULL))
		return req->body_len < 4 ? 0 : get_be32((const unsigned char *)p);
	while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		n++;
	}
	return n;
}

/* (Without a good name the handler answers an error.) */
bool http_put_may_block(struct http_request *req, bool many)
{
	const char *name = http_parse_query(req) ? http_get_param(req, "topic") : NULL;
	if (!name || !is_valid_topic_name(name, strlen(name)))
		return false;
	size_t n = many ? count_messages(req) : 1;
	return n > SHORT_MPUB || nsqd_put_way(req->daemon->topics, name, n) != PUT_AT_ONCE;
}

static void do_mpub(struct http_request *req)
{
	struct err err;
	struct bodies bodies = {0};
	if (req->content_length > max_body_size(nsqd_get_opts(req->ctx))) {
		http_respond_error(req, TOO_LARGE, "BODY_TOO_BIG");
		return;
	}
	struct topic *t = get_topic_from_query(req, nsqd_get_topic);
	if (!t)
		return;
	bool binary = is_binary(req);
	const char *problem = binary ? read_binary(req, &bodies) : read_lines(req, &bodies);
	int status = TOO_LARGE;
	if (!problem && req->body_failed && !binary) {
		problem = "INTERNAL_ERROR";
		status = INTERNAL;
	}
	if (problem) {
		for (size_t i = 0; i < bodies.n; i++)
			message_body_unref(bodies.v[i]);
		http_respond_error(req, status, problem);
	} else if (bodies.n == 0) {
		respond_put(req, !topic_refuses(t, &err), &err);
	} else {
		bool ok = topic_put_messages(t, bodies.v, bodies.n, &err) == bodies.n;
		respond_put(req, ok, &err);
	}
	free(bodies.v);
	topic_unref(t);
}

/* --- /topic ----------------------------------------------------------------------------------- */

/* The answer where a deletion has failed; see topic_delete_existing_channel. */
static void respond_not_deleted(
	struct http_request *req, const struct err *why, const char *not_found)
{
	if (why->code == ENOENT)
		http_respond_error(req, NOT_FOUND, not_found);
	else if (why->code == ECANCELED)
		http_respond_error(req, UNAVAILABLE, "EXITING");
	else
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
}

static void do_create_topic(struct http_request *req)
{
	struct topic *t = get_topic_from_query(req, nsqd_create_topic);
	if (!t)
		return;
	topic_unref(t);
	http_respond_empty(req);
}

static void do_empty_topic(struct http_request *req)
{
	struct err err;
	struct topic *t = http_get_existing_topic(req);
	if (!t)
		return;
	if (topic_empty(t, &err) == 0)
		http_respond_empty(req);
	else
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
	topic_unref(t);
}

static void do_delete_topic(struct http_request *req)
{
	struct err err;
	const char *name = get_topic_name(req, NULL);
	if (!name)
		return;
	if (nsqd_delete_existing_topic(req->daemon->topics, name, &err) == 0)
		http_respond_empty(req);
	else
		respond_not_deleted(req, &err, "TOPIC_NOT_FOUND");
}

/*
 * Persists, so that nothing is suddenly (un)paused after a crash. As in stock, a failure is only
 * logged.
 */
static void persist_pause(struct http_request *req)
{
	struct err err;
	if (nsqd_persist_metadata(req->daemon->metadata, &err) != 0)
		nsqd_logf(req->ctx, LG_ERROR, "failed to persist metadata - %s", err.msg);
	http_respond_empty(req);
}

/* As in stock, the path says which of the two it is. */
static bool is_unpause(const struct http_request *req)
{
	return memmem(req->target.path, req->target.path_len, "unpause", strlen("unpause"));
}

static void do_pause_topic(struct http_request *req)
{
	struct topic *t = get_existing_topic(req, get_topic_name(req, NULL));
	if (!t)
		return;
	(is_unpause(req) ? topic_unpause : topic_pause)(t);
	topic_unref(t);
	persist_pause(req);
}

/* --- /channel --------------------------------------------------------------------------------- */

static void do_create_channel(struct http_request *req)
{
	struct err err;
	const char *name;
	struct topic *t = get_existing_topic_from_query(req, &name);
	if (!t)
		return;
	struct channel *c = topic_create_channel(t, name, &err);
	if (c) {
		http_respond_empty(req);
	} else if (topic_exiting(t) || context_is_exiting(req->ctx)) {
		http_respond_error(req, UNAVAILABLE, "EXITING");
	} else {
		nsqd_logf(req->ctx, LG_ERROR, "CHANNEL(%s): cannot be created - %s", name, err.msg);
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
	}
	channel_unref(c);
	topic_unref(t);
}

static void do_empty_channel(struct http_request *req)
{
	struct err err;
	struct channel *c = http_get_existing_channel(req);
	if (!c)
		return;
	if (channel_empty(c, &err) == 0)
		http_respond_empty(req);
	else
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
	channel_unref(c);
}

static void do_delete_channel(struct http_request *req)
{
	struct err err;
	const char *name;
	struct topic *t = get_existing_topic_from_query(req, &name);
	if (!t)
		return;
	if (topic_delete_existing_channel(t, name, &err) == 0)
		http_respond_empty(req);
	else
		respond_not_deleted(req, &err, "CHANNEL_NOT_FOUND");
	topic_unref(t);
}

static void do_pause_channel(struct http_request *req)
{
	struct channel *c = http_get_existing_channel(req);
	if (!c)
		return;
	(is_unpause(req) ? channel_unpause : channel_pause)(c);
	channel_unref(c);
	persist_pause(req);
}

/* --- /stats ----------------------------------------------------------------------------------- */

/* Of one topic: to look for it takes a look at the disk. */
static bool find_holder(struct http_request *req, struct log_holder *out)
{
	const char *name = http_get_param(req, "topic");
	struct topic *t = name && *name ? nsqd_get_existing_topic(req->daemon->topics, name) : NULL;
	bool found = t && log_holder_find(t, out);
	topic_unref(t);
	return found;
}

static void do_stats(struct http_request *req)
{
	char health[520];
	struct stats stats;
	struct mem_stats memory;
	struct host_limits_state limits;
	if (!http_parse_params(req))
		return;
	const char *format = http_get_param(req, "format");
	bool json = format && strcmp(format, "json") == 0;
	bool clients = http_get_bool(req, "include_clients", true);
	stats_get(req->daemon->topics, clients ? req->daemon->tcp_server : NULL,
		http_get_param(req, "topic"), http_get_param(req, "channel"), &stats);
	struct stats_page page = {
		.stats = &stats,
		.health = nsqd_get_health(req->ctx, health, sizeof(health)),
		.start_time_ns = req->ctx->start_time_ns,
		.now_ns = clock_wall_ns(),
	};
	if (http_get_bool(req, "include_mem", true)) {
		mem_stats_get(&memory);
		page.memory = &memory;
	}
	if (http_get_bool(req, "include_limits", false)) {
		host_limits_look(req->ctx, &limits);
		page.limits = &limits;
	}
	struct log_holder holder;
	page.include_log = http_get_bool(req, "include_log", false);
	if (page.include_log && json && find_holder(req, &holder))
		page.holder = &holder;
	if (json)
		stats_print_json(&req->out, &page);
	else
		stats_print_text(&req->out, &page);
	http_respond_out(req, json);
	stats_free(&stats);
}

/* --- the routes ------------------------------------------------------------------------------- */

/* What an operator does with topics and channels that are there. */
#define OPERATORS (HTTP_LOGGED | HTTP_DISCARDS_BODY | HTTP_HELPS)

const struct http_route http_routes[] = {
	{HTTP_POST, "/pub", HTTP_PUBLISH, do_pub, HTTP_MESSAGE_BODY | HTTP_PUBLISHES, max_msg_size},
	{HTTP_POST, "/mpub", HTTP_PUBLISH, do_mpub, HTTP_TOPIC_FIRST | HTTP_PUBLISHES,
		max_body_size},
	{HTTP_GET, "/ping", HTTP_OPEN, ping_handler,
		HTTP_PUBLIC | HTTP_LOGGED | HTTP_PLAIN_TEXT | HTTP_QUICK, NULL},
	{HTTP_GET, "/stats", HTTP_READ, do_stats, HTTP_PUBLIC | HTTP_LOGGED | HTTP_DISCARDS_BODY,
		NULL},
	{HTTP_GET, "/info", HTTP_READ, do_info, HTTP_LOGGED | HTTP_QUICK, NULL},
	{HTTP_GET, "/metrics", HTTP_READ, http_do_metrics,
		HTTP_PUBLIC | HTTP_PLAIN_TEXT | HTTP_DISCARDS_BODY, NULL},
	{HTTP_GET, "/health/live", HTTP_OPEN, http_do_health_live,
		HTTP_PUBLIC | HTTP_PLAIN_TEXT | HTTP_QUICK, NULL},
	{HTTP_GET, "/health/ready", HTTP_OPEN, http_do_health_ready, HTTP_PUBLIC | HTTP_QUICK,
		NULL},

	{HTTP_POST, "/topic/create", HTTP_ADMIN, do_create_topic, HTTP_LOGGED, NULL},
	{HTTP_POST, "/topic/delete", HTTP_ADMIN, do_delete_topic, OPERATORS, NULL},
	{HTTP_POST, "/topic/empty", HTTP_ADMIN, do_empty_topic, OPERATORS, NULL},
	{HTTP_POST, "/topic/pause", HTTP_ADMIN, do_pause_topic, OPERATORS, NULL},
	{HTTP_POST, "/topic/unpause", HTTP_ADMIN, do_pause_topic, OPERATORS, NULL},
	{HTTP_POST, "/channel/create", HTTP_ADMIN, do_create_channel,
		HTTP_LOGGED | HTTP_DISCARDS_BODY, NULL},
	{HTTP_POST, "/channel/delete", HTTP_ADMIN, do_delete_channel, OPERATORS, NULL},
	{HTTP_POST, "/channel/empty", HTTP_ADMIN, do_empty_channel, OPERATORS, NULL},
	{HTTP_POST, "/channel/pause", HTTP_ADMIN, do_pause_channel, OPERATORS, NULL},
	{HTTP_POST, "/channel/unpause", HTTP_ADMIN, do_pause_channel, OPERATORS, NULL},
	{HTTP_GET, "/topic/config", HTTP_READ, http_do_get_topic_config, OPERATORS, NULL},
	{HTTP_PUT, "/topic/config", HTTP_ADMIN, http_do_put_topic_config, HTTP_LOGGED | HTTP_HELPS,
		http_settings_limit},
	{HTTP_GET, "/channel/config", HTTP_READ, http_do_get_channel_config, OPERATORS, NULL},
	{HTTP_PUT, "/channel/config", HTTP_ADMIN, http_do_put_channel_config,
		HTTP_LOGGED | HTTP_HELPS, http_settings_limit},
	{HTTP_GET, "/topic/peek", HTTP_ADMIN, http_do_topic_peek, HTTP_LOGGED | HTTP_DISCARDS_BODY,
		NULL},
	{HTTP_GET, "/channel/peek", HTTP_ADMIN, http_do_channel_peek,
		HTTP_LOGGED | HTTP_DISCARDS_BODY, NULL},
	{HTTP_POST, "/channel/message/finish", HTTP_ADMIN, http_do_message_finish, OPERATORS, NULL},
	{HTTP_POST, "/channel/message/requeue", HTTP_ADMIN, http_do_message_requeue, OPERATORS,
		NULL},
	{HTTP_POST, "/channel/redrive", HTTP_ADMIN, http_do_redrive, OPERATORS, NULL},
	{HTTP_GET, "/config/:opt", HTTP_READ, http_do_get_config, HTTP_LOGGED | HTTP_QUICK, NULL},
	{HTTP_PUT, "/config/:opt", HTTP_ADMIN, http_do_put_config, HTTP_LOGGED, max_msg_size},

	{HTTP_GET, "/debug/", HTTP_ADMIN, http_do_debug, HTTP_LOGGED | HTTP_PLAIN_TEXT, NULL},
	{HTTP_PUT, "/debug/setblockrate", HTTP_ADMIN, http_do_set_block_rate,
		HTTP_LOGGED | HTTP_PLAIN_TEXT, NULL},
	{HTTP_POST, "/debug/freememory", HTTP_ADMIN, http_do_free_memory,
		HTTP_LOGGED | HTTP_PLAIN_TEXT, NULL},
	{HTTP_GET, "/debug/pprof/", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_GET, "/debug/pprof/cmdline", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_GET, "/debug/pprof/symbol", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_POST, "/debug/pprof/symbol", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_GET, "/debug/pprof/profile", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_GET, "/debug/pprof/heap", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_GET, "/debug/pprof/goroutine", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_GET, "/debug/pprof/block", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
	{HTTP_GET, "/debug/pprof/threadcreate", HTTP_ADMIN, http_do_pprof, HTTP_LOGGED, NULL},
};

const size_t http_n_routes = sizeof(http_routes) / sizeof(*http_routes);
