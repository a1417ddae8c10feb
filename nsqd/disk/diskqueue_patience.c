/* SPDX-License-Identifier: MIT */
/*
 * How long an error is waited out. Go has no such thing: stock gives a file up at its first error.
 * No thread of its own; the functions run in any.
 */
#include "nsqd/disk/diskqueue_patience.h"

#include <errno.h>

#include "common/clock.h"

/*
 * Retries come after 0.1, 0.2, 0.4 ... 25.6, 30, 30 s: 3.1 s for 5, 141 s for 12. They are counted,
 * not timed: a machine that stood still has not tried.
 */
struct dq_patience dq_patience = {
	.odd_tries = 5,
	.error_tries = 12,
	.odd_loads = 4,
	.error_loads = 120,
	.obstacle_ns = 5 * NSEC_PER_SEC,
};

bool dq_is_odd(int code)
{
	return code == EISDIR || code == ENXIO || code == ELOOP;
}

bool dq_is_files_own(int code)
{
	switch (code) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EINTR:
	case EAGAIN:
	case ETIMEDOUT:
		return false;
	default:
		return true;
	}
}
