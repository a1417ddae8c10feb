/* SPDX-License-Identifier: MIT */
/* stream_tls: handshakes, both directions at once, and peers that mean no good. */
#include "test/unit/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/xalloc.h"
#include "protocol/stream_tls.h"
#include "test/unit/tls_test.h"

#define TIMEOUT PATIENCE
#define SERVER_PRIORITY                                                                            \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+VERS-TLS1.1:+VERS-TLS1.0:%SERVER_PRECEDENCE"

static struct tls_test_cert ca, server_cert, client_cert, stranger;
static struct tls_server server;

static const char *const all_versions[] = {"TLS1.3", "TLS1.2", "TLS1.1", "TLS1.0"};

/* --- both ends -------------------------------------------------------------------------------- */

/* The client: a session over a descriptor; its handshake runs in a thread. */
struct client {
	int fd;
	gnutls_session_t session;
	gnutls_certificate_credentials_t credentials;
	const char *priority;
	const struct tls_test_cert *cert;
	int result;
};

static void client_handshake(void *arg)
{
	struct client *c = arg;
	do
		c->result = gnutls_handshake(c->session);
	while (c->result < 0 && !gnutls_error_is_fatal(c->result));
}

static void client_init(
	struct client *c, int fd, const char *priority, const struct tls_test_cert *cert)
{
	*c = (struct client){.fd = fd, .priority = priority, .cert = cert};
	TLS_OK(gnutls_init(&c->session, GNUTLS_CLIENT));
	TLS_OK(gnutls_priority_set_direct(c->session, priority, NULL));
	TLS_OK(gnutls_certificate_allocate_credentials(&c->credentials));
	if (cert)
		TLS_OK(gnutls_certificate_set_x509_key_mem(
			c->credentials, &cert->crt_pem, &cert->key_pem, GNUTLS_X509_FMT_PEM));
	TLS_OK(gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->credentials));
	gnutls_transport_set_int(c->session, fd);
}

static void client_free(struct client *c)
{
	gnutls_deinit(c->session);
	gnutls_certificate_free_credentials(c->credentials);
	if (c->fd >= 0)
		close(c->fd);
}

struct pair {
	struct client client;
	struct stream *s; /* NULL: the handshake has failed with err */
	struct err err;
};

static struct stream *new_base(int *peer)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*peer = fds[1];
	return stream_sock_new(fds[0]);
}

static void connect_pair(struct pair *p, const char *priority, const struct tls_test_cert *cert)
{
	struct wait_group wg;
	int fd;
	struct stream *base = new_base(&fd);
	wait_group_init(&wg);
	client_init(&p->client, fd, priority, cert);
	go(&wg, client_handshake, &p->client);
	p->s = stream_tls_new(base, &server, NULL, 0, TIMEOUT, &p->err);
	if (!p->s)
		base->ops->free(base);
	join(&wg);
}

static void free_pair(struct pair *p)
{
	if (p->s)
		p->s->ops->free(p->s);
	client_free(&p->client);
}

static void send_all(struct stream *s, const void *data, size_t n)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = n};
	struct err err;
	assert_int_equal(s->ops->writev(s, &iov, 1, 0, &err), 0);
	assert_int_equal(s->ops->flush(s, 0, &err), 0);
}

static void read_exactly(struct stream *s, void *buf, size_t n)
{
	struct err err = {0};
	for (size_t have = 0; have < n;) {
		ssize_t got = s->ops->read(s, (char *)buf + have, n - have, 0, &err);
		if (got <= 0)
			fail_msg("%zd %s", got, err.msg);
		have += (size_t)got;
	}
}

static void client_read_exactly(struct client *c, void *buf, size_t n)
{
	for (size_t have = 0; have < n;) {
		ssize_t got = gnutls_record_recv(c->session, (char *)buf + have, n - have);
		if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
			continue;
		if (got <= 0)
			fail_msg("%s", gnutls_strerror((int)got));
		have += (size_t)got;
	}
}

static void client_send(struct client *c, const void *data, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t rc = gnutls_record_send(c->session, (const char *)data + done, n - done);
		if (rc < 0)
			fail_msg("%s", gnutls_strerror((int)rc));
		done += (size_t)rc;
	}
}

static int setup(void **state)
{
	tls_test_cert_new(&ca, "ca", NULL, NULL);
	tls_test_cert_new(&server_cert, "server", GNUTLS_KP_TLS_WWW_SERVER, &ca);
	tls_test_cert_new(&client_cert, "a client", GNUTLS_KP_TLS_WWW_CLIENT, &ca);
	tls_test_cert_new(&stranger, "a stranger", GNUTLS_KP_TLS_WWW_CLIENT, NULL);
	TLS_OK(gnutls_certificate_allocate_credentials(&server.credentials));
	TLS_OK(gnutls_certificate_set_x509_key_mem(server.credentials, &server_cert.crt_pem,
		&server_cert.key_pem, GNUTLS_X509_FMT_PEM));
	TLS_OK(gnutls_priority_init(&server.priority, SERVER_PRIORITY, NULL));
	TLS_OK(gnutls_x509_trust_list_init(&server.roots, 0));
	assert_int_equal(gnutls_x509_trust_list_add_trust_mem(
				 server.roots, &ca.crt_pem, NULL, GNUTLS_X509_FMT_PEM, 0, 0),
		1);
	return 0;
}

static int teardown(void **state)
{
	gnutls_x509_trust_list_deinit(server.roots, 1);
	gnutls_priority_deinit(server.priority);
	gnutls_certificate_free_credentials(server.credentials);
	tls_test_cert_free(&ca);
	tls_test_cert_free(&server_cert);
	tls_test_cert_free(&client_cert);
	tls_test_cert_free(&stranger);
	return 0;
}

/* --- handshakes ------------------------------------------------------------------------------- */

static void priority_of(char *buf, size_t size, const char *version)
{
	snprintf(buf, size, "NORMAL:-VERS-ALL:+VERS-%s", version);
}

static void test_every_version_works(void **state)
{
	static const uint16_t numbers[] = {0x0304, 0x0303, 0x0302, 0x0301};
	static const uint16_t suites[] = {0x1302, 0xc02c, 0xc00a, 0xc00a};
	for (size_t i = 0; i < COUNT(all_versions); i++) {
		char priority[64], buf[5];
		struct pair p;
		priority_of(priority, sizeof(priority), all_versions[i]);
		connect_pair(&p, priority, NULL);
		assert_non_null(p.s);
		assert_int_equal(stream_tls_info(p.s)->version, numbers[i]);
		assert_int_equal(stream_tls_info(p.s)->cipher_suite, suites[i]);
		assert_string_equal(stream_tls_info(p.s)->common_name, "");
		send_all(p.s, "hello", 5);
		client_read_exactly(&p.client, buf, 5);
		assert_memory_equal(buf, "hello", 5);
		client_send(&p.client, "there", 5);
		read_exactly(p.s, buf, 5);
		assert_memory_equal(buf, "there", 5);
		free_pair(&p);
	}
}

/* What the reader above had buffered already is the start of the handshake. */
static void test_what_was_read_before_comes_first(void **state)
{
	for (size_t n = 1; n < 200; n += 66) {
		struct wait_group wg;
		struct client c;
		struct err err;
		int fd;
		char hello[200];
		struct stream *base = new_base(&fd);
		wait_group_init(&wg);
		client_init(&c, fd, "NORMAL", NULL);
		go(&wg, client_handshake, &c);
		for (size_t have = 0; have < n;) {
			ssize_t got = base->ops->read(base, hello + have, n - have, 0, &err);
			assert_true(got > 0);
			have += (size_t)got;
		}
		struct stream *s = stream_tls_new(base, &server, hello, n, TIMEOUT, &err);
		join(&wg);
		assert_non_null(s);
		assert_int_equal(c.result, 0);
		s->ops->free(s);
		client_free(&c);
	}
}

static void test_a_client_certificate_is_checked_as_the_policy_says(void **state)
{
	static const struct {
		enum tls_client_auth auth;
		const struct tls_test_cert *cert;
		const char *name; /* NULL: refused with */
		const char *text;
	} cases[] = {
		{TLS_NO_CLIENT_CERT, &client_cert, "", NULL},
		{TLS_REQUIRE_ANY_CLIENT_CERT, &client_cert, "a client", NULL},
		{TLS_REQUIRE_ANY_CLIENT_CERT, &stranger, "a stranger", NULL},
		{TLS_REQUIRE_ANY_CLIENT_CERT, NULL, NULL,
			"tls: client didn't provide a certificate"},
		{TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, &client_cert, "a client", NULL},
		{TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, &stranger, NULL,
			"tls: failed to verify certificate: x509: certificate signed by unknown "
			"authority"},
		{TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, &server_cert, NULL,
			"tls: failed to verify certificate: x509: certificate specifies an "
			"incompatible key usage"},
		{TLS_REQUIRE_AND_VERIFY_CLIENT_CERT, NULL, NULL,
			"tls: client didn't provide a certificate"},
	};

	for (size_t i = 0; i < COUNT(cases) * 2; i++) {
		size_t k = i / 2;
		struct pair p;
		char priority[64];
		priority_of(priority, sizeof(priority), all_versions[i % 2]);
		server.client_auth = cases[k].auth;
		connect_pair(&p, priority, cases[k].cert);
		server.client_auth = TLS_NO_CLIENT_CERT;
		assert_int_equal(p.s != NULL, cases[k].name != NULL);
		if (p.s)
			assert_string_equal(stream_tls_info(p.s)->common_name, cases[k].name);
		else
			assert_string_equal(p.err.msg, cases[k].text);
		/* In TLS 1.3 the client has done its part by then, and reads the alert later. */
		if (!p.s && !cases[k].cert && i % 2 == 1)
			assert_int_equal(
				gnutls_alert_get(p.client.session), GNUTLS_A_HANDSHAKE_FAILURE);
		free_pair(&p);
	}
}

/* --- data ------------------------------------------------------------------------------------- */

/* Patterns that both sides can compute. */
static void fill_pattern(unsigned char *data, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		data[i] = (unsigned char)(seed >> 24);
	}
}

#define TOTAL ((size_t)ROUNDS(4000000))

struct traffic {
	struct pair *p;
	unsigned char *down, *up; /* of TOTAL: what the stream sends; what the client sends */
	bool key_updates; /* the client changes its keys all the time, and asks for the same */
};

static uint32_t dice(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)*seed * n) >> 32);
}

static void stream_writer(void *arg)
{
	struct traffic *t = arg;
	struct stream *s = t->p->s;
	uint32_t seed = 3;
	struct err err;
	for (size_t done = 0; done < TOTAL;) {
		struct iovec iov[3];
		int n = 1 + (int)dice(&seed, 3);
		for (int i = 0; i < n; i++) {
			size_t len = dice(&seed, 8) ? dice(&seed, 700) : dice(&seed, 70000);
			if (len > TOTAL - done)
				len = TOTAL - done;
			iov[i] = (struct iovec){.iov_base = t->down + done, .iov_len = len};
			done += len;
		}
		assert_int_equal(s->ops->writev(s, iov, n, 0, &err), 0);
		if (dice(&seed, 2) || done == TOTAL)
			assert_int_equal(s->ops->flush(s, 0, &err), 0);
	}
}

static void client_writer(void *arg)
{
	struct traffic *t = arg;
	uint32_t seed = 4;
	for (size_t done = 0; done < TOTAL;) {
		size_t len = 1 + (dice(&seed, 8) ? dice(&seed, 700) : dice(&seed, 70000));
		if (len > TOTAL - done)
			len = TOTAL - done;
		client_send(&t->p->client, t->up + done, len);
		done += len;
	}
}

static void client_reader(void *arg)
{
	struct traffic *t = arg;
	unsigned char *got = xmalloc(TOTAL);
	client_read_exactly(&t->p->client, got, TOTAL);
	assert_memory_equal(got, t->down, TOTAL);
	free(got);
}

static bool is_again(ssize_t rc)
{
	return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

/*
 * The client that changes its keys does all in one thread: GnuTLS itself gets two threads' changes
 * mixed up, which is what the stream has to see to.
 */
static void client_with_key_updates(void *arg)
{
	struct traffic *t = arg;
	struct client *c = &t->p->client;
	unsigned char *got = xmalloc(TOTAL);
	size_t sent = 0, have = 0, updates = 0;
	bool sending = false; /* a record has gone in part */
	assert_int_equal(fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK), 0);
	while (sent < TOTAL || have < TOTAL) {
		struct pollfd fd = {.fd = c->fd, .events = POLLIN};
		ssize_t rc;
		/* Not more than GnuTLS lets a peer do within a second. */
		if (!sending && updates < 7 && sent >= (updates + 1) * (TOTAL / 8)) {
			while (is_again(rc = gnutls_session_key_update(c->session, GNUTLS_KU_PEER)))
				;
			TLS_OK((int)rc);
			updates++;
		}
		if (sent < TOTAL) {
			size_t len = TOTAL - sent < 3000 ? TOTAL - sent : 3000;
			rc = gnutls_record_send(c->session, t->up + sent, len);
			if (rc > 0)
				sent += (size_t)rc;
			else
				assert_true(is_again(rc));
			sending = rc < 0;
			if (rc < 0 || sent == TOTAL)
				fd.events |= sent < TOTAL ? POLLOUT : 0;
		}
		rc = gnutls_record_recv(c->session, got + have, TOTAL - have);
		if (rc > 0)
			have += (size_t)rc;
		else if (have < TOTAL)
			assert_true(is_again(rc));
		if (is_again(rc) && ((fd.events & POLLOUT) != 0 || sent == TOTAL) && have < TOTAL)
			assert_true(poll(&fd, 1, 20000) > 0);
	}
	assert_memory_equal(got, t->down, TOTAL);
	free(got);
}

/* Each end reads and writes at the same time. */
static void run_traffic(const char *priority, bool key_updates)
{
	struct pair p;
	struct wait_group wg;
	struct traffic t = {.p = &p, .down = xmalloc(TOTAL), .up = xmalloc(TOTAL)};
	unsigned char *got = xmalloc(TOTAL);
	fill_pattern(t.down, TOTAL, 1);
	fill_pattern(t.up, TOTAL, 2);
	connect_pair(&p, priority, NULL);
	assert_non_null(p.s);
	wait_group_init(&wg);
	go(&wg, stream_writer, &t);
	if (key_updates) {
		go(&wg, client_with_key_updates, &t);
	} else {
		go(&wg, client_writer, &t);
		go(&wg, client_reader, &t);
	}
	read_exactly(p.s, got, TOTAL);
	assert_memory_equal(got, t.up, TOTAL);
	join(&wg);
	free_pair(&p);
	free(got);
	free(t.down);
	free(t.up);
}

static void test_bytes_go_both_ways_at_once(void **state)
{
	for (size_t i = 0; i < COUNT(all_versions); i++) {
		char priority[64];
		priority_of(priority, sizeof(priority), all_versions[i]);
		run_traffic(priority, false);
	}
}

static void test_a_peer_may_change_its_keys(void **state)
{
	run_traffic("NORMAL:-VERS-ALL:+VERS-TLS1.3", true);
}

/* The peer asks us to change ours, and gets the next data under the new ones. */
static void test_a_peer_may_ask_for_new_keys_of_ours(void **state)
{
	struct pair p;
	char buf[6];
	connect_pair(&p, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL);
	assert_non_null(p.s);
	for (int i = 0; i < 3; i++) {
		TLS_OK(gnutls_session_key_update(p.client.session, GNUTLS_KU_PEER));
		client_send(&p.client, "before", 6);
		read_exactly(p.s, buf, 6);
		send_all(p.s, "after ", 6);
		client_read_exactly(&p.client, buf, 6);
		assert_memory_equal(buf, "after ", 6);
	}
	free_pair(&p);
}

/* Counts the records of what the client gets on the wire. */
static size_t records_on_the_wire(int fd, size_t *bytes)
{
	unsigned char buf[65536];
	size_t n = 0, have = 0;
	ssize_t got;
	*bytes = 0;
	while ((got = recv(fd, buf + have, sizeof(buf) - have, MSG_DONTWAIT)) > 0)
		have += (size_t)got;
	for (size_t at = 0; at + 5 <= have; n++) {
		size_t len = (size_t)buf[at + 3] << 8 | buf[at + 4];
		at += 5 + len;
		*bytes += len;
	}
	return n;
}

static void test_small_writes_share_a_record(void **state)
{
	struct pair p;
	struct err err;
	size_t bytes;
	char message[200] = {0};
	connect_pair(&p, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL);
	assert_non_null(p.s);
	for (int i = 0; i < 200; i++) {
		struct iovec iov[2] = {{message, 34}, {message, 100}};
		assert_int_equal(p.s->ops->writev(p.s, iov, 2, 0, &err), 0);
	}
	/* 26,800 bytes: one full record is on its way, the rest waits for the flush. */
	assert_int_equal(records_on_the_wire(p.client.fd, &bytes), 1);
	assert_in_range(bytes, 16384, 16384 + 256);
	assert_int_equal(p.s->ops->flush(p.s, 0, &err), 0);
	assert_int_equal(records_on_the_wire(p.client.fd, &bytes), 1);
	assert_in_range(bytes, 26800 - 16384, 26800 - 16384 + 256);
	assert_int_equal(p.s->ops->flush(p.s, 0, &err), 0);
	assert_int_equal(records_on_the_wire(p.client.fd, &bytes), 0);
	free_pair(&p);
}

static void test_many_small_records_are_one_read(void **state)
{
	struct pair p;
	struct err err;
	char buf[1000];
	connect_pair(&p, "NORMAL", NULL);
	assert_non_null(p.s);
	for (int i = 0; i < 20; i++)
		client_send(&p.client, "0123456789", 10);
	assert_int_equal(p.s->ops->read(p.s, buf, 15, 0, &err), 15);
	assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), 185);
	assert_memory_equal(buf, "567890123456789", 15);
	free_pair(&p);
}

/*
 * --- ends
 * -----------------------------------------------------------------------------------------
 */

static void expect_end(struct stream *s, const char *text)
{
	struct err err;
	char buf[100];
	for (int i = 0; i < 2; i++) {
		ssize_t got = s->ops->read(s, buf, sizeof(buf), 0, &err);
		if (*text) {
			assert_int_equal(got, -1);
			assert_string_equal(err.msg, text);
		} else {
			assert_int_equal(got, 0);
		}
	}
}

static void test_a_peer_may_leave_between_records_but_not_inside_one(void **state)
{
	struct pair p;
	char byte = 23;
	char buf[3];
	for (size_t i = 0; i < 2; i++) {
		char priority[64];
		priority_of(priority, sizeof(priority), all_versions[i]);
		connect_pair(&p, priority, NULL);
		client_send(&p.client, "bye", 3);
		TLS_OK(gnutls_bye(p.client.session, GNUTLS_SHUT_WR));
		read_exactly(p.s, buf, 3);
		expect_end(p.s, "");
		/* It still listens. */
		send_all(p.s, "bye", 3);
		client_read_exactly(&p.client, buf, 3);
		free_pair(&p);

		connect_pair(&p, priority, NULL);
		assert_int_equal(shutdown(p.client.fd, SHUT_WR), 0);
		expect_end(p.s, "");
		free_pair(&p);

		connect_pair(&p, priority, NULL);
		assert_int_equal(write(p.client.fd, &byte, 1), 1);
		assert_int_equal(shutdown(p.client.fd, SHUT_WR), 0);
		expect_end(p.s, "unexpected EOF");
		free_pair(&p);

		connect_pair(&p, priority, NULL);
		TLS_OK(gnutls_alert_send(
			p.client.session, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR));
		expect_end(p.s, "remote error: tls: Internal error");
		free_pair(&p);
	}
}

static void test_garbage_between_records_ends_the_connection(void **state)
{
	static const char bad[] = "\x17\x03\x03\x00\x14this is not encrypted";
	struct pair p;
	struct err err;
	char buf[100];
	for (size_t i = 0; i < COUNT(all_versions); i++) {
		char priority[64];
		priority_of(priority, sizeof(priority), all_versions[i]);
		connect_pair(&p, priority, NULL);
		assert_int_equal(write(p.client.fd, bad, sizeof(bad) - 1), sizeof(bad) - 1);
		assert_int_equal(p.s->ops->read(p.s, buf, sizeof(buf), 0, &err), -1);
		assert_memory_equal(err.msg, "tls: ", 5);
		free_pair(&p);
	}
}

/* What the peer is told in the end. */
static void expect_alert(struct pair *p, gnutls_alert_description_t alert)
{
	char buf[100];
	p->s->ops->close_write(p->s, 0);
	assert_int_equal(gnutls_record_recv(p->client.session, buf, sizeof(buf)),
		GNUTLS_E_FATAL_ALERT_RECEIVED);
	assert_int_equal(gnutls_alert_get(p->client.session), alert);
}

static void test_a_record_that_is_too_big_is_refused(void **state)
{
	struct pair p;
	for (size_t i = 0; i < COUNT(all_versions); i++) {
		char priority[64];
		priority_of(priority, sizeof(priority), all_versions[i]);
		connect_pair(&p, priority, NULL);
		unsigned version = stream_tls_info(p.s)->version;
		/* The limit of TLS 1.3 is lower; the header is enough. */
		unsigned max = version == 0x0304 ? 16384 + 256 : 16384 + 2048;
		unsigned char bad[] = {23, 3, version == 0x0304 ? 3 : version & 0xff,
			(max + 1) >> 8, (max + 1) & 0xff};
		char text[64];
		snprintf(text, sizeof(text), "tls: oversized record received with length %u",
			max + 1);
		assert_int_equal(write(p.client.fd, bad, sizeof(bad)), sizeof(bad));
		expect_end(p.s, text);
		expect_alert(&p, GNUTLS_A_RECORD_OVERFLOW);
		free_pair(&p);
	}
}

/* Plain text: what would be its length need not come first. What was good before it is read. */
static void test_a_header_that_is_none_is_told_at_once(void **state)
{
	struct pair p;
	struct err err;
	char buf[100];
	for (size_t i = 0; i < COUNT(all_versions); i++) {
		char priority[64], text[100];
		priority_of(priority, sizeof(priority), all_versions[i]);
		connect_pair(&p, priority, NULL);
		unsigned version = stream_tls_info(p.s)->version;
		client_send(&p.client, "NOP\n", 4);
		assert_int_equal(write(p.client.fd, "PUB t\n", 6), 6);
		assert_int_equal(p.s->ops->read(p.s, buf, 2, 0, &err), 2);
		assert_int_equal(p.s->ops->read(p.s, buf + 2, sizeof(buf) - 2, 0, &err), 2);
		assert_memory_equal(buf, "NOP\n", 4);
		snprintf(text, sizeof(text),
			"tls: received record with version 5542 when expecting version %x",
			version == 0x0304 ? 0x0303 : version);
		expect_end(p.s, text);
		expect_alert(&p, GNUTLS_A_PROTOCOL_VERSION);
		free_pair(&p);
	}
}

/* A peer may send what has no data now and then, but not for ever. */
static void test_records_without_data_are_bounded(void **state)
{
	enum { MANY = 40 };
	struct pair p;
	struct err err;
	char buf[2 * MANY];
	connect_pair(&p, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL);
	for (int i = 0; i < MANY; i++) {
		TLS_OK(gnutls_alert_send(
			p.client.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED));
		client_send(&p.client, "x", 1);
	}
	for (ssize_t got, have = 0; have < MANY; have += got) {
		got = p.s->ops->read(p.s, buf, sizeof(buf), 0, &err);
		assert_true(got > 0);
	}
	for (int i = 0; i < MANY; i++)
		TLS_OK(gnutls_alert_send(
			p.client.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED));
	expect_end(p.s, "tls: too many non-advancing records");
	expect_alert(&p, GNUTLS_A_UNEXPECTED_MESSAGE);
	free_pair(&p);
}

static void test_a_flood_of_key_updates_is_refused(void **state)
{
	enum { MANY = 40 };
	struct pair p;
	connect_pair(&p, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL);
	for (int i = 0; i < MANY; i++)
		TLS_OK(gnutls_session_key_update(p.client.session, 0));
	expect_end(p.s, "tls: too many non-advancing records");
	expect_alert(&p, GNUTLS_A_UNEXPECTED_MESSAGE);
	free_pair(&p);
}

static void test_renegotiation_is_refused(void **state)
{
	struct pair p;
	struct wait_group wg;
	connect_pair(&p, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL);
	assert_non_null(p.s);
	wait_group_init(&wg);
	go(&wg, client_handshake, &p.client);
	expect_end(p.s, "local error: tls: no renegotiation");
	p.s->ops->close_write(p.s, 0);
	join(&wg);
	assert_int_equal(p.client.result, GNUTLS_E_FATAL_ALERT_RECEIVED);
	assert_int_equal(gnutls_alert_get(p.client.session), GNUTLS_A_NO_RENEGOTIATION);
	free_pair(&p);
}

static void test_a_shutdown_ends_both_directions(void **state)
{
	struct pair p;
	struct err err;
	char byte = 0;
	struct iovec iov = {&byte, 1};
	connect_pair(&p, "NORMAL", NULL);
	p.s->ops->shutdown(p.s);
	expect_end(p.s, "");
	assert_int_equal(p.s->ops->writev(p.s, &iov, 1, 0, &err), 0); /* held back */
	assert_int_equal(p.s->ops->flush(p.s, 0, &err), -1);
	assert_string_equal(err.msg, "write: broken pipe");
	assert_int_equal(p.s->ops->flush(p.s, 0, &err), -1);
	assert_string_equal(err.msg, "write: broken pipe");
	free_pair(&p);
}

static void test_the_peer_is_told_of_the_end(void **state)
{
	struct pair p;
	struct err err;
	char buf[10];
	for (size_t i = 0; i < COUNT(all_versions); i++) {
		char priority[64];
		priority_of(priority, sizeof(priority), all_versions[i]);
		connect_pair(&p, priority, NULL);
		send_all(p.s, "last words", 10);
		client_send(&p.client, "not read", 8);
		p.s->ops->close_write(p.s, clock_mono_ns() + NSEC_PER_SEC);
		assert_int_equal(p.s->ops->flush(p.s, 0, &err), -1);
		p.s->ops->free(p.s);
		p.s = NULL;
		client_read_exactly(&p.client, buf, 10);
		assert_memory_equal(buf, "last words", 10);
		assert_int_equal(gnutls_record_recv(p.client.session, buf, 10), 0);
		free_pair(&p);
	}
}

static void test_a_peer_that_does_not_read_is_not_waited_for(void **state)
{
	struct pair p;
	struct err err;
	static char big[8 << 20];
	struct iovec iov = {big, sizeof(big)};
	connect_pair(&p, "NORMAL", NULL);
	int64_t start = clock_mono_ns();
	assert_int_equal(p.s->ops->writev(p.s, &iov, 1, start + 50 * NSEC_PER_MSEC, &err), -1);
	p.s->ops->close_write(p.s, start + 100 * NSEC_PER_MSEC);
	assert_true(clock_mono_ns() - start < PATIENCE);
	free_pair(&p);
}

/* A peer that does not read costs a writer its deadline, and a reader nothing. */
enum { MUCH = 4 << 20 };

/* It does not fit into the socket. */
static void write_much(void *arg)
{
	char *much = xcalloc(1, MUCH);
	send_all(arg, much, MUCH);
	free(much);
}

/* Until no more comes in at fd, where nothing is read: the sender is stuck. */
static void wait_until_full(int fd)
{
	int n = 0, before, same = 0;
	while (same < 10) {
		before = n;
		sleep_ns(2 * NSEC_PER_MSEC);
		assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
		same = n > 0 && n == before ? same + 1 : 0;
	}
}

/* Reads without waiting until there is something, or a reason. */
static ssize_t read_at_once(struct stream *s, char *buf, size_t n, struct err *err)
{
	int64_t begin = clock_mono_ns();
	ssize_t got;
	do
		got = s->ops->read(s, buf, n, STREAM_AT_ONCE, err);
	while (got < 0 && err->code == ETIMEDOUT && clock_mono_ns() - begin < PATIENCE);
	assert_true(clock_mono_ns() - begin < PATIENCE);
	return got;
}

/* A thread writes, and waits for the peer, which has changed its keys and asks for others. */
static void expect_no_wait_for_a_sender(const char *version, bool changes_keys)
{
	char priority[128], buf[10];
	struct wait_group wg;
	struct pair p;
	struct err err;
	priority_of(priority, sizeof(priority), version);
	connect_pair(&p, priority, NULL);
	client_send(&p.client, "one", 3);
	assert_int_equal(read_at_once(p.s, buf, sizeof(buf), &err), 3);
	wait_group_init(&wg);
	go(&wg, write_much, p.s);
	wait_until_full(p.client.fd);
	if (changes_keys)
		TLS_OK(gnutls_session_key_update(p.client.session, GNUTLS_KU_PEER));
	client_send(&p.client, "two", 3);
	if (changes_keys) {
		assert_int_equal(read_at_once(p.s, buf, sizeof(buf), &err), -1);
		assert_int_equal(err.code, EBUSY);
	} else {
		assert_int_equal(read_at_once(p.s, buf, sizeof(buf), &err), 3);
	}
	char *much = xcalloc(1, MUCH);
	client_read_exactly(&p.client, much, MUCH);
	free(much);
	join(&wg);
	/* It was not the end, and nothing is lost. */
	if (changes_keys) {
		assert_int_equal(read_at_once(p.s, buf, sizeof(buf), &err), 3);
		assert_memory_equal(buf, "two", 3);
	}
	client_send(&p.client, "three", 5);
	assert_int_equal(read_at_once(p.s, buf, sizeof(buf), &err), 5);
	send_all(p.s, "four", 4);
	client_read_exactly(&p.client, buf, 4);
	assert_memory_equal(buf, "four", 4);
	free_pair(&p);
}

static void test_a_read_at_once_does_not_wait_for_a_sender(void **state)
{
	expect_no_wait_for_a_sender("TLS1.3", true);
	expect_no_wait_for_a_sender("TLS1.2", false);
}

static void test_reads_and_writes_end_at_their_deadline(void **state)
{
	struct pair p;
	struct err err;
	char buf[3];
	static char big[8 << 20];
	struct iovec iov = {big, sizeof(big)};
	connect_pair(&p, "NORMAL", NULL);
	int64_t start = clock_mono_ns();
	assert_int_equal(p.s->ops->writev(p.s, &iov, 1, start + 50 * NSEC_PER_MSEC, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	assert_true(clock_mono_ns() - start >= 50 * NSEC_PER_MSEC);
	client_send(&p.client, "one", 3);
	read_exactly(p.s, buf, 3);
	start = clock_mono_ns();
	assert_int_equal(p.s->ops->read(p.s, buf, 3, start + 50 * NSEC_PER_MSEC, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	free_pair(&p);
}

/* --- handshakes that come to nothing ---------------------------------------------------------- */

static void fails(const void *data, size_t n, int64_t timeout, bool then_close, const char *text)
{
	int fd;
	struct err err = {0};
	struct stream *base = new_base(&fd);
	assert_int_equal(write(fd, data, n), n);
	if (then_close)
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_null(stream_tls_new(base, &server, NULL, 0, timeout, &err));
	assert_string_equal(err.msg, text);
	/* The layer below is still ours: the error can be sent. */
	send_all(base, "error", 5);
	base->ops->free(base);
	close(fd);
}

static void test_a_handshake_that_fails_says_why(void **state)
{
	static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
	fails("", 0, TIMEOUT, true, "EOF");
	fails(hello, 3, TIMEOUT, true, "unexpected EOF");
	fails(hello, sizeof(hello) - 1, TIMEOUT, true, "unexpected EOF");
	fails("GET / HTTP/1.1\r\n\r\n", 18, TIMEOUT, false,
		"tls: first record does not look like a TLS handshake");
	fails("PUB a\n\0\0\0\1x", 11, TIMEOUT, false,
		"tls: first record does not look like a TLS handshake");
	fails("", 0, 50 * NSEC_PER_MSEC, false, "i/o timeout");
	fails(hello, sizeof(hello) - 1, 50 * NSEC_PER_MSEC, false, "i/o timeout");
}

static void shut_down(void *arg)
{
	struct stream *base = arg;
	base->ops->shutdown(base);
}

static void test_a_shutdown_ends_the_handshake(void **state)
{
	struct wait_group wg;
	struct err err;
	int fd;
	struct stream *base = new_base(&fd);
	wait_group_init(&wg);
	go(&wg, shut_down, base);
	assert_null(stream_tls_new(base, &server, NULL, 0, 0, &err));
	join(&wg);
	base->ops->free(base);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_version_works),
		cmocka_unit_test(test_what_was_read_before_comes_first),
		cmocka_unit_test(test_a_client_certificate_is_checked_as_the_policy_says),
		cmocka_unit_test(test_bytes_go_both_ways_at_once),
		cmocka_unit_test(test_a_peer_may_change_its_keys),
		cmocka_unit_test(test_a_peer_may_ask_for_new_keys_of_ours),
		cmocka_unit_test(test_small_writes_share_a_record),
		cmocka_unit_test(test_many_small_records_are_one_read),
		cmocka_unit_test(test_a_peer_may_leave_between_records_but_not_inside_one),
		cmocka_unit_test(test_garbage_between_records_ends_the_connection),
		cmocka_unit_test(test_a_record_that_is_too_big_is_refused),
		cmocka_unit_test(test_a_header_that_is_none_is_told_at_once),
		cmocka_unit_test(test_records_without_data_are_bounded),
		cmocka_unit_test(test_a_flood_of_key_updates_is_refused),
		cmocka_unit_test(test_renegotiation_is_refused),
		cmocka_unit_test(test_a_shutdown_ends_both_directions),
		cmocka_unit_test(test_the_peer_is_told_of_the_end),
		cmocka_unit_test(test_a_peer_that_does_not_read_is_not_waited_for),
		cmocka_unit_test(test_a_read_at_once_does_not_wait_for_a_sender),
		cmocka_unit_test(test_reads_and_writes_end_at_their_deadline),
		cmocka_unit_test(test_a_handshake_that_fails_says_why),
		cmocka_unit_test(test_a_shutdown_ends_the_handshake),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
