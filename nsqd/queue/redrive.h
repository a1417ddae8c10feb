/* SPDX-License-Identifier: MIT */
/* Dead letters go back to where they came from: POST /channel/redrive. (No Go file.) */
#ifndef NSQD_REDRIVE_H
#define NSQD_REDRIVE_H

#include <stddef.h>

#include "common/err.h"
#include "nsqd/queue/topics.h"

struct channel;

/* The most messages of one call. */
#define REDRIVE_MAX 10000

/* What has become of the messages that were looked at. */
struct redriven {
	size_t redriven;   /* they are where they came from */
	size_t no_origin;  /* nobody knows where they came from; these and the next stay */
	size_t no_channel; /* their topic or channel is no more */
	size_t refused;    /* the disk of their channel refuses, or it is exiting */
};

/*
 * Looks at up to n of the messages that wait in c, the oldest first, and takes each to the channel
 * that gave it up: only to that, as a new message without attempts, and with the body that it had.
 * It is there before it is gone here. Those that cannot be taken go to the end of c's queue. Blocks
 * on the disk. -1 with err set: the origins cannot be read, or c is exiting; *out says how many were
 * redriven before that. Any thread without locks.
 */
int nsqd_redrive(
	struct topics *ts, struct channel *c, size_t n, struct redriven *out, struct err *err);

#endif
