/* SPDX-License-Identifier: MIT */
/* What cursor.c, cursor_open.c and cursor_flush.c share; for no other file. */
#ifndef NSQD_CURSOR_INTERNAL_H
#define NSQD_CURSOR_INTERNAL_H

#include "nsqd/log/cursor.h"
#include "nsqd/log/cursor_events.h"
#include "nsqd/log/cursor_file.h"

/* What a snapshot has come to. Its parts are written in this order. */
enum cursor_phase {
	CURSOR_NO_SNAPSHOT,
	CURSOR_SNAPSHOT_FINISHED,
	CURSOR_SNAPSHOT_SEEN,
	CURSOR_SNAPSHOT_WAITING,
	CURSOR_SNAPSHOT_TRIED,
};

struct cursor {
	/* --- guarded by the owner's lock --- */

	struct seq_set finished;
	/* Finished, or has waited or been taken since the cursor was opened. */
	struct seq_set held;
	/* The same, and what had been taken before. */
	struct seq_set seen;
	struct cursor_entries waiting; /* a heap; some may be finished by now */
	/* Found by number: neither finished nor waiting, but seen, and attempts are not 1. */
	struct cursor_entries tried;
	uint64_t floor;            /* all before it are finished; there may be more */
	struct events_out pending; /* what has happened since the last flush */
	size_t pending_max;        /* immutable */
	bool overflow;             /* too much has: pending is nothing, a snapshot is needed */

	enum cursor_phase phase;
	uint64_t next_seq; /* phases FINISHED and SEEN: what is before has been written */
	size_t left;       /* phases WAITING and TRIED: entries before it have not */

	/* --- the flusher's own --- */

	struct cursor_file file;
	size_t snapshot_min, part_max;
	int64_t snapshot_at;      /* a file of that size is replaced */
	bool needs_snapshot;      /* whatever its size is */
	bool incomplete;          /* the old file lacks events: nothing is appended to it */
	struct events_out events; /* taken from pending, and not yet written */
	struct events_out part;   /* of a snapshot */
	bool stays;               /* there is more pending than the events */
	bool events_too;          /* the events belong into the new file as well */
	bool begins, completes;   /* part is the first one, the last one */
	bool aborts;              /* the snapshot has failed: phase is to be none */
	uint64_t snapshots, written;
};

/*
 * For the flusher, under the lock: moves what is pending into c->events, and the next part of a
 * snapshot into c->part.
 */
void cursor_encode(struct cursor *c);

#endif
