/* SPDX-License-Identifier: MIT */
/*
 * How a topic or channel ends, for the threads that wait for it (no Go file: Go's deletions do not
 * wait for each other). The exit takes a while, and one thread does it: the first to set exit_flag.
 * For all others the topic or channel is gone when that thread has closed gone_chan: its threads
 * have ended, its files are closed or removed, its name is free.
 */
#ifndef NSQD_GONE_H
#define NSQD_GONE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/err.h"
#include "nsqd/core/context.h"

/* How the exit of a topic or channel has ended. */
enum exit_result {
	EXIT_DONE = 0,
	EXIT_FAILED = -1,   /* it has ended, but the disk refused something: err says what */
	EXIT_ELSEWHERE = 1, /* another thread has begun it: nothing was done here; err: "exiting" */
};

/*
 * Waits until it is gone, up to timeout_ns (INT64_MAX: without end). The caller holds no lock, but
 * a reference to the topic or channel. False: it is not gone yet, and time is up or the daemon
 * exits.
 */
bool gone_wait(struct context *ctx, struct chan *gone_chan, int64_t timeout_ns);
/* Waits for another thread's deletion; 0, or -1 with err set as topic_delete_existing_channel. */
int gone_wait_deleted(
	struct context *ctx, struct chan *gone_chan, const bool *files_left, struct err *err);
/* The answer to a deletion that has ended: 0, or -1 with err set (EIO). */
int gone_deleted(bool files_left, struct err *err);

#endif
