/* SPDX-License-Identifier: MIT */
/* Random numbers (math/rand, internal/util/rand.go): one generator per thread, kernel-seeded. */
#ifndef COMMON_RAND_H
#define COMMON_RAND_H

#include <stddef.h>
#include <stdint.h>

uint64_t rand_u64(void);
/* Uniform in [0, n); n > 0. */
uint32_t rand_below(uint32_t n);
/*
 * util.UniqRands(quantity, maxval): min(quantity, maxval) distinct numbers of [0, maxval) into out;
 * returns how many. scratch is an array of maxval numbers.
 */
size_t rand_unique(size_t quantity, size_t maxval, uint32_t *out, uint32_t *scratch);

#endif
