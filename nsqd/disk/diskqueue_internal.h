/* SPDX-License-Identifier: MIT */
/*
 * The types of the disk queue, for its parts and their tests. No functions but inline ones: each
 * part declares its own in a header of its name. A part calls only those below it:
 *
 *   diskqueue.c            the interface and dq_io_loop
 *   diskqueue_read.c       the read-ahead, and what becomes of files that cannot be read
 *   diskqueue_write.c      appending, rolling, syncing
 *   diskqueue_meta.c       the metadata file, and what is found at start
 *   diskqueue_position.c   the read position: what moves it, and which files go with that
 *   diskqueue_count.c      counting what the metadata do not know of, and turns at hard work
 *   diskqueue_record.c     where a record ends, and where the next one begins after damage
 *   diskqueue_peek.c       looking at what is stored, from other threads
 *   diskqueue_dir.c        names and numbers of the data files
 *   diskqueue_patience.c   how long an error is waited out
 *
 * One thread at a time works on a queue: its creator, then dq_io_loop while `running`, then the
 * thread that closes it. Fields marked "io" belong to that thread.
 */
#ifndef NSQD_DISKQUEUE_INTERNAL_H
#define NSQD_DISKQUEUE_INTERNAL_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/lock.h"
#include "common/ticker.h"
#include "nsqd/core/message_count.h"
#include "nsqd/disk/backend_queue.h"

/* Every record: a big-endian length, then that many bytes. */
#define DQ_PREFIX 4
/* The bytes by which a record is recognised: the prefix and a message's header. */
#define DQ_RECORD_HEADER (DQ_PREFIX + MSG_HEADER_LENGTH)
/*
 * No queue gets to file numbers and positions beyond this: a million files per second for 30 years.
 */
#define DQ_SANE_MAX 1000000000000000LL

#define DQ_BLOCK_SIZE (256 * 1024) /* bytes per read */
#define DQ_BATCH_MAX 256           /* messages offered at once */
#define DQ_BATCH_BYTES (256 * 1024)
#define DQ_REQS_MAX 64 /* puts written together */
/* How much is searched or counted in a turn, in bytes: a few milliseconds; and without one. */
#define DQ_SLICE (8 << 20)
#define DQ_FIRST_SLICE (64 * 1024)
#define DQ_IOV_MAX 1023 /* three per record, at most IOV_MAX */

/* The system calls that can fail in interesting ways; tests replace some. */
struct dq_io {
	int (*open)(const char *path, int flags, mode_t mode);
	ssize_t (*pread)(int fd, void *buf, size_t n, off_t off);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t off);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int (*ftruncate)(int fd, off_t len);
	int (*rename)(const char *from, const char *to);
	int (*unlink)(const char *path);
	int (*start)(struct wait_group *wg, const char *name, void (*fn)(void *), void *arg,
		struct err *err);
};

/* A place in the queue: file number and offset. */
struct dq_pos {
	int64_t file;
	int64_t pos;
};

static inline bool dq_pos_eq(struct dq_pos a, struct dq_pos b)
{
	return a.file == b.file && a.pos == b.pos;
}

/* Bytes of a file in memory: buf[0..len) is what stands at off. */
struct dq_window {
	unsigned char *buf;
	size_t cap;
	int64_t off;
	size_t len;
};

/* How far the search behind damage has come ("THE SEARCH" in diskqueue_record.c). */
struct dq_search {
	int64_t file, limit; /* what it is about */
	int64_t from, upto;  /* no record begins in [from, upto) */
	bool found;          /* but at upto */
};

/* A file that is read in large blocks. All zero (fd -1) is closed. */
struct dq_block {
	const struct dq_io *io;
	int fd;         /* -1: closed */
	int64_t file;   /* number of the open file */
	int64_t size;   /* of the file when it was opened, or looked at since */
	int64_t budget; /* how many bytes dq_record_at may still search before DQ_MORE */
	union {
		struct dq_window main; /* the records */
		unsigned char *buf;    /* main.buf: NULL while nothing is held */
	};
	struct dq_window ahead; /* the search */
	struct dq_search search;
};

/* The results of dq_record_at. */
enum dq_found {
	DQ_RECORD,  /* a record: rec->len bytes at pos + DQ_PREFIX, the next place is rec->next */
	DQ_END,     /* pos is the limit */
	DQ_DAMAGED, /* no record here; the next one may begin at rec->next (the limit: none) */
	DQ_SHORT,   /* the file ends before the limit */
	DQ_MORE,    /* not known yet, and the budget is used up: call again with a new one */
	DQ_ERROR,   /* the file cannot be read now; err is set */
};

struct dq_record {
	int64_t len;
	int64_t next;
};

/*
 * Messages read ahead. Not part of the queue: it is larger than all the rest, and of many queues
 * few are ever read.
 */
struct dq_batch {
	struct message *msgs[DQ_BATCH_MAX]; /* read, and offered on read_chan */
	struct dq_pos end[DQ_BATCH_MAX];    /* rd, once that message is received */
	size_t len[DQ_BATCH_MAX];
};

/* Counting what the metadata do not know of (diskqueue_count.c): io. */
struct dq_counting {
	bool active;
	bool clean;        /* nothing was damaged so far */
	int64_t *files;    /* their numbers, in order; owned while active */
	size_t n, i;       /* how many; where pos is */
	struct dq_pos pos; /* up to here it is counted */
	int64_t last;      /* files[n - 1] */
	int64_t found;
	enum lg_level level; /* of the line in the log, when it is done */
	const char *what;    /* what was found, for that line */
	struct dq_block block;
};

/* A put under way: lives on the free list or with the putting thread. */
struct dq_write_req {
	const struct backend_record *recs; /* borrowed from the putting thread, which waits */
	size_t n;
	size_t stored;              /* out */
	struct err err;             /* out, where stored < n */
	struct chan *response_chan; /* capacity 1, so that dq_io_loop never waits for a putter */
	struct dq_write_req *next;  /* on the free list; guarded by diskqueue.lock */
};

struct dq_empty_req {
	int rc;
	struct err err;
	struct chan *response_chan;
};

/* What others than dq_io_loop may know of the state (diskqueue_peek.c). */
struct dq_shown {
	bool loaded;        /* else nothing is known */
	struct dq_pos from; /* behind the last message that was received */
	struct dq_pos to;   /* where the next record goes; from, while nothing is loaded */
	int64_t first;      /* timestamp of the first message; 0: none, or it is not read yet */
	int64_t last;       /* of the last that is read */
	size_t n;           /* how many are read */
};

struct diskqueue {
	struct backend_queue base; /* immutable */
	unsigned magic;            /* immutable until freed */

	/* instantiation time metadata: immutable */
	char *name;
	char *data_path;
	int64_t max_bytes_per_file;
	int64_t min_msg_size;
	int64_t max_msg_size;
	int64_t sync_every;
	int64_t sync_timeout;
	bool waits_for_done;
	bool may_forget;            /* opts.crash_forgets */
	_Atomic bool crash_forgets; /* may_forget, and nobody has asked for the contrary */
	const struct lg *lg;
	const struct dq_io *io;
	struct chan *changed_chan; /* or NULL; borrowed */

	/* chans: immutable */
	struct chan *read_chan;  /* of struct message *, unbuffered */
	struct chan *write_chan; /* of struct dq_write_req * */
	struct chan *empty_chan; /* of struct dq_empty_req * */
	struct chan *done_chan;  /* capacity 1: `done` has moved by as much as a sync is due for */
	struct chan *exit_chan;  /* closed by close and delete */
	struct wait_group wait_group;

	struct mutex lock;
	bool running;   /* guarded by lock: dq_io_loop is there */
	size_t pending; /* guarded by lock: requests that dq_io_loop must still answer */
	struct dq_write_req *free_reqs; /* guarded by lock */
	size_t n_free_reqs;             /* guarded by lock */

	/* Atomic; written by io. A message that is received leaves depth when it is in hand. */
	_Atomic int64_t depth;
	_Atomic int64_t body_bytes; /* of these messages */
	/* Atomic: received, and not done with. Below 0: done with, and still in depth. */
	_Atomic int64_t in_hand;

	struct mutex shown_lock; /* a leaf */
	struct dq_shown shown; /* guarded by shown_lock; written by io, which may read it without */

	/* run-time state, persisted: io */
	bool loaded;            /* false: the disk could not be read yet, nothing below is valid */
	struct dq_pos rd;       /* behind the last message that was received, and done with */
	struct dq_pos wr;       /* where the next record goes */
	struct dq_pos saved_rd; /* the one in the metadata file, as far as we wrote it */

	/* writing: io */
	int write_fd;     /* wr.file, or -1 */
	bool torn;        /* wr.file may hold bytes beyond wr.pos that are to be cut off */
	bool data_dirty;  /* wr.file has unsynced records */
	bool dir_dirty;   /* a file was created since the directory was synced */
	bool meta_dirty;  /* the metadata file differs from rd, wr, depth */
	bool note_failed; /* dq_note_meta has said so; it says it again after a success */
	bool meta_exists; /* there is a metadata file */
	bool told_empty;  /* what changed_chan was told of last */
	bool closing;     /* what is not done counts as not received */
	bool need_sync;
	int64_t count;      /* messages written and read since the last sync */
	struct iovec *iov;  /* DQ_IOV_MAX of them while writing, else NULL */
	uint32_t *prefixes; /* big-endian lengths for iov */

	/* reading: io */
	struct dq_block block;
	struct dq_pos ahead;      /* behind the last message of the batch; taken if there is none */
	struct dq_pos taken;      /* behind the last message that was received; rd if undone is 0 */
	int64_t undone;           /* messages between rd and taken */
	_Atomic int64_t received; /* atomic; messages, in the queue's life; written by io */
	_Atomic int64_t received_bytes; /* atomic; of the bodies of these; written by io */
	_Atomic int64_t done;           /* atomic; of these, how many the receiver is done with */
	struct dq_batch *batch;         /* NULL: nothing was read since the queue fell quiet */
	size_t batch_n;
	size_t batch_bytes;
	size_t batch_target; /* how many to offer: grows while all are taken */
	bool searching;      /* the read-ahead waits for its turn: there is much damage */
	int log_lines;       /* lines about damage in the file at ahead */
	int64_t log_skipped; /* bytes of it that were skipped without a line */
	int64_t *bad_files;  /* numbers of damaged files that are still being read; owned */
	size_t n_bad_files;

	struct dq_counting counting;
	_Atomic bool at_work; /* atomic; counting or searching: for diskqueue_barrier */

	/* patience: io */
	int read_tries;         /* that failed in a row at ahead */
	int load_tries;         /* that failed in a row since the start */
	int64_t obstacle_file;  /* what stands in the place of this file to be written, */
	int64_t obstacle_since; /* since when (ns, monotonic); 0: nothing */

	/* timers: io */
	struct ticker sync_ticker;  /* runs while there is something to sync or to give back */
	struct ticker retry_ticker; /* after a read error; batch stays empty until then */
	int64_t retry_ns;           /* the next delay; 0 after a success */
	int idle_ticks;             /* sync ticks in a row without activity */
	bool active;                /* something was read or written since the last tick */
};

/* What a record has beside a message's body. */
#define DQ_OVERHEAD (DQ_PREFIX + MSG_HEADER_LENGTH)

/* n more messages, with so many bytes of bodies, are stored; or less, where these are negative: io. */
static inline void dq_add_amount(struct diskqueue *d, int64_t n, int64_t body_bytes)
{
	message_count_stored(n * DQ_OVERHEAD + body_bytes);
	atomic_fetch_add(&d->body_bytes, body_bytes);
	atomic_fetch_add(&d->depth, n);
}

/* So many are stored: io. */
static inline void dq_set_amount(struct diskqueue *d, int64_t n, int64_t body_bytes)
{
	dq_add_amount(d, n - atomic_load(&d->depth), body_bytes - atomic_load(&d->body_bytes));
}

/* Writes a line to the log, as printf. Any thread; never blocks on the disk. */
static inline void dq_logf(const struct diskqueue *d, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static inline void dq_logf(const struct diskqueue *d, enum lg_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	lg_vlogf(d->lg, level, fmt, ap);
	va_end(ap);
}

#endif
