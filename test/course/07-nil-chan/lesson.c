/* SPDX-License-Identifier: MIT */
/* Two chans become one. Each is switched off when it is closed. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct numbers {
	struct chan *out; /* of int */
	int from, to;
};

static void numbers(void *arg)
{
	struct numbers *n = arg;

	for (int i = n->from; i <= n->to; i++)
		chan_send(n->out, &i);
	chan_close(n->out);
}

struct merge {
	struct chan *in[2], *out; /* of int */
};

static void merge(void *arg)
{
	struct merge *m = arg;
	struct chan *a = m->in[0], *b = m->in[1];
	int v;

	while (a || b) {
		struct chan_case cases[] = {chan_case_recv(a, &v), chan_case_recv(b, &v)};
		int i = chan_select(cases, 2);

		if (cases[i].ok)
			chan_send(m->out, &v);
		else if (i == 0)
			a = NULL; /* never ready again */
		else
			b = NULL;
	}
	chan_close(m->out);
}

int main(void)
{
	struct numbers a = {chan_new(sizeof(int), 0), 1, 3};
	struct numbers b = {chan_new(sizeof(int), 0), 10, 100};
	struct merge m = {{a.out, b.out}, chan_new(sizeof(int), 0)};
	struct wait_group wg;
	int count = 0, sum = 0, v;

	wait_group_init(&wg);
	go(&wg, "numbers", numbers, &a);
	go(&wg, "numbers", numbers, &b);
	go(&wg, "merge", merge, &m);
	while (chan_recv(m.out, &v)) {
		count++;
		sum += v;
	}
	printf("%d %d\n", count, sum);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(a.out);
	chan_free(b.out);
	chan_free(m.out);
	return 0;
}
