/* SPDX-License-Identifier: MIT */
/*
 * A first-in, first-out queue of messages in files, in the format of go-diskqueue 1.1.0. So a data
 * directory moves between stock nsqd and this one in both directions. docs/diskqueue.md has the
 * format, the recovery rules and the guarantees after a crash.
 *
 * A queue that holds nothing costs no thread and no descriptor. One that was never written to has
 * no file. dq_io_loop starts with the first put, or at once if there is data on disk. It ends when
 * the queue has been empty for a while. Any thread may call the functions of its ops; close or
 * delete is the last call.
 */
#ifndef NSQD_DISKQUEUE_H
#define NSQD_DISKQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/lg.h"
#include "nsqd/disk/backend_queue.h"

struct diskqueue_opts {
	const char *name;           /* of the topic, or get_backend_name(); copied */
	const char *data_path;      /* the directory; copied */
	int64_t max_bytes_per_file; /* a file is finished when the next record would not fit */
	int32_t min_msg_size;       /* of a record, in bytes, without its length prefix */
	int32_t max_msg_size;
	int64_t sync_every;   /* messages written or read per fsync; 1: before put returns */
	int64_t sync_timeout; /* ns; the longest that anything stays unsynced */
	bool waits_for_done;  /* messages stay on disk until `done` was called for them */
	/*
	 * After a crash, messages that were received do not come again, done or not, if sync_every
	 * was reached: they were about to leave the daemon.
	 */
	bool crash_forgets;
	const struct lg *lg; /* borrowed; outlives the queue */
	/*
	 * Capacity 1; NULL: nobody is told. A value is sent when the queue becomes empty, or is not
	 * empty any more (diskqueue_is_empty). Borrowed; outlives the queue.
	 */
	struct chan *changed_chan;
};

/*
 * diskqueue.New: reads the metadata. Starts the thread if there is something to read, or to count
 * because the metadata do not know of it. May block on the disk, but does not read data files.
 *
 * NULL with err set in one case only: there is data, and no thread to serve it can be created. A
 * directory that cannot be read at the moment is logged and tried again; until then put fails.
 *
 * put     blocks until the records are in the file (page cache), and on the disk where sync_every
 *         says so. Fewer than n: err has the reason, and nothing of the others is there. A later
 *         put works when the cause is gone. Records outside of min..max_msg_size: "invalid message
 *         write size".
 * read_chan  as in Go a message is gone from the queue once it was received. The chan exists for
 *         the queue's whole life, thread or not.
 * done    with waits_for_done: a message that was received and is not done is gone from the queue,
 *         but not from the disk. close takes it for not received.
 * depth   counts a put before it returns, and a receive right after it happened.
 * empty   removes the files; -1 if one could not be removed (the queue is empty all the same, until
 *         a restart).
 * close   syncs what is there; -1 if that fails (the queue is freed all the same).
 */
struct backend_queue *diskqueue_new(const struct diskqueue_opts *opts, struct err *err);

/*
 * Is there nothing to receive? A put is known before it returns; a receive, a moment later. False, too,
 * while the directory cannot be read. Any thread; takes a leaf lock.
 */
bool diskqueue_is_empty(struct backend_queue *q);
/* May there be files of the queue? If that cannot be told, so it is, as the log says. Blocks on the disk. */
bool diskqueue_has_files(const struct diskqueue_opts *opts);

/*
 * Sets a deadline (monotonic). Until then diskqueue_new counts messages itself, for some 100 ms in
 * all queues together. Afterwards it leaves all but a millisecond's work to the queue's thread.
 * Without a call there is no deadline.
 */
void diskqueue_count_until(int64_t deadline_ns);
/*
 * Blocks until no queue of the process counts messages any more, at most until deadline_ns
 * (monotonic). Until then a depth is the number of messages counted so far.
 */
void diskqueue_wait_counted(int64_t deadline_ns);

#endif
