/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at random moments, life after life. A child has a topic with a log, publishers, the pump,
 * two channels and their consumers, and notes in shared memory what it is about to do, and what it
 * has done. The last life finds all that was acknowledged and not finished, with its attempts.
 */
#include "test/unit/dir_test.h"
#include "test/unit/log_queue_test.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/rand.h"

#define LIVES 12
#define BUDGET (4 * NSEC_PER_SEC)
#define CHANNELS 2
#define PUBLISHERS 2
#define CONSUMERS 2 /* of each channel */
#define PER_PUBLISHER 40000
#define PER_LIFE 3000
#define IDS (PUBLISHERS * PER_PUBLISHER)

static struct ledger {
	_Atomic uint32_t offered[PUBLISHERS];  /* so many of each were given to the log */
	_Atomic bool kept[IDS];                /* acknowledged */
	_Atomic bool finishing[CHANNELS][IDS]; /* noted before it is told */
	_Atomic uint16_t tried[CHANNELS][IDS];
} * ledger; /* shared by all lives */

static struct side s;
static const uint32_t who[PUBLISHERS] = {0, 1};
static const int which[CHANNELS] = {0, 1};

static void publish_for_ever(void *arg)
{
	uint32_t w = *(const uint32_t *)arg, begin = atomic_load(&ledger->offered[w]);
	for (uint32_t at = begin; at < begin + PER_LIFE && at + 20 < PER_PUBLISHER;) {
		uint32_t n = 1 + rand_below(20), first = w * PER_PUBLISHER + at;
		at += n;
		atomic_store(&ledger->offered[w], at);
		publish_delayed(&s, first, n, 1 + rand_below(300),
			rand_below(10) == 0 ? (int64_t)rand_below(20) * NSEC_PER_MSEC : 0);
		for (uint32_t i = 0; i < n; i++)
			atomic_store(&ledger->kept[first + i], true);
	}
}

static void settle(int i, struct message *take_m)
{
	struct chan_side *c = &s.channels[i];
	switch (rand_below(10)) {
	case 0:
		requeue(c, take_m, 0);
		break;
	case 1:
		requeue(c, take_m, (int64_t)(1 + rand_below(20)) * NSEC_PER_MSEC);
		break;
	default:
		atomic_store(&ledger->finishing[i][id_of(take_m)], true);
		finish(c, take_m);
	}
}

/* Takes a message, and notes that. */
static struct message *take_noted(int i, int64_t ns)
{
	struct message *m = take_within(&s.channels[i], ns);
	if (!m)
		return NULL;
	uint64_t id = id_of(m);
	/* A life that has ended may not have come to note the last attempt. */
	if (id >= IDS || m->attempts == 0 || m->attempts > atomic_load(&ledger->tried[i][id]) + 2)
		fail_msg("message %llu, attempt %u", (unsigned long long)id, m->attempts);
	atomic_store(&ledger->tried[i][id], m->attempts);
	return m;
}

static void consume_for_ever(void *arg)
{
	int i = *(const int *)arg;
	struct message *held[8];
	size_t n = 0;
	for (;;) {
		struct message *m = take_noted(i, NSEC_PER_MSEC);
		if (m)
			held[n++] = m;
		if (n == COUNT(held) || (!m && n > 0))
			settle(i, held[--n]);
	}
}

static void begin_life(int life)
{
	s = (struct side){.dir = AT_FDCWD,
		.memory_size = 30,
		.segment_bytes = life % 2 ? 20000 : 200000,
		.move_behind = 1,
		.sync_timeout = (1 + life % 4) * 3 * NSEC_PER_MSEC};
	open_side(&s, "a", "b");
}

static _Noreturn void child(int life)
{
	struct wait_group wg;
	begin_life(life);
	wait_group_init(&wg);
	go(&wg, pump_thread, &s);
	for (int i = 0; i < PUBLISHERS; i++)
		go(&wg, publish_for_ever, (void *)&who[i]);
	for (int i = 0; i < CHANNELS * CONSUMERS; i++)
		go(&wg, consume_for_ever, (void *)&which[i % CHANNELS]);
	wait_group_wait(&wg);
	_exit(3);
}

static void run_child(int life)
{
	int status;
	fflush(NULL);
	pid_t pid = fork_alone();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		child(life);
	}
	sleep_ns((int64_t)(5 + rand_below(100)) * NSEC_PER_MSEC);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static bool is_through(struct chan_side *c)
{
	struct log_stats stats;
	log_get_stats(topic_log_log(s.tl), &stats);
	mutex_lock(topic_log_lock(s.tl));
	bool handed = cursor_floor(topic_log_cursor(s.tl)) == stats.next;
	mutex_unlock(topic_log_lock(s.tl));
	mutex_lock(&c->lock);
	bool finished = cursor_unfinished(log_queue_cursor(c->q), stats.next) == 0;
	mutex_unlock(&c->lock);
	return handed && finished;
}

/* Drains a channel; what was kept and not finished must come, once. */
static void drain(int i)
{
	bool *seen = xcalloc(IDS, sizeof(*seen));
	struct chan_side *c = &s.channels[i];
	int64_t end = clock_mono_ns() + PATIENCE;
	while (!is_through(c)) {
		assert_true(clock_mono_ns() < end);
		struct message *m = take_noted(i, NSEC_PER_MSEC);
		if (!m)
			continue;
		assert_false(seen[id_of(m)]);
		seen[id_of(m)] = true;
		finish(c, m);
	}
	for (uint32_t id = 0; id < IDS; id++)
		if (atomic_load(&ledger->kept[id]) && !seen[id] &&
			!atomic_load(&ledger->finishing[i][id]))
			fail_msg("channel %d: message %u is lost", i, id);
	free(seen);
}

static void test_killed_at_any_moment(void **state)
{
	struct wait_group wg;
	int64_t end = clock_mono_ns() + BUDGET;
	int life = 0;
	for (; life < LIVES && (life < 3 || clock_mono_ns() < end); life++)
		run_child(life);
	begin_life(life);
	wait_group_init(&wg);
	go(&wg, pump_thread, &s);
	for (int i = 0; i < CHANNELS; i++)
		drain(i);
	chan_close(s.exit_chan);
	join(&wg);
	close_side(&s);
	assert_true(atomic_load(&ledger->offered[0]) + atomic_load(&ledger->offered[1]) > 0);
}

static int setup(void **state)
{
	ledger = mmap(
		NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return ledger == MAP_FAILED || enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static int teardown(void **state)
{
	struct err err;
	assert_int_equal(log_delete(open_log(NULL, AT_FDCWD, false, 0), AT_FDCWD, &err), 0);
	munmap(ledger, sizeof(*ledger));
	log_teardown(state);
	return leave_test_dir(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed_at_any_moment, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
