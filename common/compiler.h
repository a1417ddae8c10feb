/* SPDX-License-Identifier: MIT */
/* Attributes beyond C11; they are empty for compilers that do not know them. */
#ifndef COMMON_COMPILER_H
#define COMMON_COMPILER_H

#ifndef __has_attribute
#define __has_attribute(x) 0
#endif

/*
 * struct x many[256] UNINITIALIZED: not zeroed. The build zeroes every other local variable first
 * (-ftrivial-auto-var-init=zero), so that a mistake leaks nothing. For a large buffer on the way of
 * a message that costs more than all the rest, and backs unused stack with memory. Only for
 * variables that are written before they are read.
 */
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#else
#define UNINITIALIZED
#endif

#endif
