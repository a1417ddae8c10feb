/* SPDX-License-Identifier: MIT */
/*
 * The options, their defaults, and the checks among them. Mirrors nsqd/options.go, and of
 * nsqd/nsqd.go the part of New that looks at options only. Runs in the main thread; options_copy
 * also where /config is answered.
 */
#include "nsqd/core/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/strbuf.h"
#include "common/xalloc.h"
#include "nsqd/core/message.h"
#include "nsqd/core/policies.h"

#define NSEC_PER_MIN (60 * NSEC_PER_SEC)

/* Every owned string and list, so that copy and free cannot forget one. */
#define STRINGS(X)                                                                                 \
	X(config_file)                                                                             \
	X(log_prefix)                                                                              \
	X(log_format)                                                                              \
	X(durability)                                                                              \
	X(sigterm)                                                                                 \
	X(tcp_address)                                                                             \
	X(http_address)                                                                            \
	X(https_address)                                                                           \
	X(http_readonly_address)                                                                   \
	X(http_auth_file)                                                                          \
	X(broadcast_address)                                                                       \
	X(auth_http_request_method)                                                                \
	X(topology_region)                                                                         \
	X(topology_zone)                                                                           \
	X(min_free_disk)                                                                           \
	X(data_path)                                                                               \
	X(statsd_address)                                                                          \
	X(statsd_prefix)                                                                           \
	X(tls_cert)                                                                                \
	X(tls_key)                                                                                 \
	X(tls_client_auth_policy)                                                                  \
	X(tls_root_ca_file)
#define LISTS(X)                                                                                   \
	X(nsqlookupd_tcp_addresses)                                                                \
	X(auth_http_addresses)                                                                     \
	X(experiments)

void strarray_add(struct strarray *a, const char *s)
{
	a->v = xreallocarray(a->v, a->n + 1, sizeof(*a->v));
	a->v[a->n++] = xstrdup(s);
}

bool strarray_add_json(struct strarray *a, struct json_value list)
{
	struct json_value item;
	size_t pos = 0;
	if (list.type != JSON_ARRAY)
		return list.type == JSON_NULL;
	while (json_next_element(list, &pos, &item)) {
		if (item.type != JSON_STRING && item.type != JSON_NULL)
			return false;
		char *s = item.type == JSON_STRING ? json_string(item) : xstrdup("");
		strarray_add(a, s);
		free(s);
	}
	return true;
}

void strarray_free(struct strarray *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
	*a = (struct strarray){NULL, 0};
}

int64_t options_default_id(const char *hostname)
{
	unsigned char sum[16];
	digest_md5(hostname, strlen(hostname), sum);
	return digest_crc32(sum, sizeof(sum)) % 1024;
}

struct options *options_new(void)
{
	char hostname[256];
	/* Linux names have 64 bytes at most; there is nothing else that could fail. */
	CHECK(gethostname(hostname, sizeof(hostname)) == 0);

	struct options *o = xcalloc(1, sizeof(*o));
	*o = (struct options){
		.id = options_default_id(hostname),
		.log_level = LG_INFO,
		.drain_timeout = NSEC_PER_MIN,
		.http_client_connect_timeout = 2 * NSEC_PER_SEC,
		.http_client_request_timeout = 5 * NSEC_PER_SEC,
		.mem_queue_size = 10000,
		.max_bytes_per_file = 100 * 1024 * 1024,
		.sync_every = 2500,
		.sync_timeout = 2 * NSEC_PER_SEC,
		.queue_scan_interval = 100 * NSEC_PER_MSEC,
		.queue_scan_refresh_interval = 5 * NSEC_PER_SEC,
		.queue_scan_selection_count = 20,
		.queue_scan_worker_pool_max = 4,
		.msg_timeout = NSEC_PER_MIN,
		.max_msg_timeout = 15 * NSEC_PER_MIN,
		.max_msg_size = 1024 * 1024,
		.max_body_size = 5 * 1024 * 1024,
		.max_req_timeout = 60 * NSEC_PER_MIN,
		.client_timeout = NSEC_PER_MIN,
		.max_heartbeat_interval = NSEC_PER_MIN,
		.max_rdy_count = 2500,
		.max_output_buffer_size = 64 * 1024,
		.max_output_buffer_timeout = 30 * NSEC_PER_SEC,
		.min_output_buffer_timeout = 25 * NSEC_PER_MSEC,
		.output_buffer_timeout = 250 * NSEC_PER_MSEC,
		.statsd_interval = NSEC_PER_MIN,
		.statsd_mem_stats = true,
		.statsd_udp_packet_size = 508,
		.e2e_processing_latency_window_time = 10 * NSEC_PER_MIN,
		.tls_min_version = 0x0301,
		.deflate_enabled = true,
		.max_deflate_level = 6,
		.snappy_enabled = true,
		.log_prefix = xstrdup("[nsqd] "),
		.log_format = xstrdup("text"),
		.durability = xstrdup("none"),
		.sigterm = xstrdup("clean-shutdown"),
		.tcp_address = xstrdup("0.0.0.0:4150"),
		.http_address = xstrdup("0.0.0.0:4151"),
		.https_address = xstrdup("0.0.0.0:4152"),
		.broadcast_address = xstrdup(hostname),
		.auth_http_request_method = xstrdup("get"),
		.statsd_prefix = xstrdup("nsq.%s"),
	};
#define OR_EMPTY(field)                                                                            \
	if (!o->field)                                                                             \
		o->field = xstrdup("");
	STRINGS(OR_EMPTY)
	o->policies = policies_none();
	return o;
}

struct options *options_copy(const struct options *o)
{
	struct options *c = xmalloc(sizeof(*c));
	*c = *o;
#define COPY_STRING(field) c->field = xstrdup(o->field);
	STRINGS(COPY_STRING)
#define COPY_LIST(field)                                                                           \
	c->field = (struct strarray){NULL, 0};                                                     \
	for (size_t i = 0; i < o->field.n; i++)                                                    \
		strarray_add(&c->field, o->field.v[i]);
	LISTS(COPY_LIST)

	c->policies = policies_ref(o->policies);

	size_t n = o->n_e2e_processing_latency_percentiles;
	c->e2e_processing_latency_percentiles = NULL;
	if (n > 0) {
		c->e2e_processing_latency_percentiles = xreallocarray(NULL, n, sizeof(double));
		memcpy(c->e2e_processing_latency_percentiles, o->e2e_processing_latency_percentiles,
			n * sizeof(double));
	}
	return c;
}

void options_free(struct options *o)
{
	if (!o)
		return;
#define FREE_STRING(field) free(o->field);
	STRINGS(FREE_STRING)
#define FREE_LIST(field) strarray_free(&o->field);
	LISTS(FREE_LIST)
	free(o->e2e_processing_latency_percentiles);
	policies_unref(o->policies);
	free(o);
}

const char *options_data_path(const struct options *o)
{
	return *o->data_path ? o->data_path : ".";
}

bool options_has_experiment(const struct options *o, const char *name)
{
	for (size_t i = 0; i < o->experiments.n; i++) {
		if (strcmp(o->experiments.v[i], name) == 0)
			return true;
	}
	return false;
}

/*
 * Values that stock takes and then panics on, wraps around, or silently stops working with: refused
 * at the start instead. The limit of the sizes is that of the 32-bit lengths on the wire and on
 * disk.
 */
static int check_ranges(const struct options *o, struct err *err)
{
	const int64_t max_size = INT32_MAX - MIN_VALID_MSG_LENGTH;
	const struct {
		const char *flag;
		int64_t value, min, max;
	} ranges[] = {
		{"mem-queue-size", o->mem_queue_size, 0, INT32_MAX},
		{"max-msg-size", o->max_msg_size, 1, max_size},
		{"max-body-size", o->max_body_size, 1, max_size},
		{"queue-scan-selection-count", o->queue_scan_selection_count, 1, INT32_MAX},
		{"queue-scan-worker-pool-max", o->queue_scan_worker_pool_max, 1, INT32_MAX},
		{"max-output-buffer-size", o->max_output_buffer_size, 0, INT32_MAX},
		{"log-dedup", o->log_dedup, 0, INT64_MAX / 2},
		{"drain-timeout", o->drain_timeout, 0, INT64_MAX},
		{"max-disk-bytes", o->max_disk_bytes, 0, INT64_MAX / 2},
		{"max-memory-bytes", o->max_memory_bytes, 0, INT64_MAX / 2},
	};
	for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
		if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
			return err_set(err, 0, "--%s must be [%lld,%lld]", ranges[i].flag,
				(long long)ranges[i].min, (long long)ranges[i].max);
	}
	return 0;
}

bool options_parse_free(const char *text, int64_t *bytes, double *percent)
{
	char *end;
	*bytes = 0;
	*percent = 0;
	if (!*text)
		return true;
	if (*text < '0' || *text > '9')
		return false;
	if (text[strlen(text) - 1] == '%') {
		*percent = strtod(text, &end);
		return strcmp(end, "%") == 0 && *percent <= 100;
	}
	errno = 0;
	*bytes = strtoll(text, &end, 10);
	return *end == '\0' && errno == 0;
}

/* N_DURABILITIES: it is none. */
static int find_durability(const char *name)
{
	int i = 0;
	while (i < N_DURABILITIES && strcmp(durability_name(i), name) != 0)
		i++;
	return i;
}

int options_check(struct options *o, struct err *err)
{
	if (o->max_deflate_level < 1 || o->max_deflate_level > 9)
		return err_set(err, 0, "--max-deflate-level must be [1,9]");
	if (o->id < 0 || o->id >= 1024)
		return err_set(err, 0, "--node-id must be [0,1024)");

	if (o->tls_client_auth_policy[0] != '\0' && o->tls_required == TLS_NOT_REQUIRED)
		o->tls_required = TLS_REQUIRED;
	bool has_certificate = o->tls_cert[0] != '\0' || o->tls_key[0] != '\0';
	if (!has_certificate && o->tls_required != TLS_NOT_REQUIRED)
		return err_set(
			err, 0, "cannot require TLS client connections without TLS key and cert");

	/* Another word would mean get, and put the clients' secrets into URLs. */
	if (strcmp(o->auth_http_request_method, "post") != 0 &&
		strcmp(o->auth_http_request_method, "get") != 0)
		return err_set(err, 0, "--auth-http-request-method must be post or get");

	if (strcmp(o->log_format, "text") != 0 && strcmp(o->log_format, "json") != 0)
		return err_set(err, 0, "--log-format must be text or json");
	if (find_durability(o->durability) == N_DURABILITIES)
		return err_set(err, 0, "--durability must be none, process or disk");
	if (o->max_defer_timeout < 0 || o->max_defer_timeout > MAX_DEFER_TIMEOUT)
		return err_set(err, 0, "--max-defer-timeout must be from 0s to 720h (30 days)");
	if (strcmp(o->sigterm, "clean-shutdown") != 0 && strcmp(o->sigterm, "drain") != 0)
		return err_set(err, 0, "--sigterm must be clean-shutdown or drain");

	for (size_t i = 0; i < o->n_e2e_processing_latency_percentiles; i++) {
		double v = o->e2e_processing_latency_percentiles[i];
		if (!(v > 0 && v <= 1)) /* not a number is refused as well, unlike in stock */
			return err_set(err, 0, "invalid E2E processing latency percentile: %g", v);
	}
	struct setting_values defaults;
	setting_values_of_options(&defaults, o);
	if (policies_check(o->policies, &defaults, err) != 0)
		return -1;
	int64_t bytes;
	double percent;
	if (!options_parse_free(o->min_free_disk, &bytes, &percent))
		return err_set(err, 0,
			"--min-free-disk must be a number of bytes, or percent such as 10%%");
	return check_ranges(o, err);
}

void setting_values_of_options(struct setting_values *v, const struct options *o)
{
	int durability = find_durability(o->durability);
	*v = (struct setting_values){
		.count_disconnect_as_attempt = true,
		.msg_timeout = o->msg_timeout,
		.max_msg_timeout = o->max_msg_timeout,
		.max_req_timeout = o->max_req_timeout,
		.durability = durability < N_DURABILITIES ? durability : DURABILITY_NONE,
	};
}

/* statsd.HostKey. */
static void add_host_key(struct strbuf *sb, const char *address, int port)
{
	size_t start = sb->len;
	/* net.JoinHostPort puts a literal IPv6 address in brackets. */
	if (strchr(address, ':') != NULL)
		strbuf_addf(sb, "[%s]:%d", address, port);
	else
		strbuf_addf(sb, "%s:%d", address, port);
	for (char *p = sb->data + start; *p != '\0'; p++) {
		if (*p == '.' || *p == ':')
			*p = '_';
	}
}

void options_expand_statsd_prefix(struct options *o)
{
	if (o->statsd_prefix[0] == '\0')
		return;
	struct strbuf sb = STRBUF_INIT;
	for (const char *p = o->statsd_prefix; *p != '\0'; p++) {
		if (p[0] == '%' && p[1] == 's') {
			add_host_key(&sb, o->broadcast_address, o->broadcast_http_port);
			p++;
		} else {
			strbuf_addc(&sb, *p);
		}
	}
	if (sb.data[sb.len - 1] != '.')
		strbuf_addc(&sb, '.');
	free(o->statsd_prefix);
	o->statsd_prefix = strbuf_detach(&sb);
}
