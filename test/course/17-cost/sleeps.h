/* SPDX-License-Identifier: MIT */
/*
 * How often threads of this process go to sleep: the cost that no sanitizer sees. The process is put
 * on one processor, so that nobody spins, and the count is the same on any machine.
 */
#ifndef TEST_COURSE_SLEEPS_H
#define TEST_COURSE_SLEEPS_H

#include <sched.h>
#include <sys/resource.h>

/* Before the first thread starts, and before the first use of a chan. */
static inline void use_one_processor(void)
{
	cpu_set_t all, one;
	int cpu = 0;

	sched_getaffinity(0, sizeof all, &all);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof one, &one);
}

/* How often a thread has given up the processor by itself, all threads together. */
static inline long sleeps(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_nvcsw;
}

#endif
