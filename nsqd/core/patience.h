/* SPDX-License-Identifier: MIT */
/*
 * How long the exit tries again what the disk refuses: a disk that was full, or descriptors that
 * were gone, may be there a moment later. Not in Go: stock tries once.
 */
#ifndef NSQD_PATIENCE_H
#define NSQD_PATIENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Shared by all threads that try the same kind of thing, at the same time. */
struct patience {
	int64_t ns;               /* immutable; from the first refusal on; less in tests */
	_Atomic int64_t until_ns; /* atomic; monotonic; 0: nothing was refused yet */
};

/*
 * The disk has refused something. Sleeps for *pause_ns, which is 0 at first, and makes it longer for
 * the next time: the caller tries once more. False: the time is over, so what is refused now is
 * lost. Any thread.
 */
bool patience_wait(struct patience *p, int64_t *pause_ns);

#endif
