/* SPDX-License-Identifier: MIT */
/* BROKEN: the first thread puts its buffer back, and then reads it once more. */
#include <stdio.h>

#include "common/bufpool.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct gate put_back, written;

static void first(void *arg)
{
	char *buf = bufpool_get(BUFPOOL_SIZE); /* @gets */

	(void)arg;
	buf[0] = '1';
	bufpool_put(buf, BUFPOOL_SIZE); /* @puts */
	gate_open(&put_back);
	gate_wait(&written);
	printf("the first thread reads %c\n", buf[0]); /* @reads */
}

static void second(void *arg)
{
	(void)arg;
	gate_wait(&put_back);
	char *buf = bufpool_get(BUFPOOL_SIZE);

	buf[0] = '2'; /* @writes */
	gate_open(&written);
	bufpool_put(buf, BUFPOOL_SIZE);
}

int main(void)
{
	struct wait_group wg;

	wait_group_init(&wg);
	go(&wg, "first", first, NULL);
	go(&wg, "second", second, NULL);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
