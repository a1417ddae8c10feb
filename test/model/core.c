/* SPDX-License-Identifier: MIT */
/*
 * The model of the chan: scenarios of chan.c, select.c and park.c. Each value is received once, and
 * nobody waits for ever. cap: the capacity of the chan a.
 */
#include "common/chan.h"
#include "common/chan_internal.h"
#include "common/park.h"
#include "test/model/mc.h"

static MC_GHOST struct chan *a, *b, *done;
static int values[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
static MC_GHOST int times_got[9], n_got, n_sent, n_closed, n_late;
static _Atomic int state;

/* --- what the threads do ---------------------------------------------------------------------- */

/* A value has been received. */
static void got(int v)
{
	MC_CHECK(v > 0 && v < 9);
	MC_CHECK(times_got[v]++ == 0);
	n_got++;
}

static void check(struct chan *c)
{
	if (c && c->magic == CHAN_MAGIC && atomic_load(&c->lock) == 0)
		chan_check_invariants_locked(c);
}

void mc_always(void)
{
	check(a);
	check(b);
	check(done);
}

static void make_chans(void)
{
	a = chan_new(sizeof(int), (size_t)mc_param("cap", 0));
	b = chan_new(sizeof(int), 0);
	done = chan_new(0, 0);
}

static void end_got_2(void)
{
	MC_CHECK(n_got == 2);
}

static void end_got_3(void)
{
	MC_CHECK(n_got == 3);
}

/* The thread's argument is the chan; see the names for the values. */
static void send_1(void *c)
{
	chan_send(c, &values[1]);
}

static void send_2(void *c)
{
	chan_send(c, &values[2]);
}

static void send_2_and_3(void *c)
{
	chan_send_n(c, &values[2], 2);
}

static void try_send_1(void *c)
{
	n_sent += (int)chan_try_send_n(c, &values[1], 1);
}

static void try_send_2(void *c)
{
	n_sent += (int)chan_try_send_n(c, &values[2], 1);
}

static void close_it(void *c)
{
	chan_close(c);
}

/* Receives up to max values at a time, until it has got so many. */
static void receive_until(struct chan *c, int want, size_t max)
{
	int v[4];
	for (int n = 0; n < want;) {
		size_t k = chan_recv_n(c, v, max);
		MC_CHECK(k > 0 && k <= max);
		for (size_t i = 0; i < k; i++)
			got(v[i]);
		n += (int)k;
	}
}

/* --- senders and receivers -------------------------------------------------------------------- */

static void receive_three(void *c)
{
	receive_until(c, 3, 3);
}

static void setup_senders(void)
{
	make_chans();
	mc_go("send", send_1, a);
	mc_go("send two", send_2_and_3, a);
	mc_go("receive", receive_three, a);
}

static void receive_some(void *c)
{
	int v[2], max = mc_param("max", 2), n = (int)chan_recv_n(c, v, (size_t)max);
	MC_CHECK(n <= max);
	for (int i = 0; i < n; i++)
		got(v[i]);
}

static void send_all(void *c)
{
	chan_send_n(c, &values[1], (size_t)mc_param("n", 3));
	chan_close(c);
}

/* A batch of n that is dealt out to n receivers: it may be gone before the last of them comes. */
static void setup_deal(void)
{
	make_chans();
	mc_go("send three", send_all, a);
	mc_go("receive 1", receive_some, a);
	mc_go("receive 2", receive_some, a);
	if (mc_param("n", 3) > 2)
		mc_go("receive 3", receive_some, a);
}

static void end_deal(void)
{
	MC_CHECK(n_got == mc_param("n", 3));
}

/* One after the other, in the order in which they were sent. */
static void send_three(void *c)
{
	chan_send_n(c, &values[1], 3);
}

static void receive_in_order(void *c)
{
	for (int i = 1; i <= 3; i++) {
		int v;
		MC_CHECK(chan_recv(c, &v) && v == i);
		got(v);
	}
}

static void setup_order(void)
{
	make_chans();
	mc_go("send three", send_three, a);
	mc_go("receive", receive_in_order, a);
}

/* --- selects ---------------------------------------------------------------------------------- */

/* Two selects in a row over a and b. */
static void select_twice(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		int x = 0, y = 0;
		struct chan_case c[] = {chan_case_recv(a, &x), chan_case_recv(b, &y)};
		int k = chan_select(c, 2);
		MC_CHECK(c[k].ok && c[k].n == 1);
		MC_CHECK(k == 0 ? y == 0 : x == 0);
		got(k == 0 ? x : y);
	}
}

static void setup_select(void)
{
	make_chans();
	mc_go("send to a", send_1, a);
	mc_go("send to b", send_2, b);
	mc_go("select", select_twice, NULL);
}

/* Each sends where the other receives: one value goes, and both know. */
static void mirror(struct chan *to, struct chan *from, int v)
{
	int x = 0;
	struct chan_case c[] = {chan_case_send(to, &values[v]), chan_case_recv(from, &x)};
	int k = chan_select(c, 2);
	if (k == 1) {
		MC_CHECK(x != v);
		got(x);
	} else {
		n_sent++;
	}
}

static void mirror_1(void *arg)
{
	(void)arg;
	mirror(a, b, 1);
}

static void mirror_2(void *arg)
{
	(void)arg;
	mirror(b, a, 2);
}

static void setup_mirror(void)
{
	make_chans();
	mc_go("one", mirror_1, NULL);
	mc_go("two", mirror_2, NULL);
}

/* The same with one chan: neither may meet itself. */
static void meet_1(void *arg)
{
	(void)arg;
	mirror(a, a, 1);
}

static void meet_2(void *arg)
{
	(void)arg;
	mirror(a, a, 2);
}

static void setup_meet(void)
{
	make_chans();
	mc_go("one", meet_1, NULL);
	mc_go("two", meet_2, NULL);
}

static void end_one_exchange(void)
{
	MC_CHECK(n_got == 1 && n_sent == 1);
}

/*
 * Two values by selects: the receiver has room for one at a time, so a select may send some of
 * them.
 */
static void select_until_sent(void *arg)
{
	(void)arg;
	while (n_sent < 2) {
		struct chan_case c[] = {
			chan_case_send_n(a, &values[1 + n_sent], (size_t)(2 - n_sent)),
			chan_case_recv(done, NULL)};
		MC_CHECK(chan_select(c, 2) == 0 && c[0].n > 0);
		n_sent += (int)c[0].n;
	}
}

static void receive_each(void *c)
{
	receive_until(c, 2, 1);
}

static void setup_select_n(void)
{
	make_chans();
	mc_go("select", select_until_sent, NULL);
	mc_go("receive", receive_each, a);
}

/* Two selects over a and b. One sends to a, unless b is closed; one closes b. */
static void select_or_closed(void *arg)
{
	int x = 0;
	(void)arg;
	struct chan_case c[] = {chan_case_recv(a, &x), chan_case_recv(b, NULL)};
	if (chan_select(c, 2) == 0) {
		got(x);
	} else {
		MC_CHECK(!c[1].ok);
		n_closed++;
	}
}

static void send_or_closed(void *arg)
{
	(void)arg;
	struct chan_case c[] = {chan_case_send(a, &values[1]), chan_case_recv(b, NULL)};
	if (chan_select(c, 2) == 0)
		n_sent++;
}

static void setup_close(void)
{
	make_chans();
	mc_go("select 1", select_or_closed, NULL);
	if (mc_param("selects", 2) > 1)
		mc_go("select 2", select_or_closed, NULL);
	mc_go("send", send_or_closed, NULL);
	mc_go("close", close_it, b);
}

static void end_close(void)
{
	MC_CHECK(n_got + n_closed == mc_param("selects", 2));
	MC_CHECK(n_sent == n_got + (int)chan_len(a));
}

/* --- selects that do not wait ----------------------------------------------------------------- */

static void select_with_default(void *arg)
{
	int x = 0;
	(void)arg;
	struct chan_case c[] = {chan_case_recv(a, &x), chan_case_recv(b, NULL)};
	int k = chan_try_select(c, 2);
	/*
	 * Go's TestNonblockSelectRace2: a has a value until b is closed, so one of them is ready.
	 */
	MC_CHECK(k >= 0);
	if (k == 0)
		got(x);
}

static void close_b_then_take(void *arg)
{
	int x = 0;
	(void)arg;
	chan_close(b);
	if (chan_try_recv_n(a, &x, 1, NULL) == 1)
		got(x);
}

static void setup_default(void)
{
	make_chans();
	MC_CHECK(chan_try_send_n(a, &values[1], 1) == 1);
	mc_go("select", select_with_default, NULL);
	mc_go("close", close_b_then_take, NULL);
}

static void end_got_1(void)
{
	MC_CHECK(n_got == 1);
}

/*
 * Something is there, and the thread that has brought it is done: one that does not wait finds it.
 */
static bool is_there(void *arg)
{
	struct chan *c = arg;
	return atomic_load(&c->lock) == 0 && (c->count > 0 || c->sendq.first);
}

static void try_receive(void *c)
{
	int v;
	mc_wait(is_there, c);
	MC_CHECK(chan_try_recv_n(c, &v, 1, NULL) == 1);
	got(v);
}

static void setup_try(void)
{
	make_chans();
	mc_go("send", send_1, a);
	mc_go("try", try_receive, a);
}

/* --- deadlines -------------------------------------------------------------------------------- */

/* What was sent with success has been received, also at the last moment. */
static void receive_for_a_while(void *arg)
{
	int x = 0;
	struct ticker t = {0};
	(void)arg;
	ticker_after(&t, 100);
	struct chan_case c[] = {chan_case_recv(a, &x), chan_case_tick(&t)};
	if (chan_select(c, 2) == 0)
		got(x);
	else
		n_late++;
}

static void setup_deadline(void)
{
	make_chans();
	mc_go("receive", receive_for_a_while, NULL);
	mc_go("try 1", try_send_1, a);
	mc_go("try 2", try_send_2, a);
}

static void end_deadline(void)
{
	MC_CHECK(n_sent == n_got + (int)chan_len(a) && n_got + n_late == 1);
}

/* --- signals ---------------------------------------------------------------------------------- */

/*
 * A state, and a chan that says "look again": the taker of the value sees what was written before.
 */
static void change_and_signal(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		atomic_fetch_add(&state, 1);
		chan_signal(a);
	}
}

static void look_until_2(void *arg)
{
	(void)arg;
	while (atomic_load(&state) < 2) {
		struct chan_case c[] = {chan_case_recv(a, NULL), chan_case_recv(done, NULL)};
		chan_select(c, 2);
	}
}

static void setup_signal(void)
{
	make_chans();
	mc_go("signal", change_and_signal, NULL);
	mc_go("look", look_until_2, NULL);
}

static void end_nothing(void)
{
}

/* --- demand ----------------------------------------------------------------------------------- */

/* Waits for a receiver, and sends then, as the channel's pump does. */
static void send_on_demand(void *arg)
{
	(void)arg;
	while (n_sent < 1) {
		struct chan_case c[] = {chan_case_demand(a), chan_case_recv(done, NULL)};
		c[0].max = 1;
		MC_CHECK(chan_select(c, 2) == 0 && c[0].n == 1);
		n_sent += (int)chan_try_send_n(a, &values[1], 1);
	}
}

/* A receiver that may leave the line, and come again. */
static void receive_or_leave(void *arg)
{
	int x = 0, y = 0;
	(void)arg;
	struct chan_case c[] = {chan_case_recv(a, &x), chan_case_recv(b, &y)};
	if (chan_select(c, 2) == 0) {
		got(x);
		MC_CHECK(chan_recv(b, &y));
	} else {
		MC_CHECK(chan_recv(a, &x));
		got(x);
	}
	got(y);
}

static void setup_demand(void)
{
	make_chans();
	mc_go("pump", send_on_demand, NULL);
	mc_go("receive", receive_or_leave, NULL);
	mc_go("send to b", send_2, b);
}

/* It waits for demand, and would also receive there: it is no demand of its own. */
static void demand_or_receive(void *c)
{
	int x = 0;
	struct chan_case cases[] = {chan_case_demand(c), chan_case_recv(c, &x)};
	MC_CHECK(chan_select(cases, 2) == 1);
	got(x);
}

static void setup_demand_self(void)
{
	make_chans();
	mc_go("both", demand_or_receive, a);
	mc_go("send", send_1, a);
}

/*
 * A thread says something, and then looks for demand. A receiver that leaves the line, and hears
 * nothing, was not seen there. As the channel's pump does: "whether it is about to is asked first".
 */
static MC_GHOST size_t demand_seen;
static MC_GHOST int heard = -1;

static bool is_in_line(void *arg)
{
	const struct chan *c = arg;
	return atomic_load(&c->lock) == 0 && c->recvq.first;
}

static void say_and_look(void *c)
{
	if (mc_param("leaves", 1) == 0)
		mc_wait(is_in_line, c);
	atomic_store_explicit(&state, 1, memory_order_relaxed);
	demand_seen = chan_demand(c, 4);
	if (mc_param("leaves", 1) == 0)
		chan_send(c, &values[1]);
}

static void leave_and_hear(void *arg)
{
	int x = 0;
	(void)arg;
	struct chan_case c[] = {chan_case_recv(a, &x), chan_case_recv(b, &x)};
	chan_select(c, 2);
	got(x);
	heard = atomic_load_explicit(&state, memory_order_relaxed);
}

static void setup_look(void)
{
	make_chans();
	mc_go("look", say_and_look, a);
	mc_go("leave", leave_and_hear, NULL);
	if (mc_param("leaves", 1))
		mc_go("send to b", send_2, b);
}

static void end_look(void)
{
	MC_CHECK(n_got == 1 && (demand_seen == 0 || heard == 1));
	MC_CHECK(mc_param("leaves", 1) || demand_seen == 1);
}

/* --- the end of a chan ------------------------------------------------------------------------ */

/* The receiver of an answer frees the chan at once; the sender, and its parker, live on. */
static void receive_again(void *arg)
{
	int x = 0;
	(void)arg;
	struct chan_case c[] = {chan_case_recv(b, &x), chan_case_recv(done, NULL)};
	MC_CHECK(chan_select(c, 2) == 0);
	got(x);
}

static void receive_answer(void *arg)
{
	int x = 0;
	struct chan *c = a;
	(void)arg;
	MC_CHECK(chan_recv(c, &x));
	got(x);
	a = NULL;
	chan_free(c);
	mc_go("again", receive_again, NULL);
}

static void send_answer(void *arg)
{
	(void)arg;
	if (mc_param("select", 0)) {
		struct chan_case c[] = {chan_case_send(a, &values[1]), chan_case_recv(done, NULL)};
		MC_CHECK(chan_select(c, 2) == 0);
	} else {
		chan_send(a, &values[1]);
	}
	chan_send(b, &values[2]);
}

static void setup_answer(void)
{
	make_chans();
	mc_go("receive", receive_answer, NULL);
	mc_go("send", send_answer, NULL);
}

/* --- the lock --------------------------------------------------------------------------------- */

static MC_GHOST bool held;

static void lock_twice(void *c)
{
	for (int i = 0; i < 2; i++) {
		chan_lock(c);
		MC_CHECK(!held);
		held = true;
		mc_yield();
		held = false;
		chan_unlock(c);
	}
}

static void setup_lock(void)
{
	make_chans();
	mc_go("one", lock_twice, a);
	mc_go("two", lock_twice, a);
	mc_go("three", lock_twice, a);
}

const struct mc_scenario mc_scenarios[] = {
	{"senders", setup_senders, end_got_3},
	{"deal", setup_deal, end_deal},
	{"order", setup_order, end_got_3},
	{"select", setup_select, end_got_2},
	{"select-n", setup_select_n, end_got_2},
	{"mirror", setup_mirror, end_one_exchange},
	{"meet", setup_meet, end_one_exchange},
	{"close", setup_close, end_close},
	{"default", setup_default, end_got_1},
	{"try", setup_try, end_got_1},
	{"deadline", setup_deadline, end_deadline},
	{"signal", setup_signal, end_nothing},
	{"demand", setup_demand, end_got_2},
	{"demand-self", setup_demand_self, end_got_1},
	{"look", setup_look, end_look},
	{"answer", setup_answer, end_got_2},
	{"lock", setup_lock, end_nothing},
	{NULL, NULL, NULL},
};
