/* SPDX-License-Identifier: MIT */
/* chan: many threads, short lives, everything at once. */
#include "test/unit/chan_harness.h"

#include "common/libc.h"

/* --- TestSelectStress: plain senders and receivers beside selects over the same four chans --- */

enum { CHANS = 4 };

struct stress {
	struct chan *c[CHANS];
	int n;
};

struct plain {
	struct chan *c;
	int n;
};

static void plain_send(void *arg)
{
	struct plain *p = arg;
	for (int i = 0; i < p->n; i++)
		chan_send(p->c, &i);
}

static void plain_recv(void *arg)
{
	struct plain *p = arg;
	for (int i = 0; i < p->n; i++)
		chan_recv(p->c, NULL);
}

/* n on each chan; those that are done are switched off by NULL. */
static void select_all(struct stress *s, bool sender)
{
	struct chan *c[CHANS];
	int left[CHANS];
	for (int k = 0; k < CHANS; k++) {
		c[k] = s->c[k];
		left[k] = s->n;
	}
	for (int i = 0; i < CHANS * s->n; i++) {
		struct chan_case cases[CHANS];
		int v = i, k;
		for (k = 0; k < CHANS; k++)
			cases[k] = sender ? chan_case_send(c[k], &v) : chan_case_recv(c[k], &v);
		k = chan_select(cases, CHANS);
		if (--left[k] == 0)
			c[k] = NULL;
	}
}

static void select_all_send(void *arg)
{
	select_all(arg, true);
}

static void select_all_recv(void *arg)
{
	select_all(arg, false);
}

static void test_select_stress(void **state)
{
	struct stress s = {.n = ROUNDS(10000)};
	struct plain p[CHANS];
	struct wait_group wg;
	wait_group_init(&wg);
	for (int k = 0; k < CHANS; k++) {
		s.c[k] = chan_new(sizeof(int), k < 2 ? 0 : (size_t)k);
		p[k] = (struct plain){s.c[k], s.n};
		go(&wg, plain_send, &p[k]);
		go(&wg, plain_recv, &p[k]);
	}
	go(&wg, select_all_send, &s);
	go(&wg, select_all_recv, &s);
	join(&wg);
	for (int k = 0; k < CHANS; k++) {
		assert_int_equal(chan_len(s.c[k]), 0);
		chan_free(s.c[k]);
	}
}

/* --- TestMultiConsumer: each value reaches one of many consumers ------------------------------ */

struct multi {
	struct chan *q, *r;
};

static void multi_consume(void *arg)
{
	struct multi *m = arg;
	int v;
	while (chan_recv(m->q, &v)) {
		if (v % 7 == 0)
			sched_yield();
		chan_send(m->r, &v);
	}
}

struct feed {
	struct chan *q;
	int n;
	long sum;
};

static void multi_feed(void *arg)
{
	static const int primes[] = {2, 3, 5, 7, 11, 13};
	struct feed *f = arg;
	for (int i = 0; i < f->n; i++) {
		int v = primes[i % 6];
		f->sum += v;
		chan_send(f->q, &v);
	}
	chan_close(f->q);
}

static void test_multi_consumer(void **state)
{
	enum { WORKERS = 23 };
	struct multi m = {chan_new(sizeof(int), WORKERS * 3), chan_new(sizeof(int), WORKERS * 3)};
	struct feed f = {m.q, ROUNDS(10000), 0};
	struct wait_group wg;
	long sum = 0;
	int v;
	wait_group_init(&wg);
	for (int i = 0; i < WORKERS; i++)
		go(&wg, multi_consume, &m);
	go(&wg, multi_feed, &f);
	for (int i = 0; i < f.n; i++) {
		chan_recv(m.r, &v);
		sum += v;
	}
	join(&wg);
	assert_int_equal(sum, f.sum);
	chan_free(m.q);
	chan_free(m.r);
}

/* --- select2.go: operations do not grow the heap ---------------------------------------------- */

static void test_operations_allocate_nothing(void **state)
{
	struct chan *a = chan_new(sizeof(int), 0), *b = chan_new(sizeof(int), 1);
	struct plain p = {a, ROUNDS(20000)};
	struct wait_group wg;
	int v;
	wait_group_init(&wg);
	go(&wg, plain_send, &p);
	chan_recv(a, &v);
	struct libc_mallinfo before = libc_get_mallinfo();
	for (int i = 1; i < p.n; i++) {
		struct ticker t;
		struct chan_case cases[] = {
			chan_case_recv(a, &v), chan_case_recv(b, &v), chan_case_tick(&t)};
		ticker_after(&t, NSEC_PER_SEC * 60);
		assert_int_equal(chan_select(cases, 3), 0);
	}
	struct libc_mallinfo after = libc_get_mallinfo();
	join(&wg);
	/* The sender's exit is all that may have happened beside. */
	assert_true(after.uordblks <= before.uordblks + 1024);
	chan_free(a);
	chan_free(b);
}

/* --- goroutines.go: a long chain of threads, torn down by one value --------------------------- */

struct hop {
	struct chan *left, *right;
};

static void hop(void *arg)
{
	struct hop *h = arg;
	int v;
	chan_recv(h->right, &v);
	v++;
	chan_send(h->left, &v);
}

static void test_a_long_chain_is_torn_down_by_one_value(void **state)
{
	enum { HOPS = 400 };
	struct chan *c[HOPS + 1];
	struct hop h[HOPS];
	struct wait_group wg;
	int v = 0;
	wait_group_init(&wg);
	for (int i = 0; i <= HOPS; i++)
		c[i] = chan_new(sizeof(int), 0);
	for (int i = 0; i < HOPS; i++) {
		h[i] = (struct hop){c[i], c[i + 1]};
		go(&wg, hop, &h[i]);
	}
	chan_send(c[HOPS], &v);
	chan_recv(c[0], &v);
	assert_int_equal(v, HOPS);
	join(&wg);
	for (int i = 0; i <= HOPS; i++)
		chan_free(c[i]);
}

/* --- lives ------------------------------------------------------------------------------------ */

static void recv_and_exit(void *arg)
{
	chan_recv(arg, NULL);
}

/*
 * A thread that is woken ends at once, its parker goes to the next, while its waker is still in
 * park_wake.
 */
static void test_woken_threads_exit_while_their_waker_wakes(void **state)
{
	for (int i = 0; i < ROUNDS(1000); i++) {
		struct chan *c = chan_new(0, 0);
		struct wait_group wg;
		wait_group_init(&wg);
		for (int k = 0; k < 4; k++)
			go(&wg, recv_and_exit, c);
		if (i % 3 == 0)
			await_waiters(c, CHAN_RECV, 4);
		if (i % 2 != 0)
			for (int k = 0; k < 4; k++)
				chan_send(c, NULL);
		else
			chan_close(c);
		join(&wg);
		chan_free(c);
	}
}

struct request {
	int v;
	struct chan *done; /* its receiver frees it at once */
};

static void answer(void *arg)
{
	struct request r;
	while (chan_recv(arg, &r)) {
		if (r.v % 3 == 2) {
			chan_close(r.done);
			continue;
		}
		r.v *= 2;
		chan_send(r.done, &r.v);
	}
}

/* The receiver of the last value may free the chan: the sender does not touch it after that. */
static void test_short_lived_chans_are_freed_by_their_receiver(void **state)
{
	struct chan *requests = chan_new(sizeof(struct request), 4);
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, answer, requests);
	go(&wg, answer, requests);
	for (int i = 0; i < ROUNDS(30000); i++) {
		struct request r = {i, chan_new(sizeof(int), (size_t)i % 2)};
		struct chan_case cc = chan_case_recv(r.done, &r.v);
		int v = 0;
		chan_send(requests, &r);
		switch (i % 4) {
		case 0:
			chan_recv(r.done, &v);
			break;
		case 1:
			chan_select(&cc, 1);
			v = r.v;
			break;
		default:
			for (bool over = false; !over && !chan_try_recv_n(r.done, &v, 1, &over);)
				sched_yield();
		}
		assert_int_equal(v, i % 3 == 2 ? 0 : 2 * i);
		chan_free(r.done);
	}
	chan_close(requests);
	join(&wg);
	chan_free(requests);
}

/* --- everything at once: what was sent is what was received ----------------------------------- */

struct chaos {
	struct chan *c[3], *exit;
	_Atomic long sent, received, count_sent, count_received;
	int rounds;
};

static void chaos_sent(struct chaos *x, const int *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x->sent += v[i];
	x->count_sent += (long)n;
}

static void chaos_send(void *arg)
{
	struct chaos *x = arg;
	for (int i = 0; i < x->rounds; i++) {
		int v[6];
		size_t n = 1 + rand_below(6);
		struct ticker t;
		struct chan_case cases[] = {chan_case_send_n(x->c[0], v, n),
			chan_case_send_n(x->c[1], v, n), chan_case_send_n(x->c[2], v, n),
			chan_case_tick(&t), chan_case_demand(x->c[0])};
		struct chan *c = x->c[rand_below(3)];
		int k;
		for (size_t j = 0; j < n; j++)
			v[j] = (int)rand_below(1000);
		ticker_after(&t, rand_below(50) * NSEC_PER_USEC);
		switch (rand_below(4)) {
		case 0:
			chan_send_n(c, v, n);
			chaos_sent(x, v, n);
			break;
		case 1:
			chaos_sent(x, v, chan_try_send_n(c, v, n));
			break;
		case 2:
			if ((k = chan_select(cases, 5)) < 3)
				chaos_sent(x, v, cases[k].n);
			break;
		default:
			if ((k = chan_try_select(cases, 5)) >= 0 && k < 3)
				chaos_sent(x, v, cases[k].n);
		}
	}
}

static void chaos_received(struct chaos *x, const int *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x->received += v[i];
	x->count_received += (long)n;
}

static void chaos_recv(void *arg)
{
	struct chaos *x = arg;
	for (;;) {
		int v[6];
		size_t n = 1 + rand_below(6);
		struct ticker t;
		struct chan_case cases[] = {chan_case_recv_n(x->c[2], v, n),
			chan_case_recv_n(x->c[0], v, n), chan_case_recv_n(x->c[1], v, n),
			chan_case_tick(&t), chan_case_recv(x->exit, NULL)};
		ticker_after(&t, rand_below(50) * NSEC_PER_USEC);
		if (rand_below(3) == 0) {
			chaos_received(x, v, chan_try_recv_n(x->c[rand_below(3)], v, n, NULL));
			continue;
		}
		int k = rand_below(2) ? chan_select(cases, 5) : chan_try_select(cases, 5);
		if (k >= 0 && k < 3)
			chaos_received(x, v, cases[k].n);
		else if (k == 4)
			return;
	}
}

static void test_chaos_loses_nothing(void **state)
{
	struct chaos x = {.c = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 3),
				  chan_new(sizeof(int), 100)},
		.exit = chan_new(0, 0),
		.rounds = ROUNDS(10000)};
	struct wait_group senders, receivers;
	int v[200];
	wait_group_init(&senders);
	wait_group_init(&receivers);
	for (int i = 0; i < 3; i++) {
		go(&senders, chaos_send, &x);
		go(&receivers, chaos_recv, &x);
	}
	join(&senders);
	chan_close(x.exit);
	join(&receivers);
	for (int i = 0; i < 3; i++) {
		chaos_received(&x, v, chan_try_recv_n(x.c[i], v, 200, NULL));
		assert_int_equal(count_waiters(x.c[i], CHAN_RECV), 0);
		assert_int_equal(count_waiters(x.c[i], CHAN_SEND), 0);
		assert_int_equal(count_waiters(x.c[i], CHAN_DEMAND), 0);
		chan_free(x.c[i]);
	}
	assert_int_equal(x.count_sent, x.count_received);
	assert_int_equal(x.sent, x.received);
	chan_free(x.exit);
}

/*
 * Producers that race with an exit chan, the way all of nsqd stops: nobody sends on a closed one.
 */
static void exit_select(void *arg)
{
	struct chaos *x = arg;
	struct chan_case cases[] = {chan_case_send_n(x->c[0], NULL, 2),
		chan_case_recv_n(x->c[1], NULL, 2), chan_case_demand(x->c[2]),
		chan_case_recv(x->exit, NULL)};
	while (chan_select(cases, 4) != 3)
		;
}

static void exit_peer(void *arg)
{
	struct chaos *x = arg;
	struct chan_case cases[] = {chan_case_recv_n(x->c[2], NULL, 2),
		chan_case_recv_n(x->c[0], NULL, 2), chan_case_send_n(x->c[1], NULL, 2),
		chan_case_recv(x->exit, NULL)};
	while (chan_select(cases, 4) != 3)
		;
}

#define LAST_STATE ROUNDS(50000)

struct signalled {
	struct chan *c;
	_Atomic int state, seen;
};

static void look_when_signalled(void *arg)
{
	struct signalled *s = arg;
	while (s->seen < LAST_STATE) {
		chan_recv(s->c, NULL);
		s->seen = atomic_load_explicit(&s->state, memory_order_relaxed);
	}
}

/* The second signal often finds the first one still there, or just being taken. */
static void test_a_signal_shows_what_was_written_before(void **state)
{
	struct signalled s = {.c = chan_new(0, 1)};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, look_when_signalled, &s);
	for (int i = 1; i <= LAST_STATE; i++) {
		for (unsigned k = rand_below(256); k > 0; k--)
			cpu_relax();
		atomic_store_explicit(&s.state, i, memory_order_relaxed);
		chan_signal(s.c);
		if (i % 2 == 1)
			continue;
		int64_t end = clock_mono_ns() + 60 * NSEC_PER_SEC;
		while (s.seen < i) {
			assert_true(clock_mono_ns() < end);
			sched_yield();
		}
	}
	join(&wg);
	chan_free(s.c);
}

static void test_exit_chan_stops_all(void **state)
{
	for (int i = 0; i < ROUNDS(500); i++) {
		struct chaos x = {.c = {chan_new(4, 0), chan_new(4, 1), chan_new(4, 0)},
			.exit = chan_new(0, 0)};
		struct wait_group wg;
		wait_group_init(&wg);
		for (int k = 0; k < 3; k++) {
			go(&wg, exit_select, &x);
			go(&wg, exit_peer, &x);
		}
		if (i % 2 != 0)
			sleep_ns(50 * NSEC_PER_USEC);
		chan_close(x.exit);
		join(&wg);
		for (int k = 0; k < 3; k++)
			chan_free(x.c[k]);
		chan_free(x.exit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_select_stress),
		cmocka_unit_test(test_multi_consumer),
		cmocka_unit_test(test_operations_allocate_nothing),
		cmocka_unit_test(test_a_long_chain_is_torn_down_by_one_value),
		cmocka_unit_test(test_woken_threads_exit_while_their_waker_wakes),
		cmocka_unit_test(test_short_lived_chans_are_freed_by_their_receiver),
		cmocka_unit_test(test_chaos_loses_nothing),
		cmocka_unit_test(test_a_signal_shows_what_was_written_before),
		cmocka_unit_test(test_exit_chan_stops_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
