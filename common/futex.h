/* SPDX-License-Identifier: MIT */
/*
 * The kernel's part of sleeping and waking: thin wrappers of futex(2), private to the process. Only
 * the lock of a chan, the parker, and timerproc use them.
 *
 * The waker passes an address, and the kernel does not read the memory there. So a wake-up may
 * reach memory that has been reused meanwhile: every sleeper must look at its word again, whatever
 * futex_wait_until returns.
 */
#ifndef COMMON_FUTEX_H
#define COMMON_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * Sleeps while *word is value, until deadline_ns on the monotonic clock (0: for ever). Returns 0 or
 * an errno value.
 */
static inline int futex_wait_until(_Atomic uint32_t *word, uint32_t value, int64_t deadline_ns)
{
	struct timespec ts = {deadline_ns / 1000000000, deadline_ns % 1000000000};
	/* The BITSET form takes an absolute time, so that a sleep cut short needs no arithmetic. */
	long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value,
		deadline_ns ? &ts : NULL, NULL, FUTEX_BITSET_MATCH_ANY);

	return rc < 0 ? errno : 0;
}

/* Wakes one thread that sleeps on word, if any. Never touches *word. */
static inline void futex_wake_one(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

/* Tells the processor that this is a spin loop. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("isb" ::: "memory");
#else
	__asm__ __volatile__("" ::: "memory");
#endif
}

#endif
