/* SPDX-License-Identifier: MIT */
/*
 * A topic with a log, its channels, and their cursors, through crashes: a random run on a simulated
 * disk, of which copies are taken at random moments, that is between any two changes of the disk.
 * Each copy is what kill -9 leaves there; with the power cut, one of those things that this leaves.
 * Then the next process must find all that was acknowledged and not finished.
 */
#include "test/unit/log_queue_test.h"
#include "test/unit/sim_disk.h"

#define MESSAGES 400
#define HELD_MAX 20
#define SNAPSHOTS_MAX 40
#define CHANNELS 2
#define HOUR (3600 * NSEC_PER_SEC)

/* A message, as a channel knows it. */
struct fate {
	bool finished, was_finished; /* was: when the cursors were written last */
	bool waits, was_waiting;     /* for an hour */
	uint16_t attempts, were_attempts;
};

struct model {
	uint64_t offered, kept; /* so many messages were given to the log, and acknowledged */
	uint64_t seqs[MESSAGES + 2];
	struct fate fates[CHANNELS][MESSAGES + 2];
};

struct snapshot {
	struct sim_disk *disk;
	struct model model;
};

static struct run {
	struct side side;
	struct model now;
	struct message *held[CHANNELS][HELD_MAX];
	size_t n_held[CHANNELS];
	bool changing;  /* the model; guarded by the disk's lock */
	uint64_t dealt; /* messages that the topic's pump has dealt out */
	struct snapshot snapshots[SNAPSHOTS_MAX];
	size_t n_snapshots;
	uint64_t seed;
} r;

static uint32_t chance(uint32_t n)
{
	return (uint32_t)(sim_random(&r.seed) % n);
}

static int setup(void **state)
{
	const char *seed = getenv("SEED");
	memset(&r, 0, sizeof(r));
	r.seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)clock_wall_ns();
	printf("SEED=%llu\n", (unsigned long long)r.seed);
	return log_setup(state);
}

/* --- the run -------------------------------------------------------------------------------------- */

/* The test's thread changes the model from now on, or not. */
static void set_changing(bool changing)
{
	struct sim_disk *d = (struct sim_disk *)r.side.io;
	pthread_mutex_lock(&d->lock);
	r.changing = changing;
	pthread_mutex_unlock(&d->lock);
}

/* With the disk locked. */
static void maybe_snapshot(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	if (r.changing || r.n_snapshots == SNAPSHOTS_MAX || chance(12) != 0)
		return;
	struct snapshot *s = &r.snapshots[r.n_snapshots++];
	s->disk = sim_copy(d);
	s->model = r.now;
}

static void do_publish(void)
{
	uint64_t n = 1 + chance(8);
	struct message *msgs[8];
	struct err err = {0};
	if (r.now.offered + n > MESSAGES)
		return;
	for (uint64_t i = 0; i < n; i++) {
		msgs[i] = make_message(r.now.offered + 1 + i, 1 + chance(300));
		msgs[i]->deferred_ns = 0;
	}
	r.now.offered += n;
	set_changing(false);
	if (topic_log_append(r.side.tl, msgs, n, NULL, &err) != 0)
		fail_msg("%s", err.msg);
	set_changing(true);
	for (uint64_t i = 0; i < n; i++)
		r.now.seqs[r.now.kept + 1 + i] = msgs[i]->seq;
	r.now.kept += n;
	message_unref_all(msgs, n);
}

static void do_deal(void)
{
	uint64_t n = r.now.kept - r.dealt;
	n = n > 5 ? 1 + chance(5) : n;
	pump(&r.side, n);
	r.dealt += n;
}

static void do_take(int i)
{
	struct chan_side *c = &r.side.channels[i];
	if (r.n_held[i] == HELD_MAX)
		return;
	struct message *m = take_within(c, 0);
	if (!m)
		return;
	struct fate *f = &r.now.fates[i][id_of(m)];
	assert_true(!f->finished && !f->waits);
	f->attempts = m->attempts;
	r.held[i][r.n_held[i]++] = m;
}

static void do_settle(int i)
{
	struct chan_side *c = &r.side.channels[i];
	if (r.n_held[i] == 0)
		return;
	size_t k = chance((uint32_t)r.n_held[i]);
	struct message *m = r.held[i][k];
	r.held[i][k] = r.held[i][--r.n_held[i]];
	struct fate *f = &r.now.fates[i][id_of(m)];
	switch (chance(6)) {
	case 0:
		requeue(c, m, 0);
		break;
	case 1:
		f->waits = true;
		requeue(c, m, HOUR);
		break;
	default:
		f->finished = true;
		finish(c, m);
	}
}

/* What is known now is on the disk afterwards. */
static void do_flush(void)
{
	set_changing(false);
	assert_int_equal(topic_log_flush(r.side.tl), 0);
	set_changing(true);
	for (int i = 0; i < CHANNELS; i++) {
		for (uint64_t id = 1; id <= MESSAGES; id++) {
			struct fate *f = &r.now.fates[i][id];
			f->was_finished = f->finished;
			f->was_waiting = f->waits;
			f->were_attempts = f->attempts;
		}
	}
}

/* Messages are known by their numbers here: so none gets a new one. */
#define NO_COPIES 1000

static void random_run(struct sim_disk *d, bool power)
{
	r.side = (struct side){.io = &d->io,
		.disk = power,
		.memory_size = 8,
		.segment_bytes = 6000,
		.move_behind = NO_COPIES,
		.sync_timeout = HOUR};
	r.changing = true;
	open_side(&r.side, "a", "b");
	d->before = maybe_snapshot;
	for (int steps = 0; steps < 2500; steps++) {
		switch (chance(10)) {
		case 0:
			do_publish();
			break;
		case 1:
		case 2:
			do_deal();
			break;
		case 3:
			if (chance(4) == 0)
				do_flush();
			break;
		default:
			if (chance(2))
				do_take((int)chance(CHANNELS));
			else
				do_settle((int)chance(CHANNELS));
		}
	}
	d->before = NULL;
	for (int i = 0; i < CHANNELS; i++)
		message_unref_all(r.held[i], r.n_held[i]);
	close_side(&r.side);
}

/* --- the next life --------------------------------------------------------------------------------- */

/* The messages that wait in the second life. */
static void note_waiting(struct chan_side *c, const struct model *m, bool *waiting)
{
	struct cursor_entry e;
	size_t at = 0;
	mutex_lock(&c->lock);
	while (cursor_list_waiting(log_queue_cursor(c->q), &at, 0, UINT64_MAX, &e, 1) == 1) {
		for (uint64_t id = 1; id <= m->offered; id++)
			if (m->seqs[id] == e.seq && e.due != 0)
				waiting[id] = true;
	}
	mutex_unlock(&c->lock);
}

static void take_one(const struct model *m, int i, struct chan_side *c, bool power, bool *seen)
{
	struct message *msg = take_message(c);
	uint64_t id = id_of(msg);
	if (id == 0 || (id > m->offered && id != MESSAGES + 1) || seen[id])
		fail_msg("message %llu comes, or comes twice", (unsigned long long)id);
	seen[id] = true;
	const struct fate *f = &m->fates[i][id];
	if (!power && f->was_finished)
		fail_msg("message %llu was finished", (unsigned long long)id);
	if (!power && !f->finished && !f->waits && msg->attempts <= f->were_attempts)
		fail_msg("message %llu: attempt %u, and there were %u", (unsigned long long)id,
			msg->attempts, f->were_attempts);
	if (msg->attempts > f->attempts + 1)
		fail_msg("message %llu: attempt %u, and there were only %u", (unsigned long long)id,
			msg->attempts, f->attempts);
	finish(c, msg);
}

static bool is_handed(struct side *s)
{
	struct log_stats stats;
	log_get_stats(topic_log_log(s->tl), &stats);
	mutex_lock(topic_log_lock(s->tl));
	bool is = cursor_floor(topic_log_cursor(s->tl)) == stats.next;
	mutex_unlock(topic_log_lock(s->tl));
	return is;
}

/* All that is not finished, and not deferred. */
static bool has_more(struct side *s, struct chan_side *c)
{
	struct log_stats stats;
	size_t deferred = log_queue_deferred(c->q);
	log_get_stats(topic_log_log(s->tl), &stats);
	mutex_lock(&c->lock);
	bool more = cursor_unfinished(log_queue_cursor(c->q), stats.next) > deferred;
	mutex_unlock(&c->lock);
	return more;
}

/* What is not finished is delivered, or waits. */
static void check_channel(struct side *s, const struct model *m, int i, bool power)
{
	bool seen[MESSAGES + 2] = {0}, waiting[MESSAGES + 2] = {0};
	struct chan_side *c = &s->channels[i];
	while (has_more(s, c))
		take_one(m, i, c, power, seen);
	expect_nothing(c);
	note_waiting(c, m, waiting);
	assert_true(seen[MESSAGES + 1]);
	wait_for(depth_of(c->q) == 0);
	for (uint64_t id = 1; id <= m->kept; id++) {
		const struct fate *f = &m->fates[i][id];
		if (waiting[id] && !f->waits && !f->was_waiting)
			fail_msg("message %llu waits, and did not", (unsigned long long)id);
		if (!f->finished && !seen[id] && !waiting[id])
			fail_msg("channel %d: message %llu is lost", i, (unsigned long long)id);
	}
}

static void check_snapshot(const struct snapshot *snap, struct sim_disk *d, bool power)
{
	struct wait_group wg;
	struct err err = {0};
	struct side s = {.io = &d->io,
		.disk = power,
		.memory_size = 8,
		.segment_bytes = 6000,
		.move_behind = NO_COPIES,
		.sync_timeout = NSEC_PER_MSEC};
	wait_group_init(&wg);
	open_side(&s, "a", "b");
	/* It has a number that no cursor takes for another message's. */
	struct message *m = make_message(MESSAGES + 1, 10);
	m->deferred_ns = 0;
	assert_int_equal(topic_log_append(s.tl, &m, 1, NULL, &err), 0);
	message_unref(m);
	go(&wg, pump_thread, &s);
	wait_for(is_handed(&s));
	for (int i = 0; i < CHANNELS; i++)
		check_channel(&s, &snap->model, i, power);
	chan_close(s.exit_chan);
	join(&wg);
	close_side(&s);
}

static void crash(bool power)
{
	struct sim_disk *d = sim_new();
	random_run(d, power);
	assert_true(r.n_snapshots > 3);
	for (size_t k = 0; k < r.n_snapshots; k++) {
		for (int how = 0; how < (power ? SIM_CUTS : 1); how++) {
			struct sim_disk *copy = sim_copy(r.snapshots[k].disk);
			if (power)
				sim_cut(copy, (enum sim_cut)how, &r.seed);
			check_snapshot(&r.snapshots[k], copy, power);
			sim_free(copy);
		}
		sim_free(r.snapshots[k].disk);
	}
	sim_free(d);
}

static void test_kill(void **state)
{
	crash(false);
}

static void test_power_cut(void **state)
{
	crash(true);
}

/* --- life ------------------------------------------------------------------------------------------ */

static void note(void *arg, const char *channel)
{
	strcat(strcat(arg, channel), " ");
}

static void open_alone(struct topic_log **tl, struct backend_queue **q, struct sim_disk *d)
{
	struct err err = {0};
	struct topic_log_opts o = {.dir = 0, .topic = "t", .lg = &test_lg, .io = &d->io};
	if (topic_log_open(&o, tl, &err) != 0)
		fail_msg("%s", err.msg);
	*q = log_queue_new_topic(*tl, NULL);
}

/* Cursors of channels that are not opened any more go before anything is appended. */
static void test_cursors_of_others(void **state)
{
	struct sim_disk *d = sim_new();
	struct topic_log *tl;
	struct backend_queue *q;
	struct err err = {0};
	char names[64] = "";
	struct side s = {.io = &d->io, .memory_size = 4};
	open_side(&s, "a", "b.cursor");
	join_channel(&s, 2, "gone");
	pub(&s, 1, 3);
	pump(&s, 3);
	close_channel(&s, 2, true);
	close_side(&s);
	open_alone(&tl, &q, d);
	assert_int_equal(topic_log_each_channel(tl, note, names, &err), 0);
	assert_true(strcmp(names, "a b.cursor ") == 0 || strcmp(names, "b.cursor a ") == 0);
	assert_int_equal(topic_log_start(tl, &err), 0);
	*names = '\0';
	assert_int_equal(topic_log_each_channel(tl, note, names, &err), 0);
	assert_string_equal(names, "");
	q->ops->close(q, &err);
	assert_int_equal(topic_log_delete(tl, &err), 0);
	sim_free(d);
}

/* While a channel has no file, the topic's cursor does not say that it has messages. */
static void test_a_channel_without_a_file(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s = {.io = &d->io, .memory_size = 4, .sync_timeout = HOUR};
	open_side(&s, NULL, NULL);
	d->fail_at = d->calls;
	d->fail_calls = 1000;
	d->fail_code = ENOSPC;
	join_channel(&s, 0, "a");
	assert_int_equal(topic_log_flush(s.tl), -1);
	d->fail_at = -1;
	/* (From now on no publisher tries to make the file.) */
	pub(&s, 1, 3);
	pump(&s, 3);
	/* The channel's file cannot be made, and that of the topic can. */
	d->fail_at = d->calls;
	d->fail_calls = 1;
	assert_int_equal(topic_log_flush(s.tl), -1);
	assert_true(d->calls > d->fail_at);
	struct sim_disk *copy = sim_copy(d);
	assert_int_equal(topic_log_flush(s.tl), 0);
	struct sim_disk *later = sim_copy(d);
	close_side(&s);
	for (int i = 0; i < 2; i++) {
		s = (struct side){.io = i ? &later->io : &copy->io, .memory_size = 4};
		open_side(&s, "a", NULL);
		if (i == 0)
			pump(&s, 3);
		expect_finish(&s.channels[0], 1, 3);
		expect_nothing(&s.channels[0]);
		close_side(&s);
	}
	sim_free(copy);
	sim_free(later);
	sim_free(d);
}

/* What is acknowledged is there for each channel that was: the next process knows the channel. */
static void test_the_answer_waits_for_the_files_of_channels(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s = {.io = &d->io, .memory_size = 4, .sync_timeout = HOUR};
	struct err err = {0};
	open_side(&s, NULL, NULL);
	join_channel(&s, 2, "c");
	pub(&s, 1, 2);
	struct sim_disk *copy = sim_copy(d);
	close_channel(&s, 2, true);
	join_channel(&s, 2, "c");
	struct message *m = make_message(3, 40);
	if (topic_log_append_alone(s.tl, "c", &m, 1, &err) != 0)
		fail_msg("topic_log_append_alone: %s", err.msg);
	message_unref(m);
	struct sim_disk *alone = sim_copy(d);
	close_side(&s);
	sim_free(d);

	s = (struct side){.io = &copy->io, .memory_size = 4, .rejoin = true};
	open_side(&s, NULL, NULL);
	assert_non_null(s.channels[2].q);
	pump(&s, 2);
	expect_finish(&s.channels[2], 1, 2);
	expect_nothing(&s.channels[2]);
	close_side(&s);
	sim_free(copy);

	s = (struct side){.io = &alone->io, .memory_size = 4, .rejoin = true};
	open_side(&s, NULL, NULL);
	assert_non_null(s.channels[2].q);
	close_side(&s);
	sim_free(alone);
}

/* Nor when it closes without one. */
static void test_a_channel_that_closes_without_a_file(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s = {.io = &d->io, .memory_size = 4, .sync_timeout = HOUR};
	struct err err = {0};
	open_side(&s, NULL, NULL);
	d->fail_at = d->calls;
	d->fail_calls = 1000;
	join_channel(&s, 0, "a");
	assert_int_equal(topic_log_flush(s.tl), -1);
	d->fail_at = -1;
	pub(&s, 1, 3);
	pump(&s, 3);
	d->fail_at = d->calls;
	struct chan_side *a = &s.channels[0];
	assert_int_equal(a->q->ops->close(a->q, &err), -1);
	d->fail_at = -1;
	a->q = NULL;
	message_drain_chan(a->memory);
	chan_free(a->memory);
	chan_free(a->due_chan);
	close_side(&s);
	s = (struct side){.io = &d->io, .memory_size = 4};
	open_side(&s, "a", NULL);
	pump(&s, 3);
	expect_finish(a, 1, 3);
	expect_nothing(a);
	close_side(&s);
	sim_free(d);
}

static size_t segments_of(struct side *s)
{
	struct log_stats stats;
	log_get_stats(topic_log_log(s->tl), &stats);
	return stats.segments;
}

/*
 * A loss of power leaves a hole in what the topic's cursor knows. What is behind it was handed out by the
 * earlier process, and is not by this one: no channel passes it over.
 */
static void test_a_hole_in_the_topics_cursor(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s = {.io = &d->io, .memory_size = 20, .sync_timeout = HOUR};
	struct sim_bytes old = {NULL, 0};
	size_t ends[3];
	open_side(&s, "a", NULL);
	for (uint64_t i = 0; i < 3; i++) {
		pub(&s, 1 + 3 * i, 3);
		pump(&s, 3);
		expect_finish(&s.channels[0], 1 + 3 * i, 3);
		assert_int_equal(topic_log_flush(s.tl), 0);
		ends[i] = sim_file(d, "t.log", ":topic.cursor")->now.size;
		if (i == 0)
			old = sim_copy_bytes(&sim_file(d, "t.log", "a.cursor")->now);
	}
	struct sim_disk *copy = sim_copy(d);
	close_side(&s);
	assert_true(ends[0] < ends[1] && ends[1] < ends[2]);
	sim_file(copy, "t.log", ":topic.cursor")->now.data[ends[1] - 1] ^= 1;
	struct sim_bytes *a = &sim_file(copy, "t.log", "a.cursor")->now;
	sim_resize(a, 0);
	sim_put(a, old.data, old.size, 0);
	s = (struct side){.io = &copy->io, .memory_size = 20, .sync_timeout = HOUR};
	open_side(&s, "a", NULL);
	assert_int_equal(topic_log_handed_upto(s.tl), 4);
	for (int i = 0; i < 6; i++) {
		pump(&s, 1);
		assert_int_equal(topic_log_flush(s.tl), 0);
	}
	expect_finish(&s.channels[0], 4, 6);
	expect_nothing(&s.channels[0]);
	close_side(&s);
	free(old.data);
	sim_free(copy);
	sim_free(d);
}

/* A channel that could not be made has no owner: it leaves nothing, and holds nothing. */
static void test_a_channel_that_never_came_to_be(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s = {
		.io = &d->io, .memory_size = 4, .segment_bytes = 1000, .sync_timeout = HOUR};
	struct err err = {0};
	struct mutex lock;
	mutex_init(&lock, RANK_IN_FLIGHT);
	for (int saved = 0; saved < 2; saved++) {
		open_side(&s, "a", NULL);
		struct backend_queue *b = log_queue_new_channel(s.tl, "b", &lock, NULL, &err);
		assert_non_null(b);
		if (saved)
			assert_int_equal(topic_log_flush(s.tl), 0);
		assert_int_equal(b->ops->close(b, &err), 0);
		for (int i = 0; i < 20; i++) {
			pub(&s, 1, 4);
			pump(&s, 4);
			expect_finish(&s.channels[0], 1, 4);
		}
		assert_int_equal(topic_log_flush(s.tl), 0);
		assert_int_equal(segments_of(&s), 1);
		assert_null(sim_file(d, "t.log", "b.cursor"));
		close_side(&s);
	}
	mutex_destroy(&lock);
	sim_free(d);
}

/* Two channels, of which b has finished all. */
static void open_with_one_behind(struct side *s, struct sim_disk *d)
{
	*s = (struct side){
		.io = &d->io, .memory_size = 4, .segment_bytes = 1000, .sync_timeout = HOUR};
	open_side(s, "a", "b");
	pub(s, 1, 10);
	pub(s, 11, 10);
	pub(s, 21, 10);
	pump(s, 30);
	expect_finish(&s->channels[1], 1, 30);
	assert_int_equal(topic_log_flush(s->tl), 0);
	assert_true(segments_of(s) >= 3);
}

/* At the exit one channel closes after the other, and the log's thread is still at work. */
static void test_what_a_closed_channel_wants_stays(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s;
	open_with_one_behind(&s, d);
	close_channel(&s, 0, false);
	assert_int_equal(topic_log_flush(s.tl), 0);
	close_channel(&s, 1, false);
	assert_int_equal(topic_log_flush(s.tl), 0);
	assert_true(segments_of(&s) >= 3);
	close_side(&s);
	s = (struct side){.io = &d->io, .memory_size = 4};
	open_side(&s, "a", "b");
	expect_finish(&s.channels[0], 1, 30);
	expect_nothing(&s.channels[1]);
	close_side(&s);
	sim_free(d);
}

/* At the start one joins after the other. */
static void test_what_a_channel_wants_that_has_not_joined_stays(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s;
	open_with_one_behind(&s, d);
	close_side(&s);
	s = (struct side){.io = &d->io, .memory_size = 4, .sync_timeout = HOUR};
	open_topic(&s);
	join_channel(&s, 1, "b");
	assert_int_equal(topic_log_flush(s.tl), 0);
	join_channel(&s, 0, "a");
	start_side(&s);
	assert_true(segments_of(&s) >= 3);
	expect_finish(&s.channels[0], 1, 30);
	assert_int_equal(topic_log_flush(s.tl), 0);
	assert_int_equal(segments_of(&s), 1);
	close_side(&s);
	sim_free(d);
}

/*
 * The daemon dies behind the channel's cursor, and before the topic's: the topic hands its messages
 * out again, and the channel knows which of them are finished, or wait.
 */
static void test_handed_out_again(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s = {.io = &d->io, .memory_size = 8, .sync_timeout = HOUR};
	open_side(&s, "a", NULL);
	pub(&s, 1, 6);
	assert_int_equal(topic_log_flush(s.tl), 0);
	pump(&s, 6);
	expect_finish(&s.channels[0], 1, 3);
	struct message *fourth = take_message(&s.channels[0]);
	struct message *fifth = take_message(&s.channels[0]);
	requeue(&s.channels[0], fourth, HOUR);
	d->fail_at = d->calls + 1;
	assert_int_equal(topic_log_flush(s.tl), -1);
	struct sim_disk *copy = sim_copy(d);
	finish(&s.channels[0], fifth);
	close_side(&s);
	s = (struct side){.io = &copy->io, .memory_size = 8};
	open_side(&s, "a", NULL);
	assert_int_equal(depth_of(s.q), 6);
	pump(&s, 6);
	fifth = take_message(&s.channels[0]);
	assert_true(id_of(fifth) == 5 && fifth->attempts == 2);
	finish(&s.channels[0], fifth);
	expect_finish(&s.channels[0], 6, 1);
	expect_nothing(&s.channels[0]);
	assert_int_equal(log_queue_deferred(s.channels[0].q), 1);
	wait_for(depth_of(s.channels[0].q) == 0);
	close_side(&s);
	sim_free(copy);
	sim_free(d);
}

/* Messages go on while no cursor can be written, and nothing is lost. */
static void test_full_disk(void **state)
{
	struct sim_disk *d = sim_new();
	struct side s = {.io = &d->io, .memory_size = 4, .sync_timeout = NSEC_PER_MSEC};
	open_side(&s, "a", NULL);
	pub(&s, 1, 50);
	pump(&s, 50);
	expect_finish(&s.channels[0], 1, 10);
	assert_int_equal(topic_log_flush(s.tl), 0);
	pthread_mutex_lock(&d->lock);
	d->before = NULL;
	d->fail_changes = true;
	pthread_mutex_unlock(&d->lock);
	expect_finish(&s.channels[0], 11, 20);
	assert_int_equal(topic_log_flush(s.tl), -1);
	pthread_mutex_lock(&d->lock);
	d->fail_changes = false;
	pthread_mutex_unlock(&d->lock);
	assert_int_equal(topic_log_flush(s.tl), 0);
	struct sim_disk *copy = sim_copy(d);
	close_side(&s);
	s = (struct side){.io = &copy->io, .memory_size = 4};
	open_side(&s, "a", NULL);
	expect_finish(&s.channels[0], 31, 20);
	close_side(&s);
	sim_free(copy);
	sim_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cursors_of_others, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_a_channel_without_a_file, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_a_channel_that_closes_without_a_file, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_the_answer_waits_for_the_files_of_channels, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_a_hole_in_the_topics_cursor, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_a_channel_that_never_came_to_be, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_what_a_closed_channel_wants_stays, setup, log_teardown),
		cmocka_unit_test_setup_teardown(
			test_what_a_channel_wants_that_has_not_joined_stays, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_handed_out_again, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_power_cut, setup, log_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
