/* SPDX-License-Identifier: MIT */
/*
 * Where the dead letters of a topic have come from: a file beside its disk queue, which stock and
 * the disk queues ignore. (No Go file.)
 *
 *   TOPIC.dead-letters.dat        the newest
 *   TOPIC.dead-letters.old.dat    those before; the next file that is full takes its place
 *
 * A file is a list of records of 256 bytes, integers big-endian:
 *
 *     0   4  CRC-32C of the bytes from 4 on
 *     4   1  version: 1
 *     5   1  reason: 0 max_attempts, 1 expired, 2 overflow
 *     6   1  flags: 1, the body is a JSON envelope
 *     7   1  0
 *     8  16  the id of the dead letter, as text
 *    24  16  the id that it had
 *    40   8  its timestamp (wall clock, ns)
 *    48   8  when it was given up (wall clock, ns)
 *    56   2  its attempts
 *    58   6  0
 *    64  64  the name of the topic that it had, filled up with 0
 *   128  64  of the channel
 *   192  64  0
 *
 * A record that a crash has torn is cut off at the next start. One whose checksum is wrong, or whose
 * version is another, is skipped. A record may be of a message that was refused then, or that is long
 * gone: the id says nothing then.
 */
#ifndef NSQD_DEAD_LOG_H
#define NSQD_DEAD_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "nsqd/queue/dead_letter.h"

#define DEAD_LOG_SUFFIX ".dead-letters.dat"
#define DEAD_LOG_OLD_SUFFIX ".dead-letters.old.dat"
#define DEAD_RECORD_SIZE 256
/* So many records a file has: 32 MiB; and in memory, for an ephemeral topic, 1 MiB. */
#define DEAD_LOG_RECORDS 131072
#define DEAD_LOG_MEMORY_RECORDS 4096

struct dead_log;

/* One dead letter. */
struct dead_entry {
	struct message_id id; /* of the dead letter */
	struct dead_letter from;
};

/* The name of the topic whose file this is, the length of which is returned; 0: it is none. */
size_t dead_log_topic(const char *entry);

/*
 * The log of that topic; in_memory: an ephemeral one's. Opens no file yet. Not thread-safe: the
 * caller has a lock.
 */
struct dead_log *dead_log_new(const char *data_path, const char *topic, bool in_memory);
void dead_log_free(struct dead_log *l);
/*
 * Appends n records, to the disk if sync. -1 with err set: none is there. Blocks on the disk, as the
 * others below.
 */
int dead_log_append(
	struct dead_log *l, const struct dead_entry *entries, size_t n, bool sync, struct err *err);
/*
 * The last n records that were appended are of messages that have been refused: takes them back. -1
 * with err set: they may still be there, for ids that no message has.
 */
int dead_log_take_back(struct dead_log *l, size_t n, struct err *err);

/* The files as they are, to be read without the log's lock: those who append do not wait. */
struct dead_log_files {
	const struct dead_log *log; /* borrowed; of it immutable fields alone are read */
	int fd[2];                  /* the newest, the old one; -1: there is none */
};
/* For dead_log_close. -1 with err set: they cannot be opened, and there is nothing to close. */
int dead_log_snapshot(struct dead_log *l, struct dead_log_files *out, struct err *err);
/*
 * Fills in from of those entries whose id is known; found[i] says which. One pass over the files for
 * all of them. -1 with err set: they cannot be read. Any thread, as the next.
 */
int dead_log_find(const struct dead_log_files *files, struct dead_entry *entries, bool *found,
	size_t n, struct err *err);
void dead_log_close(struct dead_log_files *files);

/*
 * There are no messages of that topic: no record is needed any more. The file stays, since it says
 * that this is a dead-letter topic. -1 with err set.
 */
int dead_log_clear(struct dead_log *l, struct err *err);
/* Removes the files. -1 with err set: some are left. */
int dead_log_remove(struct dead_log *l, struct err *err);

#endif
