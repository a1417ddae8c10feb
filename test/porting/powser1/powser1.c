/* SPDX-License-Identifier: MIT */
/*
 * Power series as threads, after an idea of McIlroy's ("Squinting at power series"): a series gives
 * its next coefficient when it is asked, and operations are threads between series. The same
 * program as main.go. What Go does for free is here: each thread ends when the exit chan closes,
 * and what a series and its thread need is allocated in one list and freed at the end.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/gothread.h"
#include "common/xalloc.h"

enum { TERMS = 10 };

/* --- rational numbers --- */

struct rat {
	int64_t num, den;
};

static int64_t gcd(int64_t a, int64_t b)
{
	while (b != 0) {
		int64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a < 0 ? -a : a;
}

static struct rat mk(int64_t num, int64_t den)
{
	int64_t g = gcd(num, den);

	if (den < 0)
		g = -g;
	return (struct rat){num / g, den / g};
}

static struct rat rat_add(struct rat a, struct rat b)
{
	return mk(a.num * b.den + b.num * a.den, a.den * b.den);
}

static struct rat rat_mul(struct rat a, struct rat b)
{
	return mk(a.num * b.num, a.den * b.den);
}

/* --- series --- */

struct series {
	struct chan *req, *dat;
	struct series *f, *g, *out[2]; /* what its thread works with */
	struct rat c;
	struct series *next; /* all that were made */
};

static struct chan *exit_chan, *list_lock; /* a chan with room for one is a mutex */
static struct series *all;                 /* guarded by list_lock */
static struct wait_group threads;

static struct series *new_series(void)
{
	struct series *s = xcalloc(1, sizeof(*s));

	s->req = chan_new(0, 0);
	s->dat = chan_new(sizeof(struct rat), 0);
	chan_send(list_lock, NULL);
	s->next = all;
	all = s;
	chan_recv(list_lock, NULL);
	return s;
}

/* The thread that makes s out of f and g. */
static struct series *start(
	struct series *s, void (*fn)(void *), struct rat c, struct series *f, struct series *g)
{
	s->c = c;
	s->f = f;
	s->g = g;
	CHECK(wait_group_wrap(&threads, "series", fn, s, NULL) == 0);
	return s;
}

/* One step of a conversation. False: it is time to end. */
static bool step(struct chan_case cc)
{
	struct chan_case cases[] = {cc, chan_case_recv(exit_chan, NULL)};

	return chan_select(cases, 2) == 0;
}

static bool get(struct series *s, struct rat *r)
{
	return step(chan_case_send(s->req, NULL)) && step(chan_case_recv(s->dat, r));
}

static bool await(struct series *s)
{
	return step(chan_case_recv(s->req, NULL));
}

static bool give(struct series *s, struct rat r)
{
	return step(chan_case_send(s->dat, &r));
}

static void pass(struct series *s, struct series *from)
{
	struct rat r;

	while (await(s) && get(from, &r) && give(s, r))
		;
}

/* --- operations --- */

static const struct rat zero = {0, 1}, one = {1, 1};

static void run_ones(void *arg)
{
	while (await(arg) && give(arg, one))
		;
}

static struct series *ones(void)
{
	return start(new_series(), run_ones, zero, NULL, NULL);
}

static void run_add(void *arg)
{
	struct series *s = arg;
	struct rat a, b;

	while (await(s) && get(s->f, &a) && get(s->g, &b) && give(s, rat_add(a, b)))
		;
}

static struct series *add(struct series *f, struct series *g)
{
	return start(new_series(), run_add, zero, f, g);
}

static void run_scale(void *arg)
{
	struct series *s = arg;
	struct rat a;

	while (await(s) && get(s->f, &a) && give(s, rat_mul(s->c, a)))
		;
}

static struct series *scale(struct rat c, struct series *f)
{
	return start(new_series(), run_scale, c, f, NULL);
}

static void run_shift(void *arg)
{
	struct series *s = arg;

	if (await(s) && give(s, s->c))
		pass(s, s->f);
}

static struct series *shift(struct rat c, struct series *f)
{
	return start(new_series(), run_shift, c, f, NULL);
}

/* See main.go: all that can happen is one select, whose cases are switched on and off. */
static void run_split(void *arg)
{
	struct series *s = arg;
	struct rat *seen = NULL, next[2], answer = zero;
	size_t nseen = 0, at[2] = {0, 0};
	bool want[2] = {false, false}, asked = false;
	int i;

	for (;;) {
		struct chan *req[2] = {NULL, NULL}, *dat[2] = {NULL, NULL};
		struct chan *ask = NULL, *ans = NULL;

		for (i = 0; i < 2; i++) {
			if (!want[i]) {
				req[i] = s->out[i]->req;
			} else if (at[i] < nseen) {
				dat[i] = s->out[i]->dat;
				next[i] = seen[at[i]];
			} else if (asked) {
				ans = s->f->dat;
			} else {
				ask = s->f->req;
			}
		}
		struct chan_case cases[] = {chan_case_recv(req[0], NULL),
			chan_case_recv(req[1], NULL), chan_case_send(dat[0], &next[0]),
			chan_case_send(dat[1], &next[1]), chan_case_send(ask, NULL),
			chan_case_recv(ans, &answer), chan_case_recv(exit_chan, NULL)};

		switch (i = chan_select(cases, 7)) {
		case 0:
		case 1:
			want[i] = true;
			break;
		case 2:
		case 3:
			want[i - 2] = false;
			at[i - 2]++;
			break;
		case 4:
			asked = true;
			break;
		case 5:
			seen = xreallocarray(seen, nseen + 1, sizeof(*seen));
			seen[nseen++] = answer;
			asked = false;
			break;
		default:
			free(seen);
			return;
		}
	}
}

static void split(struct series *f, struct series **a, struct series **b)
{
	struct series *s = new_series(); /* only to hold what the thread needs */

	s->out[0] = *a = new_series();
	s->out[1] = *b = new_series();
	start(s, run_split, zero, f, NULL);
}

static struct series *mul(struct series *f, struct series *g);

/* (f0 + x F) (g0 + x G) = f0 g0 + x (f0 G + g0 F + x F G) */
static void run_mul(void *arg)
{
	struct series *s = arg, *f1, *f2, *g1, *g2;
	struct rat f0, g0;

	if (!await(s) || !get(s->f, &f0) || !get(s->g, &g0) || !give(s, rat_mul(f0, g0)))
		return;
	split(s->f, &f1, &f2);
	split(s->g, &g1, &g2);
	f1 = add(add(scale(f0, g1), scale(g0, f1)), shift(zero, mul(f2, g2)));
	pass(s, f1);
}

static struct series *mul(struct series *f, struct series *g)
{
	return start(new_series(), run_mul, zero, f, g);
}

static void run_deriv(void *arg)
{
	struct series *s = arg;
	struct rat a;

	if (!await(s) || !get(s->f, &a))
		return;
	for (int64_t n = 1; get(s->f, &a) && give(s, rat_mul(mk(n, 1), a)) && await(s); n++)
		;
}

static struct series *deriv(struct series *f)
{
	return start(new_series(), run_deriv, zero, f, NULL);
}

static void run_integ(void *arg)
{
	struct series *s = arg;
	struct rat a;

	if (!await(s) || !give(s, s->c))
		return;
	for (int64_t n = 1; await(s) && get(s->f, &a) && give(s, rat_mul(mk(1, n), a)); n++)
		;
}

static struct series *integ(struct rat c, struct series *f)
{
	return start(new_series(), run_integ, c, f, NULL);
}

/* The solution of e' = f' e: what it gives is fed back to it. */
static struct series *exponential(struct series *f)
{
	struct series *e = new_series(), *out, *back;

	split(e, &out, &back);
	start(e, run_integ, one, mul(deriv(f), back), NULL);
	return out;
}

/* 0 + 1 x + 0 x^2 + ... */
static struct series *x(void)
{
	return shift(zero, shift(one, scale(zero, ones())));
}

static void show(const char *name, struct series *s)
{
	struct rat r;

	printf("%s:", name);
	for (int i = 0; i < TERMS; i++) {
		CHECK(get(s, &r));
		if (r.den == 1)
			printf(" %" PRId64, r.num);
		else
			printf(" %" PRId64 "/%" PRId64, r.num, r.den);
	}
	printf("\n");
}

int main(void)
{
	exit_chan = chan_new(0, 0);
	list_lock = chan_new(0, 1);
	wait_group_init(&threads);
	show("1/(1-x)", ones());
	show("1/(1-x)+1/(1-x)", add(ones(), ones()));
	show("1/(1-x)^2", mul(ones(), ones()));
	show("(1/(1-x))'", deriv(ones()));
	show("-log(1-x)", integ(zero, ones()));
	show("exp(x)", exponential(x()));
	show("exp(-log(1-x))", exponential(integ(zero, ones())));
	show("exp(x)^2", mul(exponential(x()), exponential(x())));
	show("exp(x/(1-x))", exponential(shift(zero, ones())));
	chan_close(exit_chan);
	wait_group_wait(&threads);
	wait_group_destroy(&threads);
	gothread_drain();
	while (all) {
		struct series *s = all;

		all = s->next;
		chan_free(s->req);
		chan_free(s->dat);
		free(s);
	}
	chan_free(exit_chan);
	chan_free(list_lock);
	return 0;
}
