/* SPDX-License-Identifier: MIT */
/*
 * Old messages that must not hold what is behind them: they are copied, and their segments go. First
 * the crashes: a copy of the simulated disk is taken before each of its changes while messages are
 * copied, and in the middle of each write. The next process is killed as well, or has its power cut,
 * while it copies on. In the end each message is there, once, with its attempts or its due time.
 */
#include "test/unit/dir_test.h"
#include "test/unit/log_queue_test.h"
#include "test/unit/sim_disk.h"

#include <stdatomic.h>

#include "nsqd/log/log_format.h"

#define HOUR (3600 * NSEC_PER_SEC)
#define SEGMENT 3000
#define SNAPSHOTS_MAX 64
/* Messages of the channel "a" that are never finished. */
enum { IN_FLIGHT = 1, REQUEUED = 2, DEFERRED = 3, COMES_BACK = 4, OLD = 4 };
#define FILLER 1000 /* the first of those that are finished */

struct snapshots {
	struct sim_disk *disks[SNAPSHOTS_MAX];
	size_t n;
	uint32_t skip; /* one in so many is taken */
	uint64_t *seed;
};

static uint64_t seed;

static int setup(void **state)
{
	const char *given = getenv("SEED");
	seed = given ? strtoull(given, NULL, 10) : (uint64_t)clock_wall_ns();
	printf("SEED=%llu\n", (unsigned long long)seed);
	return log_setup(state);
}

static int setup_dir(void **state)
{
	return enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static int teardown_dir(void **state)
{
	struct err err;
	assert_int_equal(log_delete(open_log(NULL, AT_FDCWD, false, 0), AT_FDCWD, &err), 0);
	log_teardown(state);
	return leave_test_dir(state);
}

/* --- what happens --------------------------------------------------------------------------------- */

static uint64_t first_number(struct side *s)
{
	struct log_stats stats;
	log_get_stats(topic_log_log(s->tl), &stats);
	return stats.first;
}

static struct topic_log_moves moves_of(struct side *s)
{
	struct topic_log_moves m;
	topic_log_get_moves(s->tl, &m);
	return m;
}

/* Until nothing is copied any more, and what may go has gone. */
static void flush_all_moves(struct side *s)
{
	int64_t end = clock_mono_ns() + PATIENCE;
	struct topic_log_moves m;
	uint64_t passes;
	do {
		passes = moves_of(s).passes;
		(void)topic_log_flush(s->tl);
		wait_for(!moves_of(s).running);
		(void)topic_log_flush(s->tl);
		m = moves_of(s);
		/* (It looks four times a second at most.) */
		if (m.pending)
			sleep_ns(NSEC_PER_MSEC);
		assert_true(clock_mono_ns() < end);
	} while (m.running || m.pending || m.passes != passes);
}

/* Messages that are finished at once, by all channels: n segments or more of them. */
static void fill(struct side *s, uint64_t *next, size_t n, bool pumped)
{
	for (size_t i = 0; i < n * SEGMENT / 600; i++) {
		publish_delayed(s, *next, 4, 100, 0);
		if (!pumped)
			pump(s, 4);
		for (int k = 0; k < CHANNELS_MAX; k++)
			if (s->channels[k].q)
				expect_finish(&s->channels[k], *next, 4);
		*next += 4;
	}
}

static struct side in_memory_side(struct sim_disk *d)
{
	return (struct side){.io = &d->io,
		.memory_size = 64,
		.segment_bytes = SEGMENT,
		.sync_timeout = HOUR,
		.move_behind = 1};
}

/* A topic on a disk of its own. */
struct run {
	struct sim_disk *disk;
	struct side s;
	struct message *held, *back; /* of make_old */
	uint64_t next;               /* for fill */
};

/* Nothing is open yet, and what it returns may be changed. */
static struct side *begin_run(struct run *r)
{
	struct sim_disk *d = sim_new();
	*r = (struct run){.disk = d, .s = in_memory_side(d), .next = FILLER};
	return &r->s;
}

static void end_run(struct run *r)
{
	close_side(&r->s);
	sim_free(r->disk);
}

/*
 * Opens the channels "a" and b (NULL: there is none). The old messages of "a" come to be; two of them are
 * in flight. b finishes all that wait for nothing. So many segments lie behind them.
 */
static void make_old(struct run *r, const char *b, size_t segments)
{
	struct side *s = &r->s;
	struct chan_side *a = &s->channels[0];
	open_side(s, "a", b);
	publish_delayed(s, IN_FLIGHT, 2, 50, 0);
	publish_delayed(s, DEFERRED, 1, 50, HOUR);
	publish_delayed(s, COMES_BACK, 1, 50, 0);
	pump(s, 4);
	r->held = take_message(a);
	assert_int_equal(id_of(r->held), IN_FLIGHT);
	struct message *m = take_message(a);
	assert_int_equal(id_of(m), REQUEUED);
	requeue(a, m, HOUR);
	r->back = take_message(a);
	assert_int_equal(id_of(r->back), COMES_BACK);
	if (b) {
		expect_finish(&s->channels[1], IN_FLIGHT, 2);
		expect_finish(&s->channels[1], COMES_BACK, 1);
	}
	fill(s, &r->next, segments, false);
}

/* --- what must be there --------------------------------------------------------------------------- */

/* The messages that wait in "a" are in the log, where the cursor says. */
static size_t check_waiting(struct side *s, bool *seen)
{
	struct chan_side *a = &s->channels[0];
	struct cursor_entry e[16];
	size_t at = 0;
	mutex_lock(&a->lock);
	size_t n = cursor_list_waiting(log_queue_cursor(a->q), &at, 0, UINT64_MAX, e, COUNT(e));
	mutex_unlock(&a->lock);
	struct log_reader *r = log_reader_open(topic_log_log(s->tl), 1, 0);
	for (size_t i = 0; i < n; i++) {
		struct log_item item;
		struct err err = {0};
		assert_int_equal(
			log_read_at(r, e[i].seq, e[i].offset, &item, &err), LOG_READ_MESSAGE);
		uint64_t id = id_of(item.msg);
		assert_true(id == REQUEUED || id == DEFERRED);
		assert_int_equal(e[i].attempts, id == REQUEUED);
		assert_in_range(e[i].due, clock_wall_ns() + HOUR / 2, clock_wall_ns() + HOUR);
		seen[id] = true;
		message_unref(item.msg);
	}
	log_reader_close(r);
	return n;
}

/* What was finished just before the crash may come again. After a power cut, what is old as well. */
enum lax { EXACT, FILLERS_AGAIN, ALL_AGAIN };

/* Takes the messages of "a" up to the one that was published last, and those that are old. */
static void drain(struct side *s, uint64_t last, bool *seen, uint16_t most, enum lax lax)
{
	struct chan_side *a = &s->channels[0];
	bool end = false;
	while (!end || !seen[IN_FLIGHT] || !seen[COMES_BACK]) {
		struct message *m = take_message(a);
		uint64_t id = id_of(m);
		end = end || id == last;
		if (id == IN_FLIGHT || id == COMES_BACK) {
			if (seen[id] && lax != ALL_AGAIN)
				fail_msg("message %llu comes twice", (unsigned long long)id);
			seen[id] = true;
			assert_in_range(m->attempts, lax == ALL_AGAIN ? 1 : 2, most);
		} else if (id != last && (lax == EXACT || id < FILLER)) {
			fail_msg("message %llu comes again", (unsigned long long)id);
		}
		finish(a, m);
	}
	if (lax == EXACT)
		expect_nothing(a);
}

/* What the next process finds, and in the end all is finished or waits. */
static void check_disk(struct sim_disk *d, bool disk, uint16_t most, enum lax lax)
{
	struct wait_group wg;
	bool seen[OLD + 1] = {0};
	struct side s = {.io = &d->io,
		.disk = disk,
		.memory_size = 8,
		.segment_bytes = SEGMENT,
		.sync_timeout = HOUR};
	uint64_t last = 900;
	wait_group_init(&wg);
	open_side(&s, "a", "b");
	pub(&s, last, 1);
	go(&wg, pump_thread, &s);
	drain(&s, last, seen, most, lax);
	size_t n = check_waiting(&s, seen);
	for (int id = 1; id <= OLD; id++)
		if (!seen[id])
			fail_msg("message %d is lost", id);
	assert_true(lax == ALL_AGAIN || n == 2);
	chan_close(s.exit_chan);
	join(&wg);
	close_side(&s);
}

/* --- crashes -------------------------------------------------------------------------------------- */

static void take_snapshot(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	struct snapshots *s = arg;
	if (s->skip > 1 && sim_random(s->seed) % s->skip != 0)
		return;
	if (s->n < SNAPSHOTS_MAX)
		s->disks[s->n++] = sim_copy(d);
	if (call->op != SIM_WRITE || s->n == SNAPSHOTS_MAX)
		return;
	struct sim_disk *torn = s->disks[s->n++] = sim_copy(d);
	size_t bytes = 1 + sim_random(s->seed) % call->n;
	sim_put(&torn->inodes[call->inode].now, call->bytes, bytes, call->off);
	sim_remember(&torn->inodes[call->inode]);
}

/* The calls from now on, or no more of them. */
static void watch(struct sim_disk *d, struct snapshots *to)
{
	pthread_mutex_lock(&d->lock);
	d->before = to ? take_snapshot : NULL;
	d->arg = to;
	pthread_mutex_unlock(&d->lock);
}

/* What is known now is on the disk, whatever happens to the power. */
static void make_safe(struct side *s)
{
	for (int i = 0; i < 2; i++) {
		mutex_lock(&s->channels[i].lock);
		cursor_want_snapshot(log_queue_cursor(s->channels[i].q));
		mutex_unlock(&s->channels[i].lock);
	}
	mutex_lock(topic_log_lock(s->tl));
	cursor_want_snapshot(topic_log_cursor(s->tl));
	mutex_unlock(topic_log_lock(s->tl));
	(void)topic_log_flush(s->tl);
}

static void drop(struct snapshots *s)
{
	for (size_t i = 0; i < s->n; i++)
		sim_free(s->disks[i]);
	s->n = 0;
}

/* The second life: it copies on, and dies, too. */
static void live_again(struct sim_disk *d, bool disk, struct snapshots *to)
{
	struct side s = {.io = &d->io,
		.disk = disk,
		.memory_size = 64,
		.segment_bytes = SEGMENT,
		.sync_timeout = HOUR,
		.move_behind = 1};
	struct wait_group wg;
	struct message *held[2] = {NULL};
	uint64_t last = 901, next = 5000;
	wait_group_init(&wg);
	open_side(&s, "a", "b");
	go(&wg, pump_thread, &s);
	pub(&s, last, 1);
	for (int i = 0; i < 3; i++) {
		struct message *m = take_message(&s.channels[0]);
		if (id_of(m) == last)
			finish(&s.channels[0], m);
		else
			held[id_of(m) == COMES_BACK] = m;
	}
	assert_true(id_of(held[0]) == IN_FLIGHT && id_of(held[1]) == COMES_BACK);
	expect_finish(&s.channels[1], last, 1);
	requeue(&s.channels[0], held[1], 0);
	make_safe(&s);
	watch(d, to);
	held[1] = take_message(&s.channels[0]);
	fill(&s, &next, 5, true);
	flush_all_moves(&s);
	watch(d, NULL);
	message_unref_all(held, 2);
	chan_close(s.exit_chan);
	join(&wg);
	close_side(&s);
}

static void crash(bool disk)
{
	struct run r;
	struct side *s = begin_run(&r);
	struct snapshots first = {.skip = 1, .seed = &seed}, second = {.skip = 6, .seed = &seed};
	s->disk = disk;
	s->move_behind = 2;
	make_old(&r, "b", 6);
	/* It is in memory, and nobody has it. */
	requeue(&s->channels[0], r.back, 0);
	assert_int_equal(first_number(s), 1);
	make_safe(s);
	watch(r.disk, &first);
	flush_all_moves(s);
	watch(r.disk, NULL);
	assert_true(first_number(s) > 4);
	/* One of them waits in "b" as well. */
	assert_int_equal(moves_of(s).messages, OLD + 1);
	message_unref(r.held);
	close_side(s);
	assert_true(first.n > 5 && first.n < SNAPSHOTS_MAX);
	for (size_t i = 0; i < first.n; i++) {
		for (int how = 0; how < (disk ? SIM_CUTS : 1); how++) {
			struct sim_disk *one = sim_copy(first.disks[i]);
			if (disk)
				sim_cut(one, (enum sim_cut)how, &seed);
			struct sim_disk *two = sim_copy(one);
			check_disk(one, disk, 4, EXACT);
			sim_free(one);
			if (how != (int)(i % SIM_CUTS) && disk) {
				sim_free(two);
				continue;
			}
			live_again(two, disk, &second);
			for (size_t k = 0; k < second.n; k++) {
				if (disk)
					sim_cut(second.disks[k],
						(enum sim_cut)(sim_random(&seed) % SIM_CUTS),
						&seed);
				check_disk(
					second.disks[k], disk, 7, disk ? ALL_AGAIN : FILLERS_AGAIN);
			}
			drop(&second);
			sim_free(two);
		}
	}
	drop(&first);
	sim_free(r.disk);
}

static void test_kill(void **state)
{
	crash(false);
}

static void test_power_cut(void **state)
{
	crash(true);
}

/* --- what a channel sees of it -------------------------------------------------------------------- */

/* Twice moved while a consumer holds it; then requeued, taken, finished: by the name that it had. */
static void test_in_flight(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	make_old(&r, NULL, 0);
	for (int i = 0; i < 3; i++) {
		uint64_t before = first_number(s);
		fill(s, &r.next, 5, false);
		flush_all_moves(s);
		assert_true(first_number(s) > before);
		assert_true(r.held->seq == 1 && r.back->seq == 4);
	}
	assert_in_range(moves_of(s).messages, 3 * OLD, 20 * OLD);
	requeue(&s->channels[0], r.back, 0);
	struct message *m = take_message(&s->channels[0]);
	assert_true(m == r.back && m->attempts == 2);
	finish(&s->channels[0], m);
	requeue(&s->channels[0], r.held, NSEC_PER_MSEC);
	m = take_message(&s->channels[0]);
	assert_true(id_of(m) == IN_FLIGHT && m->attempts == 2);
	finish(&s->channels[0], m);
	close_side(s);
	/* Both are over, and the other two wait. */
	*s = in_memory_side(r.disk);
	open_side(s, "a", NULL);
	expect_nothing(&s->channels[0]);
	bool seen[OLD + 1] = {0};
	assert_int_equal(check_waiting(s, seen), 2);
	end_run(&r);
}

/* Copies at the end of the log are no business of a channel that has finished all. */
static void test_the_others_have_nothing_to_do_with_copies(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	make_old(&r, "b", 5);
	flush_all_moves(s);
	assert_true(moves_of(s).messages >= OLD);
	struct topic_log_cursor_stats b;
	mutex_lock(&s->channels[1].lock);
	log_queue_stats_locked(s->channels[1].q, &b);
	mutex_unlock(&s->channels[1].lock);
	/* It has the one with a delay, and no more. */
	assert_int_equal(b.unfinished, 1);
	message_unref(r.held);
	message_unref(r.back);
	end_run(&r);
}

/* What was never handed out holds its segment, and so keeps its place. */
static void test_new_messages_keep_their_order(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	uint64_t next = 1;
	open_side(s, "a", NULL);
	for (; next < 200; next += 10) {
		publish_delayed(s, next, 10, 100, 0);
		pump(s, 10);
	}
	flush_all_moves(s);
	expect_finish(&s->channels[0], 1, 150);
	flush_all_moves(s);
	assert_int_equal(moves_of(s).messages, 0);
	expect_finish(&s->channels[0], 151, next - 151);
	end_run(&r);
}

/* Opens a segment for a reader; the first time all is moved before, and the segment goes. */
static struct side *moves_meanwhile;

static int open_late(const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	struct side *s = moves_meanwhile;
	if (s && mode == LOG_IO_READ) {
		uint64_t before = first_number(s);
		moves_meanwhile = NULL;
		flush_all_moves(s);
		assert_true(first_number(s) > before);
	}
	return sim_open(io, dir, name, mode);
}

/* What is due is taken out of the cursor, and copied before it is read: so its copy is read. */
static void test_moved_while_it_is_read(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	struct chan_side *a = &s->channels[0];
	struct message *msgs[1];
	r.disk->io.open = open_late;
	open_side(s, "a", NULL);
	pub(s, 1, 1);
	pump(s, 1);
	struct message *m = take_message(a);
	fill(s, &r.next, 10, false);
	requeue(a, m, 1);
	mutex_lock(&a->lock);
	int64_t due = a->due_at;
	mutex_unlock(&a->lock);
	wait_for(clock_mono_ns() >= due);
	moves_meanwhile = s;
	assert_int_equal(log_queue_take_due(a->q, msgs, 1), 0);
	assert_null(moves_meanwhile);
	/* Nothing else happens. */
	m = take_message(a);
	assert_int_equal(id_of(m), 1);
	assert_int_equal(m->attempts, 2);
	finish(a, m);
	end_run(&r);
}

/* They are a quarter of the first segments, and more: it is not worth it. */
static void test_what_is_wanted_stays(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	open_side(s, "a", NULL);
	for (int i = 0; i < 10; i++) {
		publish_delayed(s, 1 + (uint64_t)i * 20, 20, 100, HOUR);
		pump(s, 20);
	}
	wait_for(log_queue_deferred(s->channels[0].q) == 200);
	flush_all_moves(s);
	assert_int_equal(moves_of(s).passes, 0);
	/* Behind them four times as much is finished: now it is. */
	fill(s, &r.next, 50, false);
	flush_all_moves(s);
	assert_int_equal(moves_of(s).messages, 200);
	assert_true(first_number(s) > 200);
	assert_int_equal(log_queue_deferred(s->channels[0].q), 200);
	end_run(&r);
}

/* Not more than half of what is published is written again, however much is worth it. */
static void test_the_price(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	struct log_stats stats;
	open_side(s, "a", NULL);
	/* Few numbers, and most of the bytes. */
	for (int round = 0; round < 30; round++) {
		publish_delayed(s, 1 + (uint64_t)round, 1, 2000, HOUR);
		pump(s, 1);
		fill(s, &r.next, 1, false);
		if (round % 3 == 2)
			flush_all_moves(s);
	}
	log_get_stats(topic_log_log(s->tl), &stats);
	struct topic_log_moves m = moves_of(s);
	assert_true(m.messages > 0);
	/* The last append of a pass may be over it. */
	assert_true(m.bytes <= (stats.written_bytes - m.bytes) / 2 + 4 * SEGMENT);
	assert_int_equal(log_queue_deferred(s->channels[0].q), 30);
	end_run(&r);
}

/* A channel is emptied, or goes and another one comes: the copies are nobody's. */
static void test_emptied_and_deleted(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	struct err err;
	make_old(&r, "b", 6);
	/* Copies are beyond what the channel was put. */
	flush_all_moves(s);
	assert_true(moves_of(s).messages > 0);
	struct backend_queue *q = s->channels[0].q;
	assert_int_equal(q->ops->empty(q, &err), 0);
	assert_int_equal(log_queue_deferred(q), 0);
	message_unref(r.held);
	message_unref(r.back);
	assert_int_equal(topic_log_flush(s->tl), 0);
	struct sim_disk *emptied = sim_copy(r.disk);
	close_channel(s, 0, true);
	join_channel(s, 0, "a");
	assert_int_equal(topic_log_flush(s->tl), 0);
	close_side(s);
	for (int i = 0; i < 2; i++) {
		*s = in_memory_side(i ? r.disk : emptied);
		open_side(s, "a", "b");
		pub(s, 901, 1);
		pump(s, 1);
		expect_finish(&s->channels[0], 901, 1);
		expect_nothing(&s->channels[0]);
		assert_int_equal(log_queue_deferred(s->channels[0].q), 0);
		assert_int_equal(log_queue_deferred(s->channels[1].q), 1);
		close_side(s);
	}
	sim_free(emptied);
	sim_free(r.disk);
}

#define PUBLISHED 600

static void publish_all(void *arg)
{
	for (uint64_t next = FILLER; next < FILLER + PUBLISHED; next += 4)
		publish_delayed(arg, next, 4, 100, 0);
}

/*
 * With `disk` the thread of the log commits, and ticks: neither may wait for what is copied. All are at
 * work at once.
 */
static void test_at_once(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	struct wait_group wg;
	s->disk = true;
	s->sync_timeout = NSEC_PER_MSEC;
	make_old(&r, NULL, 0);
	wait_group_init(&wg);
	go(&wg, pump_thread, s);
	go(&wg, publish_all, s);
	expect_finish(&s->channels[0], FILLER, PUBLISHED);
	wait_for(moves_of(s).messages >= OLD && first_number(s) > OLD);
	finish(&s->channels[0], r.held);
	requeue(&s->channels[0], r.back, 0);
	/* In memory, or read from the log: the queue may not have caught up yet. */
	struct message *m = take_message(&s->channels[0]);
	assert_int_equal(id_of(m), COMES_BACK);
	assert_int_equal(m->attempts, 2);
	finish(&s->channels[0], m);
	chan_close(s->exit_chan);
	join(&wg);
	end_run(&r);
}

/* All is closed while messages are copied: nobody is told of a copy any more. */
static void test_closed_meanwhile(void **state)
{
	for (int round = 0; round < 20; round++) {
		struct run r;
		struct side *s = begin_run(&r);
		struct err err;
		make_old(&r, NULL, 6);
		(void)topic_log_flush(s->tl);
		message_unref(r.held);
		message_unref(r.back);
		close_channel(s, 0, round % 2);
		s->q->ops->close(s->q, &err);
		assert_false(moves_of(s).running);
		s->q = NULL;
		end_run(&r);
	}
}

/* The first thread that opens a segment to read it waits when that is open. */
static struct gate {
	int (*open)(const struct log_io *io, int dir, const char *name, enum log_io_mode mode);
	_Atomic bool is_shut;
	struct chan *reached_chan, *go_on_chan; /* capacity 1 */
} gate;

static int open_gated(const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	int fd = gate.open(io, dir, name, mode);
	if (mode == LOG_IO_READ && atomic_exchange(&gate.is_shut, false)) {
		chan_send(gate.reached_chan, NULL);
		chan_recv(gate.go_on_chan, NULL);
	}
	return fd;
}

/*
 * A message that the mover has picked is finished, and the cursor is written, before it is appended
 * again. Nobody is told of the copy, as the channel is closed. The next process knows by the old number
 * that it is finished: so that is still there.
 */
static void test_finished_while_copied(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	gate = (struct gate){r.disk->io.open, true, chan_new(0, 1), chan_new(0, 1)};
	open_side(s, "a", NULL);
	publish_delayed(s, IN_FLIGHT, 1, 50, 0);
	pump(s, 1);
	struct message *held = take_message(&s->channels[0]);
	fill(s, &r.next, 6, false);
	r.disk->io.open = open_gated;
	(void)topic_log_flush(s->tl);
	chan_recv(gate.reached_chan, NULL);
	finish(&s->channels[0], held);
	(void)topic_log_flush(s->tl);
	close_channel(s, 0, false);
	chan_send(gate.go_on_chan, NULL);
	wait_for(!moves_of(s).running);
	assert_int_equal(moves_of(s).messages, 1);
	close_side(s);
	*s = in_memory_side(r.disk);
	open_side(s, "a", NULL);
	struct backend_queue *q = s->channels[0].q;
	wait_for(q->ops->depth(q) == 0);
	expect_nothing(&s->channels[0]);
	end_run(&r);
	chan_free(gate.reached_chan);
	chan_free(gate.go_on_chan);
}

/* The disk has lost a message that waits: it does not hold the log for ever. */
static void test_damage(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	make_old(&r, NULL, 6);
	struct sim_inode *f = sim_file(r.disk, "t.log", "00000000000000000001.seg");
	assert_non_null(f);
	/* In the body of the second record. */
	f->now.data[LOG_HEAD_SIZE + 2 * LOG_RECORD_HEAD + 50 + 10] ^= 1;
	flush_all_moves(s);
	assert_int_equal(moves_of(s).lost, 1);
	assert_int_equal(moves_of(s).messages, OLD - 1);
	assert_true(first_number(s) > OLD);
	assert_int_equal(log_queue_deferred(s->channels[0].q), 1);
	finish(&s->channels[0], r.held);
	finish(&s->channels[0], r.back);
	end_run(&r);
}

/* What cannot be copied stays where it is, and is tried again. */
static void test_full_disk(void **state)
{
	struct run r;
	struct side *s = begin_run(&r);
	make_old(&r, NULL, 6);
	pthread_mutex_lock(&r.disk->lock);
	r.disk->fail_changes = true;
	pthread_mutex_unlock(&r.disk->lock);
	wait_for(((void)topic_log_flush(s->tl), moves_of(s).passes > 0));
	wait_for(!moves_of(s).running);
	assert_int_equal(moves_of(s).messages, 0);
	pthread_mutex_lock(&r.disk->lock);
	r.disk->fail_changes = false;
	pthread_mutex_unlock(&r.disk->lock);
	assert_int_equal(first_number(s), 1);
	fill(s, &r.next, 2, false);
	flush_all_moves(s);
	assert_true(first_number(s) > OLD);
	finish(&s->channels[0], r.held);
	finish(&s->channels[0], r.back);
	end_run(&r);
}

/* --- a soak ---------------------------------------------------------------------------------------- */

/* Messages that a consumer has at a time; the oldest is settled when another one comes. */
#define SOAK_HELD 300
#define SOAK_MAX 4000000
#define SOAK_SEGMENT 50000

static struct soak {
	struct side s;
	int64_t end_ns;
	_Atomic uint64_t published;
	uint64_t waiting, finished;
	uint8_t tried[SOAK_MAX]; /* 255: finished, or it waits for an hour */
	struct message *held[SOAK_HELD];
	size_t n_held;
} * soak;

static void publish_for_a_while(void *arg)
{
	uint64_t next = 0;
	while (clock_mono_ns() < soak->end_ns && next + 8 < SOAK_MAX) {
		publish_delayed(&soak->s, next, 8, 100 + next % 64, 0);
		next += 8;
		atomic_store(&soak->published, next);
	}
}

static void settle(struct chan_side *c, struct message *take_m)
{
	uint64_t id = id_of(take_m);
	uint32_t dice = (uint32_t)(sim_random(&seed) % 1000);
	if (dice == 0) {
		soak->waiting++;
		soak->tried[id] = 255;
		requeue(c, take_m, HOUR);
	} else if (dice < 20 && soak->tried[id] < 20) {
		requeue(c, take_m, dice < 10 ? 0 : (int64_t)(1 + dice) * NSEC_PER_MSEC);
	} else {
		soak->finished++;
		soak->tried[id] = 255;
		finish(c, take_m);
	}
}

/* Mostly the newest is settled; the others get old. */
static void hold(struct chan_side *c, struct message *take_m)
{
	uint64_t id = id_of(take_m);
	if (soak->tried[id] + 1 != take_m->attempts)
		fail_msg("message %llu, attempt %u, and there were %u", (unsigned long long)id,
			take_m->attempts, soak->tried[id]);
	soak->tried[id]++;
	if (sim_random(&seed) % 200 != 0) {
		settle(c, take_m);
		return;
	}
	if (soak->n_held == SOAK_HELD) {
		settle(c, soak->held[0]);
		soak->n_held--;
		memmove(soak->held, soak->held + 1, soak->n_held * sizeof(*soak->held));
	}
	soak->held[soak->n_held++] = take_m;
}

static void check_size(struct side *s)
{
	struct log_stats stats;
	flush_all_moves(s);
	struct topic_log_moves m = moves_of(s);
	log_get_stats(topic_log_log(s->tl), &stats);
	uint64_t live =
		(soak->waiting + soak->n_held) * (LOG_RECORD_HEAD + LOG_COPY_PREFIX_MAX + 164);
	printf("%llu messages, %llu copied in %llu passes; %lld bytes for %llu\n",
		(unsigned long long)soak->published, (unsigned long long)m.messages,
		(unsigned long long)m.passes, (long long)stats.bytes, (unsigned long long)live);
	assert_true(stats.bytes <= (int64_t)(4 * live) + 7 * SOAK_SEGMENT);
	assert_true(m.bytes <= (stats.written_bytes - m.bytes) / 2 + LOG_SEGMENT_BYTES / 64);
}

/* All kinds of old messages at full speed; a real disk. SOAK: seconds. */
static void test_soak(void **state)
{
	const char *seconds = getenv("SOAK");
	struct wait_group wg;
	soak = xcalloc(1, sizeof(*soak));
	seed = (uint64_t)clock_wall_ns();
	soak->s = (struct side){.dir = AT_FDCWD,
		.memory_size = 200,
		.segment_bytes = SOAK_SEGMENT,
		.sync_timeout = 5 * NSEC_PER_MSEC};
	soak->end_ns = clock_mono_ns() + (seconds ? atoll(seconds) * NSEC_PER_SEC : NSEC_PER_SEC);
	open_side(&soak->s, "a", NULL);
	struct chan_side *a = &soak->s.channels[0];
	wait_group_init(&wg);
	go(&wg, pump_thread, &soak->s);
	go(&wg, publish_for_a_while, NULL);
	while (clock_mono_ns() < soak->end_ns ||
		soak->finished + soak->waiting + soak->n_held < atomic_load(&soak->published)) {
		struct message *m = take_within(a, NSEC_PER_MSEC);
		if (m)
			hold(a, m);
	}
	check_size(&soak->s);
	for (size_t i = 0; i < soak->n_held; i++)
		finish(a, soak->held[i]);
	chan_close(soak->s.exit_chan);
	join(&wg);
	assert_int_equal(log_queue_deferred(a->q), soak->waiting);
	close_side(&soak->s);
	open_side(&soak->s, "a", NULL);
	assert_int_equal(log_queue_deferred(a->q), soak->waiting);
	expect_nothing(a);
	close_side(&soak->s);
	free(soak);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_flight, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_the_others_have_nothing_to_do_with_copies, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_new_messages_keep_their_order, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_moved_while_it_is_read, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_what_is_wanted_stays, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_the_price, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_emptied_and_deleted, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_at_once, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_closed_meanwhile, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_finished_while_copied, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_damage, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_soak, setup_dir, teardown_dir),
		cmocka_unit_test_setup_teardown(test_kill, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_power_cut, setup, log_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
