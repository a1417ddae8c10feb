/* SPDX-License-Identifier: MIT */
/*
 * /topic/config and /channel/config. Mirrors no Go file. Runs in the threads of HTTP connections:
 * GET as well, since it may wait for topic.lock.
 */
#include <errno.h>
#include <string.h>

#include "common/json.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_request.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/settings_change.h"
#include "nsqd/queue/topic.h"

#define BAD_REQUEST 400
#define TOO_LARGE 413
#define INTERNAL 500
#define UNAVAILABLE 503
/* All settings at their longest are shorter. */
#define BODY_MAX (64 * 1024)

int64_t http_settings_limit(const struct options *opts)
{
	(void)opts;
	return BODY_MAX;
}

/* Of the topic, or (c) of the channel. */
static void show(struct http_request *req, struct topic *t, struct channel *c)
{
	settings_store_show(&req->ctx->settings, t->name, c ? c->name : NULL,
		c ? -1 : topic_durability(t), &req->out);
	http_respond_out(req, true);
}

/* "INVALID_SETTING max_depth: an integer ... is wanted" */
static void respond_invalid(struct http_request *req, const char *why)
{
	struct strbuf sb = STRBUF_INIT;
	strbuf_addf(&sb, "INVALID_SETTING %s", why);
	http_respond_error(req, BAD_REQUEST, sb.data);
	strbuf_free(&sb);
}

static void put(struct http_request *req, struct topic *t, struct channel *c)
{
	const char *body = http_body(req);
	struct err err;
	if (req->body_failed) {
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
	} else if (req->content_length > BODY_MAX || req->body_len > BODY_MAX) {
		http_respond_error(req, TOO_LARGE, "BODY_TOO_BIG");
	} else if (!json_valid(body, req->body_len)) {
		respond_invalid(req, "a JSON object of settings is wanted");
	} else if (nsqd_set_settings(t, c, json_root(body, req->body_len), &err) == 0) {
		show(req, t, c);
	} else if (err.code == EINVAL) {
		respond_invalid(req, err.msg);
	} else if (err.code == ECANCELED) {
		http_respond_error(req, UNAVAILABLE, "EXITING");
	} else {
		nsqd_logf(req->ctx, LG_ERROR, "TOPIC(%s): settings cannot be kept - %s", t->name,
			err.msg);
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
	}
}

typedef void do_fn(struct http_request *req, struct topic *t, struct channel *c);

static void with_topic(struct http_request *req, do_fn *fn)
{
	struct topic *t = http_get_existing_topic(req);
	if (!t)
		return;
	fn(req, t, NULL);
	topic_unref(t);
}

static void with_channel(struct http_request *req, do_fn *fn)
{
	struct channel *c = http_get_existing_channel(req);
	if (!c)
		return;
	fn(req, c->topic, c);
	channel_unref(c);
}

void http_do_get_topic_config(struct http_request *req)
{
	with_topic(req, show);
}

void http_do_put_topic_config(struct http_request *req)
{
	with_topic(req, put);
}

void http_do_get_channel_config(struct http_request *req)
{
	with_channel(req, show);
}

void http_do_put_channel_config(struct http_request *req)
{
	with_channel(req, put);
}
