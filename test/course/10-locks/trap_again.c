/* SPDX-License-Identifier: MIT */
/* BROKEN: a thread takes a read lock that it holds already, and in between a writer has come. */
#include <sched.h>
#include <stdio.h>

#include "common/lock.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct rwlock lock; /* guards depths */
static int depths[3] = {1, 2, 3};
static struct gate reads;

static int total(void)
{
	int sum = 0;

	rwlock_rdlock(&lock); /* @again */
	for (int i = 0; i < 3; i++)
		sum += depths[i];
	rwlock_unlock(&lock);
	return sum;
}

/* For the lesson only: no reader gets in any more, so a writer waits. */
static void wait_for_writer(void)
{
	while (rwlock_tryrdlock(&lock)) {
		rwlock_unlock(&lock);
		sched_yield();
	}
}

static void report(void *arg)
{
	(void)arg;
	rwlock_rdlock(&lock);
	gate_open(&reads);
	wait_for_writer();
	printf("the first has %d of %d\n", depths[0], total()); /* @reports */
	rwlock_unlock(&lock);
}

static void clear(void *arg)
{
	(void)arg;
	gate_wait(&reads);
	rwlock_wrlock(&lock); /* @writes */
	for (int i = 0; i < 3; i++)
		depths[i] = 0;
	rwlock_unlock(&lock);
}

int main(void)
{
	struct wait_group wg;

	rwlock_init(&lock, RANK_TOPICS);
	wait_group_init(&wg);
	go(&wg, "report", report, NULL);
	go(&wg, "clear", clear, NULL);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	rwlock_destroy(&lock);
	return 0;
}
