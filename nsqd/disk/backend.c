/* SPDX-License-Identifier: MIT */
/*
 * The choice of a backend. Mirrors that of NewTopic (nsqd/topic.go) and NewChannel
 * (nsqd/channel.go). Runs in the thread that creates the topic or channel.
 */
#include "nsqd/disk/backend.h"

#include <string.h>

#include "nsqd/disk/dummy_backend_queue.h"
#include "nsqd/core/message.h"
#include "protocol/names.h"

struct diskqueue_opts backend_diskqueue_opts(const struct options *o, const char *name)
{
	return (struct diskqueue_opts){
		.name = name,
		.data_path = options_data_path(o),
		.max_bytes_per_file = o->max_bytes_per_file,
		.min_msg_size = MIN_VALID_MSG_LENGTH,
		.max_msg_size = (int32_t)o->max_msg_size + MIN_VALID_MSG_LENGTH,
		.sync_every = o->sync_every,
		.sync_timeout = o->sync_timeout,
		.waits_for_done = true,
		/* A channel's ("topic:channel"): from there they go to consumers, and in flight. */
		.crash_forgets = strchr(name, ':') != NULL,
	};
}

struct backend_queue *backend_new(struct context *ctx, const char *name, struct err *err)
{
	struct diskqueue_opts opts = backend_diskqueue_opts(nsqd_get_opts(ctx), name);
	opts.lg = &ctx->lg;
	return is_ephemeral_name(name) ? dummy_backend_queue_new() : diskqueue_new(&opts, err);
}
