/* SPDX-License-Identifier: MIT */
/*
 * /config. Mirrors doConfig of nsqd/http.go. GET runs in the pollers, PUT runs in the threads of HTTP
 * connections.
 *
 * Different from Go: options are not swapped as a whole, since every reader would have to hold
 * them. What can change has a place of its own: the level in the logger, lookupd's addresses in
 * nsqd_config. "drain" is no option of stock 1.3.0: it is the state of the daemon.
 */
#include <string.h>

#include "common/json.h"
#include "common/xalloc.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_request.h"
#include "nsqd/core/nsqd_config.h"
#include "nsqd/core/nsqd_flags.h"

#define BAD_REQUEST 400
#define TOO_LARGE 413
#define INTERNAL 500

static bool is_option(const struct http_request *req, const char *name)
{
	return req->param_len == strlen(name) && memcmp(req->param, name, req->param_len) == 0;
}

#define UNAVAILABLE 503

/*
 * --- what changes --------------------------------------------------------------------------------
 *
 * The functions that put answer NULL, or what is wrong.
 */

static const char invalid[] = "INVALID_VALUE";

static void get_log_level(struct http_request *req)
{
	strbuf_addf(&req->out, "%d", atomic_load(&req->ctx->lg.level));
}

static const char *put_log_level(struct http_request *req)
{
	enum lg_level level;
	char name[16];
	if (req->body_len >= sizeof(name) || memchr(http_body(req), '\0', req->body_len))
		return invalid;
	memcpy(name, http_body(req), req->body_len);
	name[req->body_len] = '\0';
	if (!lg_parse_level(name, &level))
		return invalid;
	atomic_store(&req->ctx->lg.level, (int)level);
	return NULL;
}

static void get_lookupd_addresses(struct http_request *req)
{
	struct strarray a;
	nsqd_config_get_lookupd(&req->ctx->config, &a);
	strbuf_addc(&req->out, '[');
	for (size_t i = 0; i < a.n; i++) {
		if (i)
			strbuf_addc(&req->out, ',');
		strbuf_add_json(&req->out, a.v[i], strlen(a.v[i]));
	}
	strbuf_addc(&req->out, ']');
	strarray_free(&a);
}

static const char *put_lookupd_addresses(struct http_request *req)
{
	struct strarray a = {0};
	const char *body = http_body(req);
	bool ok = json_valid(body, req->body_len) &&
		  strarray_add_json(&a, json_root(body, req->body_len));
	if (ok)
		nsqd_config_take_lookupd(&req->ctx->config, &a);
	else
		strarray_free(&a);
	return ok ? NULL : invalid;
}

static void get_drain(struct http_request *req)
{
	strbuf_adds(&req->out, context_is_draining(req->ctx) ? "true" : "false");
}

static bool body_is(const struct http_request *req, const char *text)
{
	return req->body_len == strlen(text) && memcmp(http_body(req), text, req->body_len) == 0;
}

/* Upstream's pull request has no body: then it begins. */
static const char *put_drain(struct http_request *req)
{
	bool on = req->body_len == 0 || body_is(req, "true");
	if (!on && !body_is(req, "false"))
		return invalid;
	return drain_request(&req->ctx->drain, on) ? NULL : "EXITING";
}

static const struct {
	const char *name;
	void (*get)(struct http_request *req);
	const char *(*put)(struct http_request *req);
	bool may_be_empty; /* the body */
} changeable[] = {
	{"log_level", get_log_level, put_log_level, false},
	{"nsqlookupd_tcp_addresses", get_lookupd_addresses, put_lookupd_addresses, false},
	{"drain", get_drain, put_drain, true},
};

#define N_CHANGEABLE (sizeof(changeable) / sizeof(*changeable))

/* --- the handlers ----------------------------------------------------------------------------- */

void http_do_get_config(struct http_request *req)
{
	char key[64];
	bool is_json = true;
	for (size_t i = 0; i < N_CHANGEABLE; i++) {
		if (is_option(req, changeable[i].name)) {
			changeable[i].get(req);
			http_respond_out(req, true);
			return;
		}
	}
	bool known = req->param_len < sizeof(key) && !memchr(req->param, '\0', req->param_len);
	if (known) {
		memcpy(key, req->param, req->param_len);
		key[req->param_len] = '\0';
		known = nsqd_flags_config_value(nsqd_get_opts(req->ctx), key, &req->out, &is_json);
	}
	if (known)
		http_respond_out(req, is_json);
	else
		http_respond_error(req, BAD_REQUEST, "INVALID_OPTION");
}

/* Row i of the table. */
static void put_one(struct http_request *req, size_t i)
{
	const char *problem = changeable[i].put(req);
	if (!problem)
		http_do_get_config(req);
	else
		http_respond_error(req, problem == invalid ? BAD_REQUEST : UNAVAILABLE, problem);
}

void http_do_put_config(struct http_request *req)
{
	size_t i = 0;
	int64_t limit = nsqd_get_opts(req->ctx)->max_msg_size;
	if (req->body_failed) {
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
		return;
	}
	while (i < N_CHANGEABLE && !is_option(req, changeable[i].name))
		i++;
	bool may_be_empty = i < N_CHANGEABLE && changeable[i].may_be_empty;
	if ((req->body_len == 0 && !may_be_empty) || (int64_t)req->body_len > limit) {
		http_respond_error(req, TOO_LARGE, "INVALID_VALUE");
		return;
	}
	if (i < N_CHANGEABLE)
		put_one(req, i);
	else
		http_respond_error(req, BAD_REQUEST, "INVALID_OPTION");
}
