/* SPDX-License-Identifier: MIT */
/*
 * Asking auth servers, and keeping what they say. Mirrors internal/auth/authorizations.go. Runs in
 * the clients' io_loops.
 *
 * Expressions are kept as text, as in stock, and compiled when they are asked: an answer may have a
 * hundred thousand of them, and one compiled takes ten times its text. What differs: which topics a
 * client may publish to is remembered, so that nothing is compiled with every command; the time to
 * live is on the monotonic clock; the secret never gets into the log, and is wiped from memory that
 * was used for asking.
 */
#include "nsqd/client/auth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/json.h"
#include "common/rand.h"
#include "common/xalloc.h"

/* Beyond this a time to live is for ever: time.Duration would overflow. */
#define MAX_TTL (INT64_MAX / 4 / NSEC_PER_SEC)

/* --- the state ------------------------------------------------------------------------------ */

/* A decision about publishing that is remembered. */
struct auth_decision {
	bool allowed;
	char topic[]; /* terminated */
};

void auth_state_free(struct auth_state *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < AUTH_DECISIONS; i++)
		free(s->decisions[i]);
	free(s->authorizations);
	free(s->patterns);
	strbuf_free(&s->texts);
	strbuf_free(&s->identity);
	strbuf_free(&s->identity_url);
	free(s);
}

static struct regex *compile(
	const struct auth_state *s, struct auth_pattern pattern, struct err *err)
{
	const char *text = s->texts.data ? s->texts.data : "";
	return regex_compile(text + pattern.at, pattern.len, err);
}

/* It was compiled once to see that it can be: it is none if there is no memory for PCRE2. */
static bool matches(const struct auth_state *s, struct auth_pattern pattern, const char *name)
{
	struct regex *re = compile(s, pattern, NULL);
	bool yes = re && regex_match(re, name);
	regex_free(re);
	return yes;
}

static bool authorization_allows(const struct auth_state *s, const struct auth_authorization *a,
	const char *topic, const char *channel)
{
	if (*channel ? !a->may_subscribe : !a->may_publish)
		return false;
	if (!matches(s, a->topic, topic))
		return false;
	/* To publish takes an expression that matches the empty name, as in stock. */
	for (size_t i = 0; i < a->n_channels; i++) {
		if (matches(s, s->patterns[a->channels + i], channel))
			return true;
	}
	return false;
}

static bool decide(const struct auth_state *s, const char *topic, const char *channel)
{
	for (size_t i = 0; i < s->n_authorizations; i++) {
		if (authorization_allows(s, &s->authorizations[i], topic, channel))
			return true;
	}
	return false;
}

/* Where a decision about topic is remembered, until another topic has the same place. */
static struct auth_decision **place_of(struct auth_state *s, const char *topic)
{
	uint32_t hash = 2166136261u; /* FNV-1a */
	for (const char *p = topic; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619u;
	return &s->decisions[hash % AUTH_DECISIONS];
}

bool auth_is_allowed(struct auth_state *s, const char *topic, const char *channel)
{
	/* A client subscribes once. */
	if (*channel)
		return decide(s, topic, channel);
	struct auth_decision **d = place_of(s, topic);
	if (*d && strcmp((*d)->topic, topic) == 0)
		return (*d)->allowed;
	free(*d);
	*d = xmalloc(sizeof(**d) + strlen(topic) + 1);
	strcpy((*d)->topic, topic);
	(*d)->allowed = decide(s, topic, channel);
	return (*d)->allowed;
}

bool auth_is_expired(const struct auth_state *s)
{
	return auth_expires_within(s, 0);
}

bool auth_expires_within(const struct auth_state *s, int64_t ns)
{
	return clock_mono_ns() + ns > s->expires_ns;
}

/* --- decoding ------------------------------------------------------------------------------- */

/*
 * json.Unmarshal's rules: names match in any case, the last of two wins, unknown ones are skipped,
 * null changes nothing. A value of another type than the field's is an error.
 */
static int wrong_type(struct json_value v, const char *field, struct err *err)
{
	return err_set(
		err, 0, "json: cannot unmarshal %s into field %s", json_type_name(v.type), field);
}

/* What wins is what comes last: a list that was there before is no more. */
static int decode_string(
	struct json_value v, const char *field, struct strbuf *out, struct err *err)
{
	if (v.type != JSON_STRING)
		return wrong_type(v, field, err);
	strbuf_reset(out);
	json_add_string(out, v);
	return 0;
}

/* Keeps a pattern's text. A null in a list is the empty string. */
static int decode_pattern(struct auth_state *s, struct json_value v, const char *field,
	struct auth_pattern *out, struct err *err)
{
	size_t start = s->texts.len;
	if (v.type != JSON_STRING && v.type != JSON_NULL)
		return wrong_type(v, field, err);
	if (v.type == JSON_STRING)
		json_add_string(&s->texts, v);
	*out = (struct auth_pattern){(uint32_t)start, (uint32_t)(s->texts.len - start)};
	return 0;
}

static int decode_channels(
	struct auth_state *s, struct json_value v, struct auth_authorization *a, struct err *err)
{
	struct json_value item;
	size_t pos = 0;
	if (v.type != JSON_ARRAY)
		return wrong_type(v, "channels", err);
	a->channels = (uint32_t)s->n_patterns;
	a->n_channels = 0;
	while (json_next_element(v, &pos, &item)) {
		if (s->n_patterns == s->cap_patterns) {
			s->cap_patterns += s->cap_patterns / 2 + 16;
			s->patterns =
				xreallocarray(s->patterns, s->cap_patterns, sizeof(*s->patterns));
		}
		if (decode_pattern(s, item, "channels", &s->patterns[s->n_patterns], err) != 0)
			return -1;
		s->n_patterns++;
		a->n_channels++;
	}
	return 0;
}

/* *unknown is the first of them that is not known, if there is one; the caller frees it. */
static int decode_permissions(
	struct json_value v, struct auth_authorization *a, char **unknown, struct err *err)
{
	struct json_value item;
	size_t pos = 0;
	if (v.type != JSON_ARRAY)
		return wrong_type(v, "permissions", err);
	a->may_subscribe = a->may_publish = false;
	free(*unknown);
	*unknown = NULL;
	while (json_next_element(v, &pos, &item)) {
		if (item.type != JSON_STRING && item.type != JSON_NULL)
			return wrong_type(item, "permissions", err);
		char *name = item.type == JSON_STRING ? json_string(item) : xstrdup("");
		bool subscribe = strcmp(name, "subscribe") == 0;
		bool publish = strcmp(name, "publish") == 0;
		a->may_subscribe = a->may_subscribe || subscribe;
		a->may_publish = a->may_publish || publish;
		if (*unknown || subscribe || publish)
			free(name);
		else
			*unknown = name;
	}
	return 0;
}

static int decode_member(struct auth_state *s, struct json_value key, struct json_value value,
	struct auth_authorization *a, char **unknown, struct err *err)
{
	if (value.type == JSON_NULL)
		return 0;
	if (json_key_is(key, "topic"))
		return value.type == JSON_STRING ? decode_pattern(s, value, "topic", &a->topic, err)
						 : wrong_type(value, "topic", err);
	if (json_key_is(key, "channels"))
		return decode_channels(s, value, a, err);
	if (json_key_is(key, "permissions"))
		return decode_permissions(value, a, unknown, err);
	return 0;
}

static int decode_authorization(
	struct auth_state *s, struct json_value v, struct auth_authorization *a, struct err *err)
{
	struct json_value key, value;
	size_t pos = 0;
	char *unknown = NULL;
	int rc = 0;
	if (v.type == JSON_NULL)
		return 0;
	if (v.type != JSON_OBJECT)
		return wrong_type(v, "authorizations", err);
	while (rc == 0 && json_next_member(v, &pos, &key, &value))
		rc = decode_member(s, key, value, a, &unknown, err);
	if (rc == 0 && unknown)
		rc = err_set(err, 0, "unknown permission %s", unknown);
	free(unknown);
	return rc;
}

static int decode_authorizations(struct auth_state *s, struct json_value v, struct err *err)
{
	struct json_value item;
	size_t pos = 0, cap = 0;
	if (v.type != JSON_ARRAY)
		return wrong_type(v, "authorizations", err);
	s->n_authorizations = 0;
	s->n_patterns = 0;
	strbuf_reset(&s->texts);
	while (json_next_element(v, &pos, &item)) {
		if (s->n_authorizations >= cap) {
			cap += cap / 2 + 4;
			s->authorizations =
				xreallocarray(s->authorizations, cap, sizeof(*s->authorizations));
		}
		struct auth_authorization *a = &s->authorizations[s->n_authorizations++];
		*a = (struct auth_authorization){0};
		if (decode_authorization(s, item, a, err) != 0)
			return -1;
	}
	return 0;
}

static int decode_root_member(
	struct auth_state *s, struct json_value key, struct json_value value, struct err *err)
{
	if (value.type == JSON_NULL)
		return 0;
	if (json_key_is(key, "identity"))
		return decode_string(value, "identity", &s->identity, err);
	if (json_key_is(key, "identity_url"))
		return decode_string(value, "identity_url", &s->identity_url, err);
	if (json_key_is(key, "authorizations"))
		return decode_authorizations(s, value, err);
	if (json_key_is(key, "ttl") && !json_int(value, INT64_MIN, INT64_MAX, &s->ttl))
		return wrong_type(value, "ttl", err);
	return 0;
}

static int decode_root(struct auth_state *s, struct json_value root, struct err *err)
{
	struct json_value key, value;
	size_t pos = 0;
	if (root.type == JSON_NULL)
		return 0;
	if (root.type != JSON_OBJECT)
		return err_set(err, 0, "json: cannot unmarshal %s into an object",
			json_type_name(root.type));
	while (json_next_member(root, &pos, &key, &value)) {
		if (decode_root_member(s, key, value, err) != 0)
			return -1;
	}
	return 0;
}

/* Can it be compiled? */
static int check_pattern(
	const struct auth_state *s, const char *kind, struct auth_pattern pattern, struct err *err)
{
	struct err reason;
	struct regex *re = compile(s, pattern, &reason);
	regex_free(re);
	if (re)
		return 0;
	struct strbuf quoted = STRBUF_INIT;
	strbuf_addq(&quoted, s->texts.data ? s->texts.data + pattern.at : "", pattern.len);
	err_set(err, 0, "unable to compile %s %s %s", kind, quoted.data, reason.msg);
	strbuf_free(&quoted);
	return -1;
}

/* validation on response */
static int validate(struct auth_state *s, struct err *err)
{
	for (size_t i = 0; i < s->n_authorizations; i++) {
		const struct auth_authorization *a = &s->authorizations[i];
		if (check_pattern(s, "topic", a->topic, err) != 0)
			return -1;
		for (size_t k = 0; k < a->n_channels; k++) {
			if (check_pattern(s, "channel", s->patterns[a->channels + k], err) != 0)
				return -1;
		}
	}
	if (s->ttl <= 0)
		return err_set(err, 0, "invalid TTL %lld (must be >0)", (long long)s->ttl);
	int64_t ttl_s = s->ttl < MAX_TTL ? s->ttl : MAX_TTL;
	s->expires_ns = clock_mono_ns() + ttl_s * NSEC_PER_SEC;
	return 0;
}

/* It lives as long as its client: nothing is kept that was only needed while it grew. */
static void shrink(struct auth_state *s)
{
	s->authorizations =
		xreallocarray(s->authorizations, s->n_authorizations, sizeof(*s->authorizations));
	s->patterns = xreallocarray(s->patterns, s->n_patterns, sizeof(*s->patterns));
	s->cap_patterns = s->n_patterns;
	strbuf_shrink(&s->texts);
	strbuf_shrink(&s->identity);
	strbuf_shrink(&s->identity_url);
}

struct auth_state *auth_state_decode(const char *json, size_t len, struct err *err)
{
	if (len > UINT32_MAX || !json_valid(json, len)) {
		err_set(err, 0, "invalid JSON in response");
		return NULL;
	}
	struct auth_state *s = xcalloc(1, sizeof(*s));
	if (decode_root(s, json_root(json, len), err) == 0 && validate(s, err) == 0) {
		shrink(s);
		return s;
	}
	auth_state_free(s);
	return NULL;
}

/* --- asking --------------------------------------------------------------------------------- */

/* url.Values.Encode: sorted by key. */
static void add_query(struct strbuf *sb, const struct auth_request *r)
{
	strbuf_adds(sb, "common_name=");
	http_client_query_escape(sb, r->common_name, strlen(r->common_name));
	strbuf_adds(sb, "&remote_ip=");
	http_client_query_escape(sb, r->remote_ip, strlen(r->remote_ip));
	strbuf_adds(sb, "&secret=");
	http_client_query_escape(sb, r->secret, r->secret_len);
	strbuf_addf(sb, "&tls=%s", r->tls_enabled ? "true" : "false");
}

/* json.Marshal of url.Values: each value is a list. */
static void add_json(struct strbuf *sb, const struct auth_request *r)
{
	strbuf_adds(sb, "{\"common_name\":[");
	strbuf_add_json(sb, r->common_name, strlen(r->common_name));
	strbuf_adds(sb, "],\"remote_ip\":[");
	strbuf_add_json(sb, r->remote_ip, strlen(r->remote_ip));
	strbuf_adds(sb, "],\"secret\":[");
	strbuf_add_json(sb, r->secret, r->secret_len);
	strbuf_addf(sb, "],\"tls\":[\"%s\"]}", r->tls_enabled ? "true" : "false");
}

/* The call for one server: url and json are its, with the secret in one of them. */
static void prepare(const char *authd, const struct auth_request *r, bool post, struct strbuf *url,
	struct strbuf *json)
{
	/* Room for all at once: what is moved leaves a copy behind. An escape takes six at most. */
	strbuf_reserve(post ? json : url,
		6 * (r->secret_len + strlen(r->common_name) + strlen(r->remote_ip)) + 256 +
			strlen(authd));
	strbuf_addf(url, strstr(authd, "://") ? "%s" : "http://%s/auth", authd);
	if (post) {
		add_json(json, r);
	} else {
		strbuf_addc(url, '?');
		add_query(url, r);
	}
}

/* QueryAuthd: one server. NULL with err set. */
static struct auth_state *query(
	struct context *ctx, const char *authd, const struct auth_request *r, struct err *err)
{
	const struct options *opts = nsqd_get_opts(ctx);
	struct http_client client = {
		.connect_timeout_ns = opts->http_client_connect_timeout,
		.request_timeout_ns = opts->http_client_request_timeout,
		.ca_file = opts->tls_root_ca_file,
		.tls_min_version = opts->tls_min_version,
		.cancel_fd = ctx->exit_fd,
	};
	struct strbuf url = STRBUF_INIT, json = STRBUF_INIT;
	prepare(authd, r, strcmp(opts->auth_http_request_method, "post") == 0, &url, &json);
	struct http_client_call call = {.url = url.data, .json = json.data};
	http_client_do(&client, &call, 1);
	struct auth_state *s = NULL;
	if (call.ok)
		s = auth_state_decode(call.body.data ? call.body.data : "", call.body.len, err);
	else
		*err = call.err;
	strbuf_free(&call.body);
	strbuf_wipe(&url);
	strbuf_wipe(&json);
	return s;
}

struct auth_state *auth_query_any(
	struct context *ctx, const struct auth_request *request, struct strbuf *why)
{
	const struct strarray *authd = &nsqd_get_opts(ctx)->auth_http_addresses;
	size_t start = rand_below((uint32_t)authd->n);
	struct auth_state *s = NULL;
	for (size_t i = 0; i < authd->n && !s; i++) {
		struct err err;
		const char *a = authd->v[(i + start) % authd->n];
		s = query(ctx, a, request, &err);
		if (!s)
			strbuf_addf(why, "%sfailed to auth against %s - %s", i > 0 ? "; " : "", a,
				err.msg);
	}
	/* Of no interest once there is an answer; the caller frees it only where it reads it. */
	if (s)
		strbuf_free(why);
	return s;
}

int auth_check_root_ca(const struct options *opts, struct err *err)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	const char *path = opts->tls_root_ca_file;
	char line[256];
	bool found = false;
	if (!*path)
		return 0;
	FILE *f = fopen(path, "re");
	if (!f)
		return err_errno(err, errno, "open %s", path);
	while (!found && fgets(line, sizeof(line), f))
		found = strncmp(line, begin, sizeof(begin) - 1) == 0;
	/* At the end of the file errno says nothing. */
	int code = 0;
	if (!found && !feof(f))
		code = errno;
	fclose(f);
	if (code != 0)
		return err_errno(err, code, "read %s", path);
	return found ? 0 : err_set(err, 0, "failed to append certificate to pool");
}
