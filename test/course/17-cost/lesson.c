/* SPDX-License-Identifier: MIT */
/* Hand-overs are counted: there and back, one by one, and in batches. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

enum { MAX_BATCH = 50 };

struct pair {
	struct chan *there, *back; /* of int */
};

static void echo(void *arg)
{
	struct pair *p = arg;
	int v;

	while (chan_recv(p->there, &v))
		chan_send(p->back, &v);
	chan_close(p->back);
}

/* Returns how often a value went from one thread to the other. */
static int there_and_back(int rounds)
{
	struct pair p = {chan_new(sizeof(int), 0), chan_new(sizeof(int), 0)};
	struct wait_group wg;
	int hand_overs = 0, v;

	wait_group_init(&wg);
	go(&wg, "echo", echo, &p);
	for (int i = 0; i < rounds; i++) {
		chan_send(p.there, &i);
		hand_overs++;
		chan_recv(p.back, &v);
		hand_overs++;
	}
	chan_close(p.there);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(p.there);
	chan_free(p.back);
	return hand_overs;
}

struct producer {
	struct chan *out; /* of int */
	int values, batch;
};

static void produce(void *arg)
{
	struct producer *p = arg;
	int v[MAX_BATCH];

	for (int i = 0; i < p->values; i += p->batch) {
		for (int k = 0; k < p->batch; k++)
			v[k] = i + k;
		chan_send_n(p->out, v, (size_t)p->batch);
	}
	chan_close(p->out);
}

/* Returns the sum of the values; *hand_overs: how often some of them were handed over. */
static int stream(int values, int batch, int *hand_overs)
{
	struct producer p = {chan_new(sizeof(int), 0), values, batch};
	struct wait_group wg;
	int v[MAX_BATCH], sum = 0;
	size_t n;

	wait_group_init(&wg);
	go(&wg, "produce", produce, &p);
	*hand_overs = 0;
	while ((n = chan_recv_n(p.out, v, MAX_BATCH)) > 0) {
		++*hand_overs;
		for (size_t i = 0; i < n; i++)
			sum += v[i];
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(p.out);
	return sum;
}

int main(void)
{
	static const int batches[] = {1, 50};
	int hand_overs;

	printf("1000 rounds there and back: %d hand-overs\n", there_and_back(1000));
	for (int i = 0; i < 2; i++) {
		int sum = stream(1000, batches[i], &hand_overs);

		printf("1000 values by %d: %d hand-overs, sum %d\n", batches[i], hand_overs, sum);
	}
	gothread_drain();
	return 0;
}
