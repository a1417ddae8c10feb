/* SPDX-License-Identifier: MIT */
/*
 * Which backend a topic or channel gets (NewTopic and NewChannel of nsqd/topic.go and channel.go
 * choose it).
 */
#ifndef NSQD_BACKEND_H
#define NSQD_BACKEND_H

#include "common/err.h"
#include "nsqd/disk/backend_queue.h"
#include "nsqd/disk/diskqueue.h"
#include "nsqd/core/context.h"

/* What the options say about the disk queue of that name, which is borrowed as they are. No lg. */
struct diskqueue_opts backend_diskqueue_opts(const struct options *o, const char *name);
/*
 * The backend of that name ("topic", or as get_backend_name makes it): a disk queue, or one that
 * keeps nothing, for names that end in "#ephemeral". ctx outlives it. NULL with err set. Blocks on
 * the disk.
 */
struct backend_queue *backend_new(struct context *ctx, const char *name, struct err *err);

#endif
