/* SPDX-License-Identifier: MIT */
/*
 * Random numbers. Mirrors math/rand. Any thread.
 *
 * Different from Go: the generator is SplitMix64 (Steele, Lea and Flood, 2014), eight bytes per
 * thread, seeded from the kernel at a thread's first use. Not for secrets.
 */
#include "common/rand.h"

#include <stdbool.h>
#include <sys/random.h>

#include "common/check.h"
#include "common/clock.h"

static _Thread_local uint64_t state;
static _Thread_local bool seeded;

static void rand_seed(void)
{
	/* If a sandbox refuses it, the time and the thread will do. */
	if (getrandom(&state, sizeof(state), 0) != (ssize_t)sizeof(state))
		state = (uint64_t)clock_mono_ns() ^ (uint64_t)(uintptr_t)&state;
	seeded = true;
}

uint64_t rand_u64(void)
{
	if (__builtin_expect(!seeded, 0))
		rand_seed();
	uint64_t z = (state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t rand_below(uint32_t n)
{
	CHECK(n > 0);
	/* Lemire: scale by n; the products whose low half is below 2^32 mod n are too many. */
	uint64_t m = (rand_u64() >> 32) * n;
	if ((uint32_t)m < n) {
		uint32_t excess = -n % n;
		while ((uint32_t)m < excess)
			m = (rand_u64() >> 32) * n;
	}
	return (uint32_t)(m >> 32);
}
