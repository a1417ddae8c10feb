/* SPDX-License-Identifier: MIT */
/*
 * The world of a model: threads as coroutines, their stacks, an arena for malloc, the program's
 * variables. It can be saved, restored, hashed, and moved on by one step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "test/model/mc_internal.h"
#include "test/model/mc_weak.h"

/*
 * What lies below a stack pointer may have been written this far down, by what was called and
 * returned.
 */
#define RED 8192

/* The program's variables, and in them those that are thread-local (see run.py). */
extern char __data_start[], _end[];
extern char __start_mc_tls[], __stop_mc_tls[];

static char *stack_top(int i)
{
	return (char *)MC_STACKS_AT + (size_t)(i + 1) * MC_STACK_SIZE;
}

/* --- coroutines ------------------------------------------------------------------------------- */

/*
 * Saves what a call must keep on the stack, stores the stack pointer in *from, and takes up
 * another.
 */
void mc_switch(void **from, void *to);
__asm__(".text\n"
	".globl mc_switch\n"
	"mc_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n");

static size_t tls_size(void)
{
	return (size_t)(__stop_mc_tls - __start_mc_tls);
}

/* The variables of the thread come, or go and are zero meanwhile. */
static void take_tls(struct mc_thread *t)
{
	memcpy(__start_mc_tls, t->tls, tls_size());
}

static void put_tls(struct mc_thread *t)
{
	memcpy(t->tls, __start_mc_tls, tls_size());
	memset(__start_mc_tls, 0, tls_size());
}

void mc_leave(void)
{
	struct mc_thread *t = &W.threads[C.current];
	mc_switch(&t->sp, C.checker_sp);
}

static void thread_main(void)
{
	struct mc_thread *t = &W.threads[C.current];
	t->fn(t->arg);
	if (t->specific && W.at_end)
		W.at_end(t->specific);
	t->state = MC_OVER;
	mc_leave();
	abort();
}

static void clear_stack(int i)
{
	char *top = stack_top(i);
	memset(C.low[i], 0, (size_t)(top - C.low[i]));
	C.low[i] = top;
}

void mc_go(const char *name, void (*fn)(void *arg), void *arg)
{
	int i = 0;
	while (i < MC_THREADS && W.threads[i].state != MC_UNUSED && W.threads[i].state != MC_OVER)
		i++;
	if (i == MC_THREADS)
		mc_give_up("more than %d threads at a time", MC_THREADS);
	clear_stack(i);
	struct mc_thread *t = &W.threads[i];
	memset(t, 0, sizeof(*t));
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->fn = fn;
	t->arg = arg;
	t->state = MC_READY;
	t->place = (struct mc_place){"begins", NULL, NULL};
	/* As if thread_main had called mc_switch: a return address, six registers. */
	void **sp = (void **)stack_top(i);
	*--sp = NULL;
	*--sp = (void *)thread_main;
	sp -= 6;
	t->sp = sp;
	C.low[i] = (char *)sp;
	mc_weak_begin(i);
}

/* --- points of threads ------------------------------------------------------------------------ */

void mc_may_wait(void)
{
	W.threads[C.current].may_wait = true;
}

void mc_all_may_wait(void)
{
	for (int i = 0; i < MC_THREADS; i++)
		W.threads[i].may_wait = W.threads[i].state != MC_UNUSED;
}

void mc_wait(bool (*ready)(void *arg), void *arg)
{
	struct mc_thread *t = &W.threads[C.current];
	t->place = (struct mc_place){"waits", arg, __builtin_return_address(0)};
	t->ready = ready;
	t->ready_arg = arg;
	t->state = MC_BLOCKED;
	mc_leave();
	t->state = MC_READY;
	t->ready = NULL;
	t->ready_arg = NULL;
}

void mc_yield(void)
{
	mc_point("yields", NULL, __builtin_return_address(0));
}

void mc_yield_unless_coarse(void)
{
	if (!mc_is_coarse())
		mc_point("yields", NULL, __builtin_return_address(0));
}

unsigned mc_choose(unsigned n)
{
	unsigned i = C.n_asked;
	if (n < 2)
		return 0;
	if (i == sizeof(C.asked))
		mc_give_up("too many choices in a step");
	if (i >= C.n_given)
		C.given[i] = C.random ? (unsigned char)mc_random(n) : 0;
	C.asked[i] = (unsigned char)n;
	C.n_asked++;
	return C.given[i];
}

int64_t mc_now(void)
{
	return W.now_ns;
}

void mc_pass_to(int64_t now_ns)
{
	if (W.now_ns < now_ns)
		W.now_ns = now_ns;
}

int64_t mc_idle(void)
{
	return W.idle_ns;
}

void mc_count_idle(void)
{
	W.counts_idle = true;
	W.idle_ns = 0;
}

void mc_set_timeouts(unsigned n)
{
	W.timeouts_left = n;
}

void mc_set_switches(unsigned n)
{
	W.counts_switches = true;
	W.switches_left = n;
}

/* What comes first is what counts. */
static _Noreturn void end_search(bool gives_up, const char *fmt, va_list ap)
{
	if (!C.has_failed) {
		vsnprintf(C.failure, sizeof(C.failure), fmt, ap);
		C.has_given_up = gives_up;
	}
	C.has_failed = true;
	if (C.current >= 0)
		mc_leave();
	/* In the checker's own look at a state: it comes back to where it began. */
	longjmp(*C.on_failure, 1);
}

void mc_fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	end_search(false, fmt, ap);
}

void mc_give_up(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	end_search(true, fmt, ap);
}

/* --- steps ------------------------------------------------------------------------------------ */

bool mc_is_enabled(const struct mc_thread *t)
{
	bool enabled;
	switch (t->state) {
	case MC_READY:
		return true;
	case MC_ASLEEP:
		return t->woken;
	case MC_BLOCKED:
		C.quiet = true;
		enabled = t->ready(t->ready_arg);
		C.quiet = false;
		return enabled;
	default:
		return false;
	}
}

bool mc_can_time_out(const struct mc_thread *t)
{
	return t->state == MC_ASLEEP && !t->woken && t->deadline_ns != 0;
}

/*
 * What is below the stack pointer is what returned functions have left there: no part of the state.
 */
static void clear_below(int i)
{
	char *sp = W.threads[i].sp, *low = sp - RED;
	if (low > C.low[i])
		low = C.low[i];
	memset(low, 0, (size_t)(sp - low));
	C.low[i] = sp;
}

static bool any_is_enabled(void)
{
	for (int i = 0; i < MC_THREADS; i++) {
		if (mc_is_enabled(&W.threads[i]))
			return true;
	}
	return false;
}

/* Where no thread can go on a deadline must pass: that is not counted. */
static void count_timeout(bool times_out, int64_t deadline_ns)
{
	if (times_out && W.counts_idle && deadline_ns > W.now_ns && !any_is_enabled())
		W.idle_ns += deadline_ns - W.now_ns;
	if (times_out && W.timeouts_left != UINT32_MAX && any_is_enabled()) {
		if (W.timeouts_left == 0)
			mc_give_up("a deadline passes that was not to pass");
		W.timeouts_left--;
	}
}

/* The first thread of all interrupts none. */
static void count_switch(int i)
{
	if (!W.counts_switches || i == W.last)
		return;
	if (W.last >= 0 && mc_is_enabled(&W.threads[W.last])) {
		if (W.switches_left == 0)
			mc_give_up("a thread is interrupted that was not to be");
		W.switches_left--;
	}
	W.last = i;
}

void mc_step(int i, bool times_out)
{
	struct mc_thread *t = &W.threads[i];
	count_timeout(times_out, t->deadline_ns);
	count_switch(i);
	if (times_out) {
		t->timed_out = true;
		mc_pass_to(t->deadline_ns);
	}
	C.n_asked = 0;
	C.current = i;
	take_tls(t);
	mc_switch(&C.checker_sp, t->sp);
	put_tls(t);
	C.current = -1;
	if (t->state == MC_OVER) {
		t->sp = stack_top(i);
		memset(t->tls, 0, sizeof(t->tls));
	}
	clear_below(i);
}

/* True: some thread has gone on, and may have let others go on. */
static bool settle_once(void)
{
	bool any = false;
	for (int i = 0; i < MC_THREADS; i++) {
		while (mc_is_enabled(&W.threads[i]) && !C.has_failed) {
			C.n_given = 0;
			mc_step(i, false);
			any = true;
		}
	}
	return any;
}

void mc_settle(void)
{
	bool was_quiet = C.quiet, counts_switches = W.counts_switches;
	C.quiet = W.counts_switches = false;
	while (settle_once() && !C.has_failed)
		;
	C.quiet = was_quiet;
	W.counts_switches = counts_switches;
}

/* --- states ----------------------------------------------------------------------------------- */

struct extent {
	char *at;
	size_t size;
};

#define MC_EXTENTS (2 + 2 * MC_PARTS + MC_THREADS)

/* Where part i begins, and its map. */
static char *part_at(int i)
{
	return (char *)MC_ARENA_AT + (size_t)i * MC_PART_SIZE;
}

static char *map_of(int i)
{
	return (char *)W.map + (size_t)i * (MC_PART_SIZE / MC_GRAIN);
}

/* So much of the map says what of a part is used. */
static size_t map_used(size_t used)
{
	return (used + MC_GRAIN * 8 - 1) / (MC_GRAIN * 8) * 8;
}

/* What a state consists of. The first one says how large the others are. */
static int extents(struct extent *e)
{
	int n = 0;
	e[n++] = (struct extent){(char *)&W, offsetof(struct mc_world, map)};
	for (int i = 0; i < MC_PARTS; i++) {
		e[n++] = (struct extent){map_of(i), map_used(W.arena_used[i])};
		e[n++] = (struct extent){part_at(i), W.arena_used[i]};
	}
	e[n++] = (struct extent){__data_start, (size_t)(_end - __data_start)};
	for (int i = 0; i < MC_THREADS; i++) {
		char *sp = W.threads[i].sp;
		if (W.threads[i].state != MC_UNUSED)
			e[n++] = (struct extent){sp, (size_t)(stack_top(i) - sp)};
	}
	return n;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	unsigned __int128 m = (unsigned __int128)(h ^ v) * 0x9e3779b97f4a7c15u;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t hash_bytes(uint64_t h, const char *p, size_t n)
{
	uint64_t v, w[4], lanes[4] = {h, h + 1, h + 2, h + 3};
	/* Four at a time: a product has not to wait for the one before. */
	for (; n >= sizeof(w); n -= sizeof(w), p += sizeof(w)) {
		memcpy(w, p, sizeof(w));
		for (int i = 0; i < 4; i++)
			lanes[i] = mix(lanes[i], w[i] + 0x2545f4914f6cdd1d);
	}
	h = mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3]);
	for (; n >= sizeof(v); n -= sizeof(v), p += sizeof(v)) {
		memcpy(&v, p, sizeof(v));
		h = mix(h, v + 0x2545f4914f6cdd1d);
	}
	v = 0;
	memcpy(&v, p, n);
	return mix(h, v + n);
}

uint64_t mc_hash(void)
{
	struct extent e[MC_EXTENTS];
	uint64_t h = 1;
	int n = extents(e);
	for (int i = 0; i < n; i++)
		h = hash_bytes(h, e[i].at, e[i].size);
	return h;
}

size_t mc_save(char *to)
{
	struct extent e[MC_EXTENTS];
	char *p = to;
	int n = extents(e);
	for (int i = 0; i < n; i++) {
		memcpy(p, e[i].at, e[i].size);
		p += e[i].size;
	}
	return (size_t)(p - to);
}

void mc_restore(const char *from)
{
	struct extent e[MC_EXTENTS];
	size_t used[MC_PARTS];
	memcpy(used, W.arena_used, sizeof(used));
	memcpy(&W, from, offsetof(struct mc_world, map));
	int n = extents(e);
	for (int i = 0; i < n; i++) {
		memcpy(e[i].at, from, e[i].size);
		from += e[i].size;
	}
	for (int i = 0; i < MC_PARTS; i++) {
		size_t now = W.arena_used[i];
		if (used[i] <= now)
			continue;
		memset(part_at(i) + now, 0, used[i] - now);
		memset(map_of(i) + map_used(now), 0, map_used(used[i]) - map_used(now));
	}
	for (int i = 0; i < MC_THREADS; i++) {
		char *sp = W.threads[i].state != MC_UNUSED ? W.threads[i].sp : stack_top(i);
		if (C.low[i] < sp)
			memset(C.low[i], 0, (size_t)(sp - C.low[i]));
		C.low[i] = sp;
	}
}

/* --- life ------------------------------------------------------------------------------------- */

unsigned mc_random(unsigned n)
{
	C.random ^= C.random << 13;
	C.random ^= C.random >> 7;
	C.random ^= C.random << 17;
	return (unsigned)((C.random >> 33) % n);
}

void *mc_map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p != MAP_FAILED)
		return p;
	perror("the checker's memory");
	exit(2);
}

static void map_at(uintptr_t at, size_t size)
{
	void *p = mmap((void *)at, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
	if (p == (void *)at)
		return;
	perror("the model's memory");
	exit(2);
}

void mc_world_init(void)
{
	map_at(MC_WORLD_AT, sizeof(struct mc_world));
	map_at(MC_ARENA_AT, MC_ARENA_SIZE);
	map_at(MC_STACKS_AT, MC_THREADS * MC_STACK_SIZE);
	map_at(MC_CHECKER_AT, MC_CHECKER_SIZE);
	if (tls_size() > MC_TLS_SIZE) {
		fprintf(stderr, "the model's thread-local variables: %zu bytes\n", tls_size());
		exit(2);
	}
	for (int i = 0; i < MC_THREADS; i++)
		C.low[i] = stack_top(i);
	C.current = -1;
	W.now_ns = 1000;
	W.last = -1;
	W.timeouts_left = UINT32_MAX;
}
