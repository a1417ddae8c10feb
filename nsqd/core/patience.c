/* SPDX-License-Identifier: MIT */
/*
 * How long the exit tries again what the disk refuses. No Go file: stock tries once. Runs in main,
 * and in the threads "close".
 */
#include "nsqd/core/patience.h"

#include <time.h>

#include "common/clock.h"

/* Between the tries, at first and at last. */
#define FIRST_PAUSE_NS (20 * NSEC_PER_MSEC)
#define LAST_PAUSE_NS (500 * NSEC_PER_MSEC)

bool patience_wait(struct patience *p, int64_t *pause_ns)
{
	int64_t now = clock_mono_ns(), until = 0;
	int64_t mine = now + p->ns;
	if (atomic_compare_exchange_strong(&p->until_ns, &until, mine))
		until = mine;
	if (now >= until)
		return false;
	*pause_ns = *pause_ns == 0 ? FIRST_PAUSE_NS : 2 * *pause_ns;
	if (*pause_ns > LAST_PAUSE_NS)
		*pause_ns = LAST_PAUSE_NS;
	const struct timespec ts = {.tv_nsec = *pause_ns};
	nanosleep(&ts, NULL);
	return true;
}
