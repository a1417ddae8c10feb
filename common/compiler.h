/* SPDX-License-Identifier: MIT */
/* What compilers can be told beyond C11; nothing to those that do not know it. */
#ifndef COMMON_COMPILER_H
#define COMMON_COMPILER_H

#ifndef __has_attribute
#define __has_attribute(x) 0
#endif

/*
 * struct x many[256] UNINITIALIZED: the build zeroes every local variable first
 * (-ftrivial-auto-var-init=zero), so that a mistake leaks nothing; on the way of a message that
 * costs more than the rest where a buffer is large, and makes the kernel back stacks that nobody
 * uses. Only for what is written before it is read.
 */
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#else
#define UNINITIALIZED
#endif

#endif
