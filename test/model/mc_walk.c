/* SPDX-License-Identifier: MIT */
/*
 * Random runs, in the memory of C11 (mc_weak.c). They look less thoroughly than the search, but at
 * more: at what a processor with a weaker order may do, and at data races.
 */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "test/model/mc_internal.h"
#include "test/model/mc_weak.h"

#define STEPS_MAX 100000

/* For a trace. The checker has no variables of its own: those are the world's. */
struct walked {
	char thread[sizeof(W.threads[0].name)];
	struct mc_place place;
	bool times_out, is_out_of_order;
};
struct trace {
	size_t n;
	struct walked steps[STEPS_MAX];
};
#define T (*(struct trace *)C.trace)

static void note_step(const struct mc_way *w)
{
	const struct mc_thread *t = &W.threads[w->thread];
	struct walked *step = &T.steps[T.n++];
	memcpy(step->thread, t->name, sizeof(step->thread));
	step->place = t->place;
	step->times_out = w->times_out;
}

void mc_walk_print(void)
{
	for (size_t i = 0; C.trace && i < T.n; i++) {
		const struct walked *step = &T.steps[i];
		mc_print_step(i, step->thread, &step->place);
		printf("%s%s\n", step->times_out ? " (its deadline passes)" : "",
			step->is_out_of_order ? " (not the last store)" : "");
	}
}

/* Mostly the thread that ran last goes on. A deadline seldom passes while others can run. */
static int pick_way(const struct mc_way *ways, int n, int last)
{
	if (mc_random(3) != 0) {
		for (int i = 0; i < n; i++) {
			if (ways[i].thread == last && !ways[i].times_out)
				return i;
		}
	}
	int i = (int)mc_random((unsigned)n);
	return ways[i].times_out && mc_random(4) != 0 ? (int)mc_random((unsigned)n) : i;
}

/*
 * A sleep in a futex may end for nothing. Only in some runs, as that makes up for a lost wake-up;
 * and not in coarse programs, whose subject is not how threads sleep.
 */
static void wake_for_nothing(void)
{
	struct mc_thread *t = &W.threads[mc_random(MC_THREADS)];
	if (t->state == MC_ASLEEP && mc_random(4) == 0)
		t->woken = true;
}

static void walk_once(void)
{
	struct mc_way ways[2 * MC_THREADS];
	unsigned char stuck;
	int n, last = -1;
	bool wakes_for_nothing = !mc_is_coarse() && mc_random(4) == 0;
	for (int steps = 0; (n = mc_ways(ways, &stuck)) > 0; steps++) {
		if (steps == STEPS_MAX)
			mc_fail("a run of %d steps, and no end", steps);
		const struct mc_way *w = &ways[pick_way(ways, n, last)];
		last = w->thread;
		C.n_given = 0;
		C.is_out_of_order = false;
		if (C.trace)
			note_step(w);
		mc_step(w->thread, w->times_out);
		if (C.trace)
			T.steps[T.n - 1].is_out_of_order = C.is_out_of_order;
		if (C.has_failed)
			longjmp(*C.on_failure, 1);
		mc_check_always();
		if (wakes_for_nothing)
			wake_for_nothing();
	}
	mc_check_end();
}

void mc_walk(unsigned long runs)
{
	char *begin = mc_map(2 * MC_ARENA_SIZE + MC_THREADS * MC_STACK_SIZE);
	mc_save(begin);
	if (mc_param("trace", 0))
		C.trace = mc_map(sizeof(struct trace));
	for (unsigned long i = 0; i < runs; i++) {
		if (C.trace)
			T.n = 0;
		mc_weak_reset();
		mc_restore(begin);
		walk_once();
	}
}
