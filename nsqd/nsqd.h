/* SPDX-License-Identifier: MIT */
/*
 * The daemon (nsqd/nsqd.go): its life from nsqd_new to nsqd_exit. Everything else of nsqd.go is
 * below: context.h, topics.h, notify.h, metadata.h, queue_scan.h.
 */
#ifndef NSQD_NSQD_H
#define NSQD_NSQD_H

#include "common/err.h"
#include "common/gothread.h"
#include "nsqd/core/context.h"
#include "nsqd/http/http_request.h"
#include "nsqd/cluster/lookup.h"
#include "nsqd/queue/metadata.h"
#include "nsqd/queue/topics.h"
#include "protocol/listener.h"

struct netpoll;
struct sd_daemon;
struct tcp_server;
struct http_server;
struct tls_current;
struct watchdog;

struct nsqd {
	struct context ctx;       /* shared by all parts; see there, as for the next three */
	struct topics topics;     /* the topics by name */
	struct metadata metadata; /* nsqd.dat */
	struct lookup lookup;     /* registration with nsqlookupd */

	struct sd_daemon *sd;      /* borrowed; NULL: no service manager */
	struct watchdog *watchdog; /* owned; NULL: nobody watches. Main's */
	struct tls_current *tls;   /* immutable after nsqd_new; owned; NULL: no certificate */
	struct netpoll
		*netpoll; /* immutable after nsqd_new; owned; the connections without threads */
	struct tcp_listener tcp_listener; /* immutable between nsqd_new and nsqd_exit */
	struct tcp_server *tcp_server;    /* immutable after nsqd_new; owned, as are the next two */
	struct http_server *http_server;  /* NULL: switched off */
	struct http_server *https_server; /* NULL: no certificate, or switched off */
	struct http_server *readonly_server; /* NULL: not wanted */
	struct http_tokens *tokens;          /* immutable after nsqd_new; owned */

	struct http_daemon http_daemon; /* what their handlers see of it; as the two */

	bool runnext;                 /* runnext_start has been called */
	struct wait_group wait_group; /* every thread that nsqd_main started */
};

/* The names of the sockets that a service manager may pass: SD_SOCKETS, for sd_daemon_init. */
extern const char *const nsqd_socket_names[];

/*
 * New: takes over opts, locks the data path, checks the options against each other, listens. Sockets
 * of sd are taken in place of addresses; it outlives nsqd_free, and may be NULL. NULL with err set,
 * and nothing left behind. Main thread.
 */
struct nsqd *nsqd_new(struct options *take_opts, struct sd_daemon *sd, struct err *err);
/* Main: starts the threads and returns; -1 with err set if one cannot be started. Main thread. */
int nsqd_main(struct nsqd *n, struct err *err);
/*
 * Exit: stops listening, disconnects every client, writes the messages in memory to disk, joins
 * every thread. Blocks on the disk. Main thread, once.
 */
void nsqd_exit(struct nsqd *n);
/*
 * For a start that has failed after nsqd_new: what the pumps hold by then goes back to disk, and
 * every thread of nsqd_main is joined. nsqd.dat stays as it is. Blocks on the disk. Main thread,
 * in place of nsqd_exit.
 */
void nsqd_give_up(struct nsqd *n);
/* The rest of Go's collector; after nsqd_exit or nsqd_give_up, or right after nsqd_new. NULL is fine. */
void nsqd_free(struct nsqd *n);

#endif
