/* SPDX-License-Identifier: MIT */
/* What main does between the start and the exit. */
#ifndef NSQD_WAIT_H
#define NSQD_WAIT_H

#include "nsqd/core/context.h"
#include "nsqd/core/signals.h"
#include "nsqd/life/reload.h"
#include "nsqd/queue/topics.h"

/*
 * Blocks until the daemon is to exit: upon SIGTERM or SIGINT, or at the end of a drain. Drains
 * meanwhile, if SIGTERM or an operator asks for it, and reloads upon SIGHUP. Main thread, once.
 */
void nsqd_wait(struct context *ctx, struct topics *topics, struct signals *s, struct reload *r);

#endif
