/* SPDX-License-Identifier: MIT */
/*
 * Waiting for the end of a topic or channel (no Go file). Runs in the threads that delete or create
 * one: HTTP handlers, io_loops, main at exit.
 *
 * Lessons in docs/course/: 09-ticker.
 */
#include "nsqd/queue/gone.h"

#include <errno.h>

bool gone_wait(struct context *ctx, struct chan *gone_chan, int64_t timeout_ns)
{
	struct ticker patience;
	enum { GONE, EXIT, TIMEOUT };
	struct chan_case cases[] = {
		[GONE] = chan_case_recv(gone_chan, NULL),
		[EXIT] = chan_case_recv(ctx->exit_begun_chan, NULL),
		[TIMEOUT] = chan_case_tick(timeout_ns < INT64_MAX ? &patience : NULL),
	};
	if (timeout_ns < INT64_MAX)
		ticker_after(&patience, timeout_ns);
	return chan_select(cases, 3) == GONE;
}

int gone_deleted(bool files_left, struct err *err)
{
	return files_left ? err_set(err, EIO, "files could not be removed") : 0;
}

int gone_wait_deleted(
	struct context *ctx, struct chan *gone_chan, const bool *files_left, struct err *err)
{
	return gone_wait(ctx, gone_chan, INT64_MAX) ? gone_deleted(*files_left, err)
						    : err_set(err, ECANCELED, "exiting");
}
