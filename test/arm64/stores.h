/* SPDX-License-Identifier: MIT */
/*
 * What qemu leaves out: no load passes a sequentially consistent store. Each file that the emulator
 * is to run includes this before all others (arm64.mk).
 *
 * The compiler makes STLR of such a store, and LDAR of such a load. An arm64 processor keeps
 * these two in order. qemu (7.2) puts its barriers before the one and behind the other, and none
 * between: on x86-64 the load may be done first. Then two threads, each of which stores and
 * loads what the other stores, both miss it, as on no arm64 processor (deadlines.h, step 1 and 2).
 * So here a fence follows the store. What has a weaker order is left as it is.
 */
#ifndef TEST_ARM64_STORES_H
#define TEST_ARM64_STORES_H

#include <stdatomic.h>

#undef atomic_store
#define atomic_store(object, desired)                                                              \
	({                                                                                         \
		atomic_store_explicit(object, desired, memory_order_seq_cst);                      \
		atomic_thread_fence(memory_order_seq_cst);                                         \
	})

#endif
