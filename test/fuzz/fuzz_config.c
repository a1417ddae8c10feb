/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the command line and the config file. An input is a line for each argument, an empty
 * line, and the file. Also, where there are such files, the CAs of --tls-root-ca-file, and a
 * certificate and its key: the file is taken for them, too.
 */
#include "test/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/toml.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/core/nsqd_flags.h"
#include "nsqd/core/options.h"
#include "nsqd/core/tls_config.h"
#include "test/fuzz/certificate.h"

#define MAX_ARGS 32
#define MAX_ARGV (MAX_ARGS + 4)

static int null_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	certificate_write(fuzz_path("cert.pem"), fuzz_path("key.pem"), false);
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	return 0;
}

/* The parser of texts and the one of files are of one mind. */
static void parse_file(struct input in, const char *path)
{
	struct toml text, file;
	struct err err1 = {0}, err2 = {0};
	int rc = toml_parse(&text, (const char *)in.p, in.n, &err1);
	CHECK(toml_parse_file(&file, path, &err2) == rc && strcmp(err1.msg, err2.msg) == 0);
	CHECK(rc == 0 || *err1.msg);
	if (rc != 0)
		return;
	CHECK(text.n == file.n);
	for (size_t i = 0; i < text.n; i++)
		CHECK(toml_get(&text, text.entries[i].key) == &text.entries[i]);
	toml_free(&text);
	toml_free(&file);
}

static void show(const struct options *o)
{
	static const char *const keys[] = {"id", "log_level", "tcp_address", "max_msg_size",
		"auth_http_address", "statsd_interval", "tls_required", "tls_min_version",
		"e2e_processing_latency_percentiles", "nsqlookupd_tcp_addresses", "deflate", "x"};
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		struct strbuf out = STRBUF_INIT;
		bool json;
		(void)nsqd_flags_config_value(o, keys[i], &out, &json);
		strbuf_free(&out);
	}
}

/* It is made of the file, or of a certificate, with the file for its CAs. */
static void try_tls(struct options *o, const char *cert, const char *key)
{
	struct tls_config *tls;
	struct err err;
	free(o->tls_cert);
	free(o->tls_key);
	o->tls_cert = xstrdup(cert);
	o->tls_key = xstrdup(key);
	if (tls_config_new(o, &tls, &err) == 0)
		tls_config_unref(tls);
}

/* As nsqd_new does it. */
static void use(struct options *o)
{
	struct err err;
	if (options_check(o, &err) != 0)
		return;
	struct options *copy = options_copy(o);
	options_expand_statsd_prefix(copy);
	options_free(copy);
	show(o);
	/* These files alone: a name in an input may be any other's. */
	free(o->tls_root_ca_file);
	o->tls_root_ca_file = xstrdup(fuzz_path("config"));
	(void)auth_check_root_ca(o, &err);
	try_tls(o, fuzz_path("config"), fuzz_path("config"));
	try_tls(o, fuzz_path("cert.pem"), fuzz_path("key.pem"));
}

static void count_difference(void *arg, const char *key, const char *from, const char *to)
{
	CHECK(*key && strcmp(from, to) != 0);
	++*(int *)arg;
}

/* SIGHUP, and nothing has changed. */
static void read_again(const struct options *o, int argc, char **argv)
{
	struct options *again = options_new(), *none = options_new();
	struct lg lg;
	struct err err;
	int n = 0, different = 0;
	lg_init(&lg, null_fd, "", LG_FATAL);
	CHECK(nsqd_flags_reparse(again, argc, argv, &lg, &err) == 0);
	nsqd_flags_each_difference(o, again, count_difference, &n);
	CHECK(n == 0);
	nsqd_flags_each_difference(none, o, count_difference, &different);
	lg_destroy(&lg);
	options_free(again);
	options_free(none);
}

/* The words of argv, which the caller frees from the second on. */
static int split(struct input *in, char *argv[MAX_ARGV])
{
	static char name[] = "nsqd";
	int argc = 0;
	argv[argc++] = name;
	while (in->n > 0 && argc < MAX_ARGS) {
		struct input line = input_until(in, '\n');
		if (line.n == 0)
			break;
		argv[argc++] = input_string(line);
	}
	return argc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	char *argv[MAX_ARGV] = {NULL}, flag[] = "--config", *path = (char *)fuzz_path("config");
	int n = split(&in, argv), argc = n, exit_code = -1;
	fuzz_write_file(path, in.p, in.n);
	parse_file(in, path);
	memmove(argv + 3, argv + 1, (size_t)(n - 1) * sizeof(*argv));
	argv[1] = flag;
	argv[2] = path;
	argc += 2;
	struct options *o = options_new();
	int rc = nsqd_flags_parse(o, argc, argv, null_fd, null_fd, &exit_code);
	CHECK(rc == 0 || (exit_code >= 0 && exit_code <= 2));
	if (rc == 0) {
		read_again(o, argc, argv);
		use(o);
	}
	options_free(o);
	for (int i = 3; i < argc; i++)
		free(argv[i]);
	fuzz_check_resources();
	return 0;
}
