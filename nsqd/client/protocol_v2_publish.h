/* SPDX-License-Identifier: MIT */
/* The commands of producers. */
#ifndef NSQD_PROTOCOL_V2_PUBLISH_H
#define NSQD_PROTOCOL_V2_PUBLISH_H

#include "nsqd/client/io_loop.h"

/*
 * 0, and *response set to a static string if there is one. -1 with l->error or l->waiting set, or
 * where the connection is over (l->failure, l->pub_error). Block for the body, and on the disk. pub
 * only gathers its message (protocol_v2_reply.h). io_loop.
 */
int protocol_v2_pub(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_dpub(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_mpub(struct io_loop *l, const struct params *p, const char **response);

/* Of PUB and DPUB, and of MPUB: as in protocol_v2_consume.h. */
bool protocol_v2_pub_may_block(struct io_loop *l, const struct params *p);
bool protocol_v2_mpub_may_block(struct io_loop *l, const struct params *p);

#endif
