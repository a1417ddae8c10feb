/* SPDX-License-Identifier: MIT */
/*
 * The deletion of channels that have had no consumer for as long as their setting channel_expire
 * says. (No Go file.) The scan loop finds them. A deletion waits for the disk, so a thread of its own
 * does it: "expire", at most one, which ends when it has deleted what was found.
 */
#ifndef NSQD_CHANNEL_EXPIRY_H
#define NSQD_CHANNEL_EXPIRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/gothread.h"
#include "nsqd/core/context.h"

struct channel;

/* The most channels that one thread deletes; the others are found again. */
#define EXPIRY_BATCH 256

/* The scan loop's. */
struct expiry {
	struct context *ctx;
	struct wait_group threads; /* "expire" */
	_Atomic bool runs;         /* there is one; the next two are its own, else the loop's */
	struct channel *found[EXPIRY_BATCH]; /* a reference each */
	size_t n_found;
	int64_t not_before_ns; /* the loop's: without a thread, when it tries again (monotonic) */
};

void expiry_init(struct expiry *e, struct context *ctx);
/* May channels expire now? Not while a thread deletes some, nor while the daemon drains or exits. */
bool expiry_is_open(const struct expiry *e, int64_t now_ns);
/* If it is open: c has expired. False: there is no place for one more. */
bool expiry_add(struct expiry *e, struct channel *c);
/* If it is open: starts the thread, if there is something for it. Does not block. */
void expiry_start(struct expiry *e, int64_t now_ns);
/* Waits for the thread, which ends after the deletion that is under way, once the daemon exits. */
void expiry_end(struct expiry *e);

#endif
