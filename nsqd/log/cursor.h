/* SPDX-License-Identifier: MIT */
/*
 * The cursor of a channel: which messages of the topic's log it has finished, which of them wait
 * until they are due, and their attempts. Bodies it does not know. A topic has one, too: what it has handed to its channels is finished there. Go has none: stock has no log.
 *
 * A message of the log is, to a cursor:
 *
 *     new        nothing has happened to it yet
 *     taken      it has been handed out, or is on its way: somebody holds it in memory
 *     waiting    until it is due; only its number, place and attempts are in memory
 *     finished   for good
 *
 * The owner's lock (channel.in_flight_lock) guards a cursor. Each function says "locked" if it
 * wants that lock. No such function blocks; what each costs is O(log n), if not said otherwise.
 * Functions that write files are for one thread at a time, the flusher, and without the lock.
 *
 * What a cursor is told is kept in memory and gathered. The flusher writes it, and a crash forgets
 * what was not flushed. So after a crash messages may come again, with the attempts and the due
 * times of the last flush. None is lost: nothing is written as finished that was not.
 *
 * Numbers are below SEQ_END (cursor_set.h). What is said about a message that is finished already
 * changes nothing.
 */
#ifndef NSQD_CURSOR_H
#define NSQD_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/lock.h"
#include "nsqd/log/cursor_entries.h"
#include "nsqd/log/cursor_set.h"
#include "nsqd/log/log_io.h"

struct cursor;

struct cursor_opts {
	const struct log_io *io; /* outlives the cursor */
	int dir;                 /* the log's directory; borrowed, outlives the cursor */
	const char *file;        /* the name in dir; NULL: in memory only (ephemeral channels) */
	const char *topic;       /* for the head of the file; at most 64 bytes, as is channel */
	const char *channel;     /* "": the topic's own cursor */
	size_t snapshot_min;     /* bytes; smaller files are not replaced; 0: 256 KiB */
	size_t part;             /* bytes of a snapshot that are made at a time; 0: 32 KiB */
	/* Bytes. More pending events are dropped, and a snapshot does in their place; 0: 1 MiB. */
	size_t pending_max;
	bool read_only; /* for a look: no file is changed, and nothing may be flushed */
};

/* --- life --------------------------------------------------------------------------------------- */

/*
 * A new cursor, for which all messages before start are finished. The first flush makes the file,
 * in place of any that is there.
 */
struct cursor *cursor_new(const struct cursor_opts *o, uint64_t start);

/* What cursor_open has met; for the log and for those who count. */
struct cursor_found {
	bool missing;          /* no file: all messages from first on are new */
	bool damaged;          /* some of it, or all, could not be read: more comes again */
	int64_t damaged_bytes; /* as in cursor_file.h */
	int64_t torn_bytes;    /* cut off at the end, as after a crash */
	uint64_t beyond; /* what it knew of messages from end on was dropped: so many events */
	uint64_t gone;   /* so many unfinished messages are before first */
};

/*
 * Reads the file. The log has messages from first to end - 1: what is before is finished, and what
 * the file says of later ones is dropped. (After a power cut the log may have lost its end, which
 * the cursor knows. These numbers are given anew.) The file without it is on the disk, synced, when
 * this returns. So every cursor of a log has to be opened, or its file removed, before anything is
 * appended to the log. Blocks on the disk.
 *
 * Those that had been taken are new again, with their attempts. NULL with err set: as in
 * cursor_file_open, or the file cannot be written without what is beyond the log's end.
 */
struct cursor *cursor_open(const struct cursor_opts *o, uint64_t first, uint64_t end,
	struct cursor_found *found, struct err *err);
/* Closes the file, and drops what was not flushed. */
void cursor_free(struct cursor *c);
/* Removes the file; for the flusher, as the last call before cursor_free. -1 with err set. */
int cursor_remove(struct cursor *c, struct err *err);

/* --- what happens; locked ------------------------------------------------------------------------ */

/*
 * seq to seq + n - 1 are handed out to a consumer; each has been so attempts times now (the first
 * time: 1). None of them waits (cursor_pop_due).
 */
void cursor_taken(struct cursor *c, uint64_t seq, uint64_t n, uint16_t attempts);
/*
 * A consumer has finished it; or it is a copy that the log has for another channel. It does not
 * wait. False: it was finished before.
 */
bool cursor_finished(struct cursor *c, uint64_t seq);
/*
 * from to to - 1 are finished, taken, waiting and new ones alike: for channel_empty, and for a topic
 * that has handed them out. O(n) of those that wait, if some of the range have waited. Returns how
 * many were not finished before.
 */
uint64_t cursor_finished_range(struct cursor *c, uint64_t from, uint64_t to);
/*
 * A new or taken message waits from now on, with its body forgotten. It is a DPUB with its due time
 * and no attempts, or a REQ. Or it is requeued at once, and has no room in memory (due 0). Its seq does not wait already. False: it is finished, and does not wait.
 */
bool cursor_wait(struct cursor *c, const struct cursor_entry *e);
/*
 * Up to max messages that are due at now (wall clock, ns), the earliest first. They are taken, and
 * not yet handed out. Returns how many.
 */
size_t cursor_pop_due(struct cursor *c, int64_t now, struct cursor_entry *out, size_t max);

/*
 * Looks for seq among so many of those that wait, from the place *at (0 at first) on, and moves that
 * on. 1: it was *out, and is taken now, as by cursor_pop_due. 0: not yet found. -1: there is none; or
 * others have moved between two calls, so that it was missed.
 */
int cursor_take_waiting(
	struct cursor *c, size_t *at, size_t steps, uint64_t seq, struct cursor_entry *out);

/*
 * The wall clock was set, and shows by_ns more than it did: what waits for a time is due so much later
 * on it. That is safe with the next flush, which writes a snapshot. O(n) of those that wait.
 */
void cursor_clock_set(struct cursor *c, int64_t by_ns);

/* A message that was appended to the log again, so that its old segment may go. */
struct cursor_move {
	uint64_t from, to; /* its number, old and new */
	uint32_t offset;   /* of its new record */
	bool waited;       /* set by cursor_moved: it waits; else somebody may hold it */
};
/*
 * Each has its attempts, and if it waits its due time, under its new number. The old one is
 * finished. moves is sorted by from; what is finished by now is finished under both numbers. The
 * file says it of all n in one frame, or of none. O(n) of those that wait.
 */
void cursor_moved(struct cursor *c, struct cursor_move *moves, size_t n);
/*
 * All from `from` on that are taken or wait are finished, and the new ones among them are not. So goes
 * what is for one channel alone, when that is emptied. O(n) of those that wait.
 */
void cursor_finished_held(struct cursor *c, uint64_t from);

/* --- what is; locked ---------------------------------------------------------------------------- */

/* All messages before it are finished, and it is not. */
uint64_t cursor_floor(struct cursor *c);
/* Is that one finished? */
bool cursor_is_finished(const struct cursor *c, uint64_t seq);
/*
 * Is the reader of the log, which has come to seq, to hand it out? Not if it is finished, waits, or
 * has been taken since the cursor was opened.
 */
bool cursor_wants(const struct cursor *c, uint64_t seq);
/* The first one from `from` on that it is to hand out. */
uint64_t cursor_next_wanted(const struct cursor *c, uint64_t from);
/* The first one from `from` on that was never taken, and has neither waited nor been finished. */
uint64_t cursor_next_unseen(const struct cursor *c, uint64_t from);
/*
 * The first one from `from` on that has been handed out, has waited, or is finished; SEQ_END: there
 * is none.
 */
uint64_t cursor_next_seen(const struct cursor *c, uint64_t from);
/* How often seq, which does not wait and is not finished, has been handed out. */
uint16_t cursor_attempts(const struct cursor *c, uint64_t seq);
/* How many wait. */
size_t cursor_waiting(const struct cursor *c);
/* Wall clock, ns; INT64_MAX: nothing waits. */
int64_t cursor_next_due(const struct cursor *c);
/* How many messages before end are not finished. */
uint64_t cursor_unfinished(const struct cursor *c, uint64_t end);
/*
 * The unfinished messages from *from to to - 1, at most max, in order. *from is where the next call
 * goes on; to when all have been given. Returns how many.
 */
size_t cursor_list_unfinished(
	const struct cursor *c, uint64_t *from, uint64_t to, uint64_t *out, size_t max);
/* Likewise those that wait, in no order, from the place *at (0 at first) on. O(n). */
size_t cursor_list_waiting(const struct cursor *c, size_t *at, uint64_t from, uint64_t to,
	struct cursor_entry *out, size_t max);
/*
 * Looks for seq among so many of those that wait, from the place *at (0 at first) on. *at goes on.
 * 1: it is *out. 0: it was not found yet. -1: there is none. For a caller that only shows it: what
 * waits may have been moved between two calls.
 */
int cursor_find_waiting(
	const struct cursor *c, size_t *at, size_t steps, uint64_t seq, struct cursor_entry *out);
/* Bytes allocated for all of this. */
size_t cursor_memory(const struct cursor *c);
/* Bytes that the next flush will write, about; a snapshot comes on top. */
size_t cursor_pending(const struct cursor *c);
/* So many bytes are worth a flush, before its time has come. */
#define CURSOR_FLUSH_SIZE (64 << 10)

/* --- files; the flusher, without the lock -------------------------------------------------------- */

/*
 * Writes what is pending, and where the file has grown too large a snapshot in its place. `lock` is
 * the owner's lock (NULL: there is none); it is held for short whiles. Blocks on the disk. -1 with
 * err set: nothing is lost, the next call tries it again. What happens before the call is safe from
 * kill -9 when it returns 0.
 */
int cursor_flush(struct cursor *c, struct mutex *lock, struct err *err);
/* The next flush writes a snapshot. */
void cursor_want_snapshot(struct cursor *c);
/* Bytes of the file, and how many snapshots and bytes have been written since the start. */
struct cursor_file_stats {
	int64_t size;
	uint64_t snapshots, written;
};
/* The flusher. */
struct cursor_file_stats cursor_file_stats(const struct cursor *c);
/* The name of the file, borrowed; NULL: there is none. Immutable. */
const char *cursor_file_name(const struct cursor *c);

#endif
