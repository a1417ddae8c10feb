/* SPDX-License-Identifier: MIT */
/* chan_give_room: a receiver that is parked without room gets some, and wakes only for values. */
#include "test/unit/chan_harness.h"

enum { MAX = 8 };

/* A thread in a select over c, with room or without, and other. */
struct receiver {
	struct chan *c, *other;
	struct chan_room room;
	int64_t tick_ns; /* over a ticker as well; 0: none */
	int index;
	bool ok;
	size_t n;
	int v[MAX];
	_Atomic bool woken;
};

static void receive(void *arg)
{
	struct receiver *r = arg;
	struct ticker t;
	struct chan_case cases[] = {chan_case_recv_room(r->c, r->v, MAX, &r->room),
		chan_case_recv(r->other, NULL), chan_case_tick(r->tick_ns ? &t : NULL)};
	if (r->tick_ns)
		ticker_after(&t, r->tick_ns);
	r->index = chan_select(cases, 3);
	r->ok = cases[0].ok;
	r->n = cases[0].n;
	r->woken = true;
}

/* Returns when n threads are parked on c without room. */
static void await_roomless(struct chan *c, size_t n)
{
	size_t now;
	for (;;) {
		chan_lock(c);
		now = c->roomless;
		chan_unlock(c);
		if (now == n)
			return;
		sleep_ns(20 * NSEC_PER_USEC);
	}
}

static void park(struct wait_group *wg, struct receiver *r, struct chan *c)
{
	*r = (struct receiver){.c = c, .other = chan_new(0, 0)};
	wait_group_init(wg);
	go(wg, receive, r);
	await_roomless(c, 1);
}

static void test_without_room_it_is_as_if_switched_off(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg;
	struct receiver r;
	int v = 7;
	park(&wg, &r, c);
	assert_int_equal(count_waiters(c, CHAN_RECV), 0);
	assert_int_equal(chan_demand(c, SIZE_MAX), 0);
	assert_int_equal(chan_try_send_n(c, &v, 1), 0);
	chan_close(c);
	chan_send(r.other, NULL);
	join(&wg);
	assert_int_equal(r.index, 1);
	assert_int_equal(r.room.n, 0);
	assert_int_equal(c->roomless, 0);
	chan_free(c);
	chan_free(r.other);
}

static void test_without_room_a_try_finds_nothing(void **state)
{
	struct chan *c = chan_new(sizeof(int), 1);
	struct chan_room room = {0};
	int v[2];
	struct chan_case cases[] = {chan_case_recv_room(c, v, 2, &room), chan_case_recv(NULL, v)};
	chan_send(c, &(int){5});
	assert_int_equal(chan_try_select(cases, 1), -1);
	assert_int_equal(chan_try_select(cases, 2), -1);
	chan_close(c);
	assert_int_equal(chan_try_select(cases, 2), -1);
	room.n = 1;
	assert_int_equal(chan_try_select(cases, 2), 0);
	assert_int_equal(v[0], 5);
	assert_int_equal(chan_try_select(cases, 2), 0);
	assert_false(cases[0].ok);
	chan_free(c);
}

static void test_with_room_it_takes_no_more(void **state)
{
	struct chan *c = chan_new(sizeof(int), 10);
	struct chan_room room = {.n = 3};
	int in[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, v[MAX];
	struct chan_case cc = chan_case_recv_room(c, v, MAX, &room);
	chan_send_n(c, in, 10);
	assert_int_equal(chan_select(&cc, 1), 0);
	assert_int_equal(cc.n, 3);
	room.n = 100; /* its array is smaller */
	assert_int_equal(chan_select(&cc, 1), 0);
	assert_int_equal(cc.n, 7);
	assert_int_equal(v[6], 10);
	chan_free(c);
}

static void test_given_room_it_stands_in_line_asleep(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg;
	struct receiver r;
	int v[3] = {1, 2, 3};
	park(&wg, &r, c);
	assert_true(chan_give_room(c, &r.room, 2));
	assert_int_equal(count_waiters(c, CHAN_RECV), 1);
	assert_int_equal(c->roomless, 0);
	assert_int_equal(chan_demand(c, SIZE_MAX), 2);
	assert_false(r.woken);
	assert_int_equal(chan_try_send_n(c, v, 3), 2);
	join(&wg);
	assert_int_equal(r.index, 0);
	assert_true(r.ok);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.v[1], 2);
	assert_int_equal(r.room.n, 2);
	chan_free(c);
	chan_free(r.other);
}

static void test_it_stands_at_the_end_of_the_line(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg[3];
	struct receiver r[3];
	/* The first to come is the last to be given room. */
	for (size_t i = 0; i < 3; i++) {
		r[i] = (struct receiver){.c = c, .other = chan_new(0, 0)};
		wait_group_init(&wg[i]);
		go(&wg[i], receive, &r[i]);
		await_roomless(c, i + 1);
	}
	for (int i = 2; i >= 0; i--)
		assert_true(chan_give_room(c, &r[i].room, 1));
	for (int i = 2; i >= 0; i--) {
		assert_int_equal(chan_try_send_n(c, &i, 1), 1);
		join(&wg[i]);
		assert_int_equal(r[i].v[0], i);
		chan_free(r[i].other);
	}
	chan_free(c);
}

static void test_nobody_there_without_room_is_told(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct chan_room room = {0};
	struct wait_group wg;
	struct receiver r;
	assert_false(chan_give_room(c, &room, 1));
	park(&wg, &r, c);
	assert_false(chan_give_room(c, &room, 1)); /* another one's */
	assert_true(chan_give_room(c, &r.room, 1));
	assert_false(chan_give_room(c, &r.room, 2)); /* has some */
	chan_send(c, &(int){1});
	join(&wg);
	assert_false(chan_give_room(c, &r.room, 1)); /* has left */
	assert_int_equal(r.room.n, 1);
	chan_free(c);
	chan_free(r.other);
}

static void test_more_than_the_array_is_cut(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg;
	struct receiver r;
	int v[MAX + 1] = {0};
	park(&wg, &r, c);
	assert_true(chan_give_room(c, &r.room, 1000));
	assert_int_equal(chan_demand(c, SIZE_MAX), MAX);
	assert_int_equal(chan_try_send_n(c, v, MAX + 1), MAX);
	join(&wg);
	assert_int_equal(r.room.n, MAX);
	chan_free(c);
	chan_free(r.other);
}

struct sender {
	struct chan *c;
	bool selects;
};

static void send_two(void *arg)
{
	struct sender *s = arg;
	int v[2] = {1, 2};
	struct chan_case cases[] = {chan_case_send_n(s->c, v, 2), chan_case_recv(NULL, NULL)};
	if (!s->selects)
		chan_send_n(s->c, v, 2);
	else if (chan_select(cases, 2) == 0 && cases[0].n < 2)
		chan_send_n(s->c, v + 1, 1);
}

/* In the buffer, with a sender that waits alone, with one that selects. */
static void test_given_room_it_takes_what_is_there(void **state)
{
	for (int kind = 0; kind < 3; kind++) {
		struct chan *c = chan_new(sizeof(int), kind == 0 ? 2 : 0);
		struct sender s = {c, kind == 2};
		struct wait_group wg, sender;
		struct receiver r;
		park(&wg, &r, c);
		wait_group_init(&sender);
		go(&sender, send_two, &s);
		if (kind == 0)
			join(&sender);
		else
			await_waiters(c, CHAN_SEND, 1);
		assert_true(chan_give_room(c, &r.room, 2));
		join(&wg);
		if (kind > 0)
			join(&sender);
		assert_int_equal(r.index, 0);
		assert_int_equal(r.n, 2);
		assert_int_equal(r.v[0], 1);
		chan_free(c);
		chan_free(r.other);
	}
}

static void test_given_room_it_learns_of_the_close(void **state)
{
	for (int before = 0; before < 2; before++) {
		struct chan *c = chan_new(sizeof(int), 0);
		struct wait_group wg;
		struct receiver r;
		park(&wg, &r, c);
		if (before)
			chan_close(c);
		assert_true(chan_give_room(c, &r.room, 1));
		if (!before)
			chan_close(c);
		join(&wg);
		assert_int_equal(r.index, 0);
		assert_false(r.ok);
		assert_int_equal(r.n, 0);
		chan_free(c);
		chan_free(r.other);
	}
}

/* What it was given it has, whatever it wakes for. */
static void test_served_elsewhere_it_sees_its_room(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg;
	struct receiver r;
	park(&wg, &r, c);
	assert_true(chan_give_room(c, &r.room, 3));
	chan_send(r.other, NULL);
	join(&wg);
	assert_int_equal(r.index, 1);
	assert_int_equal(r.room.n, 3);
	assert_int_equal(count_waiters(c, CHAN_RECV), 0);
	assert_int_equal(chan_demand(c, SIZE_MAX), 0);
	chan_free(c);
	chan_free(r.other);
}

/* It cannot leave its select, nor be forgotten, while somebody gives. */
static void test_dead_receivers_may_be_given_room(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct chan_case ask = chan_case_demand(c);
	struct wait_group wg;
	struct receiver r;
	park(&wg, &r, c);
	chan_lock(c); /* so that it can not leave */
	chan_send(r.other, NULL);
	assert_true(park_is_claimed(r.room.waiter->parker));
	chan_unlock(c);
	(void)chan_give_room(c, &r.room, 3);
	assert_int_equal(chan_demand(c, SIZE_MAX), 0);
	assert_int_equal(chan_try_select(&ask, 1), -1);
	join(&wg);
	assert_int_equal(r.index, 1);
	assert_null(r.room.waiter);
	assert_int_equal(c->roomless, 0);
	assert_int_equal(count_waiters(c, CHAN_RECV), 0);
	chan_free(c);
	chan_free(r.other);
}

static void ask(void *arg)
{
	struct chan_case cases[] = {chan_case_demand(arg), chan_case_recv(NULL, NULL)};
	CHECK(chan_select(cases, 2) == 0 && cases[0].n == 2);
}

static void test_given_room_it_is_demand(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg, asker;
	struct receiver r;
	int v[2] = {1, 2};
	park(&wg, &r, c);
	wait_group_init(&asker);
	go(&asker, ask, c);
	await_waiters(c, CHAN_DEMAND, 1);
	assert_true(chan_give_room(c, &r.room, 2));
	join(&asker);
	assert_int_equal(chan_try_send_n(c, v, 2), 2);
	join(&wg);
	chan_free(c);
	chan_free(r.other);
}

struct both {
	struct chan *c, *other;
	struct chan_room room;
	int index;
};

static void send_recv_and_demand(void *arg)
{
	struct both *b = arg;
	int v[2], out = 1;
	struct chan_case cases[] = {chan_case_recv_room(b->c, v, 2, &b->room),
		chan_case_send(b->c, &out), chan_case_demand(b->c), chan_case_recv(b->other, NULL)};
	b->index = chan_select(cases, 4);
}

static void test_a_select_does_not_meet_itself(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct both b = {.c = c, .other = chan_new(0, 0)};
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, send_recv_and_demand, &b);
	await_roomless(c, 1);
	assert_true(chan_give_room(c, &b.room, 1));
	await_waiters(c, CHAN_RECV, 1);
	await_waiters(c, CHAN_SEND, 1);
	chan_send(b.other, NULL);
	join(&wg);
	assert_int_equal(b.index, 3);
	assert_int_equal(count_waiters(c, CHAN_SEND) + count_waiters(c, CHAN_RECV), 0);
	chan_free(c);
	chan_free(b.other);
}

static void test_a_ticker_ends_it_with_room_and_without(void **state)
{
	for (int given = 0; given < 2; given++) {
		struct receiver r = {.c = chan_new(sizeof(int), 0), .tick_ns = NSEC_PER_MSEC};
		struct wait_group wg;
		wait_group_init(&wg);
		go(&wg, receive, &r);
		/* It may be over by then. */
		bool has = given && chan_give_room(r.c, &r.room, 1);
		join(&wg);
		assert_int_equal(r.index, 2);
		assert_int_equal(r.room.n, has);
		assert_null(r.room.waiter);
		chan_free(r.c);
	}
}

static void test_room_is_taken_from_the_first_in_line(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg[2];
	struct receiver r[2];
	assert_null(chan_take_room(c, 1));
	for (int i = 0; i < 2; i++) {
		park(&wg[i], &r[i], c);
		assert_true(chan_give_room(c, &r[i].room, 1));
	}
	assert_null(chan_take_room(c, 1)); /* nobody's: no owner */
	assert_int_equal(chan_demand(c, SIZE_MAX), 2);
	chan_lock(c);
	r[0].room.owner = &r[0];
	r[1].room.owner = &r[1];
	chan_unlock(c);
	assert_ptr_equal(chan_take_room(c, 1), &r[0]);
	assert_int_equal(chan_demand(c, SIZE_MAX), 1);
	assert_int_equal(c->roomless, 1);
	/* It can be given again, up to its array, and stands behind the other then. */
	assert_true(chan_give_room(c, &r[0].room, 1000));
	assert_int_equal(chan_demand(c, SIZE_MAX), 1 + MAX);
	assert_ptr_equal(chan_take_room(c, 1), &r[1]);
	assert_null(chan_take_room(c, MAX - 1)); /* it has more */
	assert_ptr_equal(chan_take_room(c, MAX), &r[0]);
	assert_int_equal(chan_demand(c, SIZE_MAX), 0);
	for (int i = 0; i < 2; i++) {
		assert_false(r[i].woken);
		chan_send(r[i].other, NULL);
		join(&wg[i]);
		assert_int_equal(r[i].index, 1);
		assert_int_equal(r[i].room.n, 0);
		chan_free(r[i].other);
	}
	assert_int_equal(c->roomless, 0);
	chan_free(c);
}

/* A thread that wakes for another case has its room still: nobody can take it any more. */
static void test_room_is_not_taken_from_the_dead(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg;
	struct receiver r;
	park(&wg, &r, c);
	assert_true(chan_give_room(c, &r.room, 1));
	chan_lock(c);
	r.room.owner = &r;
	chan_send(r.other, NULL);
	assert_false(chan_demand_locked(c, SIZE_MAX, NULL));
	chan_unlock(c);
	assert_null(chan_take_room(c, 1));
	join(&wg);
	assert_int_equal(r.room.n, 1);
	chan_free(c);
	chan_free(r.other);
}

static void recv_plain(void *arg)
{
	chan_recv(arg, NULL);
}

static void test_room_is_not_taken_where_there_is_no_chan_room(void **state)
{
	struct chan *c = chan_new(sizeof(int), 0);
	struct wait_group wg;
	wait_group_init(&wg);
	go(&wg, recv_plain, c);
	await_waiters(c, CHAN_RECV, 1);
	assert_null(chan_take_room(c, 1));
	chan_send(c, &(int){1});
	join(&wg);
	chan_free(c);
}

/* --- races ------------------------------------------------------------------------------------ */

struct race {
	struct receiver r;
	bool given;
};

static void close_it(void *arg)
{
	chan_close(((struct race *)arg)->r.c);
}

static void give_it(void *arg)
{
	struct race *x = arg;
	x->given = chan_give_room(x->r.c, &x->r.room, 2);
	if (!x->given)
		chan_send(x->r.other, NULL);
}

/* In any order: the receiver learns of the room or of its lack, once, and of the close. */
static void test_a_close_finds_room_given_or_taken_back(void **state)
{
	for (int i = 0; i < ROUNDS(2000); i++) {
		struct race x = {.r = {.c = chan_new(sizeof(int), 0), .other = chan_new(0, 0)}};
		struct wait_group wg;
		wait_group_init(&wg);
		go(&wg, receive, &x.r);
		go(&wg, give_it, &x);
		go(&wg, close_it, &x);
		join(&wg);
		assert_int_equal(x.r.index, x.given ? 0 : 1);
		assert_int_equal(x.r.room.n, x.given ? 2 : 0);
		assert_false(x.r.ok);
		chan_free(x.r.c);
		chan_free(x.r.other);
	}
}

/*
 * The daemon's use. A client has a pump that receives, and an io_loop that counts down what is in
 * flight and gives the pump room. Where the io_loop cannot, it tells the pump. The channel's pump
 * takes the room of those that have little, and serves them on their pumps' behalf. RDY changes all
 * the time, and is 0 now and then. A wake-up that is lost is a hang: values are left, and nobody
 * asks.
 */
struct client {
	struct world *w;
	struct chan_room room;
	struct chan *state_chan, *fin_chan;
	_Atomic bool delivery;
	_Atomic int ready, in_flight;
	int ready_max;
};

struct world {
	struct chan *source, *client_msg_chan, *exit, *done;
	_Atomic char *seen;
	_Atomic int got, served;
	int total;
};

static int client_room(struct client *c)
{
	int room = c->ready - c->in_flight;
	return room > 0 ? room < MAX ? room : MAX : 0;
}

/* How many it may have; if any, with the right to fill. */
static int begin_waiting(struct client *c)
{
	while (!atomic_exchange(&c->delivery, true)) {
		int room = client_room(c);
		if (room > 0)
			return room;
		c->delivery = false;
		if (client_room(c) == 0)
			break;
	}
	return 0;
}

/* As protocol_v2_pump.c has it. */
static void hand_back_delivery(struct client *c)
{
	int ready = c->ready, room = client_room(c);
	if (room > 0 && chan_give_room(c->w->client_msg_chan, &c->room, (size_t)room)) {
		if (c->ready != ready)
			chan_try_send_n(c->state_chan, NULL, 1);
		return;
	}
	c->delivery = false;
	if (client_room(c) > 0)
		chan_try_send_n(c->state_chan, NULL, 1);
}

static void client_pump(void *arg)
{
	struct client *c = arg;
	struct ticker t;
	int v[MAX], chosen;
	ticker_start(&t, 50 * NSEC_PER_USEC);
	do {
		c->room.n = (size_t)begin_waiting(c);
		struct chan_case cases[] = {
			chan_case_recv_room(c->w->client_msg_chan, v, MAX, &c->room),
			chan_case_recv(c->state_chan, NULL),
			chan_case_tick(rand_below(4) == 0 ? &t : NULL),
			chan_case_recv(c->w->exit, NULL)};
		chosen = chan_select(cases, 4);
		if (chosen == 0) {
			int n = (int)cases[0].n;
			CHECK(atomic_fetch_add(&c->in_flight, n) + n <= c->ready_max);
			chan_send_n(c->fin_chan, v, (size_t)n);
		}
		if (c->room.n > 0) {
			CHECK(c->delivery);
			c->delivery = false;
		}
	} while (chosen != 3);
}

static void client_io(void *arg)
{
	struct client *c = arg;
	int v[MAX];
	for (;;) {
		struct chan_case cases[] = {chan_case_recv_n(c->fin_chan, v, 1 + rand_below(MAX)),
			chan_case_recv(c->w->exit, NULL)};
		if (chan_select(cases, 2) != 0)
			return;
		int n = (int)cases[0].n, before = atomic_fetch_sub(&c->in_flight, n);
		for (int i = 0; i < n; i++)
			CHECK(atomic_fetch_add(&c->w->seen[v[i]], 1) == 0);
		if (before >= c->ready && !atomic_exchange(&c->delivery, true))
			hand_back_delivery(c);
		/* RDY, and what the client does about it later. */
		if (c->ready_max > 1 && rand_below(4) == 0) {
			c->ready = (int)rand_below((uint32_t)c->ready_max + 1);
			chan_try_send_n(c->state_chan, NULL, 1);
		}
		if (c->ready == 0 && c->in_flight == 0) {
			c->ready = c->ready_max;
			chan_try_send_n(c->state_chan, NULL, 1);
		}
		if (atomic_fetch_add(&c->w->got, n) + n == c->w->total)
			chan_send(c->w->done, NULL);
	}
}

/* protocol_v2_deliver_for_pump */
static bool serve(struct world *w, int v)
{
	struct client *c = chan_take_room(w->client_msg_chan, 1);
	if (!c)
		return false;
	CHECK(c->delivery);
	bool served = client_room(c) > 0;
	if (served) {
		CHECK(atomic_fetch_add(&c->in_flight, 1) < c->ready_max);
		chan_send(c->fin_chan, &v);
		w->served++;
	}
	hand_back_delivery(c);
	return served;
}

/* The channel's pump: takes only what consumers ask for. */
static void channel_pump(void *arg)
{
	struct world *w = arg;
	int v[16];
	for (;;) {
		size_t demand = chan_demand(w->client_msg_chan, SIZE_MAX);
		struct chan_case take[] = {
			chan_case_recv_n(w->source, v, demand < 16 ? demand : 16),
			chan_case_demand(demand ? NULL : w->client_msg_chan),
			chan_case_recv(w->exit, NULL)};
		int chosen = chan_select(take, 3);
		if (chosen == 2)
			return;
		size_t done = 0, have = chosen == 0 ? take[0].n : 0;
		while (done < have && serve(w, v[done]))
			done++;
		while (done < have) {
			struct chan_case hand_out[] = {
				chan_case_send_n(w->client_msg_chan, v + done, have - done),
				chan_case_recv(w->exit, NULL)};
			if (chan_select(hand_out, 2) != 0)
				return;
			done += hand_out[0].n;
		}
	}
}

static void run_world(int clients, int ready, bool in_bursts)
{
	struct world w = {.source = chan_new(sizeof(int), 1000),
		.client_msg_chan = chan_new(sizeof(int), 0),
		.exit = chan_new(0, 0),
		.done = chan_new(0, 1),
		.total = ROUNDS(40000)};
	struct client c[16] = {0};
	struct wait_group wg;
	w.seen = calloc((size_t)w.total, 1);
	wait_group_init(&wg);
	go(&wg, channel_pump, &w);
	for (int i = 0; i < clients; i++) {
		c[i] = (struct client){.w = &w,
			.state_chan = chan_new(0, 1),
			.fin_chan = chan_new(sizeof(int), 100),
			.ready = ready,
			.ready_max = ready};
		c[i].room.owner = &c[i];
		go(&wg, client_pump, &c[i]);
		go(&wg, client_io, &c[i]);
	}
	for (int i = 0; i < w.total; i++) {
		chan_send(w.source, &i);
		/* Now and then everybody has something to wait for. */
		if (in_bursts && i % 16 == 0)
			sleep_ns(10 * NSEC_PER_USEC);
	}
	chan_recv(w.done, NULL);
	chan_close(w.exit);
	join(&wg);
	assert_int_equal(w.got, w.total);
	for (int i = 0; i < clients; i++) {
		assert_null(c[i].room.waiter);
		chan_free(c[i].state_chan);
		chan_free(c[i].fin_chan);
	}
	assert_int_equal(w.client_msg_chan->roomless, 0);
	chan_free(w.source);
	chan_free(w.client_msg_chan);
	chan_free(w.exit);
	chan_free(w.done);
	free((void *)w.seen);
}

static void test_no_room_is_lost(void **state)
{
	run_world(1, 1, false);
	run_world(4, 1, false);
	run_world(16, 1, true);
}

static void test_no_room_is_lost_with_more_than_one(void **state)
{
	run_world(1, 3, false);
	run_world(5, 3, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_room_it_is_as_if_switched_off),
		cmocka_unit_test(test_without_room_a_try_finds_nothing),
		cmocka_unit_test(test_with_room_it_takes_no_more),
		cmocka_unit_test(test_given_room_it_stands_in_line_asleep),
		cmocka_unit_test(test_it_stands_at_the_end_of_the_line),
		cmocka_unit_test(test_nobody_there_without_room_is_told),
		cmocka_unit_test(test_more_than_the_array_is_cut),
		cmocka_unit_test(test_given_room_it_takes_what_is_there),
		cmocka_unit_test(test_given_room_it_learns_of_the_close),
		cmocka_unit_test(test_served_elsewhere_it_sees_its_room),
		cmocka_unit_test(test_dead_receivers_may_be_given_room),
		cmocka_unit_test(test_given_room_it_is_demand),
		cmocka_unit_test(test_a_select_does_not_meet_itself),
		cmocka_unit_test(test_a_ticker_ends_it_with_room_and_without),
		cmocka_unit_test(test_room_is_taken_from_the_first_in_line),
		cmocka_unit_test(test_room_is_not_taken_from_the_dead),
		cmocka_unit_test(test_room_is_not_taken_where_there_is_no_chan_room),
		cmocka_unit_test(test_a_close_finds_room_given_or_taken_back),
		cmocka_unit_test(test_no_room_is_lost),
		cmocka_unit_test(test_no_room_is_lost_with_more_than_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
