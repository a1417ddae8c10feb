/* SPDX-License-Identifier: MIT */
/*
 * The table of flags, and how an option gets its value. Mirrors apps/nsqd/options.go, Init of
 * apps/nsqd/main.go, go-options' Resolve, and getOptByCfgName of nsqd/http.go. Runs in the main
 * thread. nsqd_flags_config_value only reads, and runs in any thread.
 *
 * Differences: a config value of the wrong kind is always refused with a message. (go-options
 * panics, or stores the text of a Go formatting error.) Unknown keys, and words behind the flags,
 * get a warning; stock ignores them silently.
 */
#include "nsqd/core/nsqd_flags.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/flags.h"
#include "common/regfile.h"
#include "common/toml.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/core/build_info.h"
#include "nsqd/core/log_fields.h"
#include "nsqd/core/policies.h"

/* --- types of nsqd's own -------------------------------------------------------------------- */

/* app.FloatArray. The options keep it in two fields, so it stays here until all is read. */
struct floats {
	double *v; /* owned */
	size_t n;
	char *bad; /* owned; the first text that was no number, or NULL */
};

static void floats_add(struct floats *a, double d)
{
	a->v = xreallocarray(a->v, a->n + 1, sizeof(double));
	a->v[a->n++] = d;
}

static int descending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x < y) - (x > y);
}

/*
 * Calls fn for each part of text between commas; strings.Split: "" has one, the empty one. Stops
 * where fn returns false, and returns that.
 */
static bool split(const char *text, bool (*fn)(void *arg, const char *part), void *arg)
{
	for (const char *p = text;; p++) {
		size_t len = strcspn(p, ",");
		char *part = xstrndup(p, len);
		bool ok = fn(arg, part);
		free(part);
		p += len;
		if (!ok || *p == '\0')
			return ok;
	}
}

static bool add_float_flag(void *arg, const char *part)
{
	struct floats *a = arg;
	double d;
	if (flags_parse_float(part, &d))
		floats_add(a, d);
	else if (!a->bad)
		a->bad = xstrdup(part);
	return true;
}

/* Never fails: stock ends at once here, with a message and a code of its own (see floats.bad). */
static int set_floats(void *value, const char *text, struct err *err)
{
	(void)err;
	struct floats *a = value;
	split(text, add_float_flag, a);
	if (a->n > 1)
		qsort(a->v, a->n, sizeof(double), descending);
	return 0;
}

static void print_floats(const void *value, struct strbuf *sb)
{
	const struct floats *a = value;
	for (size_t i = 0; i < a->n; i++)
		strbuf_addf(sb, "%s%f", i > 0 ? "," : "", a->v[i]);
}

static int set_strings(void *value, const char *text, struct err *err)
{
	(void)err;
	strarray_add(value, text);
	return 0;
}

static void print_strings(const void *value, struct strbuf *sb)
{
	const struct strarray *a = value;
	for (size_t i = 0; i < a->n; i++)
		strbuf_addf(sb, "%s%s", i > 0 ? "," : "", a->v[i]);
}

static int set_log_level(void *value, const char *text, struct err *err)
{
	if (lg_parse_level(text, value))
		return 0;
	return err_set(err, 0, "invalid log level '%s' (debug, info, warn, error, fatal)", text);
}

static void print_log_level(const void *value, struct strbuf *sb)
{
	const char *name = lg_level_text(*(const enum lg_level *)value);
	strbuf_adds(sb, name);
}

static int set_tls_required(void *value, const char *text, struct err *err)
{
	enum tls_required *t = value;
	char lower[16];
	size_t i = 0;
	bool b;
	for (; text[i] != '\0' && i < sizeof(lower) - 1; i++)
		lower[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
	lower[i] = '\0';
	if (strcmp(lower, "tcp-https") == 0) {
		*t = TLS_REQUIRED_EXCEPT_HTTP;
		return 0;
	}
	if (text[i] == '\0' && flags_parse_bool(lower, &b)) {
		*t = b ? TLS_REQUIRED : TLS_NOT_REQUIRED;
		return 0;
	}
	struct strbuf quoted = STRBUF_INIT;
	strbuf_addq(&quoted, text, strlen(text));
	err_set(err, 0, "strconv.ParseBool: parsing %s: invalid syntax", quoted.data);
	strbuf_free(&quoted);
	return -1;
}

static void print_tls_required(const void *value, struct strbuf *sb)
{
	strbuf_addf(sb, "%d", (int)*(const enum tls_required *)value);
}

static const struct {
	uint16_t version;
	const char *name;
} tls_versions[] = {{0x0301, "tls1.0"}, {0x0302, "tls1.1"}, {0x0303, "tls1.2"}, {0x0304, "tls1.3"}};
#define N_TLS_VERSIONS (sizeof(tls_versions) / sizeof(tls_versions[0]))

static int set_tls_min_version(void *value, const char *text, struct err *err)
{
	if (text[0] == '\0') /* as in the example config: leave the default */
		return 0;
	for (size_t i = 0; i < N_TLS_VERSIONS; i++) {
		if (strcasecmp(text, tls_versions[i].name) == 0) {
			*(uint16_t *)value = tls_versions[i].version;
			return 0;
		}
	}
	struct strbuf quoted = STRBUF_INIT;
	strbuf_addq(&quoted, text, strlen(text));
	for (char *p = quoted.data; *p != '\0'; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
	err_set(err, 0, "unknown tlsVersionOption %s", quoted.data);
	strbuf_free(&quoted);
	return -1;
}

static void print_tls_min_version(const void *value, struct strbuf *sb)
{
	uint16_t version = *(const uint16_t *)value;
	for (size_t i = 0; i < N_TLS_VERSIONS; i++) {
		if (tls_versions[i].version == version) {
			strbuf_adds(sb, tls_versions[i].name);
			return;
		}
	}
	strbuf_addf(sb, "%d", version);
}

/* --version, and --version=long, which stock does not have. */
enum version_wanted { VERSION_NOT_WANTED, VERSION_SHORT, VERSION_LONG };

static int set_version(void *value, const char *text, struct err *err)
{
	enum version_wanted *wanted = value;
	bool b;
	if (strcmp(text, "long") == 0) {
		*wanted = VERSION_LONG;
		return 0;
	}
	if (!flags_parse_bool(text, &b))
		return err_set(err, 0, "parse error");
	*wanted = b ? VERSION_SHORT : VERSION_NOT_WANTED;
	return 0;
}

static void print_version(const void *value, struct strbuf *sb)
{
	strbuf_adds(
		sb, *(const enum version_wanted *)value == VERSION_NOT_WANTED ? "false" : "true");
}

/* --format: true is JSON. */
static int set_format(void *value, const char *text, struct err *err)
{
	bool json = strcmp(text, "json") == 0;
	if (!json && strcmp(text, "text") != 0)
		return err_set(err, 0, "text or json is wanted");
	*(bool *)value = json;
	return 0;
}

static void print_format(const void *value, struct strbuf *sb)
{
	strbuf_adds(sb, *(const bool *)value ? "json" : "text");
}

static const struct flag_type flag_type_version = {"", "false", false, set_version, print_version};
static const struct flag_type flag_type_format = {"string", "", true, set_format, print_format};
static const struct flag_type flag_type_floats = {"value", "", false, set_floats, print_floats};
static const struct flag_type flag_type_strings = {"value", "", false, set_strings, print_strings};
static const struct flag_type flag_type_log_level = {
	"value", "invalid", false, set_log_level, print_log_level};
static const struct flag_type flag_type_tls_required = {
	"", "0", false, set_tls_required, print_tls_required};
static const struct flag_type flag_type_tls_min_version = {
	"value", "0", false, set_tls_min_version, print_tls_min_version};

/* --- from the config file (go-options' coerce) ---------------------------------------------- */

static int config_bool(void *value, const struct toml_value *v, struct err *err)
{
	bool *b = value;
	if (v->type == TOML_BOOLEAN)
		*b = v->boolean;
	else if (v->type == TOML_INTEGER)
		*b = v->integer == 0; /* sic; warn_about_key says so */
	else if (v->type != TOML_STRING || !flags_parse_bool(v->string, b))
		return err_set(err, 0, "true or false is wanted");
	return 0;
}

static int config_int64(void *value, const struct toml_value *v, struct err *err)
{
	int64_t *i = value;
	if (v->type == TOML_INTEGER)
		*i = v->integer;
	else if (v->type != TOML_STRING || flags_parse_int(v->string, 10, 64, i) != 0)
		return err_set(err, 0, "an integer is wanted");
	return 0;
}

static int config_int(void *value, const struct toml_value *v, struct err *err)
{
	int64_t i;
	if (config_int64(&i, v, err) != 0)
		return -1;
	if (i < INT_MIN || i > INT_MAX)
		return err_set(err, 0, "an integer of at most %d is wanted", INT_MAX);
	*(int *)value = (int)i;
	return 0;
}

static int config_string(void *value, const struct toml_value *v, struct err *err)
{
	if (v->type != TOML_STRING)
		return err_set(err, 0, "a string is wanted");
	free(*(char **)value);
	*(char **)value = xstrdup(v->string);
	return 0;
}

static int config_duration(void *value, const struct toml_value *v, struct err *err)
{
	int64_t *ns = value;
	if (v->type == TOML_INTEGER && !__builtin_mul_overflow(v->integer, NSEC_PER_MSEC, ns))
		return 0; /* milliseconds, as ever */
	if (v->type == TOML_STRING && duration_parse(v->string, ns))
		return 0;
	return err_set(err, 0, "a duration is wanted, such as \"250ms\", \"60s\" or \"1h30m\"");
}

static bool add_string(void *arg, const char *part)
{
	strarray_add(arg, part);
	return true;
}

static int config_strings(void *value, const struct toml_value *v, struct err *err)
{
	static const char wanted[] = "an array of strings is wanted";
	struct strarray *a = value;
	if (v->type == TOML_STRING) {
		split(v->string, add_string, a);
		return 0;
	}
	if (v->type != TOML_ARRAY)
		return err_set(err, 0, "%s", wanted);
	for (size_t i = 0; i < v->array.n; i++) {
		if (v->array.v[i].type != TOML_STRING)
			return err_set(err, 0, "%s", wanted);
		strarray_add(a, v->array.v[i].string);
	}
	return 0;
}

static bool add_float_config(void *arg, const char *part)
{
	double d;
	char *text = xstrdup(part + strspn(part, " \t"));
	for (size_t n = strlen(text); n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'); n--)
		text[n - 1] = '\0';
	bool ok = flags_parse_float(text, &d);
	free(text);
	if (ok)
		floats_add(arg, d);
	return ok;
}

static int config_floats(void *value, const struct toml_value *v, struct err *err)
{
	static const char wanted[] = "an array of numbers in (0,1] is wanted";
	if (v->type == TOML_STRING)
		return split(v->string, add_float_config, value) ? 0
								 : err_set(err, 0, "%s", wanted);
	if (v->type != TOML_ARRAY)
		return err_set(err, 0, "%s", wanted);
	for (size_t i = 0; i < v->array.n; i++) {
		const struct toml_value *e = &v->array.v[i];
		if (e->type != TOML_FLOAT && e->type != TOML_INTEGER)
			return err_set(err, 0, "%s", wanted);
		floats_add(value, e->type == TOML_FLOAT ? e->number : (double)e->integer);
	}
	return 0;
}

/* fmt.Sprintf("%v", v), for values that can be sensible here. */
static void print_scalar(const struct toml_value *v, struct strbuf *sb)
{
	switch (v->type) {
	case TOML_STRING:
		strbuf_adds(sb, v->string);
		break;
	case TOML_INTEGER:
		strbuf_addf(sb, "%" PRId64, v->integer);
		break;
	case TOML_FLOAT:
		strbuf_addf(sb, "%g", v->number);
		break;
	case TOML_BOOLEAN:
		strbuf_adds(sb, v->boolean ? "true" : "false");
		break;
	case TOML_ARRAY:
		strbuf_adds(sb, "[...]");
		break;
	}
}

/* config.Validate's way: the text of the value, read as on the command line. */
static int config_by_text(const struct flag_type *type, void *value, const struct toml_value *v,
	const char *wanted, struct err *err)
{
	struct strbuf text = STRBUF_INIT;
	print_scalar(v, &text);
	int rc = type->set(value, text.data, NULL);
	strbuf_free(&text);
	return rc == 0 ? 0 : err_set(err, 0, "%s", wanted);
}

static int config_log_level(void *value, const struct toml_value *v, struct err *err)
{
	return config_by_text(
		&flag_type_log_level, value, v, "debug, info, warn, error, fatal", err);
}

static int config_tls_required(void *value, const struct toml_value *v, struct err *err)
{
	return config_by_text(&flag_type_tls_required, value, v, "true, false, tcp-https", err);
}

static int config_tls_min_version(void *value, const struct toml_value *v, struct err *err)
{
	return config_by_text(&flag_type_tls_min_version, value, v,
		"\"tls1.0\", \"tls1.1\", \"tls1.2\", \"tls1.3\"", err);
}

/* --- to GET /config (json.Marshal) ---------------------------------------------------------- */

static void json_strings(const void *value, struct strbuf *sb)
{
	const struct strarray *a = value;
	strbuf_addc(sb, '[');
	for (size_t i = 0; i < a->n; i++) {
		if (i > 0)
			strbuf_addc(sb, ',');
		strbuf_add_json(sb, a->v[i], strlen(a->v[i]));
	}
	strbuf_addc(sb, ']');
}

static void json_floats(const void *value, struct strbuf *sb)
{
	const struct floats *a = value;
	strbuf_addc(sb, '[');
	for (size_t i = 0; i < a->n; i++) {
		if (i > 0)
			strbuf_addc(sb, ',');
		strbuf_add_json_double(sb, a->v[i]);
	}
	strbuf_addc(sb, ']');
}

static void json_log_level(const void *value, struct strbuf *sb)
{
	strbuf_addf(sb, "%d", (int)*(const enum lg_level *)value);
}

static void json_uint16(const void *value, struct strbuf *sb)
{
	strbuf_addf(sb, "%d", *(const uint16_t *)value);
}

/* --- the table ------------------------------------------------------------------------------ */

/* The properties of an option's type. Immutable. */
struct option_type {
	const struct flag_type *flag;
	int (*from_config)(void *value, const struct toml_value *v, struct err *err);
	void (*to_json)(const void *value, struct strbuf *sb);
	bool validated; /* looked at by config.Validate, even where the command line wins */
};

/* durations are numbers in JSON, so int64's print does; a string is no JSON there (see header) */
static const struct option_type type_bool = {&flag_type_bool, config_bool, NULL, false};
static const struct option_type type_int = {&flag_type_int, config_int, NULL, false};
static const struct option_type type_int64 = {&flag_type_int64, config_int64, NULL, false};
static const struct option_type type_string = {&flag_type_string, config_string, NULL, false};
static const struct option_type type_duration = {&flag_type_duration, config_duration, NULL, false};
static const struct option_type type_strings = {
	&flag_type_strings, config_strings, json_strings, false};
static const struct option_type type_floats = {
	&flag_type_floats, config_floats, json_floats, false};
static const struct option_type type_log_level = {
	&flag_type_log_level, config_log_level, json_log_level, true};
static const struct option_type type_tls_required = {
	&flag_type_tls_required, config_tls_required, NULL, true};
static const struct option_type type_tls_min_version = {
	&flag_type_tls_min_version, config_tls_min_version, json_uint16, true};

/* The command line alone has these: no key of the config file. */
static const struct option_type type_version = {&flag_type_version, NULL, NULL, false};
static const struct option_type type_format = {&flag_type_format, NULL, NULL, false};

/* Values that are not options, or become options later. */
struct extra {
	enum version_wanted version;
	bool check_config;
	bool inspect_data;
	bool export_stock;
	bool json_format;
	bool verbose;
	bool worker_id;
	char *config; /* owned */
	struct floats percentiles;
};

struct row {
	const char *name;
	const char *cfg; /* key in the config file; NULL: the name with '_' for '-' */
	const struct option_type *type;
	size_t offset; /* of the value in struct options, or in struct extra */
	enum { OPTION, EXTRA_OPTION, EXTRA } where; /* EXTRA has no key in the config file */
	const char *usage;
};

#define OPT(name, type, field, usage)                                                              \
	{                                                                                          \
		name, NULL, &type, offsetof(struct options, field), OPTION, usage                  \
	}
#define OPT_CFG(name, cfg, type, field, usage)                                                     \
	{                                                                                          \
		name, cfg, &type, offsetof(struct options, field), OPTION, usage                   \
	}
#define ONLY_FLAG(name, type, field, usage)                                                        \
	{                                                                                          \
		name, NULL, &type, offsetof(struct extra, field), EXTRA, usage                     \
	}

/* In the order of nsqdFlagSet, with its texts. Flags of stock's master are marked. */
static const struct row rows[] = {
	/* clang-format off */
	ONLY_FLAG("version", type_version, version, "print version string"),
	ONLY_FLAG("config", type_string, config, "path to config file"),
	ONLY_FLAG("check-config", type_bool, check_config, /* ours, as the next three */
		"check flags, config file, certificates and data path, and exit: 0 if nsqd would start"),
	ONLY_FLAG("inspect-data", type_bool, inspect_data,
		"print what the data path holds and what a start would make of it, and exit; changes nothing"),
	ONLY_FLAG("export-stock", type_bool, export_stock,
		"write what the logs of --durability hold into stock's files, put the logs aside, and exit"),
	ONLY_FLAG("format", type_format, json_format,
		"what --inspect-data prints (text or json)"),
	OPT("log-level", type_log_level, log_level,
		"set log verbosity: debug, info, warn, error, or fatal"),
	OPT("log-prefix", type_string, log_prefix, "log message prefix"),
	OPT("log-format", type_string, log_format, /* ours, as the next two */
		"format of the log's lines (text or json)"),
	OPT("log-dedup", type_duration, log_dedup,
		"count a warning or error that comes again within this time, instead of writing it (0 is off)"),
	OPT("log-quiet-probes", type_bool, log_quiet_probes,
		"log nothing of connections that end before they have sent anything"),
	OPT("sigterm", type_string, sigterm, /* issue 1302 */
		"what SIGTERM does: clean-shutdown, or drain (take no new messages, exit when empty)"),
	OPT("drain-timeout", type_duration, drain_timeout,
		"how long a drain may take before it becomes a clean shutdown (0 for ever)"),
	ONLY_FLAG("verbose", type_bool, verbose, "[deprecated] has no effect, use --log-level"),
	OPT_CFG("node-id", "id", type_int64, id,
		"unique part for message IDs, (int) in range [0,1024) (default is hash of hostname)"),
	ONLY_FLAG("worker-id", type_bool, worker_id, "[deprecated] use --node-id"),

	OPT("https-address", type_string, https_address,
		"<addr>:<port> to listen on for HTTPS clients"),
	OPT("http-address", type_string, http_address,
		"address to listen on for HTTP clients (<addr>:<port> for TCP/IP or <path> for unix socket)"),
	OPT("http-readonly-address", type_string, http_readonly_address, /* ours, as the next */
		"address to listen on for HTTP clients that read statistics only (<addr>:<port> for TCP/IP or <path> for unix socket)"),
	OPT("http-auth-file", type_string, http_auth_file,
		"path to the file of the tokens that HTTP and HTTPS clients must send, and of what each may do"),
	OPT("tcp-address", type_string, tcp_address,
		"address to listen on for TCP clients (<addr>:<port> for TCP/IP or <path> for unix socket)"),
	OPT_CFG("auth-http-address", "auth_http_addresses", type_strings, auth_http_addresses,
		"<addr>:<port> or a full url to query auth server (may be given multiple times)"),
	OPT("auth-http-request-method", type_string, auth_http_request_method, /* master */
		"HTTP method to use for auth server requests"),
	OPT("broadcast-address", type_string, broadcast_address,
		"address that will be registered with lookupd (defaults to the OS hostname)"),
	OPT("broadcast-tcp-port", type_int, broadcast_tcp_port,
		"TCP port that will be registered with lookupd (defaults to the TCP port that this nsqd is listening on)"),
	OPT("broadcast-http-port", type_int, broadcast_http_port,
		"HTTP port that will be registered with lookupd (defaults to the HTTP port that this nsqd is listening on)"),
	OPT_CFG("lookupd-tcp-address", "nsqlookupd_tcp_addresses", type_strings, nsqlookupd_tcp_addresses,
		"lookupd TCP address (may be given multiple times)"),
	OPT("http-client-connect-timeout", type_duration, http_client_connect_timeout,
		"timeout for HTTP connect"),
	OPT("http-client-request-timeout", type_duration, http_client_request_timeout,
		"timeout for HTTP request"),
	OPT("topology-region", type_string, topology_region, /* master */
		"A region represents a larger domain, made up of one or more zones for preferring closer consumer"),
	OPT("topology-zone", type_string, topology_zone, /* master */
		"A zone represents a logical failure domain for preferring closer consumer"),

	/* diskqueue options */
	OPT("data-path", type_string, data_path, "path to store disk-backed messages"),
	OPT("mem-queue-size", type_int64, mem_queue_size,
		"number of messages to keep in memory (per topic/channel)"),
	OPT("max-bytes-per-file", type_int64, max_bytes_per_file,
		"number of bytes per diskqueue file before rolling"),
	OPT("sync-every", type_int64, sync_every, "number of messages per diskqueue fsync"),
	OPT("sync-timeout", type_duration, sync_timeout, "duration of time per diskqueue fsync"),
	OPT("durability", type_string, durability, /* ours */
		"what an acknowledged message survives: none (as ever), process (kill -9), disk (a loss of power)"),
	OPT("max-disk-bytes", type_int64, max_disk_bytes, /* ours, as the next two */
		"refuse publishers while so many bytes of messages wait on disk (0 is no limit)"),
	OPT("min-free-disk", type_string, min_free_disk,
		"refuse publishers while less of the disk is free: bytes, or percent such as 10% (empty is no limit)"),
	OPT("max-memory-bytes", type_int64, max_memory_bytes,
		"refuse publishers while the bodies of messages take so many bytes of memory (0 is no limit)"),

	OPT("queue-scan-worker-pool-max", type_int, queue_scan_worker_pool_max,
		"max concurrency for checking in-flight and deferred message timeouts"),
	OPT("queue-scan-selection-count", type_int, queue_scan_selection_count,
		"number of channels to check per cycle (every 100ms) for in-flight and deferred timeouts"),

	/* msg and command options */
	OPT("msg-timeout", type_duration, msg_timeout,
		"default duration to wait before auto-requeing a message"),
	OPT("max-msg-timeout", type_duration, max_msg_timeout,
		"maximum duration before a message will timeout"),
	OPT("max-msg-size", type_int64, max_msg_size, "maximum size of a single message in bytes"),
	OPT("max-req-timeout", type_duration, max_req_timeout,
		"maximum requeuing timeout for a message"),
	OPT("max-defer-timeout", type_duration, max_defer_timeout, /* upstream's 1499 */
		"maximum delay of DPUB and REQ in topics with a log, where it is more than --max-req-timeout"),
	OPT("max-body-size", type_int64, max_body_size, "maximum size of a single command body"),

	/* client overridable configuration options */
	OPT("max-heartbeat-interval", type_duration, max_heartbeat_interval,
		"maximum client configurable duration of time between client heartbeats"),
	OPT("max-rdy-count", type_int64, max_rdy_count, "maximum RDY count for a client"),
	OPT("max-output-buffer-size", type_int64, max_output_buffer_size,
		"maximum client configurable size (in bytes) for a client output buffer"),
	OPT("max-output-buffer-timeout", type_duration, max_output_buffer_timeout,
		"maximum client configurable duration of time between flushing to a client"),
	OPT("min-output-buffer-timeout", type_duration, min_output_buffer_timeout,
		"minimum client configurable duration of time between flushing to a client"),
	OPT("output-buffer-timeout", type_duration, output_buffer_timeout,
		"default duration of time between flushing data to clients"),
	OPT("max-channel-consumers", type_int, max_channel_consumers,
		"maximum channel consumer connection count per nsqd instance (default 0, i.e., unlimited)"),

	/* statsd integration options */
	OPT("statsd-address", type_string, statsd_address,
		"UDP <addr>:<port> of a statsd daemon for pushing stats"),
	OPT("statsd-interval", type_duration, statsd_interval, "duration between pushing to statsd"),
	OPT("statsd-mem-stats", type_bool, statsd_mem_stats,
		"toggle sending memory and GC stats to statsd"),
	OPT("statsd-prefix", type_string, statsd_prefix,
		"prefix used for keys sent to statsd (%s for host replacement)"),
	OPT("statsd-udp-packet-size", type_int, statsd_udp_packet_size,
		"the size in bytes of statsd UDP packets"),
	OPT("statsd-exclude-ephemeral", type_bool, statsd_exclude_ephemeral,
		"Skip ephemeral topics and channels when sending stats to statsd"),

	/* end to end percentile flags */
	{"e2e-processing-latency-percentile", "e2e_processing_latency_percentiles", &type_floats,
		offsetof(struct extra, percentiles), EXTRA_OPTION,
		"message processing time percentiles (as float (0, 1.0]) to track (can be specified multiple times or comma separated '1.0,0.99,0.95', default none)"},
	OPT("e2e-processing-latency-window-time", type_duration, e2e_processing_latency_window_time,
		"calculate end to end latency quantiles for this duration of time (ie: 60s would only show quantile calculations from the past 60 seconds)"),

	/* TLS config */
	OPT("tls-cert", type_string, tls_cert, "path to certificate file"),
	OPT("tls-key", type_string, tls_key, "path to key file"),
	OPT("tls-client-auth-policy", type_string, tls_client_auth_policy,
		"client certificate auth policy ('require' or 'require-verify')"),
	OPT("tls-root-ca-file", type_string, tls_root_ca_file, "path to certificate authority file"),
	OPT("tls-required", type_tls_required, tls_required,
		"require TLS for client connections (true, false, tcp-https)"),
	OPT("tls-min-version", type_tls_min_version, tls_min_version,
		"minimum SSL/TLS version acceptable ('ssl3.0', 'tls1.0', 'tls1.1', 'tls1.2' or 'tls1.3')"),

	/* compression */
	OPT("deflate", type_bool, deflate_enabled,
		"enable deflate feature negotiation (client compression)"),
	OPT("max-deflate-level", type_int, max_deflate_level,
		"max deflate compression level a client can negotiate (> values == > nsqd CPU usage)"),
	OPT("snappy", type_bool, snappy_enabled,
		"enable snappy feature negotiation (client compression)"),

	/* experimental features (master) */
	OPT("enable-experiment", type_strings, experiments,
		"enable experimental feature (may be given multiple times) (valid options: \""
		EXPERIMENT_TOPOLOGY_AWARE_CONSUMPTION "\")"),
	/* clang-format on */
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static void *row_value(const struct row *r, const struct options *o, const struct extra *x)
{
	/* The one cast: callers that were given a const object only read through the result. */
	return (char *)(r->where == OPTION ? (const void *)o : (const void *)x) + r->offset;
}

/* name, with '_' for '-', equals key? */
static bool names_key(const char *name, const char *key)
{
	for (; *name != '\0' || *key != '\0'; name++, key++) {
		if (*key != (*name == '-' ? '_' : *name))
			return false;
	}
	return true;
}

static bool row_has_key(const struct row *r, const char *key)
{
	if (r->where == EXTRA)
		return false;
	return r->cfg ? strcmp(r->cfg, key) == 0 : names_key(r->name, key);
}

static const struct row *find_key(const char *key)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		if (row_has_key(&rows[i], key))
			return &rows[i];
	}
	return NULL;
}

/* --- reading it all ------------------------------------------------------------------------- */

struct reader {
	struct options *o;
	struct extra extra;
	struct flag flags[N_ROWS]; /* flags[i] belongs to rows[i] */
	struct toml cfg;
	struct lg log; /* until there is nsqd's own: the prefix is fixed, as in logFatal */
	int rest;      /* index of the first word that is no flag */
	int *exit_code;
	struct err *why; /* NULL: errors are logged, and end the process */
};

static int exit_with(struct reader *r, int code)
{
	*r->exit_code = code;
	return -1;
}

/* logFatal. */
#define FATAL(r, ...)                                                                              \
	((r)->why ? (void)err_set((r)->why, 0, __VA_ARGS__)                                        \
		  : lg_logf(&(r)->log, LG_FATAL, __VA_ARGS__),                                     \
		exit_with(r, 1))

/* fmt.Print to a descriptor. */
static void write_out(int fd, const struct strbuf *sb)
{
	for (size_t done = 0; done < sb->len;) {
		ssize_t n = write(fd, sb->data + done, sb->len - done);
		if (n <= 0)
			return;
		done += (size_t)n;
	}
}

static int read_command_line(struct reader *r, int argc, char **argv, int out_fd, int err_fd)
{
	struct strbuf out = STRBUF_INIT;
	for (size_t i = 0; i < N_ROWS; i++) {
		r->flags[i] = (struct flag){.name = rows[i].name,
			.usage = rows[i].usage,
			.type = rows[i].type->flag,
			.value = row_value(&rows[i], r->o, &r->extra)};
	}
	enum flags_result result = flags_scan("nsqd", r->flags, N_ROWS, argc, argv, &r->rest, &out);
	int rc = 0;
	if (r->extra.percentiles.bad) {
		rc = FATAL(r,
			"Could not parse: %s (--e2e-processing-latency-percentile takes "
			"numbers in (0,1])",
			r->extra.percentiles.bad);
	} else if (result != FLAGS_OK) {
		write_out(err_fd, &out);
		rc = exit_with(r, result == FLAGS_HELP ? 0 : 2);
	} else if (r->extra.version) {
		strbuf_adds(&out, VERSION_STRING "\n");
		if (r->extra.version == VERSION_LONG)
			build_info_print(&out);
		write_out(out_fd, &out);
		rc = exit_with(r, 0);
	}
	strbuf_free(&out);
	return rc;
}

/* One key of the file: into the option, unless the command line has set it. */
static int apply_key(struct reader *r, const struct row *row, const struct toml_entry *e)
{
	void *value = row_value(row, r->o, &r->extra);
	union {
		enum lg_level level;
		enum tls_required required;
		uint16_t version;
	} unused = {0};
	struct err err;
	if (r->flags[row - rows].seen) {
		if (!row->type->validated)
			return 0;
		value = &unused;
	}
	if (row->type->from_config(value, &e->value, &err) == 0)
		return 0;
	if (!row->type->validated)
		return FATAL(r, "failed to load config file %s - line %d: invalid value for %s: %s",
			r->extra.config, e->line, e->key, err.msg);

	struct strbuf text = STRBUF_INIT;
	print_scalar(&e->value, &text);
	int rc = FATAL(r, "failed parsing %s %s (config file %s, line %d; valid are %s)", e->key,
		text.data, r->extra.config, e->line, err.msg);
	strbuf_free(&text);
	return rc;
}

/* The [[policy]] tables. */
static int read_policies(struct reader *r)
{
	struct policies *policies;
	struct err err;
	if (policies_parse(&r->cfg, &policies, &err) != 0)
		return FATAL(r, "failed to load config file %s - %s", r->extra.config, err.msg);
	policies_unref(r->o->policies);
	r->o->policies = policies;
	return 0;
}

/* A start ends with the first key that is wrong; --check-config names them all. */
static int read_config_file(struct reader *r)
{
	struct err err;
	int rc = 0;
	if (r->extra.config[0] == '\0')
		return 0;
	if ((r->why && regfile_check(r->extra.config, &err) != 0) ||
		toml_parse_file(&r->cfg, r->extra.config, &err) != 0)
		return FATAL(r, "failed to load config file %s - %s", r->extra.config, err.msg);
	if (read_policies(r) != 0)
		rc = -1;
	for (size_t i = 0; i < r->cfg.n && (rc == 0 || r->extra.check_config); i++) {
		const struct row *row = find_key(r->cfg.entries[i].key);
		if (row && apply_key(r, row, &r->cfg.entries[i]) != 0)
			rc = -1;
	}
	return rc;
}

/* A mistake with known keys: the flag's name stands instead of the key. */
static void warn_about_key(struct reader *r, const struct toml_entry *e)
{
	const struct row *row = find_key(e->key);
	if (policies_is_entry(e))
		return;
	if (row) {
		if (row->type == &type_bool && e->value.type == TOML_INTEGER)
			lg_logf(&r->log, LG_WARN,
				"config file %s, line %d: %s = %" PRId64
				" means %s, as in nsqd " NSQ_VERSION "; write true or false",
				r->extra.config, e->line, e->key, e->value.integer,
				e->value.integer == 0 ? "true" : "false");
		return;
	}
	for (size_t i = 0; i < N_ROWS; i++) {
		if (rows[i].where != EXTRA &&
			(strcmp(rows[i].name, e->key) == 0 || names_key(rows[i].name, e->key))) {
			char *key = xstrdup(rows[i].cfg ? rows[i].cfg : rows[i].name);
			for (char *p = key; *p != '\0'; p++)
				*p = *p == '-' ? '_' : *p;
			lg_logf(&r->log, LG_WARN,
				"config file %s, line %d: unknown key %s is ignored (the key is "
				"%s)",
				r->extra.config, e->line, e->key, key);
			free(key);
			return;
		}
	}
	lg_logf(&r->log, LG_WARN, "config file %s, line %d: unknown key %s is ignored",
		r->extra.config, e->line, e->key);
}

/*
 * Warns of settings that stock takes without a word, and of those that do not do what their author
 * meant.
 */
static void warn(struct reader *r, int argc, char **argv)
{
	const struct options *o = r->o;
	atomic_store(&r->log.level, (int)o->log_level);
	if (r->rest < argc)
		lg_logf(&r->log, LG_WARN, "arguments from \"%s\" on are ignored", argv[r->rest]);
	for (size_t i = 0; i < r->cfg.n; i++)
		warn_about_key(r, &r->cfg.entries[i]);
	for (size_t i = 0; i < o->experiments.n; i++) {
		if (strcmp(o->experiments.v[i], EXPERIMENT_TOPOLOGY_AWARE_CONSUMPTION) != 0)
			lg_logf(&r->log, LG_WARN,
				"--enable-experiment: unknown experiment \"%s\" is ignored "
				"(valid options: \"" EXPERIMENT_TOPOLOGY_AWARE_CONSUMPTION "\")",
				o->experiments.v[i]);
	}
	const char *policy = o->tls_client_auth_policy;
	if (policy[0] != '\0' && strcmp(policy, "require") != 0 &&
		strcmp(policy, "require-verify") != 0)
		lg_logf(&r->log, LG_WARN,
			"--tls-client-auth-policy: \"%s\" asks for no client certificate "
			"(valid options: \"require\", \"require-verify\")",
			policy);
	if (r->extra.json_format && !r->extra.inspect_data)
		lg_logf(&r->log, LG_WARN, "--format has no effect without --inspect-data");
}

/* What the command line alone decides. */
static void set_run_mode(struct reader *r)
{
	r->o->run_mode = r->extra.check_config   ? RUN_CHECK_CONFIG
			 : r->extra.inspect_data ? RUN_INSPECT_DATA
			 : r->extra.export_stock ? RUN_EXPORT_STOCK
						 : RUN_DAEMON;
	r->o->json_format = r->extra.json_format;
	free(r->o->config_file);
	r->o->config_file = xstrdup(r->extra.config);
}

/* As far as it is known by now. A log that is there already keeps its own. */
static void use_log_format(struct reader *r)
{
	if (!r->why)
		lg_use_json(&r->log, log_describe(r->o));
}

/* All of it, into r->o; frees r but for its log. */
static int read_all(struct reader *r, int argc, char **argv, int out_fd, int err_fd)
{
	struct options *o = r->o;
	r->extra.config = xstrdup("");
	int rc = read_command_line(r, argc, argv, out_fd, err_fd);
	use_log_format(r);
	if (rc == 0)
		rc = read_config_file(r);
	if (rc == 0) {
		free(o->e2e_processing_latency_percentiles);
		o->e2e_processing_latency_percentiles = r->extra.percentiles.v;
		o->n_e2e_processing_latency_percentiles = r->extra.percentiles.n;
		r->extra.percentiles.v = NULL;
		set_run_mode(r);
		use_log_format(r);
		warn(r, argc, argv);
	}
	free(r->extra.percentiles.v);
	free(r->extra.percentiles.bad);
	free(r->extra.config);
	toml_free(&r->cfg);
	return rc;
}

int nsqd_flags_parse(
	struct options *o, int argc, char **argv, int out_fd, int err_fd, int *exit_code)
{
	struct reader r = {.o = o, .exit_code = exit_code};
	lg_init(&r.log, err_fd, "[nsqd] ", LG_FATAL);
	int rc = read_all(&r, argc, argv, out_fd, err_fd);
	lg_destroy(&r.log);
	return rc;
}

int nsqd_flags_reparse(
	struct options *o, int argc, char **argv, const struct lg *log, struct err *err)
{
	int unused;
	struct reader r = {.o = o, .exit_code = &unused, .why = err};
	err_set(err, 0, "the command line cannot be read again");
	lg_share(&r.log, log);
	int rc = read_all(&r, argc, argv, -1, -1);
	lg_unshare(&r.log);
	return rc;
}

/* An option's value as text. */
static void print_value(const struct row *row, const struct options *o, struct strbuf *out)
{
	const struct extra x = {.percentiles = {.v = o->e2e_processing_latency_percentiles,
					.n = o->n_e2e_processing_latency_percentiles}};
	row->type->flag->print(row_value(row, o, &x), out);
}

/* The row's key in the config file. */
static void print_key(const struct row *row, struct strbuf *out)
{
	for (const char *p = row->cfg ? row->cfg : row->name; *p != '\0'; p++)
		strbuf_addc(out, *p == '-' ? '_' : *p);
}

void nsqd_flags_each_difference(const struct options *a, const struct options *b,
	void (*fn)(void *arg, const char *key, const char *in_a, const char *in_b), void *arg)
{
	struct strbuf key = STRBUF_INIT, x = STRBUF_INIT, y = STRBUF_INIT;
	for (size_t i = 0; i < N_ROWS; i++) {
		if (rows[i].where == EXTRA)
			continue;
		strbuf_reset(&key);
		strbuf_reset(&x);
		strbuf_reset(&y);
		print_key(&rows[i], &key);
		print_value(&rows[i], a, &x);
		print_value(&rows[i], b, &y);
		if (x.len != y.len || (x.len > 0 && memcmp(x.data, y.data, x.len) != 0))
			fn(arg, key.data, x.len > 0 ? x.data : "", y.len > 0 ? y.data : "");
	}
	strbuf_free(&key);
	strbuf_free(&x);
	strbuf_free(&y);
}

bool nsqd_flags_config_value(
	const struct options *o, const char *key, struct strbuf *out, bool *json)
{
	const struct row *row = find_key(key);
	if (!row)
		return false;

	const struct extra x = {.percentiles = {.v = o->e2e_processing_latency_percentiles,
					.n = o->n_e2e_processing_latency_percentiles}};
	const void *value = row_value(row, o, &x);
	*json = row->type != &type_string;
	if (row->type->to_json)
		row->type->to_json(value, out);
	else if (row->type == &type_duration) /* a time.Duration is an int64 there */
		flag_type_int64.print(value, out);
	else
		row->type->flag->print(value, out);
	return true;
}
