/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the file of a cursor. Whatever it holds, the cursor opens, and wants no more memory
 * than the file's size allows. It goes on working, and the file that it writes is sound. Events in
 * sound frames are believed; that is checked by a plain reading of them.
 *
 * Flags:
 *    1  the input is the file as it is; else the content of frames: a byte says how much of the
 *       input is the next one's
 *    2  the input is damage to a file that was sound: a place (2 bytes), and what is there (1)
 *    4  the log ends at END; else it is as long as a log can be
 *    8  there are more messages than CURSOR_CLAIMS before the first one
 */
#include "test/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/xalloc.h"
#include "nsqd/log/cursor.h"
#include "nsqd/log/cursor_file.h"
#include "test/fuzz/log_files.h"

#define RAW 1
#define DAMAGE 2
#define SHORT 4
#define LATE 8

#define END 1000
/* Bytes of memory for each byte of the file, and for a cursor without one. */
#define MEMORY_EACH 400
#define MEMORY_FIRST (64 << 10)

static const char name[] = "c.cursor";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	return 0;
}

static struct cursor_opts opts_in(int dir)
{
	return (struct cursor_opts){
		.io = &log_io_real, .dir = dir, .file = name, .topic = "t", .channel = "c"};
}

/* --- files -------------------------------------------------------------------------------------- */

/* Messages below 100 of all kinds. */
static void make_file(int dir)
{
	struct cursor_opts o = opts_in(dir);
	struct err err = {0};
	struct cursor *c = cursor_new(&o, 10);
	for (uint64_t seq = 10; seq < 100; seq++) {
		cursor_taken(c, seq, 1, (uint16_t)(1 + seq % 3));
		if (seq % 2 == 0)
			cursor_finished(c, seq);
		else if (seq % 5 == 0)
			cursor_wait(c, &(struct cursor_entry){(int64_t)seq << 40, seq, 9, 2});
		if (seq % 10 == 0)
			CHECK(cursor_flush(c, NULL, &err) == 0);
	}
	cursor_free(c);
}

static void damage_file(struct input in)
{
	int fd = open(fuzz_path(name), O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	off_t size = lseek(fd, 0, SEEK_END);
	while (in.n > 0) {
		off_t at = (input_byte(&in) << 8 | input_byte(&in)) % size;
		uint8_t byte = input_byte(&in);
		CHECK(pwrite(fd, &byte, 1, at) == 1);
	}
	close(fd);
}

/* --- cursors ------------------------------------------------------------------------------------ */

static struct cursor *open_cursor(int dir, uint64_t first, uint64_t end, size_t size)
{
	struct cursor_opts o = opts_in(dir);
	struct cursor_found found;
	struct err err = {0};
	struct cursor *c = cursor_open(&o, first, end, &found, &err);
	/* A sound head may be a newer version's, or another channel's. */
	if (!c) {
		CHECK(err.msg[0]);
		return NULL;
	}
	CHECK(cursor_memory(c) <= MEMORY_FIRST + MEMORY_EACH * size);
	uint64_t floor = cursor_floor(c);
	CHECK(floor >= first && floor <= end && cursor_unfinished(c, end) <= end - floor);
	CHECK((floor == end) == (cursor_unfinished(c, end) == 0));
	return c;
}

/* What the reader of the log, and what moves old messages, ask. */
static void look_at(struct cursor *c, uint64_t end)
{
	struct cursor_entry e[16];
	size_t at = 0, n = cursor_list_waiting(c, &at, 0, end, e, 16);
	for (size_t i = 0; i < n; i++)
		CHECK(!cursor_wants(c, e[i].seq) && !cursor_is_finished(c, e[i].seq));
	uint64_t wanted = cursor_next_wanted(c, 0);
	CHECK(wanted >= cursor_floor(c));
	if (cursor_wants(c, wanted))
		(void)cursor_attempts(c, wanted);
}

/* Some are appended to the log again: end to end + 15. */
static void move_some(struct cursor *c, uint64_t end)
{
	uint64_t from = 0, list[16];
	struct cursor_move moves[16];
	size_t n = cursor_list_unfinished(c, &from, end, list, 16);
	for (size_t i = 0; i < n; i++)
		moves[i] = (struct cursor_move){list[i], end + i, (uint32_t)i, false};
	cursor_moved(c, moves, n);
	for (size_t i = 0; i < n; i++)
		CHECK(cursor_is_finished(c, list[i]) && !cursor_is_finished(c, end + i));
	CHECK(cursor_pending(c) > 0 || n == 0);
}

static void use_cursor(struct cursor *c, uint64_t end)
{
	struct cursor_entry e[16];
	uint64_t from = 0, list[16], seq = cursor_floor(c);
	size_t n = cursor_list_unfinished(c, &from, end, list, 16);
	for (size_t i = 0; i < n; i++)
		CHECK(!cursor_is_finished(c, list[i]));
	CHECK(n == 0 || list[0] == seq);
	n = cursor_pop_due(c, INT64_MAX, e, 16);
	for (size_t i = 0; i < n; i++) {
		CHECK(e[i].seq < end && !cursor_is_finished(c, e[i].seq));
		cursor_taken(c, e[i].seq, 1, (uint16_t)(e[i].attempts + 1));
		if (i % 2)
			CHECK(cursor_finished(c, e[i].seq));
		else
			CHECK(cursor_wait(c, &e[i]));
	}
	CHECK(cursor_unfinished(c, seq) == 0);
	if (seq < end)
		CHECK(cursor_finished_range(c, seq, seq + 1) <= 1 && cursor_floor(c) > seq);
}

static void use_file(
	int dir, uint64_t first, uint64_t end, size_t size, const struct cursor_claims *claims)
{
	struct err err = {0};
	struct cursor *c = open_cursor(dir, first, end, size);
	if (!c)
		return;
	for (uint64_t seq = first; claims && seq < CURSOR_CLAIMS; seq++)
		CHECK(cursor_is_finished(c, seq) == claims->finished[seq]);
	look_at(c, end);
	use_cursor(c, end);
	if (end < SEQ_END) {
		move_some(c, end);
		end += 16;
	}
	CHECK(cursor_flush(c, NULL, &err) == 0);
	cursor_want_snapshot(c);
	CHECK(cursor_flush(c, NULL, &err) == 0);
	uint64_t floor = cursor_floor(c), left = cursor_unfinished(c, end);
	size_t waiting = cursor_waiting(c);
	cursor_free(c);
	c = open_cursor(dir, first, end, size + 1000);
	CHECK(c && cursor_floor(c) == floor && cursor_unfinished(c, end) == left &&
		cursor_waiting(c) == waiting && cursor_file_stats(c).size > 0);
	CHECK(cursor_remove(c, &err) == 0);
	cursor_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct cursor_claims claims = {0};
	uint8_t flags = input_byte(&in);
	int dir = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0);
	if (flags & RAW) {
		fuzz_write_file(fuzz_path(name), in.p, in.n);
	} else if (flags & DAMAGE) {
		make_file(dir);
		damage_file(in);
		size += 2000;
	} else {
		cursor_file_build(dir, name, "t", "c", in, &claims);
		size += CURSOR_FRAMES * CURSOR_FRAME_HEAD;
	}
	use_file(dir, flags & LATE ? CURSOR_CLAIMS + 1 : 1, flags & SHORT ? END : SEQ_END, size,
		flags & (RAW | DAMAGE) ? NULL : &claims);
	close(dir);
	fuzz_empty_dir(fuzz_dir());
	fuzz_check_resources();
	return 0;
}
