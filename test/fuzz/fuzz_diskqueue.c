/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the files of a disk queue. Whatever they hold, the queue opens, and gives what it can
 * find. A look at it sees the same before. Then it takes and gives new messages. It is empty after
 * that, also when it is opened again.
 *
 * Flags:
 *    1  the input is damage to a queue that was sound (damage); else the files (write_files)
 *    2  messages stay until they are done
 *    4  crash_forgets
 *    8  the queue is emptied before it is read to its end
 *   16  each message is synced
 *   32  it is looked at while it is read
 */
#include "test/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/chan.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/lock.h"
#include "common/xalloc.h"
#include "nsqd/core/message.h"
#include "nsqd/core/message_view.h"
#include "nsqd/disk/backend_peek.h"
#include "nsqd/disk/diskqueue.h"
#include "nsqd/disk/diskqueue_for_tests.h"
#include "nsqd/disk/diskqueue_inspect.h"
#include "nsqd/disk/diskqueue_patience.h"

#define DAMAGED 1
#define DONE 2
#define FORGETS 4
#define EMPTIES 8
#define SYNCS 16
#define LOOKS 32

#define PATIENCE (60 * NSEC_PER_SEC)
#define BODY 34
#define RECORD (DQ_RECORD_HEADER + BODY)
#define PER_FILE 4
#define N_FILES 3
#define N_MESSAGES (PER_FILE * N_FILES)
#define TIMESTAMP INT64_C(1700000000000000000)
#define REPEATS 256
#define MAX_FILES 10 /* of an input */
#define NEW_MESSAGES (PER_FILE + 2)
#define LOOKED_MAX 1000
#define LOOKED_WHILE_READ 16 /* so many messages are read with a look before each */
#define NEW_MESSAGE 1000     /* the numbers of those that are put into the queue afterwards */

static struct lg lg;
/* For backend_peek. The queue does not go meanwhile: nobody else takes it. */
static struct rwlock lock;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	lg_init(&lg, STDERR_FILENO, "", LG_DEBUG);
	rwlock_init(&lock, RANK_CHANNEL_EXIT);
	dq_patience = (struct dq_patience){0};
	return 0;
}

/* --- messages ----------------------------------------------------------------------------------- */

static void fill_record(unsigned char record[RECORD], unsigned number)
{
	char id[MSG_ID_LENGTH + 1];
	put_be32(record, RECORD - DQ_PREFIX);
	put_be64(record + 4, (uint64_t)TIMESTAMP + number);
	put_be16(record + 12, 1);
	snprintf(id, sizeof(id), "%016x", number);
	memcpy(record + 14, id, MSG_ID_LENGTH);
	for (unsigned i = 0; i < BODY; i++)
		record[DQ_RECORD_HEADER + i] = (unsigned char)(number * 31 + i * 7);
}

/* The number of a message as it is above; -1: another one. */
static long number_by(
	int64_t timestamp, const struct message_id *id, const struct message_body *body)
{
	unsigned char record[RECORD];
	uint64_t number = (uint64_t)timestamp - (uint64_t)TIMESTAMP;
	if (number > 2 * NEW_MESSAGE || body->len != BODY)
		return -1;
	fill_record(record, (unsigned)number);
	return memcmp(record + 14, id->hex, MSG_ID_LENGTH) == 0 &&
			       memcmp(record + DQ_RECORD_HEADER, body->data, BODY) == 0
		       ? (long)number
		       : -1;
}

static long number_of(const struct message *m)
{
	return number_by(m->timestamp, &m->id, m->body);
}

/* --- the queue ---------------------------------------------------------------------------------- */

static struct diskqueue_opts options_of(uint8_t flags)
{
	return (struct diskqueue_opts){
		.name = "q",
		.data_path = fuzz_dir(),
		.max_bytes_per_file = PER_FILE * RECORD,
		.min_msg_size = MIN_VALID_MSG_LENGTH,
		.max_msg_size = 1024 + MIN_VALID_MSG_LENGTH,
		.sync_every = flags & SYNCS ? 1 : 2500,
		.sync_timeout = 2 * NSEC_PER_SEC,
		.waits_for_done = flags & DONE,
		.crash_forgets = flags & FORGETS,
		.lg = &lg,
	};
}

/* --inspect-data looks, and changes nothing: what use_queue finds is as without it. */
static void inspect(uint8_t flags)
{
	struct diskqueue_opts o = options_of(flags);
	struct diskqueue_report r;
	struct err err = {0};
	CHECK(diskqueue_inspect(&o, &r, &err) == 0);
	CHECK(r.depth >= 0 && r.records >= 0 && r.damaged_bytes >= 0 && r.bytes >= 0);
	CHECK(r.loaded || *r.why.msg);
	diskqueue_report_free(&r);
}

static struct backend_queue *open_queue(uint8_t flags)
{
	struct err err = {0};
	struct diskqueue_opts o = options_of(flags);
	struct backend_queue *q = diskqueue_new(&o, &err);
	CHECK(q);
	return q;
}

/* The next message, which comes. */
static struct message *get(struct backend_queue *q)
{
	struct message *m = NULL;
	struct ticker patience;
	struct chan_case cases[] = {
		chan_case_recv(q->ops->read_chan(q), &m), chan_case_tick(&patience)};
	ticker_after(&patience, PATIENCE);
	CHECK(chan_select(cases, 2) == 0);
	return m;
}

/* What the depth announces is on offer soon: what cannot be read is given up at once (dq_patience). */
static bool has_message(struct backend_queue *q)
{
	int64_t end = clock_mono_ns() + PATIENCE;
	for (;;) {
		diskqueue_barrier(q);
		if (((struct diskqueue *)q)->batch_n > 0)
			return true;
		if (q->ops->depth(q) == 0)
			return false;
		CHECK(clock_mono_ns() < end);
		usleep(100);
	}
}

/*
 * Looks at what is stored; counts those that were sound by their numbers. True: that is all there is,
 * and not only what there is room for, or what is near.
 */
static bool look(struct backend_queue *q, unsigned seen[N_MESSAGES])
{
	struct message_views views;
	struct err err = {0};
	int64_t first, last;
	message_views_init(&views, LOOKED_MAX, BODY + 1);
	int rc = backend_peek(&lock, &q, &views, &err);
	CHECK(rc == 0 || *err.msg);
	CHECK(q->ops->ahead(q, &first, &last) > 0 || (first == 0 && last == 0));
	CHECK(q->ops->body_bytes(q) >= 0 && q->ops->received_bytes(q) >= 0);
	CHECK(q->ops->undone(q) >= 0 && q->ops->received(q) >= 0);
	(void)q->ops->first_timestamp(q);
	for (size_t i = 0; i < views.n; i++) {
		const struct message_view *v = &views.v[i];
		long number = number_by(v->timestamp, &v->id, v->body);
		CHECK(v->place == PLACE_DISK && v->body_len >= v->body->len);
		if (number >= 0 && number < N_MESSAGES)
			seen[number]++;
	}
	bool all = rc == 0 && views.n < LOOKED_MAX;
	message_views_free(&views);
	return all;
}

/* Before anything is read: a look sees what is going to come. */
static void look_first(struct backend_queue *q, const bool intact[N_MESSAGES])
{
	unsigned seen[N_MESSAGES] = {0};
	(void)has_message(q);
	bool all = look(q, seen);
	for (unsigned i = 0; i < N_MESSAGES; i++)
		CHECK(!all || !intact[i] || seen[i] == 1);
}

/* Reads all; counts those that were sound by their numbers. At most so many can be there. */
static void drain(struct backend_queue *q, uint8_t flags, size_t most, unsigned seen[N_MESSAGES])
{
	unsigned looked_at[N_MESSAGES] = {0};
	for (size_t n = 0; has_message(q); n++) {
		CHECK(n < most);
		if ((flags & LOOKS) && n < LOOKED_WHILE_READ)
			(void)look(q, looked_at);
		struct message *m = get(q);
		long number = number_of(m);
		if (number >= 0 && number < N_MESSAGES)
			seen[number]++;
		message_unref(m);
		if (flags & DONE)
			q->ops->done(q, 1);
	}
	CHECK(q->ops->depth(q) == 0);
}

static void put_and_get(struct backend_queue *q, uint8_t flags)
{
	unsigned char record[RECORD];
	struct err err = {0};
	for (unsigned i = 0; i < NEW_MESSAGES; i++) {
		fill_record(record, NEW_MESSAGE + i);
		struct backend_record rec = {
			record + DQ_PREFIX, MSG_HEADER_LENGTH, record + DQ_RECORD_HEADER, BODY};
		CHECK(q->ops->put(q, &rec, 1, &err) == 1);
	}
	for (unsigned i = 0; i < NEW_MESSAGES; i++) {
		struct message *m = get(q);
		CHECK(number_of(m) == NEW_MESSAGE + (long)i);
		message_unref(m);
		if (flags & DONE)
			q->ops->done(q, 1);
	}
}

static void close_queue(struct backend_queue *q)
{
	struct err err = {0};
	CHECK(q->ops->close(q, &err) == 0);
}

/* What was read or emptied is gone for good: a start behind it finds nothing. */
static void use_queue(
	uint8_t flags, size_t most, const bool intact[N_MESSAGES], unsigned seen[N_MESSAGES])
{
	struct err err;
	inspect(flags);
	struct backend_queue *q = open_queue(flags);
	look_first(q, intact);
	if (flags & EMPTIES)
		CHECK(q->ops->empty(q, &err) == 0);
	else
		drain(q, flags, most, seen);
	put_and_get(q, flags);
	close_queue(q);
	q = open_queue(flags);
	CHECK(q->ops->depth(q) == 0 && !has_message(q));
	CHECK(q->ops->delete (q, &err) == 0);
}

/* --- files -------------------------------------------------------------------------------------- */

static const char *data_file(unsigned i)
{
	char name[64];
	snprintf(name, sizeof(name), "q.diskqueue.%06u.dat", i);
	return fuzz_path(name);
}

static size_t write_repeatedly(const char *path, struct input part)
{
	unsigned char *data = xmalloc(REPEATS * part.n + 1);
	for (size_t i = 0; i < REPEATS; i++)
		memcpy(data + i * part.n, part.p, part.n);
	(void)unlink(path);
	fuzz_write_file(path, data, REPEATS * part.n);
	free(data);
	return REPEATS * part.n;
}

/*
 * An input of parts, each of which begins with 0xff 0xfe and says which file it is: a digit, or m
 * for the metadata. A letter is that file with the part REPEATS times in it, or, from k on, a
 * directory in its place. What stands before the first is the metadata. Returns the size of the data.
 */
static size_t write_files(struct input in)
{
	static const char mark[] = "\xff\xfe";
	size_t size = 0;
	uint8_t name = 'm';
	while (in.n > 0) {
		const uint8_t *end = memmem(in.p, in.n, mark, 2);
		struct input part = input_take(&in, end ? (size_t)(end - in.p) : in.n);
		if (name >= '0' && name <= '9')
			fuzz_write_file(data_file(name - '0'), part.p, part.n);
		else if (name >= 'a' && name <= 'j')
			size += write_repeatedly(data_file(name - 'a'), part);
		else if (name >= 'k' && name <= 't' && name != 'm')
			(void)mkdir(data_file(name - 'k'), 0700);
		else if (name == 'M')
			(void)mkdir(fuzz_path("q.diskqueue.meta.dat"), 0700);
		else if (part.n > 0)
			fuzz_write_file(fuzz_path("q.diskqueue.meta.dat"), part.p, part.n);
		size += part.n;
		(void)input_take(&in, 2);
		name = input_byte(&in);
	}
	return size;
}

/* What stands in a file that is damaged. */
struct file {
	unsigned char data[4 * PER_FILE * RECORD];
	size_t n;
	size_t sound; /* so much at its beginning has not been touched */
};

/* Replaces n bytes at `at` by what the input has. */
static void replace(struct file *f, size_t at, size_t n, struct input by)
{
	if (at > f->n || f->n + by.n > sizeof(f->data))
		return;
	n = n < f->n - at ? n : f->n - at;
	memmove(f->data + at + by.n, f->data + at + n, f->n - at - n);
	if (by.n > 0)
		memcpy(f->data + at, by.p, by.n);
	f->n += by.n - n;
	f->sound = at < f->sound ? at : f->sound;
}

/*
 * A sound queue of three files, of which one is damaged. The input has the number of the file. Then
 * it has the place, how many bytes go there, how many come, and these. Returns what must come: the
 * others, and what stands before the damage. Of that not the last one: where bytes are gone, its
 * length may look damaged.
 */
static void damage(struct input in, bool intact[N_MESSAGES])
{
	unsigned which = input_byte(&in) % N_FILES;
	char meta[64];
	for (unsigned i = 0; i < N_FILES; i++) {
		static struct file f;
		f.n = f.sound = PER_FILE * RECORD;
		for (unsigned k = 0; k < PER_FILE; k++)
			fill_record(f.data + k * RECORD, i * PER_FILE + k);
		while (i == which && in.n > 0) {
			size_t at = input_byte(&in), n = input_byte(&in) % 64;
			size_t len = input_byte(&in) % 64;
			replace(&f, at, n, input_take(&in, len));
		}
		for (unsigned k = 0; k < PER_FILE; k++)
			intact[i * PER_FILE + k] =
				(k + 2) * RECORD <= f.sound || f.sound == PER_FILE * RECORD;
		fuzz_write_file(data_file(i), f.data, f.n);
	}
	snprintf(meta, sizeof(meta), "%d\n0,0\n%d,%d\n", N_MESSAGES, N_FILES, 0);
	fuzz_write_file(fuzz_path("q.diskqueue.meta.dat"), meta, strlen(meta));
}

/* The input is the name of a file, too. */
static void name_kind(struct input in)
{
	char *name = input_string(in);
	size_t len = 0;
	enum dq_file_kind kind = diskqueue_file_kind(name, &len);
	CHECK(len <= strlen(name) && (len > 0) == (kind != DQ_FILE_OTHER));
	free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t flags = input_byte(&in);
	unsigned seen[N_MESSAGES] = {0};
	bool intact[N_MESSAGES] = {false};
	size_t bytes = sizeof(struct file) * N_FILES;
	name_kind(in);
	if (flags & DAMAGED)
		damage(in, intact);
	else
		bytes = write_files(in);
	use_queue(flags, bytes / DQ_RECORD_HEADER + 1, intact, seen);
	for (unsigned i = 0; i < N_MESSAGES; i++)
		CHECK((flags & EMPTIES) || !intact[i] || seen[i] == 1);
	fuzz_empty_dir(fuzz_dir());
	fuzz_check_resources();
	return 0;
}
