/* SPDX-License-Identifier: MIT */
/*
 * The watchdog of the service manager. Go has no such thing, and stock neither. The thread
 * "watchdog" asks and tells; the pollers run step, and the scan loop answers by a receive.
 *
 * Each half period the thread asks two whose end would be everybody's: the scan loop, which takes
 * the locks of topics and channels, and the pollers, which serve all connections. A disk that is
 * slow stops neither of them. That is on purpose: to start anew would not make it faster.
 */
#include "nsqd/core/watchdog.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/netpoll.h"
#include "common/sd_daemon.h"
#include "common/xalloc.h"
#include "nsqd/core/context.h"

/* The shortest time between two signs of life, whatever WATCHDOG_USEC says. */
#define WATCHDOG_GRAIN NSEC_PER_MSEC

struct watchdog {
	struct context *ctx;
	const struct sd_daemon *sd;
	struct poll_desc *pd;      /* immutable; what the pollers are asked by */
	int fd;                    /* immutable; pd's; nothing ever comes in */
	_Atomic bool leaving;      /* atomic; pd is to be closed; main sets it */
	struct chan *polled_chan;  /* capacity 1: a poller has taken a step */
	struct chan *exiting_chan; /* closed by main: ask nobody any more */
	struct chan *stop_chan;    /* closed by main */
	struct wait_group polling; /* pd is open */
	struct wait_group thread;
};

/* netpoll_ops.step */
static enum netpoll_next step(void *arg)
{
	struct watchdog *w = arg;
	chan_signal(w->polled_chan);
	if (!atomic_load(&w->leaving))
		return NETPOLL_WAIT;
	netpoll_close(w->pd);
	wait_group_done(&w->polling);
	return NETPOLL_OVER;
}

static const struct netpoll_ops ops = {.step = step};

static void complain(struct watchdog *w, bool scan_owes, bool pollers_owe)
{
	nsqd_logf(w->ctx, LG_WARN, "WATCHDOG: no answer from %s%s%s",
		scan_owes ? "the scan loop" : "", scan_owes && pollers_owe ? " and " : "",
		pollers_owe ? "the pollers" : "");
}

/* Blocks until both have answered, or need not any more. False: to stop. */
static bool ask(struct watchdog *w)
{
	struct ticker patience;
	bool scan_owes = true, pollers_owe = true;
	enum { SCAN, POLLED, LATE, EXITING, STOP, N_CASES };
	bool exiting;
	(void)chan_try_recv_n(w->exiting_chan, NULL, 1, &exiting);
	if (exiting)
		return true;
	(void)chan_try_recv_n(w->polled_chan, NULL, 1, NULL); /* of a step that nobody asked for */
	netpoll_kick(w->pd);
	ticker_after(&patience, w->sd->watchdog_ns / 2);
	while (scan_owes || pollers_owe) {
		struct chan_case cases[] = {
			[SCAN] = chan_case_send(scan_owes ? w->ctx->alive_chan : NULL, NULL),
			[POLLED] = chan_case_recv(pollers_owe ? w->polled_chan : NULL, NULL),
			[LATE] = chan_case_tick(&patience),
			[EXITING] = chan_case_recv(w->exiting_chan, NULL),
			[STOP] = chan_case_recv(w->stop_chan, NULL),
		};
		switch (chan_select(cases, N_CASES)) {
		case SCAN:
			scan_owes = false;
			break;
		case POLLED:
			pollers_owe = false;
			break;
		case LATE:
			complain(w, scan_owes, pollers_owe);
			break;
		case EXITING:
			return true;
		case STOP:
			return false;
		}
	}
	return true;
}

/* The thread "watchdog". */
static void watchdog_loop(void *arg)
{
	struct watchdog *w = arg;
	struct ticker ticker;
	struct err err;
	bool told = true;
	enum { TICK, STOP, N_CASES };
	int64_t half = w->sd->watchdog_ns / 2;
	ticker_start(&ticker, half > WATCHDOG_GRAIN ? half : WATCHDOG_GRAIN);
	while (ask(w)) {
		bool ok = sd_daemon_notify(w->sd, "WATCHDOG=1", &err) == 0;
		if (!ok && told)
			nsqd_logf(w->ctx, LG_WARN, "WATCHDOG: %s", err.msg);
		told = ok;
		struct chan_case cases[] = {
			[TICK] = chan_case_tick(&ticker),
			[STOP] = chan_case_recv(w->stop_chan, NULL),
		};
		if (chan_select(cases, N_CASES) == STOP)
			return;
	}
}

static void watchdog_free(struct watchdog *w)
{
	chan_free(w->polled_chan);
	chan_free(w->exiting_chan);
	chan_free(w->stop_chan);
	wait_group_destroy(&w->polling);
	wait_group_destroy(&w->thread);
	close(w->fd);
	free(w);
}

int watchdog_start(struct watchdog **out, struct context *ctx, struct netpoll *np,
	const struct sd_daemon *sd, struct err *err)
{
	*out = NULL;
	if (!sd || sd->watchdog_ns == 0)
		return 0;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return err_errno(err, errno, "watchdog: eventfd");
	struct watchdog *w = xcalloc(1, sizeof(*w));
	*w = (struct watchdog){.ctx = ctx, .sd = sd, .fd = fd};
	w->polled_chan = chan_new(0, 1);
	w->exiting_chan = chan_new(0, 0);
	w->stop_chan = chan_new(0, 0);
	wait_group_init(&w->polling);
	wait_group_init(&w->thread);
	w->pd = netpoll_open(np, fd, &ops, w);
	if (wait_group_wrap(&w->thread, "watchdog", watchdog_loop, w, err) != 0) {
		netpoll_close(w->pd);
		watchdog_free(w);
		return -1;
	}
	*out = w;
	wait_group_add(&w->polling);
	netpoll_begin(w->pd);
	return 0;
}

void watchdog_leave_pollers(struct watchdog *w)
{
	if (!w)
		return;
	atomic_store(&w->leaving, true);
	chan_close(w->exiting_chan);
	netpoll_kick(w->pd);
	wait_group_wait(&w->polling);
}

void watchdog_stop(struct watchdog *w)
{
	if (!w)
		return;
	chan_close(w->stop_chan);
	wait_group_wait(&w->thread);
	watchdog_free(w);
}
