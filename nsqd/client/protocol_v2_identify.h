/* SPDX-License-Identifier: MIT */
/* IDENTIFY and AUTH: what a client says of itself. */
#ifndef NSQD_PROTOCOL_V2_IDENTIFY_H
#define NSQD_PROTOCOL_V2_IDENTIFY_H

#include "nsqd/client/io_loop.h"

/*
 * 0, and *response set to a static string if there is one. -1 with l->error or l->waiting set, or
 * where the connection is over (l->failure, l->pub_error). Block for the body; identify for the
 * handshake of TLS (client_v2_upgrade), auth for the auth servers. In a step an identify that upgrades
 * the connection sets l->blocks, and is left as if it had not begun. io_loop.
 */
int protocol_v2_identify(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_auth(struct io_loop *l, const struct params *p, const char **response);

/* As in protocol_v2_consume.h. */
bool protocol_v2_identify_may_block(struct io_loop *l, const struct params *p);
bool protocol_v2_auth_may_block(struct io_loop *l, const struct params *p);

#endif
