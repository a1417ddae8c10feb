/* SPDX-License-Identifier: MIT */
/*
 * BROKEN: each of two threads stores one variable, and then loads the other. With release and
 * acquire both may miss what the other has stored. The model checker has the memory of C11.
 */
#include <stdatomic.h>

#include "test/model/mc.h"

enum times { DUE = 15, NEXT = 20 };

static atomic_int deadline = 100; /* when the next message is due */
static atomic_int horizon = 10;   /* deadlines before it are in the scanner's queue */
static MC_GHOST bool queued, found;

/* A message is due at DUE. If that is before the horizon, the publisher puts it into the queue. */
static void publisher(void *arg)
{
	(void)arg;
	atomic_store_explicit(&deadline, DUE, memory_order_release);
	queued = DUE < atomic_load_explicit(&horizon, memory_order_acquire);
}

/* The horizon moves on to NEXT. Then the scanner puts what is due before it into the queue. */
static void scanner(void *arg)
{
	(void)arg;
	atomic_store_explicit(&horizon, NEXT, memory_order_release);
	found = atomic_load_explicit(&deadline, memory_order_acquire) < NEXT;
}

static void setup(void)
{
	mc_go("publisher", publisher, NULL);
	mc_go("scanner", scanner, NULL);
}

static void end(void)
{
	MC_CHECK(queued || found); /* @misses */
}

void mc_always(void)
{
}

const struct mc_scenario mc_scenarios[] = {{"lesson", setup, end}, {0}};
