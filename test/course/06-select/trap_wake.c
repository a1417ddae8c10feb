/* SPDX-License-Identifier: MIT */
/*
 * BROKEN: a select made by hand. The receiver looks at both chans, and then waits to be woken. The
 * senders wake it only if it waits already. The model checker runs these threads in all orders.
 */
#include "common/chan.h"

#include "test/model/mc.h"

static struct chan *a, *b; /* of int, with room for one */
static struct chan *wake;  /* carries nothing, and has no room */
static MC_GHOST int sum;

static void receiver(void *arg)
{
	(void)arg;
	for (int got = 0; got < 2;) {
		int v;

		if (chan_try_recv_n(a, &v, 1, NULL) || chan_try_recv_n(b, &v, 1, NULL)) {
			sum += v;
			got++;
		} else {
			chan_recv(wake, NULL);
		}
	}
}

static void sender(void *arg)
{
	int v = 7;

	chan_send(arg, &v);
	chan_try_send_n(wake, NULL, 1);
}

static void setup(void)
{
	a = chan_new(sizeof(int), 1);
	b = chan_new(sizeof(int), 1);
	wake = chan_new(0, 0);
	mc_go("receiver", receiver, NULL);
	mc_go("sender to a", sender, a);
	mc_go("sender to b", sender, b);
}

static void end(void)
{
	MC_CHECK(sum == 14);
}

void mc_always(void)
{
}

const struct mc_scenario mc_scenarios[] = {{"lesson", setup, end}, {0}};
