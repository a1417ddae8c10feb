/* SPDX-License-Identifier: MIT */
/*
 * Connections that wait for the network without a thread: netpoll.h has the idea. Mirrors
 * runtime/netpoll.go and netpoll_epoll.go. The threads "poller" run poller_loop; a connection with
 * a thread of its own runs thread_loop there.
 *
 * The claim. `word` says in which state a connection is, and the thread that has brought it to
 * RUNNING may use everything in it, until it parks it, closes it, or gives it a thread, which has
 * the claim then. AGAIN says that something has happened meanwhile. Only the fields of the lists are
 * guarded by the lock.
 *
 * Stale events. A poller may hold an event of a connection that another one has just closed. So a
 * poll_desc is never freed, as in Go: it goes to a free list, and its sequence number (fdseq) goes
 * up. An event carries the number that it was made for, and a claim compares the two.
 *
 * No event is lost. epoll tells once of what has come (EPOLLET). A step reads all of it, so what
 * comes after that is told anew, and finds the connection PARKED, or RUNNING: then the thread that
 * would park it finds AGAIN. A descriptor is in epoll only while pollers have it. When it comes
 * back, epoll tells at once if there is something to be read.
 *
 * Deadlines. A connection's deadline moves with each command, so it is not worth a heap operation
 * each time. The heap holds when to look at it: at its deadline or earlier, never later. A look that
 * comes too early plans the next one. The earliest look of all is the time of a timerfd, in epoll as
 * well.
 *
 * Lessons in docs/course/: 18-netpoller.
 */
#include "common/netpoll.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/heap.h"
#include "common/lock.h"
#include "common/park.h"
#include "common/xalloc.h"

/* At least so many, as one of them may be slow. */
#define MIN_POLLERS 2
#define MAX_POLLERS 64
/* Where there is no thread, or no memory: when to try again, at first and at most. */
#define RETRY_NS (20 * NSEC_PER_MSEC)
#define RETRY_EACH_NS (40 * NSEC_PER_USEC) /* more for each that waits */
#define RETRY_MAX_NS (1000 * NSEC_PER_MSEC)
/* The most deadlines that a poller takes in one go. */
#define TIMERS_AT_ONCE 16
/* Connections are made so many at a time. */
#define DESCS_AT_ONCE 64

/*
 * A connection's state: the low bits of its word. Above them: has something happened while it ran?
 * Has it hung up? And its sequence number.
 */
enum state { FREE, PARKED, RUNNING };
#define STATE_MASK 3u
#define AGAIN 4u
#define HUNG_UP 8u
#define SEQ_SHIFT 4

/* What an event carries: a pointer, and in its upper bits, which are all zero, a sequence number. */
#define POINTER_BITS 48

struct poll_desc {
	_Atomic uint32_t word; /* atomic; see "The claim" */
	int fd;                /* immutable while it is open, as are the next three */
	struct netpoll *np;
	const struct netpoll_ops *ops;
	void *arg;
	_Atomic int64_t look_ns;    /* written under np->lock; INT64_MAX: it is not in the heap */
	struct heap_node heap_node; /* guarded by np->lock */
	struct poll_desc *next;     /* in the free list, or in a queue */

	/* The claimer's. */
	int64_t deadline_ns;
	bool registered;   /* fd is in epoll */
	bool needs_thread; /* there was none: the next try is at retry_ns */
	int64_t retry_ns;  /* also where epoll has refused fd */
};

/* Connections that are claimed, first come, first served. */
struct queue {
	struct poll_desc *first, **last;
};

struct netpoll {
	int epoll_fd; /* immutable */
	int wake_fd;  /* immutable; an eventfd: somebody is kicked, or all is over */
	int timer_fd; /* immutable */
	_Atomic bool stopping;
	_Atomic size_t n_waiting; /* atomic; connections that need a thread */

	struct mutex lock; /* a leaf; guards the next five */
	struct poll_desc *free;
	struct queue kicked;       /* claimed for the next poller */
	struct heap looks;         /* by look_ns */
	int64_t timer_ns;          /* what timer_fd is set to; INT64_MAX: off */
	struct desc_block *blocks; /* owned */

	struct wait_group pollers;
	struct wait_group threads; /* of connections */
};

struct desc_block {
	struct desc_block *next;
	struct poll_desc descs[DESCS_AT_ONCE];
};

/* The queue of the calling poller, as the run queue of a P in Go. NULL: it is no poller. */
static _Thread_local struct queue *run_queue;

/* --- the claim -------------------------------------------------------------------------------- */

static enum state state_of(uint32_t word)
{
	return (enum state)(word & STATE_MASK);
}

static uint16_t seq_of(uint32_t word)
{
	return (uint16_t)(word >> SEQ_SHIFT);
}

/* The same word, but with this state. */
static uint32_t with_state(uint32_t word, enum state state)
{
	return (word & ~STATE_MASK) | state;
}

static uint16_t current_seq(struct poll_desc *pd)
{
	return seq_of(atomic_load_explicit(&pd->word, memory_order_relaxed));
}

/*
 * Something has happened to it; with is HUNG_UP or 0. True: the caller runs it now. False: another
 * thread does, or it is gone. (It writes also where AGAIN is set already: so release, which clears
 * that, sees what the caller has written before.)
 */
static bool claim(struct poll_desc *pd, uint16_t seq, uint32_t with)
{
	park_perturb(PERTURB_POLL);
	uint32_t seen = atomic_load(&pd->word);
	enum state state;
	do {
		state = state_of(seen);
		if (seq_of(seen) != seq || state == FREE)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&pd->word, &seen,
		(state == PARKED ? with_state(seen, RUNNING) : seen | AGAIN) | with,
		memory_order_acq_rel, memory_order_relaxed));
	return state == PARKED;
}

/* The end of a claim. False: something has happened meanwhile, and the caller runs it on. */
static bool release(struct poll_desc *pd)
{
	park_perturb(PERTURB_POLL);
	uint32_t seen = atomic_load_explicit(&pd->word, memory_order_relaxed);
	while (!(seen & AGAIN)) {
		if (atomic_compare_exchange_weak_explicit(&pd->word, &seen,
			    with_state(seen, PARKED), memory_order_release, memory_order_relaxed))
			return true;
	}
	atomic_fetch_and_explicit(&pd->word, ~AGAIN, memory_order_acquire);
	return false;
}

bool netpoll_hung_up(struct poll_desc *pd)
{
	return atomic_load_explicit(&pd->word, memory_order_relaxed) & HUNG_UP;
}

bool netpoll_is_short_of_threads(struct netpoll *np)
{
	return atomic_load_explicit(&np->n_waiting, memory_order_relaxed) > 0;
}

/* --- deadlines -------------------------------------------------------------------------------- */

static struct poll_desc *desc_of(struct heap_node *n)
{
	return (struct poll_desc *)((char *)n - offsetof(struct poll_desc, heap_node));
}

/* Sets the timer to the earliest look, if that has come nearer, or if the timer has run out. */
static void set_timer_locked(struct netpoll *np)
{
	mutex_assert_held(&np->lock);
	int64_t least = heap_least(&np->looks);
	if (least >= np->timer_ns)
		return;
	/* 0 would switch it off. */
	int64_t ns = least > 0 ? least : 1;
	struct itimerspec when = {
		.it_value = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC}};
	CHECK(timerfd_settime(np->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
	np->timer_ns = least;
}

/* When the claimer wants to be called next. */
static int64_t wanted_look(const struct poll_desc *pd)
{
	if (pd->needs_thread)
		return pd->retry_ns;
	int64_t look = pd->deadline_ns != 0 ? pd->deadline_ns : INT64_MAX;
	return !pd->registered && pd->retry_ns < look ? pd->retry_ns : look;
}

/*
 * When the claimer is looked at. Not in order with anything: to a thread that reads it too early or
 * too late `word` says what it has missed (docs/memory-order.md).
 */
static int64_t planned_look(const struct poll_desc *pd)
{
	return atomic_load_explicit(&pd->look_ns, memory_order_relaxed);
}

static void set_look_locked(struct poll_desc *pd, int64_t look)
{
	mutex_assert_held(&pd->np->lock);
	atomic_store_explicit(&pd->look_ns, look, memory_order_relaxed);
}

/* Before the end of a claim. A planned look that is early enough will do. */
static void plan_look(struct poll_desc *pd)
{
	struct netpoll *np = pd->np;
	int64_t look = wanted_look(pd), planned = planned_look(pd);
	park_perturb(PERTURB_POLL);
	if (look >= planned)
		return;
	mutex_lock(&np->lock);
	planned = planned_look(pd);
	if (planned == INT64_MAX)
		heap_push(&np->looks, &pd->heap_node, look);
	else
		heap_fix(&np->looks, &pd->heap_node, look);
	set_look_locked(pd, look);
	set_timer_locked(np);
	mutex_unlock(&np->lock);
}

static void forget_look_locked(struct poll_desc *pd)
{
	mutex_assert_held(&pd->np->lock);
	if (planned_look(pd) == INT64_MAX)
		return;
	heap_remove(&pd->np->looks, &pd->heap_node);
	heap_trim(&pd->np->looks);
	set_look_locked(pd, INT64_MAX);
}

/* A connection as an event knows it. */
struct tagged {
	struct poll_desc *pd;
	uint16_t seq;
};

/* Those that are to be looked at now, at most TIMERS_AT_ONCE. The timer is set to the next ones. */
static int take_due(struct netpoll *np, struct tagged *due)
{
	int n = 0;
	int64_t now = clock_mono_ns();
	mutex_lock(&np->lock);
	while (n < TIMERS_AT_ONCE && heap_least(&np->looks) <= now) {
		struct poll_desc *pd = desc_of(heap_peek(&np->looks));
		due[n++] = (struct tagged){pd, current_seq(pd)};
		forget_look_locked(pd);
	}
	np->timer_ns = INT64_MAX;
	set_timer_locked(np);
	mutex_unlock(&np->lock);
	return n;
}

/* --- connections ------------------------------------------------------------------------------ */

static void add_block_locked(struct netpoll *np)
{
	mutex_assert_held(&np->lock);
	struct desc_block *b = xcalloc(1, sizeof(*b));
	b->next = np->blocks;
	np->blocks = b;
	for (size_t i = 0; i < DESCS_AT_ONCE; i++) {
		struct poll_desc *pd = &b->descs[i];
		CHECK((uintptr_t)pd >> POINTER_BITS == 0);
		pd->np = np;
		atomic_init(&pd->look_ns, INT64_MAX);
		pd->next = np->free;
		np->free = pd;
	}
}

struct poll_desc *netpoll_open(struct netpoll *np, int fd, const struct netpoll_ops *ops, void *arg)
{
	mutex_lock(&np->lock);
	if (!np->free)
		add_block_locked(np);
	struct poll_desc *pd = np->free;
	np->free = pd->next;
	mutex_unlock(&np->lock);
	pd->fd = fd;
	pd->ops = ops;
	pd->arg = arg;
	pd->deadline_ns = 0;
	pd->registered = pd->needs_thread = false;
	uint32_t free = atomic_load_explicit(&pd->word, memory_order_relaxed);
	atomic_store(&pd->word, with_state(free, RUNNING));
	return pd;
}

void netpoll_close(struct poll_desc *pd)
{
	struct netpoll *np = pd->np;
	mutex_lock(&np->lock);
	forget_look_locked(pd);
	uint16_t next_seq = (uint16_t)(current_seq(pd) + 1);
	atomic_store_explicit(
		&pd->word, (uint32_t)next_seq << SEQ_SHIFT | FREE, memory_order_relaxed);
	pd->next = np->free;
	np->free = pd;
	mutex_unlock(&np->lock);
}

void netpoll_set_deadline(struct poll_desc *pd, int64_t deadline_ns)
{
	pd->deadline_ns = deadline_ns;
}

/* --- the queues of claimed connections -------------------------------------------------------- */

static void queue_init(struct queue *q)
{
	*q = (struct queue){NULL, &q->first};
}

static void enqueue(struct queue *q, struct poll_desc *pd)
{
	pd->next = NULL;
	*q->last = pd;
	q->last = &pd->next;
}

static struct poll_desc *dequeue(struct queue *q)
{
	struct poll_desc *pd = q->first;
	if (pd && !(q->first = pd->next))
		q->last = &q->first;
	return pd;
}

static void wake_a_poller(struct netpoll *np)
{
	CHECK(eventfd_write(np->wake_fd, 1) == 0);
}

/* For the next poller that comes by. */
static void give_away(struct poll_desc *pd)
{
	struct netpoll *np = pd->np;
	mutex_lock(&np->lock);
	bool first = !np->kicked.first;
	enqueue(&np->kicked, pd);
	mutex_unlock(&np->lock);
	/* The poller that has been woken for the first sees to it that all are taken. */
	if (first)
		wake_a_poller(np);
}

void netpoll_begin(struct poll_desc *pd)
{
	if (run_queue)
		enqueue(run_queue, pd);
	else
		give_away(pd);
}

void netpoll_kick(struct poll_desc *pd)
{
	if (claim(pd, current_seq(pd), 0))
		give_away(pd);
}

/* Takes some of those, and leaves the others to another poller: one may be slow. */
static void take_kicked(struct netpoll *np)
{
	eventfd_t ignored;
	(void)eventfd_read(np->wake_fd, &ignored);
	mutex_lock(&np->lock);
	for (int i = 0; i < NETPOLL_EVENTS && np->kicked.first; i++)
		enqueue(run_queue, dequeue(&np->kicked));
	bool more = np->kicked.first;
	mutex_unlock(&np->lock);
	if (more)
		wake_a_poller(np);
}

/* --- steps ------------------------------------------------------------------------------------ */

/*
 * In epoll, so that it is told of what comes, and of what is there. If the kernel has no memory for
 * that, a step looks for itself in a while.
 */
static void enter_epoll(struct poll_desc *pd)
{
	if (pd->registered)
		return;
	uint64_t tagged = (uint64_t)(uintptr_t)pd | (uint64_t)current_seq(pd) << POINTER_BITS;
	struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u64 = tagged};
	park_perturb(PERTURB_POLL);
	pd->registered = epoll_ctl(pd->np->epoll_fd, EPOLL_CTL_ADD, pd->fd, &e) == 0;
	park_perturb(PERTURB_POLL);
	if (!pd->registered && !pd->needs_thread)
		pd->retry_ns = clock_mono_ns() + RETRY_NS;
}

static void leave_epoll(struct poll_desc *pd)
{
	if (pd->registered)
		CHECK(epoll_ctl(pd->np->epoll_fd, EPOLL_CTL_DEL, pd->fd, NULL) == 0);
	pd->registered = false;
}

/* The claimer has nothing more to do. WAIT: it is parked. Else it goes on. */
static enum netpoll_next park(struct poll_desc *pd)
{
	enter_epoll(pd);
	plan_look(pd);
	return release(pd) ? NETPOLL_WAIT : NETPOLL_YIELD;
}

static enum netpoll_next take_step(struct poll_desc *pd)
{
	if (pd->needs_thread)
		return clock_mono_ns() < pd->retry_ns ? park(pd) : NETPOLL_THREAD;
	enum netpoll_next next = pd->ops->step(pd->arg);
	return next == NETPOLL_WAIT ? park(pd) : next;
}

/* --- threads of connections ------------------------------------------------------------------- */

/* In its thread, or in one that does for it. What is unread then is told when it comes back. */
static enum netpoll_next run(struct poll_desc *pd)
{
	leave_epoll(pd);
	return pd->ops->run(pd->arg);
}

static void thread_loop(void *arg)
{
	struct poll_desc *pd = arg;
	enum netpoll_next next;
	do {
		next = run(pd);
		if (next == NETPOLL_WAIT)
			next = park(pd);
		while (next == NETPOLL_YIELD)
			next = take_step(pd);
	} while (next == NETPOLL_THREAD);
}

/* In how long to try again: soon, but together not so often that it would cost much. */
static int64_t retry_in(struct netpoll *np)
{
	int64_t retry =
		RETRY_NS +
		(int64_t)atomic_load_explicit(&np->n_waiting, memory_order_relaxed) * RETRY_EACH_NS;
	return retry < RETRY_MAX_NS ? retry : RETRY_MAX_NS;
}

/* There is no thread for it. */
static enum netpoll_next do_without(struct poll_desc *pd, const struct err *why)
{
	enum netpoll_next next = pd->ops->no_thread(pd->arg, why);
	if (next == NETPOLL_THREAD)
		next = run(pd);
	else if (next == NETPOLL_WAIT) {
		pd->needs_thread = true;
		pd->retry_ns = clock_mono_ns() + retry_in(pd->np);
		atomic_fetch_add_explicit(&pd->np->n_waiting, 1, memory_order_relaxed);
	}
	return next == NETPOLL_WAIT ? park(pd) : next;
}

static void stop_waiting(struct poll_desc *pd)
{
	if (pd->needs_thread)
		atomic_fetch_sub_explicit(&pd->np->n_waiting, 1, memory_order_relaxed);
	pd->needs_thread = false;
}

/* WAIT: it has a thread, or waits for one. */
static enum netpoll_next give_thread(struct poll_desc *pd)
{
	char name[160];
	struct err err;
	stop_waiting(pd);
	pd->ops->thread_name(pd->arg, name, sizeof(name));
	if (!gothread_is_scarce(1, &err) &&
		wait_group_wrap(&pd->np->threads, name, thread_loop, pd, &err) == 0)
		return NETPOLL_WAIT;
	return do_without(pd, &err);
}

/* --- the pollers ------------------------------------------------------------------------------ */

/* A turn of a claimed connection; it may get a further one when others have had theirs. */
static void take_turn(struct poll_desc *pd)
{
	enum netpoll_next next = take_step(pd);
	if (next == NETPOLL_THREAD)
		next = give_thread(pd);
	if (next == NETPOLL_YIELD || next == NETPOLL_THREAD)
		enqueue(run_queue, pd);
}

static void on_timer(struct netpoll *np)
{
	struct tagged due[TIMERS_AT_ONCE];
	uint64_t ignored;
	(void)!read(np->timer_fd, &ignored, sizeof(ignored));
	int n = take_due(np, due);
	int64_t now = clock_mono_ns();
	for (int i = 0; i < n; i++) {
		struct poll_desc *pd = due[i].pd;
		if (!claim(pd, due[i].seq, 0))
			continue;
		/* It may have been looked at too early, as its deadline has moved. */
		if (wanted_look(pd) <= now || park(pd) != NETPOLL_WAIT)
			enqueue(run_queue, pd);
	}
}

static void on_event(struct netpoll *np, const struct epoll_event *e)
{
	uint64_t pointer = e->data.u64 & ((UINT64_C(1) << POINTER_BITS) - 1);
	bool hung_up = e->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	struct poll_desc *pd = (struct poll_desc *)(uintptr_t)pointer;
	if (e->data.u64 == (uint64_t)np->wake_fd)
		take_kicked(np);
	else if (e->data.u64 == (uint64_t)np->timer_fd)
		on_timer(np);
	else if (claim(pd, (uint16_t)(e->data.u64 >> POINTER_BITS), hung_up ? HUNG_UP : 0))
		take_turn(pd);
}

/* One turn for each that is in the queue now. */
static void take_turns(struct queue *q)
{
	struct poll_desc *pd;
	if (!q->first)
		return;
	struct queue now = *q;
	queue_init(q);
	while ((pd = dequeue(&now)))
		take_turn(pd);
}

static void poller_loop(void *arg)
{
	struct netpoll *np = arg;
	struct queue queue;
	queue_init(&queue);
	run_queue = &queue;
	while (!atomic_load(&np->stopping)) {
		struct epoll_event events[NETPOLL_EVENTS];
		int n = epoll_wait(np->epoll_fd, events, NETPOLL_EVENTS, queue.first ? 0 : -1);
		CHECK(n >= 0 || errno == EINTR);
		for (int i = 0; i < n; i++)
			on_event(np, &events[i]);
		take_turns(&queue);
	}
	run_queue = NULL;
	/* The next one is to see it, too. */
	wake_a_poller(np);
}

/* --- life ------------------------------------------------------------------------------------- */

static int watch_own(struct netpoll *np, int fd)
{
	/* Small numbers: no pointer is like that. */
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = (uint64_t)fd};
	return fd < 0 ? -1 : epoll_ctl(np->epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

struct netpoll *netpoll_new(struct err *err)
{
	struct netpoll *np = xcalloc(1, sizeof(*np));
	mutex_init(&np->lock, RANK_LEAF);
	queue_init(&np->kicked);
	np->timer_ns = INT64_MAX;
	wait_group_init(&np->pollers);
	wait_group_init(&np->threads);
	np->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	np->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	np->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (np->epoll_fd >= 0 && watch_own(np, np->wake_fd) == 0 &&
		watch_own(np, np->timer_fd) == 0)
		return np;
	err_errno(err, errno, "epoll");
	netpoll_free(np);
	return NULL;
}

static int n_pollers(void)
{
	cpu_set_t cpus;
	int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : MIN_POLLERS;
	return n < MIN_POLLERS ? MIN_POLLERS : n > MAX_POLLERS ? MAX_POLLERS : n;
}

int netpoll_start(struct netpoll *np, struct err *err)
{
	for (int i = n_pollers(); i > 0; i--) {
		if (wait_group_wrap(&np->pollers, "poller", poller_loop, np, err) != 0) {
			netpoll_stop(np);
			return -1;
		}
	}
	return 0;
}

void netpoll_stop(struct netpoll *np)
{
	/* The last steps of connections that had threads are over: what is left is to return. */
	wait_group_wait(&np->threads);
	atomic_store(&np->stopping, true);
	wake_a_poller(np);
	wait_group_wait(&np->pollers);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void netpoll_free(struct netpoll *np)
{
	if (!np)
		return;
	CHECK(np->looks.len == 0 && !np->kicked.first);
	close_fd(np->epoll_fd);
	close_fd(np->wake_fd);
	close_fd(np->timer_fd);
	while (np->blocks) {
		struct desc_block *b = np->blocks;
		np->blocks = b->next;
		free(b);
	}
	heap_free(&np->looks);
	wait_group_destroy(&np->pollers);
	wait_group_destroy(&np->threads);
	mutex_destroy(&np->lock);
	free(np);
}
