/* SPDX-License-Identifier: MIT */
/*
 * Which channels a topic has on other nodes. Mirrors GetLookupdTopicChannels of
 * internal/clusterinfo/data.go. Runs in the thread that creates a topic.
 *
 * Difference: in place of a goroutine per nsqlookupd one thread waits for all.
 */
#include "nsqd/cluster/clusterinfo.h"

#include <stdlib.h>
#include <string.h>

#include "common/http_client.h"
#include "common/json.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/cluster/lookup.h"
#include "nsqd/queue/topic.h"
#include "protocol/names.h"

/* The answer is {"channels":["a","b"]}. */
static bool decode_answer(const char *text, size_t len, struct strarray *channels)
{
	struct json_value key, value;
	size_t pos = 0;
	if (!json_valid(text, len))
		return false;
	struct json_value root = json_root(text, len);
	if (root.type != JSON_OBJECT)
		return root.type == JSON_NULL;
	while (json_next_member(root, &pos, &key, &value)) {
		if (!json_key_is(key, "channels"))
			continue;
		strarray_free(channels); /* the last one wins */
		if (!strarray_add_json(channels, value))
			return false;
	}
	return true;
}

/* -1 with err set if body is not a list of channels. */
static int add_channels(const struct strbuf *body, struct strarray *channels, struct err *err)
{
	struct strarray names = {0};
	bool ok = decode_answer(body->data ? body->data : "", body->len, &names);
	for (size_t i = 0; ok && i < names.n; i++)
		strarray_add(channels, names.v[i]);
	strarray_free(&names);
	return ok ? 0 : err_set(err, 0, "invalid JSON in response");
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_and_unique(struct strarray *a)
{
	size_t kept = 0;
	if (a->n == 0)
		return;
	qsort(a->v, a->n, sizeof(*a->v), compare);
	for (size_t i = 1; i < a->n; i++) {
		if (strcmp(a->v[kept], a->v[i]) == 0)
			free(a->v[i]);
		else
			a->v[++kept] = a->v[i];
	}
	a->n = kept + 1;
}

/* Gathers the answers of the calls, and frees the calls. Returns how many failed. */
static size_t gather(
	struct http_client_call *calls, size_t n, struct strarray *channels, struct strbuf *why)
{
	size_t failed = 0;
	for (size_t i = 0; i < n; i++) {
		struct http_client_call *call = &calls[i];
		if (!call->ok || add_channels(&call->body, channels, &call->err) != 0)
			strbuf_addf(why, "%s%s", failed++ ? "\n" : "", call->err.msg);
		strbuf_free(&call->body);
		free((char *)call->url);
	}
	return failed;
}

int clusterinfo_get_lookupd_topic_channels(struct context *ctx, const char *topic,
	const struct strarray *lookupd_http_addrs, struct strarray *channels, struct strbuf *why)
{
	const struct options *opts = nsqd_get_opts(ctx);
	struct http_client client = {
		.connect_timeout_ns = opts->http_client_connect_timeout,
		.request_timeout_ns = opts->http_client_request_timeout,
		.cancel_fd = ctx->exit_fd,
	};
	size_t count = lookupd_http_addrs->n;
	struct http_client_call *calls = xcalloc(count + 1, sizeof(*calls));
	struct strbuf escaped = STRBUF_INIT, reasons = STRBUF_INIT;
	http_client_query_escape(&escaped, topic, strlen(topic));
	for (size_t i = 0; i < count; i++) {
		calls[i].url = xasprintf(
			"http://%s/channels?topic=%s", lookupd_http_addrs->v[i], escaped.data);
		nsqd_logf(ctx, LG_INFO, "CI: querying nsqlookupd %s", calls[i].url);
	}
	http_client_do(&client, calls, count);
	size_t failed = gather(calls, count, channels, &reasons);
	sort_and_unique(channels);
	if (failed > 0)
		strbuf_addf(why, "%s%s", failed == count ? "failed to query any nsqlookupd: " : "",
			reasons.data);
	strbuf_free(&escaped);
	strbuf_free(&reasons);
	free(calls);
	return failed > 0 ? -1 : 0;
}

/* --- for a new topic ------------------------------------------------------------------------ */

static void create_channels(struct topic *t, const struct strarray *names)
{
	for (size_t i = 0; i < names->n; i++) {
		struct err err;
		const char *name = names->v[i];
		if (is_ephemeral_name(name))
			continue; /* do not create ephemeral channel with no consumer client */
		if (!is_valid_channel_name(name, strlen(name))) {
			nsqd_logf(t->ctx, LG_WARN, "skipping creation of invalid channel %s", name);
			continue;
		}
		struct channel *c = topic_get_channel(t, name, &err);
		if (!c)
			nsqd_logf(t->ctx, LG_ERROR,
				"TOPIC(%s): failed to pre-create channel %s - %s", t->name, name,
				err.msg);
		channel_unref(c);
	}
}

/*
 * if using lookupd, make a blocking call to get channels and immediately create them to ensure that
 * all channels receive published messages
 */
void clusterinfo_precreate_channels(void *arg, struct topic *t)
{
	struct lookup *lookup = arg;
	struct strarray addrs, configured, names = {0};
	struct strbuf why = STRBUF_INIT;
	lookup_http_addrs(lookup, &addrs);
	nsqd_config_get_lookupd(&t->ctx->config, &configured);
	if (addrs.n > 0) {
		if (clusterinfo_get_lookupd_topic_channels(t->ctx, t->name, &addrs, &names, &why) !=
			0)
			nsqd_logf(t->ctx, LG_WARN,
				"failed to query nsqlookupd for channels to pre-create for topic "
				"%s - %s",
				t->name, why.data);
		create_channels(t, &names);
	} else if (configured.n > 0) {
		nsqd_logf(t->ctx, LG_ERROR,
			"no available nsqlookupd to query for channels to pre-create for topic %s",
			t->name);
	}
	strbuf_free(&why);
	strarray_free(&names);
	strarray_free(&configured);
	strarray_free(&addrs);
}
