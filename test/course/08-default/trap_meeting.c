/* SPDX-License-Identifier: MIT */
/* BROKEN: a try to send where there is no buffer, before the receiver is there. The value is lost. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/gate.h"
#include "test/course/go.h"

static struct gate done;

static void work(void *arg)
{
	int v = 42;

	chan_try_send_n(arg, &v, 1); /* must not wait, if nobody wants the result any more */
	gate_open(&done);
}

int main(void)
{
	struct chan *result = chan_new(sizeof(int), 0);
	struct wait_group wg;
	int v;

	wait_group_init(&wg);
	go(&wg, "work", work, result);
	gate_wait(&done);
	chan_recv(result, &v); /* @receives */
	printf("%d\n", v);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(result);
	return 0;
}
