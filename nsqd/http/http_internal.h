/* SPDX-License-Identifier: MIT */
/*
 * The types that the parts of the HTTP server share: the server and its connections. Each part
 * declares its functions in a header of its own. From top to bottom:
 *
 *   http_server.c     the connections, and the server's life
 *   http_conn.c       a connection: its states
 *   http_response.c   answers
 *   http_access.c     may the client have that?
 *   http_body.c       the body of a request
 *   http_io.c         moving bytes
 */
#ifndef NSQD_HTTP_INTERNAL_H
#define NSQD_HTTP_INTERNAL_H

#include <stdatomic.h>

#include "common/clock.h"
#include "common/gothread.h"
#include "common/lock.h"
#include "nsqd/http/http_request.h"
#include "common/netpoll.h"
#include "protocol/acceptor.h"
#include "protocol/http_chunked.h"
#include "protocol/http_head.h"
#include "protocol/stream.h"

/* As net/http's bufio.Reader. */
#define HTTP_INPUT_SIZE 4096
/* How much longer a connection may be silent that has had a request answered. */
#define HTTP_GRACE_NS (2 * NSEC_PER_SEC)
/* maxPostHandlerReadBytes: how much of a body is read after its handler has run. */
#define HTTP_DISCARD_MAX ((int64_t)256 * 1024)
/* What a poller does for a connection in one go, at most: then a thread goes on. */
#define HTTP_STEP_BYTES ((size_t)64 * 1024)
#define HTTP_STEP_REQUESTS 16
/* So many a thread serves before the connection goes back to the pollers; there it may get one anew. */
#define HTTP_THREAD_REQUESTS 64
/* How long a thread waits for input, before the connection goes back to the pollers. */
#define HTTP_MOMENT_NS (250 * NSEC_PER_MSEC)

struct tls_config;

struct http_server {
	const struct http_daemon *daemon; /* immutable */
	const char *proto;                /* immutable; "HTTP", "HTTPS" */
	struct tls_current *tls;          /* immutable; NULL: HTTP */
	bool tls_required;                /* immutable */
	bool is_readonly;                 /* immutable; --http-readonly-address */
	struct netpoll *netpoll;          /* immutable after start; borrowed */
	struct tcp_listener listener;     /* immutable until free */
	struct acceptor acceptor;         /* its own synchronisation */
	bool started;                     /* main thread only */
	_Atomic bool stopping;            /* atomic */
	int64_t stop_at_ns;               /* main thread only; monotonic; set by close */
	struct wait_group serving;        /* the connections */
	size_t max_conns;                 /* immutable */

	struct mutex lock;       /* a leaf; guards the next five */
	struct http_conn *conns; /* utlist */
	size_t n_conns;
	size_t n_leaving;       /* of these: evicted, and on their way out */
	int64_t evicted_ns;     /* the last time; monotonic, as is the next one */
	int64_t full_until_ns;  /* a new one waits for a place so long; 0: none does */
	size_t refused;         /* the acceptor's: since the last line about it */
	int64_t refused_logged; /* the acceptor's */
};

/* The body of the request that a connection is at (net/http's body and expectContinueReader). */
struct http_body {
	enum { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED } kind;
	int64_t left; /* LENGTH: still to come */
	struct http_chunked chunked;
	bool at_end;        /* nothing more of it will come; also when it was cut off there */
	bool failed;        /* it is malformed: nothing behind it may be looked at */
	bool must_continue; /* the client waits for our consent to send it */
	bool was_expected;  /* the client asked for that */
};

/* An answer: what its head says, and the body. */
struct http_answer {
	int status;
	const char *data; /* the body, len bytes; borrowed, as are the texts below */
	size_t len;
	const char *type;             /* of the body; set by the handler, or sniffed by net/http */
	bool is_sniffed;              /* the latter: then it comes later in the head */
	bool is_v1;                   /* with the header of that API */
	const char *allow, *location; /* headers; NULL: none */
	bool says_close;              /* the handler sets Connection: close */
	bool says_length;             /* and this one Content-Length */
	bool keeps_1_0;               /* the connection stays, though it is HTTP/1.0 */
	bool is_too_early;            /* more of the request's body is left than is read */
	bool asks_for_token;          /* with WWW-Authenticate */
};

/* How it goes on with a connection; see http_conn.c, which has their picture. */
enum http_state {
	HTTP_HANDSHAKE,
	HTTP_HEAD,
	HTTP_ROUTE,
	HTTP_BODY,
	HTTP_HANDLE,
	HTTP_REST,
	HTTP_ANSWER,
	HTTP_GOODBYE,
	HTTP_LINGER,
};

/* May the client have what it asks for? See http_access.h. */
enum http_access { HTTP_GRANTED, HTTP_UNAUTHORIZED, HTTP_FORBIDDEN };

/* A connection. Fields belong to the thread that takes its step, where nothing else is said. */
struct http_conn {
	struct http_conn *prev, *next; /* guarded by the server's lock */
	struct http_server *server;    /* immutable */
	struct poll_desc *pd;          /* immutable after begin */
	bool is_evicted;               /* guarded by the server's lock */
	struct stream *sock;           /* immutable; the lowest layer */
	struct stream *stream;         /* what is read and written: sock, or TLS on top of it */
	struct tls_config *tls_config; /* of the stream; a reference; NULL: no TLS */
	union address remote;          /* immutable */

	/*
	 * The time until which its moved bytes are worth something. When there is no room for a new
	 * connection, the one with the least credit has to go. A working connection is ahead of the
	 * clock by more than HTTP_GRACE_NS, and stays. INT64_MAX: it does not depend on the client.
	 */
	_Atomic int64_t credit_ns; /* monotonic */
	int64_t since_ns;          /* when it began to move what moves now */
	int64_t moved;             /* bytes since then */
	int64_t grace_ns;          /* what it is allowed beside */

	/* --- the step --- */
	enum http_state state;
	_Atomic bool in_thread; /* may block; else it is a poller's step */
	bool is_lent;     /* that is a poller's, for want of a thread: it waits for no client */
	bool busy;        /* a poller has done enough for it */
	bool drained;     /* its socket has been read to the end in this step */
	bool unsent;      /* the socket has not taken all that was written */
	bool keeps_tasks; /* between runnext_begin and runnext_end */
	size_t taken;     /* bytes read in this step */
	unsigned served;  /* requests in this step */
	int64_t wait_until_ns; /* how long it waits for input; 0: for ever */
	int64_t give_up_ns;    /* how long it waits for a thread; 0: it does not */

	char input[HTTP_INPUT_SIZE];
	size_t r, w;   /* input[r..w) has not been looked at */
	bool answered; /* before its body was read */
	enum http_access access;
	bool has_served; /* a request before the one that it is at */
	bool close;      /* after the answer */
	bool linger;     /* the client may still be sending, and nothing reads that */
	bool send_failed;

	struct http_head head;
	struct http_body body;
	int64_t discard_left; /* of a body that is read for nothing: how much, at most */
	int64_t linger_end_ns;
	enum http_route_result result;
	struct http_match match;
	struct http_request req;
	struct http_answer answer;
	struct strbuf made; /* the answer's body, where the handler has not made it */
	struct strbuf out;  /* the answer's head, and a short body */
};

/*
 * May the step that runs block? By the thread that takes it, which has set it. To other threads, in
 * evict_locked, it is a guess.
 */
static inline bool http_is_in_thread(const struct http_conn *c)
{
	return atomic_load_explicit(&c->in_thread, memory_order_relaxed);
}

static inline void http_set_in_thread(struct http_conn *c, bool in_thread)
{
	atomic_store_explicit(&c->in_thread, in_thread, memory_order_relaxed);
}

/*
 * Around the sending of an answer of len bytes (http_server.c): a client that does not read its
 * large answer goes where others need the memory. Takes the server's lock.
 */
void http_begin_answer(struct http_server *s, size_t len);
/* When the memory is free again. */
void http_end_answer(size_t len);

#endif
