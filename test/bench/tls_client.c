/* SPDX-License-Identifier: MIT */
/*
 * The client's half of TLS, with as few system calls as can be: what arrives is received 64 KB at a
 * time, and all records of one send go out in one. It prefers what clients in Go prefer: the first
 * key share is of X25519, and there is no other. It looks at no certificate. A connection has no
 * tickets, so each handshake is a full one.
 */
#include "test/bench/bench.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_SIZE = 64 * 1024, RECORD_HEAD = 5 };

static const char priority[] =
	"NORMAL:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519"
	":+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1";

/* Of all connections, made with the first one. */
static gnutls_priority_t priorities;
static gnutls_certificate_credentials_t credentials;
static pthread_once_t shared_once = PTHREAD_ONCE_INIT;

struct tls_client {
	struct stream stream; /* first: the layers above get a pointer to it */
	struct stream *below;
	gnutls_session_t session;
	/* reader only */
	size_t r, w;
	int64_t read_deadline;
	/* writer only */
	size_t pending;
	int64_t write_deadline;
	/* last: not zeroed, a connection with little to say does not touch them */
	char in[BUF_SIZE]; /* in[r..w) is not yet decrypted */
	char out[BUF_SIZE];
};

static ssize_t pull(gnutls_transport_ptr_t arg, void *buf, size_t n)
{
	struct tls_client *t = arg;
	struct err err = {0};

	if (t->r == t->w) {
		ssize_t got =
			t->below->ops->read(t->below, t->in, sizeof(t->in), t->read_deadline, &err);
		if (got < 0)
			die("recv: %s", err.msg);
		t->r = 0;
		t->w = (size_t)got;
	}
	if (n > t->w - t->r)
		n = t->w - t->r;
	memcpy(buf, t->in + t->r, n);
	t->r += n;
	return (ssize_t)n;
}

static void send_pending(struct tls_client *t)
{
	struct iovec iov = {.iov_base = t->out, .iov_len = t->pending};
	struct err err = {0};

	if (t->pending > 0 &&
		t->below->ops->writev(t->below, &iov, 1, t->write_deadline, &err) != 0)
		die("send: %s", err.msg);
	t->pending = 0;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *data, size_t n)
{
	struct tls_client *t = arg;

	if (n > sizeof(t->out) - t->pending)
		send_pending(t);
	if (n > sizeof(t->out))
		n = sizeof(t->out);
	memcpy(t->out + t->pending, data, n);
	t->pending += n;
	return (ssize_t)n;
}

/* Whether a whole record is there already, so that reading it does not block. */
static bool record_there(const struct tls_client *t)
{
	const unsigned char *p = (const unsigned char *)t->in + t->r;
	size_t have = t->w - t->r;

	return have >= RECORD_HEAD && have - RECORD_HEAD >= (size_t)(p[3] << 8 | p[4]);
}

static ssize_t tls_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct tls_client *t = (struct tls_client *)stream;
	size_t have = 0;

	t->read_deadline = deadline_ns;
	do {
		ssize_t got = gnutls_record_recv(t->session, (char *)buf + have, n - have);
		if (got == GNUTLS_E_PREMATURE_TERMINATION || got == 0)
			break;
		if (got == GNUTLS_E_INTERRUPTED || got == GNUTLS_E_AGAIN)
			continue;
		if (got < 0)
			return err_set(err, 0, "tls: %s", gnutls_strerror((int)got));
		have += (size_t)got;
	} while (have == 0 || (have < n && record_there(t)));
	return (ssize_t)have;
}

static int tls_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct tls_client *t = (struct tls_client *)stream;

	t->write_deadline = deadline_ns;
	for (; n > 0; iov++, n--) {
		const char *p = iov->iov_base;
		for (size_t left = iov->iov_len; left > 0;) {
			ssize_t sent = gnutls_record_send(t->session, p, left);
			if (sent < 0)
				return err_set(err, 0, "tls: %s", gnutls_strerror((int)sent));
			p += sent;
			left -= (size_t)sent;
		}
	}
	send_pending(t);
	return 0;
}

static int tls_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct tls_client *t = (struct tls_client *)stream;

	return t->below->ops->flush(t->below, deadline_ns, err);
}

static void tls_shutdown(struct stream *stream)
{
	struct tls_client *t = (struct tls_client *)stream;

	t->below->ops->shutdown(t->below);
}

static void tls_free(struct stream *stream)
{
	struct tls_client *t = (struct tls_client *)stream;

	gnutls_deinit(t->session);
	t->below->ops->free(t->below);
	free(t);
}

static const struct stream_ops tls_ops = {
	.read = tls_read,
	.writev = tls_writev,
	.flush = tls_flush,
	.shutdown = tls_shutdown,
	.free = tls_free,
};

static void must(int rc, const char *what)
{
	if (rc < 0)
		die("%s: %s", what, gnutls_strerror(rc));
}

/* Each flight of the handshake goes out before the next is waited for. */
static ssize_t pull_handshake(gnutls_transport_ptr_t arg, void *buf, size_t n)
{
	send_pending(arg);
	return pull(arg, buf, n);
}

static void make_shared(void)
{
	must(gnutls_priority_init(&priorities, priority, NULL), "TLS priorities");
	must(gnutls_certificate_allocate_credentials(&credentials), "TLS credentials");
}

struct stream *tls_client_new(struct stream *below)
{
	struct tls_client *t = malloc(sizeof(*t));
	int rc;

	if (!t)
		die("out of memory");
	memset(t, 0, offsetof(struct tls_client, in));
	t->stream.ops = &tls_ops;
	t->below = below;
	pthread_once(&shared_once, make_shared);
	must(gnutls_init(&t->session, GNUTLS_CLIENT | GNUTLS_NO_TICKETS | GNUTLS_KEY_SHARE_TOP),
		"gnutls_init");
	must(gnutls_priority_set(t->session, priorities), "TLS priorities");
	must(gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, credentials),
		"TLS credentials");
	gnutls_transport_set_ptr(t->session, t);
	gnutls_transport_set_push_function(t->session, push);
	gnutls_transport_set_pull_function(t->session, pull_handshake);
	gnutls_handshake_set_timeout(t->session, GNUTLS_INDEFINITE_TIMEOUT);
	do
		rc = gnutls_handshake(t->session);
	while (rc < 0 && !gnutls_error_is_fatal(rc));
	must(rc, "TLS handshake");
	send_pending(t);
	gnutls_transport_set_pull_function(t->session, pull);
	return &t->stream;
}
