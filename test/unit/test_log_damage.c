/* SPDX-License-Identifier: MIT */
/*
 * A log with damage: each message is delivered as it was, or passed over and counted. None is ever
 * delivered as another one.
 */
#include "test/unit/log_test.h"
#include "test/unit/sim_disk.h"

#define SEGMENT 1200

/* One commit each. */
static const struct batch one[] = {{0, 1, 40, OFFERED}};
static const struct batch four[] = {{0, 4, 30, OFFERED}};
static const struct batch many[] = {{0, 1, 50, OFFERED}, {0, 3, 20, OFFERED}, {0, 1, 5, OFFERED}};

static struct account account;

/* Some commits in two segments. closed: the log was closed; else the process has died. */
static struct sim_disk *make_disk(bool closed)
{
	struct sim_disk *d = sim_new();
	struct log *l = open_log(&d->io, 0, true, SEGMENT);
	account = (struct account){.next = 1};
	for (int i = 0; i < 3; i++) {
		commit(l, &account, one, COUNT(one));
		commit(l, &account, four, COUNT(four));
		commit(l, &account, many, COUNT(many));
	}
	struct sim_disk *died = sim_copy(d);
	log_close(l);
	if (!closed) {
		sim_free(d);
		return died;
	}
	sim_free(died);
	return d;
}

static struct sim_inode *segment_of(struct sim_disk *d, uint64_t first)
{
	char name[LOG_SEGMENT_NAME];
	log_segment_name(first, name);
	struct sim_inode *f = sim_file(d, "t.log", name);
	assert_non_null(f);
	return f;
}

/* The number of the i-th segment. */
static uint64_t first_of(struct sim_disk *d, size_t i)
{
	struct log *l = open_log(&d->io, 0, true, SEGMENT);
	uint64_t first;
	int64_t bytes;
	assert_true(log_get_segment(l, i, &first, &bytes));
	log_close(l);
	return first;
}

/*
 * Opens and reads it all, appends, and reads again. Returns how many of the messages before are
 * missing. Numbers of messages and of records are the same.
 */
static size_t use(struct sim_disk *d)
{
	struct log *l = open_log(&d->io, 0, true, SEGMENT);
	struct content c = read_log(l, 1);
	struct log_stats stats;
	size_t before = c.n;
	for (size_t i = 0; i < c.n; i++)
		assert_true(c.numbers[i] == c.seqs[i] && c.numbers[i] < account.next);
	log_get_stats(l, &stats);
	assert_true(c.n + c.gaps == stats.next - 1);
	assert_int_equal(stats.lost, c.gaps);
	free_content(&c);
	struct account more = {.next = 1000};
	commit(l, &more, one, 1);
	assert_int_equal(more.batches[0].state, KEPT);
	for (int i = 0; i < 2; i++) {
		c = read_log(l, 1);
		assert_true(c.n == before + 1 && c.numbers[c.n - 1] == 1000);
		free_content(&c);
		log_close(l);
		l = open_log(&d->io, 0, true, SEGMENT);
	}
	log_close(l);
	return account.next - 1 - before;
}

/* How many messages lie in the last commit: damage to it may cost whole batches. */
#define LAST_COMMIT 5

static void flip_each_byte(bool closed)
{
	struct sim_disk *sound = make_disk(closed);
	size_t n = 0, lost_one = 0;
	for (size_t i = 0; i < 3; i++) {
		uint64_t first = first_of(sound, i);
		size_t size = segment_of(sound, first)->now.size;
		for (size_t at = 0; at < size; at++) {
			static const unsigned char flips[] = {0xff, 0x01, 0x80};
			struct sim_disk *d = sim_copy(sound);
			segment_of(d, first)->now.data[at] ^= flips[at % 3];
			size_t lost = use(d);
			/* A byte costs a message; in the last commit, a batch. Heads stand twice. */
			if (lost > (i == 2 && !closed ? 3 : 1) || (at < LOG_HEAD_SIZE && lost > 0))
				fail_msg("byte %zu of segment %zu costs %zu messages", at, i, lost);
			lost_one += lost > 0;
			n++;
			sim_free(d);
		}
	}
	/* Each byte of a record counts. */
	assert_int_equal(n - lost_one, 3 * LOG_HEAD_SIZE + (closed ? LOG_RECORD_HEAD : 0));
	sim_free(sound);
}

static void test_flip_each_byte_of_a_closed_log(void **state)
{
	flip_each_byte(true);
}

static void test_flip_each_byte_of_one_that_was_killed(void **state)
{
	flip_each_byte(false);
}

/* Whatever becomes of the bytes. */
static void test_random_damage(void **state)
{
	uint64_t seed = 5;
	for (int round = 0; round < ROUNDS(4000); round++) {
		struct sim_disk *d = make_disk(round % 2);
		for (uint64_t k = 0; k <= sim_random(&seed) % 3; k++) {
			struct sim_inode *f =
				segment_of(d, first_of(d, (size_t)sim_random(&seed) % 3));
			struct sim_bytes *b = &f->now;
			size_t at = sim_random(&seed) % (b->size + 1), n = b->size - at;
			size_t some = n > 0 ? sim_random(&seed) % n : 0;
			switch (sim_random(&seed) % 5) {
			case 0: /* the rest is missing */
				sim_resize(b, at);
				break;
			case 1: /* some bytes are zeros */
				memset(b->data + at, 0, some);
				break;
			case 2: /* some are missing */
				memmove(b->data + at, b->data + at + some, n - some);
				sim_resize(b, b->size - some);
				break;
			case 3: /* some stand there twice */
				sim_resize(b, b->size + some);
				memmove(b->data + at + some, b->data + at, n);
				break;
			case 4: /* others */
				for (size_t i = 0; i < some; i++)
					b->data[at + i] = (unsigned char)sim_random(&seed);
				break;
			}
		}
		use(d);
		sim_free(d);
	}
}

/* A segment is gone, empty, or another's under this name. */
static void test_segments_that_are_lost(void **state)
{
	for (int i = 0; i < 3; i++) {
		for (int how = 0; how < 3; how++) {
			struct sim_disk *d = make_disk(how == 2);
			uint64_t first = first_of(d, (size_t)i);
			struct sim_inode *f = segment_of(d, first);
			struct sim_inode *other = segment_of(d, first_of(d, (size_t)(i + 1) % 3));
			char name[LOG_SEGMENT_NAME];
			log_segment_name(first, name);
			if (how == 0) {
				sim_change(
					&d->inodes[sim_find(&d->inodes[SIM_ROOT], "t.log")->inode],
					name, NULL, -1);
			} else if (how == 1) {
				sim_resize(&f->now, 0);
			} else {
				free(f->now.data);
				f->now = sim_copy_bytes(&other->now);
			}
			/* How the others have fared is counted in use(). */
			struct log *l = open_log(&d->io, 0, true, SEGMENT);
			struct content c = read_log(l, 1);
			assert_true(c.n > 0 && c.n < account.next - 1);
			for (size_t k = 0; k < c.n; k++)
				assert_true(c.numbers[k] == c.seqs[k]);
			free_content(&c);
			commit(l, &account, one, 1);
			assert_int_equal(account.batches[account.n - 1].state, KEPT);
			log_close(l);
			sim_free(d);
		}
	}
}

/* --- batches ---------------------------------------------------------------------------------------- */

/*
 * A hole in a batch of the last commit means that it was never kept, as far as anybody can tell: it
 * goes as a whole. One in an earlier commit is damage, and the others of the batch stay.
 */
static void test_a_hole_in_a_batch(void **state)
{
	for (int later = 0; later < 2; later++) {
		struct sim_disk *d = sim_new();
		struct log *l = open_log(&d->io, 0, true, 100000);
		account = (struct account){.next = 1};
		commit(l, &account, one, 1);
		uint32_t at = l->active.end;
		static const struct batch two[] = {{0, 4, 30, OFFERED}, {0, 1, 9, OFFERED}};
		commit(l, &account, two, 2);
		if (later)
			commit(l, &account, one, 1);
		struct sim_disk *died = sim_copy(d);
		log_close(l);
		sim_free(d);
		/* In the body of the batch's second record. */
		segment_of(died, 1)->now.data[at + 2 * LOG_RECORD_HEAD + 30 + 5] ^= 1;
		l = open_log(&died->io, 0, true, 100000);
		struct content c = read_log(l, 1);
		assert_int_equal(c.gaps, later ? 1 : 4);
		assert_int_equal(c.n, later ? 6 : 2);
		free_content(&c);
		log_close(l);
		sim_free(died);
	}
}

/* The commit behind a damaged batch is torn: it goes, and what is left of the batch stays. */
static void test_a_torn_commit_behind_damage(void **state)
{
	struct sim_disk *d = sim_new();
	struct log *l = open_log(&d->io, 0, true, 100000);
	account = (struct account){.next = 1};
	commit(l, &account, one, 1);
	uint32_t at = l->active.end;
	commit(l, &account, four, 1);
	commit(l, &account, four, 1);
	struct sim_disk *died = sim_copy(d);
	log_close(l);
	sim_free(d);
	struct sim_inode *f = segment_of(died, 1);
	f->now.data[at + 2 * LOG_RECORD_HEAD + 30 + 5] ^= 1;
	sim_resize(&f->now, f->now.size - 3);
	l = open_log(&died->io, 0, true, 100000);
	struct content c = read_log(l, 1);
	assert_true(c.n == 4 && c.gaps == 1 && c.numbers[3] == 5);
	free_content(&c);
	log_close(l);
	sim_free(died);
}

/* What a failed commit has left behind the end of a segment is no part of the log. */
static void test_what_lies_behind_the_end_of_a_segment(void **state)
{
	struct sim_disk *d = sim_new();
	struct log *l = open_log(&d->io, 0, true, 100000);
	account = (struct account){.next = 1};
	commit(l, &account, one, 1);
	commit(l, &account, one, 1);
	/* The write succeeds, the sync fails, and so does the truncation. */
	d->fail_at = d->calls + 1;
	d->fail_calls = 2;
	commit(l, &account, four, 1);
	assert_int_equal(account.batches[2].state, REFUSED);
	d->fail_at = -1;
	commit(l, &account, one, 1);
	commit(l, &account, one, 1);
	log_close(l);
	/* The last kept record before is damaged: the search must not take what lies behind it. */
	struct sim_inode *f = segment_of(d, 1);
	assert_true(f->now.size > LOG_HEAD_SIZE + 4 * LOG_RECORD_HEAD);
	f->now.data[LOG_HEAD_SIZE + LOG_RECORD_HEAD + 40] ^= 1;
	/* Nor may it believe the numbers there. */
	f->now.data[LOG_HEAD_SIZE + 2 * (LOG_RECORD_HEAD + 40)] ^= 1;
	l = open_log(&d->io, 0, true, 100000);
	struct content c = read_log(l, 1);
	assert_true(c.n == 3 && c.gaps == 1 && c.numbers[0] == 1);
	assert_true(c.numbers[1] == 7 && c.seqs[1] == 3 && c.numbers[2] == 8);
	free_content(&c);
	log_close(l);
	sim_free(d);
}

/* --- publishers who mean harm ----------------------------------------------------------------------- */

/* A body that is a record of a log, with this number and key, made for its very place. */
static struct message *make_forgery(uint64_t key, uint32_t offset, uint64_t seq)
{
	struct message_body *body = message_body_new(LOG_RECORD_HEAD + 10);
	struct log_record rec = {.size = LOG_RECORD_HEAD + 10,
		.kind = LOG_KIND_MESSAGE,
		.flags = LOG_FLAG_COMMIT | LOG_FLAG_FIRST | LOG_FLAG_LAST,
		.seq = seq,
		.timestamp = BASE_TS};
	memset(body->data, 0, body->len);
	log_record_encode(&rec, log_record_seed(key, offset), (unsigned char *)body->data);
	struct message_id id;
	memset(id.hex, 'f', sizeof(id.hex));
	return message_new(id, body, BASE_TS);
}

/* Nobody outside knows a file's key; and with it the place would have to be right as well. */
static void test_a_record_within_a_body_is_none(void **state)
{
	for (int how = 0; how < 2; how++) {
		struct sim_disk *d = sim_new();
		struct log *l = open_log(&d->io, 0, true, 100000);
		account = (struct account){.next = 1};
		commit(l, &account, one, 1);
		uint32_t at = l->active.end + LOG_RECORD_HEAD;
		struct message *m = make_forgery(how ? l->key : l->key + 1, how ? at + 1 : at, 2);
		struct log_request *r = log_request_new();
		struct err err;
		assert_int_equal(log_request_prepare(r, NULL, &m, 1, &err), 0);
		log_commit(l, &r, 1);
		assert_int_equal(r->rc, 0);
		log_request_free(r);
		message_unref(m);
		account.next = 3;
		commit(l, &account, one, 1);
		log_close(l);
		segment_of(d, 1)->now.data[at - 30] ^= 1;
		l = open_log(&d->io, 0, true, 100000);
		struct content c = read_log(l, 1);
		assert_true(c.n == 2 && c.gaps == 1 && c.numbers[0] == 1 && c.numbers[1] == 3);
		free_content(&c);
		log_close(l);
		sim_free(d);
	}
}

/* --- places that cannot be read --------------------------------------------------------------------- */

#define BAD_FROM 9000
#define BAD_TO 13000

static bool bad = false;

static ssize_t bad_pread(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	if (bad && off < BAD_TO && off + (int64_t)n > BAD_FROM) {
		if (off >= BAD_FROM) {
			errno = EIO;
			return -1;
		}
		n = (size_t)(BAD_FROM - off);
	}
	return sim_pread(io, fd, buf, n, off);
}

/* The reader says so, each time; and goes on behind it when it is told to. */
static void test_a_bad_place_on_the_disk(void **state)
{
	struct sim_disk *d = sim_new();
	struct log *l = open_log(&d->io, 0, true, 1000000);
	static const struct batch large[] = {{0, 1, 700, OFFERED}};
	account = (struct account){.next = 1};
	for (int i = 0; i < 40; i++)
		commit(l, &account, large, 1);
	d->io.pread = bad_pread;
	struct log_reader *r = log_reader_open(l, 1, 0);
	struct log_item item;
	struct err err;
	enum log_read what;
	size_t n = 0, gaps = 0, errors = 0;
	bad = true;
	while ((what = log_reader_next(r, &item, &err)) != LOG_READ_END) {
		if (what == LOG_READ_MESSAGE) {
			assert_true(number_of(item.msg) == item.seq);
			message_unref(item.msg);
			n++;
		} else if (what == LOG_READ_GAP) {
			gaps += item.n;
		} else {
			assert_int_equal(err.code, EIO);
			assert_true(errors++ < 20);
			if (errors > 3)
				log_reader_skip(r);
		}
	}
	bad = false;
	assert_true(n + gaps == 40 && gaps >= 5 && gaps <= 12);
	log_reader_close(r);
	log_close(l);
	sim_free(d);
}

/* A segment that cannot be opened is waited for, or given up. */
static void test_a_segment_that_cannot_be_opened(void **state)
{
	struct sim_disk *d = make_disk(true);
	struct log *l = open_log(&d->io, 0, true, SEGMENT);
	struct log_reader *r = log_reader_open(l, 1, 0);
	struct log_item item;
	struct err err;
	for (int i = 0; i < 3; i++) {
		d->fail_at = d->calls;
		d->fail_code = EMFILE;
		assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_ERROR);
		assert_int_equal(err.code, EMFILE);
	}
	log_reader_skip(r);
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_GAP);
	assert_true(item.seq == 1 && item.n > 1);
	assert_int_equal(log_reader_next(r, &item, &err), LOG_READ_MESSAGE);
	message_unref(item.msg);
	log_reader_close(r);
	log_close(l);
	sim_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flip_each_byte_of_a_closed_log),
		cmocka_unit_test(test_flip_each_byte_of_one_that_was_killed),
		cmocka_unit_test(test_random_damage),
		cmocka_unit_test(test_segments_that_are_lost),
		cmocka_unit_test(test_a_hole_in_a_batch),
		cmocka_unit_test(test_a_torn_commit_behind_damage),
		cmocka_unit_test(test_what_lies_behind_the_end_of_a_segment),
		cmocka_unit_test(test_a_record_within_a_body_is_none),
		cmocka_unit_test(test_a_bad_place_on_the_disk),
		cmocka_unit_test(test_a_segment_that_cannot_be_opened),
	};
	return cmocka_run_group_tests(tests, log_setup, log_teardown);
}
