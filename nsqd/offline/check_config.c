/* SPDX-License-Identifier: MIT */
/*
 * --check-config. Stock has no such thing. Runs in the thread "main" of a process that is no
 * daemon.
 *
 * Each check is the function that a start calls, or shares its code. So the error is the one that
 * the start would give, and all of them are found at once. What a start can only find by doing it
 * is not looked for: whether an address is in use, or not this machine's.
 */
#include "nsqd/offline/check_config.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/address.h"
#include "common/regfile.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/core/tls_config.h"
#include "nsqd/core/settings_store.h"
#include "nsqd/core/data_file.h"
#include "nsqd/http/http_tokens.h"
#include "nsqd/log/log_view.h"
#include "nsqd/queue/metadata_file.h"
#include "protocol/listener.h"

/* A certificate that ends sooner gets a warning. */
#define SOON_DAYS 30

struct checker {
	struct options *o;
	int out_fd, err_fd;
	int dir_fd;                     /* of the data path, while its logs are looked at */
	struct settings_store settings; /* what a start would load */
	int errors;
	int warnings;
};

static void say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vdprintf(fd, fmt, ap);
	va_end(ap);
}

/* What the start would say, with what it would say in front; it may be "". */
static void bad(struct checker *c, const char *what, const struct err *err)
{
	c->errors++;
	say(c->err_fd, "error: %s%s\n", what, err->msg);
}

#define WARN(c, ...) ((c)->warnings++, say((c)->err_fd, "warning: " __VA_ARGS__))

/* --- addresses -------------------------------------------------------------------------------- */

static void check_listener(struct checker *c, const char *flag, const char *address, bool unix_too)
{
	struct err err;
	if (tcp_listen_check(address, unix_too, &err) == 0)
		return;
	c->errors++;
	say(c->err_fd, "error: --%s: listen (%s) failed - %s\n", flag, address, err.msg);
}

/* Two listeners cannot have one address, unless the kernel chooses their ports. */
static void check_different(struct checker *c, const char *flag, const char *address,
	const char *other_flag, const char *other)
{
	const char *port = strrchr(address, ':');
	if (!*address || strcmp(address, other) != 0 || (port && strtol(port + 1, NULL, 10) == 0))
		return;
	c->errors++;
	say(c->err_fd, "error: --%s and --%s are one address: %s\n", flag, other_flag, address);
}

/* The daemon would log that it cannot connect, again and again. */
static void check_peer(struct checker *c, const char *flag, const char *address)
{
	size_t size = strlen(address) + 1;
	char *host = xmalloc(2 * size), *port = host + size;
	const char *why = address_split_host_port(address, host, port);
	if (why)
		WARN(c, "--%s: address %s: %s\n", flag, address, why);
	free(host);
}

static void check_readonly_address(struct checker *c, bool https)
{
	static const char flag[] = "http-readonly-address";
	const struct options *o = c->o;
	const char *address = o->http_readonly_address;
	if (!*address)
		return;
	check_listener(c, flag, address, true);
	check_different(c, "tcp-address", o->tcp_address, flag, address);
	check_different(c, "http-address", o->http_address, flag, address);
	if (https)
		check_different(c, "https-address", o->https_address, flag, address);
}

static void check_addresses(struct checker *c)
{
	const struct options *o = c->o;
	bool https = (*o->tls_cert || *o->tls_key) && *o->https_address;
	check_listener(c, "tcp-address", o->tcp_address, true);
	if (*o->http_address)
		check_listener(c, "http-address", o->http_address, true);
	if (https)
		check_listener(c, "https-address", o->https_address, false);
	check_different(c, "tcp-address", o->tcp_address, "http-address", o->http_address);
	if (https) {
		check_different(
			c, "tcp-address", o->tcp_address, "https-address", o->https_address);
		check_different(
			c, "http-address", o->http_address, "https-address", o->https_address);
	}
	check_readonly_address(c, https);
	for (size_t i = 0; i < o->nsqlookupd_tcp_addresses.n; i++)
		check_peer(c, "lookupd-tcp-address", o->nsqlookupd_tcp_addresses.v[i]);
	if (*o->statsd_address)
		check_peer(c, "statsd-address", o->statsd_address);
}

/* --- certificates ----------------------------------------------------------------------------- */

static void check_dates_of(
	struct checker *c, const char *path, unsigned number, gnutls_x509_crt_t crt)
{
	time_t now = time(NULL), end = gnutls_x509_crt_get_expiration_time(crt);
	if (gnutls_x509_crt_get_activation_time(crt) > now)
		WARN(c, "--tls-cert %s: certificate %u is not valid yet\n", path, number);
	else if (end < now)
		WARN(c, "--tls-cert %s: certificate %u has expired\n", path, number);
	else if (end - now < SOON_DAYS * 24 * 3600)
		WARN(c, "--tls-cert %s: certificate %u expires within %d days\n", path, number,
			SOON_DAYS);
}

/* GnuTLS has read this file already; it is read again for its dates, unless it can be read once. */
static void check_dates(struct checker *c, const char *path)
{
	gnutls_datum_t pem;
	gnutls_x509_crt_t *certs;
	unsigned n;
	if (regfile_check(path, NULL) != 0 || gnutls_load_file(path, &pem) < 0)
		return;
	if (gnutls_x509_crt_list_import2(&certs, &n, &pem, GNUTLS_X509_FMT_PEM, 0) >= 0) {
		for (unsigned i = 0; i < n; i++) {
			check_dates_of(c, path, i + 1, certs[i]);
			gnutls_x509_crt_deinit(certs[i]);
		}
		gnutls_free(certs);
	}
	gnutls_free(pem.data);
}

static void check_certificates(struct checker *c)
{
	struct tls_config *tls;
	struct err err;
	if (tls_config_new(c->o, &tls, &err) != 0)
		bad(c, "failed to build TLS config - ", &err);
	else if (tls)
		check_dates(c, c->o->tls_cert);
	tls_config_unref(tls);
	if (auth_check_root_ca(c->o, &err) != 0)
		bad(c, "failed to build client TLS config - ", &err);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void warn_of_tokens(void *arg, const char *text)
{
	struct checker *c = arg;
	WARN(c, "--http-auth-file %s: %s\n", c->o->http_auth_file, text);
}

static void check_tokens(struct checker *c)
{
	struct http_token_list *list;
	struct err err;
	if (http_token_list_load(c->o, &list, &err) != 0)
		bad(c, "", &err);
	else
		http_token_list_check(list, c->o, warn_of_tokens, c);
	http_token_list_free(list);
}

/* --- data path -------------------------------------------------------------------------------- */

/* A log that a start would open, or that it would not leave behind. */
static int check_log(void *arg, const char *topic, struct err *err)
{
	struct checker *c = arg;
	struct log_view *v = NULL;
	struct err why;
	int rc;
	(void)err;
	/* Without its settings nobody knows whether it is to have a log. */
	if (c->settings.path && settings_store_durability(&c->settings, topic) == DURABILITY_NONE)
		rc = log_view_check_left(c->dir_fd, topic, options_data_path(c->o),
			strcmp(c->o->durability, "none") != 0, &why);
	else
		rc = log_view_open(c->dir_fd, topic, NULL, &v, &why);
	log_view_close(v);
	if (rc == 0)
		return 0;
	char *what = xasprintf("failed to load metadata - cannot create topic %s - ", topic);
	bad(c, what, &why);
	free(what);
	return 0;
}

static void check_logs(struct checker *c, const char *path)
{
	struct err err;
	if (export_is_complete(path, &err) != 0)
		bad(c, "failed to load metadata - ", &err);
	c->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0)
		return; /* which is said below, or is no directory */
	if (log_view_each_topic(c->dir_fd, NULL, check_log, c, &err) != 0)
		bad(c, "failed to load metadata - ", &err);
	close(c->dir_fd);
}

static void check_data_path(struct checker *c)
{
	const char *path = options_data_path(c->o);
	struct stat st;
	struct err err;
	cJSON *root = NULL;
	if (stat(path, &st) != 0) {
		err_errno(&err, errno, "open %s", path);
		bad(c, "failed to lock data-path: ", &err);
		return;
	}
	if (metadata_file_read(path, &root, &err) < 0)
		bad(c, "failed to load metadata - ", &err);
	cJSON_Delete(root);
	settings_store_init(&c->settings, c->o);
	if (settings_store_load(&c->settings, path, -1, &err) != 0)
		bad(c, "failed to load settings - ", &err);
	check_logs(c, path);
	settings_store_destroy(&c->settings);
	if (S_ISDIR(st.st_mode) && access(path, R_OK | W_OK | X_OK) != 0) {
		err_errno(&err, errno, "--data-path %s: reading, writing and searching it", path);
		bad(c, "", &err);
	}
}

/* --- all of it -------------------------------------------------------------------------------- */

int check_config(struct options *o, int out_fd, int err_fd)
{
	struct checker c = {.o = o, .out_fd = out_fd, .err_fd = err_fd};
	struct err err;
	if (options_check(o, &err) != 0)
		bad(&c, "", &err);
	check_certificates(&c);
	check_tokens(&c);
	check_addresses(&c);
	check_data_path(&c);
	const char *file = *o->config_file ? o->config_file : "none";
	if (c.errors > 0)
		say(err_fd, "nsqd would not start: %d error%s (config file: %s, data path: %s)\n",
			c.errors, c.errors == 1 ? "" : "s", file, options_data_path(o));
	else
		say(out_fd, "nsqd would start (config file: %s, data path: %s)\n", file,
			options_data_path(o));
	return c.errors > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
