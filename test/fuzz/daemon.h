/* SPDX-License-Identifier: MIT */
/*
 * A daemon in the process of a fuzz target, made once. Each input ends with no topic, no channel and
 * no client. Its pollers run, and its scan loop; there is no nsqlookupd, no statsd, and nsqd.dat is
 * written only when a target says so. Its data are in fuzz_dir(). run.py throws its log away.
 */
#ifndef TEST_FUZZ_DAEMON_H
#define TEST_FUZZ_DAEMON_H

#include <stdbool.h>

#include "common/netpoll.h"
#include "nsqd/http/http_conn.h"
#include "nsqd/nsqd.h"

/* What a target asks for beside small limits. */
struct daemon_options {
	bool polls; /* it listens, and its pollers and its scan loop run */
	bool tls;   /* it has a certificate, and HTTPS if it polls */
	/* Sets further options; NULL: none. */
	void (*adjust)(struct options *o);
};

/* Starts it; it ends with the process. */
struct nsqd *daemon_start(const struct daemon_options *d);
/* At the end of an input: removes all topics, with their channels and files, and what is counted. */
void daemon_clear(struct nsqd *n);
/* From now on it logs what is of this level, and above. */
void daemon_log_level(struct nsqd *n, enum lg_level level);
/* Of a connection whose steps the target takes: a poller that would take one does nothing. */
extern const struct netpoll_ops daemon_no_ops;
/* A connection of s, of which the target takes the steps. *peer: its other end, the caller's. */
struct http_conn *daemon_http_open(struct nsqd *n, struct http_server *s, int *peer);
/* It is over. */
void daemon_http_close(struct http_conn *c);
/* A connection to a unix socket, as the listeners of the daemon are: tcp.sock, http.sock. */
int daemon_connect(const char *name);
/* Sends all of data; what the peer does not take is lost. */
void daemon_send(int fd, const void *data, size_t n);
/* Reads and throws away what there is until the end of the stream. Blocks. */
void daemon_read_to_end(int fd);

#endif
