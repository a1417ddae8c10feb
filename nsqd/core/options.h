/* SPDX-License-Identifier: MIT */
/*
 * The daemon's options and their defaults (nsqd/options.go). Field names are stock's in snake case;
 * durations are ns. Immutable once the daemon runs, except where /config swaps a whole copy
 * (nsqd_get_opts, context.h).
 */
#ifndef NSQD_OPTIONS_H
#define NSQD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/json.h"
#include "common/lg.h"

enum tls_required { TLS_NOT_REQUIRED, TLS_REQUIRED_EXCEPT_HTTP, TLS_REQUIRED };

/* What the process is there for. */
enum run_mode {
	RUN_DAEMON,
	RUN_CHECK_CONFIG, /* --check-config */
	RUN_INSPECT_DATA, /* --inspect-data */
	RUN_EXPORT_STOCK, /* --export-stock */
};

struct policies;
struct setting_values;

struct strarray {
	char **v; /* owned, each too */
	size_t n;
};

/* The longest --max-defer-timeout: 30 days. */
#define MAX_DEFER_TIMEOUT ((int64_t)30 * 24 * 3600 * 1000000000)

struct options {
	/* of the command line alone; not in the config file, nor in GET /config */
	enum run_mode run_mode;
	bool json_format;  /* --format=json: of what --inspect-data prints */
	char *config_file; /* --config; "": none */

	/* basic options */
	int64_t id;
	enum lg_level log_level;
	char *log_prefix;
	char *log_format;  /* "text" or "json" */
	char *durability;  /* what an OK survives, with a log: "none", "process" or "disk" */
	int64_t log_dedup; /* 0: every line is written */
	bool log_quiet_probes;
	char *sigterm; /* "clean-shutdown" or "drain" */
	int64_t drain_timeout;

	char *tcp_address;
	char *http_address;
	char *https_address;
	char *http_readonly_address; /* ours, as the next */
	char *http_auth_file;
	char *broadcast_address;
	int broadcast_tcp_port;
	int broadcast_http_port;
	struct strarray nsqlookupd_tcp_addresses;
	struct strarray auth_http_addresses;
	char *auth_http_request_method; /* master: "get" or "post" */
	int64_t http_client_connect_timeout;
	int64_t http_client_request_timeout;
	char *topology_region; /* master, as the next */
	char *topology_zone;

	/* diskqueue options */
	char *data_path;
	int64_t mem_queue_size;
	int64_t max_bytes_per_file;
	int64_t sync_every;
	int64_t sync_timeout;
	int64_t max_disk_bytes; /* ours, as the next two; 0: no limit */
	int64_t max_memory_bytes;
	char *min_free_disk; /* bytes, or "10%"; "": no limit */

	int64_t queue_scan_interval;
	int64_t queue_scan_refresh_interval;
	int queue_scan_selection_count;
	int queue_scan_worker_pool_max;

	/* msg and command options */
	int64_t msg_timeout;
	int64_t max_msg_timeout;
	int64_t max_msg_size;
	int64_t max_body_size;
	int64_t max_req_timeout;
	int64_t max_defer_timeout; /* of a topic with a log; less: max_req_timeout holds */
	int64_t client_timeout;

	/* client overridable configuration options */
	int64_t max_heartbeat_interval;
	int64_t max_rdy_count;
	int64_t max_output_buffer_size;
	int64_t max_output_buffer_timeout;
	int64_t min_output_buffer_timeout;
	int64_t output_buffer_timeout;
	int max_channel_consumers;

	/* statsd integration */
	char *statsd_address;
	char *statsd_prefix;
	int64_t statsd_interval;
	bool statsd_mem_stats;
	int statsd_udp_packet_size;
	bool statsd_exclude_ephemeral;

	/* e2e message latency */
	int64_t e2e_processing_latency_window_time;
	double *e2e_processing_latency_percentiles; /* owned */
	size_t n_e2e_processing_latency_percentiles;

	/* TLS config */
	char *tls_cert;
	char *tls_key;
	char *tls_client_auth_policy;
	char *tls_root_ca_file;
	enum tls_required tls_required;
	uint16_t tls_min_version; /* as Go's tls.VersionTLSxx: 0x0301 for TLS 1.0 ... 0x0304 */

	/* compression */
	bool deflate_enabled;
	int max_deflate_level;
	bool snappy_enabled;

	/* experimental features (master) */
	struct strarray experiments;

	/* settings per topic and channel, of the config file alone; a reference, never NULL */
	struct policies *policies;
};

#define EXPERIMENT_TOPOLOGY_AWARE_CONSUMPTION "topology-aware-consumption"

/*
 * NewOptions: the defaults, with the node id and the broadcast address from the host name. Owned
 * strings.
 */
struct options *options_new(void);
/* A deep copy. */
struct options *options_copy(const struct options *o);
/* NULL is fine. */
void options_free(struct options *o);
/* --data-path, or "." without it. Borrowed. */
const char *options_data_path(const struct options *o);
/* Options.HasExperiment. */
bool options_has_experiment(const struct options *o, const char *name);

/*
 * New's checks of the options alone, with stock's texts: the deflate level, the node id, TLS
 * required without a certificate, the percentiles. A client auth policy implies TLS required: that
 * is set here. -1 with err set.
 */
int options_check(struct options *o, struct err *err);
/* What holds for a topic or channel for which nothing is set: the flags, and none. */
void setting_values_of_options(struct setting_values *v, const struct options *o);
/*
 * The last step of New: replaces %s in statsd_prefix by the broadcast address and HTTP port, with
 * '_' for '.' and ':'. Adds a dot at the end if there is none. Call it when broadcast_http_port is
 * known.
 */
void options_expand_statsd_prefix(struct options *o);
/* crc32(md5(hostname)) % 1024: the default node id of a host of that name. */
int64_t options_default_id(const char *hostname);

/* app.StringArray.Set: copies s to the end of a. */
void strarray_add(struct strarray *a, const char *s);
/*
 * json.Unmarshal into a []string, appended: null is the empty list, null in it the empty string.
 * False: it is not such a list; some of it may have been added.
 */
bool strarray_add_json(struct strarray *a, struct json_value list);
void strarray_free(struct strarray *a);

/*
 * A value of --min-free-disk: bytes, or percent such as "10%"; both 0 for none. False: it is none of
 * these.
 */
bool options_parse_free(const char *text, int64_t *bytes, double *percent);

#endif
