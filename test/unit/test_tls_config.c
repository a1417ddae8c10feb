/* SPDX-License-Identifier: MIT */
/* tls_config: what --tls-* make of the server, and what ends its start. */
#include "test/unit/helper.h"

#include "common/xalloc.h"
#include "nsqd/core/tls_config.h"
#include "test/unit/tls_test.h"

static struct tls_test_cert ca, server, other;

static int setup(void **state)
{
	tls_test_cert_new(&ca, "ca", NULL, NULL);
	tls_test_cert_new(&server, "server", GNUTLS_KP_TLS_WWW_SERVER, &ca);
	tls_test_cert_new(&other, "other", GNUTLS_KP_TLS_WWW_SERVER, &ca);
	tls_test_write("ca.pem", &ca.crt_pem);
	tls_test_write("cert.pem", &server.crt_pem);
	tls_test_write("key.pem", &server.key_pem);
	tls_test_write("other.pem", &other.key_pem);
	tls_test_write("empty.pem", &(gnutls_datum_t){.data = (unsigned char *)"", .size = 0});
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {
		"ca.pem", "cert.pem", "key.pem", "other.pem", "empty.pem"};
	tls_test_cert_free(&ca);
	tls_test_cert_free(&server);
	tls_test_cert_free(&other);
	for (size_t i = 0; i < COUNT(files); i++)
		unlink(files[i]);
	return 0;
}

static void set(char **option, const char *value)
{
	free(*option);
	*option = xstrdup(value);
}

static struct options *new_options(const char *cert, const char *key)
{
	struct options *o = options_new();
	set(&o->tls_cert, cert);
	set(&o->tls_key, key);
	return o;
}

static struct tls_config *build(struct options *take_opts)
{
	struct tls_config *c;
	struct err err = {0};
	if (tls_config_new(take_opts, &c, &err) != 0)
		fail_msg("%s", err.msg);
	options_free(take_opts);
	return c;
}

static void refused(struct options *take_opts, const char *text)
{
	struct tls_config *c;
	struct err err = {0};
	assert_int_equal(tls_config_new(take_opts, &c, &err), -1);
	assert_null(c);
	assert_string_equal(err.msg, text);
	options_free(take_opts);
}

static void test_without_certificate_and_key_there_is_no_tls_config(void **state)
{
	assert_null(build(new_options("", "")));
	tls_config_unref(NULL);
}

static void test_a_certificate_and_its_key_are_enough(void **state)
{
	struct tls_config *c = build(new_options("cert.pem", "key.pem"));
	assert_int_equal(c->server.client_auth, TLS_NO_CLIENT_CERT);
	assert_null(c->server.roots);
	tls_config_unref(c);
}

static void test_what_is_wrong_is_named(void **state)
{
	refused(new_options("none.pem", "key.pem"), "open none.pem: no such file or directory");
	refused(new_options("cert.pem", "none.pem"), "open none.pem: no such file or directory");
	refused(new_options("", "key.pem"), "open : no such file or directory");
	refused(new_options("empty.pem", "key.pem"),
		"--tls-cert empty.pem: No certificate was found.");
	refused(new_options("key.pem", "key.pem"), "--tls-cert key.pem: No certificate was found.");
	refused(new_options("cert.pem", "other.pem"), "--tls-cert cert.pem, --tls-key other.pem: "
						      "tls: private key does not match public key");
}

static void test_the_key_file_has_to_hold_one(void **state)
{
	struct options *o = new_options("cert.pem", "cert.pem");
	struct tls_config *c;
	struct err err = {0};
	assert_int_equal(tls_config_new(o, &c, &err), -1);
	assert_non_null(strstr(err.msg, "--tls-key cert.pem: "));
	options_free(o);
}

static void test_each_client_policy_has_its_meaning(void **state)
{
	static const struct {
		const char *policy;
		enum tls_client_auth auth;
	} policies[] = {
		{"", TLS_NO_CLIENT_CERT},
		{"require", TLS_REQUIRE_ANY_CLIENT_CERT},
		{"require-verify", TLS_REQUIRE_AND_VERIFY_CLIENT_CERT},
		{"Require", TLS_NO_CLIENT_CERT},
		{"else", TLS_NO_CLIENT_CERT},
	};

	for (size_t i = 0; i < COUNT(policies); i++) {
		for (int with_ca = 0; with_ca < 2; with_ca++) {
			struct options *o = new_options("cert.pem", "key.pem");
			set(&o->tls_client_auth_policy, policies[i].policy);
			if (with_ca)
				set(&o->tls_root_ca_file, "ca.pem");
			struct tls_config *c = build(o);
			assert_int_equal(c->server.client_auth, policies[i].auth);
			assert_int_equal(c->server.roots != NULL,
				policies[i].auth == TLS_REQUIRE_AND_VERIFY_CLIENT_CERT);
			tls_config_unref(c);
		}
	}
}

static void test_a_root_ca_has_to_be_one(void **state)
{
	static const char *const policies[] = {"", "require-verify"};
	for (size_t i = 0; i < COUNT(policies); i++) {
		struct options *o = new_options("cert.pem", "key.pem");
		set(&o->tls_client_auth_policy, policies[i]);
		set(&o->tls_root_ca_file, "none.pem");
		refused(o, "open none.pem: no such file or directory");
		o = new_options("cert.pem", "key.pem");
		set(&o->tls_client_auth_policy, policies[i]);
		set(&o->tls_root_ca_file, "key.pem");
		refused(o, "--tls-root-ca-file key.pem: failed to append certificate to pool");
	}
}

static void test_the_lowest_version_is_the_configured_one(void **state)
{
	static const gnutls_protocol_t expected[] = {
		GNUTLS_TLS1_3, GNUTLS_TLS1_2, GNUTLS_TLS1_1, GNUTLS_TLS1_0};
	for (int n = 1; n <= 4; n++) {
		struct options *o = new_options("cert.pem", "key.pem");
		const unsigned *list;
		o->tls_min_version = (uint16_t)(0x0305 - n);
		struct tls_config *c = build(o);
		assert_int_equal(gnutls_priority_protocol_list(c->server.priority, &list), n);
		for (int i = 0; i < n; i++)
			assert_int_equal(list[i], expected[i]);
		tls_config_unref(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_certificate_and_key_there_is_no_tls_config),
		cmocka_unit_test(test_a_certificate_and_its_key_are_enough),
		cmocka_unit_test(test_what_is_wrong_is_named),
		cmocka_unit_test(test_the_key_file_has_to_hold_one),
		cmocka_unit_test(test_each_client_policy_has_its_meaning),
		cmocka_unit_test(test_a_root_ca_has_to_be_one),
		cmocka_unit_test(test_the_lowest_version_is_the_configured_one),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
