/* SPDX-License-Identifier: MIT */
/* BROKEN: a plain bool says whether the table has been made. */
#include <stdio.h>

#include "test/course/gate.h"
#include "test/course/go.h"

enum { SIZE = 10 };

static int squares[SIZE];
static bool made;
static struct gate has_squares;

static int square(int n)
{
	if (!made) { /* @looks */
		for (int i = 0; i < SIZE; i++)
			squares[i] = i * i;
		made = true; /* @made */
	}
	return squares[n];
}

static void first(void *arg)
{
	*(int *)arg = square(3);
	gate_open(&has_squares);
}

static void second(void *arg)
{
	gate_wait(&has_squares);
	*(int *)arg = square(4);
}

int main(void)
{
	struct wait_group wg;
	int a, b;

	wait_group_init(&wg);
	go(&wg, "second", second, &b);
	go(&wg, "first", first, &a);
	wait_group_wait(&wg);
	printf("%d\n", a + b);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
