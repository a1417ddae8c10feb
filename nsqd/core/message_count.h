/* SPDX-License-Identifier: MIT */
/*
 * How many records of messages there are in memory: in queues, on their way between two of them, in
 * flight. A drain asks for that, since no queue knows of a message that is on its way. (No Go file.)
 *
 * Each thread counts for itself, and the counts only grow. So a message costs no locked instruction,
 * and two sums that are read one after the other say something exact: if the records made, read
 * last, are as many as the records freed, read first, there was none at any time between the two.
 */
#ifndef NSQD_MESSAGE_COUNT_H
#define NSQD_MESSAGE_COUNT_H

#include <stdint.h>

/* One more record is made, or freed, by the calling thread. They do not block. */
void message_count_made_one(void);
void message_count_freed_one(void);

/* A body of so many bytes is made, or freed, by the calling thread. They do not block. */
void message_count_body_made(uint64_t bytes);
void message_count_body_freed(uint64_t bytes);
/* The bytes of the bodies that there are, in the whole process. Any thread; takes a leaf lock. */
uint64_t message_count_body_bytes(void);

/*
 * Disk queues have stored so many bytes of records more, that were not received; or less. And how
 * many there are in all. Their files may be larger, by what was received. Any thread; atomic.
 */
void message_count_stored(int64_t bytes);
int64_t message_count_stored_bytes(void);

/* How many have been, by all threads. Any thread; takes a leaf lock. */
uint64_t message_count_made(void);
uint64_t message_count_freed(void);

#endif
