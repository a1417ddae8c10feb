/* SPDX-License-Identifier: MIT */
/*
 * https: who is let in, and what is said to the others; the part of libmicrohttpd is played here.
 */
#include "test/unit/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "common/lg.h"
#include "nsqd/https.h"
#include "test/unit/tls_test.h"

#define SERVER_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define PEER "192.0.2.7:1234"
#define WARNING "WARNING: http: TLS handshake error from " PEER ": "

static struct tls_test_cert ca, server_cert, client_cert, stranger;
static struct tls_server server;
static struct lg lg;
static struct handshakes *handshakes;

/*
 * --- libmicrohttpd -----------------------------------------------------------------------------
 */

struct connection {
	int fd;
	gnutls_session_t session;
	struct handshake *handshake;
	struct wait_group wg;
	int result;      /* of gnutls_handshake */
	bool complained; /* what handshake_complaint said to its failure */
	bool succeeded;
};

static void serve(void *arg)
{
	struct connection *c = arg;

	while ((c->result = gnutls_handshake(c->session)) == GNUTLS_E_AGAIN) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};

		poll(&p, 1, -1);
	}
	if (c->result != 0) {
		c->complained = handshake_complaint();
		handshake_complaint(); /* says it once */
		shutdown(c->fd, SHUT_WR);
	} else {
		gnutls_record_send(c->session, "x", 1);
	}
	c->succeeded = handshake_succeeded(c->handshake);
}

/* Returns the client's descriptor. */
static int begin(struct connection *c)
{
	int fds[2];

	*c = (struct connection){0};
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
	c->fd = fds[0];
	TLS_OK(gnutls_init(&c->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL));
	TLS_OK(gnutls_priority_set_direct(c->session, SERVER_PRIORITY, NULL));
	c->handshake = handshake_new(handshakes, c->session, c->fd, PEER);
	wait_group_init(&c->wg);
	go(&c->wg, serve, c);
	return fds[1];
}

static void end(struct connection *c)
{
	join(&c->wg);
	gnutls_deinit(c->session);
	handshake_free(c->handshake);
	close(c->fd);
}

/*
 * --- the client ----------------------------------------------------------------------------------
 */

/* What it is told: 0 if it is let in, or else an alert, or -1 for none. */
static int connect_client(int fd, const char *priority, const struct tls_test_cert *cert)
{
	gnutls_session_t session;
	gnutls_certificate_credentials_t credentials;
	ssize_t rc;
	char buf[10];

	TLS_OK(gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL));
	TLS_OK(gnutls_priority_set_direct(session, priority, NULL));
	TLS_OK(gnutls_certificate_allocate_credentials(&credentials));
	if (cert)
		TLS_OK(gnutls_certificate_set_x509_key_mem(
			credentials, &cert->crt_pem, &cert->key_pem, GNUTLS_X509_FMT_PEM));
	TLS_OK(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials));
	gnutls_transport_set_int(session, fd);
	do
		rc = gnutls_handshake(session);
	while (rc < 0 && !gnutls_error_is_fatal((int)rc));
	/* In TLS 1.3 it is told after its handshake. */
	if (rc == 0)
		rc = gnutls_record_recv(session, buf, sizeof(buf));
	int told = -1;
	if (rc > 0)
		told = 0;
	else if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
		told = (int)gnutls_alert_get(session);
	gnutls_deinit(session);
	gnutls_certificate_free_credentials(credentials);
	close(fd);
	return told;
}

/* --- the log --------------------------------------------------------------------------------- */

/* What it says of this test's handshakes; "" for nothing. Valid until the next call. */
static const char *logged(void)
{
	static char buf[4096];
	int fd = open("log", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	char *newline = strchr(buf, '\n'), *text = strstr(buf, "WARNING");

	if (newline)
		assert_string_equal(newline, "\n"); /* one line */
	if (newline)
		*newline = '\0';
	return text ? text : "";
}

static int setup(void **state)
{
	(void)state;
	lg_init(&lg, open("log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600),
		"[test] ", LG_INFO);
	struct err err;
	handshakes = handshakes_new(&server, &lg);
	assert_int_equal(handshakes_start(handshakes, &err), 0);
	server.client_auth = TLS_NO_CLIENT_CERT;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	handshakes_stop(handshakes);
	handshakes_stop(handshakes);
	handshakes_free(handshakes);
	close(lg.fd);
	lg_destroy(&lg);
	return unlink("log");
}

static int setup_all(void **state)
{
	(void)state;
	tls_test_cert_new(&ca, "ca", NULL, NULL);
	tls_test_cert_new(&server_cert, "server", GNUTLS_KP_TLS_WWW_SERVER, &ca);
	tls_test_cert_new(&client_cert, "client", GNUTLS_KP_TLS_WWW_CLIENT, &ca);
	tls_test_cert_new(&stranger, "stranger", GNUTLS_KP_TLS_WWW_CLIENT, NULL);
	TLS_OK(gnutls_certificate_allocate_credentials(&server.credentials));
	TLS_OK(gnutls_certificate_set_x509_key_mem(server.credentials, &server_cert.crt_pem,
		&server_cert.key_pem, GNUTLS_X509_FMT_PEM));
	TLS_OK(gnutls_x509_trust_list_init(&server.roots, 0));
	assert_int_equal(gnutls_x509_trust_list_add_trust_mem(
				 server.roots, &ca.crt_pem, NULL, GNUTLS_X509_FMT_PEM, 0, 0),
		1);
	return 0;
}

static int teardown_all(void **state)
{
	(void)state;
	gnutls_certificate_free_credentials(server.credentials);
	gnutls_x509_trust_list_deinit(server.roots, 1);
	tls_test_cert_free(&ca);
	tls_test_cert_free(&server_cert);
	tls_test_cert_free(&client_cert);
	tls_test_cert_free(&stranger);
	return 0;
}

/*
 * --- tests
 * ----------------------------------------------------------------------------------------
 */

static void let_in(enum tls_client_auth auth, const struct tls_test_cert *cert)
{
	static const char *const versions[] = {TLS12, TLS13};

	server.client_auth = auth;
	for (size_t i = 0; i < COUNT(versions); i++) {
		struct connection c;

		assert_int_equal(connect_client(begin(&c), versions[i], cert), 0);
		end(&c);
		assert_int_equal(c.result, 0);
		assert_true(c.succeeded);
	}
	assert_string_equal(logged(), "");
}

static void refused(enum tls_client_auth auth, const char *version,
	const struct tls_test_cert *cert, int alert, const char *text)
{
	struct connection c;

	server.client_auth = auth;
	assert_int_equal(connect_client(begin(&c), version, cert), alert);
	end(&c);
	assert_int_not_equal(c.result, 0);
	assert_true(c.complained);
	assert_false(c.succeeded);
	assert_memory_equal(logged(), text, strlen(text));
	assert_int_equal(truncate("log", 0), 0);
}

static void test_who_is_let_in(void **state)
{
	(void)state;
	let_in(TLS_NO_CLIENT_CERT, NULL);
	let_in(TLS_NO_CLIENT_CERT, &stranger);
	let_in(TLS_REQUIRE_ANY_CLIENT_CERT, &stranger);
	let_in(TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, &client_cert);
}

static void test_who_is_not(void **state)
{
	static const char none[] = WARNING "tls: client didn't provide a certificate";
	static const char unknown[] = WARNING "tls: failed to verify certificate: x509: "
					      "certificate signed by unknown authority";

	(void)state;
	refused(TLS_REQUIRE_ANY_CLIENT_CERT, TLS12, NULL, GNUTLS_A_HANDSHAKE_FAILURE, none);
	refused(TLS_REQUIRE_ANY_CLIENT_CERT, TLS13, NULL, GNUTLS_A_CERTIFICATE_REQUIRED, none);
	refused(TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, TLS12, NULL, GNUTLS_A_HANDSHAKE_FAILURE, none);
	refused(TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, TLS13, NULL, GNUTLS_A_CERTIFICATE_REQUIRED,
		none);
	refused(TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, TLS12, &stranger, GNUTLS_A_UNKNOWN_CA, unknown);
	refused(TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, TLS13, &stranger, GNUTLS_A_UNKNOWN_CA, unknown);
	refused(TLS_NO_CLIENT_CERT, "NORMAL:-VERS-ALL:+VERS-TLS1.1", NULL,
		GNUTLS_A_HANDSHAKE_FAILURE, WARNING "tls: handshake failure");
}

/* Sends it, and reads what comes back until the end. */
static void say(const char *data, size_t n, const char *answer, const char *text)
{
	struct connection c;
	int fd = begin(&c);
	char got[200];
	size_t len = 0;
	ssize_t rc;

	assert_int_equal(write(fd, data, n), n);
	shutdown(fd, SHUT_WR);
	while ((rc = read(fd, got + len, sizeof(got) - 1 - len)) > 0)
		len += (size_t)rc;
	got[len] = '\0';
	assert_string_equal(got, answer);
	close(fd);
	end(&c);
	assert_true(c.complained);
	assert_false(c.succeeded);
	assert_string_equal(logged(), text);
	assert_int_equal(truncate("log", 0), 0);
}

static void test_what_is_no_tls(void **state)
{
	static const char http[] = "HTTP/1.0 400 Bad Request\r\n\r\n"
				   "Client sent an HTTP request to an HTTPS server.\n";
	static const char sent_http[] = WARNING "client sent an HTTP request to an HTTPS server";
	static const char no_tls[] = WARNING "tls: first record does not look like a TLS handshake";
	static const char *const requests[] = {"GET / HTTP/1.1\r\n\r\n", "HEAD / HTTP/1.0\r\n",
		"POST /pub HTTP/1.1\r\n", "PUT /config", "OPTIONS *"};

	(void)state;
	for (size_t i = 0; i < COUNT(requests); i++)
		say(requests[i], strlen(requests[i]), http, sent_http);
	say("  V2  V2", 8, "", no_tls);
	say("\x16\x33 much too new", 14, "", no_tls);
	say("\x80\x2e\x01\x03\x01 SSL 2", 10, "", no_tls);
	say("", 0, "", WARNING "EOF");
	say("GET", 3, "", WARNING "EOF");
	say("\x16\x03\x01", 3, "", WARNING "EOF");
}

static void test_once_stopped_nothing_is_logged(void **state)
{
	struct connection c;

	(void)state;
	handshakes_stop(handshakes);
	close(begin(&c));
	end(&c);
	assert_true(c.complained);
	assert_string_equal(logged(), "");
}

static void complain(void *arg)
{
	*(bool *)arg = handshake_complaint();
}

static void test_other_threads_complaints_are_none_of_ours(void **state)
{
	struct wait_group wg;
	bool complained = true;

	(void)state;
	wait_group_init(&wg);
	go(&wg, complain, &complained);
	join(&wg);
	assert_false(complained);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_who_is_let_in, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_is_not, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_tls, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_once_stopped_nothing_is_logged, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_other_threads_complaints_are_none_of_ours, setup, teardown),
	};

	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
