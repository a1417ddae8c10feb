/* SPDX-License-Identifier: MIT */
/*
 * Files that are not as they were left: cut off, bit-flipped, wiped, missing, alien, and metadata
 * that are old, gone, or nonsense. What was not touched is delivered, nothing is invented, and the
 * queue goes on.
 */
#include "test/unit/dq_test.h"

#include "common/bytes.h"
#include "common/rand.h"

#define META "q.diskqueue.meta.dat"

static char *data_file(int n)
{
	static char name[4][64];
	static int i;
	i = (i + 1) % 4;
	snprintf(name[i], sizeof(name[i]), "q.diskqueue.%06d.dat", n);
	return name[i];
}

static int64_t size_of(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? st.st_size : -1;
}

/* Fills a queue with messages [0, n) and closes it. */
static void make_queue(const struct diskqueue_opts *o, int64_t n, size_t body_len)
{
	struct backend_queue *q = open_queue(o);
	put(q, 0, (size_t)n, body_len);
	close_queue(q);
}

static void clean_dir(void)
{
	char cmd[] = "rm -f q.diskqueue.*";
	assert_int_equal(system(cmd), 0);
}

/* What a reader got of messages [0, n), and of nothing else. */
struct got {
	int count[64]; /* of each number */
	int odd;       /* messages that are not as they were made */
	bool order;    /* no number came after a higher one */
	int64_t n;
};

static struct got drain(struct backend_queue *q)
{
	struct got g = {.order = true};
	int64_t last = -1;
	/* A message that will come is announced by the depth, or is already on offer. */
	for (;;) {
		diskqueue_barrier(q);
		if (inside(q)->batch_n == 0)
			break;
		struct message *m = get_within(q, PATIENCE);
		assert_non_null(m);
		int64_t seq = message_seq(m);
		message_unref(m);
		g.n++;
		if (seq < 0 || seq >= 64) {
			g.odd++;
			continue;
		}
		g.count[seq]++;
		g.order = g.order && seq > last;
		last = seq;
	}
	return g;
}

/* Drains a queue that was damaged near record hit (-1: none), and sees that it works afterwards. */
static struct got check_queue(const struct diskqueue_opts *o, int n, int hit, const char *what)
{
	struct backend_queue *q = open_queue(o);
	struct got g = drain(q);
	for (int i = 0; i < n; i++)
		if (i != hit && g.count[i] != 1)
			fail_msg("%s: message %d came %d times", what, i, g.count[i]);
	if (g.odd > (hit >= 0))
		fail_msg("%s: %d odd messages", what, g.odd);
	if (!g.order)
		fail_msg("%s: out of order", what);
	assert_int_equal(depth(q), 0);
	put(q, 60, 2, 10);
	expect(q, 60, 2);
	expect_drained(q);
	close_queue(q);
	return g;
}

static void flip(const char *path, int64_t byte, int bit)
{
	unsigned char c;
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_true(pread(fd, &c, 1, byte) == 1);
	c ^= (unsigned char)(1 << bit);
	assert_true(pwrite(fd, &c, 1, byte) == 1);
	close(fd);
}

/* Whether flipping the bit gives a length that ends with a later record: nothing can tell this. */
static bool lands_on_a_record(int64_t len, int byte, int bit, int64_t records_left)
{
	int64_t grown = ((len - DQ_PREFIX) ^ ((int64_t)1 << (8 * byte + bit))) + DQ_PREFIX;
	return grown > len && grown % len == 0 && grown / len <= records_left;
}

/*
 * Each single bit of a record's length and header, in the first, a middle and the last record of a
 * file.
 */
static void flip_every_bit(size_t body_len, int records_per_file, int record)
{
	int64_t len = DQ_RECORD_HEADER + (int64_t)body_len;
	struct diskqueue_opts o = test_opts(records_per_file * len);
	char what[64];
	for (int byte = 0; byte < DQ_RECORD_HEADER; byte++) {
		for (int bit = 0; bit < 8; bit++) {
			if (byte >= 14 && bit != byte % 8)
				continue; /* one bit of each digit will do */
			if (byte < DQ_PREFIX &&
				lands_on_a_record(len, 3 - byte, bit,
					records_per_file - record % records_per_file))
				continue;
			make_queue(&o, 12, body_len);
			flip(data_file(record / records_per_file),
				record % records_per_file * len + byte, bit);
			snprintf(what, sizeof(what), "%zu bytes, record %d, byte %d bit %d",
				body_len, record, byte, bit);
			struct got g = check_queue(&o, 12, record, what);
			if (byte >= DQ_PREFIX && g.n != 12)
				fail_msg("%s: an intact body was not delivered", what);
			clean_dir();
		}
	}
}

static void test_a_flipped_bit_costs_at_most_its_own_message(void **state)
{
	const size_t lens[] = {0, 1, 34, 98, 200};
	atomic_store(&test_lg.level, LG_FATAL);
	for (size_t i = 0; i < COUNT(lens); i++)
		flip_every_bit(lens[i], 6, (int)(i % 2) * 5);
	flip_every_bit(100, 12, 5);
	flip_every_bit(100, 12, 11);
	flip_every_bit(100, 4, 6);
}

/* Cuts file at each offset; the messages before the cut and those of the other files come. */
static void cut_everywhere(int file)
{
	const int64_t len = 60, per_file = 4;
	struct diskqueue_opts o = test_opts(per_file * len);
	char what[64];
	for (int64_t at = 0; at < per_file * len; at += 7) {
		make_queue(&o, 12, (size_t)len - DQ_RECORD_HEADER);
		assert_int_equal(truncate(data_file(file), at), 0);
		snprintf(what, sizeof(what), "file %d cut at %lld", file, (long long)at);
		struct backend_queue *q = open_queue(&o);
		struct got g = drain(q);
		for (int64_t i = 0; i < 12; i++) {
			bool there = i / per_file != file || (i % per_file + 1) * len <= at;
			if (g.count[i] != there)
				fail_msg("%s: message %lld came %d times", what, (long long)i,
					g.count[i]);
		}
		assert_int_equal(g.odd, 0);
		assert_true(g.order);
		assert_int_equal(depth(q), 0);
		put(q, 60, 1, 10);
		expect(q, 60, 1);
		close_queue(q);
		clean_dir();
	}
}

static void test_a_file_that_was_cut_off_gives_what_is_left(void **state)
{
	atomic_store(&test_lg.level, LG_FATAL);
	for (int file = 0; file < 3; file++)
		cut_everywhere(file);
}

/* A crash: the data are newer than the metadata, and the last record may be torn. */
static void test_metadata_older_than_the_data_lose_nothing(void **state)
{
	const int64_t len = 60;
	struct diskqueue_opts o = test_opts(5 * len);
	long long v[5];
	for (int64_t at = 0; at <= 2 * len; at += 13) {
		for (int known = 0; known < 5; known++) {
			int64_t whole = 10 + at / len;
			char text[64];
			make_queue(&o, 12, (size_t)len - DQ_RECORD_HEADER);
			assert_int_equal(truncate(data_file(2), at), 0);
			/* The metadata of a moment when the first `known` were written. */
			snprintf(text, sizeof(text), "%d\n0,%d\n0,%lld\n", known, 0,
				(long long)(known * len));
			write_text(META, text);
			struct backend_queue *q = open_queue(&o);
			assert_int_equal(depth(q), whole);
			put(q, whole, 3, (size_t)len - DQ_RECORD_HEADER);
			assert_int_equal(depth(q), whole + 3);
			expect(q, 0, whole + 3);
			expect_drained(q);
			close_queue(q);
			read_meta_file(META, v);
			assert_int_equal(v[0], 0);
			assert_int_equal(files_ending(".bad"), at % len != 0);
			clean_dir();
		}
	}
	assert_true(logged("skipping to new file") > 0);
}

static void test_without_metadata_what_is_there_is_found(void **state)
{
	const char *texts[] = {NULL, "", "\n", "garbage", "12\n0,0\n", "12\n0,0\n2,240",
		"-1\n0,0\n2,240\n", "12\n5,0\n2,240\n", "12\n0,0\n999999999999999999,0\n",
		"12\n0,0\n9223372036854775807,0\n", "12\n-4,0\n2,240\n", "12\n0,-1\n2,240\n",
		"12\n0,0\n2,99999999999999999999999\n", "12\n0,0\n900000000000000,0\n",
		"9000000000000\n0,0\n2,120\n", "0\n0,0\n2,120\n", "0\n0,0\n0,0\n",
		"3\n0,0\n2,100000\n", "12\n0,0\n7,0\n", "12\n0,0\n7,77\n"};
	struct diskqueue_opts o = test_opts(5 * 60);
	for (size_t i = 0; i < COUNT(texts); i++) {
		make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
		assert_int_equal(unlink(META), 0);
		if (texts[i])
			write_text(META, texts[i]);
		struct backend_queue *q = open_queue(&o);
		if (depth(q) != 12)
			fail_msg("depth %lld with metadata %zu", (long long)depth(q), i);
		put(q, 12, 8, 60 - DQ_RECORD_HEADER);
		expect(q, 0, 20);
		expect_drained(q);
		close_queue(q);
		clean_dir();
	}
}

/*
 * What Go's Fscanf takes: the read position is kept. Last, the write position may be cut off: it is
 * not believed, and what is there is counted.
 */
static void test_metadata_are_read_as_stock_reads_them(void **state)
{
	const char *texts[] = {"8\n0,240\n2,120\n", "8\n0,240\n2,120", "8\r\n0,240\r\n2,120\r\n",
		"8\r\n0,240\r\n2,120", " 8 \n 0, 240\t\n 2, 120 \n", "+8\n0,240\n2,120\nmore",
		"008\n0,240\n2,120\r", "8\n0,240\n2,12", "8\n0,240\n2,1"};
	struct diskqueue_opts o = test_opts(5 * 60);
	for (size_t i = 0; i < COUNT(texts); i++) {
		make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
		write_text(META, texts[i]);
		struct backend_queue *q = open_queue(&o);
		if (depth(q) != 8)
			fail_msg("depth %lld with metadata %zu", (long long)depth(q), i);
		expect(q, 4, 8);
		expect_drained(q);
		close_queue(q);
		assert_int_equal(files_ending(".bad"), 0);
		clean_dir();
	}
}

/* Of metadata that were cut off, the read position is taken where it is whole. */
static void test_metadata_that_were_cut_off_keep_the_read_position(void **state)
{
	const char *texts[] = {"8\n0,240\n", "8\n0,240\n2", "8\n0,240\n2,", "8\n0,240\nx"};
	struct diskqueue_opts o = test_opts(5 * 60);
	for (size_t i = 0; i < COUNT(texts); i++) {
		make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
		write_text(META, texts[i]);
		struct backend_queue *q = open_queue(&o);
		assert_int_equal(depth(q), 8);
		expect(q, 4, 8);
		expect_drained(q);
		close_queue(q);
		assert_true(exists(META ".bad"));
		clean_dir();
	}
	/* A position that cannot be is none. */
	make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
	write_text(META, "8\n7,240\n");
	struct backend_queue *q = open_queue(&o);
	expect(q, 0, 12);
	close_queue(q);
}

/* Numbers that point behind what there is: nothing of it is owed, everything new works. */
static void test_metadata_newer_than_the_data_make_an_empty_queue(void **state)
{
	const char *texts[] = {"0\n2,240\n2,240\n", "0\n7,0\n7,0\n", "5\n7,100\n7,400\n",
		"5\n7,100\n9,0\n", "0\n900000000000000,0\n900000000000000,0\n"};
	struct diskqueue_opts o = test_opts(5 * 60);
	for (size_t i = 0; i < COUNT(texts); i++) {
		make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
		write_text(META, texts[i]);
		struct backend_queue *q = open_queue(&o);
		if (depth(q) != 0)
			fail_msg("depth %lld with metadata %zu", (long long)depth(q), i);
		put(q, 12, 8, 60 - DQ_RECORD_HEADER);
		expect(q, 12, 8);
		expect_drained(q);
		close_queue(q);
		clean_dir();
	}
}

static void test_a_read_position_inside_a_record_moves_to_the_next(void **state)
{
	struct diskqueue_opts o = test_opts(5 * 60);
	for (int at = 61; at < 120; at++) {
		char text[64];
		make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
		snprintf(text, sizeof(text), "11\n0,%d\n2,120\n", at);
		write_text(META, text);
		struct backend_queue *q = open_queue(&o);
		expect(q, 2, 10);
		expect_drained(q);
		close_queue(q);
		clean_dir();
	}
}

static void test_missing_files_are_passed_over(void **state)
{
	struct diskqueue_opts o = test_opts(2 * 60);
	for (int missing = 0; missing < 6; missing++) {
		make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
		assert_int_equal(unlink(data_file(missing)), 0);
		struct backend_queue *q = open_queue(&o);
		struct got g = drain(q);
		for (int i = 0; i < 12; i++)
			assert_int_equal(g.count[i], i / 2 != missing);
		assert_int_equal(depth(q), 0);
		put(q, 12, 8, 60 - DQ_RECORD_HEADER);
		expect(q, 12, 8);
		expect_drained(q);
		close_queue(q);
		clean_dir();
	}
}

static void test_alien_and_empty_files_are_set_aside(void **state)
{
	struct diskqueue_opts o = test_opts(5 * 60);
	/* In the way of a queue that has metadata, and of one that has none. */
	make_queue(&o, 12, 60 - DQ_RECORD_HEADER);
	write_text(data_file(3), "this is no data file, but somebody's shopping list");
	write_text(data_file(4), "");
	write_text("q.diskqueue.9999999999999999999999.dat", "a number that cannot be");
	write_text("q.diskqueue.1.dat", "a number that %06d does not print");
	write_text("q.diskqueue.000000.dat.bad", "moved aside before");
	struct backend_queue *q = open_queue(&o);
	assert_int_equal(depth(q), 12);
	put(q, 12, 20, 60 - DQ_RECORD_HEADER);
	expect(q, 0, 32);
	expect_drained(q);
	close_queue(q);
	assert_true(exists("q.diskqueue.000003.dat.bad"));
	clean_dir();

	write_text(data_file(0), "bits and pieces");
	q = open_queue(&o);
	assert_int_equal(depth(q), 0);
	put(q, 0, 20, 60 - DQ_RECORD_HEADER);
	expect(q, 0, 20);
	expect_drained(q);
	close_queue(q);
	assert_true(exists("q.diskqueue.000000.dat.bad"));
}

/* A queue of one file with three messages. There are messages in that later file, too. */
static void leave_stray_file(const struct diskqueue_opts *o, int number)
{
	make_queue(o, 5, 60 - DQ_RECORD_HEADER);
	assert_int_equal(rename(data_file(0), "stray"), 0);
	clean_dir();
	make_queue(o, 3, 60 - DQ_RECORD_HEADER);
	assert_int_equal(rename("stray", data_file(number)), 0);
}

/* The queue is drained already. It is at its next start, too. */
static void assert_stays_drained(
	struct backend_queue *q, const struct diskqueue_opts *o, const char *stray)
{
	close_queue(q);
	q = open_queue(o);
	expect_drained(q);
	close_queue(q);
	assert_true(exists(stray));
	clean_dir();
}

/*
 * The queue goes on to the file behind the gap, or to the one before that, and ends before it writes
 * anything there.
 */
static void test_messages_behind_a_gap_do_not_come(void **state)
{
	static const char *const strays[] = {
		"q.diskqueue.000002.dat.bad", "q.diskqueue.000003.dat.bad"};
	struct diskqueue_opts o = test_opts(5 * 60);
	struct err err;
	for (int i = 0; i < 4; i++) {
		leave_stray_file(&o, 2 + i / 2);
		struct backend_queue *q = open_queue(&o);
		for (int64_t k = 0; k < 2; k++) {
			if (i % 2 == 0)
				assert_int_equal(q->ops->empty(q, &err), 0);
			else
				expect(q, 3 * k, 3);
			if (k == 0)
				put(q, 3, 3, 60 - DQ_RECORD_HEADER);
		}
		assert_stays_drained(q, &o, strays[i / 2]);
	}
}

/* Likewise, when the writer comes there as the last file before the gap does not end in a record. */
static void test_messages_behind_a_gap_do_not_come_after_a_crash(void **state)
{
	struct diskqueue_opts o = test_opts(5 * 60);
	leave_stray_file(&o, 3);
	write_text(data_file(1), "bits and pieces");
	struct backend_queue *q = open_queue(&o);
	expect(q, 0, 3);
	expect_drained(q);
	assert_stays_drained(q, &o, "q.diskqueue.000003.dat.bad");
}

/* A file that turns up while the queue is at work, with the number that comes next. */
static void test_a_file_in_the_way_of_a_new_one_is_set_aside(void **state)
{
	struct diskqueue_opts o = test_opts(5 * 60);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 5, 60 - DQ_RECORD_HEADER);
	write_text(data_file(1), "mine");
	put(q, 5, 5, 60 - DQ_RECORD_HEADER);
	expect(q, 0, 10);
	expect_drained(q);
	close_queue(q);
	assert_true(exists("q.diskqueue.000001.dat.bad"));
}

static void overwrite(const char *path, int64_t at, int64_t n, int byte)
{
	int fd = open(path, O_RDWR);
	for (int64_t i = 0; i < n; i++) {
		unsigned char c = byte >= 0 ? (unsigned char)byte : (unsigned char)rand_u64();
		assert_true(pwrite(fd, &c, 1, at + i) == 1);
	}
	close(fd);
}

/*
 * Noise may make a length that ends with a later record, or one byte into it, where the digits of its
 * id seem to go on in the body. Nothing can tell this (docs/diskqueue.md): the record swallows what
 * is before that end. Returns the end, or 0 if the length of the record at `at` is not like that.
 */
static int64_t swallowed_to(int64_t len, int64_t at)
{
	unsigned char prefix[DQ_PREFIX];
	int64_t start = at - at % len;
	int fd = open(data_file(0), O_RDONLY);
	assert_true(pread(fd, prefix, sizeof(prefix), start) == sizeof(prefix));
	close(fd);
	int64_t end = start + DQ_PREFIX + get_be32(prefix);
	return at < start + DQ_PREFIX && end <= 20 * len && end % len <= 1 ? end : 0;
}

/*
 * Bytes wiped, or replaced by noise, anywhere: the records that were not touched come, and only
 * they.
 */
static void test_a_damaged_stretch_costs_only_what_it_touches(void **state)
{
	struct diskqueue_opts o = test_opts(1 << 20);
	const int fill[] = {0, 0xff, -1, 'a'};
	char what[100];
	atomic_store(&test_lg.level, LG_FATAL);
	for (int round = 0; round < 400; round++) {
		/* Odd: two records of an even size can be one bit away from being one. */
		size_t body = 21 + 2 * rand_below(75);
		int64_t len = DQ_RECORD_HEADER + (int64_t)body;
		int64_t at = rand_below((uint32_t)(20 * len));
		int64_t n = 1 + rand_below(rand_below(2) ? 500 : 20);
		if (at + n > 20 * len)
			n = 20 * len - at;
		make_queue(&o, 20, body);
		overwrite(data_file(0), at, n, fill[round % 4]);
		int64_t swallowed = swallowed_to(len, at), end = at + n;
		end = swallowed > end ? swallowed : end;
		snprintf(what, sizeof(what), "body %zu, %lld bytes at %lld filled with %d", body,
			(long long)n, (long long)at, fill[round % 4]);
		struct backend_queue *q = open_queue(&o);
		struct got g = drain(q);
		for (int64_t i = 0; i < 20; i++) {
			bool touched = i * len < end && (i + 1) * len > at;
			if (g.count[i] > 1 || (!touched && g.count[i] != 1))
				fail_msg("%s: message %lld came %d times", what, (long long)i,
					g.count[i]);
		}
		/*
		 * A body may have been hit, which nothing can tell; at most both ends of the
		 * stretch.
		 */
		if (g.odd > 2)
			fail_msg("%s: %d odd messages", what, g.odd);
		assert_int_equal(depth(q), 0);
		close_queue(q);
		clean_dir();
	}
}

/*
 * A length that was damaged so that the record seems to end inside the header of the next one:
 * eight digits of the id stand where a timestamp would, and digits of the body where an id would.
 * That confirms nothing.
 */
static void test_digits_of_an_id_are_no_timestamp(void **state)
{
	struct diskqueue_opts o = test_opts(1 << 20);
	atomic_store(&test_lg.level, LG_FATAL);
	make_queue(&o, 20, 61);
	overwrite(data_file(0), 367, 70, 'a');
	struct backend_queue *q = open_queue(&o);
	struct got g = drain(q);
	for (int i = 0; i < 20; i++)
		if (i != 4 && g.count[i] != 1)
			fail_msg("message %d came %d times", i, g.count[i]);
	assert_int_equal(depth(q), 0);
	close_queue(q);
	clean_dir();
}

/* A body may hold records itself: they are not mistaken for the queue's. */
static void test_records_inside_a_body_cost_nothing_that_is_before_them(void **state)
{
	struct diskqueue_opts o = test_opts(1 << 20);
	struct backend_queue *q = open_queue(&o);
	static unsigned char nested[4 * 60];
	/* A timestamp, attempts, an id. */
	static const char head[] = "\x17\x97\x9c\xfe\x36\x2a\x00\x00"
				   "\x00\x01"
				   "0123456789012345";
	struct backend_record rec = {head, MSG_HEADER_LENGTH, nested, sizeof(nested)};
	struct message *m;
	struct err err;
	put(q, 0, 4, 60 - DQ_RECORD_HEADER);
	diskqueue_barrier(q);
	int fd = open(data_file(0), O_RDONLY);
	assert_true(pread(fd, nested, sizeof(nested), 0) == sizeof(nested));
	close(fd);
	for (int i = 0; i < 3; i++)
		assert_int_equal(q->ops->put(q, &rec, 1, &err), 1);
	put(q, 4, 4, 60 - DQ_RECORD_HEADER);
	close_queue(q);
	/* The record behind the nesting one is lost. */
	overwrite(data_file(0), 4 * 60 + 2 * (DQ_RECORD_HEADER + (int)sizeof(nested)), 4, 0xff);
	q = open_queue(&o);
	expect(q, 0, 4);
	for (int i = 0; i < 2; i++) {
		m = get_within(q, PATIENCE);
		assert_int_equal(m->body->len, sizeof(nested));
		message_unref(m);
	}
	close_queue(q);
}

/* go-diskqueue's test: files cut off under a running queue. Stock's losses, or fewer. */
static void test_disk_queue_corruption(void **state)
{
	struct diskqueue_opts o = test_opts(1000);
	struct backend_queue *q = open_queue(&o);
	o.sync_every = 5;
	for (int i = 0; i < 25; i++) /* 124 bytes per message, 8 messages (992 bytes) per file */
		put(q, i, 1, 94);
	assert_int_equal(depth(q), 25);
	assert_int_equal(truncate(data_file(1), 400), 0); /* 3 valid messages, 5 corrupted */
	expect(q, 0, 11);
	expect(q, 16, 8); /* 1 message leftover in 4th file */
	/* Stock would have lost 24 as well: here it was read ahead, or is cut off. */
	put(q, 30, 1, 94);
	int64_t seq = get_seq_within(q, PATIENCE);
	if (seq == 24)
		seq = get_seq_within(q, PATIENCE);
	assert_int_equal(seq, 30);
	assert_int_equal(truncate(data_file((int)inside(q)->wr.file), 50), 0);
	put(q, 31, 2, 94);
	seq = get_seq_within(q, PATIENCE);
	if (seq == 31)
		seq = get_seq_within(q, PATIENCE);
	assert_int_equal(seq, 32);
	assert_int_equal(depth(q), 0);
	put(q, 33, 20, 94);
	expect(q, 33, 20);
	expect_drained(q);
	close_queue(q);
	assert_true(files_ending(".bad") >= 1);
	assert_int_equal(size_of("q.diskqueue.000001.dat.bad"), 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dq_test(test_a_flipped_bit_costs_at_most_its_own_message),
		dq_test(test_a_file_that_was_cut_off_gives_what_is_left),
		dq_test(test_metadata_older_than_the_data_lose_nothing),
		dq_test(test_without_metadata_what_is_there_is_found),
		dq_test(test_metadata_are_read_as_stock_reads_them),
		dq_test(test_metadata_that_were_cut_off_keep_the_read_position),
		dq_test(test_metadata_newer_than_the_data_make_an_empty_queue),
		dq_test(test_a_read_position_inside_a_record_moves_to_the_next),
		dq_test(test_missing_files_are_passed_over),
		dq_test(test_alien_and_empty_files_are_set_aside),
		dq_test(test_messages_behind_a_gap_do_not_come),
		dq_test(test_messages_behind_a_gap_do_not_come_after_a_crash),
		dq_test(test_a_file_in_the_way_of_a_new_one_is_set_aside),
		dq_test(test_a_damaged_stretch_costs_only_what_it_touches),
		dq_test(test_digits_of_an_id_are_no_timestamp),
		dq_test(test_records_inside_a_body_cost_nothing_that_is_before_them),
		dq_test(test_disk_queue_corruption),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
