/* SPDX-License-Identifier: MIT */
/*
 * TLS of the HTTPS server. Mirrors tls.Listen's part in net/http's conn.serve.
 * Threads: libmicrohttpd's own begins a handshake and frees it; the connection's
 * runs it; "handshakes" ends those that take too long.
 *
 * libmicrohttpd 0.9.75 makes a session per connection and calls gnutls_handshake.
 * It asks for client certificates without insisting on them, sends no alert and
 * keeps its reasons to itself; and its time-outs poll without sleeping for their
 * last second. So the session gets our credentials, our check of the client's
 * certificate as part of the handshake, and reads through a function of ours,
 * which sees what comes first and how it ends.
 *
 * Different from Go: a handshake has 5 s, as on the TCP side, where net/http waits
 * for ever; without session tickets.
 */
#include "nsqd/https.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/lock.h"
#include "common/xalloc.h"
#include "nsqd/http_refuse.h"

#define HANDSHAKE_TIMEOUT_NS (5 * NSEC_PER_SEC)
#define MAX_HANDSHAKE 65536 /* of one message, as with Go: what a peer may make us keep */
#define RECORD_HEADER 5
#define RECORD_ALERT 21
#define RECORD_HANDSHAKE 22
/* How much of what nobody will read is read, so that closing does not destroy what we have said. */
#define DRAIN_READS 16

struct handshakes {
	const struct tls_server *tls; /* immutable */
	const struct lg *lg;          /* immutable */
	struct chan *stop_chan;       /* immutable; closed by stop */
	struct chan *begun_chan;      /* immutable; capacity 1: there is one again */
	struct wait_group wait_group;
	_Atomic bool stopping;

	struct mutex lock;
	struct handshake *pending; /* guarded by lock; utlist, in the order of their deadlines */
};

/* Its connection's thread's, where nothing else is said. */
struct handshake {
	struct handshake *prev, *next; /* guarded by the server's lock */
	bool is_pending;               /* likewise: in the list */
	int64_t deadline_ns;           /* immutable; monotonic */
	_Atomic bool timed_out;

	struct handshakes *server; /* immutable */
	gnutls_session_t session;  /* immutable; libmicrohttpd's */
	int fd;                    /* immutable; libmicrohttpd's */
	char remote_addr[128];     /* immutable */

	unsigned char first[RECORD_HEADER]; /* the first bytes that came */
	size_t n_first;
	bool at_end;
	int read_errno;
	bool verified; /* the client's certificate is as it must be */
	bool finished; /* the client's last message has come */
	bool reported;
	bool asked;            /* a request has come, or what was none has been refused */
	bool refused;          /* the latter */
	bool said_bye;         /* our close-notify is on its way */
	struct err verify_err; /* empty: none */
};

/* The one whose connection this thread is. */
static _Thread_local struct handshake *current;

/* --- what GnuTLS asks us -------------------------------------------------------------------- */

/* tlsRecordHeaderLooksLikeHTTP */
static bool looks_like_http(const struct handshake *h)
{
	static const char *const starts[] = {"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"};
	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		if (h->n_first == RECORD_HEADER && memcmp(h->first, starts[i], RECORD_HEADER) == 0)
			return true;
	}
	return false;
}

/* As Go decides; only that is looked at which has come. */
static bool looks_like_tls(const struct handshake *h)
{
	if (h->n_first > 0 && h->first[0] != RECORD_HANDSHAKE && h->first[0] != RECORD_ALERT)
		return h->n_first < RECORD_HEADER; /* so that it may be HTTP */
	return h->n_first < 2 || h->first[1] < 0x10;
}

/* Remembers the beginning and the end. errno is GnuTLS's to see. */
static ssize_t note_read(struct handshake *h, const void *buf, ssize_t n)
{
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			h->read_errno = errno;
		return n;
	}
	h->at_end = n == 0;
	size_t take = RECORD_HEADER - h->n_first;
	take = (size_t)n < take ? (size_t)n : take;
	memcpy(h->first + h->n_first, buf, take);
	h->n_first += take;
	if (looks_like_tls(h))
		return n;
	/* GnuTLS would wait for all of what it takes for a record. */
	errno = EPROTO;
	return -1;
}

static ssize_t pull(gnutls_transport_ptr_t arg, void *buf, size_t n)
{
	struct handshake *h = arg;
	ssize_t rc = recv(h->fd, buf, n, 0);
	if (h->finished)
		return rc;
	if (!current) {
		char name[160];
		int saved = errno;
		current = h;
		snprintf(name, sizeof(name), "https:%s", h->remote_addr);
		gothread_adopt(name);
		errno = saved;
	}
	return note_read(h, buf, rc);
}

/* GnuTLS asks whether something could be read, for time-outs of its own; it has none. */
static int pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
	(void)arg;
	(void)ms;
	return 1;
}

static int verify(gnutls_session_t session)
{
	struct handshake *h = gnutls_session_get_ptr(session);
	if (tls_server_verify_client(h->server->tls, session, &h->verify_err) != 0)
		return GNUTLS_E_CERTIFICATE_ERROR;
	h->verified = true;
	return 0;
}

static void remove_pending(struct handshake *h)
{
	mutex_lock(&h->server->lock);
	if (h->is_pending)
		DL_DELETE(h->server->pending, h);
	h->is_pending = false;
	mutex_unlock(&h->server->lock);
}

/* --- those who ask for nothing that could be understood --------------------------------------- */

/* Is the client still there, or has it (or our end) closed its side? Reads what it has sent. */
static bool is_waiting(struct handshake *h)
{
	char buf[4096];
	ssize_t n = gnutls_record_recv(h->session, buf, sizeof(buf));
	return n > 0 || n == GNUTLS_E_AGAIN;
}

static void refuse(struct handshake *h, const struct http_refusal *why)
{
	h->asked = h->refused = true;
	http_refuse(h->fd, h->session, why);
	http_await_close(h->fd);
}

/*
 * An alert is due; in place of being sent. That is how we learn that libmicrohttpd
 * closes without a word, as it does when a request has no spaces in its first line.
 */
static int on_alert(gnutls_session_t session, gnutls_record_encryption_level_t encryption,
	gnutls_alert_level_t level, gnutls_alert_description_t alert)
{
	struct handshake *h = gnutls_session_get_ptr(session);
	(void)encryption;
	if (alert == GNUTLS_A_CLOSE_NOTIFY && !h->asked && is_waiting(h))
		refuse(h, &http_bad_request); /* comes back here */
	if (alert == GNUTLS_A_CLOSE_NOTIFY && h->said_bye)
		return 0;
	gnutls_alert_set_read_function(session, NULL);
	int rc = gnutls_alert_send(session, level, alert);
	gnutls_alert_set_read_function(session, on_alert);
	h->said_bye = rc == 0 && alert == GNUTLS_A_CLOSE_NOTIFY;
	return rc;
}

void handshake_asked(struct handshake *h)
{
	h->asked = true;
}

bool handshake_refuse(const struct http_refusal *why)
{
	struct handshake *h = current;
	if (!h || !h->finished || h->asked)
		return false;
	refuse(h, why);
	return true;
}

/* --- the end of a handshake ------------------------------------------------------------------- */

/*
 * The client's Finished has come: that of ours may still follow, but there is nothing to wait for.
 */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
	const gnutls_datum_t *msg)
{
	struct handshake *h = gnutls_session_get_ptr(session);
	(void)type;
	(void)when;
	(void)msg;
	if (incoming && !h->finished) {
		h->finished = true;
		gnutls_alert_set_read_function(session, on_alert);
		remove_pending(h);
	}
	return 0;
}

/* --- failures ------------------------------------------------------------------------------- */

/* In Go's words, as far as we know it. GnuTLS's own reason stays with libmicrohttpd. */
static void reason(const struct handshake *h, struct err *err)
{
	if (looks_like_http(h))
		err_set(err, 0, "client sent an HTTP request to an HTTPS server");
	else if (atomic_load(&h->timed_out))
		err_set(err, 0, "i/o timeout");
	else if (h->verify_err.msg[0])
		*err = h->verify_err;
	else if (h->read_errno)
		err_errno(err, h->read_errno, "read");
	else if (!looks_like_tls(h))
		err_set(err, 0, "tls: first record does not look like a TLS handshake");
	else if (h->at_end)
		err_set(err, 0, "EOF");
	else if (gnutls_alert_get(h->session) != 0)
		err_set(err, 0, "remote error: tls: %s",
			gnutls_alert_get_name(gnutls_alert_get(h->session)));
	else
		err_set(err, 0, "tls: handshake failure");
}

/* Who can still be told is told, but not waited for. */
static void tell_client(struct handshake *h)
{
	static const char not_https[] = "HTTP/1.0 400 Bad Request\r\n\r\n"
					"Client sent an HTTP request to an HTTPS server.\n";
	if (looks_like_http(h))
		(void)!send(h->fd, not_https, sizeof(not_https) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (h->at_end || h->read_errno || !looks_like_tls(h) || gnutls_alert_get(h->session) != 0)
		return;
	(void)gnutls_alert_send(h->session, GNUTLS_AL_FATAL,
		h->verify_err.msg[0] ? (gnutls_alert_description_t)h->verify_err.code
				     : GNUTLS_A_HANDSHAKE_FAILURE);
}

/* A socket that is closed with input unread resets the connection. */
static void drain(int fd)
{
	char buf[4096];
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < DRAIN_READS && recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0; i++)
		;
}

static void fail(struct handshake *h)
{
	struct err why;
	reason(h, &why);
	tell_client(h);
	drain(h->fd);
	if (!atomic_load(&h->server->stopping))
		lg_logf(h->server->lg, LG_WARN, "http: TLS handshake error from %s: %s",
			h->remote_addr, why.msg);
}

bool handshake_complaint(void)
{
	struct handshake *h = current;
	if (!h || h->finished)
		return h && h->refused;
	if (!h->reported)
		fail(h);
	h->reported = true;
	return true;
}

/* --- those that take too long ---------------------------------------------------------------- */

/* When the next one is to be looked at, from now; 0: there is none. */
static int64_t end_late_ones(struct handshakes *hs)
{
	int64_t now = clock_mono_ns(), left = 0;
	mutex_lock(&hs->lock);
	while (hs->pending && hs->pending->deadline_ns <= now) {
		struct handshake *h = hs->pending;
		DL_DELETE(hs->pending, h);
		h->is_pending = false;
		atomic_store(&h->timed_out, true);
		shutdown(h->fd, SHUT_RDWR); /* its thread sees the end, and closes it */
	}
	if (hs->pending)
		left = hs->pending->deadline_ns - now;
	mutex_unlock(&hs->lock);
	return left;
}

static void handshakes_loop(void *arg)
{
	struct handshakes *hs = arg;
	int chosen;
	do {
		struct ticker next = {0};
		int64_t left = end_late_ones(hs);
		if (left > 0)
			ticker_after(&next, left);
		struct chan_case cases[] = {
			chan_case_recv(hs->stop_chan, NULL),
			/* Who comes later is due later. */
			chan_case_recv(left > 0 ? NULL : hs->begun_chan, NULL),
			chan_case_tick(&next),
		};
		chosen = chan_select(cases, 3);
	} while (chosen != 0);
}

/* --- life ----------------------------------------------------------------------------------- */

struct handshakes *handshakes_new(const struct tls_server *tls, const struct lg *lg)
{
	struct handshakes *hs = xcalloc(1, sizeof(*hs));
	hs->tls = tls;
	hs->lg = lg;
	hs->stop_chan = chan_new(0, 0);
	hs->begun_chan = chan_new(0, 1);
	wait_group_init(&hs->wait_group);
	mutex_init(&hs->lock, RANK_LEAF);
	return hs;
}

int handshakes_start(struct handshakes *hs, struct err *err)
{
	return wait_group_wrap(&hs->wait_group, "handshakes", handshakes_loop, hs, err);
}

void handshakes_stop(struct handshakes *hs)
{
	if (atomic_exchange(&hs->stopping, true))
		return;
	chan_close(hs->stop_chan);
	wait_group_wait(&hs->wait_group);
}

void handshakes_free(struct handshakes *hs)
{
	if (!hs)
		return;
	CHECK(!hs->pending);
	chan_free(hs->stop_chan);
	chan_free(hs->begun_chan);
	wait_group_destroy(&hs->wait_group);
	mutex_destroy(&hs->lock);
	free(hs);
}

static void set_up_session(struct handshake *h)
{
	gnutls_session_t session = h->session;
	const struct tls_server *tls = h->server->tls;
	/*
	 * In place of libmicrohttpd's, which know neither the policy nor the CAs. No memory is all
	 * that can fail.
	 */
	CHECK(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials) == 0);
	gnutls_session_set_ptr(session, h);
	/*
	 * Without a certificate our check says no, too, and then knows why; with
	 * GNUTLS_CERT_REQUIRE it would not be called.
	 */
	if (tls->client_auth != TLS_NO_CLIENT_CERT) {
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
		gnutls_session_set_verify_function(session, verify);
	}
	gnutls_handshake_set_max_packet_length(session, MAX_HANDSHAKE);
	gnutls_handshake_set_hook_function(
		session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, on_finished);
	gnutls_transport_set_ptr2(session, h, (gnutls_transport_ptr_t)(intptr_t)h->fd);
	gnutls_transport_set_pull_function(session, pull);
	gnutls_transport_set_pull_timeout_function(session, pull_timeout);
}

struct handshake *handshake_new(
	struct handshakes *hs, gnutls_session_t session, int fd, const char *remote_addr)
{
	struct handshake *h = xcalloc(1, sizeof(*h));
	h->server = hs;
	h->session = session;
	h->fd = fd;
	h->deadline_ns = clock_mono_ns() + HANDSHAKE_TIMEOUT_NS;
	h->is_pending = true;
	snprintf(h->remote_addr, sizeof(h->remote_addr), "%s", remote_addr);
	set_up_session(h);
	mutex_lock(&hs->lock);
	bool first = hs->pending == NULL;
	DL_APPEND(hs->pending, h);
	mutex_unlock(&hs->lock);
	if (first)
		chan_try_send_n(hs->begun_chan, "", 1);
	return h;
}

void handshake_free(struct handshake *h)
{
	if (!h)
		return;
	remove_pending(h);
	free(h);
}

bool handshake_succeeded(const struct handshake *h)
{
	return h->finished && (h->verified || h->server->tls->client_auth == TLS_NO_CLIENT_CERT);
}
