/* SPDX-License-Identifier: MIT */
/*
 * The search: every state that the threads can reach, each once. Depth first, from the state that
 * the scenario's setup leaves. A state is known by a hash of 64 bits. So with 50 million states one
 * is taken for another with a probability of 1 : 10,000.
 *
 * Three things are wrong:
 *   - a check that fails;
 *   - a deadlock, or a lost wake-up: no thread can go on, though one has not ended;
 *   - a livelock: the threads can go round for ever, though each that can go on has its turn.
 *
 * For the last, Tarjan's algorithm finds the strongly connected sets of states. In such a set the
 * threads can go round for ever. That is fair to a thread which moves in it, and to one which in
 * some state of it cannot go on. If it is fair to all, no scheduler would end it.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "test/model/mc_internal.h"
#include "test/model/mc_weak.h"

/* A state on the way from the first to the present one. */
struct frame {
	char *saved;
	uint32_t index, low; /* Tarjan's: in the order of discovery */
	/* Threads: those that have moved within the set of this state, or could not go on in it. */
	unsigned char moved, stuck;
	bool is_cycle; /* there is a way from this state back to it, within its set */
	unsigned char n_ways, way;
	struct mc_way ways[2 * MC_THREADS];
	/* Within the step of that way. */
	unsigned char n_choices;
	unsigned char choices[32], of[32];
	bool taken; /* the way has been tried with these choices */
};

#define FRAMES ((size_t)1 << 18)
#define SAVED ((size_t)1 << 34)
#define STATES_MAX ((size_t)1 << 27)

/* The search's own memory, beside the world's. */
struct search {
	struct frame *frames;
	size_t depth, deepest;
	char *saved, *saved_end;
	/* States by hash: their index + 1. */
	uint64_t *hashes;
	uint32_t *indices;
	size_t size;
	uint32_t n_states;
	/* Tarjan's stack, and whether a state is on it. */
	uint32_t *open;
	size_t n_open;
	bool *is_open;
	unsigned long steps, ends;
	size_t max_states;
};
#define S (*(struct search *)(MC_CHECKER_AT + 0x10000))

/* --- states that are known -------------------------------------------------------------------- */

static size_t slot_of(uint64_t hash)
{
	size_t i = hash & (S.size - 1);
	while (S.indices[i] != 0 && S.hashes[i] != hash)
		i = (i + 1) & (S.size - 1);
	return i;
}

static void grow(void)
{
	uint64_t *hashes = S.hashes;
	uint32_t *indices = S.indices;
	size_t size = S.size;
	S.size = size ? 2 * size : 1 << 16;
	S.hashes = mc_map(S.size * sizeof(*S.hashes));
	S.indices = mc_map(S.size * sizeof(*S.indices));
	for (size_t i = 0; i < size; i++) {
		if (indices[i] == 0)
			continue;
		size_t j = slot_of(hashes[i]);
		S.hashes[j] = hashes[i];
		S.indices[j] = indices[i];
	}
	if (size > 0) {
		munmap(hashes, size * sizeof(*hashes));
		munmap(indices, size * sizeof(*indices));
	}
}

/* Returns its index; *is_new: it was not known. */
static uint32_t note_state(bool *is_new)
{
	uint64_t hash = mc_hash();
	if (2 * (size_t)S.n_states >= S.size)
		grow();
	size_t i = slot_of(hash);
	*is_new = S.indices[i] == 0;
	if (*is_new) {
		S.hashes[i] = hash;
		S.indices[i] = ++S.n_states;
	}
	return S.indices[i] - 1;
}

/* --- frames ----------------------------------------------------------------------------------- */

static struct frame *top(void)
{
	return &S.frames[S.depth - 1];
}

static unsigned char bit(int thread)
{
	return (unsigned char)(1u << thread);
}

/* Of the deadlines that may pass the first one. */
static int64_t first_deadline(void)
{
	int64_t first = INT64_MAX;
	for (int i = 0; i < MC_THREADS; i++) {
		const struct mc_thread *t = &W.threads[i];
		if (mc_can_time_out(t) && t->deadline_ns < first)
			first = t->deadline_ns;
	}
	return first;
}

int mc_ways(struct mc_way *ways, unsigned char *stuck)
{
	int n = 0;
	int64_t upto = INT64_MAX;
	*stuck = 0;
	for (int i = 0; i < MC_THREADS; i++) {
		if (mc_is_enabled(&W.threads[i]))
			ways[n++] = (struct mc_way){(unsigned char)i, false};
		else
			*stuck |= bit(i);
	}
	if (W.counts_switches && W.switches_left == 0 && W.last >= 0 &&
		mc_is_enabled(&W.threads[W.last])) {
		ways[0] = (struct mc_way){(unsigned char)W.last, false};
		return 1;
	}
	if (n > 0 && W.timeouts_left == 0)
		return n;
	/* Before the second one passes, a thread that has waited for the first one could go on. */
	if (n == 0 && W.counts_idle)
		upto = first_deadline();
	for (int i = 0; i < MC_THREADS; i++) {
		if (mc_can_time_out(&W.threads[i]) && W.threads[i].deadline_ns <= upto)
			ways[n++] = (struct mc_way){(unsigned char)i, true};
	}
	return n;
}

/* The world is in a state that was not known. */
static void push(uint32_t index)
{
	if (S.depth == FRAMES)
		mc_give_up("a run of %zu steps, and no end", FRAMES);
	struct frame *f = &S.frames[S.depth++];
	if (S.depth > S.deepest)
		S.deepest = S.depth;
	*f = (struct frame){.saved = S.saved_end, .index = index, .low = index};
	S.saved_end += mc_save(S.saved_end);
	f->n_ways = (unsigned char)mc_ways(f->ways, &f->stuck);
	S.open[S.n_open++] = index;
	S.is_open[index] = true;
}

/* The next way, or the next choice within the present one. False: there is none. */
static bool next_way(struct frame *f)
{
	if (!f->taken) {
		f->taken = true;
		return f->n_ways > 0;
	}
	while (f->n_choices > 0 && f->choices[f->n_choices - 1] + 1 == f->of[f->n_choices - 1])
		f->n_choices--;
	if (f->n_choices > 0) {
		f->choices[f->n_choices - 1]++;
		return true;
	}
	return ++f->way < f->n_ways;
}

static void take_way(struct frame *f)
{
	struct mc_way w = f->ways[f->way];
	C.n_given = f->n_choices;
	memcpy(C.given, f->choices, f->n_choices);
	mc_step(w.thread, w.times_out);
	f->n_choices = (unsigned char)C.n_asked;
	memcpy(f->choices, C.given, C.n_asked);
	memcpy(f->of, C.asked, C.n_asked);
	S.steps++;
}

/* --- what must be so -------------------------------------------------------------------------- */

/* Names of the threads that wait. */
static void list_waiting(char *out, size_t size)
{
	size_t n = 0;
	for (int i = 0; i < MC_THREADS; i++) {
		const struct mc_thread *t = &W.threads[i];
		if (t->state == MC_UNUSED || t->state == MC_OVER || n >= size)
			continue;
		n += (size_t)snprintf(out + n, size - n, "%s%s %s", n > 0 ? ", " : "", t->name,
			t->state == MC_ASLEEP ? "sleeps" : "waits");
	}
}

/* No thread can go on. */
void mc_check_end(void)
{
	char waiting[256] = "";
	for (int i = 0; i < MC_THREADS; i++) {
		const struct mc_thread *t = &W.threads[i];
		if (t->state == MC_UNUSED || t->state == MC_OVER || t->may_wait)
			continue;
		list_waiting(waiting, sizeof(waiting));
		mc_fail("no thread can go on: %s", waiting);
	}
	C.scenario->end();
}

void mc_check_always(void)
{
	C.quiet = true;
	mc_always();
	C.quiet = false;
}

/* The set of the states since f, of which f was found first, is complete. */
static void check_set(const struct frame *f)
{
	if (f->is_cycle && (f->moved | f->stuck) == 0xff)
		mc_fail("livelock: the threads can go round here for ever");
}

/* All ways from the top frame have been taken. */
static void pop(void)
{
	struct frame *f = top();
	if (f->low == f->index) {
		check_set(f);
		uint32_t index;
		do {
			index = S.open[--S.n_open];
			S.is_open[index] = false;
		} while (index != f->index);
	}
	S.saved_end = f->saved;
	S.depth--;
	if (S.depth == 0 || f->low == f->index)
		return;
	struct frame *before = top();
	if (f->low < before->low)
		before->low = f->low;
	before->moved |= f->moved | bit(before->ways[before->way].thread);
	before->stuck |= f->stuck;
	before->is_cycle = true;
}

/* --- the search ------------------------------------------------------------------------------- */

static bool look(void)
{
	bool is_new;
	uint32_t index = note_state(&is_new);
	struct frame *f = S.depth > 0 ? top() : NULL;
	if (is_new) {
		mc_check_always();
		push(index);
		if (top()->n_ways == 0) {
			S.ends++;
			mc_check_end();
		}
		return true;
	}
	if (f && S.is_open[index]) {
		if (index < f->low)
			f->low = index;
		f->moved |= bit(f->ways[f->way].thread);
		f->is_cycle = true;
	}
	return false;
}

/* True: the search is complete. */
static bool search(void)
{
	look();
	bool fresh = true; /* the world is in the state of the top frame */
	while (S.depth > 0) {
		struct frame *f = top();
		if (S.n_states >= S.max_states || S.n_states >= STATES_MAX)
			return false;
		if (!next_way(f)) {
			pop();
			fresh = false;
			continue;
		}
		if (!fresh)
			mc_restore(f->saved);
		take_way(f);
		if (C.has_failed)
			longjmp(*C.on_failure, 1);
		fresh = look();
	}
	return true;
}

/* --- what it says ----------------------------------------------------------------------------- */

static double seconds_since(const struct timespec *begin)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

void mc_print_step(size_t number, const char *thread, const struct mc_place *place)
{
	printf("  %4zu %-12s %-16s %p at %p", number, thread, place->what ? place->what : "",
		place->at, place->pc);
}

/* The way to the failure. */
static void print_way(void)
{
	for (size_t i = 0; i < S.depth; i++) {
		const struct frame *f = &S.frames[i];
		if (f->way >= f->n_ways)
			break;
		mc_restore(f->saved);
		const struct mc_thread *t = &W.threads[f->ways[f->way].thread];
		mc_print_step(i, t->name, &t->place);
		printf("%s", f->ways[f->way].times_out ? " (its deadline passes)" : "");
		for (int k = 0; k < f->n_choices; k++)
			printf(" choice %d of %d", f->choices[k], f->of[k]);
		printf("\n");
	}
}

static void start(void)
{
	mc_world_init();
	S.frames = mc_map(FRAMES * sizeof(*S.frames));
	S.saved = S.saved_end = mc_map(SAVED);
	S.open = mc_map(STATES_MAX * sizeof(*S.open));
	S.is_open = mc_map(STATES_MAX);
}

int mc_param(const char *name, int otherwise)
{
	size_t len = strlen(name);
	for (char **arg = C.args; *arg; arg++) {
		if (strncmp(*arg, name, len) != 0 || (*arg)[len] != '=')
			continue;
		C.is_asked_for[arg - C.args] = true;
		return atoi(*arg + len + 1);
	}
	return otherwise;
}

/* An argument that nothing has asked for is misspelt. Some are asked for only in a step. */
static void check_arguments(void)
{
	for (int i = 1; C.args[i]; i++) {
		if (!C.is_asked_for[i])
			mc_give_up("nothing asks for %s", C.args[i]);
	}
}

static void print_arguments(void)
{
	for (char **arg = C.args; *arg; arg++)
		printf("%s%s", arg > C.args ? " " : "", *arg);
}

static int fault(const struct timespec *begin)
{
	print_arguments();
	printf(": %s: %s (%u states, depth %zu, %.1f s)\n", C.has_given_up ? "GIVEN UP" : "FAULT",
		C.failure, S.n_states, S.depth, seconds_since(begin));
	if (mc_param("trace", 0))
		C.random ? mc_walk_print() : print_way();
	return C.has_given_up ? 2 : 1;
}

static void run_setup(void)
{
	const struct mc_scenario *s = mc_scenarios;
	while (s->name && strcmp(s->name, C.args[0]) != 0)
		s++;
	if (!s->name)
		mc_give_up("no such scenario");
	C.scenario = s;
	C.quiet = true;
	s->setup();
	C.quiet = false;
}

static int walk(const struct timespec *begin)
{
	unsigned long runs = (unsigned long)mc_param("walk", 0);
	C.random = (uint64_t)mc_param("seed", 1) * 0x9e3779b97f4a7c15u | 1;
	mc_weak_reset();
	run_setup();
	mc_walk(runs);
	check_arguments();
	print_arguments();
	printf(": ok: %lu runs, %.1f s\n", runs, seconds_since(begin));
	return 0;
}

/*
 * Arguments: a scenario; its parameters; states=N: at most so many;
 * trace=1: how it fails; walk=N: so many random runs instead, from seed=N.
 * Exit: 0: no fault; 1: a fault; 2: the checker cannot say.
 */
int main(int argc, char **argv)
{
	static char *none[] = {"none", NULL};
	struct timespec begin;
	jmp_buf failed;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	start();
	if (argc > MC_ARGS)
		return 2;
	C.args = argc > 1 ? argv + 1 : none;
	C.on_failure = &failed;
	if (setjmp(failed) != 0)
		return fault(&begin);
	S.max_states = (size_t)mc_param("states", INT32_MAX);
	(void)mc_param("trace", 0);
	if (mc_param("walk", 0) > 0)
		return walk(&begin);
	run_setup();
	bool complete = search();
	check_arguments();
	print_arguments();
	printf(": %s: %u states, %lu steps, %lu ends, depth %zu, %.1f s\n",
		complete ? "ok" : "ok as far as it went", S.n_states, S.steps, S.ends, S.deepest,
		seconds_since(&begin));
	return 0;
}
