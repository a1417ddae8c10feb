/* SPDX-License-Identifier: MIT */
/*
 * nsqd/core/message_count.h for the model: nothing is counted. Each thread's counts are its own, and
 * a load and a store of each would only be two more places where threads may change.
 */
#ifndef NSQD_MESSAGE_COUNT_H
#define NSQD_MESSAGE_COUNT_H

#include <stdint.h>

static inline void message_count_made_one(void)
{
}

static inline void message_count_freed_one(void)
{
}

static inline void message_count_body_made(uint64_t bytes)
{
	(void)bytes;
}

static inline void message_count_body_freed(uint64_t bytes)
{
	(void)bytes;
}

static inline void message_count_stored(int64_t bytes)
{
	(void)bytes;
}

#endif
