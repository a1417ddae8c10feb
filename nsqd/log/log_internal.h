/* SPDX-License-Identifier: MIT */
/*
 * The types of the log, for its parts and their tests. Each part declares its own in
 * a header of its name. A part calls only those below it:
 *
 *   log.c           the interface
 *   log_remove.c    what goes: the directory, and segments that nobody wants
 *   log_loop.c      the thread log:TOPIC, and how an append is committed by it or without it
 *   log_read.c      readers
 *   log_recover.c   what is found when a log opens
 *   log_append.c    a commit: numbers and places, writing, syncing, and what becomes of a failure
 *   log_health.c    how commits fare, for operators: failing, slow, well again
 *   log_segment.c   segments: their names and heads; the list of them
 *   log_scan.c      where a record ends, and where the next one begins after damage
 *   log_format.c    the bytes
 *   log_names.c     how directories and files are called
 *   log_io.c        the system calls
 *
 * Fields marked "writer" belong to one thread at a time, the writer. First that is the one that opens the
 * log, then the one that has the value of turn_chan, in the end the one that closes the log.
 */
#ifndef NSQD_LOG_INTERNAL_H
#define NSQD_LOG_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/lock.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_io.h"
#include "nsqd/log/log_scan.h"
#include "nsqd/log/log_stats.h"

/* Requests that are written together, and that are kept for reuse. */
#define LOG_REQS_MAX 64
/* Bytes of them, beyond which the others have to wait for the next commit. */
#define LOG_COMMIT_BYTES (4 << 20)
/* Larger bodies are written from where they are; others are copied behind their heads. */
#define LOG_INLINE_MAX 4096

struct message;

struct log_segment {
	uint64_t first; /* the number of its first record, and its name */
	uint64_t id;    /* this process's: a new file of an old name has a new one */
	uint32_t end;   /* where its records end; of the last one, what is kept */
};

/* Disk space that is asked for ahead of the commits, with `disk`. */
#define LOG_ALLOCATE (1 << 20)

/*
 * An append under way: lives on the free list or with the appending thread; with done from its begin
 * on in the log's list, or with the log's thread.
 */
struct log_request {
	/* by the appending thread */
	size_t n;                    /* records */
	const char *channel;         /* whose copies they are, or NULL; borrowed, as msgs is */
	bool moved;                  /* they are, and had numbers before */
	struct message *const *msgs; /* get their numbers and places when they are kept */
	uint64_t bytes;              /* of all of them */
	size_t prefix_len;           /* what stands between each head and body */
	unsigned char *buf;          /* their heads, and what was copied behind these; owned */
	size_t buf_cap;
	struct iovec *iov; /* what is to be written; owned */
	size_t iov_cap;
	size_t n_iov;
	/* by the writer */
	uint64_t seq;    /* of the first */
	uint32_t offset; /* of the first */
	int rc;
	size_t told;                /* by log.kept */
	struct err err;             /* where rc is -1 */
	struct chan *response_chan; /* capacity 1, so that the writer never waits */
	/* Called in its place, if nobody waits there. By the one that begins the append. */
	void (*done)(void *arg, const struct err *err);
	void *done_arg;
	struct log_request *next; /* in the log's list, or on the free list; guarded by log.lock */
};

/* One thread at a time works on a reader. */
struct log_reader {
	struct log *log;
	/* guarded by log.lock */
	struct log_reader *next, *prev; /* in log.readers */
	bool waits;                     /* more_chan is to be signalled when there is more */
	/* immutable */
	struct chan *more_chan; /* capacity 1 */
	/* the reader's own */
	uint64_t seq;       /* the next number that it wants */
	uint64_t id;        /* of the segment that scan is of; 0: none */
	uint64_t failed_id; /* of the segment that could not be opened */
	uint64_t lost_id;   /* of the one that is given up */
	uint32_t off;       /* the next record is looked for there, or behind it */
	uint32_t hint;      /* where it may be, once its segment is open; 0: nowhere special */
	bool hinted;        /* off is such a place, and nobody has looked yet */
	int lines;          /* about damage in this segment */
	struct log_scan scan;
	char channel[LOG_NAME_MAX + 1]; /* of the last record, if it is a copy */
};

struct log {
	/* immutable */
	char *topic;
	int dir;    /* a descriptor of its own */
	int parent; /* where that is; borrowed */
	bool read_only;
	int64_t segment_bytes;
	const struct lg *lg;
	const struct log_io *io;
	bool (*tick)(void *arg);
	void (*settle)(void *arg);
	void *tick_arg;
	int64_t tick_ns;
	size_t (*kept)(
		void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n);
	void *kept_arg;
	void (*fared)(void *arg, const struct err *err);
	void *fared_arg;
	struct chan *append_chan; /* capacity 1: there are requests */
	struct chan *turn_chan;   /* capacity 1, one value: the turn to write */
	struct chan *wake_chan;   /* capacity 1: tick is wanted */
	struct chan *exit_chan;   /* closed by log_close and log_delete */
	struct wait_group wait_group;

	struct mutex lock;
	/* guarded by lock */
	/* log:TOPIC is there; changed under lock. Unset before it looks whether it may end. */
	_Atomic bool has_thread;
	size_t pending; /* requests that it must still answer */
	struct log_request *first,
		**last; /* of these, those that wait for it, in order; not owned */
	size_t n_waiting;
	int64_t tick_since_ns; /* since when it has been in tick (monotonic); 0: it is not */
	struct log_request *free_reqs;
	size_t n_free_reqs;
	struct log_segment *segments; /* by number; owned. The last one is written to */
	size_t n_segments;
	size_t segments_cap;
	uint64_t next; /* the number of the next record: all before are kept */
	struct log_reader *readers;
	struct log_stats stats; /* but what follows from the fields above */
	int64_t stored;         /* bytes that message_count_stored knows of */
	bool slow;              /* a commit takes, or has taken, LOG_SLOW_NS; that is logged */
	int64_t slowest_ns;     /* of those since then */
	int64_t slow_end_ns;    /* when the last of them has ended (monotonic) */

	_Atomic bool disk; /* written by the writer */

	/* of the thread that calls log_forget */
	bool removed; /* a segment, and that may not be on the disk */

	/* writer */
	struct log_segment active; /* the last one in the list; first is 0 if there is none */
	uint64_t last_id;          /* of log_segment.id */
	bool named;            /* with disk: the directory's name, and those in it, are synced */
	int fd;                /* the last segment's, or -1 */
	uint64_t key;          /* the last segment's; valid if fd is */
	int64_t allocated;     /* up to there disk space was asked for; 0: nowhere */
	bool torn;             /* there may be bytes behind its end that are to be cut off */
	bool closed;           /* it is not to be written to any more */
	uint64_t failed_bytes; /* so many a commit had that has failed; log_probe tries them */
	uint64_t syncs, failed_syncs; /* of the commit under way */
};

/* Is a commit synced? By the writer; to others a guess. */
static inline bool log_syncs(const struct log *l)
{
	return atomic_load_explicit(&l->disk, memory_order_relaxed);
}

#endif
