/* SPDX-License-Identifier: MIT */
/*
 * /stats as JSON and as text: mirrors doStats and printStats of nsqd/http.go, the json tags of
 * nsqd/stats.go and ClientV2Stats of nsqd/client_v2.go. Runs in the threads of HTTP connections, on
 * a snapshot, without locks.
 */
#include "nsqd/stats/stats_print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/version.h"
#include "nsqd/stats/log_print.h"

static uint64_t memory_value(const struct mem_stats *m, size_t field)
{
	return *(const uint64_t *)((const char *)m + mem_stats_fields[field].offset);
}

static const char *json_bool(bool b)
{
	return b ? "true" : "false";
}

static void add_json_string(struct strbuf *out, const char *s)
{
	strbuf_add_json(out, s, strlen(s));
}

static void add_json_text(struct strbuf *out, struct text t)
{
	strbuf_add_json(out, t.s, t.len);
}

/* --- JSON ----------------------------------------------------------------------------------- */

static void print_e2e_json(struct strbuf *out, const struct quantile_result *r)
{
	strbuf_adds(out, "\"e2e_processing_latency\":");
	quantile_result_add_json(r, out);
}

/* omitempty */
static void add_json_unless_empty(struct strbuf *out, const char *key, const struct strbuf *s)
{
	if (s->len == 0)
		return;
	strbuf_addf(out, ",\"%s\":", key);
	strbuf_add_json(out, s->data, s->len);
}

static void print_client_json(struct strbuf *out, const struct client_v2_stats *c)
{
	strbuf_adds(out, "{\"client_id\":");
	add_json_text(out, c->client_id);
	strbuf_adds(out, ",\"hostname\":");
	add_json_text(out, c->hostname);
	strbuf_adds(out, ",\"version\":\"V2\",\"remote_address\":");
	add_json_string(out, c->remote_address);
	strbuf_addf(out,
		",\"state\":%" PRId32 ",\"ready_count\":%" PRId64 ",\"in_flight_count\":%" PRId64
		",\"message_count\":%" PRIu64 ",\"finish_count\":%" PRIu64
		",\"requeue_count\":%" PRIu64 ",\"connect_ts\":%" PRId64 ",\"sample_rate\":%" PRId32
		",\"deflate\":%s,\"snappy\":%s,\"user_agent\":",
		c->state, c->ready_count, c->in_flight_count, c->message_count, c->finish_count,
		c->requeue_count, c->connect_ts, c->sample_rate, json_bool(c->deflate),
		json_bool(c->snappy));
	add_json_text(out, c->user_agent);
	if (c->authed)
		strbuf_adds(out, ",\"authed\":true");
	add_json_unless_empty(out, "auth_identity", &c->auth_identity);
	add_json_unless_empty(out, "auth_identity_url", &c->auth_identity_url);
	if (c->topology_zone.s) {
		strbuf_adds(out, ",\"topology_zone\":");
		add_json_text(out, c->topology_zone);
		strbuf_adds(out, ",\"topology_region\":");
		add_json_text(out, c->topology_region);
	}
	if (*c->pub_topic) {
		strbuf_adds(out, ",\"pub_counts\":[{\"topic\":");
		add_json_string(out, c->pub_topic);
		strbuf_addf(out, ",\"count\":%" PRIu64 "}]", c->pub_count);
	}
	/* No protocol is ever negotiated within TLS (ALPN); "mutual" is what Go says for all. */
	strbuf_addf(out,
		",\"tls\":%s,\"tls_cipher_suite\":\"%s\",\"tls_version\":\"%s\""
		",\"tls_negotiated_protocol\":\"\",\"tls_negotiated_protocol_is_mutual\":%s}",
		json_bool(c->tls), c->tls_cipher_suite, c->tls_version, json_bool(c->tls));
}

static void print_clients_json(struct strbuf *out, const struct client_v2_stats *clients, size_t n)
{
	strbuf_addc(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			strbuf_addc(out, ',');
		print_client_json(out, &clients[i]);
	}
	strbuf_addc(out, ']');
}

/* omitempty */
static void print_delivered_json(struct strbuf *out, const struct channel_stats *c)
{
	static const char *const names[N_CLOSENESS] = {
		[ZONE_LOCAL] = "zone_local_msg_count",
		[REGION_LOCAL] = "region_local_msg_count",
		[GLOBAL] = "global_msg_count",
	};
	for (int i = 0; i < N_CLOSENESS; i++) {
		if (c->delivered_counts[i] > 0)
			strbuf_addf(out, ",\"%s\":%" PRIu64, names[i], c->delivered_counts[i]);
	}
}

static void print_channel_json(struct strbuf *out, const struct channel_stats *c)
{
	strbuf_adds(out, "{\"channel_name\":");
	add_json_string(out, c->channel_name);
	strbuf_addf(out,
		",\"depth\":%" PRId64 ",\"backend_depth\":%" PRId64
		",\"in_flight_count\":%zu,\"deferred_count\":%zu,\"message_count\":%" PRIu64,
		c->depth, c->backend_depth, c->in_flight_count, c->deferred_count,
		c->message_count);
	print_delivered_json(out, c);
	for (size_t i = 0; i < n_channel_counts; i++)
		strbuf_addf(
			out, ",\"%s\":%" PRIu64, channel_counts[i].name, channel_count_of(c, i));
	strbuf_addf(out, ",\"client_count\":%zu,\"clients\":", c->client_count);
	if (c->clients)
		print_clients_json(out, c->clients, c->client_count);
	else
		strbuf_adds(out, "null");
	strbuf_addf(out, ",\"paused\":%s,", json_bool(c->paused));
	print_e2e_json(out, &c->e2e_processing_latency);
	strbuf_addc(out, '}');
}

static void print_topic_json(struct strbuf *out, const struct topic_stats *t)
{
	strbuf_adds(out, "{\"topic_name\":");
	add_json_string(out, t->topic_name);
	strbuf_adds(out, ",\"channels\":[");
	for (size_t i = 0; i < t->n_channels; i++) {
		if (i)
			strbuf_addc(out, ',');
		print_channel_json(out, &t->channels[i]);
	}
	strbuf_addf(out,
		"],\"depth\":%" PRId64 ",\"backend_depth\":%" PRId64 ",\"message_count\":%" PRIu64
		",\"message_bytes\":%" PRIu64 ",\"paused\":%s,",
		t->depth, t->backend_depth, t->message_count, t->message_bytes,
		json_bool(t->paused));
	print_e2e_json(out, &t->e2e_processing_latency);
	strbuf_addc(out, '}');
}

static void print_memory_json(struct strbuf *out, const struct mem_stats *m)
{
	strbuf_adds(out, ",\"memory\":{");
	for (size_t i = 0; i < mem_stats_n_fields; i++)
		strbuf_addf(out, "%s\"%s\":%" PRIu64, i ? "," : "", mem_stats_fields[i].name,
			memory_value(m, i));
	strbuf_addc(out, '}');
}

/* Ours alone. */
static void print_limits_json(struct strbuf *out, const struct host_limits_state *l)
{
	strbuf_adds(out, ",\"limits\":{");
	for (int i = 0; i < N_HOST_LIMITS; i++)
		strbuf_addf(out,
			"%s\"%s\":{\"used\":%" PRId64 ",\"limit\":%" PRId64 ",\"reached\":%s}",
			i ? "," : "", host_limit_flags[i], l->limits[i].used, l->limits[i].max,
			l->limits[i].reached ? "true" : "false");
	strbuf_addc(out, '}');
}

void stats_print_json(struct strbuf *out, const struct stats_page *p)
{
	const struct stats *s = p->stats;
	strbuf_adds(out, "{\"version\":\"" NSQ_VERSION "\",\"health\":");
	add_json_string(out, p->health);
	strbuf_addf(out, ",\"start_time\":%" PRId64 ",\"topics\":",
		(int64_t)(p->start_time_ns / NSEC_PER_SEC));
	if (s->unknown_topic) {
		strbuf_adds(out, "null");
	} else {
		strbuf_addc(out, '[');
		for (size_t i = 0; i < s->n_topics; i++) {
			if (i)
				strbuf_addc(out, ',');
			print_topic_json(out, &s->topics[i]);
		}
		strbuf_addc(out, ']');
	}
	if (p->memory)
		print_memory_json(out, p->memory);
	strbuf_adds(out, ",\"producers\":");
	if (s->n_producers > 0)
		print_clients_json(out, s->producers, s->n_producers);
	else
		strbuf_adds(out, "null");
	if (p->limits)
		print_limits_json(out, p->limits);
	if (p->include_log)
		log_print_json(out, s, p->holder);
	strbuf_addc(out, '}');
}

/* --- text ----------------------------------------------------------------------------------- */

/* %-*s, counting characters as Go does, not bytes. */
static void add_padded(struct strbuf *out, const struct strbuf *s, size_t width)
{
	size_t n = 0;
	strbuf_add(out, s->data, s->len);
	for (size_t i = 0; i < s->len; i++)
		n += ((unsigned char)s->data[i] & 0xc0) != 0x80;
	for (; n < width; n++)
		strbuf_addc(out, ' ');
}

/* stringy.NanoSecondToHuman, for each percentile */
static void print_e2e_text(struct strbuf *out, const struct quantile_result *r)
{
	static const struct {
		double unit;
		const char *suffix;
	} units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};
	for (size_t i = 0; i < r->n; i++) {
		double v = r->points[i].value;
		const char *suffix = "ns";
		for (size_t u = 0; u < sizeof(units) / sizeof(*units); u++) {
			if (v > units[u].unit) {
				v /= units[u].unit;
				suffix = units[u].suffix;
				break;
			}
		}
		strbuf_addf(out, "%s%0.1f%s", i ? ", " : "", v, suffix);
	}
	strbuf_addc(out, '\n');
}

/* ClientV2Stats.String() */
static void print_client_text(struct strbuf *out, const struct client_v2_stats *c, int64_t now_ns)
{
	char connected[32];
	int64_t sec = (now_ns - c->connect_ts * NSEC_PER_SEC) / NSEC_PER_SEC;
	struct strbuf id = STRBUF_INIT;
	const char *colon = strrchr(c->remote_address, ':');
	duration_format(sec * NSEC_PER_SEC, connected, sizeof(connected));
	strbuf_add(&id, c->hostname.s, c->hostname.len);
	strbuf_addf(&id, ":%s ", colon ? colon + 1 : "");
	strbuf_add(&id, c->user_agent.s, c->user_agent.len);
	strbuf_adds(out, "[V2 ");
	add_padded(out, &id, 21);
	strbuf_free(&id);
	if (*c->pub_topic) {
		strbuf_addf(out, "] msgs: %-8" PRIu64 " topics: %s=%" PRIu64 " connected: %s\n",
			c->pub_count, c->pub_topic, c->pub_count, connected);
		return;
	}
	strbuf_addf(out,
		"] state: %" PRId32 " inflt: %-4" PRId64 " rdy: %-4" PRId64 " fin: %-8" PRIu64
		" re-q: %-8" PRIu64 " msgs: %-8" PRIu64 " connected: %s\n",
		c->state, c->in_flight_count, c->ready_count, c->finish_count, c->requeue_count,
		c->message_count, connected);
}

static void print_channel_text(
	struct strbuf *out, const struct channel_stats *c, const struct stats_page *p)
{
	strbuf_addf(out,
		"%s[%-25s] depth: %-5" PRId64 " be-depth: %-5" PRId64
		" inflt: %-4zu def: %-4zu re-q: %-5" PRIu64 " timeout: %-5" PRIu64
		" msgs: %-8" PRIu64 " e2e%%: ",
		c->paused ? "   *P " : "      ", c->channel_name, c->depth, c->backend_depth,
		c->in_flight_count, c->deferred_count, c->requeue_count, c->timeout_count,
		c->message_count);
	print_e2e_text(out, &c->e2e_processing_latency);
	for (size_t i = 0; c->clients && i < c->client_count; i++) {
		strbuf_adds(out, "        ");
		print_client_text(out, &c->clients[i], p->now_ns);
	}
}

static void print_topic_text(
	struct strbuf *out, const struct topic_stats *t, const struct stats_page *p)
{
	strbuf_addf(out,
		"\n%s[%-15s] depth: %-5" PRId64 " be-depth: %-5" PRId64 " msgs: %-8" PRIu64
		" e2e%%: ",
		t->paused ? "*P " : "   ", t->topic_name, t->depth, t->backend_depth,
		t->message_count);
	print_e2e_text(out, &t->e2e_processing_latency);
	for (size_t i = 0; i < t->n_channels; i++)
		print_channel_text(out, &t->channels[i], p);
}

/* time.RFC3339, in local time */
static void add_rfc3339(struct strbuf *out, int64_t ns)
{
	char buf[32];
	struct tm tm;
	time_t sec = (time_t)(ns / NSEC_PER_SEC);
	localtime_r(&sec, &tm);
	strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S", &tm);
	strbuf_adds(out, buf);
	long min = tm.tm_gmtoff / 60;
	if (min == 0)
		strbuf_addc(out, 'Z');
	else
		strbuf_addf(
			out, "%c%02ld:%02ld", min < 0 ? '-' : '+', labs(min) / 60, labs(min) % 60);
}

static void print_head_text(struct strbuf *out, const struct stats_page *p)
{
	char uptime[32];
	duration_format(p->now_ns - p->start_time_ns, uptime, sizeof(uptime));
	strbuf_adds(out, VERSION_STRING "\nstart_time ");
	add_rfc3339(out, p->start_time_ns);
	strbuf_addf(out, "\nuptime %s\n\nHealth: %s\n", uptime, p->health);
	if (!p->memory)
		return;
	strbuf_adds(out, "\nMemory:\n");
	for (size_t i = 0; i < mem_stats_n_fields; i++)
		strbuf_addf(out, "   %-25s\t%" PRIu64 "\n", mem_stats_fields[i].name,
			memory_value(p->memory, i));
}

void stats_print_text(struct strbuf *out, const struct stats_page *p)
{
	const struct stats *s = p->stats;
	print_head_text(out, p);
	strbuf_adds(out, s->n_topics ? "\nTopics:" : "\nTopics: None\n");
	for (size_t i = 0; i < s->n_topics; i++)
		print_topic_text(out, &s->topics[i], p);
	strbuf_adds(out, s->n_producers ? "\nProducers:\n" : "\nProducers: None\n");
	for (size_t i = 0; i < s->n_producers; i++) {
		strbuf_adds(out, "   ");
		print_client_text(out, &s->producers[i], p->now_ns);
	}
}
