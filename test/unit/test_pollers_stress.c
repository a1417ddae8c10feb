/* SPDX-License-Identifier: MIT */
/*
 * netpoll: connections whose peers write, kick and hang up at random, while they yield, get threads
 * or none, set deadlines, and end. Nothing may be lost: when all is quiet, each has read what was
 * written, has seen the last kick, and its deadline has passed.
 */
#include "test/unit/poller_test.h"

#include "common/rand.h"

#define N_SLOTS 24
#define N_DRIVERS 3

/* A place for one connection after the other. Its driver opens it; every driver kicks it. */
struct slot {
	struct poll_desc *pd;
	struct netpoll *np;
	int fd, peer;

	pthread_mutex_t lock; /* guards open: a kick is for an open one */
	bool open;

	/* The claimer's. */
	int plain;
	uint32_t dice;
	int64_t due_ns;

	_Atomic bool busy, due;
	_Atomic int said, got;   /* bytes */
	_Atomic int asked, seen; /* kicks */
};

static struct slot slots[N_SLOTS];
static _Atomic bool calm; /* no more surprises: what is left is to be read, seen, and looked at */
static _Atomic int n_steps, n_runs, n_no_threads, n_refused, n_opened;

/* xorshift */
static uint32_t roll(uint32_t *dice, uint32_t n)
{
	*dice ^= *dice << 13;
	*dice ^= *dice >> 17;
	*dice ^= *dice << 5;
	return *dice % n;
}

static void enter_slot(struct slot *s)
{
	s->plain++;
	CHECK(!atomic_exchange(&s->busy, true));
}

static enum netpoll_next leave_slot(struct slot *s, enum netpoll_next next)
{
	atomic_store(&s->busy, false);
	s->plain++;
	return next;
}

static enum netpoll_next end_slot(struct slot *s)
{
	leave_slot(s, NETPOLL_OVER);
	close(s->fd);
	pthread_mutex_lock(&s->lock);
	netpoll_close(s->pd);
	s->open = false;
	pthread_mutex_unlock(&s->lock);
	return NETPOLL_OVER;
}

/* What every step and every run does. False: the peer has hung up. */
static bool look(struct slot *s)
{
	char buf[16];
	s->seen = s->asked;
	if (s->due && clock_mono_ns() >= s->due_ns) {
		s->due = false;
		netpoll_set_deadline(s->pd, 0);
	}
	for (;;) {
		ssize_t n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n > 0)
			s->got += (int)n;
		if (n == 0)
			return false;
		if (n < 0 || (n < (ssize_t)sizeof(buf) && !netpoll_hung_up(s->pd)))
			return true;
	}
}

static void maybe_set_deadline(struct slot *s)
{
	if (roll(&s->dice, 4) != 0)
		return;
	s->due_ns = clock_mono_ns() + roll(&s->dice, 2000) * NSEC_PER_USEC;
	s->due = true;
	netpoll_set_deadline(s->pd, s->due_ns);
}

static enum netpoll_next slot_step(void *arg)
{
	struct slot *s = arg;
	enter_slot(s);
	n_steps++;
	if (!look(s))
		return end_slot(s);
	if (calm)
		return leave_slot(s, NETPOLL_WAIT);
	maybe_set_deadline(s);
	switch (roll(&s->dice, 32)) {
	case 0:
	case 1:
		return leave_slot(s, NETPOLL_THREAD);
	case 2:
	case 3:
		return leave_slot(s, NETPOLL_YIELD);
	case 4:
		return roll(&s->dice, 8) == 0 ? end_slot(s) : leave_slot(s, NETPOLL_WAIT);
	default:
		return leave_slot(s, NETPOLL_WAIT);
	}
}

static enum netpoll_next slot_run(void *arg)
{
	struct slot *s = arg;
	enter_slot(s);
	n_runs++;
	if (!look(s) || roll(&s->dice, 32) == 0)
		return end_slot(s);
	maybe_set_deadline(s);
	/* What comes now is not looked at here. */
	if (roll(&s->dice, 2) == 0)
		sleep_ns(roll(&s->dice, 200) * NSEC_PER_USEC);
	return leave_slot(s, NETPOLL_WAIT);
}

static enum netpoll_next slot_no_thread(void *arg, const struct err *why)
{
	struct slot *s = arg;
	enter_slot(s);
	n_no_threads++;
	switch (roll(&s->dice, 4)) {
	case 0:
		return end_slot(s);
	case 1:
		return leave_slot(s, NETPOLL_THREAD);
	default:
		return leave_slot(s, NETPOLL_WAIT);
	}
}

static void slot_name(void *arg, char *out, size_t size)
{
	snprintf(out, size, "slot:%td", (struct slot *)arg - slots);
}

static const struct netpoll_ops slot_ops = {slot_step, slot_run, slot_no_thread, slot_name};

/* --- the drivers ------------------------------------------------------------------------------ */

static void open_slot(struct slot *s)
{
	int fds[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	s->fd = fds[0];
	s->peer = fds[1];
	s->said = s->got = 0;
	s->due = false;
	n_opened++;
	pthread_mutex_lock(&s->lock);
	s->pd = netpoll_open(s->np, s->fd, &slot_ops, s);
	s->open = true;
	pthread_mutex_unlock(&s->lock);
	netpoll_begin(s->pd);
}

static bool is_open(struct slot *s)
{
	pthread_mutex_lock(&s->lock);
	bool open = s->open;
	pthread_mutex_unlock(&s->lock);
	return open;
}

static void kick_slot(struct slot *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->open) {
		s->asked++;
		netpoll_kick(s->pd);
	}
	pthread_mutex_unlock(&s->lock);
}

/* Whether they arrive is seen at the end only if it is open still. */
static void say_some(struct slot *s, uint32_t n)
{
	char bytes[32] = {0};
	ssize_t sent = send(s->peer, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent > 0)
		s->said += (int)sent;
}

struct driver {
	uint32_t dice;
	int number;
};

static void drive(void *arg)
{
	struct driver *d = arg;
	for (int i = 0; i < 400; i++) {
		uint32_t any = roll(&d->dice, N_SLOTS);
		struct slot *own = &slots[any - any % N_DRIVERS + (uint32_t)d->number];
		if (!is_open(own)) {
			close(own->peer);
			open_slot(own);
		}
		switch (roll(&d->dice, 8)) {
		case 0:
			kick_slot(&slots[any]);
			break;
		case 1:
			if (roll(&d->dice, 8) == 0)
				shutdown(own->peer, SHUT_WR);
			break;
		case 2:
			sleep_ns(roll(&d->dice, 100) * NSEC_PER_USEC);
			break;
		default:
			say_some(own, 1 + roll(&d->dice, 32));
			break;
		}
	}
}

static _Atomic uint32_t n_created;

static int create_at_times(
	pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	if (strcmp(thread_name(), "poller") == 0 && n_created++ % 4 == 3) {
		n_refused++;
		return EAGAIN;
	}
	return pthread_create(id, attr, fn, arg);
}

static void init_slots(struct netpoll *np, uint32_t seed)
{
	for (int i = 0; i < N_SLOTS; i++) {
		slots[i] =
			(struct slot){.np = np, .dice = (seed * 2654435761u + (uint32_t)i * 2) | 1};
		pthread_mutex_init(&slots[i].lock, NULL);
		open_slot(&slots[i]);
	}
}

static void drive_all(struct driver *drivers)
{
	struct wait_group wg;
	calm = false;
	wait_group_init(&wg);
	for (int i = 0; i < N_DRIVERS; i++)
		go(&wg, drive, &drivers[i]);
	join(&wg);
	calm = true;
}

/* Nothing was lost. */
static void check_slots(void)
{
	for (int i = 0; i < N_SLOTS; i++) {
		struct slot *s = &slots[i];
		wait_for(!is_open(s) || (s->got == s->said && s->seen == s->asked && !s->due));
	}
}

static void end_slots(void)
{
	for (int i = 0; i < N_SLOTS; i++) {
		close(slots[i].peer);
		wait_for(!is_open(&slots[i]));
	}
}

static void test_nothing_is_lost(void **state)
{
	struct driver drivers[N_DRIVERS];
	struct err err = {0};
	const char *given = getenv("POLLERS_SEED");
	uint32_t seed = given ? (uint32_t)strtoul(given, NULL, 10) : (uint32_t)rand_u64();
	print_message("POLLERS_SEED=%u\n", seed);
	gothread_learns_limit = false;
	gothread_kept_max = 0;
	gothread_drain();
	gothread_create = create_at_times;
	struct netpoll *np = netpoll_new(&err);
	assert_int_equal(netpoll_start(np, &err), 0);
	init_slots(np, seed);
	for (int i = 0; i < N_DRIVERS; i++)
		drivers[i] = (struct driver){(seed + 77777u * (uint32_t)i) | 1, i};
	for (int round = 0; round < ROUNDS(200); round++) {
		drive_all(drivers);
		check_slots();
	}
	end_slots();
	netpoll_stop(np);
	netpoll_free(np);
	print_message("%d steps, %d runs, %d without a thread, %d opened\n", n_steps, n_runs,
		n_no_threads, n_opened);
	assert_true(n_runs > 0 && n_no_threads > 0 && n_opened > N_SLOTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
