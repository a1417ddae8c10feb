/* SPDX-License-Identifier: MIT */
/*
 * The file of a cursor (docs/log.md has its bytes): a head, and frames behind it. This room knows
 * frames, checksums and how a file is replaced. What is in the frames it does not know.
 *
 * One thread at a time uses a file. All functions but cursor_file_init may block on the disk.
 */
#ifndef NSQD_CURSOR_FILE_H
#define NSQD_CURSOR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/log/log_io.h"

#define CURSOR_VERSION 1
/* One copy of the head, which stands twice. */
#define CURSOR_HEAD_COPY 192
#define CURSOR_HEAD_SIZE (2 * CURSOR_HEAD_COPY)
#define CURSOR_NAME_MAX 64
#define CURSOR_FRAME_HEAD 12
/* The most bytes in a frame. */
#define CURSOR_FRAME_MAX (2 << 20)

struct cursor_file {
	const struct log_io *io;
	int dir;               /* borrowed */
	char *name, *new_name; /* owned; both NULL: there is no file, and never will be */
	char topic[CURSOR_NAME_MAX + 1], channel[CURSOR_NAME_MAX + 1];
	bool read_only; /* set before it is opened: nothing is changed */

	int fd; /* -1: there is none yet, or it cannot be written to any more */
	int64_t size;
	uint64_t key;

	int new_fd; /* of the file that is to replace it; -1: there is none */
	int64_t new_size;
	uint64_t new_key;
};

/* What cursor_file_open has met. */
struct cursor_file_found {
	bool missing;          /* there is no file */
	bool head_damaged;     /* and so nothing of it can be read */
	int64_t damaged_bytes; /* in the middle: skipped, or searched in vain */
	int64_t torn_bytes;    /* at the end: cut off */
};

/* file: its name in dir; NULL: nothing is ever written. topic and channel: what the head says. */
void cursor_file_init(struct cursor_file *f, const struct log_io *io, int dir, const char *file,
	const char *topic, const char *channel);
/* Closes, and drops a new file that is not complete. */
void cursor_file_close(struct cursor_file *f);

/*
 * Opens the file, gives `frame` the content of each sound frame in their order, and cuts off a torn
 * end (not if read_only). `frame` returns false if the content is damaged after all. -1 with err set:
 * it cannot be read; ENOTSUP: a newer version has written it; EINVAL: it belongs to another channel.
 * The file is as it was then. A failing read says nothing of what the file holds: try again.
 */
int cursor_file_open(struct cursor_file *f,
	bool (*frame)(void *arg, const unsigned char *content, size_t n), void *arg,
	struct cursor_file_found *found, struct err *err);

/*
 * Appends a frame, unsynced. -1 with err set: nothing of it is there. The same may be tried again,
 * unless f->fd is -1 now: then the file is to be replaced. Blocks on the disk, as all below do.
 */
int cursor_file_append(struct cursor_file *f, const void *content, size_t n, struct err *err);

/*
 * A new file in place of the old: begin, add, add, ..., commit or abandon. -1 with err set: there is no
 * new file.
 */
int cursor_file_new(struct cursor_file *f, struct err *err);
/* Adds a frame. -1 with err set: the new file is to be abandoned. */
int cursor_file_new_add(struct cursor_file *f, const void *content, size_t n, struct err *err);
/*
 * Syncs the new file, and puts it in place of the old one. -1 with err set: the old one is in its
 * place. But if f->new_fd is -1, the new one is, and after a power cut perhaps the old one.
 */
int cursor_file_new_commit(struct cursor_file *f, struct err *err);
/* Removes the new file, if there is one. */
void cursor_file_new_abandon(struct cursor_file *f);
/* Removes the file, and syncs the directory. No file is fine. */
int cursor_file_remove(struct cursor_file *f, struct err *err);

#endif
