/* SPDX-License-Identifier: MIT */
/* lock: exclusion, writers before new readers, names, and in debug builds the order. */
#include "test/unit/child_test.h"

#include "common/check.h"
#include "common/lock.h"

static void test_every_rank_has_a_name(void **state)
{
	for (int i = RANK_NONE; i < RANK_COUNT; i++)
		assert_string_not_equal(lock_rank_name((enum lock_rank)i), "unknown lock");
	assert_string_equal(lock_rank_name(RANK_TOPICS), "topics.lock");
	assert_string_equal(lock_rank_name(RANK_TOPIC), "topic.lock");
	assert_string_equal(lock_rank_name(RANK_COUNT), "unknown lock");
}

struct counter {
	struct mutex m;
	struct rwlock rw;
	long n; /* guarded by m or rw, as the test wants */
	struct chan *progress;
};

static void count_mutex(void *arg)
{
	struct counter *c = arg;
	for (int i = 0; i < ROUNDS(20000); i++) {
		mutex_lock(&c->m);
		mutex_assert_held(&c->m);
		c->n++;
		mutex_unlock(&c->m);
	}
}

static void count_rwlock(void *arg)
{
	struct counter *c = arg;
	volatile long seen;

	for (int i = 0; i < ROUNDS(20000); i++) {
		rwlock_wrlock(&c->rw);
		c->n++;
		rwlock_unlock(&c->rw);
		rwlock_rdlock(&c->rw);
		rwlock_assert_held(&c->rw);
		seen = c->n;
		rwlock_unlock(&c->rw);
	}
	(void)seen;
}

static void exclusion(void (*fn)(void *))
{
	struct counter c = {.n = 0};
	struct wait_group wg;
	mutex_init(&c.m, RANK_TOPIC);
	rwlock_init(&c.rw, RANK_TOPIC);
	wait_group_init(&wg);
	for (int i = 0; i < 4; i++)
		go(&wg, fn, &c);
	join(&wg);
	assert_int_equal(c.n, 4 * ROUNDS(20000));
	mutex_destroy(&c.m);
	rwlock_destroy(&c.rw);
}

static void test_mutex_excludes(void **state)
{
	exclusion(count_mutex);
}

static void try_it(void *arg)
{
	struct counter *c = arg;
	CHECK(!mutex_trylock(&c->m));
	chan_send(c->progress, NULL);
}

static void test_trylock_fails_at_once_while_it_is_held(void **state)
{
	struct counter c = {.progress = chan_new(0, 0)};
	struct wait_group wg;
	mutex_init(&c.m, RANK_TOPIC);
	assert_true(mutex_trylock(&c.m));
	mutex_assert_held(&c.m);
	wait_group_init(&wg);
	go(&wg, try_it, &c);
	chan_recv(c.progress, NULL);
	join(&wg);
	mutex_unlock(&c.m);
	mutex_destroy(&c.m);
	chan_free(c.progress);
}

static void test_rwlock_excludes_writers(void **state)
{
	exclusion(count_rwlock);
}

static void write_once(void *arg)
{
	struct counter *c = arg;
	chan_send(c->progress, &(int){1});
	rwlock_wrlock(&c->rw);
	chan_send(c->progress, &(int){2});
	rwlock_unlock(&c->rw);
}

/* What does not wait may be taken in any order: a client's write_lock before exit_lock. */
static void test_tryrdlock_does_not_wait(void **state)
{
	struct counter c = {.progress = chan_new(sizeof(int), 8)};
	struct wait_group wg;
	int v;
	mutex_init(&c.m, RANK_CHANNEL);
	rwlock_init(&c.rw, RANK_TOPIC);
	wait_group_init(&wg);
	mutex_lock(&c.m);
	assert_true(rwlock_tryrdlock(&c.rw));
	rwlock_assert_held(&c.rw);
	go(&wg, write_once, &c);
	chan_recv(c.progress, &v);
	/* One that waits keeps us out as well. */
	while (rwlock_tryrdlock(&c.rw)) {
		rwlock_unlock(&c.rw);
		sleep_ns(50 * NSEC_PER_USEC);
	}
	rwlock_unlock(&c.rw);
	mutex_unlock(&c.m);
	join(&wg);
	assert_true(rwlock_tryrdlock(&c.rw));
	rwlock_unlock(&c.rw);
	rwlock_destroy(&c.rw);
	mutex_destroy(&c.m);
	chan_free(c.progress);
}

static void read_once(void *arg)
{
	struct counter *c = arg;
	rwlock_rdlock(&c->rw);
	chan_send(c->progress, &(int){3});
	rwlock_unlock(&c->rw);
}

/* As Go's RWMutex. With the default of most libraries the reader would pass. */
static void test_waiting_writer_keeps_new_readers_out(void **state)
{
	struct counter c = {.progress = chan_new(sizeof(int), 8)};
	struct wait_group wg;
	int v;
	rwlock_init(&c.rw, RANK_TOPIC);
	wait_group_init(&wg);
	rwlock_rdlock(&c.rw);
	go(&wg, write_once, &c);
	chan_recv(c.progress, &v);
	while (libc_rwlock_tryrdlock(&c.rw.rw)) { /* until the writer waits */
		libc_rwlock_unlock(&c.rw.rw);
		sleep_ns(50 * NSEC_PER_USEC);
	}
	go(&wg, read_once, &c);
	sleep_ns(20 * NSEC_PER_MSEC);
	assert_int_equal(chan_len(c.progress), 0);
	rwlock_unlock(&c.rw);
	chan_recv(c.progress, &v);
	assert_int_equal(v, 2);
	chan_recv(c.progress, &v);
	assert_int_equal(v, 3);
	join(&wg);
	rwlock_destroy(&c.rw);
	chan_free(c.progress);
}

static void test_locks_taken_in_order_may_be_released_in_any(void **state)
{
	struct mutex a, b;
	struct rwlock rw;
	mutex_init(&a, RANK_TOPICS);
	rwlock_init(&rw, RANK_TOPIC);
	mutex_init(&b, RANK_LEAF);
	for (int i = 0; i < 3; i++) {
		mutex_lock(&a);
		rwlock_rdlock(&rw);
		mutex_lock(&b);
		mutex_unlock(&a);
		rwlock_unlock(&rw);
		mutex_assert_held(&b);
		mutex_unlock(&b);
	}
	mutex_destroy(&a);
	mutex_destroy(&b);
	rwlock_destroy(&rw);
}

static void init_without_rank(void)
{
	struct mutex m;
	mutex_init(&m, RANK_NONE);
}

static void test_a_lock_needs_a_rank(void **state)
{
	expect_abort(init_without_rank, "rank > RANK_NONE", NULL);
}

#ifdef DEBUG_LOCKS
static struct mutex topic, nsqd;
static struct rwlock channel, channel2;

static void init_all(void)
{
	mutex_init(&topic, RANK_TOPIC);
	mutex_init(&nsqd, RANK_TOPICS);
	rwlock_init(&channel, RANK_CHANNEL);
	rwlock_init(&channel2, RANK_CHANNEL);
}

static void wrong_order(void)
{
	init_all();
	mutex_lock(&topic);
	mutex_lock(&nsqd);
}

/* The highest rank that is held counts, not the last lock taken. */
static void wrong_order_below_the_top(void)
{
	init_all();
	mutex_lock(&nsqd);
	rwlock_rdlock(&channel);
	mutex_unlock(&nsqd);
	mutex_lock(&topic);
}

static void same_rank(void)
{
	init_all();
	rwlock_rdlock(&channel);
	rwlock_rdlock(&channel2);
}

static void same_lock(void)
{
	init_all();
	rwlock_rdlock(&channel);
	rwlock_rdlock(&channel);
}

static void unlock_not_held(void)
{
	init_all();
	mutex_unlock(&topic);
}

static void assert_not_held(void)
{
	init_all();
	rwlock_assert_held(&channel);
}

static void assert_plain_not_held(void)
{
	static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
	PT_OK(pthread_mutex_lock(&plain));
	plain_mutex_assert_locked(&plain);
	PT_OK(pthread_mutex_unlock(&plain));
	plain_mutex_assert_locked(&plain);
}

static void test_violations_abort_with_both_names(void **state)
{
	expect_abort(
		wrong_order, "lock order", "topics.lock", "topic.lock", "in thread main", NULL);
	expect_abort(wrong_order_below_the_top, "lock order", "topic.lock", "channel.lock", NULL);
	expect_abort(same_rank, "lock order", "takes channel.lock", "holds channel.lock", NULL);
	expect_abort(same_lock, "lock order", "channel.lock", NULL);
	expect_abort(unlock_not_held, "topic.lock is not held", NULL);
	expect_abort(assert_not_held, "channel.lock is not held", NULL);
	expect_abort(assert_plain_not_held, "a mutex is not held", NULL);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_rank_has_a_name),
		cmocka_unit_test(test_mutex_excludes),
		cmocka_unit_test(test_trylock_fails_at_once_while_it_is_held),
		cmocka_unit_test(test_tryrdlock_does_not_wait),
		cmocka_unit_test(test_rwlock_excludes_writers),
		cmocka_unit_test(test_waiting_writer_keeps_new_readers_out),
		cmocka_unit_test(test_locks_taken_in_order_may_be_released_in_any),
		cmocka_unit_test(test_a_lock_needs_a_rank),
#ifdef DEBUG_LOCKS
		cmocka_unit_test(test_violations_abort_with_both_names),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
