/* SPDX-License-Identifier: MIT */
/* chan: the rules of operations on one chan, of close and of NULL, one by one. */
#include "test/unit/chan_harness.h"

/* --- capacity, order, element sizes ----------------------------------------------------------- */

struct sender_args {
	struct chan *c;
	int v;
	_Atomic bool returned;
};

static void send_one(void *arg)
{
	struct sender_args *a = arg;
	chan_send(a->c, &a->v);
	a->returned = true;
}

static void test_capacity_n_takes_n_and_blocks_the_next(void **state)
{
	for (int cap = 0; cap < 6; cap++) {
		struct chan *c = chan_new(sizeof(int), (size_t)cap);
		struct sender_args a = {c, cap, false};
		struct wait_group wg;
		int v;
		for (int i = 0; i < cap; i++)
			chan_send(c, &i);
		assert_int_equal(chan_len(c), cap);
		assert_int_equal(chan_cap(c), cap);
		assert_int_equal(chan_try_send_n(c, &a.v, 1), 0);
		wait_group_init(&wg);
		go(&wg, send_one, &a);
		await_waiters(c, CHAN_SEND, 1);
		sleep_ns(NSEC_PER_MSEC);
		assert_false(a.returned);
		for (int i = 0; i <= cap; i++) {
			assert_true(chan_recv(c, &v));
			assert_int_equal(v, i);
		}
		join(&wg);
		assert_int_equal(chan_len(c), 0);
		assert_int_equal(chan_try_recv_n(c, &v, 1, NULL), 0);
		chan_free(c);
	}
}

/* As fifo.go: links of a chain, each of which may only receive after the one before. */
struct link {
	struct chan *c, *in, *out;
	int want;
	int got;
};

static void chain_link(void *arg)
{
	struct link *l = arg;
	chan_recv(l->in, NULL);
	chan_recv(l->c, &l->got);
	chan_send(l->out, NULL);
}

static void fifo(size_t cap)
{
	enum { LINKS = 20 };
	struct chan *c = chan_new(sizeof(int), cap), *in[LINKS + 1];
	struct link links[LINKS];
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i <= LINKS; i++)
		in[i] = chan_new(0, 0);
	for (int i = 0; i < LINKS; i++) {
		links[i] = (struct link){c, in[i], in[i + 1], i, -1};
		go(&wg, chain_link, &links[i]);
	}
	chan_send(in[0], NULL);
	for (int i = 0; i < LINKS; i++)
		chan_send(c, &i);
	chan_recv(in[LINKS], NULL);
	join(&wg);
	for (int i = 0; i < LINKS; i++)
		assert_int_equal(links[i].got, links[i].want);
	for (int i = 0; i <= LINKS; i++)
		chan_free(in[i]);
	chan_free(c);
}

static void test_fifo_unbuffered(void **state)
{
	fifo(0);
}

static void test_fifo_buffered(void **state)
{
	fifo(1);
	fifo(10);
}

static const size_t sizes[] = {0, 1, 2, 4, 8, 16, 40};

struct sized {
	struct chan *c;
	size_t size;
	int n;
};

static void fill(char *v, size_t size, int i)
{
	for (size_t k = 0; k < size; k++)
		v[k] = (char)(i * 31 + (int)k);
}

static void send_sized(void *arg)
{
	struct sized *s = arg;
	char v[40];
	for (int i = 0; i < s->n; i++) {
		fill(v, s->size, i);
		chan_send(s->c, v);
	}
}

static void test_elements_of_each_size_are_whole(void **state)
{
	for (size_t k = 0; k < COUNT(sizes); k++) {
		for (size_t cap = 0; cap < 4; cap++) {
			struct sized s = {chan_new(sizes[k], cap), sizes[k], 50};
			char v[48], want[48];
			struct wait_group wg;
			wait_group_init(&wg);
			go(&wg, send_sized, &s);
			for (int i = 0; i < s.n; i++) {
				/* The bytes behind the value must stay as they are. */
				memset(v, 0x5a, sizeof(v));
				memset(want, 0x5a, sizeof(want));
				fill(want, s.size, i);
				assert_true(chan_recv(s.c, v));
				assert_memory_equal(v, want, sizeof(v));
			}
			join(&wg);
			chan_free(s.c);
		}
	}
}

static void test_null_destination_discards_and_null_source_is_zero(void **state)
{
	struct chan *c = chan_new(sizeof(int), 3);
	int v = 1;
	chan_send(c, &v);
	v = 2;
	chan_send(c, &v);
	chan_send(c, NULL);
	assert_true(chan_recv(c, NULL));
	assert_true(chan_recv(c, &v));
	assert_int_equal(v, 2);
	assert_true(chan_recv(c, &v));
	assert_int_equal(v, 0);
	chan_free(c);
}

struct recv_args {
	struct chan *c;
	int v;
	bool ok;
};

static void recv_one(void *arg)
{
	struct recv_args *a = arg;
	a->ok = chan_recv(a->c, &a->v);
}

/* The sender may look where the receiver wanted it, without any other synchronisation. */
static void test_unbuffered_send_returns_when_the_receiver_has_it(void **state)
{
	for (int order = 0; order < 2; order++) {
		for (int i = 1; i <= ROUNDS(200); i++) {
			struct recv_args a = {chan_new(sizeof(int), 0), 0, false};
			struct wait_group wg;
			wait_group_init(&wg);
			go(&wg, recv_one, &a);
			if (order == 0)
				await_waiters(a.c, CHAN_RECV, 1);
			chan_send(a.c, &i);
			assert_int_equal(a.v, i);
			join(&wg);
			assert_true(a.ok);
			chan_free(a.c);
		}
	}
}

static void test_blocked_receivers_are_served_oldest_first(void **state)
{
	struct chan *c = chan_new(sizeof(int), 2);
	struct recv_args a[8];
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < 8; i++) {
		a[i] = (struct recv_args){c, -1, false};
		go(&wg, recv_one, &a[i]);
		await_waiters(c, CHAN_RECV, (size_t)i + 1);
	}
	for (int i = 0; i < 8; i++)
		chan_send(c, &i);
	join(&wg);
	for (int i = 0; i < 8; i++)
		assert_int_equal(a[i].v, i);
	chan_free(c);
}

static void test_blocked_senders_are_served_oldest_first(void **state)
{
	for (size_t cap = 0; cap < 4; cap++) {
		struct chan *c = chan_new(sizeof(int), cap);
		struct sender_args a[8];
		struct wait_group wg;
		int v;
		wait_group_init(&wg);
		for (int i = 0; i < (int)cap; i++)
			chan_send(c, &(int){i - (int)cap});
		for (int i = 0; i < 8; i++) {
			a[i] = (struct sender_args){c, i, false};
			go(&wg, send_one, &a[i]);
			await_waiters(c, CHAN_SEND, (size_t)i + 1);
		}
		for (int i = -(int)cap; i < 8; i++) {
			chan_recv(c, &v);
			assert_int_equal(v, i);
		}
		join(&wg);
		chan_free(c);
	}
}

/* --- close ------------------------------------------------------------------------------------ */

static void test_closed_drains_then_gives_zero_for_ever(void **state)
{
	for (int cap = 0; cap < 4; cap++) {
		struct chan *c = chan_new(sizeof(int), (size_t)cap);
		struct chan_case cc;
		bool closed;
		int v;
		for (int i = 0; i < cap; i++)
			chan_send(c, &(int){i + 1});
		chan_close(c);
		assert_int_equal(chan_len(c), cap);
		for (int i = 0; i < cap; i++) {
			assert_true(chan_recv(c, &v));
			assert_int_equal(v, i + 1);
		}
		for (int i = 0; i < 3; i++) {
			v = 99;
			assert_false(chan_recv(c, &v));
			assert_int_equal(v, 0);
			v = 99;
			assert_int_equal(chan_try_recv_n(c, &v, 1, &closed), 0);
			assert_true(closed);
			assert_int_equal(v, 0);
			v = 99;
			assert_int_equal(chan_recv_n(c, &v, 1), 0);
			assert_int_equal(v, 0);
			v = 99;
			cc = chan_case_recv(c, &v);
			assert_int_equal(chan_select(&cc, 1), 0);
			assert_false(cc.ok);
			assert_int_equal(cc.n, 0);
			assert_int_equal(v, 0);
			assert_int_equal(chan_try_select(&cc, 1), 0);
		}
		chan_free(c);
	}
}

struct closer {
	struct chan *c, *other;
	_Atomic int woken;
};

static void wait_recv(void *arg)
{
	struct closer *k = arg;
	int v = 7;
	CHECK(!chan_recv(k->c, &v));
	CHECK(v == 0);
	k->woken++;
}

static void wait_select(void *arg)
{
	struct closer *k = arg;
	int v = 7, w = 7;
	struct chan_case cases[] = {
		chan_case_recv(k->other, &w), chan_case_recv(k->c, &v), chan_case_recv(k->c, NULL)};
	int i = chan_select(cases, 3);
	CHECK(i == 1 || i == 2);
	CHECK(!cases[i].ok);
	CHECK(v == (i == 1 ? 0 : 7));
	CHECK(w == 7);
	k->woken++;
}

static void test_close_wakes_each_waiter_once(void **state)
{
	struct closer k = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0), 0};
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < 25; i++) {
		go(&wg, wait_recv, &k);
		go(&wg, wait_select, &k);
	}
	await_waiters(k.c, CHAN_RECV, 75);
	chan_close(k.c);
	join(&wg);
	assert_int_equal(k.woken, 50);
	assert_int_equal(count_waiters(k.c, CHAN_RECV), 0);
	assert_int_equal(count_waiters(k.other, CHAN_RECV), 0);
	chan_free(k.c);
	chan_free(k.other);
}

static void drain_counting(void *arg)
{
	struct closer *k = arg;
	while (chan_recv(k->c, NULL))
		k->woken++;
}

/* Nothing that was sent before close is lost, and nobody hangs. */
static void test_receivers_that_race_with_close_get_all(void **state)
{
	for (int round = 0; round < ROUNDS(300); round++) {
		struct closer k = {chan_new(sizeof(int), (size_t)round % 4), NULL, 0};
		struct wait_group wg;
		wait_group_init(&wg);
		for (int i = 0; i < 3; i++)
			go(&wg, drain_counting, &k);
		for (int i = 0; i < 10; i++)
			chan_send(k.c, &i);
		chan_close(k.c);
		join(&wg);
		assert_int_equal(k.woken, 10);
		chan_free(k.c);
	}
}

/* --- NULL and empty --------------------------------------------------------------------------- */

static void test_null_case_is_never_chosen(void **state)
{
	struct chan *c = chan_new(sizeof(int), 100);
	int v = 3, w = 4;
	struct chan_case cases[] = {chan_case_send(NULL, &v), chan_case_recv(NULL, &v),
		chan_case_send(c, &w), chan_case_tick(NULL), chan_case_demand(NULL)};
	for (int i = 0; i < 100; i++)
		assert_int_equal(chan_select(cases, 5), 2);
	assert_int_equal(chan_try_select(cases, 5), -1);
	chan_free(c);
}

static void test_all_null_takes_default_or_times_out(void **state)
{
	int64_t before = clock_mono_ns();
	struct ticker t;
	struct chan_case cases[] = {chan_case_send(NULL, NULL), chan_case_recv(NULL, NULL),
		chan_case_demand(NULL), chan_case_tick(&t)};
	ticker_stop(&t);
	assert_int_equal(chan_try_select(cases, 4), -1);
	assert_int_equal(chan_try_select(NULL, 0), -1);
	ticker_after(&t, 2 * NSEC_PER_MSEC);
	assert_int_equal(chan_select(cases, 4), 3);
	assert_true(clock_mono_ns() - before >= 2 * NSEC_PER_MSEC);
}

/* Room for nothing is no request. */
static void test_case_with_max_0_is_off(void **state)
{
	struct chan *c = chan_new(sizeof(int), 1);
	int v = 1;
	struct chan_case cases[] = {chan_case_recv_n(c, &v, 0), chan_case_send_n(c, &v, 0)};
	assert_int_equal(chan_try_select(cases, 2), -1);
	chan_send(c, &v);
	assert_int_equal(chan_try_select(cases, 2), -1);
	assert_int_equal(chan_try_recv_n(c, &v, 0, NULL), 0);
	assert_int_equal(chan_try_send_n(c, &v, 0), 0);
	chan_send_n(c, &v, 0);
	chan_free(c);
}

static void select_with_nulls(void *arg)
{
	struct recv_args *a = arg;
	struct chan_case cases[] = {chan_case_recv(NULL, NULL), chan_case_recv(a->c, &a->v),
		chan_case_send(NULL, NULL), chan_case_tick(NULL)};
	a->ok = chan_select(cases, 4) == 1 && cases[1].ok;
}

/* Plan 9's alt crashed its waker here. */
static void test_a_select_with_null_cases_is_woken_by_the_others(void **state)
{
	struct recv_args a = {chan_new(sizeof(int), 0), 0, false};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, select_with_nulls, &a);
	await_waiters(a.c, CHAN_RECV, 1);
	chan_send(a.c, &(int){5});
	join(&wg);
	assert_true(a.ok);
	assert_int_equal(a.v, 5);
	chan_free(a.c);
}

/* --- flaws of other libraries (the first four are in test_chan_select.c) ---------------------- */

/* A wake-up that means somebody else must not be taken for an answer. */
static void test_spurious_wakeup_is_not_a_result(void **state)
{
	struct sender_args a = {chan_new(sizeof(int), 0), 5, false};
	struct wait_group wg;
	int v;
	wait_group_init(&wg);
	go(&wg, send_one, &a);
	await_waiters(a.c, CHAN_SEND, 1);
	chan_lock(a.c);
	struct parker *p = a.c->sendq.first->parker;
	chan_unlock(a.c);
	for (int i = 0; i < 50; i++) {
		futex_wake_one(&p->state);
		sleep_ns(50 * NSEC_PER_USEC);
		assert_false(a.returned);
		assert_int_equal(count_waiters(a.c, CHAN_SEND), 1);
	}
	chan_recv(a.c, &v);
	join(&wg);
	assert_int_equal(v, 5);
	chan_free(a.c);
}

/* The memory queues of idle topics, most of all. */
static void test_a_large_ring_is_made_for_its_first_value(void **state)
{
	struct chan *small = chan_new(sizeof(int), 100), *large = chan_new(sizeof(int), 10000);
	int v = 7;
	assert_non_null(small->ring);
	assert_null(large->ring);
	assert_int_equal(chan_cap(large), 10000);
	assert_int_equal(chan_try_recv_n(large, &v, 1, NULL), 0);
	assert_null(large->ring);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(chan_try_send_n(large, &i, 1), 1);
	assert_non_null(large->ring);
	assert_int_equal(chan_try_send_n(large, &v, 1), 0);
	for (int i = 0; i < 10000; i++) {
		assert_true(chan_recv(large, &v));
		assert_int_equal(v, i);
	}
	chan_free(small);
	chan_free(large);
}

static void test_signals_merge_and_never_block(void **state)
{
	struct chan *c = chan_new(sizeof(int), 1);
	int v = 1;
	for (int i = 0; i < 3; i++)
		chan_signal(c);
	assert_int_equal(chan_len(c), 1);
	assert_true(chan_recv(c, &v));
	assert_int_equal(v, 0);
	assert_int_equal(chan_len(c), 0);
	chan_signal(c);
	assert_int_equal(chan_len(c), 1);
	chan_free(c);
}

static void test_free_of_null_is_fine(void **state)
{
	chan_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capacity_n_takes_n_and_blocks_the_next),
		cmocka_unit_test(test_fifo_unbuffered),
		cmocka_unit_test(test_fifo_buffered),
		cmocka_unit_test(test_elements_of_each_size_are_whole),
		cmocka_unit_test(test_null_destination_discards_and_null_source_is_zero),
		cmocka_unit_test(test_unbuffered_send_returns_when_the_receiver_has_it),
		cmocka_unit_test(test_blocked_receivers_are_served_oldest_first),
		cmocka_unit_test(test_blocked_senders_are_served_oldest_first),
		cmocka_unit_test(test_closed_drains_then_gives_zero_for_ever),
		cmocka_unit_test(test_close_wakes_each_waiter_once),
		cmocka_unit_test(test_receivers_that_race_with_close_get_all),
		cmocka_unit_test(test_null_case_is_never_chosen),
		cmocka_unit_test(test_all_null_takes_default_or_times_out),
		cmocka_unit_test(test_case_with_max_0_is_off),
		cmocka_unit_test(test_a_select_with_null_cases_is_woken_by_the_others),
		cmocka_unit_test(test_spurious_wakeup_is_not_a_result),
		cmocka_unit_test(test_a_large_ring_is_made_for_its_first_value),
		cmocka_unit_test(test_signals_merge_and_never_block),
		cmocka_unit_test(test_free_of_null_is_fine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
