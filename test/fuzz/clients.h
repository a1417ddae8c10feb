/* SPDX-License-Identifier: MIT */
/*
 * Clients of the daemon whose steps the target takes itself, as a poller or a client's thread does
 * (nsqd/client/tcp.c). So what an input does is the same each time.
 */
#ifndef TEST_FUZZ_CLIENTS_H
#define TEST_FUZZ_CLIENTS_H

#include "nsqd/client/client_v2.h"
#include "test/fuzz/daemon.h"
#include "test/fuzz/fuzz.h"

/* How many ids of messages a client remembers. */
#define CLIENT_IDS 8

struct fuzz_client {
	struct client_v2 *client; /* NULL: it is over */
	int peer;                 /* our end; -1: closed */
	bool threaded; /* a thread takes all of its steps, else only those that may block */
	bool narrow;   /* another thread reads what the daemon sends, and throws it away */
	struct wait_group reading;
	unsigned char in[16384]; /* what the daemon has sent, and has not been looked at */
	size_t in_len;
	bool opaque; /* that is not frames any more */
	char ids[CLIENT_IDS][MSG_ID_LENGTH];
	unsigned n_ids;
};

/*
 * A client that has said its magic. threaded: see above. narrow: what is sent to it has little room in
 * its socket; so something reads it, and its ids are not known.
 */
void fuzz_client_open(struct fuzz_client *c, struct nsqd *n, bool threaded, bool narrow);
/* From now on writing to it fails; it may still send. */
void fuzz_client_reset(struct fuzz_client *c);
/*
 * Sends bytes, and takes steps until the client has nothing more to do with them. In data each
 * "@@@@@@@@@@@@@@@N" (N: any byte) becomes the id of a message that it has got, if it has.
 */
void fuzz_client_send(struct fuzz_client *c, char *data, size_t n);
/* Sends nothing more; takes steps until the client is over, and frees it. */
void fuzz_client_end(struct fuzz_client *c);
/* /stats with this client in it, as JSON, which is valid whatever the client has said, and as text. */
void fuzz_client_show(struct fuzz_client *c, struct nsqd *n);
/* The next steps, until there is nothing to do but wait. Returns false when it is over. */
bool fuzz_client_go_on(struct fuzz_client *c);

#endif
