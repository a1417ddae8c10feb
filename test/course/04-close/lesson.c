/* SPDX-License-Identifier: MIT */
/* One thread makes squares, two add them up, and close tells them that no more will come. */
#include <stdbool.h>
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

static void make_squares(void *arg)
{
	struct chan *out = arg;

	for (int i = 1; i <= 100; i++) {
		int v = i * i;

		chan_send(out, &v);
	}
	chan_close(out);
}

struct adder {
	struct chan *in, *sums; /* of int */
};

static void add(void *arg)
{
	struct adder *a = arg;
	int sum = 0, v;

	while (chan_recv(a->in, &v))
		sum += v;
	chan_send(a->sums, &sum);
}

int main(void)
{
	struct adder a = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0)};
	struct wait_group wg;
	int one, other, v;

	wait_group_init(&wg);
	go(&wg, "make_squares", make_squares, a.in);
	go(&wg, "add", add, &a);
	go(&wg, "add", add, &a);
	chan_recv(a.sums, &one);
	chan_recv(a.sums, &other);
	printf("%d\n", one + other);
	bool ok = chan_recv(a.in, &v);
	printf("%d %s\n", v, ok ? "true" : "false");
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(a.in);
	chan_free(a.sums);
	return 0;
}
