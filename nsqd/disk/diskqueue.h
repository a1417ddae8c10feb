/* SPDX-License-Identifier: MIT */
/*
 * diskqueue: a first-in, first-out queue of messages in files, in the format of
 * go-diskqueue 1.1.0, so that a data directory moves between stock nsqd and this
 * one in both directions. docs/diskqueue.md has the format, the recovery rules
 * and the guarantees after a crash.
 *
 * A queue that holds nothing costs no thread and no descriptor, and one that was
 * never written to no file: its dq_io_loop starts with the first put (or at once
 * if there is data on disk) and ends when the queue has been empty for a while.
 * All the functions of its ops may be called from any thread, close and delete
 * once and as the last.
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
	 * But after a crash what was received does not come again, done or not, where sync_every asks
	 * for so much: it was about to leave the daemon.
	 */
	bool crash_forgets;
	const struct lg *lg; /* borrowed; outlives the queue */
};

/*
 * diskqueue.New: reads the metadata, and starts the thread if there is something to
 * read, or to count because the metadata do not know of it. May block on the disk, but does not
 * read data files.
 *
 * NULL with err set in one case only: there is data, and no thread to serve it
 * can be created. A directory that cannot be read at the moment is logged and
 * tried again; until then put fails.
 *
 * put     blocks until the records are in the file (page cache), and on the disk
 *         where sync_every says so. Fewer than n: the reason is in err, nothing
 *         of the others is there, and a later put works when the cause is gone.
 *         Records outside of min..max_msg_size: "invalid message write size".
 * read_chan  as in Go a message is gone from the queue once it was received. The
 *         chan exists for the queue's whole life, thread or not.
 * done    with waits_for_done: what was received and is not done yet is gone from
 *         the queue, but not from the disk; close takes it for not received.
 * depth   counts a put before it returns, and a receive right after it happened.
 * empty   removes the files; -1 if one could not be removed (the queue is empty
 *         all the same, until a restart).
 * close   syncs what is there; -1 if that fails (the queue is freed all the same).
 */
struct backend_queue *diskqueue_new(const struct diskqueue_opts *opts, struct err *err);

/*
 * Until then (monotonic) diskqueue_new may take its time to count messages itself, all queues together
 * some 100 ms; afterwards it leaves that to the queue's thread but for a millisecond's work. Without a
 * call there is no such deadline.
 */
void diskqueue_count_until(int64_t deadline_ns);
/*
 * Waits until no queue of the process counts messages any more, at most until deadline_ns
 * (monotonic). A depth that is asked for before that is what has been counted so far.
 */
void diskqueue_wait_counted(int64_t deadline_ns);

#endif
