/* SPDX-License-Identifier: MIT */
/*
 * POST /channel/redrive. Mirrors no Go file. Runs in the threads of HTTP connections: it may wait for
 * the disk.
 */
#include <stdlib.h>
#include <string.h>

#include "nsqd/http/http.h"
#include "nsqd/http/http_request.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/redrive.h"

#define BAD_REQUEST 400
#define INTERNAL 500
#define UNAVAILABLE 503

/* n=, 1 without; false: it is no number from 1 to REDRIVE_MAX. */
static bool get_n(const struct http_request *req, size_t *n)
{
	const char *text = http_get_param(req, "n");
	*n = 1;
	if (!text)
		return true;
	size_t len = strlen(text);
	if (len == 0 || len > 9 || strspn(text, "0123456789") != len)
		return false;
	*n = (size_t)strtoul(text, NULL, 10);
	return *n >= 1 && *n <= REDRIVE_MAX;
}

static void respond(struct http_request *req, const struct redriven *r, int64_t depth)
{
	strbuf_addf(&req->out,
		"{\"redriven\":%zu,\"skipped\":%zu,\"no_origin\":%zu,\"no_channel\":%zu,"
		"\"refused\":%zu,\"depth\":%lld}",
		r->redriven, r->no_origin + r->no_channel + r->refused, r->no_origin, r->no_channel,
		r->refused, (long long)depth);
	http_respond_out(req, true);
}

void http_do_redrive(struct http_request *req)
{
	struct redriven r;
	struct err err;
	size_t n;
	struct channel *c = http_get_existing_channel(req);
	if (!c)
		return;
	if (!get_n(req, &n)) {
		http_respond_error(req, BAD_REQUEST, "INVALID_N");
	} else if (nsqd_redrive(req->daemon->topics, c, n, &r, &err) == 0) {
		respond(req, &r, channel_depth(c));
	} else if (channel_exiting(c)) {
		http_respond_error(req, UNAVAILABLE, "EXITING");
	} else {
		nsqd_logf(req->ctx, LG_ERROR, "CHANNEL(%s): redrive - %s", c->name, err.msg);
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
	}
	channel_unref(c);
}
