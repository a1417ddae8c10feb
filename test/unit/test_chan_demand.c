/* SPDX-License-Identifier: MIT */
/* CHAN_DEMAND: a sender waits for receivers; no demand is missed, nobody is woken without. */
#include "test/unit/chan_harness.h"

struct taker {
	struct chan *c, *other;
	size_t max, n;
	int v[64];
};

static void take(void *arg)
{
	struct taker *t = arg;
	t->n = chan_recv_n(t->c, t->v, t->max);
}

static void take_select(void *arg)
{
	struct taker *t = arg;
	struct chan_case cases[] = {
		chan_case_recv(t->other, NULL), chan_case_recv_n(t->c, t->v, t->max)};
	if (chan_select(cases, 2) == 1)
		t->n = cases[1].n;
}

static void test_demand_is_the_room_of_parked_receivers(void **state)
{
	struct chan *c = chan_new(sizeof(int), 2), *other = chan_new(0, 0);
	struct taker t[3] = {{c, other, 5, 0, {0}}, {c, other, 1, 0, {0}}, {c, other, 60, 0, {0}}};
	struct chan_case cc = chan_case_demand(c);
	struct wait_group wg;
	int v[66] = {0};
	assert_int_equal(chan_demand(c, 100), 0);
	assert_int_equal(chan_try_select(&cc, 1), -1);
	wait_group_init(&wg);
	for (size_t i = 0; i < 3; i++) {
		go(&wg, i == 1 ? take_select : take, &t[i]);
		await_waiters(c, CHAN_RECV, i + 1);
	}
	assert_int_equal(chan_demand(c, 100), 66);
	assert_int_equal(chan_demand(c, 10), 10);
	assert_int_equal(chan_try_select(&cc, 1), 0);
	assert_int_equal(cc.n, 66);
	cc.max = 6; /* counts no further */
	assert_int_equal(chan_select(&cc, 1), 0);
	assert_int_equal(cc.n, 6);
	assert_int_equal(chan_try_send_n(c, v, 66), 66);
	join(&wg);
	assert_int_equal(t[0].n + t[1].n + t[2].n, 66);
	assert_int_equal(chan_demand(c, 100), 0);
	chan_free(c);
	chan_free(other);
}

struct asker {
	struct chan *c, *other, *exit;
	_Atomic int woken;
	_Atomic size_t n;
	_Atomic int index;
};

static void ask(void *arg)
{
	struct asker *a = arg;
	struct chan_case cases[] = {chan_case_recv(a->exit, NULL), chan_case_demand(a->c)};
	a->index = chan_select(cases, 2);
	a->n = cases[1].n;
	a->woken++;
}

static void await_woken(struct asker *a, int n)
{
	while (a->woken < n)
		sleep_ns(20 * NSEC_PER_USEC);
}

/* Each kind of receiver that goes to sleep is heard. */
static void test_parking_receivers_wake_the_thread_that_waits_for_demand(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		struct asker a = {.c = chan_new(sizeof(int), (size_t)kind),
			.other = chan_new(0, 0),
			.exit = chan_new(0, 0)};
		struct taker t = {a.c, a.other, 7, 0, {0}};
		struct wait_group wg;
		int v[7] = {0};
		wait_group_init(&wg);
		go(&wg, ask, &a);
		await_waiters(a.c, CHAN_DEMAND, 1);
		go(&wg, kind == 0 ? take : take_select, &t);
		await_woken(&a, 1);
		assert_int_equal(a.index, 1);
		assert_int_equal(a.n, 7);
		chan_send_n(a.c, v, 7);
		join(&wg);
		assert_int_equal(t.n, 7);
		assert_int_equal(count_waiters(a.exit, CHAN_RECV), 0);
		chan_free(a.c);
		chan_free(a.other);
		chan_free(a.exit);
	}
}

static void test_all_that_wait_for_demand_are_woken(void **state)
{
	struct asker a = {.c = chan_new(sizeof(int), 0), .exit = chan_new(0, 0)};
	struct taker t = {a.c, NULL, 1, 0, {0}};
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < 5; i++)
		go(&wg, ask, &a);
	await_waiters(a.c, CHAN_DEMAND, 5);
	go(&wg, take, &t);
	await_woken(&a, 5);
	chan_send(a.c, &(int){1});
	join(&wg);
	chan_free(a.c);
	chan_free(a.exit);
}

static void test_nothing_else_is_demand(void **state)
{
	struct asker a = {.c = chan_new(sizeof(int), 2), .exit = chan_new(0, 0)};
	struct wait_group wg;
	int v[4] = {0};
	struct chan_case cc = chan_case_recv(a.c, v);
	wait_group_init(&wg);
	go(&wg, ask, &a);
	await_waiters(a.c, CHAN_DEMAND, 1);
	assert_int_equal(chan_try_recv_n(a.c, v, 1, NULL), 0);
	assert_int_equal(chan_try_select(&cc, 1), -1);
	chan_send_n(a.c, v, 2);
	assert_int_equal(chan_recv_n(a.c, v, 4), 2); /* does not sleep */
	chan_close(a.c);
	assert_false(chan_recv(a.c, v));
	sleep_ns(2 * NSEC_PER_MSEC);
	assert_int_equal(a.woken, 0);
	assert_int_equal(count_waiters(a.c, CHAN_DEMAND), 1);
	chan_close(a.exit);
	join(&wg);
	assert_int_equal(a.index, 0);
	assert_int_equal(count_waiters(a.c, CHAN_DEMAND), 0);
	chan_free(a.c);
	chan_free(a.exit);
}

/* A select on RECV and DEMAND of one chan. */
static void both(void *arg)
{
	struct asker *a = arg;
	int v;
	struct chan_case cases[] = {chan_case_demand(a->c), chan_case_recv(a->c, &v),
		chan_case_recv(a->c, &v), chan_case_demand(a->c)};
	int i = chan_select(cases, 4);
	a->n = cases[i].n;
	a->index = cases[i].op == CHAN_DEMAND;
	a->woken++;
}

static void test_recv_and_demand_never_meet_in_one_select(void **state)
{
	struct asker a = {.c = chan_new(sizeof(int), 0)}, b = {.c = a.c};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, both, &a);
	await_waiters(a.c, CHAN_DEMAND, 2);
	sleep_ns(2 * NSEC_PER_MSEC);
	assert_int_equal(a.woken, 0);
	/* A second one finds the first. */
	go(&wg, both, &b);
	await_woken(&b, 1);
	assert_int_equal(b.index, 1);
	assert_int_equal(b.n, 2);
	assert_int_equal(a.woken, 0);
	chan_send(a.c, &(int){1});
	join(&wg);
	assert_int_equal(a.index, 0);
	chan_free(a.c);
}

/*
 * A receiver that has been served elsewhere, and has not come round to leave this queue, is no
 * demand.
 */
static void test_dead_receivers_are_no_demand(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0), *other = chan_new(0, 0);
	struct taker t = {c, other, 9, 0, {0}};
	struct chan_case cc = chan_case_demand(c);
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, take_select, &t);
	await_waiters(c, CHAN_RECV, 1);
	chan_lock(c); /* so that it can not leave */
	assert_int_equal(chan_demand_locked(c, SIZE_MAX, NULL), 9);
	chan_send(other, NULL);
	assert_non_null(c->recvq.first);
	assert_int_equal(chan_demand_locked(c, SIZE_MAX, NULL), 0);
	chan_unlock(c);
	assert_int_equal(chan_try_select(&cc, 1), -1);
	assert_int_equal(chan_demand(c, 100), 0);
	join(&wg);
	chan_free(c);
	chan_free(other);
}

/* --- two-sided races -------------------------------------------------------------------------- */

struct pingpong {
	struct chan *c;
	int n;
};

static void serve_one_per_demand(void *arg)
{
	struct pingpong *p = arg;
	struct chan_case cc = chan_case_demand(p->c);
	for (int i = 0; i < p->n; i++) {
		CHECK(chan_select(&cc, 1) == 0 && cc.n == 1);
		CHECK(chan_try_send_n(p->c, &i, 1) == 1);
	}
}

/*
 * A demand that is missed is a hang. One receiver: so each demand can be served without blocking.
 */
static void test_no_demand_is_missed_by_one_against_one(void **state)
{
	struct pingpong p = {chan_new(sizeof(int), 0), ROUNDS(50000)};
	struct wait_group wg;
	int v;
	wait_group_init(&wg);
	go(&wg, serve_one_per_demand, &p);
	for (int i = 0; i < p.n; i++) {
		chan_recv(p.c, &v);
		assert_int_equal(v, i);
	}
	join(&wg);
	chan_free(p.c);
}

/* The channel's pump: takes from its sources only while a consumer asks. */
struct pump {
	struct chan *source, *client_msg_chan, *exit;
	_Atomic size_t in_hand;
};

static void pump(void *arg)
{
	struct pump *p = arg;
	int v[8];
	for (;;) {
		size_t demand = chan_demand(p->client_msg_chan, SIZE_MAX), have;
		struct chan_case take[] = {chan_case_recv_n(p->source, v, demand < 8 ? demand : 8),
			chan_case_demand(demand ? NULL : p->client_msg_chan),
			chan_case_recv(p->exit, NULL)};
		switch (chan_select(take, 3)) {
		case 0:
			have = take[0].n;
			break;
		case 1:
			continue;
		default:
			return;
		}
		for (size_t done = 0; done < have;) {
			struct chan_case give[] = {
				chan_case_send_n(p->client_msg_chan, v + done, have - done),
				chan_case_recv(p->exit, NULL)};
			p->in_hand = have - done;
			if (chan_select(give, 2) != 0)
				return;
			done += give[0].n;
		}
		p->in_hand = 0;
	}
}

struct consumer {
	struct pump *p;
	_Atomic int *got;
	_Atomic char *seen;
	int total;
	struct chan *done;
};

/* Sometimes it asks for a while only, as a client whose ready count goes to 0. */
static void consume(void *arg)
{
	struct consumer *c = arg;
	int v[5], got;
	for (;;) {
		struct ticker t;
		struct chan_case cases[] = {
			chan_case_recv_n(c->p->client_msg_chan, v, 1 + rand_below(5)),
			chan_case_tick(&t), chan_case_recv(c->p->exit, NULL)};
		ticker_after(&t, rand_below(100) * NSEC_PER_USEC);
		switch (chan_select(cases, 3)) {
		case 0:
			for (size_t i = 0; i < cases[0].n; i++)
				CHECK(atomic_fetch_add(&c->seen[v[i]], 1) == 0);
			got = (int)cases[0].n;
			if (atomic_fetch_add(c->got, got) + got == c->total)
				chan_send(c->done, NULL);
			break;
		case 1:
			break;
		default:
			return;
		}
	}
}

static void test_pump_with_consumers_delivers_each_once(void **state)
{
	for (size_t cap = 0; cap < 3; cap += 2) {
		struct pump p = {.source = chan_new(sizeof(int), 100),
			.client_msg_chan = chan_new(sizeof(int), 0),
			.exit = chan_new(0, 0)};
		_Atomic int got = 0;
		int total = ROUNDS(50000);
		struct consumer c = {&p, &got, calloc((size_t)total, 1), total, chan_new(0, 1)};
		struct wait_group wg;
		wait_group_init(&wg);
		go(&wg, pump, &p);
		for (size_t i = 0; i < 1 + 2 * cap; i++)
			go(&wg, consume, &c);
		for (int i = 0; i < total; i++)
			chan_send(p.source, &i);
		chan_recv(c.done, NULL);
		chan_close(p.exit);
		join(&wg);
		assert_int_equal(got, total);
		chan_free(p.source);
		chan_free(p.client_msg_chan);
		chan_free(p.exit);
		chan_free(c.done);
		free((void *)c.seen);
	}
}

/* With no consumer it holds nothing, and leaves all in its source. */
static void test_pump_without_consumers_takes_nothing(void **state)
{
	struct pump p = {.source = chan_new(sizeof(int), 100),
		.client_msg_chan = chan_new(sizeof(int), 0),
		.exit = chan_new(0, 0)};
	struct wait_group wg;
	int v;
	wait_group_init(&wg);
	go(&wg, pump, &p);
	for (int i = 0; i < 100; i++)
		chan_send(p.source, &i);
	await_waiters(p.client_msg_chan, CHAN_DEMAND, 1);
	assert_int_equal(chan_len(p.source), 100);
	/* One that asks for one gets one. */
	for (int i = 0; i < 50; i++) {
		chan_recv(p.client_msg_chan, &v);
		assert_int_equal(v, i);
		await_waiters(p.client_msg_chan, CHAN_DEMAND, 1);
		assert_int_equal(chan_len(p.source), 99 - i);
		assert_int_equal(p.in_hand, 0);
	}
	chan_close(p.exit);
	join(&wg);
	chan_free(p.source);
	chan_free(p.client_msg_chan);
	chan_free(p.exit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demand_is_the_room_of_parked_receivers),
		cmocka_unit_test(test_parking_receivers_wake_the_thread_that_waits_for_demand),
		cmocka_unit_test(test_all_that_wait_for_demand_are_woken),
		cmocka_unit_test(test_nothing_else_is_demand),
		cmocka_unit_test(test_recv_and_demand_never_meet_in_one_select),
		cmocka_unit_test(test_dead_receivers_are_no_demand),
		cmocka_unit_test(test_no_demand_is_missed_by_one_against_one),
		cmocka_unit_test(test_pump_with_consumers_delivers_each_once),
		cmocka_unit_test(test_pump_without_consumers_takes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
