/* SPDX-License-Identifier: MIT */
/*
 * The inside of the disk queue, for nsqd/diskqueue*.c and their tests:
 *
 *   diskqueue.c         the interface and io_loop
 *   diskqueue_write.c   appending, rolling, syncing
 *   diskqueue_read.c    the read-ahead, and the end of files that are read
 *   diskqueue_record.c  where a record ends, and where the next one begins after damage
 *   diskqueue_meta.c    the metadata file, and what is found at start
 *   diskqueue_dir.c     names and numbers of the data files
 *
 * One thread at a time works on a queue: the creator, then io_loop while
 * `running`, then (all threads joined) whoever closes it. Fields marked "io"
 * belong to that thread.
 */
#ifndef NSQD_DISKQUEUE_INTERNAL_H
#define NSQD_DISKQUEUE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/lock.h"
#include "common/ticker.h"
#include "nsqd/backend_queue.h"
#include "nsqd/diskqueue.h"

/* Every record: a big-endian length, then that many bytes. */
#define DQ_PREFIX 4
/* What tells a record from other bytes: the prefix and a message's header. */
#define DQ_RECORD_HEADER (DQ_PREFIX + MSG_HEADER_LENGTH)
/*
 * File numbers and positions beyond this are nobody's: 10^15 (files of a million per second for 30
 * years).
 */
#define DQ_SANE_MAX 1000000000000000LL

#define DQ_BLOCK_SIZE (256 * 1024) /* bytes per read */
#define DQ_BATCH_MAX 256           /* messages offered at once */
#define DQ_BATCH_BYTES (256 * 1024)
#define DQ_REQS_MAX 64  /* puts written together */
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
extern const struct dq_io dq_io_default;

/* A place in the queue: file number and offset. */
struct dq_pos {
	int64_t file;
	int64_t pos;
};

static inline bool dq_pos_eq(struct dq_pos a, struct dq_pos b)
{
	return a.file == b.file && a.pos == b.pos;
}

/* A file that is read in large blocks. All zero (fd -1) is closed. */
struct dq_block {
	const struct dq_io *io;
	int fd;       /* -1: closed */
	int64_t file; /* number of the open file */
	int64_t size; /* of the file when it was opened, or looked at since */
	unsigned char *buf;
	size_t cap;
	int64_t off; /* buf[0..len) is what stands at off */
	size_t len;
};

/* What dq_record_at found. */
enum dq_found {
	DQ_RECORD,  /* a record: rec->len bytes at pos + DQ_PREFIX, the next place is rec->next */
	DQ_END,     /* pos is the limit */
	DQ_DAMAGED, /* no record here; the next one may begin at rec->next (the limit: none) */
	DQ_SHORT,   /* the file ends before the limit */
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

/* A put under way: lives on the free list or with the putting thread. */
struct dq_write_req {
	const struct backend_record *recs; /* borrowed from the putting thread, which waits */
	size_t n;
	size_t stored;              /* out */
	struct err err;             /* out, where stored < n */
	struct chan *response_chan; /* capacity 1, so that io_loop never waits for a putter */
	struct dq_write_req *next;  /* on the free list; guarded by diskqueue.lock */
};

struct dq_empty_req {
	int rc;
	struct err err;
	struct chan *response_chan;
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
	const struct lg *lg;
	const struct dq_io *io;

	/* chans: immutable */
	struct chan *read_chan;  /* of struct message *, unbuffered */
	struct chan *write_chan; /* of struct dq_write_req * */
	struct chan *empty_chan; /* of struct dq_empty_req * */
	struct chan *done_chan;  /* capacity 1: `done` has moved by as much as a sync is due for */
	struct chan *exit_chan;  /* closed by close and delete */
	struct wait_group wait_group;

	struct mutex lock;
	bool running;   /* guarded by lock: io_loop is there */
	size_t pending; /* guarded by lock: requests that io_loop must still answer */
	struct dq_write_req *free_reqs; /* guarded by lock */
	size_t n_free_reqs;             /* guarded by lock */

	_Atomic int64_t depth; /* atomic; written by io */

	/* run-time state, persisted: io */
	bool loaded;      /* false: the disk could not be read yet, nothing below is valid */
	struct dq_pos rd; /* behind the last message that was received, and done with */
	struct dq_pos wr; /* where the next record goes */

	/* writing: io */
	int write_fd;     /* wr.file, or -1 */
	bool torn;        /* wr.file may hold bytes beyond wr.pos that are to be cut off */
	bool data_dirty;  /* wr.file has unsynced records */
	bool dir_dirty;   /* a file was created since the directory was synced */
	bool meta_dirty;  /* the metadata file differs from rd, wr, depth */
	bool meta_exists; /* there is a metadata file */
	bool need_sync;
	int64_t count;      /* messages written and read since the last sync */
	struct iovec *iov;  /* DQ_IOV_MAX of them while writing, else NULL */
	uint32_t *prefixes; /* big-endian lengths for iov */

	/* reading: io */
	struct dq_block block;
	struct dq_pos ahead;    /* behind the last message of the batch; taken if there is none */
	struct dq_pos taken;    /* behind the last message that was received; rd if undone is 0 */
	int64_t undone;         /* messages between rd and taken */
	int64_t received;       /* messages, in the queue's life */
	_Atomic int64_t done;   /* atomic; of these, how many the receiver is done with */
	struct dq_batch *batch; /* NULL: nothing was read since the queue fell quiet */
	size_t batch_n;
	size_t batch_bytes;
	size_t batch_target; /* how many to offer: grows while all are taken */
	int64_t *bad_files;  /* numbers of damaged files that are still being read; owned */
	size_t n_bad_files;

	/* timers: io */
	struct ticker sync_ticker;  /* runs while there is something to sync or to give back */
	struct ticker retry_ticker; /* after a read error; batch stays empty until then */
	int64_t retry_ns;           /* the next delay; 0 after a success */
	int idle_ticks;             /* sync ticks in a row without activity */
	bool active;                /* something was read or written since the last tick */
};

/* diskqueue.c */

/* As diskqueue_new, with other system calls; io outlives the queue. For tests. */
struct backend_queue *diskqueue_new_with_io(
	const struct diskqueue_opts *opts, const struct dq_io *io, struct err *err);
/* Waits until io_loop has dealt with everything that happened before. For tests. */
void diskqueue_barrier(struct backend_queue *q);
void dq_logf(const struct diskqueue *d, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* diskqueue_write.c */

/* Writes all records of n requests, syncs if it is time, and fills in their results. */
void dq_write(struct diskqueue *d, struct dq_write_req **reqs, size_t n);
/*
 * Syncs the data, and the directory if a file is new, then persists the
 * metadata. -1 with err set if the data is not safe; a failure to persist the
 * metadata is logged, and tried again later.
 */
int dq_sync(struct diskqueue *d, struct err *err);
/* Leaves wr.file as it is and goes on in a new file (the reader finishes the old one). */
void dq_skip_to_next_write_file(struct diskqueue *d);
void dq_close_write(struct diskqueue *d);

/* diskqueue_read.c */

/*
 * Reads ahead until the batch is full, the queue ends, or reading fails (then retry_ticker runs).
 */
void dq_fill(struct diskqueue *d);
/* The first n of the batch were received: moveForward. */
void dq_taken(struct diskqueue *d, size_t n);
/* Moves rd, if the receiver is done with all that it received. */
void dq_settle(struct diskqueue *d);
/* Drops the batch but for its first keep messages; they will be read again. With 0, its memory. */
void dq_drop_batch(struct diskqueue *d, size_t keep);
/* The reader follows when it waits at the end of wr.file and that is about to become to. */
void dq_reader_follow(struct diskqueue *d, struct dq_pos to);
/* Where everything was received: removes the file that holds it, and will go on in a new one. */
void dq_drop_consumed(struct diskqueue *d);
/* Closes the read file and gives its buffer back. */
void dq_close_read(struct diskqueue *d);
/* deleteAllFiles: throws everything away and goes on in a new file. */
int dq_delete_all_files(struct diskqueue *d, struct err *err);

/* diskqueue_record.c */

void dq_block_init(struct dq_block *b, const struct dq_io *io);
/* Opens file number file at path. -1 with err set (err->code is errno). */
int dq_block_open(struct dq_block *b, const char *path, int64_t file, struct err *err);
/* Closes the file and frees the buffer. */
void dq_block_close(struct dq_block *b);
/* Looks at the size again. */
int dq_block_stat(struct dq_block *b, struct err *err);
/* Bytes [pos, pos + n), valid until the next call. 0; 1: the file ends before; -1 with err set. */
int dq_block_view(struct dq_block *b, int64_t pos, size_t n, int64_t limit, const unsigned char **p,
	struct err *err);
/* What stands at pos of a file whose records end at limit. Sizes are checked against d's. */
enum dq_found dq_record_at(struct dq_block *b, const struct diskqueue *d, int64_t pos,
	int64_t limit, struct dq_record *rec, struct err *err);

/* diskqueue_meta.c */

/*
 * retrieveMetaData: sets rd, wr and depth from the metadata file and from what
 * the data files really hold. -1 with err set: the directory or the metadata
 * cannot be read now; then nothing was changed.
 */
int dq_load(struct diskqueue *d, struct err *err);
/* persistMetaData: temporary file, fsync if durable, rename. */
int dq_persist_meta(struct diskqueue *d, bool durable, struct err *err);

/* diskqueue_dir.c; the caller frees what is returned */

char *dq_meta_data_file_name(const struct diskqueue *d);
char *dq_file_name(const struct diskqueue *d, int64_t file);
/* The numbers of the data files that are there, in order. -1 with err set. */
int dq_list_files(const struct diskqueue *d, int64_t **files, size_t *n, struct err *err);
/*
 * Whether this queue has data files: 1, 0, or -1 with err set. Cheap where many queues ask in a
 * row.
 */
int dq_any_files(const struct diskqueue *d, struct err *err);
/* Whether file is there, and its size. -1 with err set: not known. 0: no. 1: yes. */
int dq_file_size(const struct diskqueue *d, int64_t file, int64_t *size, struct err *err);
/*
 * Removes the data files [from, to); missing ones are fine. Logs; returns -1 with the last error in
 * err.
 */
int dq_remove_files(struct diskqueue *d, int64_t from, int64_t to, struct err *err);
/* Renames path to path.bad, or to path.N.bad if there is one already. */
void dq_move_aside(struct diskqueue *d, const char *path);
int dq_sync_dir(const struct diskqueue *d, struct err *err);

#endif
