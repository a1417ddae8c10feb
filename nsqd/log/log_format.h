/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a log's segments (docs/log.md has them all): the head of the file, and the records
 * behind it. Only this room knows them. All numbers are big-endian.
 */
#ifndef NSQD_LOG_FORMAT_H
#define NSQD_LOG_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/core/message.h"

/* --- its name: the number of its first record, in 20 digits ------------------------------------- */

#define LOG_SEGMENT_NAME sizeof("00000000000000000001.seg")
/*
 * No log gets to such a number: ten million records a second, for 400 years. It leaves as many to the
 * records behind it, since a cursor knows twice as many (SEQ_END in cursor_set.h).
 */
#define LOG_SEQ_MAX (UINT64_C(1) << 57)

/* The name of the segment that begins with that number. */
void log_segment_name(uint64_t first, char out[LOG_SEGMENT_NAME]);
/* False: that is no segment's name; no number is beyond LOG_SEQ_MAX. */
bool log_segment_number(const char *name, uint64_t *first);

/* --- the head of a segment ---------------------------------------------------------------------- */

#define LOG_VERSION 1
/* One copy of the head. It stands twice, so that a damaged byte does not cost a whole segment. */
#define LOG_HEAD_COPY 128
/* Where the records begin. */
#define LOG_HEAD_SIZE (2 * LOG_HEAD_COPY)
#define LOG_NAME_MAX 64

struct log_head {
	uint64_t first;              /* the number of the first record, as in the file's name */
	int64_t made;                /* when, wall clock, ns */
	uint64_t key;                /* random: a record of another file is none in this one */
	char name[LOG_NAME_MAX + 1]; /* of the topic; terminated */
};

/* Both copies. */
void log_head_encode(const struct log_head *h, unsigned char out[LOG_HEAD_SIZE]);
/* Those of another version, for the tests. */
void log_head_encode_version(
	const struct log_head *h, uint32_t version, unsigned char out[LOG_HEAD_SIZE]);
/*
 * What stands in the first n bytes of a file. 0; or -1 with err set: ENOTSUP if a newer version
 * has written it, EBADMSG if neither copy is sound.
 */
int log_head_decode(const void *buf, size_t n, struct log_head *out, struct err *err);

/* --- records ------------------------------------------------------------------------------------ */

#define LOG_RECORD_HEAD 56
/* No record, batch or segment is larger. */
#define LOG_BYTES_MAX UINT32_MAX

enum log_kind {
	LOG_KIND_MESSAGE = 1, /* for all channels: the body follows */
	LOG_KIND_COPY = 2, /* for one: its number until then, its channel's name, then the body */
	LOG_KIND_END = 3,  /* nothing follows; the log was closed, or fell idle, here */
};

enum log_flags {
	LOG_FLAG_COMMIT = 1, /* the first record of a commit: all before it is committed */
	LOG_FLAG_FIRST = 2,  /* the first record of a batch, which is kept whole or not at all */
	LOG_FLAG_LAST = 4,   /* the last one */
};

/* What stands in front of the body, and a little more. */
struct log_record {
	uint32_t size;     /* of the whole record */
	uint32_t body_crc; /* CRC-32C of all that follows the head */
	uint16_t attempts; /* 0, but of copies */
	uint8_t kind;      /* enum log_kind */
	uint8_t flags;     /* enum log_flags */
	uint64_t seq;      /* the record's number in the log */
	int64_t timestamp; /* the message's; wall clock, ns */
	int64_t due;       /* not to be handed out before; wall clock, ns; 0: at once */
	struct message_id id;
};

/* The state in which the checksum of a head at this place of a segment begins. */
uint32_t log_record_seed(uint64_t key, uint32_t offset);
/* The head, with its checksum. */
void log_record_encode(
	const struct log_record *r, uint32_t seed, unsigned char out[LOG_RECORD_HEAD]);
/* Puts in what is known only when the record gets its place: number, flags, checksum. */
void log_record_stamp(
	unsigned char head[LOG_RECORD_HEAD], uint64_t seq, uint8_t flags, uint32_t seed);
/* False: that is no head of a record that begins at the seed's place. */
bool log_record_decode(
	const unsigned char buf[LOG_RECORD_HEAD], uint32_t seed, struct log_record *out);

/* What stands between the head and the body of a copy. */
struct log_copy {
	uint64_t origin;   /* the number of the message until then */
	size_t name_len;   /* of the channel, 1 to LOG_NAME_MAX */
	const char *name;  /* not terminated; within the decoded bytes */
	size_t prefix_len; /* of all this */
};
#define LOG_COPY_PREFIX_MAX (8 + 1 + LOG_NAME_MAX)

/* Returns the bytes written: c->prefix_len is not looked at. */
size_t log_copy_encode(const struct log_copy *c, unsigned char out[LOG_COPY_PREFIX_MAX]);
/* False: that is no such prefix. */
bool log_copy_decode(const void *buf, size_t n, struct log_copy *out);

#endif
