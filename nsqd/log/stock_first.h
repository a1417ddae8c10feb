/* SPDX-License-Identifier: MIT */
/*
 * The backend of a topic, or channel, that was not durable before: stock's disk queue, and behind it
 * a queue over the log. The disk queue is read first, and nothing new is written to it but what comes
 * from the topic's. When it is empty, it is the log's turn; no file of it is touched then. Go has
 * none: stock has no log.
 *
 * Messages of a disk queue have seq 0: they are in no log. So `put` is for those, and put_messages
 * for the others.
 *
 * While a channel's disk queue has messages, nothing of the log goes into the memory queue: it is
 * newer. The same holds for a topic, until its pump has seen the disk queue empty once.
 */
#ifndef NSQD_STOCK_FIRST_H
#define NSQD_STOCK_FIRST_H

#include "common/err.h"
#include "nsqd/disk/backend_queue.h"
#include "nsqd/disk/diskqueue.h"

/*
 * take_log_queue itself, where the disk queue has no messages: then its files are removed. Else (or if
 * `always`) a queue of both.
 * opts->changed_chan is told when the disk queue runs empty, or is not empty any more. Then a thread
 * that waits for read_chan has to ask for it again. of_topic: as in log_queue_hold. NULL with err set, and
 * take_log_queue is closed. Blocks on the disk.
 */
struct backend_queue *stock_first_new(const struct diskqueue_opts *opts, bool always, bool of_topic,
	struct backend_queue *take_log_queue, struct err *err);
/* Is it a queue of both? */
bool is_stock_first(const struct backend_queue *q);

/* As log_queue_waiting of log, and what waits in stock's disk queue, if q is one of those. */
int64_t stock_first_waiting(struct backend_queue *q, struct backend_queue *log, int64_t *bytes);

#endif
