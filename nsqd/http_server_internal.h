/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the HTTP server share: http_server.c (connections, and the
 * server's life), http_request.c (a request, from its head to its answer) and
 * http_response.c (answers). All but http_server.c runs in the threads of
 * connections.
 */
#ifndef NSQD_HTTP_SERVER_INTERNAL_H
#define NSQD_HTTP_SERVER_INTERNAL_H

#include <stdarg.h>
#include <stdatomic.h>

#include <microhttpd.h>

#include "common/gothread.h"
#include "common/lock.h"
#include "nsqd/http_newcomers.h"
#include "nsqd/http_server.h"
#include "nsqd/https.h"
#include "protocol/tcp_server.h"

#define TEXT_PLAIN "text/plain; charset=utf-8"
#define TEXT_HTML "text/html; charset=utf-8"
#define APPLICATION_JSON "application/json; charset=utf-8"

struct http_server {
	struct nsqd *nsqd;             /* immutable */
	const char *proto;             /* immutable; "HTTP", "HTTPS" */
	const struct tls_config *tls;  /* immutable; NULL: HTTP */
	struct handshakes *handshakes; /* immutable; NULL likewise */
	bool tls_required;             /* immutable */
	struct tcp_listener listener;  /* immutable until free */
	struct tcp_server_loop loop;   /* its own synchronisation */
	bool started;                  /* main thread only */
	struct wait_group wait_group;  /* the accept thread */
	struct MHD_Daemon *daemon;     /* immutable once started */
	struct MHD_Response *ok;       /* immutable: the answers that need no building */
	struct MHD_Response *empty;    /* immutable */
	struct MHD_Response *plain_ok; /* immutable */

	struct http_newcomers *newcomers; /* accept thread, while it runs; NULL: HTTPS */
	struct mutex conns_lock;
	struct http_conn *conns; /* guarded by conns_lock; utlist */
	size_t n_conns;          /* guarded by conns_lock; from accept on */
	size_t max_conns;        /* immutable */
	size_t refused;          /* accept thread: since the last line about it */
	int64_t refused_logged;  /* accept thread; monotonic */

	_Atomic bool stopping;
	_Atomic int answering;      /* requests between their handler and their last byte */
	struct chan *answered_chan; /* immutable; capacity 1: answering has become 0 */
	struct chan *closed_chan;   /* immutable; capacity 1: n_conns has become 0 */
};

/* A connection, and the request that it is at. Its own thread's, where nothing else is said. */
struct http_conn {
	struct http_conn *prev, *next; /* guarded by conns_lock */
	struct http_server *server;    /* immutable */
	int fd;                        /* immutable; libmicrohttpd's, open while we are in conns */
	struct handshake *handshake;   /* immutable; NULL: HTTP */
	gnutls_session_t session;      /* immutable; NULL: HTTP */
	char remote_addr[128];         /* immutable */
	_Atomic int64_t last_active;   /* monotonic */
	_Atomic bool handling;         /* in a handler: makes no room */
	bool adopted;                  /* its thread has its name */
	bool refused;                  /* what came last was no request: nothing more is said */

	struct strbuf uri;  /* the target as sent */
	struct strbuf path; /* decoded */
	bool begun;         /* the head has been looked at */
	bool counted;       /* in answering */
	bool http_1_0;      /* so is the answer, then */
	const char *method; /* libmicrohttpd's, for the length of the request */
	int64_t limit;      /* of the body; -1: thrown away */
	int64_t thrown_away;
	enum http_route_result result;
	struct http_match match;
	struct http_request req;
};

/* --- http_request.c: libmicrohttpd calls these; see its manual for arguments and results ----- */

/* MHD_OPTION_URI_LOG_CALLBACK: the first line of a request. */
void *http_handle_uri(void *cls, const char *uri, struct MHD_Connection *mc);
/* MHD_OPTION_UNESCAPE_CALLBACK: leaves s as it is. */
size_t http_leave_escaped(void *cls, struct MHD_Connection *mc, char *s);
/* MHD_AccessHandlerCallback. May block, as its handler may. */
enum MHD_Result http_handle_access(void *cls, struct MHD_Connection *mc, const char *url,
	const char *method, const char *version, const char *upload_data, size_t *upload_data_size,
	void **req_cls);
/* MHD_RequestCompletedCallback: cls is the server. */
void http_request_completed(
	void *cls, struct MHD_Connection *mc, void **req_cls, enum MHD_RequestTerminationCode toe);
/*
 * libmicrohttpd complains, in the calling thread, with this text. True if that is
 * because of a request that has been refused, or is refused now: nothing else is
 * to be said of it. Blocks for half a second at most (http_refuse.h).
 */
bool http_refuse_malformed(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* --- http_response.c: each queues an answer to c's request: MHD_YES, or MHD_NO without memory - */

/* http_api.RespondV1 and PlainText: what the handler has said. */
enum MHD_Result http_answer_v1(struct http_conn *c, struct MHD_Connection *mc);
enum MHD_Result http_answer_plain(struct http_conn *c, struct MHD_Connection *mc);
/* 403, with the HTTPS server's port. */
enum MHD_Result http_answer_tls_required(struct http_conn *c, struct MHD_Connection *mc);
/* What the router has found: http.Redirect, OPTIONS, 405. */
enum MHD_Result http_answer_redirect(struct http_conn *c, struct MHD_Connection *mc);
enum MHD_Result http_answer_allow(struct http_conn *c, struct MHD_Connection *mc);
enum MHD_Result http_answer_method_not_allowed(struct http_conn *c, struct MHD_Connection *mc);
/*
 * An answer with len bytes of data, of which mode says whose they are; v1: with
 * the header of that API. c is NULL for one that is used many times. The caller
 * gets the reference.
 */
struct MHD_Response *http_new_response(const struct http_conn *c, const char *data, size_t len,
	enum MHD_ResponseMemoryMode mode, const char *type, bool v1);

#endif
