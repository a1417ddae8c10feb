/* SPDX-License-Identifier: MIT */
/* select: exactly one case, never a wrong default, fair choice. Go's tests gave the ideas. */
#include "test/unit/chan_harness.h"

#include <math.h>

/* --- exactly one case ------------------------------------------------------------------------- */

enum { LANES = 4 };

struct doubleselect {
	struct chan *lane[LANES], *out, *done;
	int n;
};

/* doubleselect.go: each value goes to one of four chans, whichever is taken first. */
static void double_send(void *arg)
{
	struct doubleselect *d = arg;
	for (int i = 0; i < d->n; i++) {
		struct chan_case cases[LANES];
		for (int k = 0; k < LANES; k++)
			cases[k] = chan_case_send(d->lane[k], &i);
		chan_select(cases, LANES);
	}
	for (int k = 0; k < LANES; k++)
		chan_close(d->lane[k]);
}

struct lane {
	struct chan *in, *out, *done;
};

static void double_forward(void *arg)
{
	struct lane *l = arg;
	int v;
	while (chan_recv(l->in, &v))
		chan_send(l->out, &v);
	chan_send(l->done, NULL);
}

static void double_close(void *arg)
{
	struct doubleselect *d = arg;
	for (int k = 0; k < LANES; k++)
		chan_recv(d->done, NULL);
	chan_close(d->out);
}

static void test_doubleselect_delivers_each_value_once(void **state)
{
	struct doubleselect d = {
		.out = chan_new(sizeof(int), 0), .done = chan_new(0, 0), .n = ROUNDS(100000)};
	struct lane lanes[LANES];
	struct wait_group wg;
	char *seen = calloc((size_t)d.n, 1);
	int v, total = 0;
	wait_group_init(&wg);
	for (int k = 0; k < LANES; k++) {
		d.lane[k] = chan_new(sizeof(int), 0);
		lanes[k] = (struct lane){d.lane[k], d.out, d.done};
		go(&wg, double_forward, &lanes[k]);
	}
	go(&wg, double_send, &d);
	go(&wg, double_close, &d);
	for (; chan_recv(d.out, &v); total++) {
		assert_true(v >= 0 && v < d.n && !seen[v]);
		seen[v] = 1;
	}
	assert_int_equal(total, d.n);
	join(&wg);
	for (int k = 0; k < LANES; k++)
		chan_free(d.lane[k]);
	chan_free(d.out);
	chan_free(d.done);
	free(seen);
}

struct recv_args {
	struct chan *c, *other;
	int v, index;
};

static void recv_plain(void *arg)
{
	struct recv_args *a = arg;
	chan_recv(a->c, &a->v);
}

static void recv_select(void *arg)
{
	struct recv_args *a = arg;
	struct chan_case cases[] = {chan_case_recv(a->c, &a->v), chan_case_recv(a->other, &a->v)};
	a->index = chan_select(cases, 2);
}

/*
 * select6.go: the loser is unlinked from the middle of a queue, and its neighbours are still
 * served.
 */
static void test_losers_leave_the_middle_of_a_queue(void **state)
{
	for (int at = 0; at < 3; at++) {
		struct chan *c = chan_new(sizeof(int), 0), *other = chan_new(sizeof(int), 0);
		struct recv_args a[4];
		struct wait_group wg;
		wait_group_init(&wg);
		for (int i = 0; i < 3; i++) {
			a[i] = (struct recv_args){c, other, -1, -1};
			go(&wg, i == at ? recv_select : recv_plain, &a[i]);
			await_waiters(c, CHAN_RECV, (size_t)i + 1);
		}
		chan_send(other, &(int){100});
		await_waiters(c, CHAN_RECV, 2);
		a[3] = (struct recv_args){c, other, -1, -1};
		go(&wg, recv_plain, &a[3]);
		await_waiters(c, CHAN_RECV, 3);
		for (int i = 0, want = 0; i < 3; i++)
			chan_send(c, &want), want++;
		join(&wg);
		for (int i = 0, want = 0; i < 4; i++)
			assert_int_equal(a[i].v, i == at ? 100 : want++);
		assert_int_equal(a[at].index, 1);
		chan_free(c);
		chan_free(other);
	}
}

static void recv_duplicate(void *arg)
{
	struct recv_args *a = arg;
	struct chan_case cases[] = {chan_case_recv(a->c, &a->v), chan_case_recv(a->other, &a->v),
		chan_case_recv(a->c, &a->v), chan_case_recv(a->other, &a->v)};
	a->index = chan_select(cases, 4);
}

/* TestSelectDuplicateChannel: and nothing of it stays in any queue. */
static void test_duplicate_chan(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0), *other = chan_new(sizeof(int), 0);
	struct recv_args a[2] = {{c, other, -1, -1}, {c, other, -1, -1}};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, recv_duplicate, &a[0]);
	await_waiters(c, CHAN_RECV, 2);
	go(&wg, recv_plain, &a[1]);
	await_waiters(c, CHAN_RECV, 3);
	chan_send(c, &(int){1});
	chan_send(c, &(int){2});
	join(&wg);
	assert_int_equal(a[0].v, 1);
	assert_int_equal(a[1].v, 2);
	assert_int_equal(count_waiters(c, CHAN_RECV), 0);
	assert_int_equal(count_waiters(other, CHAN_RECV), 0);
	chan_free(c);
	chan_free(other);
}

struct self_args {
	struct chan *c;
	int id, n, met_self;
};

static void self_select(void *arg)
{
	struct self_args *a = arg;
	for (int i = 0; i < a->n; i++) {
		int v = -1;
		struct chan_case cases[] = {chan_case_send(a->c, &a->id), chan_case_recv(a->c, &v)};
		int k = chan_select(cases, 2);
		a->met_self += k == 1 && v == a->id;
	}
}

/* TestSelfSelect: with a buffer it may take its own value, without it must not. */
static void test_self_select_never_meets_itself_unbuffered(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct self_args a[2] = {{c, 0, ROUNDS(20000), 0}, {c, 1, ROUNDS(20000), 0}};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, self_select, &a[0]);
	go(&wg, self_select, &a[1]);
	join(&wg);
	assert_int_equal(a[0].met_self, 0);
	assert_int_equal(a[1].met_self, 0);
	chan_free(c);
}

static void test_self_select_buffered_never_blocks(void **state)
{
	struct chan *c = chan_new(sizeof(int), 10);
	struct self_args a = {c, 0, 1000, 0};
	self_select(&a);
	assert_true(a.met_self > 300);
	chan_free(c);
}

static void test_self_select_alone_blocks(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct self_args a = {c, 7, 1, 0};
	struct wait_group wg;
	int v;
	wait_group_init(&wg);
	go(&wg, self_select, &a);
	await_waiters(c, CHAN_RECV, 1);
	await_waiters(c, CHAN_SEND, 1);
	sleep_ns(NSEC_PER_MSEC);
	assert_int_equal(count_waiters(c, CHAN_RECV), 1);
	assert_true(chan_recv(c, &v));
	assert_int_equal(v, 7);
	join(&wg);
	assert_int_equal(count_waiters(c, CHAN_RECV), 0);
	chan_free(c);
}

struct cross {
	struct chan *c[2];
	int first, n;
	bool sender;
};

static void cross_select(void *arg)
{
	struct cross *x = arg;
	struct chan *a = x->c[x->first], *b = x->c[!x->first];
	for (int i = 0; i < x->n; i++) {
		int v;
		struct chan_case cases[2];
		if (x->sender) {
			cases[0] = chan_case_send(a, &i);
			cases[1] = chan_case_send(b, &i);
		} else {
			cases[0] = chan_case_recv(a, &v);
			cases[1] = chan_case_recv(b, &v);
		}
		chan_select(cases, 2);
	}
}

static void test_opposite_orders_never_deadlock(void **state)
{
	struct chan *c[2] = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0)};
	struct cross x[4];
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < 4; i++) {
		x[i] = (struct cross){{c[0], c[1]}, i & 1, ROUNDS(20000), i < 2};
		go(&wg, cross_select, &x[i]);
	}
	join(&wg);
	chan_free(c[0]);
	chan_free(c[1]);
}

static void test_blocked_select_meets_try_select(void **state)
{
	struct recv_args a = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0), -1, -1};
	struct chan_case cases[] = {chan_case_recv(a.c, NULL), chan_case_send(a.other, &(int){9})};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, recv_select, &a);
	await_waiters(a.other, CHAN_RECV, 1);
	assert_int_equal(chan_try_select(cases, 2), 1);
	join(&wg);
	assert_int_equal(a.v, 9);
	assert_int_equal(a.index, 1);
	assert_int_equal(chan_try_select(cases, 2), -1);
	chan_free(a.c);
	chan_free(a.other);
}

struct poller {
	struct chan *c;
	_Atomic int *got;
	int total;
};

static void poll_recv(void *arg)
{
	struct poller *p = arg;
	int v;
	struct chan_case cc = chan_case_recv(p->c, &v);
	while (*p->got < p->total) {
		if (chan_try_select(&cc, 1) == 0)
			++*p->got;
		else
			sched_yield();
	}
}

/* A try select that blocks after it has looked would hang one of these (tylertreat/chan). */
static void test_try_select_never_blocks(void **state)
{
	_Atomic int got = 0;
	struct poller p = {chan_new(sizeof(int), 1), &got, ROUNDS(5000)};
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < 3; i++)
		go(&wg, poll_recv, &p);
	for (int i = 0; i < p.total; i++)
		chan_send(p.c, &i);
	join(&wg);
	assert_int_equal(got, p.total);
	chan_free(p.c);
}

/* --- default only if nothing was ready at one moment ------------------------------------------ */

struct race {
	struct chan *start, *result;
	struct chan *c[2];
	int ncases;
};

/* Tells for each round whether something was ready. */
static void race_try(void *arg)
{
	struct race *r = arg;
	while (chan_recv(r->start, NULL)) {
		struct chan_case cases[] = {
			chan_case_recv(r->c[0], NULL), chan_case_recv(r->c[1], NULL)};
		bool ready = chan_try_select(cases, r->ncases) >= 0;
		chan_send(r->result, &ready);
	}
}

static void run_race(struct race *r, void (*round)(struct race *), int ncases)
{
	struct wait_group wg;
	r->start = chan_new(0, 0);
	r->result = chan_new(sizeof(bool), 1);
	r->ncases = ncases;
	wait_group_init(&wg);
	go(&wg, race_try, r);
	for (int i = 0; i < ROUNDS(20000); i++) {
		bool ready;
		r->c[0] = chan_new(sizeof(int), 1);
		r->c[1] = chan_new(sizeof(int), 1);
		round(r);
		chan_recv(r->result, &ready);
		assert_true(ready);
		chan_free(r->c[0]);
		chan_free(r->c[1]);
	}
	chan_close(r->start);
	join(&wg);
	chan_free(r->start);
	chan_free(r->result);
}

/* TestNonblockRecvRace: a value, then closed, never neither. */
static void recv_race(struct race *r)
{
	chan_send(r->c[0], &(int){1});
	chan_send(r->start, NULL);
	chan_close(r->c[0]);
	chan_recv(r->c[0], NULL);
}

/* TestNonblockSelectRace: the other chan is filled before this one is emptied. */
static void select_race(struct race *r)
{
	struct chan_case cc = chan_case_recv(r->c[0], NULL);
	chan_send(r->c[0], &(int){1});
	chan_send(r->start, NULL);
	chan_send(r->c[1], &(int){1});
	chan_try_select(&cc, 1);
}

/* TestNonblockSelectRace2: the other is closed before this one is emptied. */
static void select_race2(struct race *r)
{
	struct chan_case cc = chan_case_recv(r->c[0], NULL);
	chan_send(r->c[0], &(int){1});
	chan_send(r->start, NULL);
	chan_close(r->c[1]);
	chan_try_select(&cc, 1);
}

static void test_nonblock_recv_race(void **state)
{
	run_race(&(struct race){0}, recv_race, 1);
}

static void test_nonblock_select_race(void **state)
{
	run_race(&(struct race){0}, select_race, 2);
}

static void test_nonblock_select_race2(void **state)
{
	run_race(&(struct race){0}, select_race2, 2);
}

/* --- fairness --------------------------------------------------------------------------------- */

/* All of k cases are ready; each must be chosen equally often. (For the second run: is_half.) */
static bool is_choice_uniform_among(int k)
{
	int per_case = 1000, hits[CHAN_SELECT_MAX] = {0};
	struct chan_case cases[CHAN_SELECT_MAX];
	struct chan *closed = chan_new(sizeof(int), 0);
	double chi2 = 0, df = k - 1;
	chan_close(closed);
	for (int i = 0; i < k; i++)
		cases[i] = chan_case_recv(closed, NULL);
	for (int i = 0; i < k * per_case; i++)
		hits[chan_select(cases, k)]++;
	for (int i = 0; i < k; i++)
		chi2 += (double)(hits[i] - per_case) * (hits[i] - per_case) / per_case;
	chan_free(closed);
	/* Wilson-Hilferty: beyond five standard deviations. */
	return cbrt(chi2 / df) < 1 - 2 / (9 * df) + 5 * sqrt(2 / (9 * df));
}

static void test_choice_is_uniform_among_k(void **state)
{
	static const int counts[] = {2, 3, 5, 8, 12, 13, 14, 24, 25, 40, 64};
	for (size_t j = 0; j < COUNT(counts); j++)
		assert_true(
			is_choice_uniform_among(counts[j]) || is_choice_uniform_among(counts[j]));
}

/* Two are ready among k: the choice between them is made by the later steps of the shuffle. */
static bool is_choice_fair_among(int k)
{
	enum { TRIALS = 10000 };
	struct chan *idle = chan_new(sizeof(int), 0), *closed = chan_new(sizeof(int), 0);
	struct chan_case cases[CHAN_SELECT_MAX];
	int first = 0;
	chan_close(closed);
	for (int i = 0; i < k; i++)
		cases[i] = chan_case_recv(i == 0 || i == k - 1 ? closed : idle, NULL);
	for (int i = 0; i < TRIALS; i++)
		first += chan_select(cases, k) == 0;
	chan_free(idle);
	chan_free(closed);
	return is_half(first, TRIALS);
}

static void test_choice_is_fair_beside_many_idle_cases(void **state)
{
	for (int k = 3; k <= CHAN_SELECT_MAX; k += 6)
		assert_true(is_choice_fair_among(k) || is_choice_fair_among(k));
}

/* Two that are always ready among two that never are, with Go's bound. */
static bool is_select_fair(void)
{
	enum { TRIALS = 10000 };
	struct chan *c[4];
	struct chan_case cases[4];
	int first = 0;
	for (int i = 0; i < 4; i++) {
		c[i] = chan_new(1, i < 2 ? TRIALS + 1 : 0);
		cases[i] = chan_case_recv(c[i], NULL);
	}
	for (int i = 0; i < 2 * (TRIALS + 1); i++)
		chan_send(c[i & 1], "x");
	for (int i = 0; i < TRIALS; i++)
		first += chan_select(cases, 4) == 0;
	for (int i = 0; i < 4; i++)
		chan_free(c[i]);
	return is_half(first, TRIALS);
}

/* TestSelectFairness. */
static void test_select_fairness(void **state)
{
	assert_true(is_select_fair() || is_select_fair());
}

struct random_send {
	struct chan *c;
	int n;
};

static void send_random_bit(void *arg)
{
	struct random_send *r = arg;
	for (int i = 0; i < r->n; i++) {
		int zero = 0, one = 1;
		struct chan_case cases[] = {
			chan_case_send(r->c, &zero), chan_case_send(r->c, &one)};
		chan_select(cases, 2);
	}
}

/* TestPseudoRandomSend: the same chan in two cases. */
static void test_pseudo_random_send(void **state)
{
	for (size_t cap = 0; cap < 2; cap++) {
		struct random_send r = {chan_new(sizeof(int), cap), ROUNDS(5000)};
		struct wait_group wg;
		int ones = 0, v;
		wait_group_init(&wg);
		go(&wg, send_random_bit, &r);
		for (int i = 0; i < r.n; i++) {
			chan_recv(r.c, &v);
			ones += v;
		}
		join(&wg);
		/*
		 * Where the receiver is always first the head of the queue decides: it is random,
		 * too.
		 */
		assert_true(ones > r.n / 3 && ones < 2 * r.n / 3);
		chan_free(r.c);
	}
}

static void test_blocked_selects_are_served_oldest_first(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0), *other = chan_new(sizeof(int), 0);
	struct recv_args a[8];
	struct wait_group wg;
	wait_group_init(&wg);
	for (int i = 0; i < 8; i++) {
		a[i] = (struct recv_args){c, other, -1, -1};
		go(&wg, recv_select, &a[i]);
		await_waiters(c, CHAN_RECV, (size_t)i + 1);
	}
	for (int i = 0; i < 8; i++) {
		chan_send(i % 2 ? c : other, &i);
		/* The loser's place must be free before the next may be counted on. */
		await_waiters(c, CHAN_RECV, 7 - (size_t)i);
		await_waiters(other, CHAN_RECV, 7 - (size_t)i);
	}
	join(&wg);
	for (int i = 0; i < 8; i++)
		assert_int_equal(a[i].v, i);
	chan_free(c);
	chan_free(other);
}

/* --- many cases ------------------------------------------------------------------------------- */

struct wide {
	struct chan *c[CHAN_SELECT_MAX];
	int n;
};

static void wide_recv(void *arg)
{
	struct wide *w = arg;
	int v;
	for (int i = 0; i < w->n; i++) {
		struct chan_case cases[CHAN_SELECT_MAX];
		for (int j = 0; j < CHAN_SELECT_MAX; j++)
			cases[j] = chan_case_recv(w->c[j], &v);
		int k = chan_select(cases, CHAN_SELECT_MAX);
		CHECK(v == k && cases[k].n == 1 && cases[k].ok);
	}
}

static void test_the_widest_select_gets_each_value(void **state)
{
	struct wide w = {.n = ROUNDS(2000)};
	struct wait_group wg;
	for (int i = 0; i < CHAN_SELECT_MAX; i++)
		w.c[i] = chan_new(sizeof(int), (size_t)i % 2);
	wait_group_init(&wg);
	go(&wg, wide_recv, &w);
	go(&wg, wide_recv, &w);
	for (int i = 0; i < 2 * w.n; i++) {
		int k = (int)rand_below(CHAN_SELECT_MAX);
		chan_send(w.c[k], &k);
	}
	join(&wg);
	for (int i = 0; i < CHAN_SELECT_MAX; i++)
		chan_free(w.c[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doubleselect_delivers_each_value_once),
		cmocka_unit_test(test_losers_leave_the_middle_of_a_queue),
		cmocka_unit_test(test_duplicate_chan),
		cmocka_unit_test(test_self_select_never_meets_itself_unbuffered),
		cmocka_unit_test(test_self_select_buffered_never_blocks),
		cmocka_unit_test(test_self_select_alone_blocks),
		cmocka_unit_test(test_opposite_orders_never_deadlock),
		cmocka_unit_test(test_blocked_select_meets_try_select),
		cmocka_unit_test(test_try_select_never_blocks),
		cmocka_unit_test(test_nonblock_recv_race),
		cmocka_unit_test(test_nonblock_select_race),
		cmocka_unit_test(test_nonblock_select_race2),
		cmocka_unit_test(test_choice_is_uniform_among_k),
		cmocka_unit_test(test_choice_is_fair_beside_many_idle_cases),
		cmocka_unit_test(test_select_fairness),
		cmocka_unit_test(test_pseudo_random_send),
		cmocka_unit_test(test_blocked_selects_are_served_oldest_first),
		cmocka_unit_test(test_the_widest_select_gets_each_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
