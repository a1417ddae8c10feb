/* SPDX-License-Identifier: MIT */
/*
 * chan: vectored operations are what single ones in a row would be, at every size against every
 * capacity.
 */
#include "test/unit/chan_harness.h"

static const size_t caps[] = {0, 1, 2, 7, 64, 1000};
static const size_t batches[] = {1, 2, 3, 8, 64, 100};

/* How a side moves its values. */
enum how { PLAIN, SELECT, TRY, HOWS };

struct side {
	struct chan *c;
	size_t batch, total;
	enum how how;
};

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t send_some(const struct side *s, const int *v, size_t n)
{
	struct chan *idle = NULL;
	struct chan_case cases[] = {chan_case_recv(idle, NULL), chan_case_send_n(s->c, v, n)};
	switch (s->how) {
	case PLAIN:
		chan_send_n(s->c, v, n);
		return n;
	case SELECT:
		CHECK(chan_select(cases, 2) == 1);
		CHECK(cases[1].n >= 1 && cases[1].n <= n);
		return cases[1].n;
	default:
		n = chan_try_send_n(s->c, v, n);
		if (n == 0)
			sched_yield();
		return n;
	}
}

static void send_side(void *arg)
{
	const struct side *s = arg;
	int v[100];
	for (size_t done = 0; done < s->total;) {
		size_t n = min(s->batch, s->total - done);
		for (size_t i = 0; i < n; i++)
			v[i] = (int)(done + i);
		done += send_some(s, v, n);
	}
}

static size_t recv_some(const struct side *s, int *v)
{
	struct chan_case cc = chan_case_recv_n(s->c, v, s->batch);
	size_t n;
	switch (s->how) {
	case PLAIN:
		return chan_recv_n(s->c, v, s->batch);
	case SELECT:
		CHECK(chan_select(&cc, 1) == 0 && cc.ok);
		return cc.n;
	default:
		n = chan_try_recv_n(s->c, v, s->batch, NULL);
		if (n == 0)
			sched_yield();
		return n;
	}
}

static void check_sequence(size_t cap, size_t out, size_t in, enum how how_out, enum how how_in)
{
	struct chan *c = chan_new(sizeof(int), cap);
	struct side from = {c, out, 250, how_out}, to = {c, in, 250, how_in};
	struct wait_group wg;
	int v[101];
	wait_group_init(&wg);
	go(&wg, send_side, &from);
	for (size_t done = 0; done < to.total;) {
		v[in] = -1;
		size_t n = recv_some(&to, v);
		assert_true(n <= in);
		assert_int_equal(v[in], -1); /* never above max */
		for (size_t i = 0; i < n; i++)
			assert_int_equal(v[i], done + i);
		done += n;
	}
	join(&wg);
	assert_int_equal(chan_len(c), 0);
	chan_free(c);
}

static void test_batches_of_every_size_keep_the_sequence_at_every_capacity(void **state)
{
	for (size_t i = 0; i < COUNT(caps); i++)
		for (size_t j = 0; j < COUNT(batches); j++)
			for (size_t k = 0; k < COUNT(batches); k++)
				for (int out = 0; out < HOWS; out++)
					for (int in = 0; in < HOWS; in++)
						/* Two that only try never meet at capacity 0. */
						if (caps[i] > 0 || out != TRY || in != TRY)
							check_sequence(caps[i], batches[j],
								batches[k], (enum how)out,
								(enum how)in);
}

/* --- order per producer ----------------------------------------------------------------------- */

struct mixed {
	struct chan *c;
	int id, total;
};

static void mixed_send(void *arg)
{
	struct mixed *m = arg;
	int v[20];
	for (int done = 0; done < m->total;) {
		size_t n = min(1 + rand_below(20), (size_t)(m->total - done));
		for (size_t i = 0; i < n; i++)
			v[i] = m->id * 1000000 + done + (int)i;
		struct chan_case cc = chan_case_send_n(m->c, v, n);
		if (rand_below(2)) {
			chan_send_n(m->c, v, n);
			done += (int)n;
		} else {
			chan_select(&cc, 1);
			done += (int)cc.n;
		}
	}
}

struct sink {
	struct chan *c;
	_Atomic int *got;
};

static void mixed_recv(void *arg)
{
	struct sink *s = arg;
	int v[20], last[3] = {-1, -1, -1};
	size_t n;
	while ((n = chan_recv_n(s->c, v, 1 + rand_below(20))) > 0) {
		for (size_t i = 0; i < n; i++) {
			int id = v[i] / 1000000, k = v[i] % 1000000;
			CHECK(k > last[id]);
			last[id] = k;
		}
		*s->got += (int)n;
	}
}

static void test_each_producers_order_is_kept_with_mixed_sizes(void **state)
{
	for (size_t i = 0; i < 4; i++) {
		struct chan *c = chan_new(sizeof(int), caps[i]);
		struct mixed m[3];
		_Atomic int got = 0;
		struct sink s = {c, &got};
		struct wait_group senders, receivers;
		wait_group_init(&senders);
		wait_group_init(&receivers);
		for (int k = 0; k < 3; k++) {
			m[k] = (struct mixed){c, k, ROUNDS(20000)};
			go(&senders, mixed_send, &m[k]);
			go(&receivers, mixed_recv, &s);
		}
		join(&senders);
		chan_close(c);
		join(&receivers);
		assert_int_equal(got, 3 * m[0].total);
		chan_free(c);
	}
}

/* --- partial results -------------------------------------------------------------------------- */

static void test_try_moves_what_fits(void **state)
{
	struct chan *c = chan_new(sizeof(int), 5);
	int v[8] = {0, 1, 2, 3, 4, 5, 6, 7}, w[8];
	bool closed = true;
	assert_int_equal(chan_try_send_n(c, v, 8), 5);
	assert_int_equal(chan_try_send_n(c, v, 8), 0);
	assert_int_equal(chan_try_recv_n(c, w, 2, NULL), 2);
	/* Around the end of the ring. */
	assert_int_equal(chan_try_send_n(c, v + 5, 3), 2);
	assert_int_equal(chan_try_recv_n(c, w + 2, 8, &closed), 5);
	assert_false(closed);
	assert_memory_equal(w, v, 7 * sizeof(int));
	assert_int_equal(chan_try_recv_n(c, w, 8, NULL), 0);
	chan_free(c);
}

struct batch {
	struct chan *c, *other;
	int v[100];
	size_t max, n, n2;
	bool ok;
	_Atomic bool returned;
};

static void batch_send(void *arg)
{
	struct batch *b = arg;
	chan_send_n(b->c, b->v, b->max);
	b->returned = true;
}

static void batch_select_send(void *arg)
{
	struct batch *b = arg;
	struct chan_case cases[] = {
		chan_case_recv(b->other, NULL), chan_case_send_n(b->c, b->v, b->max)};
	CHECK(chan_select(cases, 2) == 1);
	b->n = cases[1].n;
}

static void batch_recv(void *arg)
{
	struct batch *b = arg;
	b->n = chan_recv_n(b->c, b->v, b->max);
}

/* A blocked batch sender is served value by value and woken once, at the end. */
static void test_blocked_batch_sender_stays_until_all_is_sent(void **state)
{
	for (size_t cap = 0; cap < 3; cap++) {
		struct batch b = {.c = chan_new(sizeof(int), cap), .max = 10};
		struct wait_group wg;
		int v;
		for (int i = 0; i < 10; i++)
			b.v[i] = i;
		wait_group_init(&wg);
		go(&wg, batch_send, &b);
		await_waiters(b.c, CHAN_SEND, 1);
		for (int i = 0; i < 10; i++) {
			assert_int_equal(count_waiters(b.c, CHAN_SEND), i + (int)cap < 10);
			if (i + (int)cap < 10)
				assert_false(b.returned);
			assert_true(chan_recv(b.c, &v));
			assert_int_equal(v, i);
		}
		join(&wg);
		assert_true(b.returned);
		chan_free(b.c);
	}
}

/* A select goes with what it got rid of, and a close after that is not its business. */
static void test_select_send_is_released_part_served(void **state)
{
	struct batch b = {
		.c = chan_new(sizeof(int), 0), .other = chan_new(0, 0), .v = {1, 2, 3}, .max = 10};
	struct wait_group wg;
	int v[10];
	wait_group_init(&wg);
	go(&wg, batch_select_send, &b);
	await_waiters(b.c, CHAN_SEND, 1);
	assert_int_equal(chan_try_recv_n(b.c, v, 3, NULL), 3);
	chan_close(b.c);
	join(&wg);
	assert_int_equal(b.n, 3);
	assert_int_equal(v[2], 3);
	assert_int_equal(chan_recv_n(b.c, v, 10), 0);
	chan_free(b.c);
	chan_free(b.other);
}

static void test_close_after_part_of_a_batch_gives_the_part(void **state)
{
	struct batch b = {.c = chan_new(sizeof(int), 0), .max = 10};
	struct wait_group wg;
	int v[4] = {5, 6, 7, 8};
	wait_group_init(&wg);
	go(&wg, batch_recv, &b);
	await_waiters(b.c, CHAN_RECV, 1);
	chan_send_n(b.c, v, 4);
	chan_close(b.c);
	join(&wg);
	assert_int_equal(b.n, 4);
	assert_memory_equal(b.v, v, sizeof(v));
	assert_int_equal(chan_recv_n(b.c, v, 4), 0);
	chan_free(b.c);
}

/* --- shares ----------------------------------------------------------------------------------- */

/*
 * Parks receivers with the given rooms, sends n with one try, returns how many went; got[] is what
 * each has.
 */
static size_t deal(size_t cap, size_t k, const size_t *rooms, size_t n, size_t *got)
{
	struct chan *c = chan_new(sizeof(int), cap);
	struct batch *b = calloc(k, sizeof(*b));
	struct wait_group wg;
	int v[100];
	size_t sent, demand = 0;
	char seen[100] = {0};
	wait_group_init(&wg);
	for (size_t i = 0; i < k; i++) {
		b[i] = (struct batch){.c = c, .max = rooms[i]};
		go(&wg, batch_recv, &b[i]);
		await_waiters(c, CHAN_RECV, i + 1);
		demand += rooms[i];
	}
	for (size_t i = 0; i < n; i++)
		v[i] = (int)i;
	assert_int_equal(chan_demand(c, SIZE_MAX), demand);
	sent = chan_try_send_n(c, v, n);
	assert_int_equal(sent, min(n, demand + cap));
	chan_close(c);
	join(&wg);
	for (size_t i = 0; i < k; i++) {
		got[i] = b[i].n;
		assert_true(b[i].n <= rooms[i]);
		for (size_t j = 0; j < b[i].n; j++) {
			assert_false(seen[b[i].v[j]]);
			seen[b[i].v[j]] = 1;
			assert_true(j == 0 || b[i].v[j] > b[i].v[j - 1]);
		}
	}
	for (size_t i = 0; i < min(n, demand); i++)
		assert_true(seen[i]);
	chan_free(c);
	free(b);
	return sent;
}

static void test_receivers_get_equal_shares(void **state)
{
	const size_t wide[] = {100, 100, 100, 100};
	size_t got[4];
	for (size_t n = 1; n <= 20; n++) {
		deal(0, 4, wide, n, got);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(got[i], n / 4 + (i < n % 4));
	}
}

static void test_shares_respect_each_ones_room(void **state)
{
	const size_t rooms[] = {1, 90, 2};
	size_t got[3];
	assert_int_equal(deal(0, 3, rooms, 50, got), 50);
	assert_int_equal(got[0], 1);
	assert_int_equal(got[1], 47);
	assert_int_equal(got[2], 2);
	assert_int_equal(deal(0, 3, rooms, 6, got), 6);
	assert_int_equal(got[0], 1);
	assert_int_equal(got[1], 3);
	assert_int_equal(got[2], 2);
	/* All that there is room for, and no more: what chan_demand promises. */
	assert_int_equal(deal(0, 3, rooms, 100, got), 93);
	assert_int_equal(deal(0, 3, rooms, 93, got), 93);
	/* The rest goes to the ring. */
	assert_int_equal(deal(4, 3, rooms, 99, got), 97);
}

static void test_nobody_falls_behind_by_more_than_rounding(void **state)
{
	for (int round = 0; round < ROUNDS(200); round++) {
		size_t rooms[10], got[10], k = 1 + rand_below(10), n = 1 + rand_below(100);
		size_t sum = 0, sent, least = SIZE_MAX;
		for (size_t i = 0; i < k; i++)
			rooms[i] = 1 + rand_below(20);
		sent = deal(rand_below(2) * 3, k, rooms, n, got);
		for (size_t i = 0; i < k; i++) {
			sum += got[i];
			/*
			 * A receiver that could have taken more is not behind the others by more
			 * than rounding.
			 */
			if (got[i] < rooms[i])
				least = min(least, got[i]);
		}
		assert_true(sum <= sent);
		if (sum == n && least == 0)
			assert_true(n < k);
	}
}

static void test_values_of_size_0_are_counted(void **state)
{
	struct chan *c = chan_new(0, 7);
	assert_int_equal(chan_try_send_n(c, NULL, 10), 7);
	assert_int_equal(chan_len(c), 7);
	assert_int_equal(chan_try_recv_n(c, NULL, 3, NULL), 3);
	assert_int_equal(chan_try_send_n(c, "", 10), 3);
	assert_int_equal(chan_recv_n(c, NULL, 100), 7);
	chan_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches_of_every_size_keep_the_sequence_at_every_capacity),
		cmocka_unit_test(test_each_producers_order_is_kept_with_mixed_sizes),
		cmocka_unit_test(test_try_moves_what_fits),
		cmocka_unit_test(test_blocked_batch_sender_stays_until_all_is_sent),
		cmocka_unit_test(test_select_send_is_released_part_served),
		cmocka_unit_test(test_close_after_part_of_a_batch_gives_the_part),
		cmocka_unit_test(test_receivers_get_equal_shares),
		cmocka_unit_test(test_shares_respect_each_ones_room),
		cmocka_unit_test(test_nobody_falls_behind_by_more_than_rounding),
		cmocka_unit_test(test_values_of_size_0_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
