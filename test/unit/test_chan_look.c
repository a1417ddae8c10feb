/* SPDX-License-Identifier: MIT */
/*
 * chan: what is buffered is looked at in order and stays; a value is taken out of any place of any
 * ring, and the others keep their order; also while others send and receive.
 */
#include "test/unit/chan_harness.h"

#include "common/xalloc.h"

struct list {
	int v[64];
	size_t n;
};

static void see(void *arg, const void *value)
{
	struct list *l = arg;
	CHECK(l->n < 64);
	l->v[l->n++] = *(const int *)value;
}

static bool is_wanted(void *arg, const void *value)
{
	return *(const int *)arg == *(const int *)value;
}

/* A ring of cap slots whose oldest value stands in slot head: 0 to n - 1. */
static struct chan *ring_of(size_t cap, size_t head, int n)
{
	struct chan *c = chan_new(sizeof(int), cap);
	int none = -1;
	for (size_t i = 0; i < head; i++) {
		chan_send(c, &none);
		/* Two at a time, since an empty ring begins anew. */
		if (i > 0)
			chan_recv(c, NULL);
	}
	for (int i = 0; i < n; i++) {
		if (chan_len(c) == cap)
			chan_recv(c, NULL);
		chan_send(c, &i);
	}
	while (chan_len(c) > (size_t)n)
		chan_recv(c, NULL);
	return c;
}

static void expect_all_but(struct chan *c, int n, int but)
{
	int v;
	for (int i = 0; i < n; i++) {
		if (i == but)
			continue;
		assert_int_equal(chan_try_recv_n(c, &v, 1, NULL), 1);
		assert_int_equal(v, i);
	}
	assert_int_equal(chan_len(c), 0);
}

static void test_looking_leaves_all_in_their_places(void **state)
{
	(void)state;
	for (size_t head = 0; head < 9; head++) {
		for (int n = 0; n <= 8; n++) {
			struct chan *c = ring_of(8, head, n);
			for (size_t max = 0; max < 10; max++) {
				struct list l = {0};
				size_t want = max < (size_t)n ? max : (size_t)n;
				assert_int_equal(chan_look(c, 0, max, see, &l), want);
				assert_int_equal(l.n, want);
				/* And piece by piece. */
				for (size_t i = want, k; (k = chan_look(c, i, 3, see, &l)) > 0;)
					i += k;
				assert_int_equal(l.n, n);
				for (int i = 0; i < n; i++)
					assert_int_equal(l.v[i], i);
			}
			expect_all_but(c, n, -1);
			chan_free(c);
		}
	}
}

static enum chan_found take_out(struct chan *c, int wanted, size_t step, int *v)
{
	size_t passed = 0;
	enum chan_found f;
	while ((f = chan_take_out(c, &passed, step, is_wanted, &wanted, v)) == CHAN_ON)
		;
	return f;
}

static void test_any_value_is_taken_out_of_any_ring(void **state)
{
	(void)state;
	for (size_t head = 0; head < 9; head++) {
		for (int n = 1; n <= 8; n++) {
			for (int wanted = 0; wanted < n; wanted++) {
				for (size_t step = 1; step < 10; step += 4) {
					struct chan *c = ring_of(8, head, n);
					int v = -2;
					assert_int_equal(take_out(c, wanted, step, &v), CHAN_FOUND);
					assert_int_equal(v, wanted);
					expect_all_but(c, n, wanted);
					chan_free(c);
				}
			}
		}
	}
}

static void test_what_is_not_there_is_not_found(void **state)
{
	(void)state;
	int v = -2;
	struct chan *none = chan_new(sizeof(int), 0), *large = chan_new(sizeof(int), 100000);
	struct chan *c = ring_of(8, 3, 8);
	assert_int_equal(take_out(none, 1, 3, &v), CHAN_NONE);
	assert_int_equal(take_out(large, 1, 3, &v), CHAN_NONE);
	assert_int_equal(take_out(c, 8, 3, &v), CHAN_NONE);
	assert_int_equal(v, -2);
	assert_int_equal(chan_look(none, 0, 5, see, NULL), 0);
	assert_int_equal(chan_look(large, 0, 5, see, NULL), 0);
	expect_all_but(c, 8, -1);
	chan_free(none);
	chan_free(large);
	chan_free(c);
}

static void send_two(void *arg)
{
	int v[] = {8, 9};
	chan_send_n(arg, v, 2);
}

static void test_a_blocked_sender_gets_the_slot(void **state)
{
	(void)state;
	struct chan *c = ring_of(8, 5, 8);
	struct wait_group wg;
	struct err err;
	int v;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "sender", send_two, c, &err), 0);
	/* Its first value comes in when one goes out, its second one when another does. */
	await_waiters(c, CHAN_SEND, 1);
	assert_int_equal(take_out(c, 3, 8, &v), CHAN_FOUND);
	assert_int_equal(chan_len(c), 8);
	assert_int_equal(take_out(c, 8, 8, &v), CHAN_FOUND);
	wait_group_wait(&wg);
	int rest[] = {0, 1, 2, 4, 5, 6, 7, 9};
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(chan_try_recv_n(c, &v, 1, NULL), 1);
		assert_int_equal(v, rest[i]);
	}
	wait_group_destroy(&wg);
	chan_free(c);
}

#define TRAFFIC 20000

static void send_numbers(void *arg)
{
	for (int i = 0; i < TRAFFIC; i++)
		chan_send(arg, &i);
	chan_close(arg);
}

struct receiver {
	struct chan *c;
	unsigned char *seen;
};

static void receive_numbers(void *arg)
{
	struct receiver *r = arg;
	int v, last = -1;
	while (chan_recv(r->c, &v)) {
		CHECK(v > last);
		last = v;
		r->seen[v]++;
	}
}

/* Each value comes out once, here or there, and in order. */
static void test_nothing_is_lost_or_doubled_under_traffic(void **state)
{
	(void)state;
	struct receiver r = {chan_new(sizeof(int), 64), xcalloc(TRAFFIC, 1)};
	struct wait_group wg;
	struct err err;
	int v, taken = 0;
	wait_group_init(&wg);
	assert_int_equal(wait_group_wrap(&wg, "sender", send_numbers, r.c, &err), 0);
	assert_int_equal(wait_group_wrap(&wg, "receiver", receive_numbers, &r, &err), 0);
	for (int i = 0; i < TRAFFIC; i += 7) {
		struct list l = {0};
		chan_look(r.c, 0, 64, see, &l);
		for (size_t k = 1; k < l.n; k++)
			assert_true(l.v[k] > l.v[k - 1]);
		if (l.n == 0 || take_out(r.c, l.v[l.n / 2], 5, &v) != CHAN_FOUND)
			continue;
		assert_int_equal(v, l.v[l.n / 2]);
		taken++;
		CHECK(r.seen[v] == 0);
		r.seen[v] = 2; /* the receiver does not touch it any more */
	}
	wait_group_wait(&wg);
	for (int i = 0; i < TRAFFIC; i++) {
		assert_true(r.seen[i] == 1 || r.seen[i] == 2);
		taken -= r.seen[i] == 2;
	}
	assert_int_equal(taken, 0);
	wait_group_destroy(&wg);
	chan_free(r.c);
	free(r.seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_looking_leaves_all_in_their_places),
		cmocka_unit_test(test_any_value_is_taken_out_of_any_ring),
		cmocka_unit_test(test_what_is_not_there_is_not_found),
		cmocka_unit_test(test_a_blocked_sender_gets_the_slot),
		cmocka_unit_test(test_nothing_is_lost_or_doubled_under_traffic),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
