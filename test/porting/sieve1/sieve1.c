/* SPDX-License-Identifier: MIT */
/*
 * The prime sieve as a chain of threads, each of which lets pass what its prime does not divide.
 * The same program as main.go, but for one thing: Go's main returns, and all its goroutines are
 * gone. Here each thread must be told to end, so wherever it could block it also listens to an exit
 * chan.
 */
#include <stdbool.h>
#include <stdio.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/gothread.h"

enum { PRIMES = 100 };

static struct chan *exit_chan;

/* False: it is time to end. */
static bool send_or_exit(struct chan *c, int v)
{
	struct chan_case cases[] = {chan_case_send(c, &v), chan_case_recv(exit_chan, NULL)};

	return chan_select(cases, 2) == 0;
}

static bool recv_or_exit(struct chan *c, int *v)
{
	struct chan_case cases[] = {chan_case_recv(c, v), chan_case_recv(exit_chan, NULL)};

	return chan_select(cases, 2) == 0;
}

static void generate(void *out)
{
	for (int i = 2; send_or_exit(out, i); i++)
		;
}

struct filter {
	struct chan *in, *out;
	int prime;
};

static void filter(void *arg)
{
	struct filter *f = arg;
	int i;

	while (recv_or_exit(f->in, &i))
		if (i % f->prime != 0 && !send_or_exit(f->out, i))
			return;
}

int main(void)
{
	struct filter filters[PRIMES];
	struct chan *in = chan_new(sizeof(int), 0), *first = in;
	struct wait_group wg;

	exit_chan = chan_new(0, 0);
	wait_group_init(&wg);
	CHECK(wait_group_wrap(&wg, "generate", generate, in, NULL) == 0);
	for (int i = 0; i < PRIMES; i++) {
		struct filter *f = &filters[i];

		f->in = in;
		f->out = chan_new(sizeof(int), 0);
		chan_recv(in, &f->prime);
		printf("%d\n", f->prime);
		CHECK(wait_group_wrap(&wg, "filter", filter, f, NULL) == 0);
		in = f->out;
	}
	chan_close(exit_chan);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(first);
	for (int i = 0; i < PRIMES; i++)
		chan_free(filters[i].out);
	chan_free(exit_chan);
	return 0;
}
