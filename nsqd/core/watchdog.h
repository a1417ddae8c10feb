/* SPDX-License-Identifier: MIT */
/*
 * Tells the service manager that the daemon goes on (WATCHDOG=1, see sd_watchdog_enabled(3)). It
 * says so only after the scan loop and a poller have answered: a daemon that hangs is restarted.
 */
#ifndef NSQD_WATCHDOG_H
#define NSQD_WATCHDOG_H

#include "common/err.h"

struct context;
struct netpoll;
struct sd_daemon;
struct watchdog;

/*
 * Starts the thread. sd says whether and how often; it, ctx and np outlive watchdog_stop. *w is NULL
 * where nobody watches. -1 with err set: no thread or descriptor. Main thread, after netpoll_start.
 */
int watchdog_start(struct watchdog **w, struct context *ctx, struct netpoll *np,
	const struct sd_daemon *sd, struct err *err);
/*
 * The exit has begun: no poller is asked any more, so that netpoll_stop can follow. From here on the
 * thread says unasked that the daemon goes on. How long an exit may take is the manager's own limit.
 * Blocks until a poller has let go. NULL is fine. Main thread.
 */
void watchdog_leave_pollers(struct watchdog *w);
/* Ends and joins the thread, and frees w; after watchdog_leave_pollers. NULL is fine. Main thread. */
void watchdog_stop(struct watchdog *w);

#endif
