/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the segments of a log. Whatever they hold, the log opens, or says that a newer program
 * has written it. It is read to its end, takes and gives new messages, and has them after a restart.
 *
 * Flags:
 *    1  the input is a list of records and other bytes, which get sound checksums (log_files.h);
 *       else it is the files, each behind 0xff 0xfe and a digit (write_files)
 *    2  with `disk`
 *    4  some of it is forgotten
 */
#include "test/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/xalloc.h"
#include "nsqd/log/log.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_read.h"
#include "nsqd/log/log_remove.h"
#include "test/fuzz/log_files.h"

#define BUILT 1
#define DISK 2
#define FORGETS 4

#define NEW_MESSAGES 3

static struct lg lg;
/* Sound checksums stand for what is not true (log_files_build). */
static bool lies;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	lg_init(&lg, STDERR_FILENO, "", LG_FATAL);
	return 0;
}

/* --- files ---------------------------------------------------------------------------------------- */

static void write_files(struct input in)
{
	static const char mark[] = "\xff\xfe";
	uint8_t name = 1;
	while (in.n > 0) {
		const uint8_t *end = memmem(in.p, in.n, mark, 2);
		struct input part = input_take(&in, end ? (size_t)(end - in.p) : in.n);
		if (name % 16 == 15)
			(void)mkdir(log_files_segment("t", name % 16), 0700);
		else
			fuzz_write_file(log_files_segment("t", 1 + name % 16), part.p, part.n);
		(void)input_take(&in, 2);
		name = input_byte(&in);
	}
}

/* --- the log -------------------------------------------------------------------------------------- */

static struct log *open_log(int dir, uint8_t flags)
{
	struct log *l = NULL;
	struct err err = {0};
	struct log_opts opts = {
		.dir = dir, .topic = "t", .disk = flags & DISK, .segment_bytes = 4096, .lg = &lg};
	int rc = log_open(&opts, &l, &err);
	CHECK((rc == 0) == (l != NULL) && (rc == 0 || *err.msg));
	return l;
}

/* Reads all; returns how many messages there are. */
static uint64_t read_all(struct log *l, uint64_t *next)
{
	struct log_stats s;
	struct log_item item;
	struct err err;
	uint64_t n = 0, seq;
	enum log_read what;
	log_get_stats(l, &s);
	struct log_reader *r = log_reader_open(l, s.first, 0);
	seq = s.first;
	while ((what = log_reader_next(r, &item, &err)) != LOG_READ_END) {
		CHECK(what != LOG_READ_ERROR && item.seq == seq && item.n > 0);
		seq += item.n;
		if (what == LOG_READ_GAP)
			continue;
		CHECK(item.msg->seq == item.seq && item.msg->body->len < LOG_FILE_MAX);
		CHECK(!item.channel || strlen(item.channel) <= LOG_NAME_MAX);
		message_unref(item.msg);
		n++;
	}
	CHECK(seq == s.next);
	*next = seq;
	log_reader_close(r);
	return n;
}

/* What is new comes back as it was, unless a record before it says that it is longer than it is. */
static void append_and_read(struct log *l, uint64_t next)
{
	struct message *msgs[NEW_MESSAGES];
	struct log_item item;
	struct err err;
	for (unsigned i = 0; i < NEW_MESSAGES; i++) {
		struct message_body *body = message_body_new(2000);
		memset(body->data, (int)('a' + i), body->len);
		msgs[i] = message_new((struct message_id){"0123456789abcdef"}, body, i);
	}
	CHECK(log_append(l, msgs, 1, &err) == 0);
	CHECK(log_append_copies(l, "orders", msgs + 1, 2, &err) == 0);
	CHECK(msgs[0]->seq == next);
	struct log_reader *r = log_reader_open(l, next, 0);
	for (unsigned i = 0; i < NEW_MESSAGES && !lies; i++) {
		CHECK(log_reader_next(r, &item, &err) == LOG_READ_MESSAGE);
		CHECK(item.seq == next + i && item.msg->body->data[1999] == (char)('a' + i));
		message_unref(item.msg);
		CHECK(log_read_at(r, msgs[i]->seq, msgs[i]->offset, &item, &err) ==
			LOG_READ_MESSAGE);
		message_unref(item.msg);
	}
	message_unref_all(msgs, NEW_MESSAGES);
	log_reader_close(r);
}

static void use_log(int dir, uint8_t flags)
{
	struct err err;
	uint64_t next, again;
	struct log *l = open_log(dir, flags);
	if (!l)
		return;
	uint64_t n = read_all(l, &next);
	append_and_read(l, next);
	CHECK(read_all(l, &again) == n + NEW_MESSAGES || lies);
	CHECK(again == next + NEW_MESSAGES);
	if (flags & FORGETS) {
		CHECK(log_forget(l, next, &err) == 0);
		n = read_all(l, &again) - NEW_MESSAGES;
	}
	log_close(l);
	l = open_log(dir, flags);
	CHECK(l && (read_all(l, &again) == n + NEW_MESSAGES || lies));
	CHECK(again == next + NEW_MESSAGES || lies);
	CHECK(log_delete(l, dir, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t flags = input_byte(&in);
	lies = false;
	/* Without anything there, the log makes its directory. */
	if (in.n > 0)
		(void)mkdir(fuzz_path("t.log"), 0700);
	if ((flags & BUILT) && in.n > 0)
		lies = log_files_build("t", in);
	else if (in.n > 0)
		write_files(in);
	int dir = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0);
	use_log(dir, flags);
	close(dir);
	fuzz_empty_dir(fuzz_dir());
	fuzz_check_resources();
	return 0;
}
