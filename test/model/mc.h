/* SPDX-License-Identifier: MIT */
/*
 * The model checker's face: what scenarios and stubs use. README.md says how it works.
 *
 * A scenario makes objects and threads, and the checker runs these threads in every order. The code
 * under test is the project's own, as it is. It was compiled so that each access to memory calls
 * the checker (mc_access.c), and its calls of the system go to mc_os.c.
 */
#ifndef TEST_MODEL_MC_H
#define TEST_MODEL_MC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- scenarios -------------------------------------------------------------------------------- */

struct mc_scenario {
	const char *name;
	/* Makes all that the threads use, and the threads. No thread runs yet. */
	void (*setup)(void);
	/*
	 * No thread can go on, ever. Is all as it should be? The checker has made sure already that
	 * each thread has ended, but for those of mc_may_wait.
	 */
	void (*end)(void);
};

/* All that a program has; the last one has no name. */
extern const struct mc_scenario mc_scenarios[];
/*
 * In every state of all of them: what must always hold. It sees all memory, and nothing happens
 * meanwhile.
 */
void mc_always(void);
/* The argument NAME=VALUE of the program; without one: otherwise. From setup. */
int mc_param(const char *name, int otherwise);

/* --- threads ---------------------------------------------------------------------------------- */

/* Starts a thread; at most MC_THREADS at a time. From setup, or from a thread. */
#define MC_THREADS 8
void mc_go(const char *name, void (*fn)(void *arg), void *arg);
/*
 * The threads so far run, one after the other, until each waits: what they do to get ready is not
 * searched. From setup.
 */
void mc_settle(void);
/* The calling thread may wait for ever: at the end it may still do so. */
void mc_may_wait(void);
/* So may all that have begun. From setup. */
void mc_all_may_wait(void);
/* The calling thread waits until ready(arg), which looks at memory and changes nothing. */
void mc_wait(bool (*ready)(void *arg), void *arg);
/* The other threads may run now. */
void mc_yield(void);
/* The same, but for coarse programs (mc_coarse.c): there this is the end of the step before. */
void mc_yield_unless_coarse(void);
/* 0 to n - 1: all are tried. */
unsigned mc_choose(unsigned n);

/*
 * At the end: the size of an object to which no variable points, nor an object to which one does;
 * 0: there is none.
 */
size_t mc_leaked(void);

/*
 * At most n times another thread goes on though the last one could. From setup; else: any number.
 * The search then is to the end of all such runs: for scenarios of many threads. Most faults need
 * one switch, or two.
 */
void mc_set_switches(unsigned n);
/* An access to that atomic, or lock, is no point: no thread decides anything by it. From setup. */
void mc_no_point(const void *at);
/*
 * In a coarse program: threads try that lock, and decide by it; so its unlock is a point. From
 * setup.
 */
void mc_tried(const void *lock);

/*
 * What a scenario notes for its checks, beside what the threads do: no access to it is a data race.
 */
#define MC_GHOST __attribute__((section("mc_ghost")))

/* --- the clock -------------------------------------------------------------------------------- */

/*
 * Time stands still, but for waits with a deadline: those may end at any moment, and then it is so
 * late.
 */
int64_t mc_now(void);
/* It is at least so late now. */
void mc_pass_to(int64_t now_ns);
/*
 * How long no thread could go on until a deadline had passed, since mc_count_idle: a thread that is
 * not woken in time may be saved by one. From then on the first deadline passes first, where no
 * thread can go on.
 */
int64_t mc_idle(void);
void mc_count_idle(void);
/* How many waits may run out while other threads could go on. From setup; else: any number. */
void mc_set_timeouts(unsigned n);

/* --- failures --------------------------------------------------------------------------------- */

/* Ends the search: this must not be. */
_Noreturn void mc_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Ends it as well: it asks for more than the checker can do, so it says nothing of the code. */
_Noreturn void mc_give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define MC_CHECK(cond)                                                                             \
	do {                                                                                       \
		if (!(cond))                                                                       \
			mc_fail("%s:%d: not so: %s", __FILE__, __LINE__, #cond);                   \
	} while (0)

#endif
