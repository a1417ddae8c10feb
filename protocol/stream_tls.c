/* SPDX-License-Identifier: MIT */
/*
 * The TLS layer. Mirrors crypto/tls as clientV2 uses it, on GnuTLS. Threads: the client's io_loop
 * makes it and reads. io_loop, the client's pump and threads that take the pump's steps write, one
 * at a time under the client's write lock. The thread that runs a connection of HTTPS does all of it.
 *
 * GnuTLS lets one thread send while another receives, with one exception that it does not guard. In
 * TLS 1.3 a peer may change its keys at any time, and may ask us to change ours. Both copy the
 * state of both directions. So each direction has a lock, held while GnuTLS works on it, and a
 * thread that changes keys holds both (on_key_update, send_record). The reader never blocks while
 * it holds its lock, because it gives GnuTLS whole records only. The sender may block under its
 * lock, up to its deadline. The reader waits for that only when the peer changes keys. Like Go,
 * this layer changes its keys only when asked.
 *
 * Reader and sender tell GnuTLS of failures by errno, of which each thread has its own. The error
 * of the layer below is kept apart, and the caller gets that.
 */
#include "protocol/stream_tls.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/lock.h"
#include "common/xalloc.h"

#define RECORD_HEADER 5
#define RECORD_MAX ((size_t)16384) /* of plain text */
/* The largest record of any version. */
#define IN_MAX (RECORD_HEADER + RECORD_MAX + 2048)
#define RECORD_MAX_13 (RECORD_MAX + 256)
/* The version in the header of records of TLS 1.3. */
#define TLS13_VERSION 0x0304
#define TLS13_RECORDS 0x0303
/* The input buffer at first, until a record is larger: most clients send little. */
#define IN_SIZE ((size_t)4096)
#define HANDSHAKE_RECORD 22
#define ALERT_RECORD 21
/* How many records without data a peer may send in a row (Go's maxUselessRecords). */
#define MAX_USELESS 16
/* How long the alert that says why a handshake has failed may take. */
#define ALERT_TIMEOUT NSEC_PER_SEC

struct stream_tls {
	struct stream stream;
	struct stream *below;            /* immutable; owned, once the handshake is done */
	gnutls_session_t session;        /* used by one reader and one sender; see above */
	const struct tls_server *server; /* immutable; borrowed */
	struct stream_tls_info info;     /* immutable after the handshake */
	struct err verify_err;           /* the handshake's thread only */
	bool verified;                   /* the same; the client's certificate is good */

	/* --- reader only --- */
	struct mutex read_lock; /* held while GnuTLS works on a record that came in */
	char *in;               /* owned; in[in_r..in_w) has been read from below */
	size_t in_cap, in_r, in_w;
	unsigned char header[RECORD_HEADER]; /* of the record that GnuTLS is reading */
	size_t header_len;                   /* 0: between two records */
	size_t record_left;
	int first_record;         /* its type, -1: none yet */
	int64_t read_deadline_ns; /* of the handshake */
	int64_t extension_ns;     /* of the handshake, once; see fill_in_handshake */
	bool in_handshake;        /* pull may block */
	bool at_end;              /* the layer below is at its end */
	bool below_failed;
	bool may_change_keys; /* guarded by read_lock; the reader holds write_lock, too */
	bool ended;           /* every read returns read_err, or the end if it is empty */
	struct err read_err;
	int alert; /* to be sent instead of close-notify; -1: none */

	/* --- sender only; the handshake's thread before that --- */
	struct mutex write_lock; /* held while GnuTLS makes and sends a record */
	bool must_change_keys;   /* guarded by write_lock; with the next record */
	char *out;               /* owned; of RECORD_MAX, NULL until something is held back */
	size_t out_len;
	int64_t write_deadline_ns;
	bool write_failed; /* every write fails with write_err */
	struct err write_err;
};

/* --- what GnuTLS reads and writes ------------------------------------------------------------- */

/* Follows the headers of the records in the bytes that GnuTLS takes, perhaps in pieces. */
static void follow_records(struct stream_tls *s, const unsigned char *p, size_t n)
{
	while (n > 0) {
		size_t take;
		if (s->header_len < RECORD_HEADER) {
			take = RECORD_HEADER - s->header_len;
			take = n < take ? n : take;
			memcpy(s->header + s->header_len, p, take);
			s->header_len += take;
			s->record_left = (size_t)s->header[3] << 8 | s->header[4];
			if (s->first_record < 0)
				s->first_record = s->header[0];
		} else {
			take = n < s->record_left ? n : s->record_left;
			s->record_left -= take;
		}
		if (s->header_len == RECORD_HEADER && s->record_left == 0)
			s->header_len = 0;
		p += take;
		n -= take;
	}
}

/* The length of the record at the front of `in`, with its header, which must be there. */
static size_t record_size(const struct stream_tls *s)
{
	const unsigned char *p = (const unsigned char *)s->in + s->in_r;
	return RECORD_HEADER + ((size_t)p[3] << 8 | p[4]);
}

static bool has_header(const struct stream_tls *s)
{
	return s->in_w - s->in_r >= RECORD_HEADER;
}

/* Is there a whole record in `in`? */
static bool has_record(const struct stream_tls *s)
{
	return has_header(s) && s->in_w - s->in_r >= record_size(s);
}

/* Makes room behind the unread input, for a whole record. */
static void make_room(struct stream_tls *s)
{
	size_t want = has_header(s) ? record_size(s) : RECORD_HEADER;
	memmove(s->in, s->in + s->in_r, s->in_w - s->in_r);
	s->in_w -= s->in_r;
	s->in_r = 0;
	if (want > s->in_cap) {
		s->in_cap = IN_MAX;
		s->in = xrealloc(s->in, s->in_cap);
	}
}

/* Reads the layer below once, behind the unread input. False: an error, or the end. */
static bool fill(struct stream_tls *s, int64_t deadline_ns)
{
	make_room(s);
	ssize_t got = s->below->ops->read(
		s->below, s->in + s->in_w, s->in_cap - s->in_w, deadline_ns, &s->read_err);
	s->at_end = got == 0;
	s->below_failed = got < 0;
	if (got > 0)
		s->in_w += (size_t)got;
	return got > 0;
}

/*
 * Reads some of the handshake. Input after the deadline shows that the process has stood still: the
 * rest of the handshake gets its time anew, once.
 */
static bool fill_in_handshake(struct stream_tls *s)
{
	if (!fill(s, s->read_deadline_ns))
		return false;
	int64_t now = clock_mono_ns();
	if (s->extension_ns > 0 && now >= s->read_deadline_ns) {
		s->read_deadline_ns = s->write_deadline_ns = now + s->extension_ns;
		s->extension_ns = 0;
	}
	return true;
}

/* After the handshake GnuTLS gets whole records only, so that it never stops in the middle. */
static ssize_t pull(gnutls_transport_ptr_t arg, void *buf, size_t n)
{
	struct stream_tls *s = arg;
	if (s->in_handshake) {
		if (s->in_r == s->in_w && !fill_in_handshake(s)) {
			errno = EIO;
			return s->at_end ? 0 : -1;
		}
	} else if (s->header_len == 0 && !has_record(s)) {
		errno = EAGAIN;
		return -1;
	}
	size_t have = s->in_w - s->in_r;
	n = n < have ? n : have;
	memcpy(buf, s->in + s->in_r, n);
	follow_records(s, (const unsigned char *)buf, n);
	s->in_r += n;
	return (ssize_t)n;
}

static ssize_t push(gnutls_transport_ptr_t arg, const giovec_t *parts, int n)
{
	enum { MAX_PARTS = 16 };
	struct stream_tls *s = arg;
	struct iovec iov[MAX_PARTS] UNINITIALIZED;
	size_t total = 0;
	if (n > MAX_PARTS)
		n = MAX_PARTS; /* the rest comes again */
	for (int i = 0; i < n; i++) {
		iov[i] = parts[i];
		total += parts[i].iov_len;
	}
	if (s->below->ops->writev(s->below, iov, n, s->write_deadline_ns, &s->write_err) == 0)
		return (ssize_t)total;
	s->write_failed = true;
	errno = EIO;
	return -1;
}

/* GnuTLS asks for input with a time-out of its own; this layer sets none. */
static int pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
	(void)arg;
	(void)ms;
	return 1;
}

/* Called before GnuTLS handles a KeyUpdate that has come in, or sends one. */
static int on_key_update(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
	const gnutls_datum_t *msg)
{
	struct stream_tls *s = gnutls_session_get_ptr(session);
	(void)type;
	(void)when;
	(void)msg;
	if (!incoming)
		return 0;
	mutex_assert_held(&s->read_lock);
	if (!s->may_change_keys)
		mutex_lock(&s->write_lock);
	s->may_change_keys = true;
	s->must_change_keys = true;
	return 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* A record that is neither data nor an end: a change of keys, a warning. */
static bool is_useless(int rc)
{
	return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED ||
	       rc == GNUTLS_E_WARNING_ALERT_RECEIVED;
}

/*
 * The stream has ended with GnuTLS's result rc: sets s->read_err, which is empty if the end is no
 * error.
 */
static void set_read_err(struct stream_tls *s, ssize_t rc)
{
	s->ended = true;
	if (s->below_failed)
		return;
	s->read_err.code = 0;
	s->read_err.msg[0] = '\0';
	if (s->at_end && s->in_w > s->in_r)
		err_set(&s->read_err, 0, "unexpected EOF");
	else if (s->at_end || rc == 0)
		return;
	else if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
		err_set(&s->read_err, 0, "remote error: tls: %s",
			gnutls_alert_get_name(gnutls_alert_get(s->session)));
	else if (is_useless((int)rc) || rc == GNUTLS_E_TOO_MANY_HANDSHAKE_PACKETS ||
		 rc == GNUTLS_E_TOO_MANY_EMPTY_PACKETS) {
		s->alert = GNUTLS_A_UNEXPECTED_MESSAGE;
		err_set(&s->read_err, 0, "tls: too many non-advancing records");
	} else if (rc == GNUTLS_E_REHANDSHAKE) {
		s->alert = GNUTLS_A_NO_RENEGOTIATION;
		err_set(&s->read_err, 0, "local error: tls: no renegotiation");
	} else {
		s->alert = gnutls_error_to_alert((int)rc, NULL);
		err_set(&s->read_err, 0, "tls: %s", gnutls_strerror((int)rc));
	}
}

static ssize_t read_result(const struct stream_tls *s, struct err *err)
{
	if (!s->read_err.msg[0])
		return 0;
	*err = s->read_err;
	return -1;
}

/*
 * Checks the header of the next record, if it is there. It does not wait for the record: a peer
 * that does not speak TLS may never send it. False: the stream has ended.
 */
static bool header_is_good(struct stream_tls *s)
{
	if (!has_header(s))
		return true;
	const unsigned char *p = (const unsigned char *)s->in + s->in_r;
	unsigned version = (unsigned)p[1] << 8 | p[2];
	bool tls13 = s->info.version == TLS13_VERSION;
	unsigned expected = tls13 ? TLS13_RECORDS : s->info.version;
	size_t size = record_size(s) - RECORD_HEADER;
	if (version != expected) {
		s->alert = GNUTLS_A_PROTOCOL_VERSION;
		err_set(&s->read_err, 0,
			"tls: received record with version %x when expecting version %x", version,
			expected);
	} else if (size > (tls13 ? RECORD_MAX_13 : IN_MAX - RECORD_HEADER)) {
		s->alert = GNUTLS_A_RECORD_OVERFLOW;
		err_set(&s->read_err, 0, "tls: oversized record received with length %zu", size);
	} else {
		return true;
	}
	s->ended = true;
	return false;
}

/* Reads the layer below until there is a record for GnuTLS. False: the stream has ended. */
static bool await_record(struct stream_tls *s, int64_t deadline_ns)
{
	while (header_is_good(s)) {
		if (has_record(s))
			return true;
		if (!fill(s, deadline_ns)) {
			/* Silence is no end: the part of the record that is here stays. */
			if (!s->below_failed || s->read_err.code != ETIMEDOUT)
				set_read_err(s, 0);
			return false;
		}
	}
	return false;
}

/*
 * Takes read_lock. A read that must not wait takes write_lock as well, since the record may change
 * the keys. False: a sender has one of them, and may be waiting for the peer.
 */
static bool begin_receive(struct stream_tls *s, bool at_once)
{
	if (!at_once) {
		mutex_lock(&s->read_lock);
		return true;
	}
	if (!mutex_trylock(&s->read_lock))
		return false;
	/* Older versions have no such records. */
	if (s->info.version != TLS13_VERSION)
		return true;
	s->may_change_keys = mutex_trylock(&s->write_lock);
	if (!s->may_change_keys)
		mutex_unlock(&s->read_lock);
	return s->may_change_keys;
}

/* Never blocks to wait for data; but see on_key_update. */
static ssize_t receive(struct stream_tls *s, void *buf, size_t n)
{
	mutex_assert_held(&s->read_lock);
	ssize_t rc = gnutls_record_recv(s->session, buf, n);
	if (s->may_change_keys)
		mutex_unlock(&s->write_lock);
	s->may_change_keys = false;
	mutex_unlock(&s->read_lock);
	return rc;
}

/*
 * Reads all records that have come in already, or else waits for the next. Otherwise io_loop would
 * answer the many small records of a peer one by one.
 */
static ssize_t tls_read(
	struct stream *stream, void *buf, size_t n, int64_t deadline_ns, struct err *err)
{
	struct stream_tls *s = (struct stream_tls *)stream;
	bool at_once = deadline_ns == STREAM_AT_ONCE;
	size_t got = 0;
	int useless = 0;
	while (!s->ended && got < n) {
		if (gnutls_record_check_pending(s->session) == 0) {
			if (got > 0 && !has_record(s))
				break;
			if (!await_record(s, deadline_ns))
				break;
		}
		if (!begin_receive(s, at_once))
			return got > 0 ? (ssize_t)got
				       : err_set(err, EBUSY, "another thread writes");
		ssize_t rc = receive(s, (char *)buf + got, n - got);
		if (rc > 0) {
			got += (size_t)rc;
			useless = 0;
		} else if (rc == 0 || !is_useless((int)rc) || ++useless > MAX_USELESS) {
			set_read_err(s, rc);
		}
	}
	return got > 0 ? (ssize_t)got : read_result(s, err);
}

/* --- writing ---------------------------------------------------------------------------------- */

static int fail_write(struct stream_tls *s, ssize_t rc, struct err *err)
{
	if (!s->write_failed)
		err_set(&s->write_err, 0, "tls: %s", gnutls_strerror((int)rc));
	s->write_failed = true;
	*err = s->write_err;
	return -1;
}

/* Sends one record, or less if the peer wants smaller ones. The bytes sent, or GnuTLS's error. */
static ssize_t send_record(struct stream_tls *s, const char *p, size_t n)
{
	mutex_lock(&s->write_lock);
	bool change = s->must_change_keys;
	if (change) {
		/* In the order in which the reader takes the locks. */
		mutex_unlock(&s->write_lock);
		mutex_lock(&s->read_lock);
		mutex_lock(&s->write_lock);
		s->must_change_keys = false;
	}
	ssize_t rc = gnutls_record_send(s->session, p, n);
	mutex_unlock(&s->write_lock);
	if (change)
		mutex_unlock(&s->read_lock);
	return rc;
}

static int send_records(struct stream_tls *s, const char *p, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t rc = send_record(s, p, n);
		if (rc > 0) {
			p += rc;
			n -= (size_t)rc;
		} else if (rc != GNUTLS_E_AGAIN && rc != GNUTLS_E_INTERRUPTED) {
			return fail_write(s, rc, err);
		}
	}
	return 0;
}

static int send_held_back(struct stream_tls *s, struct err *err)
{
	size_t n = s->out_len;
	s->out_len = 0;
	return send_records(s, s->out, n, err);
}

/* Copies into the held-back record. If there is none, whole records go out without a copy. */
static int write_part(struct stream_tls *s, const char *p, size_t n, struct err *err)
{
	while (n > 0) {
		size_t take = RECORD_MAX - s->out_len;
		take = n < take ? n : take;
		if (take == RECORD_MAX) {
			if (send_records(s, p, take, err) != 0)
				return -1;
		} else {
			if (!s->out)
				s->out = xmalloc(RECORD_MAX);
			memcpy(s->out + s->out_len, p, take);
			s->out_len += take;
			if (s->out_len == RECORD_MAX && send_held_back(s, err) != 0)
				return -1;
		}
		p += take;
		n -= take;
	}
	return 0;
}

static int tls_writev(
	struct stream *stream, struct iovec *iov, int n, int64_t deadline_ns, struct err *err)
{
	struct stream_tls *s = (struct stream_tls *)stream;
	if (s->write_failed)
		return fail_write(s, 0, err);
	s->write_deadline_ns = deadline_ns;
	for (int i = 0; i < n; i++) {
		if (write_part(s, iov[i].iov_base, iov[i].iov_len, err) != 0)
			return -1;
	}
	return 0;
}

static int tls_flush(struct stream *stream, int64_t deadline_ns, struct err *err)
{
	struct stream_tls *s = (struct stream_tls *)stream;
	if (s->write_failed)
		return fail_write(s, 0, err);
	s->write_deadline_ns = deadline_ns;
	if (send_held_back(s, err) != 0)
		return -1;
	return s->below->ops->flush(s->below, deadline_ns, err);
}

/* --- the client's certificate ----------------------------------------------------------------- */

/* The first certificate of the peer; the caller frees it. NULL: none, or an unreadable one. */
static gnutls_x509_crt_t peer_certificate(gnutls_session_t session)
{
	unsigned n = 0;
	gnutls_x509_crt_t crt;
	const gnutls_datum_t *der = gnutls_certificate_get_peers(session, &n);
	if (!der || n == 0 || gnutls_x509_crt_init(&crt) != 0)
		return NULL;
	if (gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER) == 0)
		return crt;
	gnutls_x509_crt_deinit(crt);
	return NULL;
}

/*
 * Subject.CommonName: the last one if there are several; "" if it cannot be read (a zero byte in
 * it, too long). The caller frees it.
 */
static char *common_name(gnutls_session_t session)
{
	char name[1024];
	char *found = xstrdup("");
	gnutls_x509_crt_t crt = peer_certificate(session);
	if (!crt)
		return found;
	for (unsigned i = 0;; i++) {
		size_t size = sizeof(name);
		int rc = gnutls_x509_crt_get_dn_by_oid(
			crt, GNUTLS_OID_X520_COMMON_NAME, i, 0, name, &size);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		free(found);
		found = rc == 0 ? xstrndup(name, size) : xstrdup("");
		if (rc != 0)
			break;
	}
	gnutls_x509_crt_deinit(crt);
	return found;
}

/* Sets Go's text and alert for a chain that is not trusted. -1. */
static int not_trusted(unsigned status, struct err *err)
{
	static const char text[] = "tls: failed to verify certificate: x509: ";
	if (status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED))
		return err_set(err, GNUTLS_A_CERTIFICATE_EXPIRED,
			"%scertificate has expired or is not yet valid", text);
	if (status & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA))
		return err_set(err, GNUTLS_A_UNKNOWN_CA,
			"%scertificate signed by unknown authority", text);
	if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
		return err_set(err, GNUTLS_A_BAD_CERTIFICATE,
			"%scertificate specifies an incompatible key usage", text);
	return err_set(err, GNUTLS_A_BAD_CERTIFICATE, "%scertificate is not valid", text);
}

/* Verifies a chain, within Go's limits for chains. */
static int verify_chain(
	const struct tls_server *s, const gnutls_datum_t *der, unsigned n, struct err *err)
{
	enum { MAX_CHAIN = 16 };
	gnutls_x509_crt_t chain[MAX_CHAIN];
	gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
	unsigned status = 0, have = 0;
	int rc = 0;
	if (n > MAX_CHAIN)
		return err_set(err, GNUTLS_A_BAD_CERTIFICATE,
			"tls: client sent a chain of %u certificates", n);
	while (rc == 0 && have < n) {
		rc = gnutls_x509_crt_init(&chain[have]);
		if (rc != 0)
			break;
		rc = gnutls_x509_crt_import(chain[have], &der[have], GNUTLS_X509_FMT_DER);
		have++;
	}
	if (rc == 0)
		rc = gnutls_x509_trust_list_verify_crt2(
			s->roots, chain, n, &purpose, 1, 0, &status, NULL);
	for (unsigned i = 0; i < have; i++)
		gnutls_x509_crt_deinit(chain[i]);
	if (rc < 0)
		return err_set(err, GNUTLS_A_BAD_CERTIFICATE,
			"tls: failed to parse client certificate: %s", gnutls_strerror(rc));
	return status == 0 ? 0 : not_trusted(status, err);
}

/* big.Int.BitLen of a number with its most significant byte first. */
static unsigned bit_length(const gnutls_datum_t *n)
{
	unsigned i = 0;
	while (i < n->size && n->data[i] == 0)
		i++;
	return i == n->size ? 0 : 8 * (n->size - i) - ((unsigned)__builtin_clz(n->data[i]) - 24);
}

/*
 * checkKeySize, and checkPub of crypto/rsa. It comes before anything is verified with the key: the
 * work, and the stack that GMP needs for it, grow with both numbers.
 */
static int check_key_size(gnutls_x509_crt_t crt, struct err *err)
{
	enum { MAX_BITS = 8192, MAX_EXPONENT_BITS = 31 };
	gnutls_datum_t m = {0}, e = {0};
	if (gnutls_x509_crt_get_pk_algorithm(crt, NULL) != GNUTLS_PK_RSA)
		return 0;
	if (gnutls_x509_crt_get_pk_rsa_raw(crt, &m, &e) != 0)
		return err_set(
			err, GNUTLS_A_BAD_CERTIFICATE, "tls: failed to parse client certificate");
	unsigned bits = bit_length(&m), exponent_bits = bit_length(&e);
	gnutls_free(m.data);
	gnutls_free(e.data);
	if (bits > MAX_BITS)
		return err_set(err, GNUTLS_A_BAD_CERTIFICATE,
			"tls: client sent certificate containing RSA key larger than %d bits",
			MAX_BITS);
	if (exponent_bits > MAX_EXPONENT_BITS)
		return err_set(err, GNUTLS_A_BAD_CERTIFICATE,
			"tls: failed to parse client certificate: public exponent too large");
	return 0;
}

static int check_key_sizes(const gnutls_datum_t *der, unsigned n, struct err *err)
{
	for (unsigned i = 0; i < n; i++) {
		gnutls_x509_crt_t crt;
		int rc = gnutls_x509_crt_init(&crt);
		if (rc == 0) {
			rc = gnutls_x509_crt_import(crt, &der[i], GNUTLS_X509_FMT_DER);
			if (rc == 0 && check_key_size(crt, err) != 0)
				rc = 1;
			gnutls_x509_crt_deinit(crt);
		}
		if (rc < 0)
			err_set(err, GNUTLS_A_BAD_CERTIFICATE,
				"tls: failed to parse client certificate: %s", gnutls_strerror(rc));
		if (rc != 0)
			return -1;
	}
	return 0;
}

int tls_server_verify_client(const struct tls_server *s, gnutls_session_t session, struct err *err)
{
	unsigned n = 0;
	if (s->client_auth == TLS_NO_CLIENT_CERT)
		return 0;
	const gnutls_datum_t *der = gnutls_certificate_get_peers(session, &n);
	if (!der || n == 0)
		return err_set(err,
			gnutls_protocol_get_version(session) == GNUTLS_TLS1_3
				? GNUTLS_A_CERTIFICATE_REQUIRED
				: GNUTLS_A_HANDSHAKE_FAILURE,
			"tls: client didn't provide a certificate");
	if (check_key_sizes(der, n, err) != 0)
		return -1;
	return s->client_auth == TLS_REQUIRE_AND_VERIFY_CLIENT_CERT ? verify_chain(s, der, n, err)
								    : 0;
}

static int verify(gnutls_session_t session)
{
	struct stream_tls *s = gnutls_session_get_ptr(session);
	if (tls_server_verify_client(s->server, session, &s->verify_err) != 0)
		return GNUTLS_E_CERTIFICATE_ERROR;
	s->verified = true;
	return 0;
}

/* --- the handshake ---------------------------------------------------------------------------- */

static uint16_t version_number(gnutls_protocol_t version)
{
	switch (version) {
	case GNUTLS_TLS1_0:
		return 0x0301;
	case GNUTLS_TLS1_1:
		return 0x0302;
	case GNUTLS_TLS1_2:
		return 0x0303;
	case GNUTLS_TLS1_3:
		return TLS13_VERSION;
	default:
		return 0;
	}
}

/* IANA's number of the suite. GnuTLS gives it only by key exchange, cipher and MAC. */
static uint16_t cipher_suite_number(gnutls_session_t session)
{
	gnutls_cipher_algorithm_t cipher = gnutls_cipher_get(session), c;
	gnutls_mac_algorithm_t mac = gnutls_mac_get(session), m;
	gnutls_kx_algorithm_t kx = gnutls_kx_get(session), k;
	gnutls_protocol_t min;
	bool tls13 = gnutls_protocol_get_version(session) == GNUTLS_TLS1_3;
	unsigned char id[2];
	for (size_t i = 0; gnutls_cipher_suite_info(i, id, &k, &c, &m, &min); i++) {
		if (c != cipher || m != mac || (min == GNUTLS_TLS1_3) != tls13)
			continue;
		if (tls13 || k == kx)
			return (uint16_t)(id[0] << 8 | id[1]);
	}
	return 0;
}

/* Is the peer's first record one of TLS, or not there yet? */
static bool is_tls(const struct stream_tls *s)
{
	return s->first_record < 0 || s->first_record == HANDSHAKE_RECORD ||
	       s->first_record == ALERT_RECORD;
}

/* Go's text for a handshake that ended with rc. */
static void handshake_err(struct stream_tls *s, int rc, struct err *err)
{
	if (s->below_failed)
		*err = s->read_err;
	else if (s->write_failed)
		*err = s->write_err;
	else if (s->verify_err.msg[0])
		err_set(err, 0, "%s", s->verify_err.msg);
	else if (!is_tls(s))
		err_set(err, 0, "tls: first record does not look like a TLS handshake");
	else if (s->at_end)
		err_set(err, 0, s->header_len == 0 ? "EOF" : "unexpected EOF");
	else if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
		err_set(err, 0, "remote error: tls: %s",
			gnutls_alert_get_name(gnutls_alert_get(s->session)));
	else if (rc == GNUTLS_E_UNSUPPORTED_VERSION_PACKET)
		err_set(err, 0, "tls: client offered only unsupported versions");
	else if (rc == GNUTLS_E_NO_CIPHER_SUITES || rc == GNUTLS_E_NO_COMMON_KEY_SHARE)
		err_set(err, 0, "tls: no cipher suite supported by both client and server");
	else
		err_set(err, 0, "tls: %s", gnutls_strerror(rc));
}

/* Tells the peer why, if that is possible, and does not wait for long. */
static void send_alert(struct stream_tls *s, int rc)
{
	if (s->below_failed || s->write_failed || s->at_end || !is_tls(s) ||
		rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return;
	s->write_deadline_ns = clock_mono_ns() + ALERT_TIMEOUT;
	if (s->verify_err.msg[0])
		(void)gnutls_alert_send(s->session, GNUTLS_AL_FATAL,
			(gnutls_alert_description_t)s->verify_err.code);
	else
		(void)gnutls_alert_send_appropriate(s->session, rc);
}

static int handshake(struct stream_tls *s, int64_t timeout_ns, struct err *err)
{
	int rc;
	int64_t deadline_ns = timeout_ns > 0 ? clock_mono_ns() + timeout_ns : 0;
	s->read_deadline_ns = deadline_ns;
	s->write_deadline_ns = deadline_ns;
	s->extension_ns = timeout_ns;
	s->in_handshake = true;
	do {
		/*
		 * Only a flood of warnings needs this check: reads and writes keep the deadline
		 * themselves.
		 */
		if (s->read_deadline_ns != 0 && clock_mono_ns() >= s->read_deadline_ns)
			return err_set(err, ETIMEDOUT, "i/o timeout");
		rc = gnutls_handshake(s->session);
	} while (rc < 0 && !gnutls_error_is_fatal(rc));
	s->in_handshake = false;
	if (rc == 0 && !s->verified && s->server->client_auth != TLS_NO_CLIENT_CERT)
		rc = GNUTLS_E_CERTIFICATE_ERROR; /* GnuTLS has not called verify */
	if (rc == 0)
		return 0;
	handshake_err(s, rc, err);
	send_alert(s, rc);
	return -1;
}

/* Makes a session. -1 with err set: no memory, or no random numbers. */
static int new_session(struct stream_tls *s, struct err *err)
{
	int rc = gnutls_init(&s->session, GNUTLS_SERVER | GNUTLS_NO_TICKETS | GNUTLS_NO_AUTO_REKEY);
	if (rc == 0)
		rc = gnutls_priority_set(s->session, s->server->priority);
	if (rc == 0)
		rc = gnutls_credentials_set(
			s->session, GNUTLS_CRD_CERTIFICATE, s->server->credentials);
	if (rc != 0)
		return err_set(err, 0, "tls: %s", gnutls_strerror(rc));
	gnutls_session_set_ptr(s->session, s);
	if (s->server->client_auth != TLS_NO_CLIENT_CERT) {
		/*
		 * verify refuses a client without a certificate; GNUTLS_CERT_REQUIRE would send
		 * another alert.
		 */
		gnutls_certificate_server_set_request(s->session, GNUTLS_CERT_REQUEST);
		gnutls_session_set_verify_function(s->session, verify);
	}
	gnutls_handshake_set_timeout(s->session, 0);
	gnutls_handshake_set_hook_function(
		s->session, GNUTLS_HANDSHAKE_KEY_UPDATE, GNUTLS_HOOK_PRE, on_key_update);
	gnutls_transport_set_ptr(s->session, s);
	gnutls_transport_set_pull_function(s->session, pull);
	gnutls_transport_set_pull_timeout_function(s->session, pull_timeout);
	gnutls_transport_set_vec_push_function(s->session, push);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

/* Frees this layer, but not those below. */
static void free_layer(struct stream_tls *s)
{
	if (s->session)
		gnutls_deinit(s->session);
	mutex_destroy(&s->read_lock);
	mutex_destroy(&s->write_lock);
	free(s->info.common_name);
	free(s->in);
	free(s->out);
	free(s);
}

/* Sends an alert, so that the peer can tell our end from an attacker's. */
static void tls_close_write(struct stream *stream, int64_t deadline_ns)
{
	struct stream_tls *s = (struct stream_tls *)stream;
	s->write_deadline_ns = deadline_ns;
	if (!s->write_failed) {
		mutex_lock(&s->write_lock);
		if (s->alert >= 0)
			(void)gnutls_alert_send(
				s->session, GNUTLS_AL_FATAL, (gnutls_alert_description_t)s->alert);
		else
			(void)gnutls_bye(s->session, GNUTLS_SHUT_WR);
		mutex_unlock(&s->write_lock);
		s->write_failed = true;
		err_set(&s->write_err, 0, "tls: use of closed connection");
	}
	s->below->ops->close_write(s->below, deadline_ns);
}

static void tls_shutdown(struct stream *stream)
{
	struct stream *below = ((struct stream_tls *)stream)->below;
	below->ops->shutdown(below);
}

static void tls_free(struct stream *stream)
{
	struct stream_tls *s = (struct stream_tls *)stream;
	s->below->ops->free(s->below);
	free_layer(s);
}

static const struct stream_ops tls_ops = {
	.read = tls_read,
	.writev = tls_writev,
	.flush = tls_flush,
	.close_write = tls_close_write,
	.shutdown = tls_shutdown,
	.free = tls_free,
};

struct stream *stream_tls_new(struct stream *below, const struct tls_server *server,
	const void *pending, size_t n, int64_t timeout_ns, struct err *err)
{
	struct stream_tls *s = xcalloc(1, sizeof(*s));
	s->stream.ops = &tls_ops;
	s->below = below;
	s->server = server;
	s->first_record = -1;
	s->alert = -1;
	mutex_init(&s->read_lock, RANK_TLS_READ);
	mutex_init(&s->write_lock, RANK_TLS_WRITE);
	s->in_cap = n > IN_SIZE ? n : IN_SIZE;
	s->in = xmalloc(s->in_cap);
	if (n > 0)
		memcpy(s->in, pending, n);
	s->in_w = n;
	if (new_session(s, err) != 0 || handshake(s, timeout_ns, err) != 0) {
		free_layer(s);
		return NULL;
	}
	s->info = (struct stream_tls_info){
		.version = version_number(gnutls_protocol_get_version(s->session)),
		.cipher_suite = cipher_suite_number(s->session),
		.common_name = common_name(s->session),
	};
	return &s->stream;
}

const struct stream_tls_info *stream_tls_info(const struct stream *s)
{
	return &((const struct stream_tls *)s)->info;
}
