/* SPDX-License-Identifier: MIT */
/* Certificates for the tests of TLS, made on the spot. */
#ifndef TEST_UNIT_TLS_TEST_H
#define TEST_UNIT_TLS_TEST_H

#include <time.h>

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "test/unit/helper.h"

struct tls_test_cert {
	gnutls_x509_crt_t crt;
	gnutls_x509_privkey_t key;
	gnutls_datum_t crt_pem, key_pem;
};

#define TLS_OK(call) assert_int_equal(call, 0)

/*
 * Signed by issuer, or by itself. usage: GNUTLS_KP_TLS_WWW_CLIENT and the like; NULL: it is a CA.
 */
static inline void tls_test_cert_new(struct tls_test_cert *c, const char *name, const char *usage,
	const struct tls_test_cert *issuer)
{
	static unsigned char serial;
	time_t now = time(NULL);
	serial++;
	TLS_OK(gnutls_x509_privkey_init(&c->key));
	TLS_OK(gnutls_x509_privkey_generate(
		c->key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	TLS_OK(gnutls_x509_crt_init(&c->crt));
	TLS_OK(gnutls_x509_crt_set_version(c->crt, 3));
	TLS_OK(gnutls_x509_crt_set_serial(c->crt, &serial, 1));
	TLS_OK(gnutls_x509_crt_set_activation_time(c->crt, now - 3600));
	TLS_OK(gnutls_x509_crt_set_expiration_time(c->crt, now + 3600));
	TLS_OK(gnutls_x509_crt_set_key(c->crt, c->key));
	TLS_OK(gnutls_x509_crt_set_dn_by_oid(
		c->crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)));
	if (usage)
		TLS_OK(gnutls_x509_crt_set_key_purpose_oid(c->crt, usage, 0));
	else
		TLS_OK(gnutls_x509_crt_set_ca_status(c->crt, 1));
	TLS_OK(gnutls_x509_crt_sign2(c->crt, issuer ? issuer->crt : c->crt,
		issuer ? issuer->key : c->key, GNUTLS_DIG_SHA256, 0));
	TLS_OK(gnutls_x509_crt_export2(c->crt, GNUTLS_X509_FMT_PEM, &c->crt_pem));
	TLS_OK(gnutls_x509_privkey_export2(c->key, GNUTLS_X509_FMT_PEM, &c->key_pem));
}

static inline void tls_test_cert_free(struct tls_test_cert *c)
{
	gnutls_x509_crt_deinit(c->crt);
	gnutls_x509_privkey_deinit(c->key);
	gnutls_free(c->crt_pem.data);
	gnutls_free(c->key_pem.data);
}

/* Where a test has no file system of its own: writes into the working directory. */
static inline void tls_test_write(const char *path, const gnutls_datum_t *d)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(d->data, 1, d->size, f), d->size);
	assert_int_equal(fclose(f), 0);
}

#endif
