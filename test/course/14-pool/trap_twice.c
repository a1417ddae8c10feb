/* SPDX-License-Identifier: MIT */
/* BROKEN: a buffer is put back twice, so the pool gives it to two threads. */
#include <stdio.h>
#include <string.h>

#include "common/bufpool.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct gate first_has_one, second_has_one;

/* Bad input needs no buffer any more. */
static int parse(char *buf, const char *input)
{
	if (strlen(input) < 4) {
		bufpool_put(buf, BUFPOOL_SIZE); /* @puts */
		return -1;
	}
	memcpy(buf, input, 4);
	return 0;
}

static void handle(const char *input)
{
	char *buf = bufpool_get(BUFPOOL_SIZE);

	if (parse(buf, input) < 0)
		printf("bad input\n");
	bufpool_put(buf, BUFPOOL_SIZE); /* @puts-again */
}

static void first(void *arg)
{
	char *buf = bufpool_get(BUFPOOL_SIZE);

	(void)arg;
	buf[0] = '1'; /* @first */
	gate_open(&first_has_one);
	gate_wait(&second_has_one);
	printf("the first thread has %c\n", buf[0]);
	bufpool_put(buf, BUFPOOL_SIZE);
}

static void second(void *arg)
{
	(void)arg;
	gate_wait(&first_has_one);
	char *buf = bufpool_get(BUFPOOL_SIZE);

	buf[0] = '2'; /* @second */
	gate_open(&second_has_one);
	bufpool_put(buf, BUFPOOL_SIZE);
}

int main(void)
{
	char *held = bufpool_get(BUFPOOL_SIZE); /* a buffer that main needs for itself */
	struct wait_group wg;

	handle("PUB");
	wait_group_init(&wg);
	go(&wg, "first", first, NULL);
	go(&wg, "second", second, NULL);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	bufpool_put(held, BUFPOOL_SIZE);
	return 0;
}
