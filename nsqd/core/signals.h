/* SPDX-License-Identifier: MIT */
/*
 * What each signal does to the daemon: the same as in Go. SIGHUP differs, which kills stock.
 *
 *   SIGTERM, SIGINT             a clean stop; one that comes again is logged, and nothing else
 *   SIGTERM, --sigterm=drain    begins a drain; a second one ends it
 *   SIGQUIT                     the stacks of all threads to stderr, exit code 2; at once
 *   SIGHUP                      config file and certificates are read again (nsqd/life/reload.h)
 *   SIGPIPE, USR1, USR2, ALRM   and all others by which the Go runtime does not end: nothing
 *   SIGTSTP, SIGTTIN, SIGTTOU   the default: the process stops until SIGCONT
 *   SIGSEGV, SIGABRT, ...       the default: the end, with a core where there may be one
 */
#ifndef NSQD_SIGNALS_H
#define NSQD_SIGNALS_H

#include <stdbool.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/lg.h"

struct signals;

/*
 * First of all, in main: ignores signals as in the table above, and blocks those that the thread
 * "signals" will wait for. All threads inherit that. SIGPIPE keeps its default until signals_start,
 * for `nsqd --help | true`.
 */
void signals_block(void);
/* Takes signals_block back, for a process that is to be no daemon: Ctrl-C ends it. */
void signals_unblock(void);
/*
 * Starts the thread. drains: the first SIGTERM is not the last word (--sigterm=drain). NULL with err
 * set: no thread. Before any other thread.
 */
struct signals *signals_start(bool drains, struct err *err);
/* From now on there is a log. lg must outlive signals_stop. */
void signals_log_to(struct signals *s, const struct lg *lg);
/* Of int: SIGTERM or SIGINT, as they come; no more of them after one that ends the daemon. Borrowed. */
struct chan *signals_stop_chan(struct signals *s);
/* Capacity 1: SIGHUP has come, once or more often; also before main looks. Borrowed. */
struct chan *signals_reload_chan(struct signals *s);
/* main looks at these chans no more: a later SIGHUP is logged, and nothing else. */
void signals_stopping(struct signals *s);
/* Ends and joins the thread, and frees s. Later signals are never delivered. */
void signals_stop(struct signals *s);

#endif
