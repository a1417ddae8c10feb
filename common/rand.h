/* SPDX-License-Identifier: MIT */
/* Random numbers (math/rand): one generator per thread, kernel-seeded. */
#ifndef COMMON_RAND_H
#define COMMON_RAND_H

#include <stdint.h>

uint64_t rand_u64(void);
/* Uniform in [0, n); n > 0. */
uint32_t rand_below(uint32_t n);

#endif
