/* SPDX-License-Identifier: MIT */
/*
 * The limits of the host: --max-memory-bytes, --max-disk-bytes, --min-free-disk. Beyond one of them
 * publishers are refused, consumers go on, and it heals by itself. Stock has no such thing; there is
 * no Go file. Without these flags nothing of it runs.
 *
 * The rule for topics that are within theirs: while some topic has a max_bytes of its own, the last
 * tenth of --max-memory-bytes and --max-disk-bytes is for such topics alone. So one topic without
 * a limit cannot take all of it. Ephemeral topics use no disk, and are not refused for its sake.
 */
#ifndef NSQD_HOST_LIMITS_H
#define NSQD_HOST_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/gothread.h"
#include "common/lock.h"

enum host_limit { HOST_MEMORY, HOST_DISK, HOST_FREE_DISK, N_HOST_LIMITS };
/* Without the dashes: "max-memory-bytes" and so on. */
extern const char *const host_limit_flags[N_HOST_LIMITS];

struct host_limits {
	_Atomic bool on;            /* atomic, as all that is not said to be otherwise */
	_Atomic int64_t max_memory; /* 0: none, as the next */
	_Atomic int64_t max_disk;
	_Atomic bool free_is_low; /* --min-free-disk is reached; the thread "limits" writes it */
	_Atomic bool reached[N_HOST_LIMITS];       /* as logged; cleared by the thread "limits" */
	_Atomic int64_t refused_ns[N_HOST_LIMITS]; /* when last (monotonic) */
	_Atomic int n_sharing;                     /* topics with a max_bytes of their own */

	struct mutex lock;    /* a leaf: for the sum of memory */
	_Atomic int64_t room; /* of memory, since the last sum; may be below 0 */
	int64_t next_sum_ns;  /* guarded by lock; not earlier */

	bool running;           /* main's own: the thread is there */
	struct chan *exit_chan; /* immutable while it is */
	struct wait_group wait_group;
};

static inline bool host_limits_are_on(const struct host_limits *h)
{
	return atomic_load_explicit(&h->on, memory_order_relaxed);
}
/* One more topic has a max_bytes of its own, or one less. */
static inline void host_limits_share(struct host_limits *h, bool more)
{
	atomic_fetch_add(&h->n_sharing, more ? 1 : -1);
}
/* For those who look: how much there is now, and how much may be; 0: no such limit. */
struct host_limits_state {
	struct {
		int64_t used, max; /* free disk: what is free, and the least that must be */
		bool reached;
	} limits[N_HOST_LIMITS];
};
#endif
