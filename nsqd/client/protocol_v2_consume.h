/* SPDX-License-Identifier: MIT */
/* The commands of consumers. */
#ifndef NSQD_PROTOCOL_V2_CONSUME_H
#define NSQD_PROTOCOL_V2_CONSUME_H

#include "nsqd/client/io_loop.h"

/*
 * 0, and *response set to a static string if there is one. -1 with l->error or l->waiting set, or
 * where the connection is over (l->failure, l->pub_error). sub may block where nsqd_get_topic does.
 * fin only gathers its message (protocol_v2_reply.h). io_loop.
 */
int protocol_v2_sub(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_rdy(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_fin(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_req(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_touch(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_cls(struct io_loop *l, const struct params *p, const char **response);
int protocol_v2_nop(struct io_loop *l, const struct params *p, const char **response);

/*
 * May it have to wait for a disk, another host, a thread or a lock? A guess that errs on the safe
 * side. In a step, before the command: nothing is done then.
 */
bool protocol_v2_sub_may_block(struct io_loop *l, const struct params *p);
bool protocol_v2_req_may_block(struct io_loop *l, const struct params *p);

#endif
