/* SPDX-License-Identifier: MIT */
/*
 * The server's side of --tls-*. Mirrors buildTLSConfig of nsqd/nsqd.go. Runs in the main thread, at
 * the start and at a reload. Connections get the present one in any thread.
 *
 * Differences: errors in a file's content name the flag and the file. A lowest version that the
 * installed GnuTLS (or its system-wide configuration) refuses is an error: the daemon does not
 * offer others instead. The cipher suites and groups are those that Go offers by default, in Go's
 * order for machines with AES instructions, but for X25519MLKEM768: Debian 12's GnuTLS lacks it.
 */
#include "nsqd/core/tls_config.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/strbuf.h"
#include "common/xalloc.h"

/* No key is as big as this; a wrong name may be /dev/zero. */
#define MAX_FILE ((size_t)16 * 1024 * 1024)

/*
 * Go's cipher suites and groups by default; the versions are added behind them. Clients send a key
 * share of X25519 in TLS 1.3. With another group in front each handshake would begin anew.
 */
#define CIPHERS                                                                                    \
	"NORMAL:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-CBC"             \
	":+AES-256-CBC:-MAC-ALL:+AEAD:+SHA1:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"                       \
	":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1"             \
	":%SERVER_PRECEDENCE:%DEBUG_ALLOW_KEY_USAGE_VIOLATIONS:-VERS-ALL"

static const struct {
	uint16_t wire;
	gnutls_protocol_t gnutls;
	const char *flag;
	const char *priority;
} versions[] = {
	{0x0304, GNUTLS_TLS1_3, "tls1.3", ":+VERS-TLS1.3"},
	{0x0303, GNUTLS_TLS1_2, "tls1.2", ":+VERS-TLS1.2"},
	{0x0302, GNUTLS_TLS1_1, "tls1.1", ":+VERS-TLS1.1"},
	{0x0301, GNUTLS_TLS1_0, "tls1.0", ":+VERS-TLS1.0"},
};
#define N_VERSIONS (sizeof(versions) / sizeof(*versions))

/* --- files ---------------------------------------------------------------------------------- */

/* Grows sb. Not by realloc: it may leave a copy behind, perhaps of a key. */
static void grow(struct strbuf *sb)
{
	struct strbuf larger = STRBUF_INIT;
	strbuf_reserve(&larger, 2 * sb->len + 4096);
	strbuf_add(&larger, sb->data, sb->len);
	strbuf_wipe(sb);
	*sb = larger;
}

/* 0, or an errno. */
static int read_all(int fd, struct strbuf *sb)
{
	for (;;) {
		if (sb->len + 1 >= sb->cap)
			grow(sb);
		ssize_t n = read(fd, sb->data + sb->len, sb->cap - 1 - sb->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (n == 0)
			return 0;
		sb->len += (size_t)n;
		sb->data[sb->len] = '\0';
		if (sb->len > MAX_FILE)
			return EFBIG;
	}
}

/* os.ReadFile: strbuf_wipe, also after -1, with err set. Terminated. */
static int read_file(const char *path, struct strbuf *sb, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "open %s: ", path);
	int failed = read_all(fd, sb);
	close(fd);
	return failed ? err_errno(err, failed, "read %s", path) : 0;
}

static gnutls_datum_t datum(const struct strbuf *pem)
{
	return (gnutls_datum_t){.data = (unsigned char *)pem->data, .size = (unsigned)pem->len};
}

/* rc is GnuTLS's opinion of the file that the flag names. */
static int bad_file(struct err *err, const char *flag, const char *path, int rc)
{
	return err_set(err, 0, "%s %s: %s", flag, path, gnutls_strerror(rc));
}

/* --- certificate and key (tls.LoadX509KeyPair) ------------------------------------------------ */

/* Looks at each of the two alone first, so the error can name the wrong one. */
static int check_pair(const struct options *o, const gnutls_datum_t *cert,
	const gnutls_datum_t *key, struct err *err)
{
	gnutls_x509_crt_t *certs;
	unsigned n;
	int rc = gnutls_x509_crt_list_import2(&certs, &n, cert, GNUTLS_X509_FMT_PEM, 0);
	if (rc < 0)
		return bad_file(err, "--tls-cert", o->tls_cert, rc);
	for (unsigned i = 0; i < n; i++)
		gnutls_x509_crt_deinit(certs[i]);
	gnutls_free(certs);

	gnutls_privkey_t k;
	rc = gnutls_privkey_init(&k);
	if (rc == 0) {
		rc = gnutls_privkey_import_x509_raw(k, key, GNUTLS_X509_FMT_PEM, NULL, 0);
		gnutls_privkey_deinit(k);
	}
	return rc < 0 ? bad_file(err, "--tls-key", o->tls_key, rc) : 0;
}

static int set_pair(struct tls_config *c, const struct options *o, const gnutls_datum_t *cert,
	const gnutls_datum_t *key, struct err *err)
{
	if (check_pair(o, cert, key, err) != 0)
		return -1;
	int rc = gnutls_certificate_set_x509_key_mem2(
		c->server.credentials, cert, key, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return err_set(err, 0,
			"--tls-cert %s, --tls-key %s: tls: private key does not match public key",
			o->tls_cert, o->tls_key);
	return rc < 0 ? bad_file(err, "--tls-cert", o->tls_cert, rc) : 0;
}

/* The key stays in GnuTLS's hands only. */
static int load_pair(struct tls_config *c, const struct options *o, struct err *err)
{
	struct strbuf cert = STRBUF_INIT, key = STRBUF_INIT;
	int rc = read_file(o->tls_cert, &cert, err);
	if (rc == 0)
		rc = read_file(o->tls_key, &key, err);
	if (rc == 0) {
		gnutls_datum_t cert_pem = datum(&cert), key_pem = datum(&key);
		rc = set_pair(c, o, &cert_pem, &key_pem, err);
	}
	strbuf_wipe(&cert);
	strbuf_wipe(&key);
	return rc;
}

/* --- clients' certificates -------------------------------------------------------------------- */

/*
 * AddCert: one more CA. Clients are told of it, and its signatures are trusted where they are
 * verified.
 */
static bool add_root_ca(struct tls_config *c, const gnutls_datum_t *ca)
{
	if (gnutls_certificate_set_x509_trust_mem(c->server.credentials, ca, GNUTLS_X509_FMT_PEM) <
		0)
		return false;
	return !c->server.roots || gnutls_x509_trust_list_add_trust_mem(c->server.roots, ca, NULL,
					   GNUTLS_X509_FMT_PEM, 0, 0) >= 0;
}

/*
 * AppendCertsFromPEM: bundles hold all sorts of things. Adds each certificate alone, since GnuTLS
 * takes none if it cannot read one.
 */
static bool add_root_cas(struct tls_config *c, const struct strbuf *pems)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	bool any = false;
	for (char *next, *ca = strstr(pems->data, begin); ca; ca = next) {
		next = strstr(ca + strlen(begin), begin);
		gnutls_datum_t pem = {(unsigned char *)ca, (unsigned)strlen(ca)};
		if (next)
			pem.size = (unsigned)(next - ca);
		any = add_root_ca(c, &pem) || any;
	}
	return any;
}

static int load_root_ca(struct tls_config *c, const struct options *o, struct err *err)
{
	struct strbuf pems = STRBUF_INIT;
	int rc = read_file(o->tls_root_ca_file, &pems, err);
	if (rc == 0 && !add_root_cas(c, &pems))
		rc = err_set(err, 0, "--tls-root-ca-file %s: failed to append certificate to pool",
			o->tls_root_ca_file);
	strbuf_free(&pems);
	return rc;
}

static int set_client_auth(struct tls_config *c, const struct options *o, struct err *err)
{
	const char *policy = o->tls_client_auth_policy;
	c->server.client_auth = TLS_NO_CLIENT_CERT; /* also for policies that stock does not know */
	if (strcmp(policy, "require") == 0)
		c->server.client_auth = TLS_REQUIRE_ANY_CLIENT_CERT;
	else if (strcmp(policy, "require-verify") == 0)
		c->server.client_auth = TLS_REQUIRE_AND_VERIFY_CLIENT_CERT;

	bool verify = c->server.client_auth == TLS_REQUIRE_AND_VERIFY_CLIENT_CERT;
	int rc = verify ? gnutls_x509_trust_list_init(&c->server.roots, 0) : 0;
	if (rc < 0)
		return err_set(err, 0, "%s", gnutls_strerror(rc));
	if (*o->tls_root_ca_file)
		return load_root_ca(c, o, err);
	/* No CA on the whole system: then no client gets in, as with stock. */
	if (verify)
		(void)gnutls_x509_trust_list_add_system_trust(c->server.roots, 0, 0);
	return 0;
}

/*
 * --- versions -----------------------------------------------------------------------------------
 */

static bool is_enabled(gnutls_priority_t priority, gnutls_protocol_t version)
{
	const unsigned *list;
	int n = gnutls_priority_protocol_list(priority, &list);
	for (int i = 0; i < n; i++) {
		if (list[i] == version)
			return true;
	}
	return false;
}

/* From --tls-min-version to TLS 1.3. */
static int set_versions(struct tls_config *c, const struct options *o, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	size_t last = 0;
	strbuf_adds(&sb, CIPHERS);
	for (size_t i = 0; i < N_VERSIONS && versions[i].wire >= o->tls_min_version; i++) {
		strbuf_adds(&sb, versions[i].priority);
		last = i;
	}
	int rc = gnutls_priority_init(&c->server.priority, sb.data, NULL);
	strbuf_free(&sb);
	if (rc == 0 && is_enabled(c->server.priority, versions[last].gnutls))
		return 0;
	return err_set(err, 0,
		"--tls-min-version %s: this version is refused by GnuTLS %s, or by its "
		"configuration on this system",
		versions[last].flag, gnutls_check_version(NULL));
}

/*
 * --- life ---------------------------------------------------------------------------------------
 */

int tls_config_new(const struct options *opts, struct tls_config **out, struct err *err)
{
	*out = NULL;
	if (!*opts->tls_cert && !*opts->tls_key)
		return 0;
	struct tls_config *c = xcalloc(1, sizeof(*c));
	int rc = gnutls_certificate_allocate_credentials(&c->server.credentials);
	atomic_init(&c->refs, 1);
	if (rc < 0) {
		free(c);
		return err_set(err, 0, "%s", gnutls_strerror(rc));
	}
	if (load_pair(c, opts, err) != 0 || set_client_auth(c, opts, err) != 0 ||
		set_versions(c, opts, err) != 0) {
		tls_config_unref(c);
		return -1;
	}
	*out = c;
	return 0;
}

void tls_config_unref(struct tls_config *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	gnutls_certificate_free_credentials(c->server.credentials);
	if (c->server.priority)
		gnutls_priority_deinit(c->server.priority);
	if (c->server.roots)
		gnutls_x509_trust_list_deinit(c->server.roots, 1);
	free(c);
}

/* --- the present one -------------------------------------------------------------------------- */

struct tls_current {
	struct mutex lock;
	struct tls_config *config; /* guarded by lock; a reference */
};

struct tls_current *tls_current_new(struct tls_config *take_c)
{
	struct tls_current *t = xcalloc(1, sizeof(*t));
	mutex_init(&t->lock, RANK_LEAF);
	t->config = take_c;
	return t;
}

void tls_current_free(struct tls_current *t)
{
	if (!t)
		return;
	tls_config_unref(t->config);
	mutex_destroy(&t->lock);
	free(t);
}

struct tls_config *tls_current_get(struct tls_current *t)
{
	mutex_lock(&t->lock);
	struct tls_config *c = t->config;
	atomic_fetch_add(&c->refs, 1);
	mutex_unlock(&t->lock);
	return c;
}

void tls_current_replace(struct tls_current *t, struct tls_config *take_c)
{
	mutex_lock(&t->lock);
	struct tls_config *old = t->config;
	t->config = take_c;
	mutex_unlock(&t->lock);
	tls_config_unref(old);
}
