/* SPDX-License-Identifier: MIT */
/*
 * Go's channels and select for pthreads (runtime/chan.go, runtime/select.go).
 *
 * A chan carries values of one size, copied in and out, in FIFO order between any number of senders
 * and receivers. Capacity 0 is a rendezvous. A value that is a pointer passes the ownership of what
 * it points to.
 *
 * Blocking calls block for ever: a thread that must be able to stop selects over an exit chan as
 * well. Any thread may call anything, at any time before chan_free. A call may take the chan's own
 * lock and no other. Only the first value in a buffer of more than 1 KB allocates. Without memory
 * that aborts, as chan_new does. Outside of select a NULL chan is a programming error and aborts
 * (Go blocks for ever). docs/channels.md has the full contract and the proofs.
 */
#ifndef COMMON_CHAN_H
#define COMMON_CHAN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/ticker.h"

struct chan;

/* make(chan T, cap). elem_size may be 0 (struct{}). Never NULL: no memory aborts. */
struct chan *chan_new(size_t elem_size, size_t cap);
/* The collector's part: no thread may use c any more. Buffered values are dropped. NULL is fine. */
void chan_free(struct chan *c);
/* close(c): receivers drain, then get "closed" at once. A second close, or a later send, aborts. */
void chan_close(struct chan *c);

/* c <- *v */
void chan_send(struct chan *c, const void *v);
/* *v, ok = <-c. Returns ok: false is closed and drained, *v is zeroed. v may be NULL: discard. */
bool chan_recv(struct chan *c, void *v);
/* len(c), cap(c). The length of a chan that others use is a snapshot. */
size_t chan_len(struct chan *c);
size_t chan_cap(const struct chan *c);

/*
 * Vectored calls do what n single calls in a row would do, under one lock and with at most one
 * wake-up per peer. v points to an array of values.
 */
/* Sends all n, blocking as needed. */
void chan_send_n(struct chan *c, const void *v, size_t n);
/* Receives 1..max, blocking for the first only. 0: closed and drained. */
size_t chan_recv_n(struct chan *c, void *v, size_t max);
/* select { case c <- *v: default: } for up to n values; returns how many went. */
size_t chan_try_send_n(struct chan *c, const void *v, size_t n);
/*
 * For a chan of capacity 1 that says "look again": puts a value there unless there is one. The
 * thread that takes the value sees all that the caller has written before. (With chan_try_send_n it
 * may not, if a value is there already: see docs/channels.md, "Signals".) Never blocks.
 */
void chan_signal(struct chan *c);
/* select { case *v = <-c: default: } for up to max. *closed (may be NULL): closed and drained. */
size_t chan_try_recv_n(struct chan *c, void *v, size_t max, bool *closed);

/*
 * How many values the receivers that are parked on c have room for, that is, what chan_try_send_n
 * would place without the buffer. Go has no such question. The channel's pump asks it, so that it
 * takes a message from its queues only when a consumer wants one. Counts up to most, and then looks
 * at no more receivers: there may be thousands.
 */
size_t chan_demand(struct chan *c, size_t most);

/*
 * Looking at what is buffered (chan_look.c). The values stay where they are, and no receiver waits
 * for longer than it takes. see is called with c's lock held, for up to max values behind the skip
 * oldest, in their order. It must be quick, and take no lock. So it may follow a pointer to what
 * nobody frees or changes before a receive. Returns how many were seen. Values of blocked senders
 * are not among them.
 */
size_t chan_look(struct chan *c, size_t skip, size_t max, void (*see)(void *arg, const void *value),
	void *arg);

enum chan_found {
	CHAN_FOUND, /* it was taken out of the buffer: *v is it */
	CHAN_ON,    /* not yet: call again */
	CHAN_NONE,  /* no value in the buffer is wanted */
};

/*
 * Takes one value out of the middle of the buffer. A call looks at up to max > 0 values, the newest
 * first, and a further one goes on where it stopped: *passed is 0 at first. So others use c between
 * the calls, and what they send or receive meanwhile makes it miss nothing that stays. (Another
 * taking out may.) wanted is called as see above.
 */
enum chan_found chan_take_out(struct chan *c, size_t *passed, size_t max,
	bool (*wanted)(void *arg, const void *value), void *arg, void *v);

enum chan_op {
	CHAN_SEND, /* case c <- v[0..max): ready if one value can go; moves n in 1..max */
	CHAN_RECV, /* case v[0..max) = <-c: n in 1..max, or n = 0 and !ok on closed and drained */
	CHAN_TICK, /* case <-ticker.C */
	/* Ready while a receiver of another thread is parked on c: n = its room; moves nothing. */
	CHAN_DEMAND,
};

/*
 * One case of a select. A NULL c (or ticker), and a SEND or RECV with max 0, is never ready: so the
 * pumps switch cases off.
 */
struct chan_case {
	enum chan_op op;
	bool ok; /* out, RECV: false when closed and drained */
	union {
		struct chan *c;
		struct ticker *ticker; /* TICK; private to the selecting thread */
	};
	void *v;    /* array of max values; RECV: NULL discards; SEND: NULL sends zeroes */
	size_t max; /* DEMAND: counts no further than this; 0: all */
	size_t n;   /* out: values moved by the chosen case */
};

/*
 * Initialisers for struct chan_case; v may be NULL if the value does not matter. (One helper
 * assigns field by field: gcc copies a compound literal, which costs some 10 ns per case.)
 */
static inline struct chan_case chan_case_make(enum chan_op op, struct chan *c, void *v, size_t max)
{
	struct chan_case cc;
	cc.op = op;
	cc.ok = false;
	cc.c = c;
	cc.v = v;
	cc.max = max;
	cc.n = 0;
	return cc;
}

static inline struct chan_case chan_case_send(struct chan *c, const void *v)
{
	return chan_case_make(CHAN_SEND, c, (void *)v, 1);
}

static inline struct chan_case chan_case_recv(struct chan *c, void *v)
{
	return chan_case_make(CHAN_RECV, c, v, 1);
}

static inline struct chan_case chan_case_send_n(struct chan *c, const void *v, size_t n)
{
	return chan_case_make(CHAN_SEND, c, (void *)v, n);
}

static inline struct chan_case chan_case_recv_n(struct chan *c, void *v, size_t max)
{
	return chan_case_make(CHAN_RECV, c, v, max);
}

static inline struct chan_case chan_case_tick(struct ticker *t)
{
	struct chan_case cc = chan_case_make(CHAN_TICK, NULL, NULL, 0);
	cc.ticker = t;
	return cc;
}

static inline struct chan_case chan_case_demand(struct chan *c)
{
	return chan_case_make(CHAN_DEMAND, c, NULL, 0);
}

/* More cases in one select abort (Go: 65536). */
#define CHAN_SELECT_MAX 64

/*
 * select {...} without default: blocks until a case is ready, runs it, returns its index. The
 * choice among several ready cases, expired tickers included, is random and fair. Without a live
 * case it blocks for ever.
 */
int chan_select(struct chan_case *cases, int ncases);
/* select {... default:}: returns -1 if no case is ready. */
int chan_try_select(struct chan_case *cases, int ncases);

#endif
