/* SPDX-License-Identifier: MIT */
/*
 * A layer that speaks TLS as the server, over GnuTLS (crypto/tls). It holds written data back until
 * that fills a record of 16 KiB, or until flush.
 *
 * Reading: an alert of the peer is the error "remote error: tls: ...", its close-notify is the end.
 * As in Go, the end of the layer below between two records is the end, too; anywhere else it is
 * "unexpected EOF". Renegotiation is refused, and there are no session tickets. A peer can make the
 * layer keep two records at most.
 */
#ifndef PROTOCOL_STREAM_TLS_H
#define PROTOCOL_STREAM_TLS_H

#include <stdint.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "protocol/stream.h"

/* tls.ClientAuthType */
enum tls_client_auth {
	TLS_NO_CLIENT_CERT,
	TLS_REQUIRE_ANY_CLIENT_CERT,
	TLS_REQUIRE_AND_VERIFY_CLIENT_CERT,
};

/*
 * The settings that all connections of a server share (tls.Config). Immutable while there are
 * connections.
 */
struct tls_server {
	/* Our certificate, and the CAs that clients are told of. */
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priority;
	/* The CAs of clients that are let in; NULL unless clients are verified. */
	gnutls_x509_trust_list_t roots;
	enum tls_client_auth client_auth;
};

struct stream_tls_info {
	uint16_t version;      /* on the wire: 0x0303 for TLS 1.2 */
	uint16_t cipher_suite; /* IANA's number; 0: not known */
	char *common_name;     /* of the client's certificate; "" for none */
};

/*
 * tls.Server and Handshake. Reads first the n bytes of pending, which have been read from below
 * already (copied). Blocks until the handshake is done, for timeout_ns (0: for ever), or until
 * below is shut down. On success the layer owns below. NULL with err set: the peer has got an
 * alert, and below is still the caller's. Borrows *s, which must outlive the layer.
 */
struct stream *stream_tls_new(struct stream *below, const struct tls_server *s, const void *pending,
	size_t n, int64_t timeout_ns, struct err *err);

/* The results of the handshake. Borrowed; they never change. Any thread. */
const struct stream_tls_info *stream_tls_info(const struct stream *s);

/*
 * Checks the client's certificate, in the handshake of any session (HTTPS has its own), once it has
 * arrived. 0, or -1 with err set to Go's text; err->code is the alert to send. Does not block; any
 * thread.
 */
int tls_server_verify_client(const struct tls_server *s, gnutls_session_t session, struct err *err);

#endif
