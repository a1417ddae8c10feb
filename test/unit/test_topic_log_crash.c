/* SPDX-License-Identifier: MIT */
/*
 * A topic with a log whose process dies, or whose computer loses power, at any moment: log, cursors
 * and the topic's cursor together. Publishers, the topic's pump, consumers, and a channel that comes
 * and goes are at work on a simulated disk. At some of its changes, also in the middle of a write,
 * the test keeps a copy of the disk and of what everybody had been told. The next process opens each
 * copy, and drains it: all that was promised must come, and nothing else. Its opening is cut short in
 * the same way.
 *
 * What is noted before something is told counts as what may have happened; what is noted behind
 * counts as what must have.
 */
#include "test/unit/log_queue_test.h"
#include "test/unit/sim_disk.h"

#include <stdatomic.h>

#include "common/rand.h"

#define PUBLISHERS 2
#define PER_PUBLISHER 400
#define LATER (PUBLISHERS * PER_PUBLISHER) /* from there on: those of the next process */
#define IDS (LATER + 16)
/* Each is opened many times; what threads do to each other is seen before that. */
#define MOMENTS (20 + ROUNDS(20))
#define A_LONG_TIME (3600 * NSEC_PER_SEC)
#define C 2 /* the channel that comes and goes */

/* What is known of a message in a channel. */
struct note {
	uint16_t tried; /* so often it was handed out */
	bool finished;
	int64_t due; /* it was put off until then; 0: it was not */
};

enum visit { GONE, COMING, THERE, GOING };

static struct ledger {
	_Atomic uint32_t offered[PUBLISHERS];
	_Atomic uint32_t kept[PUBLISHERS]; /* acknowledged: those before it */
	_Atomic bool finishing[CHANNELS_MAX][IDS];
	pthread_mutex_t lock;
	/* guarded by lock */
	struct note done[CHANNELS_MAX][IDS]; /* told to the cursors */
	struct note sure[CHANNELS_MAX][IDS]; /* and a flush that began later has ended */
	enum visit visit;                    /* of channel c */
	uint32_t since[PUBLISHERS];          /* THERE: messages from these on are c's */
	uint32_t visits;
} ledger;

/* A copy of the disk, and what had been told by then. */
struct moment {
	struct sim_disk *disk;
	uint32_t offered[PUBLISHERS], kept[PUBLISHERS], since[PUBLISHERS];
	bool finishing[CHANNELS_MAX][IDS];
	struct note sure[CHANNELS_MAX][IDS];
	enum visit visit;
	char where[64];
};

static struct run {
	struct side s;
	struct sim_disk *disk;
	bool disk_mode, power;
	_Atomic bool over;
	struct moment *moments[MOMENTS]; /* taken with the disk locked */
	size_t n;
	uint64_t seed;
} run;

static const uint32_t who[PUBLISHERS] = {0, 1};
static const int which[CHANNELS_MAX] = {0, 1, 2};

/* --- moments -------------------------------------------------------------------------------------- */

/* First what was certain, then the disk, then what was possible. */
static void take_moment(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	if (run.n == MOMENTS || sim_random(&run.seed) % 8 != 0)
		return;
	struct moment *m = xcalloc(1, sizeof(*m));
	for (int i = 0; i < PUBLISHERS; i++)
		m->kept[i] = atomic_load(&ledger.kept[i]);
	pthread_mutex_lock(&ledger.lock);
	memcpy(m->sure, ledger.sure, sizeof(m->sure));
	memcpy(m->since, ledger.since, sizeof(m->since));
	m->visit = ledger.visit;
	pthread_mutex_unlock(&ledger.lock);
	m->disk = sim_copy(d);
	snprintf(
		m->where, sizeof(m->where), "moment %zu, call %ld (%d)", run.n, d->calls, call->op);
	if (call->op == SIM_WRITE && sim_random(&run.seed) % 2) {
		struct sim_inode *f = &m->disk->inodes[call->inode];
		sim_put(&f->now, call->bytes, sim_random(&run.seed) % (call->n + 1), call->off);
		sim_remember(f);
	}
	for (int i = 0; i < PUBLISHERS; i++)
		m->offered[i] = atomic_load(&ledger.offered[i]);
	for (int i = 0; i < CHANNELS_MAX; i++)
		for (uint32_t id = 0; id < IDS; id++)
			m->finishing[i][id] = atomic_load(&ledger.finishing[i][id]);
	run.moments[run.n++] = m;
}

static void free_moment(struct moment *m)
{
	sim_free(m->disk);
	free(m);
}

/* --- the run ---------------------------------------------------------------------------------------- */

static void note(int i, uint64_t id, const struct message *m, bool finished, int64_t due)
{
	pthread_mutex_lock(&ledger.lock);
	struct note *n = &ledger.done[i][id];
	if (m)
		n->tried = m->attempts;
	n->finished = n->finished || finished;
	if (due > 0)
		n->due = due;
	pthread_mutex_unlock(&ledger.lock);
}

static bool is_over(void)
{
	return atomic_load(&run.over);
}

/* Until everybody has published enough. */
static void publish_some(void *arg)
{
	uint32_t w = *(const uint32_t *)arg, at = 0;
	while (!is_over() && at + 8 < PER_PUBLISHER) {
		uint32_t n = 1 + rand_below(8), dice = rand_below(20);
		int64_t delay = dice == 0   ? A_LONG_TIME
				: dice == 1 ? (int64_t)(1 + rand_below(10)) * NSEC_PER_MSEC
					    : 0;
		atomic_store(&ledger.offered[w], at + n);
		publish_delayed(&run.s, w * PER_PUBLISHER + at, n, 1 + rand_below(200), delay);
		at += n;
		atomic_store(&ledger.kept[w], at);
		if (rand_below(4) == 0)
			sleep_ns(NSEC_PER_MSEC / 2);
	}
}

static void put_off(int i, struct message *take_m, int64_t delay)
{
	struct chan_side *c = &run.s.channels[i];
	uint64_t id = id_of(take_m);
	int64_t due = clock_wall_ns() + delay;
	log_queue_wait_for(c->q, take_m, delay);
	note(i, id, take_m, false, due);
	message_unref(take_m);
}

static void settle(int i, struct message *take_m)
{
	struct chan_side *c = &run.s.channels[i];
	uint64_t id = id_of(take_m);
	switch (rand_below(12)) {
	case 0:
		requeue(c, take_m, 0);
		break;
	case 1:
		put_off(i, take_m, (int64_t)(1 + rand_below(10)) * NSEC_PER_MSEC);
		break;
	case 2:
		put_off(i, take_m, A_LONG_TIME);
		break;
	default:
		atomic_store(&ledger.finishing[i][id], true);
		finish(c, take_m);
		note(i, id, NULL, true, 0);
	}
}

/* Takes a message, or says what becomes of one that is held. */
static void step(int i, struct message **held, size_t *n, size_t max)
{
	struct message *m = take_within(&run.s.channels[i], NSEC_PER_MSEC);
	if (m) {
		note(i, id_of(m), m, false, 0);
		held[(*n)++] = m;
	}
	if (*n == max || (!m && *n > 0))
		settle(i, held[--*n]);
}

static void consume_some(void *arg)
{
	int i = *(const int *)arg;
	struct message *held[6];
	size_t n = 0;
	while (!is_over())
		step(i, held, &n, COUNT(held));
	message_unref_all(held, n);
}

static void set_visit(enum visit v)
{
	pthread_mutex_lock(&ledger.lock);
	ledger.visit = v;
	/* What is offered from now on. */
	for (int i = 0; v == THERE && i < PUBLISHERS; i++)
		ledger.since[i] = atomic_load(&ledger.offered[i]);
	if (v == GONE) {
		ledger.visits++;
		memset(ledger.done[C], 0, sizeof(ledger.done[C]));
		memset(ledger.sure[C], 0, sizeof(ledger.sure[C]));
	}
	pthread_mutex_unlock(&ledger.lock);
}

/* Channel c is made, has messages, and is deleted, again and again. */
static void come_and_go(void *arg)
{
	while (!is_over()) {
		struct message *held[3];
		size_t n = 0;
		for (int id = 0; id < IDS; id++)
			atomic_store(&ledger.finishing[C][id], false);
		set_visit(COMING);
		join_channel(&run.s, C, "c");
		/* The next flush makes its file. */
		assert_int_equal(topic_log_flush(run.s.tl), 0);
		set_visit(THERE);
		int64_t end = clock_mono_ns() + (int64_t)rand_below(12) * NSEC_PER_MSEC;
		while (clock_mono_ns() < end && !is_over())
			step(C, held, &n, COUNT(held));
		message_unref_all(held, n);
		if (is_over())
			return;
		set_visit(GOING);
		close_channel(&run.s, C, true);
		set_visit(GONE);
		sleep_ns(NSEC_PER_MSEC);
	}
}

/* Flushes, and notes what is safe from a death then. What c was told may be another c's. */
static void flush_some(void *arg)
{
	struct note(*noted)[IDS] = xmalloc(sizeof(ledger.done));
	while (!is_over()) {
		pthread_mutex_lock(&ledger.lock);
		memcpy(noted, ledger.done, sizeof(ledger.done));
		uint32_t visits = ledger.visits;
		pthread_mutex_unlock(&ledger.lock);
		assert_int_equal(topic_log_flush(run.s.tl), 0);
		pthread_mutex_lock(&ledger.lock);
		memcpy(ledger.sure, noted, C * sizeof(noted[0]));
		if (visits == ledger.visits)
			memcpy(ledger.sure[C], noted[C], sizeof(noted[C]));
		pthread_mutex_unlock(&ledger.lock);
		sleep_ns(NSEC_PER_MSEC);
	}
	free(noted);
}

static void begin_side(struct side *s, struct sim_disk *d)
{
	*s = (struct side){.io = &d->io,
		.dir = 0,
		.disk = run.disk_mode,
		.memory_size = run.seed % 3 * 15,
		.segment_bytes = 6000,
		.sync_timeout = 3 * NSEC_PER_MSEC,
		.rejoin = true};
	open_side(s, "a", "b");
}

static void make_moments(void)
{
	struct wait_group wg, publishers;
	run.disk->before = take_moment;
	begin_side(&run.s, run.disk);
	wait_group_init(&wg);
	wait_group_init(&publishers);
	go(&wg, pump_thread, &run.s);
	for (int i = 0; i < PUBLISHERS; i++)
		go(&publishers, publish_some, (void *)&who[i]);
	for (int i = 0; i < 2 * C; i++)
		go(&wg, consume_some, (void *)&which[i % C]);
	go(&wg, come_and_go, NULL);
	go(&wg, flush_some, NULL);
	join(&publishers);
	atomic_store(&run.over, true);
	chan_close(run.s.exit_chan);
	join(&wg);
	pthread_mutex_lock(&run.disk->lock);
	run.disk->before = NULL;
	pthread_mutex_unlock(&run.disk->lock);
	close_side(&run.s);
}

/* --- the next process --------------------------------------------------------------------------------- */

struct look {
	const struct moment *m;
	struct side s;
	bool lax; /* the power has failed, and no sync was asked for */
	const char *where;
	bool seen[CHANNELS_MAX][IDS];
};

/* Of all that waits, what does so for a long time. Its ids are marked as seen. */
static size_t see_waiting(struct look *l, int i)
{
	struct chan_side *c = &l->s.channels[i];
	struct cursor_entry some[32];
	size_t at = 0, n, count = 0;
	struct log_reader *r = NULL;
	do {
		mutex_lock(&c->lock);
		n = cursor_list_waiting(log_queue_cursor(c->q), &at, 0, UINT64_MAX, some, 32);
		mutex_unlock(&c->lock);
		for (size_t k = 0; k < n; k++) {
			struct log_item item;
			struct err err;
			if (some[k].due < clock_wall_ns() + A_LONG_TIME / 2)
				continue;
			count++;
			if (!r)
				r = log_reader_open(
					topic_log_log(l->s.tl), some[k].seq, some[k].offset);
			if (log_read_at(r, some[k].seq, some[k].offset, &item, &err) !=
				LOG_READ_MESSAGE)
				continue; /* lax */
			l->seen[i][id_of(item.msg)] = true;
			message_unref(item.msg);
		}
	} while (n > 0);
	log_reader_close(r);
	return count;
}

static bool is_through(struct look *l, int i)
{
	struct chan_side *c = &l->s.channels[i];
	struct log_stats stats;
	log_get_stats(topic_log_log(l->s.tl), &stats);
	mutex_lock(topic_log_lock(l->s.tl));
	bool handed = cursor_floor(topic_log_cursor(l->s.tl)) == stats.next;
	mutex_unlock(topic_log_lock(l->s.tl));
	mutex_lock(&c->lock);
	uint64_t left = cursor_unfinished(log_queue_cursor(c->q), stats.next);
	mutex_unlock(&c->lock);
	return handed && left == see_waiting(l, i);
}

static void check_delivery(struct look *l, int i, const struct message *m)
{
	uint64_t id = id_of(m), p = id / PER_PUBLISHER;
	const struct note *sure = &l->m->sure[i][id];
	if (id >= LATER) {
		assert_int_equal(m->attempts, 1);
	} else if (p >= PUBLISHERS || id % PER_PUBLISHER >= l->m->offered[p]) {
		fail_msg("%s: channel %d: message %llu was not published", l->where, i,
			(unsigned long long)id);
	}
	if (l->seen[i][id])
		fail_msg("%s: channel %d: message %llu comes twice", l->where, i,
			(unsigned long long)id);
	if (run.power)
		return;
	if (sure->finished)
		fail_msg("%s: channel %d: message %llu was finished", l->where, i,
			(unsigned long long)id);
	if (m->attempts <= sure->tried)
		fail_msg("%s: channel %d: message %llu: attempt %u, after %u", l->where, i,
			(unsigned long long)id, m->attempts, sure->tried);
	if (clock_wall_ns() < sure->due)
		fail_msg("%s: channel %d: message %llu is early", l->where, i,
			(unsigned long long)id);
}

/* What c must have: what was offered when it was there. */
static bool must_have(const struct look *l, int i, uint32_t p, uint32_t k)
{
	if (l->lax || k >= l->m->kept[p])
		return false;
	return i != C || (l->m->visit == THERE && k >= l->m->since[p]);
}

static void check_all(struct look *l, int i)
{
	for (uint32_t p = 0; p < PUBLISHERS; p++)
		for (uint32_t k = 0; k < PER_PUBLISHER; k++) {
			uint32_t id = p * PER_PUBLISHER + k;
			if (must_have(l, i, p, k) && !l->m->finishing[i][id] && !l->seen[i][id])
				fail_msg("%s: channel %d: message %u is lost", l->where, i, id);
		}
}

/* What nobody has ever been handed comes in the order of its publisher. */
static void drain(struct look *l, int i)
{
	struct chan_side *c = &l->s.channels[i];
	int64_t end = clock_mono_ns() + PATIENCE, last[PUBLISHERS] = {-1, -1};
	while (!is_through(l, i)) {
		if (clock_mono_ns() > end)
			fail_msg("%s: channel %d does not become empty", l->where, i);
		struct message *m = take_within(c, NSEC_PER_MSEC);
		if (!m)
			continue;
		uint64_t id = id_of(m), p = id / PER_PUBLISHER;
		check_delivery(l, i, m);
		if (id < LATER && m->attempts == 1 && m->deferred_ns == 0) {
			if ((int64_t)id < last[p])
				fail_msg("%s: channel %d: message %llu comes after %lld", l->where,
					i, (unsigned long long)id, (long long)last[p]);
			last[p] = (int64_t)id;
		}
		l->seen[i][id] = true;
		finish(c, m);
	}
	check_all(l, i);
}

/* The next process drains what it finds, and goes on with new messages. */
static void look_at(const struct moment *m, struct sim_disk *d, const char *where, bool lax)
{
	struct look *l = xcalloc(1, sizeof(*l));
	struct wait_group wg;
	l->m = m;
	l->lax = lax;
	l->where = where;
	begin_side(&l->s, d);
	/* Deleted, and so it stays; a loss of power may bring it back, or cost it. */
	if (!run.power && m->visit == GONE)
		assert_null(l->s.channels[C].q);
	if (!lax && m->visit == THERE)
		assert_non_null(l->s.channels[C].q);
	wait_group_init(&wg);
	go(&wg, pump_thread, &l->s);
	pub(&l->s, LATER, IDS - LATER);
	for (int i = 0; i < CHANNELS_MAX; i++) {
		if (!l->s.channels[i].q)
			continue;
		drain(l, i);
		for (uint32_t id = LATER; id < IDS; id++)
			if (!l->seen[i][id])
				fail_msg(
					"%s: channel %d: the new message %u is lost", where, i, id);
	}
	chan_close(l->s.exit_chan);
	join(&wg);
	close_side(&l->s);
	free(l);
}

/* A crash while the next process opens the log. */
static struct again {
	struct sim_disk *disk;
	uint64_t seed;
} again;

static void crash_again(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	if (again.disk || sim_random(&again.seed) % 4 != 0)
		return;
	again.disk = sim_copy(d);
}

static void crash_while_it_opens(const struct moment *m, struct sim_disk *d, enum sim_cut how)
{
	struct sim_disk *copy = sim_copy(d);
	struct side s;
	again.disk = NULL;
	copy->before = crash_again;
	begin_side(&s, copy);
	close_side(&s);
	sim_free(copy);
	if (!again.disk)
		return;
	if (run.power)
		sim_cut(again.disk, how, &again.seed);
	look_at(m, again.disk, "after another crash", run.power && !run.disk_mode);
	sim_free(again.disk);
}

static void try_moment(const struct moment *m)
{
	char where[128];
	for (int how = 0; how < (run.power ? SIM_CUTS : 1); how++) {
		struct sim_disk *copy = sim_copy(m->disk);
		snprintf(where, sizeof(where), "%s, cut %d", m->where, how);
		if (run.power)
			sim_cut(copy, (enum sim_cut)how, &run.seed);
		else
			sim_cut(copy, SIM_CUT_NEWEST, &run.seed); /* its history is not wanted */
		if (how % 2 == 0)
			crash_while_it_opens(m, copy, (enum sim_cut)how);
		look_at(m, copy, where, run.power && !run.disk_mode);
		sim_free(copy);
	}
}

static void crash(bool disk_mode, bool power)
{
	for (int i = 0; i < ROUNDS(2) + 1; i++) {
		memset(&ledger, 0, sizeof(ledger));
		pthread_mutex_init(&ledger.lock, NULL);
		run = (struct run){.disk = sim_new(),
			.disk_mode = disk_mode,
			.power = power,
			.seed = rand_u64()};
		make_moments();
		assert_true(run.n > 5);
		for (size_t k = 0; k < run.n; k++) {
			try_moment(run.moments[k]);
			free_moment(run.moments[k]);
		}
		sim_free(run.disk);
		pthread_mutex_destroy(&ledger.lock);
	}
}

static void test_process_dies(void **state)
{
	crash(false, false);
}

static void test_process_dies_with_disk(void **state)
{
	crash(true, false);
}

static void test_power_fails(void **state)
{
	crash(true, true);
}

/* What is there opens, and is what was published; some of it may not be there. */
static void test_power_fails_and_no_sync_was_asked_for(void **state)
{
	crash(false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_dies),
		cmocka_unit_test(test_process_dies_with_disk),
		cmocka_unit_test(test_power_fails),
		cmocka_unit_test(test_power_fails_and_no_sync_was_asked_for),
	};
	return cmocka_run_group_tests(tests, log_setup, log_teardown);
}
