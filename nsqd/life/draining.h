/* SPDX-License-Identifier: MIT */
/*
 * What main does while the daemon drains (nsqd/core/drain.h has the state): it has what is empty
 * unregistered, and finds the end. All functions are main's.
 */
#ifndef NSQD_DRAINING_H
#define NSQD_DRAINING_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ticker.h"
#include "nsqd/core/context.h"
#include "nsqd/queue/drained.h"
#include "nsqd/queue/topics.h"

/* A drain, as main sees it. */
struct draining {
	struct context *ctx; /* borrowed, as is the next */
	struct topics *topics;
	struct ticker look;     /* when to call draining_look; stopped: the daemon does not drain */
	int64_t begun_ns;       /* monotonic, as is the next */
	int64_t tell_ns;        /* when the log next says how far it is */
	uint64_t word;          /* drain.word, of which the puts have been waited for */
	struct drain_left left; /* as the last look has found it */
};

void draining_init(struct draining *d, struct context *ctx, struct topics *topics);
/* The state has changed: begins, or calls off. May block on the disk, as publishers may. */
void draining_changed(struct draining *d);
/* Unregisters what is empty. True: it is at its end, and the daemon is to exit. */
bool draining_look(struct draining *d);
/* This signal has come. True: the daemon is to exit; false: it drains from now on. */
bool draining_signalled(struct draining *d, int signum);

#endif
