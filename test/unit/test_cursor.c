/* SPDX-License-Identifier: MIT */
/* cursor: what it says of messages; its entries; what it costs in memory and time. */
#include "test/unit/dir_test.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/rand.h"
#include "common/xalloc.h"
#include "nsqd/log/cursor.h"
#include "nsqd/log/cursor_events.h"
#include "nsqd/log/cursor_file.h"

static struct cursor *cursor_in_memory(uint64_t start)
{
	struct cursor_opts o = {.topic = "t", .channel = "c"};
	return cursor_new(&o, start);
}

static int64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

static int dir;

static int enter(void **state)
{
	if (enter_test_dir(state) != 0)
		return -1;
	dir = open(".", O_RDONLY | O_DIRECTORY);
	return dir < 0 ? -1 : 0;
}

static int leave(void **state)
{
	close(dir);
	return leave_test_dir(state);
}

static struct cursor_opts in_dir(void)
{
	return (struct cursor_opts){
		.io = &log_io_real, .dir = dir, .file = "c.cursor", .topic = "t", .channel = "c"};
}

static struct cursor *open_cursor(uint64_t first, uint64_t end, struct cursor_found *found)
{
	struct cursor_opts o = in_dir();
	struct err err = {0};
	struct cursor *c = cursor_open(&o, first, end, found, &err);
	if (!c)
		fail_msg("%s", err.msg);
	return c;
}

static void flush(struct cursor *c)
{
	struct err err = {0};
	if (cursor_flush(c, NULL, &err) != 0)
		fail_msg("%s", err.msg);
}

/* --- entries ------------------------------------------------------------------------------------ */

static void expect_heap(const struct cursor_entries *t)
{
	for (size_t i = 1; i < t->len; i++)
		assert_true(entries_at(t, (i - 1) / 2)->due <= entries_at(t, i)->due);
}

static void test_entries_come_out_in_the_order_of_their_times(void **state)
{
	struct cursor_entries t = {0};
	struct cursor_entry e = {0}, crossed, last = {0};
	for (uint64_t i = 0; i < 5000; i++) {
		e = (struct cursor_entry){rand_below(1000), i, (uint32_t)i * 3, 1};
		entries_push(&t, &e, 0, &crossed);
	}
	expect_heap(&t);
	assert_int_equal(t.n_pieces, 5);
	for (int i = 0; i < 5000; i++) {
		entries_pop(&t, &e);
		assert_true(
			last.due < e.due || (last.due == e.due && (i == 0 || last.seq < e.seq)));
		assert_int_equal(e.offset, e.seq * 3);
		last = e;
	}
	assert_int_equal(entries_memory(&t), 0);
}

static void test_entries_are_found_by_their_number(void **state)
{
	enum { SPAN = 3000 };
	static uint16_t model[SPAN]; /* attempts; 0: there is none */
	struct cursor_entries t = {0};
	size_t n = 0;
	for (int i = 0; i < ROUNDS(300000); i++) {
		uint64_t seq = rand_below(SPAN) * UINT64_C(65536);
		uint16_t *m = &model[seq / 65536];
		/* It grows, and gets smaller again. */
		if (rand_below(100) < (i / 20000 % 2 ? 30 : 70)) {
			n += *m == 0;
			*m = (uint16_t)(1 + rand_below(1000));
			entries_put(&t, &(struct cursor_entry){.seq = seq, .attempts = *m});
		} else {
			n -= *m != 0;
			assert_int_equal(entries_remove(&t, seq), *m != 0);
			*m = 0;
		}
		assert_int_equal(t.len, n);
		seq = rand_below(SPAN) * UINT64_C(65536);
		const struct cursor_entry *e = entries_find(&t, seq);
		assert_int_equal(e ? e->attempts : 0, model[seq / 65536]);
	}
	entries_remove_range(&t, 100 * 65536, SEQ_END);
	for (uint64_t i = 0; i < SPAN; i++)
		assert_int_equal(entries_find(&t, i * 65536) != NULL, i < 100 && model[i] > 0);
	entries_remove_range(&t, 0, SEQ_END);
	assert_null(entries_find(&t, 0));
	entries_free(&t);
	memset(model, 0, sizeof(model));
}

/* --- what a cursor says ------------------------------------------------------------------------- */

static void test_a_new_cursor_has_finished_what_is_before_its_start(void **state)
{
	struct cursor *c = cursor_in_memory(100);
	assert_int_equal(cursor_floor(c), 100);
	assert_true(cursor_is_finished(c, 99));
	assert_false(cursor_wants(c, 99));
	assert_true(cursor_wants(c, 100));
	assert_int_equal(cursor_next_wanted(c, 0), 100);
	assert_int_equal(cursor_unfinished(c, 150), 50);
	assert_int_equal(cursor_attempts(c, 100), 0);
	assert_int_equal(cursor_next_due(c), INT64_MAX);
	cursor_free(c);
}

static void test_messages_may_be_finished_in_any_order(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	cursor_taken(c, 1, 10, 1);
	assert_true(cursor_finished(c, 3));
	assert_true(cursor_finished(c, 2));
	assert_false(cursor_finished(c, 2));
	assert_int_equal(cursor_floor(c), 1);
	assert_true(cursor_finished(c, 1));
	assert_int_equal(cursor_floor(c), 4);
	assert_int_equal(cursor_unfinished(c, 11), 7);
	assert_int_equal(cursor_next_wanted(c, 1), 11);
	cursor_free(c);
}

static void test_a_message_waits_until_it_is_due(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	struct cursor_entry e = {5000, 7, 12345, 0}, out[4];
	assert_true(cursor_wait(c, &e));
	assert_int_equal(cursor_next_due(c), 5000);
	assert_false(cursor_wants(c, 7));
	assert_int_equal(cursor_pop_due(c, 4999, out, 4), 0);
	assert_int_equal(cursor_pop_due(c, 5000, out, 4), 1);
	assert_memory_equal(&out[0], &e, sizeof(e));
	assert_int_equal(cursor_attempts(c, 7), 0);
	assert_false(cursor_wants(c, 7));
	cursor_taken(c, 7, 1, 1);
	assert_int_equal(cursor_attempts(c, 7), 1);
	cursor_taken(c, 7, 1, 2);
	assert_int_equal(cursor_attempts(c, 7), 2);
	assert_true(cursor_finished(c, 7));
	assert_false(cursor_wait(c, &e));
	assert_int_equal(cursor_waiting(c), 0);
	cursor_free(c);
}

static void test_one_that_waits_is_taken(void **state)
{
	enum { N = 3000 };
	static bool gone[N];
	struct cursor *c = cursor_in_memory(0);
	struct cursor_entry e, last = {0};
	for (uint64_t seq = 0; seq < N; seq++)
		cursor_wait(c, &(struct cursor_entry){rand_below(300), seq, (uint32_t)seq, 2});
	for (int i = 0; i < N; i++) {
		uint64_t seq = rand_below(N);
		size_t at = 0, steps = 1 + rand_below(N);
		int found;
		while ((found = cursor_take_waiting(c, &at, steps, seq, &e)) == 0)
			assert_true(at % steps == 0);
		assert_int_equal(found, gone[seq] ? -1 : 1);
		assert_true(gone[seq] || (e.seq == seq && e.offset == seq));
		gone[seq] = true;
		/* It is on its way, and not new. */
		assert_false(cursor_wants(c, seq));
		assert_int_equal(cursor_attempts(c, seq), 2);
	}
	/* The others are in order. */
	while (cursor_pop_due(c, INT64_MAX, &e, 1) == 1) {
		assert_true(e.due > last.due ||
			    (e.due == last.due && (e.seq > last.seq || e.due == 0)));
		assert_false(gone[e.seq]);
		gone[e.seq] = true;
		last = e;
	}
	for (int i = 0; i < N; i++)
		assert_true(gone[i]);
	/* What is new, or finished, does not wait. */
	size_t at = 0;
	assert_int_equal(cursor_take_waiting(c, &at, 1, N, &e), -1);
	cursor_wait(c, &(struct cursor_entry){5, 7, 0, 2});
	cursor_finished(c, 7);
	assert_int_equal(cursor_take_waiting(c, &at, 1, 7, &e), -1);
	cursor_free(c);
	memset(gone, 0, sizeof(gone));
}

static void test_empty_finishes_what_waits_and_what_is_on_its_way(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	for (uint64_t seq = 10; seq < 30; seq++)
		cursor_wait(c, &(struct cursor_entry){1000, seq, 0, 3});
	cursor_taken(c, 1, 9, 1);
	cursor_taken(c, 3, 1, 2);
	assert_int_equal(cursor_finished_range(c, 0, 20), 19);
	assert_int_equal(cursor_finished_range(c, 0, 20), 0);
	assert_int_equal(cursor_floor(c), 20);
	assert_int_equal(cursor_waiting(c), 10);
	assert_false(cursor_finished(c, 3));
	assert_int_equal(cursor_finished_range(c, 40, 50), 10);
	assert_false(cursor_wants(c, 45));
	assert_int_equal(cursor_next_wanted(c, 0), 30);
	cursor_free(c);
}

static void test_a_move_keeps_attempts_and_due_times(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	cursor_taken(c, 1, 3, 1);
	cursor_taken(c, 2, 1, 2);
	cursor_finished(c, 3);
	cursor_wait(c, &(struct cursor_entry){1000, 4, 44, 9});
	cursor_wait(c, &(struct cursor_entry){900, 5, 55, 0});
	struct cursor_move moves[] = {
		{1, 101, 1, 0}, {2, 102, 2, 0}, {3, 103, 3, 0}, {4, 104, 4, 0}, {5, 105, 5, 0}};
	cursor_moved(c, moves, COUNT(moves));
	for (size_t i = 0; i < COUNT(moves); i++)
		assert_int_equal(moves[i].waited, i >= 3);
	assert_int_equal(cursor_floor(c), 6);
	assert_int_equal(cursor_attempts(c, 101), 1);
	assert_int_equal(cursor_attempts(c, 102), 2);
	assert_true(cursor_is_finished(c, 103));
	struct cursor_entry out[4];
	assert_int_equal(cursor_pop_due(c, 1000, out, 4), 2);
	assert_int_equal(out[0].seq, 105);
	assert_int_equal(out[0].offset, 5);
	assert_int_equal(out[1].seq, 104);
	assert_int_equal(out[1].attempts, 9);
	for (uint64_t seq = 100; seq < 106; seq++)
		assert_int_equal(cursor_wants(c, seq), seq == 100);
	uint64_t from = 0, list[2];
	assert_int_equal(cursor_list_unfinished(c, &from, 200, list, 2), 2);
	assert_int_equal(list[0], 6);
	assert_int_equal(from, 8);
	cursor_free(c);
}

/* --- the file ----------------------------------------------------------------------------------- */

static void wait_until_due(struct cursor *c, uint64_t seq, int64_t due)
{
	assert_true(cursor_wait(c, &(struct cursor_entry){due, seq, (uint32_t)seq, 1}));
}

static void expect_due(struct cursor *c, uint64_t seq, int64_t due)
{
	struct cursor_entry e;
	assert_true(cursor_next_due(c) == due);
	assert_int_equal(cursor_pop_due(c, INT64_MAX, &e, 1), 1);
	assert_true(e.seq == seq && e.due == due && e.offset == seq && e.attempts == 1);
}

/* At once stays at once, and never stays never; what would be due before time began is due first. */
static void test_the_clock_is_set(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	wait_until_due(c, 1, INT64_MAX);
	wait_until_due(c, 2, 1000);
	wait_until_due(c, 3, 900);
	wait_until_due(c, 4, 500);
	wait_until_due(c, 5, 400);
	wait_until_due(c, 6, 0);
	wait_until_due(c, 7, INT64_MAX - 50);
	cursor_clock_set(c, 10);
	cursor_clock_set(c, -600);
	expect_due(c, 6, 0);
	expect_due(c, 4, 1);
	expect_due(c, 5, 1);
	cursor_clock_set(c, 100);
	expect_due(c, 3, 410);
	cursor_clock_set(c, INT64_MIN);
	expect_due(c, 2, 1);
	cursor_clock_set(c, INT64_MAX);
	expect_due(c, 1, INT64_MAX);
	expect_due(c, 7, INT64_MAX);
	assert_int_equal(cursor_waiting(c), 0);
	cursor_free(c);
}

/* The next flush says the new times, of what had been flushed and of what had not. */
static void test_the_clock_is_set_in_the_file(void **state)
{
	struct cursor_opts o = in_dir();
	struct cursor_found found;
	struct cursor *c = cursor_new(&o, 1);
	for (uint64_t i = 1; i <= 3000; i++)
		wait_until_due(c, i, (int64_t)(1000000 + i));
	flush(c);
	wait_until_due(c, 3001, 1000000);
	assert_true(cursor_finished(c, 3002));
	cursor_clock_set(c, 5000);
	wait_until_due(c, 3003, 1004999);
	flush(c);
	uint64_t snapshots = cursor_file_stats(c).snapshots;
	cursor_free(c);
	c = open_cursor(1, 4000, &found);
	assert_false(found.damaged || found.missing);
	assert_int_equal(cursor_waiting(c), 3002);
	assert_true(cursor_is_finished(c, 3002));
	expect_due(c, 3003, 1004999);
	expect_due(c, 3001, 1005000);
	for (uint64_t i = 1; i <= 3000; i++)
		expect_due(c, i, (int64_t)(1005000 + i));
	/* With nothing that waits there is nothing to write. */
	flush(c);
	assert_true(snapshots == 2);
	snapshots = cursor_file_stats(c).snapshots;
	cursor_clock_set(c, 5000);
	flush(c);
	assert_true(cursor_file_stats(c).snapshots == snapshots);
	cursor_free(c);
}

static void test_a_cursor_is_opened_as_it_was_flushed(void **state)
{
	struct cursor_found found;
	struct cursor_opts o = in_dir();
	struct cursor *c = cursor_new(&o, 1);
	cursor_taken(c, 1, 100, 1);
	for (uint64_t seq = 1; seq < 50; seq++)
		cursor_finished(c, seq);
	cursor_taken(c, 60, 1, 7);
	cursor_wait(c, &(struct cursor_entry){-5, 70, UINT32_MAX, UINT16_MAX});
	flush(c);
	cursor_finished(c, 51);
	flush(c);
	cursor_finished(c, 52); /* is forgotten */
	cursor_free(c);
	c = open_cursor(10, 200, &found);
	assert_false(found.missing || found.damaged || found.torn_bytes > 0 || found.beyond > 0);
	assert_int_equal(cursor_floor(c), 50);
	assert_true(cursor_is_finished(c, 51));
	assert_true(cursor_wants(c, 52));
	assert_int_equal(cursor_attempts(c, 52), 1);
	assert_int_equal(cursor_attempts(c, 60), 7);
	assert_int_equal(cursor_attempts(c, 150), 0);
	struct cursor_entry out;
	assert_int_equal(cursor_pop_due(c, 0, &out, 1), 1);
	assert_int_equal(out.offset, UINT32_MAX);
	assert_int_equal(out.attempts, UINT16_MAX);
	cursor_free(c);
	/* The log has lost its first segment, and then its end. */
	c = open_cursor(60, 200, &found);
	assert_int_equal(found.gone, 9);
	assert_int_equal(cursor_floor(c), 60);
	cursor_free(c);
	c = open_cursor(10, 40, &found);
	assert_true(found.beyond > 0);
	assert_int_equal(cursor_floor(c), 40);
	cursor_free(c);
	/* Numbers that are given anew are new messages. */
	c = open_cursor(10, 200, &found);
	assert_int_equal(found.beyond, 0);
	assert_int_equal(cursor_next_wanted(c, 0), 40);
	assert_int_equal(cursor_unfinished(c, 200), 160);
	assert_int_equal(cursor_waiting(c), 0);
	cursor_free(c);
}

static void test_without_a_file_all_is_new(void **state)
{
	struct cursor_found found;
	struct cursor *c = open_cursor(10, 20, &found);
	assert_true(found.missing);
	assert_int_equal(cursor_floor(c), 10);
	assert_int_equal(found.gone, 0);
	flush(c);
	struct err err = {0};
	assert_int_equal(count_files("c.cursor", ""), 1);
	assert_int_equal(cursor_remove(c, &err), 0);
	assert_int_equal(cursor_remove(c, &err), 0);
	cursor_free(c);
	assert_int_equal(count_files("c.cursor", ""), 0);
}

static void expect_refused(const struct cursor_opts *o, int code, const char *text)
{
	struct cursor_found found;
	struct err err = {0};
	assert_null(cursor_open(o, 1, 10, &found, &err));
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, text))
		fail_msg("%s", err.msg);
}

static void test_what_is_not_its_file_is_refused(void **state)
{
	struct cursor_opts o = in_dir();
	struct cursor *c = cursor_new(&o, 1);
	flush(c);
	cursor_free(c);
	o.channel = "d";
	expect_refused(&o, EINVAL, "c.cursor: it belongs to topic t, channel c");
	o = in_dir();
	assert_int_equal(unlink("c.cursor"), 0);
	assert_int_equal(mkdir("c.cursor", 0700), 0);
	expect_refused(&o, EISDIR, "c.cursor");
	assert_int_equal(rmdir("c.cursor"), 0);
	assert_int_equal(mkfifo("c.cursor", 0600), 0);
	expect_refused(&o, ENXIO, "c.cursor");
}

/* A file stays small, however much happens. */
static void test_a_snapshot_takes_the_place_of_a_long_file(void **state)
{
	struct cursor_opts o = in_dir();
	struct cursor *c = cursor_new(&o, 1);
	for (uint64_t seq = 1; seq < 2000000; seq += 10) {
		cursor_taken(c, seq, 10, 1);
		for (uint64_t i = 10; i-- > 0;)
			cursor_finished(c, seq + (i ^ 1));
		if (cursor_pending(c) > 10000)
			flush(c);
		assert_true(cursor_file_stats(c).size < 300 << 10);
	}
	assert_true(cursor_file_stats(c).snapshots > 3);
	assert_true(cursor_memory(c) < 100000);
	cursor_free(c);
}

/* A file of these frames. */
static void write_file(const struct strbuf *frames, size_t n)
{
	struct cursor_file f;
	struct err err = {0};
	cursor_file_init(&f, &log_io_real, dir, "c.cursor", "t", "c");
	assert_int_equal(cursor_file_new(&f, &err), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(cursor_file_new_add(&f, frames[i].data, frames[i].len, &err), 0);
	assert_int_equal(cursor_file_new_commit(&f, &err), 0);
	cursor_file_close(&f);
}

/* Opens it, and says what that took. */
static void open_hostile(const char *what, struct events_out *o)
{
	struct cursor_found found;
	events_end(o);
	write_file(&o->bytes, 1);
	int64_t start = cpu_ns();
	struct cursor *c = open_cursor(1, SEQ_END, &found);
	double each = (double)cursor_memory(c) / (double)o->bytes.len;
	double ns = (double)(cpu_ns() - start) / (double)o->bytes.len;
	print_message("%s: %.1f bytes and %.0f ns for each byte\n", what, each, ns);
	/* (One event costs what a cursor costs.) */
	assert_true(cursor_memory(c) < 10000 || (each < 100 && ns < 20000));
	cursor_free(c);
	events_free(o);
}

static void test_a_file_that_claims_much_costs_little(void **state)
{
	enum { MANY = ROUNDS(100000) };
	struct events_out o = {0};
	events_add_range(&o, CURSOR_FINISHED, 2, SEQ_END - 2);
	open_hostile("all but one", &o);
	for (uint64_t i = 0; i < MANY; i++)
		events_add_range(&o, CURSOR_FINISHED, 1 + (i << 40), 1);
	open_hostile("far from each other", &o);
	for (uint64_t i = 0; i < MANY; i++)
		events_add_range(&o, CURSOR_FINISHED, 1 + (rand_u64() >> 7), 1);
	open_hostile("anywhere", &o);
	for (uint64_t i = 0; i < MANY; i++)
		events_add_range(&o, CURSOR_SEEN, 1 + i * 1000, 998);
	open_hostile("seen", &o);
	for (uint64_t i = 0; i < MANY; i++)
		events_add(&o, CURSOR_WAITING, &(struct cursor_entry){.seq = i + 1});
	for (uint64_t i = 0; i < MANY; i++) {
		events_add_range(&o, CURSOR_TAKEN, 1 + MANY + i % 7, CURSOR_TAKEN_MAX);
		events_end(&o);
	}
	open_hostile("many that wait, and many taken", &o);
	for (uint64_t i = 0; i < MANY; i++)
		events_add(&o, CURSOR_TRIED, &(struct cursor_entry){.seq = i << 20});
	open_hostile("tried", &o);
}

/* --- two threads -------------------------------------------------------------------------------- */

struct shared {
	struct cursor *c; /* guarded by lock, but for what the flusher does without it */
	struct mutex lock;
	_Atomic bool stop;
	_Atomic int flushes;
};

static void flush_all_the_time(void *arg)
{
	struct shared *s = arg;
	struct err err = {0};
	while (!atomic_load(&s->stop)) {
		if (rand_below(3) == 0)
			cursor_want_snapshot(s->c);
		if (cursor_flush(s->c, &s->lock, &err) != 0 && err.code != EBUSY)
			fail_msg("%s", err.msg);
		atomic_fetch_add(&s->flushes, 1);
	}
}

/* Takes the next one, or does something to one of the last hundred. Returns the next one. */
static uint64_t happen(struct cursor *c, uint64_t next)
{
	struct cursor_entry e[3];
	uint64_t seq = next > 100 ? next - 1 - rand_below(100) : next;
	size_t n;
	switch (rand_below(6)) {
	case 0:
		n = cursor_pop_due(c, (int64_t)next, e, COUNT(e));
		for (size_t i = 0; i < n; i++)
			cursor_taken(c, e[i].seq, 1, (uint16_t)(e[i].attempts + 1));
		return next;
	case 1:
	case 2:
		if (!cursor_wants(c, seq))
			cursor_finished_range(c, seq, seq + 1);
		return next;
	case 3:
		cursor_wait(
			c, &(struct cursor_entry){(int64_t)next + rand_below(3000), next, 7, 0});
		return next + 1;
	default:
		cursor_taken(c, next, 1, 1);
		return next + 1;
	}
}

static void test_a_flush_goes_on_while_much_happens(void **state)
{
	static struct shared s;
	struct cursor_opts o = in_dir();
	struct cursor_found found;
	o.part = 300;
	s = (struct shared){.c = cursor_new(&o, 1)};
	mutex_init(&s.lock, RANK_IN_FLIGHT);
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, flush_all_the_time, &s);
	uint64_t next = 1;
	for (int i = 0; i < ROUNDS(200000); i++) {
		mutex_lock(&s.lock);
		next = happen(s.c, next);
		mutex_unlock(&s.lock);
	}
	wait_for(atomic_load(&s.flushes) > 2);
	atomic_store(&s.stop, true);
	join(&wg);
	flush(s.c);
	struct cursor *c = open_cursor(1, next, &found);
	assert_false(found.damaged || found.torn_bytes > 0 || found.beyond > 0);
	assert_int_equal(cursor_floor(c), cursor_floor(s.c));
	assert_true(cursor_waiting(c) >= cursor_waiting(s.c));
	for (uint64_t seq = 1; seq < next; seq++) {
		assert_int_equal(cursor_is_finished(c, seq), cursor_is_finished(s.c, seq));
		if (cursor_wants(c, seq))
			assert_int_equal(cursor_attempts(c, seq), cursor_attempts(s.c, seq));
	}
	cursor_free(c);
	cursor_free(s.c);
	mutex_destroy(&s.lock);
}

/* --- what it costs ------------------------------------------------------------------------------ */

/* Bytes of malloc; 0: this build has another one. */
static size_t allocated(void)
{
#if SANITIZE_THREAD || SANITIZE_ADDRESS
	return 0;
#else
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
#endif
}

/* Fewer where a sanitizer makes each slow. */
enum { MILLION = ROUNDS(1000000) };

/* One of `every` messages waits, the others are finished. Bytes. */
static size_t a_million_waiting(uint64_t every)
{
	size_t before = allocated();
	struct cursor *c = cursor_in_memory(1);
	for (uint64_t i = 0; i < MILLION; i++) {
		uint64_t seq = 1 + i * every;
		cursor_taken(c, seq, every, 1);
		cursor_wait(c, &(struct cursor_entry){(int64_t)(rand_u64() >> 1), seq, 0, 1});
		for (uint64_t other = seq + 1; other < seq + every; other++)
			cursor_finished(c, other);
	}
	size_t bytes = cursor_memory(c), really = allocated() - before;
	print_message("one of %lu waits: %.2f MB, %.2f MB of malloc\n", (unsigned long)every,
		(double)bytes / 1e6, (double)really / 1e6);
	assert_true(really == 0 || (really > bytes && really < bytes + bytes / 5));
	struct cursor_entry e[100];
	int64_t last = 0;
	for (size_t n, all = 0; all < MILLION; all += n) {
		n = cursor_pop_due(c, INT64_MAX, e, COUNT(e));
		assert_true(n > 0 && e[0].due >= last);
		last = e[n - 1].due;
		for (size_t i = 0; i < n; i++)
			assert_true(cursor_finished(c, e[i].seq));
	}
	assert_int_equal(cursor_floor(c), MILLION * every + 1);
	assert_true(cursor_memory(c) < 20000);
	cursor_free(c);
	return really ? really : bytes;
}

static void test_a_million_that_wait_fit_into_32_megabytes(void **state)
{
	assert_true(a_million_waiting(1) <= 25 * MILLION);
	assert_true(a_million_waiting(2) <= 26 * MILLION);
	assert_true(a_million_waiting(100) <= 32 * MILLION);
}

static void test_an_old_message_with_a_hundred_million_behind_it(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	uint64_t end = 100 * UINT64_C(1000000);
	for (uint64_t seq = 2; seq < end; seq += 1000) {
		cursor_taken(c, seq, 1000, 1);
		cursor_finished_range(c, seq, seq + 1000);
	}
	print_message("%zu bytes\n", cursor_memory(c));
	assert_true(cursor_memory(c) < 10000);
	assert_int_equal(cursor_floor(c), 1);
	cursor_finished(c, 1);
	assert_true(cursor_floor(c) >= end);
	cursor_free(c);
}

/* 0 to n - 1 in random order. The caller frees it. */
static uint64_t *shuffled_numbers(uint32_t n)
{
	uint64_t *v = xcalloc(n, sizeof(*v));
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = rand_below(i + 1);
		v[i] = v[j];
		v[j] = i;
	}
	return v;
}

/* ns of the processor for each message that is taken in order and finished, in all; and bytes that are written. */
static void measure(const char *what, uint32_t window, bool shuffled)
{
	struct cursor_opts o = in_dir();
	struct cursor *c = cursor_new(&o, 1);
	uint64_t n = 10 * MILLION, *order = shuffled_numbers(window);
	int64_t start = cpu_ns();
	for (uint64_t seq = 1; seq <= n; seq += window) {
		for (uint64_t i = 0; i < window; i += 125)
			cursor_taken(c, seq + i, window < 125 ? window : 125, 1);
		for (uint64_t i = 0; i < window; i++) {
			cursor_finished(c, seq + (shuffled ? order[i] : i));
			if (i % 100 == 0 && cursor_pending(c) > CURSOR_FLUSH_SIZE)
				flush(c);
		}
	}
	flush(c);
	double ns = (double)(cpu_ns() - start) / (double)n;
	print_message("%s: %.1f ns, %.2f bytes of %lu messages\n", what, ns,
		(double)cursor_file_stats(c).written / (double)n, (unsigned long)n);
	assert_int_equal(cursor_floor(c), n + 1);
	cursor_free(c);
	free(order);
}

static void test_what_ten_million_messages_cost(void **state)
{
	measure("in order", 1000, false);
	measure("one at a time", 1, false);
	measure("1,000 in flight, shuffled", 1000, true);
	measure("100,000 in flight, shuffled", MILLION / 10, true);
	measure("1,000,000 in flight, shuffled", MILLION, true);
}

static void test_how_long_a_million_that_wait_take_to_write_and_to_read(void **state)
{
	struct cursor_found found;
	struct cursor_opts o = in_dir();
	struct cursor *c = cursor_new(&o, 1);
	int64_t now = clock_wall_ns();
	for (uint64_t i = 1; i <= MILLION; i++)
		cursor_wait(
			c, &(struct cursor_entry){now + (int64_t)i * 1000000 + rand_below(100000),
				   i, (uint32_t)i * 300, 0});
	int64_t start = cpu_ns();
	flush(c);
	int64_t written = cpu_ns();
	double size = (double)cursor_file_stats(c).size;
	cursor_free(c);
	int64_t read = cpu_ns();
	c = open_cursor(1, MILLION + 1, &found);
	print_message("written in %.0f ms, read in %.0f ms, %.1f bytes each\n",
		(double)(written - start) / 1e6, (double)(cpu_ns() - read) / 1e6, size / MILLION);
	assert_int_equal(cursor_waiting(c), MILLION);
	assert_true(cursor_memory(c) < 25 * MILLION);
	cursor_free(c);
}

static void test_what_is_not_ours_costs_nothing(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	/* Every tenth message in the log is for another channel, and one that is old stays. */
	cursor_taken(c, 1, 1, 1);
	for (uint64_t seq = 2; seq < MILLION; seq++) {
		if (seq % 10 != 0)
			cursor_taken(c, seq, 1, 1);
		cursor_finished(c, seq);
	}
	assert_true(cursor_memory(c) < 5000);
	cursor_free(c);
}

/* How long the lock is held for these, with a million that wait. */
static void test_what_is_done_to_all_that_wait(void **state)
{
	struct cursor *c = cursor_in_memory(1);
	static struct cursor_move moves[1000];
	for (uint64_t seq = 1; seq <= MILLION; seq++)
		cursor_wait(c, &(struct cursor_entry){(int64_t)rand_below(1 << 30), seq, 0, 1});
	for (uint64_t i = 0; i < COUNT(moves); i++)
		moves[i] = (struct cursor_move){1 + i * 7, MILLION + 1 + i, 5, false};
	int64_t start = cpu_ns();
	cursor_moved(c, moves, COUNT(moves));
	int64_t moved = cpu_ns();
	assert_int_equal(cursor_waiting(c), MILLION);
	cursor_clock_set(c, NSEC_PER_SEC);
	print_message("the clock set in %.1f ms\n", (double)(cpu_ns() - moved) / 1e6);
	moved = cpu_ns();
	cursor_finished_range(c, 0, MILLION / 2);
	int64_t finished = cpu_ns();
	cursor_finished_range(c, 0, 2 * MILLION);
	print_message("%zu moved in %.1f ms, half emptied in %.1f ms, the rest in %.1f ms\n",
		COUNT(moves), (double)(moved - start) / 1e6, (double)(finished - moved) / 1e6,
		(double)(cpu_ns() - finished) / 1e6);
	assert_int_equal(cursor_waiting(c), 0);
	assert_true(cursor_memory(c) < 10000);
	cursor_free(c);
}

#define in_test_dir(f) cmocka_unit_test_setup_teardown(f, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries_come_out_in_the_order_of_their_times),
		cmocka_unit_test(test_entries_are_found_by_their_number),
		cmocka_unit_test(test_a_new_cursor_has_finished_what_is_before_its_start),
		cmocka_unit_test(test_messages_may_be_finished_in_any_order),
		cmocka_unit_test(test_a_message_waits_until_it_is_due),
		cmocka_unit_test(test_one_that_waits_is_taken),
		cmocka_unit_test(test_empty_finishes_what_waits_and_what_is_on_its_way),
		cmocka_unit_test(test_a_move_keeps_attempts_and_due_times),
		cmocka_unit_test(test_the_clock_is_set),
		in_test_dir(test_the_clock_is_set_in_the_file),
		in_test_dir(test_a_cursor_is_opened_as_it_was_flushed),
		in_test_dir(test_without_a_file_all_is_new),
		in_test_dir(test_what_is_not_its_file_is_refused),
		in_test_dir(test_a_file_that_claims_much_costs_little),
		in_test_dir(test_a_flush_goes_on_while_much_happens),
		in_test_dir(test_a_snapshot_takes_the_place_of_a_long_file),
		cmocka_unit_test(test_a_million_that_wait_fit_into_32_megabytes),
		cmocka_unit_test(test_an_old_message_with_a_hundred_million_behind_it),
		cmocka_unit_test(test_what_is_not_ours_costs_nothing),
		cmocka_unit_test(test_what_is_done_to_all_that_wait),
		in_test_dir(test_what_ten_million_messages_cost),
		in_test_dir(test_how_long_a_million_that_wait_take_to_write_and_to_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
