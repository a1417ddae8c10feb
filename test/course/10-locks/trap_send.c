/* SPDX-License-Identifier: MIT */
/* BROKEN: a thread sends over a chan while it holds a lock, and the receiver wants that lock. */
#include <stdio.h>

#include "common/chan.h"
#include "common/lock.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct rwlock lock; /* guards topics */
static int topics;
static struct chan *created; /* of int */
static struct gate creates_another;

static void create(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		rwlock_wrlock(&lock);
		topics++;
		if (i == 1)
			gate_open(&creates_another);
		chan_send(created, &topics); /* @sends */
		rwlock_unlock(&lock);
	}
	chan_close(created);
}

static void watch(void *arg)
{
	int which;

	(void)arg;
	while (chan_recv(created, &which)) {
		gate_wait(&creates_another);
		rwlock_rdlock(&lock); /* @reads */
		printf("%d of %d\n", which, topics);
		rwlock_unlock(&lock);
	}
}

int main(void)
{
	struct wait_group wg;

	rwlock_init(&lock, RANK_TOPICS);
	created = chan_new(sizeof(int), 0);
	wait_group_init(&wg);
	go(&wg, "create", create, NULL);
	go(&wg, "watch", watch, NULL);
	wait_group_wait(&wg); /* @waits */
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(created);
	rwlock_destroy(&lock);
	return 0;
}
