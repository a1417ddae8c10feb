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

#include <stdatomic.h>
#include <stdint.h>

/* A thread's own counts: it alone writes them. */
struct message_counts {
	_Atomic uint64_t made;
	_Atomic uint64_t freed;
	_Atomic uint64_t body_made; /* bytes, as the next */
	_Atomic uint64_t body_freed;
	struct message_counts *prev, *next; /* of message_count.c */
};

/* The calling thread's counts; NULL before its first message. */
extern _Thread_local struct message_counts *message_counts_mine;
/* Makes them; they are added to those of past threads when the thread ends. */
struct message_counts *message_counts_begin(void);

/* (Inline, as the next: each message comes here several times.) */
static inline struct message_counts *message_counts(void)
{
	struct message_counts *c = message_counts_mine;
	return __builtin_expect(!c, 0) ? message_counts_begin() : c;
}

/* One more record is made by the calling thread. */
static inline void message_count_made_one(void)
{
	struct message_counts *c = message_counts();
	uint64_t n = atomic_load_explicit(&c->made, memory_order_relaxed);
	atomic_store_explicit(&c->made, n + 1, memory_order_release);
}

/* One more record is freed by the calling thread. */
static inline void message_count_freed_one(void)
{
	struct message_counts *c = message_counts();
	uint64_t n = atomic_load_explicit(&c->freed, memory_order_relaxed);
	atomic_store_explicit(&c->freed, n + 1, memory_order_release);
}

/* A body of so many bytes is made by the calling thread. */
static inline void message_count_body_made(uint64_t bytes)
{
	struct message_counts *c = message_counts();
	uint64_t n = atomic_load_explicit(&c->body_made, memory_order_relaxed);
	atomic_store_explicit(&c->body_made, n + bytes, memory_order_relaxed);
}

/* A body of so many bytes is freed by the calling thread. */
static inline void message_count_body_freed(uint64_t bytes)
{
	struct message_counts *c = message_counts();
	uint64_t n = atomic_load_explicit(&c->body_freed, memory_order_relaxed);
	atomic_store_explicit(&c->body_freed, n + bytes, memory_order_relaxed);
}

/* The bytes of the bodies that there are, in the whole process. Any thread; takes a leaf lock. */
uint64_t message_count_body_bytes(void);

/*
 * Disk queues, and logs, have stored so many bytes of records more, that were not received; or less. And how
 * many there are in all. Their files may be larger, by what was received. Any thread; atomic.
 */
void message_count_stored(int64_t bytes);
int64_t message_count_stored_bytes(void);

/* How many have been, by all threads. Any thread; takes a leaf lock. */
uint64_t message_count_made(void);
uint64_t message_count_freed(void);

#endif
