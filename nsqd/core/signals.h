/* SPDX-License-Identifier: MIT */
/*
 * What each signal does to the daemon: the same as in Go. Only SIGHUP differs, which kills stock.
 *
 *   SIGTERM, SIGINT             a clean stop; one that comes again is logged, and nothing else
 *   SIGQUIT                     the stacks of all threads to stderr, exit code 2; at once
 *   SIGHUP                      is logged, and nothing else
 *   SIGPIPE, USR1, USR2, ALRM   and all others by which the Go runtime does not end: nothing
 *   SIGTSTP, SIGTTIN, SIGTTOU   the default: the process stops until SIGCONT
 *   SIGSEGV, SIGABRT, ...       the default: the end, with a core where there may be one
 */
#ifndef NSQD_SIGNALS_H
#define NSQD_SIGNALS_H

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
/* Starts the thread. NULL with err set: no thread. Before any other thread. */
struct signals *signals_start(struct err *err);
/* From now on there is a log. lg must outlive signals_stop. */
void signals_log_to(struct signals *s, const struct lg *lg);
/* Blocks until SIGTERM or SIGINT has come, at once if it has already. Once. */
void signals_wait_stop(struct signals *s);
/* Ends and joins the thread, and frees s. Later signals are never delivered. */
void signals_stop(struct signals *s);

#endif
