/* SPDX-License-Identifier: MIT */
/* Makes a certificate with GnuTLS: see certificate.h. */
#include "test/fuzz/certificate.h"

#include <time.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "test/fuzz/fuzz.h"

#define OK(call) CHECK((call) == 0)

#define RSA_BITS 2048
#define P256 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1)
#define DAY ((time_t)24 * 3600)

static void write_pem(const char *path, gnutls_datum_t pem)
{
	fuzz_write_file(path, pem.data, pem.size);
	gnutls_free(pem.data);
}

void certificate_write(const char *cert_path, const char *key_path, bool rsa)
{
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	gnutls_datum_t pem;
	OK(gnutls_x509_privkey_init(&key));
	OK(gnutls_x509_privkey_generate(
		key, rsa ? GNUTLS_PK_RSA : GNUTLS_PK_ECDSA, rsa ? RSA_BITS : P256, 0));
	OK(gnutls_x509_crt_init(&crt));
	OK(gnutls_x509_crt_set_version(crt, 3));
	OK(gnutls_x509_crt_set_serial(crt, "\1", 1));
	OK(gnutls_x509_crt_set_activation_time(crt, time(NULL) - DAY));
	OK(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + DAY));
	OK(gnutls_x509_crt_set_key(crt, key));
	OK(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, "fuzz", 4));
	OK(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0));
	OK(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem));
	write_pem(cert_path, pem);
	OK(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem));
	write_pem(key_path, pem);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
}
