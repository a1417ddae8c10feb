/* SPDX-License-Identifier: MIT */
/* Two topics with room for three messages each. What finds no room goes to the disk. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct topic {
	struct chan *memory; /* of int */
	struct chan *disk;   /* of int; of both topics */
	int step;
};

/* Does not wait for room in memory. */
static void put(struct topic *t, int v)
{
	if (chan_try_send_n(t->memory, &v, 1) == 0)
		chan_send(t->disk, &v);
}

static void publish(void *arg)
{
	struct topic *t = arg;

	for (int i = 1; i <= 5; i++)
		put(t, i * t->step);
}

struct writer {
	struct chan *disk;
	int n, sum; /* written by its thread; main reads them after wait_group_wait */
};

static void write_all(void *arg)
{
	struct writer *w = arg;
	int v;

	while (chan_recv(w->disk, &v)) {
		w->n++;
		w->sum += v;
	}
}

/* Takes what is in memory now, and waits for nothing. */
static int collect(struct topic *a, struct topic *b, int *sum)
{
	int n = 0, v;

	for (;;) {
		struct chan_case cases[] = {
			chan_case_recv(a->memory, &v),
			chan_case_recv(b->memory, &v),
		};

		if (chan_try_select(cases, 2) < 0) /* default: neither has anything */
			return n;
		n++;
		*sum += v;
	}
}

int main(void)
{
	struct chan *disk = chan_new(sizeof(int), 0);
	struct topic a = {chan_new(sizeof(int), 3), disk, 1};
	struct topic b = {chan_new(sizeof(int), 3), disk, 10};
	struct writer w = {.disk = disk};
	struct wait_group publishers, writer;
	int sum = 0;

	wait_group_init(&publishers);
	wait_group_init(&writer);
	go(&writer, "writer", write_all, &w);
	go(&publishers, "publish", publish, &a);
	go(&publishers, "publish", publish, &b);
	wait_group_wait(&publishers);
	chan_close(disk);
	wait_group_wait(&writer);
	printf("on disk: %d messages, sum %d\n", w.n, w.sum);
	int n = collect(&a, &b, &sum);

	printf("in memory: %d messages, sum %d\n", n, sum);
	wait_group_destroy(&publishers);
	wait_group_destroy(&writer);
	gothread_drain();
	chan_free(a.memory);
	chan_free(b.memory);
	chan_free(disk);
	return 0;
}
