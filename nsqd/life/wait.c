/* SPDX-License-Identifier: MIT */
/*
 * What main does between the start and the exit. Mirrors the wait of go-svc for a signal. Runs in
 * the thread "main".
 */
#include "nsqd/life/wait.h"

#include "common/chan.h"
#include "nsqd/life/draining.h"

void nsqd_wait(struct context *ctx, struct topics *topics, struct signals *s, struct reload *r)
{
	enum { STOP, RELOAD, DRAIN, LOOK, N_CASES };
	struct draining d;
	int signum = 0;
	bool exits = false;
	draining_init(&d, ctx, topics);
	while (!exits) {
		struct chan_case cases[] = {
			[STOP] = chan_case_recv(signals_stop_chan(s), &signum),
			[RELOAD] = chan_case_recv(signals_reload_chan(s), NULL),
			[DRAIN] = chan_case_recv(ctx->drain.changed_chan, NULL),
			[LOOK] = chan_case_tick(&d.look),
		};
		switch (chan_select(cases, N_CASES)) {
		case STOP:
			exits = draining_signalled(&d, signum);
			break;
		case RELOAD:
			reload_now(r);
			break;
		case DRAIN:
			draining_changed(&d);
			break;
		case LOOK:
			exits = draining_look(&d);
			break;
		}
	}
	signals_stopping(s);
}
