/* SPDX-License-Identifier: MIT */
/* A pump that takes one value at a time, and takes the next one only when that is delivered. */
#include <stdio.h>

#include "common/chan.h"

#include "test/course/go.h"

struct pump {
	struct chan *in, *out; /* of int */
};

static void pump(void *arg)
{
	struct pump *p = arg;
	struct chan *in = p->in, *deliver = NULL; /* NULL: there is nothing to deliver */
	int got, v = 0;

	while (in || deliver) {
		struct chan_case cases[] = {
			chan_case_recv(
				deliver ? NULL : in, &got), /* not while its hands are full */
			chan_case_send(deliver, &v),
		};

		if (chan_select(cases, 2) == 1) {
			deliver = NULL;
		} else if (cases[0].ok) {
			v = got;
			deliver = p->out;
		} else {
			in = NULL;
		}
	}
	chan_close(p->out);
}

int main(void)
{
	struct pump p = {chan_new(sizeof(int), 5), chan_new(sizeof(int), 0)};
	struct wait_group wg;
	int v;

	for (int i = 1; i <= 5; i++)
		chan_send(p.in, &i);
	chan_close(p.in);
	wait_group_init(&wg);
	go(&wg, "pump", pump, &p);
	while (chan_recv(p.out, &v))
		printf("%d\n", v);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(p.in);
	chan_free(p.out);
	return 0;
}
