/* SPDX-License-Identifier: MIT */
/*
 * /config. Mirrors doConfig of nsqd/http.go. GET runs in the pollers, PUT runs in the threads of HTTP
 * connections.
 *
 * Different from Go: options are not swapped as a whole, since every reader would have to hold
 * them. The two that can change have places of their own: the level in the logger, lookupd's
 * addresses in nsqd_config.
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

/* --- the two options that change -------------------------------------------------------------- */

static void get_log_level(struct http_request *req)
{
	strbuf_addf(&req->out, "%d", atomic_load(&req->ctx->lg.level));
}

static bool put_log_level(struct http_request *req)
{
	enum lg_level level;
	char name[16];
	if (req->body_len >= sizeof(name) || memchr(http_body(req), '\0', req->body_len))
		return false;
	memcpy(name, http_body(req), req->body_len);
	name[req->body_len] = '\0';
	if (!lg_parse_level(name, &level))
		return false;
	atomic_store(&req->ctx->lg.level, (int)level);
	return true;
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

static bool put_lookupd_addresses(struct http_request *req)
{
	struct strarray a = {0};
	const char *body = http_body(req);
	bool ok = json_valid(body, req->body_len) &&
		  strarray_add_json(&a, json_root(body, req->body_len));
	if (ok)
		nsqd_config_take_lookupd(&req->ctx->config, &a);
	else
		strarray_free(&a);
	return ok;
}

static const struct {
	const char *name;
	void (*get)(struct http_request *req);
	bool (*put)(struct http_request *req);
} changeable[] = {
	{"log_level", get_log_level, put_log_level},
	{"nsqlookupd_tcp_addresses", get_lookupd_addresses, put_lookupd_addresses},
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

void http_do_put_config(struct http_request *req)
{
	int64_t limit = nsqd_get_opts(req->ctx)->max_msg_size;
	if (req->body_failed) {
		http_respond_error(req, INTERNAL, "INTERNAL_ERROR");
		return;
	}
	if (req->body_len == 0 || (int64_t)req->body_len > limit) {
		http_respond_error(req, TOO_LARGE, "INVALID_VALUE");
		return;
	}
	for (size_t i = 0; i < N_CHANGEABLE; i++) {
		if (!is_option(req, changeable[i].name))
			continue;
		if (changeable[i].put(req))
			http_do_get_config(req);
		else
			http_respond_error(req, BAD_REQUEST, "INVALID_VALUE");
		return;
	}
	http_respond_error(req, BAD_REQUEST, "INVALID_OPTION");
}
