/* SPDX-License-Identifier: MIT */
/*
 * TLS of the HTTPS server (crypto/tls below net/http): libmicrohttpd runs the
 * handshakes, in the connections' threads; this says what they must come to, how
 * long they may take, and what is said when they fail.
 */
#ifndef NSQD_HTTPS_H
#define NSQD_HTTPS_H

#include <stdbool.h>

#include <gnutls/gnutls.h>

#include "common/err.h"
#include "protocol/stream_tls.h"

struct lg;
struct http_refusal;
struct handshake;  /* of one connection */
struct handshakes; /* of one server: those under way, and who ends them when they take too long */

/* tls and lg are borrowed. Never NULL. */
struct handshakes *handshakes_new(const struct tls_server *tls, const struct lg *lg);
/* Starts the thread "handshakes". -1 with err set. */
int handshakes_start(struct handshakes *hs, struct err *err);
/*
 * Joins it: from now on nobody's time runs out, and failures are not logged. Fine without start;
 * once more is fine.
 */
void handshakes_stop(struct handshakes *hs);
/* After stop, and when every handshake has been freed. NULL is fine. */
void handshakes_free(struct handshakes *hs);

/*
 * Makes a session of libmicrohttpd's do its handshake as tls says, from now on
 * within the limit. Before its thread is started. Borrows session and fd, which
 * must stay open until handshake_free; copies remote_addr. Takes a leaf lock.
 */
struct handshake *handshake_new(
	struct handshakes *hs, gnutls_session_t session, int fd, const char *remote_addr);
/* Likewise takes the lock; the session may be gone. NULL is fine. */
void handshake_free(struct handshake *h);
/*
 * Is it over, and has the client shown what it must? Else no request may be looked at. The
 * connection's thread.
 */
bool handshake_succeeded(const struct handshake *h);
/*
 * libmicrohttpd has something to say, in the calling thread. If that is because
 * this thread's handshake has failed, the client and the log are told so (as
 * net/http does), and the result is true: nothing else is to be logged. Likewise
 * true, if its connection has been refused.
 */
bool handshake_complaint(void);
/*
 * A request has come. A connection that libmicrohttpd closes before that has sent
 * something else, and is answered 400. The connection's thread.
 */
void handshake_asked(struct handshake *h);
/*
 * The calling thread's connection has sent what is no request, and is told so.
 * False: it has sent one before, or the thread is of no such connection. Blocks
 * for half a second at most.
 */
bool handshake_refuse(const struct http_refusal *why);

#endif
