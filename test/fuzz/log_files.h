/* SPDX-License-Identifier: MIT */
/*
 * Files of a topic's log, made of an input, with sound checksums: a fuzzer guesses none. In fuzz_dir.
 */
#ifndef TEST_FUZZ_LOG_FILES_H
#define TEST_FUZZ_LOG_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "test/fuzz/fuzz.h"

/* No segment is larger. */
#define LOG_FILE_MAX (64 * 1024)
/* So many numbers are more than a reader goes through one by one. */
#define LOG_FILE_FAR 200000

/* The path of a segment of the topic's log; as fuzz_path. */
const char *log_files_segment(const char *topic, uint64_t first);
/*
 * Writes segments from number 1 on into the log's directory, which is there. The input is a row of
 *
 *     0, 1  a record: kind, flags, how far its number is off, attempts, the first bytes of its due
 *           time and of its time stamp, how wrong its size is (1: its body is), the body's length, and
 *           the body
 *     2     other bytes; the rest of this byte is how many
 *     3     the next segment; the rest of this byte is how many numbers it leaves out, 63: LOG_FILE_FAR
 *
 * True: a head with a sound checksum has a wrong size, or a number that is not above all before it.
 * Nothing that happens to a file does that.
 */
bool log_files_build(const char *topic, struct input in);

/* Messages below that are looked at one by one. */
#define CURSOR_CLAIMS 300
/* The most frames of a cursor. */
#define CURSOR_FRAMES 64

/* What the frames of a cursor claim, read in a plain way. */
struct cursor_claims {
	bool finished[CURSOR_CLAIMS];
};

/*
 * Writes a cursor in the directory dir. The input is frames: a byte says how much of what follows is
 * the next one's content, and 255 that all is. Adds to claims (NULL: nobody asks).
 */
void cursor_file_build(int dir, const char *file, const char *topic, const char *channel,
	struct input in, struct cursor_claims *claims);

#endif
