/* SPDX-License-Identifier: MIT */
/*
 * Looking into a channel, or into a topic without channels, without moving a message; and finishing
 * or requeueing one message by its id, whatever it waits for. For operators, by HTTP.
 */
#ifndef NSQD_CHANNEL_INSPECT_H
#define NSQD_CHANNEL_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/core/message_view.h"

struct channel;
struct client_v2_stats;
struct topic;

enum channel_state {
	CHANNEL_READY,     /* waits for a consumer: as depth in /stats */
	CHANNEL_IN_FLIGHT, /* a consumer has it */
	CHANNEL_DEFERRED,  /* waits for the end of a delay */
};

/* The most messages of a look: the pump waits for it, for less than a millisecond. */
#define PEEK_MAX 1000

/*
 * Adds the first messages in that state to out, which has room for PEEK_MAX at most. Of those that
 * are ready: first what is in memory, in the order of delivery, then what is on disk; others by the
 * end of their time. A message that moves meanwhile may be missing, but none is there twice.
 * memory, disk: where to look for those that are ready. False: the channel exits. disk_err->msg: ""
 * or why not all of the disk could be seen.
 *
 * With a log, what waits there for its time is read from the disk, and what its queue's thread has
 * read that came back is on disk as well.
 *
 * May block on the disk, and on the channel's pump. The caller holds no lock. The pump and the
 * consumers wait for this at most as long as it takes to copy the fields of out.
 */
bool channel_peek(struct channel *c, enum channel_state state, bool memory, bool disk,
	struct message_views *out, struct err *disk_err);
/* The same for what waits in the topic itself; what its pump is handing out is not seen. */
void topic_peek(
	struct topic *t, bool memory, bool disk, struct message_views *out, struct err *disk_err);
/*
 * The consumer with that id, as /stats shows it, for client_v2_stats_free. False: it has gone.
 * Takes channel.lock.
 */
bool channel_get_consumer(struct channel *c, int64_t client_id, struct client_v2_stats *out);

/*
 * The timestamp (ns) of the oldest of those messages that would be delivered next, from memory and
 * from disk; 0: none is known. Takes the locks of chan, kept and disk queue, each for a moment, and
 * reads nothing from the disk.
 */
int64_t channel_oldest_timestamp(struct channel *c);
int64_t topic_oldest_timestamp(struct topic *t);

enum by_id {
	BY_ID_DONE,
	BY_ID_NOT_FOUND,
	BY_ID_ON_DISK, /* it waits there: nothing can be taken out of a file's middle */
	/* It may be on disk, where too many wait to look at all of them; or in a log, on its way. */
	BY_ID_NOT_IN_MEMORY,
	BY_ID_EXITING,
};

/*
 * Finish: it is done, also in flight. Requeue: back into the queue, at once or after delay_ns. A
 * consumer that has it has one message less in flight, and hears no more of it: its answer comes
 * too late, as after a timeout. With a log also what waits there, if it is found (log_queue.h); and
 * BY_ID_DONE is kept by the cursor. May block on the disk and on the channel's pump; the caller holds
 * no lock.
 */
enum by_id channel_finish_by_id(struct channel *c, struct message_id id);
enum by_id channel_requeue_by_id(struct channel *c, struct message_id id, int64_t delay_ns);

#endif
