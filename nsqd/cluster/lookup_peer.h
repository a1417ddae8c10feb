/* SPDX-License-Identifier: MIT */
/*
 * A connection to one nsqlookupd (nsqd/lookup_peer.go): connects lazily, and again after an error,
 * so its user only has to send commands. Only the thread "lookup" uses it. Every wait ends after a
 * second, or when cancel_fd is readable.
 */
#ifndef NSQD_LOOKUP_PEER_H
#define NSQD_LOOKUP_PEER_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/lg.h"
#include "common/strbuf.h"

/* The nsqlookupd's answer to IDENTIFY. */
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
 * Command: sends cmd ("PING"), and body if not NULL. Waits for the response, and puts it into resp
 * if that is not NULL. With cmd NULL it only connects, if need be. -1 with err set: the connection
 * is closed.
 */
int lookup_peer_command(struct lookup_peer *lp, const char *cmd, const struct strbuf *body,
	struct strbuf *resp, struct err *err);
/*
 * True while a peer that could not be reached is left alone. That lasts three times as long as the
 * last attempt took, so a dead peer costs its loop at most a quarter of its time. When it connects
 * it is told all that it has missed.
 */
int lookup_peer_resting(const struct lookup_peer *lp);

/*
 * json.Unmarshal of a response to IDENTIFY: fields that are not there keep their values. -1: the
 * text is not such JSON.
 */
int peer_info_decode(struct peer_info *info, const char *json, size_t len);

#endif
