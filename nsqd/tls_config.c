/* SPDX-License-Identifier: MIT */
/*
 * The server's side of --tls-*. Mirrors buildTLSConfig of nsqd/nsqd.go. Runs in
 * the main thread, at the start.
 *
 * Differences: errors about what is in a file name the flag and the file; a lowest
 * version that the installed GnuTLS (or its system-wide configuration) refuses is
 * an error, not a daemon that offers others. The cipher suites are those that Go
 * offers by default, in Go's order for machines with AES instructions.
 */
#include "nsqd/tls_config.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/strbuf.h"
#include "common/xalloc.h"

/* Nobody has a key as big as this; a wrong name may be /dev/zero. */
#define MAX_FILE ((size_t)16 * 1024 * 1024)

/* What Go offers by default: versions come behind it. */
#define CIPHERS                                                                                    \
	"NORMAL:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-CBC"             \
	":+AES-256-CBC:-MAC-ALL:+AEAD:+SHA1:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"                       \
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

/* os.ReadFile: the caller frees it; terminated. NULL with err set. */
static char *read_file(const char *path, struct err *err)
{
	struct strbuf sb = STRBUF_INIT;
	char buf[4096];
	size_t n;
	FILE *f = fopen(path, "re");
	if (!f) {
		err_errno(err, errno, "open %s: ", path);
		return NULL;
	}
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0 && sb.len <= MAX_FILE)
		strbuf_add(&sb, buf, n);
	int failed = ferror(f) ? errno : sb.len > MAX_FILE ? EFBIG : 0;
	fclose(f);
	gnutls_memset(buf, 0, sizeof(buf));
	if (!failed)
		return strbuf_detach(&sb);
	err_errno(err, failed, "read %s", path);
	strbuf_free(&sb);
	return NULL;
}

static gnutls_datum_t datum(char *pem)
{
	return (gnutls_datum_t){.data = (unsigned char *)pem, .size = (unsigned)strlen(pem)};
}

/* rc is GnuTLS's opinion of the file that the flag names. */
static int bad_file(struct err *err, const char *flag, const char *path, int rc)
{
	return err_set(err, 0, "%s %s: %s", flag, path, gnutls_strerror(rc));
}

/* --- certificate and key (tls.LoadX509KeyPair) ------------------------------------------------ */

/* Each of the two by itself first: so it can be said which of them is wrong. */
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
	CHECK(gnutls_privkey_init(&k) == 0);
	rc = gnutls_privkey_import_x509_raw(k, key, GNUTLS_X509_FMT_PEM, NULL, 0);
	gnutls_privkey_deinit(k);
	return rc < 0 ? bad_file(err, "--tls-key", o->tls_key, rc) : 0;
}

static int load_pair(struct tls_config *c, const struct options *o, struct err *err)
{
	c->cert_pem = read_file(o->tls_cert, err);
	if (!c->cert_pem)
		return -1;
	c->key_pem = read_file(o->tls_key, err);
	if (!c->key_pem)
		return -1;
	gnutls_datum_t cert = datum(c->cert_pem), key = datum(c->key_pem);
	if (check_pair(o, &cert, &key, err) != 0)
		return -1;
	int rc = gnutls_certificate_set_x509_key_mem2(
		c->server.credentials, &cert, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return err_set(err, 0,
			"--tls-cert %s, --tls-key %s: tls: private key does not match public key",
			o->tls_cert, o->tls_key);
	return rc < 0 ? bad_file(err, "--tls-cert", o->tls_cert, rc) : 0;
}

/* --- clients' certificates -------------------------------------------------------------------- */

/* AddCert: one more CA that clients are told of, and who may sign, where that is looked at. */
static bool add_root_ca(struct tls_config *c, const gnutls_datum_t *ca)
{
	if (gnutls_certificate_set_x509_trust_mem(c->server.credentials, ca, GNUTLS_X509_FMT_PEM) <
		0)
		return false;
	return !c->server.roots || gnutls_x509_trust_list_add_trust_mem(c->server.roots, ca, NULL,
					   GNUTLS_X509_FMT_PEM, 0, 0) >= 0;
}

/*
 * AppendCertsFromPEM: bundles hold all sorts of things. Each certificate by itself,
 * since GnuTLS takes none if there is one that it cannot read.
 */
static int load_root_ca(struct tls_config *c, const struct options *o, struct err *err)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	bool any = false;
	c->ca_pem = read_file(o->tls_root_ca_file, err);
	if (!c->ca_pem)
		return -1;
	for (char *next, *ca = strstr(c->ca_pem, begin); ca; ca = next) {
		next = strstr(ca + strlen(begin), begin);
		gnutls_datum_t pem = datum(ca);
		if (next)
			pem.size = (unsigned)(next - ca);
		any = add_root_ca(c, &pem) || any;
	}
	if (any)
		return 0;
	return err_set(err, 0, "--tls-root-ca-file %s: failed to append certificate to pool",
		o->tls_root_ca_file);
}

static int set_client_auth(struct tls_config *c, const struct options *o, struct err *err)
{
	const char *policy = o->tls_client_auth_policy;
	c->server.client_auth = TLS_NO_CLIENT_CERT; /* also for what stock does not know */
	if (strcmp(policy, "require") == 0)
		c->server.client_auth = TLS_REQUIRE_ANY_CLIENT_CERT;
	else if (strcmp(policy, "require-verify") == 0)
		c->server.client_auth = TLS_REQUIRE_AND_VERIFY_CLIENT_CERT;

	bool verify = c->server.client_auth == TLS_REQUIRE_AND_VERIFY_CLIENT_CERT;
	if (verify)
		CHECK(gnutls_x509_trust_list_init(&c->server.roots, 0) == 0);
	if (*o->tls_root_ca_file)
		return load_root_ca(c, o, err);
	/* None on the whole system: then nobody gets in, as with stock. */
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
	c->priority = strbuf_detach(&sb);
	int rc = gnutls_priority_init(&c->server.priority, c->priority, NULL);
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
	CHECK(gnutls_certificate_allocate_credentials(&c->server.credentials) == 0);
	if (load_pair(c, opts, err) != 0 || set_client_auth(c, opts, err) != 0 ||
		set_versions(c, opts, err) != 0) {
		tls_config_free(c);
		return -1;
	}
	*out = c;
	return 0;
}

void tls_config_free(struct tls_config *c)
{
	if (!c)
		return;
	gnutls_certificate_free_credentials(c->server.credentials);
	if (c->server.priority)
		gnutls_priority_deinit(c->server.priority);
	if (c->server.roots)
		gnutls_x509_trust_list_deinit(c->server.roots, 1);
	if (c->key_pem)
		gnutls_memset(c->key_pem, 0, strlen(c->key_pem));
	free(c->priority);
	free(c->cert_pem);
	free(c->key_pem);
	free(c->ca_pem);
	free(c);
}
