/* SPDX-License-Identifier: MIT */
/*
 * options and nsqd's flags: defaults, command line, config file, what beats what, and what is
 * refused. The expected texts were printed by stock.
 */
#include "test/unit/helper.h"

#include "common/clock.h"
#include "common/version.h"
#include "nsqd/core/nsqd_flags.h"
#include "nsqd/core/options.h"

static struct options *o;
static char out[16384], err_text[16384]; /* what the last parse said on its two outputs */
static int exit_code;

static int setup(void **state)
{
	o = options_new();
	return 0;
}

static int teardown(void **state)
{
	options_free(o);
	return 0;
}

static void slurp(FILE *f, char *buf, size_t size)
{
	rewind(f);
	buf[fread(buf, 1, size - 1, f)] = '\0';
	fclose(f);
}

#define PARSE(...) parse((const char *[]){"nsqd", __VA_ARGS__, NULL})
static int parse(const char **argv)
{
	int argc = 0;
	while (argv[argc])
		argc++;
	FILE *f = tmpfile(), *g = tmpfile();
	assert_non_null(f);
	assert_non_null(g);
	exit_code = -1;
	int rc = nsqd_flags_parse(o, argc, (char **)argv, fileno(f), fileno(g), &exit_code);
	slurp(f, out, sizeof(out));
	slurp(g, err_text, sizeof(err_text));
	return rc;
}

/* With this config file, and one more argument that may be NULL. */
static int parse_config(const char *text, const char *arg)
{
	FILE *f = fopen("nsqd.cfg", "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return parse((const char *[]){"nsqd", "--config=nsqd.cfg", arg, NULL});
}

/* The option as GET /config shows it. */
static void assert_value(const char *key, const char *want)
{
	struct strbuf sb = STRBUF_INIT;
	bool json;
	strbuf_adds(&sb, "");
	if (!nsqd_flags_config_value(o, key, &sb, &json))
		fail_msg("no option %s", key);
	assert_string_equal(sb.data, want);
	strbuf_free(&sb);
}

/* The text of a log line in err_text. */
static void assert_said(const char *text)
{
	if (!strstr(err_text, text))
		fail_msg("not said: %s\nbut: %s", text, err_text);
}

static void test_defaults_are_stocks(void **state)
{
	static const char *const want[][2] = {
		{"log_level", "2"},
		{"log_prefix", "[nsqd] "},
		{"tcp_address", "0.0.0.0:4150"},
		{"http_address", "0.0.0.0:4151"},
		{"https_address", "0.0.0.0:4152"},
		{"broadcast_tcp_port", "0"},
		{"broadcast_http_port", "0"},
		{"nsqlookupd_tcp_addresses", "[]"},
		{"auth_http_addresses", "[]"},
		{"auth_http_request_method", "get"},
		{"http_client_connect_timeout", "2000000000"},
		{"http_client_request_timeout", "5000000000"},
		{"topology_region", ""},
		{"topology_zone", ""},
		{"data_path", ""},
		{"mem_queue_size", "10000"},
		{"max_bytes_per_file", "104857600"},
		{"sync_every", "2500"},
		{"sync_timeout", "2000000000"},
		{"queue_scan_worker_pool_max", "4"},
		{"queue_scan_selection_count", "20"},
		{"msg_timeout", "60000000000"},
		{"max_msg_timeout", "900000000000"},
		{"max_msg_size", "1048576"},
		{"max_body_size", "5242880"},
		{"max_req_timeout", "3600000000000"},
		{"max_heartbeat_interval", "60000000000"},
		{"max_rdy_count", "2500"},
		{"max_output_buffer_size", "65536"},
		{"max_output_buffer_timeout", "30000000000"},
		{"min_output_buffer_timeout", "25000000"},
		{"output_buffer_timeout", "250000000"},
		{"max_channel_consumers", "0"},
		{"statsd_address", ""},
		{"statsd_prefix", "nsq.%s"},
		{"statsd_interval", "60000000000"},
		{"statsd_mem_stats", "true"},
		{"statsd_udp_packet_size", "508"},
		{"statsd_exclude_ephemeral", "false"},
		{"e2e_processing_latency_percentiles", "[]"},
		{"e2e_processing_latency_window_time", "600000000000"},
		{"tls_cert", ""},
		{"tls_key", ""},
		{"tls_client_auth_policy", ""},
		{"tls_root_ca_file", ""},
		{"tls_required", "0"},
		{"tls_min_version", "769"},
		{"deflate", "true"},
		{"max_deflate_level", "6"},
		{"snappy", "true"},
		{"enable_experiment", "[]"},
	};
	assert_int_equal(parse((const char *[]){"nsqd", NULL}), 0);
	for (size_t i = 0; i < COUNT(want); i++)
		assert_value(want[i][0], want[i][1]);
	assert_string_equal(err_text, "");

	char host[256];
	assert_int_equal(gethostname(host, sizeof(host)), 0);
	assert_value("broadcast_address", host);
	assert_int_equal(o->id, options_default_id(host));
	assert_int_equal(o->queue_scan_interval, 100 * NSEC_PER_MSEC);
	assert_int_equal(o->queue_scan_refresh_interval, 5 * NSEC_PER_SEC);
	assert_int_equal(o->client_timeout, 60 * NSEC_PER_SEC);
}

static void test_the_default_node_id_is_stocks_hash(void **state)
{
	assert_int_equal(options_default_id("localhost"), 16);
	assert_int_equal(options_default_id("nsqd-0"), 794);
	assert_int_equal(options_default_id("node.example.com"), 0);
	assert_int_equal(options_default_id(""), 812);
}

static void test_flags_of_every_kind_are_read(void **state)
{
	assert_int_equal(PARSE("--node-id=0x10", "-mem-queue-size", "0", "--msg-timeout=1m30s",
				 "-snappy=false", "--deflate=0", "--statsd-exclude-ephemeral",
				 "--log-level=WARN", "--tls-min-version=TLS1.2", "--tls-required",
				 "--tls-cert=c", "--broadcast-address=", "-data-path=/data",
				 "--lookupd-tcp-address=a:1", "--lookupd-tcp-address", "b:2",
				 "--auth-http-address=http://x/?a&b",
				 "--e2e-processing-latency-percentile=0.5,1.0",
				 "--e2e-processing-latency-percentile=0.99", "--topology-zone=z",
				 "--enable-experiment=topology-aware-consumption"),
		0);
	assert_value("id", "16");
	assert_value("mem_queue_size", "0");
	assert_value("msg_timeout", "90000000000");
	assert_value("snappy", "false");
	assert_value("deflate", "false");
	assert_value("statsd_exclude_ephemeral", "true");
	assert_value("log_level", "3");
	assert_value("tls_min_version", "771");
	assert_value("tls_required", "2");
	assert_value("broadcast_address", "");
	assert_value("data_path", "/data");
	assert_value("nsqlookupd_tcp_addresses", "[\"a:1\",\"b:2\"]");
	assert_value("auth_http_addresses", "[\"http://x/?a\\u0026b\"]");
	assert_value("e2e_processing_latency_percentiles", "[1,0.99,0.5]"); /* descending */
	assert_value("enable_experiment", "[\"topology-aware-consumption\"]");
	assert_true(options_has_experiment(o, EXPERIMENT_TOPOLOGY_AWARE_CONSUMPTION));
	assert_false(options_has_experiment(o, "other"));
	assert_string_equal(err_text, "");
}

static void test_deprecated_flags_are_accepted(void **state)
{
	assert_int_equal(PARSE("--verbose", "--worker-id", "--verbose=true", "--node-id=7"), 0);
	assert_value("id", "7");
	assert_string_equal(err_text, "");
}

static void test_tls_required_has_three_values(void **state)
{
	assert_int_equal(PARSE("--tls-required=TCP-https"), 0);
	assert_int_equal(o->tls_required, TLS_REQUIRED_EXCEPT_HTTP);
	assert_int_equal(PARSE("--tls-required=tRUE"), 0);
	assert_int_equal(o->tls_required, TLS_REQUIRED);
	assert_int_equal(PARSE("--tls-required=false"), 0);
	assert_int_equal(o->tls_required, TLS_NOT_REQUIRED);
}

static void test_a_bad_command_line_exits_2_with_the_usage(void **state)
{
	static const char *const cases[][2] = {
		{"--bogus", "flag provided but not defined: -bogus\nUsage of nsqd:\n"},
		{"--max-rdy-cuont=5", "flag provided but not defined: -max-rdy-cuont\n"
				      "did you mean -max-rdy-count?\nUsage of nsqd:\n"},
		{"--max_rdy_count=5", "flag provided but not defined: -max_rdy_count\n"
				      "did you mean -max-rdy-count?\nUsage of nsqd:\n"},
		{"--nsqlookupd-tcp-addresses=x",
			"flag provided but not defined: -nsqlookupd-tcp-addresses\n"
			"did you mean -lookupd-tcp-address?\nUsage of nsqd:\n"},
		{"--node-id=x", "invalid value \"x\" for flag -node-id: parse error\nUsage of "},
		{"--node-id", "flag needs an argument: -node-id\nUsage of nsqd:\n"},
		{"--worker-id=5", "invalid boolean value \"5\" for -worker-id: parse error\n"},
		{"--log-level=zz", "invalid value \"zz\" for flag -log-level: invalid log level "
				   "'zz' (debug, info, warn, error, fatal)\n"},
		{"--tls-required=maybe", "invalid boolean value \"maybe\" for -tls-required: "
					 "strconv.ParseBool: parsing \"maybe\": invalid syntax\n"},
		{"--tls-min-version=SSL3.0", "invalid value \"SSL3.0\" for flag -tls-min-version: "
					     "unknown tlsVersionOption \"ssl3.0\"\n"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(PARSE(cases[i][0]), -1);
		assert_int_equal(exit_code, 2);
		assert_int_equal(strncmp(err_text, cases[i][1], strlen(cases[i][1])), 0);
		assert_string_equal(out, "");
	}
}

static void test_a_percentile_that_is_no_number_exits_1(void **state)
{
	assert_int_equal(PARSE("--e2e-processing-latency-percentile=0.5,x"), -1);
	assert_int_equal(exit_code, 1);
	assert_said("Could not parse: x");
	assert_said("--e2e-processing-latency-percentile");
}

static void test_version_and_help_exit_0(void **state)
{
	assert_int_equal(PARSE("--version"), -1);
	assert_int_equal(exit_code, 0);
	assert_int_equal(strncmp(out, "nsqd v1.3.0 (built w/", 21), 0);
	assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1); /* one line */
	assert_string_equal(err_text, "");

	assert_int_equal(PARSE("--help"), -1);
	assert_int_equal(exit_code, 0);
	assert_string_equal(out, "");
	assert_int_equal(strncmp(err_text, "Usage of nsqd:\n  -auth-http-address value\n", 42), 0);
	assert_said("  -snappy\n    \tenable snappy feature negotiation (client compression) "
		    "(default true)\n");
	assert_said("(default INFO)\n");
	assert_said("(default tls1.0)\n");
	assert_said("(default \"nsq.%s\")\n");
	assert_said("  -tls-required\n    \trequire TLS for client connections (true, false, "
		    "tcp-https)\n");
}

static void test_version_long_has_lines_behind_the_one_that_tools_parse(void **state)
{
	assert_int_equal(PARSE("--version=long"), -1);
	assert_int_equal(exit_code, 0);
	assert_int_equal(strncmp(out, "nsqd v1.3.0 (built w/", 21), 0);
	static const char *const lines[] = {")\n" PRODUCT_STRING "\n",
		"\ncompiler: ", "\nflags: ", "\ngnutls: ", "\ncurl: libcurl/",
		"\nzlib: ", "\npcre2: ", "\ncjson: "};
	for (size_t i = 0; i < COUNT(lines); i++) {
		if (!strstr(out, lines[i]))
			fail_msg("no %s in %s", lines[i], out);
	}
	assert_string_equal(err_text, "");
	assert_int_equal(PARSE("--version=false"), 0);
	assert_int_equal(PARSE("--version=Long"), -1);
	assert_int_equal(exit_code, 2);
	assert_said("invalid boolean value \"Long\" for -version: parse error\n");
}

static void test_what_the_process_is_there_for(void **state)
{
	assert_int_equal(PARSE("--max-rdy-count=1"), 0);
	assert_int_equal(o->run_mode, RUN_DAEMON);
	assert_int_equal(PARSE("--check-config", "--inspect-data"), 0);
	assert_int_equal(o->run_mode, RUN_CHECK_CONFIG);
	assert_int_equal(PARSE("--inspect-data"), 0);
	assert_int_equal(o->run_mode, RUN_INSPECT_DATA);
	assert_false(o->json_format);
	assert_int_equal(PARSE("--inspect-data", "--format=json"), 0);
	assert_true(o->json_format);
	assert_string_equal(err_text, "");
	assert_int_equal(PARSE("--inspect-data", "--format=text"), 0);
	assert_false(o->json_format);
	assert_int_equal(PARSE("--format=json"), 0);
	assert_said("--format has no effect without --inspect-data");
	assert_int_equal(PARSE("--format=yaml"), -1);
	assert_int_equal(exit_code, 2);
	assert_said("invalid value \"yaml\" for flag -format: text or json is wanted\n");
	/* Only the command line says so. */
	assert_int_equal(parse_config("check_config = true\ninspect_data = true\n", NULL), 0);
	assert_int_equal(o->run_mode, RUN_DAEMON);
	assert_string_equal(o->config_file, "nsqd.cfg");
}

static void test_check_config_names_each_value_that_is_wrong(void **state)
{
	static const char text[] = "max_rdy_count = \"x\"\nsnappy = true\nmsg_timeout = true\n";
	assert_int_equal(parse_config(text, NULL), -1);
	assert_int_equal(exit_code, 1);
	assert_said("line 1: invalid value for max_rdy_count");
	assert_null(strstr(err_text, "line 3"));
	assert_int_equal(parse_config(text, "--check-config"), -1);
	assert_int_equal(exit_code, 1);
	assert_said("line 1: invalid value for max_rdy_count");
	assert_said("line 3: invalid value for msg_timeout");
}

static void test_words_behind_the_flags_are_ignored_with_a_warning(void **state)
{
	assert_int_equal(PARSE("--snappy", "false", "--node-id=5"), 0);
	assert_true(o->snappy_enabled);
	assert_said(" WARNING: arguments from \"false\" on are ignored\n");
}

static void test_the_config_file_beats_the_default(void **state)
{
	assert_int_equal(parse_config("id = 5\nlog_level = \"debug\"\nmem_queue_size = \"7\"\n"
				      "max_deflate_level = 3\nmsg_timeout = \"2m\"\n"
				      "sync_timeout = 1500\nsnappy = false\ndeflate = \"f\"\n"
				      "tls_required = \"tcp-https\"\ntls_min_version = \"tls1.3\"\n"
				      "nsqlookupd_tcp_addresses = [\"a\", \"b\"]\n"
				      "auth_http_addresses = \"c,d\"\ndata_path = '/x'\n"
				      "e2e_processing_latency_percentiles = [0.5, 1, 0.99]\n",
				 NULL),
		0);
	assert_value("id", "5");
	assert_value("log_level", "1");
	assert_value("mem_queue_size", "7");
	assert_value("max_deflate_level", "3");
	assert_value("msg_timeout", "120000000000");
	assert_value("sync_timeout", "1500000000"); /* a bare number is milliseconds */
	assert_value("snappy", "false");
	assert_value("deflate", "false");
	assert_value("tls_required", "1");
	assert_value("tls_min_version", "772");
	assert_value("nsqlookupd_tcp_addresses", "[\"a\",\"b\"]");
	assert_value("auth_http_addresses", "[\"c\",\"d\"]");
	assert_value("data_path", "/x");
	assert_value("e2e_processing_latency_percentiles", "[0.5,1,0.99]"); /* as written */
	assert_string_equal(err_text, "");
}

static void test_the_command_line_beats_the_config_file(void **state)
{
	static const char text[] = "nsqlookupd_tcp_addresses = [\"file\"]\nid = \"bad\"\n"
				   "e2e_processing_latency_percentiles = [0.5]\n";
	FILE *f = fopen("nsqd.cfg", "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(PARSE("--lookupd-tcp-address=line", "--config=nsqd.cfg", "--node-id=3",
				 "--e2e-processing-latency-percentile=0.9"),
		0);
	assert_value("nsqlookupd_tcp_addresses", "[\"line\"]");
	assert_value("id", "3");
	assert_value("e2e_processing_latency_percentiles", "[0.9]");
	/* go-options looks at the command line; config.Validate looks at three keys before */
	assert_int_equal(parse_config("log_level = \"loud\"\n", "--log-level=info"), -1);
	assert_int_equal(exit_code, 1);
}

static void test_empty_tls_min_version_in_the_config_is_the_default(void **state)
{
	assert_int_equal(parse_config("tls_min_version = \"\"\n", NULL), 0);
	assert_value("tls_min_version", "769");
}

static void test_config_values_that_are_refused_name_key_and_what_is_allowed(void **state)
{
	static const char *const cases[][2] = {
		{"mem_queue_size = 1.5", "line 1: invalid value for mem_queue_size: an integer"},
		{"\nmem_queue_size = \"x\"", "line 2: invalid value for mem_queue_size"},
		{"broadcast_tcp_port = 99999999999",
			"invalid value for broadcast_tcp_port: an int"},
		{"snappy = \"maybe\"", "invalid value for snappy: true or false is wanted"},
		{"msg_timeout = \"5\"", "invalid value for msg_timeout: a duration is wanted"},
		{"msg_timeout = 9223372036854775807", "invalid value for msg_timeout: a duration"},
		{"data_path = 5", "invalid value for data_path: a string is wanted"},
		{"nsqlookupd_tcp_addresses = [1]", "an array of strings is wanted"},
		{"nsqlookupd_tcp_addresses = 1", "an array of strings is wanted"},
		{"e2e_processing_latency_percentiles = [\"x\"]", "an array of numbers in (0,1]"},
		{"e2e_processing_latency_percentiles = \"0.5,x\"", "an array of numbers in (0,1]"},
		{"log_level = \"loud\"", "failed parsing log_level loud"},
		{"log_level = 1.5", "failed parsing log_level 1.5"},
		{"log_level = true", "failed parsing log_level true"},
		{"log_level = [\"info\"]", "failed parsing log_level [...]"},
		{"tls_required = 2", "failed parsing tls_required 2"},
		{"tls_min_version = \"ssl3.0\"", "failed parsing tls_min_version ssl3.0"},
		{"id = ", "failed to load config file nsqd.cfg - toml: line 1 (last key \"id\")"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(parse_config(cases[i][0], NULL), -1);
		assert_int_equal(exit_code, 1);
		assert_int_equal(strncmp(err_text, "[nsqd] ", 7), 0);
		assert_said(" FATAL: ");
		assert_said(cases[i][1]);
		assert_said("nsqd.cfg");
	}
}

static void test_a_config_file_that_is_not_there_exits_1(void **state)
{
	assert_int_equal(PARSE("--config=nope.cfg"), -1);
	assert_int_equal(exit_code, 1);
	assert_said(" FATAL: failed to load config file nope.cfg - open nope.cfg: no such file or "
		    "directory\n");
}

static void test_unknown_keys_are_named_and_ignored(void **state)
{
	assert_int_equal(parse_config("worker_id = 5\nlookupd_tcp_address = []\nnode-id = 1\n"
				      "[nsqadmin]\nid = 4\n",
				 NULL),
		0);
	assert_said("line 1: unknown key worker_id is ignored\n");
	assert_said("line 2: unknown key lookupd_tcp_address is ignored (the key is "
		    "nsqlookupd_tcp_addresses)\n");
	assert_said("line 3: unknown key node-id is ignored (the key is id)\n");
	assert_said("line 5: unknown key nsqadmin.id is ignored\n");
}

static void test_a_number_for_a_boolean_means_what_it_does_on_stock(void **state)
{
	assert_int_equal(parse_config("snappy = 1\ndeflate = 0\n", NULL), 0);
	assert_false(o->snappy_enabled);
	assert_true(o->deflate_enabled);
	assert_said("snappy = 1 means false");
}

static void test_what_stock_takes_without_a_word_gets_a_warning(void **state)
{
	assert_int_equal(PARSE("--enable-experiment=x", "--tls-client-auth-policy=yes"), 0);
	assert_said("unknown experiment \"x\"");
	assert_said("--tls-client-auth-policy: \"yes\"");
	assert_int_equal(PARSE("--enable-experiment=x", "--log-level=error"), 0);
	assert_string_equal(err_text, "");
}

static void test_only_options_can_be_read_as_config(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	bool json;
	static const char *const keys[] = {"", "version", "config", "verbose", "worker_id",
		"node_id", "node-id", "lookupd_tcp_address", "msg-timeout", "e2e", "bogus"};
	for (size_t i = 0; i < COUNT(keys); i++)
		assert_false(nsqd_flags_config_value(o, keys[i], &sb, &json));
	assert_null(sb.data);
	assert_true(nsqd_flags_config_value(o, "tcp_address", &sb, &json));
	assert_false(json);
	assert_true(nsqd_flags_config_value(o, "id", &sb, &json));
	assert_true(json);
	strbuf_free(&sb);
}

static void assert_check_fails(const char *want)
{
	struct err err;
	assert_int_equal(options_check(o, &err), -1);
	assert_string_equal(err.msg, want);
}

static void test_contradictions_are_refused_with_stocks_texts(void **state)
{
	assert_int_equal(options_check(o, NULL), 0);
	for (int level = 1; level <= 9; level++) {
		o->max_deflate_level = level;
		assert_int_equal(options_check(o, NULL), 0);
	}
	o->max_deflate_level = 10;
	assert_check_fails("--max-deflate-level must be [1,9]");
	o->max_deflate_level = 0;
	assert_check_fails("--max-deflate-level must be [1,9]");
	o->max_deflate_level = 6;
	o->id = 1024;
	assert_check_fails("--node-id must be [0,1024)");
	o->id = -1;
	assert_check_fails("--node-id must be [0,1024)");
	o->id = 1023;
	o->tls_required = TLS_REQUIRED_EXCEPT_HTTP;
	assert_check_fails("cannot require TLS client connections without TLS key and cert");
	o->tls_required = TLS_NOT_REQUIRED;
	static const char *const methods[] = {"--auth-http-request-method=put",
		"--auth-http-request-method=POST", "--auth-http-request-method="};
	for (size_t i = 0; i < COUNT(methods); i++) {
		assert_int_equal(PARSE(methods[i]), 0);
		assert_check_fails("--auth-http-request-method must be post or get");
	}
	assert_int_equal(PARSE("--auth-http-request-method=post"), 0);
	assert_int_equal(options_check(o, NULL), 0);
	assert_int_equal(PARSE("--e2e-processing-latency-percentile=1.5"), 0);
	assert_check_fails("invalid E2E processing latency percentile: 1.5");
	assert_int_equal(PARSE("--e2e-processing-latency-percentile=0"), 0);
	assert_check_fails("invalid E2E processing latency percentile: 0");
	assert_int_equal(PARSE("--e2e-processing-latency-percentile=nan"), 0);
	assert_int_equal(options_check(o, NULL), -1);
}

static void test_values_that_stock_panics_on_are_refused(void **state)
{
	assert_int_equal(PARSE("--mem-queue-size=-1"), 0);
	assert_check_fails("--mem-queue-size must be [0,2147483647]");
	assert_int_equal(PARSE("--mem-queue-size=0", "--max-msg-size=3000000000"), 0);
	assert_check_fails("--max-msg-size must be [1,2147483621]");
	assert_int_equal(PARSE("--max-msg-size=1", "--max-body-size=0"), 0);
	assert_check_fails("--max-body-size must be [1,2147483621]");
	assert_int_equal(PARSE("--max-body-size=1", "--queue-scan-selection-count=0"), 0);
	assert_check_fails("--queue-scan-selection-count must be [1,2147483647]");
	assert_int_equal(
		PARSE("--queue-scan-selection-count=1", "--queue-scan-worker-pool-max=0"), 0);
	assert_check_fails("--queue-scan-worker-pool-max must be [1,2147483647]");
	assert_int_equal(PARSE("--queue-scan-worker-pool-max=1", "--max-output-buffer-size=-1"), 0);
	assert_check_fails("--max-output-buffer-size must be [0,2147483647]");
	assert_int_equal(PARSE("--max-output-buffer-size=0"), 0);
	assert_int_equal(options_check(o, NULL), 0);
}

static void test_a_client_auth_policy_requires_tls(void **state)
{
	assert_int_equal(PARSE("--tls-client-auth-policy=require"), 0);
	assert_check_fails("cannot require TLS client connections without TLS key and cert");
	assert_int_equal(
		PARSE("--tls-client-auth-policy=require", "--tls-cert=c", "--tls-required=false"),
		0);
	assert_int_equal(options_check(o, NULL), 0);
	assert_int_equal(o->tls_required, TLS_REQUIRED);
	assert_int_equal(PARSE("--tls-client-auth-policy=require", "--tls-cert=c",
				 "--tls-required=tcp-https"),
		0);
	assert_int_equal(options_check(o, NULL), 0);
	assert_int_equal(o->tls_required, TLS_REQUIRED_EXCEPT_HTTP);
}

static void test_the_statsd_prefix_names_the_host(void **state)
{
	static const char *const cases[][3] = {
		{"nsq.%s", "10.0.0.1", "nsq.10_0_0_1_4151."},
		{"nsq.%s.", "host.example.com", "nsq.host_example_com_4151."},
		{"%s-%s", "h", "h_4151-h_4151."},
		{"plain", "h", "plain."},
		{"%", "h", "%."},
		{"nsq.%s", "::1", "nsq.[__1]_4151."},
		{"", "h", ""},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char prefix[64], address[64];
		snprintf(prefix, sizeof(prefix), "--statsd-prefix=%s", cases[i][0]);
		snprintf(address, sizeof(address), "--broadcast-address=%s", cases[i][1]);
		assert_int_equal(PARSE(prefix, address, "--broadcast-http-port=4151"), 0);
		options_expand_statsd_prefix(o);
		assert_string_equal(o->statsd_prefix, cases[i][2]);
	}
}

static void test_a_copy_is_deep(void **state)
{
	assert_int_equal(PARSE("--lookupd-tcp-address=a", "--auth-http-address=b",
				 "--e2e-processing-latency-percentile=0.9",
				 "--enable-experiment=topology-aware-consumption"),
		0);
	struct options *c = options_copy(o), *first = o;
	strarray_add(&c->nsqlookupd_tcp_addresses, "z");
	c->e2e_processing_latency_percentiles[0] = 0.1;
	assert_value("nsqlookupd_tcp_addresses", "[\"a\"]");
	assert_value("e2e_processing_latency_percentiles", "[0.9]");
	assert_ptr_not_equal(c->data_path, o->data_path);
	o = c;
	assert_value("nsqlookupd_tcp_addresses", "[\"a\",\"z\"]");
	assert_value("auth_http_addresses", "[\"b\"]");
	assert_value("enable_experiment", "[\"topology-aware-consumption\"]");
	options_free(first);
	assert_value("tcp_address", "0.0.0.0:4150");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_defaults_are_stocks),
		cmocka_unit_test(test_the_default_node_id_is_stocks_hash),
		T(test_flags_of_every_kind_are_read),
		T(test_deprecated_flags_are_accepted),
		T(test_tls_required_has_three_values),
		T(test_a_bad_command_line_exits_2_with_the_usage),
		T(test_a_percentile_that_is_no_number_exits_1),
		T(test_version_and_help_exit_0),
		T(test_version_long_has_lines_behind_the_one_that_tools_parse),
		T(test_what_the_process_is_there_for),
		T(test_check_config_names_each_value_that_is_wrong),
		T(test_words_behind_the_flags_are_ignored_with_a_warning),
		T(test_the_config_file_beats_the_default),
		T(test_the_command_line_beats_the_config_file),
		T(test_empty_tls_min_version_in_the_config_is_the_default),
		T(test_config_values_that_are_refused_name_key_and_what_is_allowed),
		T(test_a_config_file_that_is_not_there_exits_1),
		T(test_unknown_keys_are_named_and_ignored),
		T(test_a_number_for_a_boolean_means_what_it_does_on_stock),
		T(test_what_stock_takes_without_a_word_gets_a_warning),
		T(test_only_options_can_be_read_as_config),
		T(test_contradictions_are_refused_with_stocks_texts),
		T(test_values_that_stock_panics_on_are_refused),
		T(test_a_client_auth_policy_requires_tls),
		T(test_the_statsd_prefix_names_the_host),
		T(test_a_copy_is_deep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
