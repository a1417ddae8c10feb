/* SPDX-License-Identifier: MIT */
/* What channel.c and its pump, channel_pump.c, share; for no other file. */
#ifndef NSQD_CHANNEL_INTERNAL_H
#define NSQD_CHANNEL_INTERNAL_H

#include "nsqd/queue/channel.h"

/* What has changed, as told to the pump. */
enum channel_update {
	CHANNEL_PAUSED,      /* or unpaused */
	CHANNEL_EMPTIED,     /* the batch is to be dropped as well */
	CHANNEL_SETTINGS,    /* it is to fetch them */
	CHANNEL_CLIENT_LEFT, /* perhaps the one that asked for the batch */
};

/* The thread; arg is the channel. It ends when exit_chan is closed. */
void channel_message_pump(void *arg);
/* Blocks until the pump has handled the update, or has exited. */
void channel_update_pump(struct channel *c, enum channel_update what);

/*
 * put: queues n messages in memory or backend; returns how many it took over, fewer with err set.
 */
size_t channel_put_locked(
	struct channel *c, struct message *const *msgs, size_t n, struct err *err);
/* Less is kept: logs what was dropped; if nothing is any more, the topic's pump may go on. */
void channel_kept_less(struct channel *c);
/* StartDeferredTimeout. Takes m over. */
void channel_start_deferred_timeout(struct channel *c, struct message *take_m, int64_t delay_ns);

#endif
