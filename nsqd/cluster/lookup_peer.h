/* SPDX-License-Identifier: MIT */
/*
 * A connection to one nsqlookupd (nsqd/lookup_peer.go): connects lazily, and
 * again after an error, so that its user only has to send commands. One thread,
 * the lookup loop's. Every wait ends after a second, or when cancel_fd is readable.
 */
#ifndef NSQD_LOOKUP_PEER_H
#define NSQD_LOOKUP_PEER_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/lg.h"
#include "common/strbuf.h"

/* What nsqlookupd says of itself when it is told who we are. */
struct peer_info {
	int64_t tcp_port;
	int64_t http_port;
	char *version;           /* owned, never NULL, as is the next */
	char *broadcast_address; /* "" until it has been told */
};

struct lookup_peer {
	const struct lg *lg; /* borrowed */
	char *addr;          /* owned; "host:port" */
	int fd;              /* -1: not connected */
	int cancel_fd;       /* borrowed */
	int64_t max_body_size;
	/* Called every time it connects; may send commands. Closing the peer in it is a failure. */
	void (*connect_callback)(struct lookup_peer *lp, void *arg);
	void *arg;
	struct peer_info info;
	/* For the user: no attempt before this, on the monotonic clock (lookup_peer_resting). */
	int64_t rest_until_ns;
};

struct lookup_peer *lookup_peer_new(const struct lg *lg, const char *addr, int cancel_fd,
	int64_t max_body_size, void (*connect_callback)(struct lookup_peer *, void *), void *arg);
void lookup_peer_free(struct lookup_peer *lp);
/* Close: the next command connects again. */
void lookup_peer_close(struct lookup_peer *lp);

/*
 * Command: sends cmd ("PING") and, if not NULL, body; waits for the response and
 * puts it into resp (may be NULL: nobody wants to know). cmd NULL: only sees to
 * it that there is a connection. -1 with err set: then it is closed.
 */
int lookup_peer_command(struct lookup_peer *lp, const char *cmd, const struct strbuf *body,
	struct strbuf *resp, struct err *err);
/*
 * True while a peer that could not be reached is better left alone: for three
 * times as long as the last attempt took, so that a dead one costs its loop a
 * quarter of its time at most. What it misses it learns when it connects.
 */
int lookup_peer_resting(const struct lookup_peer *lp);

/*
 * json.Unmarshal of a response to IDENTIFY: fields that are not there keep their values. -1: no
 * such JSON.
 */
int peer_info_decode(struct peer_info *info, const char *json, size_t len);

#endif
