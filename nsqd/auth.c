/* SPDX-License-Identifier: MIT */
/*
 * Asking auth servers, and keeping what they say. Mirrors
 * internal/auth/authorizations.go. Runs in the clients' io_loops.
 *
 * Differences: expressions are compiled once per answer, not with every command;
 * the time to live is on the monotonic clock; the secret never gets into the log.
 */
#include "nsqd/auth.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/json.h"
#include "common/rand.h"
#include "common/xalloc.h"
#include "nsqd/nsqd.h"

/* Beyond this a time to live is for ever: time.Duration would overflow. */
#define MAX_TTL (INT64_MAX / 4 / NSEC_PER_SEC)

/* --- the state ------------------------------------------------------------------------------ */

void auth_state_free(struct auth_state *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_authorizations; i++) {
		struct auth_authorization *a = &s->authorizations[i];
		for (size_t k = 0; k < a->n_channels; k++)
			regex_free(a->channels[k]);
		free(a->channels);
		regex_free(a->topic);
	}
	free(s->authorizations);
	free(s->identity);
	free(s->identity_url);
	free(s);
}

static bool authorization_allows(
	const struct auth_authorization *a, const char *topic, const char *channel)
{
	if (*channel ? !a->may_subscribe : !a->may_publish)
		return false;
	if (!regex_match(a->topic, topic))
		return false;
	/* To publish takes an expression that matches the empty name, as in stock. */
	for (size_t i = 0; i < a->n_channels; i++) {
		if (regex_match(a->channels[i], channel))
			return true;
	}
	return false;
}

bool auth_is_allowed(const struct auth_state *s, const char *topic, const char *channel)
{
	for (size_t i = 0; i < s->n_authorizations; i++) {
		if (authorization_allows(&s->authorizations[i], topic, channel))
			return true;
	}
	return false;
}

bool auth_is_expired(const struct auth_state *s)
{
	return clock_mono_ns() > s->expires_ns;
}

/* --- decoding ------------------------------------------------------------------------------- */

/*
 * json.Unmarshal's rule for a field: absent or null is NULL; another type than is_type is an error.
 */
static int get_field(const cJSON *object, const char *name, cJSON_bool (*is_type)(const cJSON *),
	const cJSON **out, struct err *err)
{
	*out = cJSON_GetObjectItem(object, name);
	if (cJSON_IsNull(*out))
		*out = NULL;
	if (*out && !is_type(*out))
		return err_set(err, 0, "json: cannot unmarshal field %s", name);
	return 0;
}

/* "" where it is not there. -1 with err set: it is no string. The caller frees *out. */
static int get_string(const cJSON *object, const char *name, char **out, struct err *err)
{
	const cJSON *f;
	if (get_field(object, name, cJSON_IsString, &f, err) != 0)
		return -1;
	*out = xstrdup(f ? f->valuestring : "");
	return 0;
}

static struct regex *compile(const char *kind, const char *pattern, struct err *err)
{
	struct err reason;
	struct regex *re = regex_compile(pattern, &reason);
	if (re)
		return re;
	struct strbuf quoted = STRBUF_INIT;
	strbuf_addq(&quoted, pattern, strlen(pattern));
	err_set(err, 0, "unable to compile %s %s %s", kind, quoted.data, reason.msg);
	strbuf_free(&quoted);
	return NULL;
}

static int decode_permissions(const cJSON *list, struct auth_authorization *a, struct err *err)
{
	const cJSON *p;
	cJSON_ArrayForEach(p, list)
	{
		const char *name = cJSON_GetStringValue(p);
		if (!name && !cJSON_IsNull(p))
			return err_set(err, 0, "json: cannot unmarshal field permissions");
		if (name && strcmp(name, "subscribe") == 0)
			a->may_subscribe = true;
		else if (name && strcmp(name, "publish") == 0)
			a->may_publish = true;
		else
			return err_set(err, 0, "unknown permission %s", name ? name : "");
	}
	return 0;
}

static int decode_channels(const cJSON *list, struct auth_authorization *a, struct err *err)
{
	const cJSON *c;
	a->channels = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(struct regex *));
	cJSON_ArrayForEach(c, list)
	{
		if (!cJSON_IsString(c) && !cJSON_IsNull(c))
			return err_set(err, 0, "json: cannot unmarshal field channels");
		struct regex *re = compile("channel", cJSON_IsString(c) ? c->valuestring : "", err);
		if (!re)
			return -1;
		a->channels[a->n_channels++] = re;
	}
	return 0;
}

static int decode_authorization(const cJSON *json, struct auth_authorization *a, struct err *err)
{
	const cJSON *topic, *channels, *permissions;
	if (!cJSON_IsObject(json) && !cJSON_IsNull(json))
		return err_set(err, 0, "json: cannot unmarshal field authorizations");
	if (get_field(json, "topic", cJSON_IsString, &topic, err) != 0 ||
		get_field(json, "channels", cJSON_IsArray, &channels, err) != 0 ||
		get_field(json, "permissions", cJSON_IsArray, &permissions, err) != 0 ||
		decode_permissions(permissions, a, err) != 0)
		return -1;
	a->topic = compile("topic", topic ? topic->valuestring : "", err);
	return a->topic ? decode_channels(channels, a, err) : -1;
}

static int decode_ttl(const cJSON *root, struct auth_state *s, struct err *err)
{
	const cJSON *ttl;
	if (get_field(root, "ttl", cJSON_IsNumber, &ttl, err) != 0)
		return -1;
	double v = ttl ? ttl->valuedouble : 0;
	/* The comparison with 2^63 comes first: beyond it the conversion is undefined. */
	if (v >= 0x1p63 || v < -0x1p63 || v != (double)(int64_t)v)
		return err_set(err, 0, "json: cannot unmarshal number into field ttl");
	s->ttl = (int64_t)v;
	if (s->ttl <= 0)
		return err_set(err, 0, "invalid TTL %lld (must be >0)", (long long)s->ttl);
	int64_t ttl_s = s->ttl < MAX_TTL ? s->ttl : MAX_TTL;
	s->expires_ns = clock_mono_ns() + ttl_s * NSEC_PER_SEC;
	return 0;
}

static int decode_state(const cJSON *root, struct auth_state *s, struct err *err)
{
	const cJSON *list, *item;
	if (!cJSON_IsObject(root) && !cJSON_IsNull(root))
		return err_set(err, 0, "json: cannot unmarshal the answer");
	if (get_string(root, "identity", &s->identity, err) != 0 ||
		get_string(root, "identity_url", &s->identity_url, err) != 0 ||
		get_field(root, "authorizations", cJSON_IsArray, &list, err) != 0)
		return -1;
	s->authorizations =
		xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*s->authorizations));
	cJSON_ArrayForEach(item, list)
	{
		/* Counted at once, so that it is freed, whatever is wrong with it. */
		if (decode_authorization(item, &s->authorizations[s->n_authorizations++], err) != 0)
			return -1;
	}
	return decode_ttl(root, s, err);
}

struct auth_state *auth_state_decode(const char *json, size_t len, struct err *err)
{
	if (!json_valid(json, len)) {
		err_set(err, 0, "invalid JSON in response");
		return NULL;
	}
	struct auth_state *s = xcalloc(1, sizeof(*s));
	cJSON *root = cJSON_ParseWithLength(json, len);
	int rc = decode_state(root, s, err);
	cJSON_Delete(root);
	if (rc == 0)
		return s;
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

/* QueryAuthd: one server. NULL with err set. */
static struct auth_state *query(
	struct nsqd *n, const char *authd, const struct auth_request *r, struct err *err)
{
	const struct options *opts = nsqd_get_opts(n);
	struct http_client client = {
		.connect_timeout_ns = opts->http_client_connect_timeout,
		.request_timeout_ns = opts->http_client_request_timeout,
		.ca_file = opts->tls_root_ca_file,
		.tls_min_version = opts->tls_min_version,
		.cancel_fd = n->exit_fd,
	};
	struct strbuf url = STRBUF_INIT, json = STRBUF_INIT;
	bool post = strcmp(opts->auth_http_request_method, "post") == 0;
	if (strstr(authd, "://"))
		strbuf_adds(&url, authd);
	else
		strbuf_addf(&url, "http://%s/auth", authd);
	if (post) {
		add_json(&json, r);
	} else {
		strbuf_addc(&url, '?');
		add_query(&url, r);
	}
	struct http_client_call call = {.url = url.data, .json = json.data};
	http_client_do(&client, &call, 1);
	struct auth_state *s = NULL;
	if (call.ok)
		s = auth_state_decode(call.body.data ? call.body.data : "", call.body.len, err);
	else
		*err = call.err;
	strbuf_free(&call.body);
	strbuf_free(&url);
	strbuf_free(&json);
	return s;
}

struct auth_state *auth_query_any(
	struct nsqd *n, const struct auth_request *request, struct strbuf *why)
{
	const struct strarray *authd = &nsqd_get_opts(n)->auth_http_addresses;
	size_t start = rand_below((uint32_t)authd->n);
	for (size_t i = 0; i < authd->n; i++) {
		struct err err;
		const char *a = authd->v[(i + start) % authd->n];
		struct auth_state *s = query(n, a, request, &err);
		if (s)
			return s;
		strbuf_addf(why, "%sfailed to auth against %s - %s", i > 0 ? "; " : "", a, err.msg);
	}
	return NULL;
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
	fclose(f);
	return found ? 0 : err_set(err, 0, "failed to append certificate to pool");
}
