/* SPDX-License-Identifier: MIT */
/*
 * The memory of C11, for walks: what an atomic load may see, and which accesses are not in order.
 * See mc_weak.c. Outside of walks these do nothing but the access.
 */
#ifndef TEST_MODEL_MC_WEAK_H
#define TEST_MODEL_MC_WEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For the atomic at `at`, of so many bytes; order is the compiler's __ATOMIC_... */
uint64_t mc_weak_load(const volatile void *at, size_t size, int order);
void mc_weak_store(volatile void *at, size_t size, uint64_t value, int order);
/* Reads a value, and writes what change makes of it. Returns what it has read. */
uint64_t mc_weak_change(volatile void *at, size_t size,
	uint64_t (*change)(uint64_t value, uint64_t operand), uint64_t operand, int order);
/* If it has read *expected, writes value. Else *expected is what it has read. */
bool mc_weak_compare(volatile void *at, size_t size, uint64_t *expected, uint64_t value, int order,
	int order_if_not);

/* Other accesses: are they in order with those of other threads? */
void mc_weak_plain_read(const volatile void *at, size_t size);
void mc_weak_plain_write(const volatile void *at, size_t size);
/* That memory is free, or new. */
void mc_weak_forget(const volatile void *at, size_t size);
/*
 * What is done before a release of `what`, by address, comes before what is done after its acquire.
 */
void mc_weak_release(const volatile void *what);
void mc_weak_acquire(const volatile void *what);
/* The thread in this place begins, started by the current one. */
void mc_weak_begin(int thread);
/* A run begins. */
void mc_weak_reset(void);

#endif
