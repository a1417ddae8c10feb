/* SPDX-License-Identifier: MIT */
/*
 * What the code under test does with memory. It was compiled with -fsanitize=thread, but is linked
 * with these functions in place of the sanitizer's: one call before each access. An atomic access
 * is a point, at which other threads may run first. Any access is checked for memory that is free,
 * or that was on a stack whose function has returned.
 */
#include <string.h>

#include "test/model/mc_internal.h"
#include "test/model/mc_weak.h"

static void touch_arena(uintptr_t at)
{
	if (!W.map[(at - MC_ARENA_AT) / MC_GRAIN])
		mc_fail("access to memory that is free: %p", (void *)at);
}

static void touch_stack(uintptr_t at)
{
	int owner = (int)((at - MC_STACKS_AT) / MC_STACK_SIZE);
	const struct mc_thread *t = &W.threads[owner];
	if (owner != C.current && (t->state == MC_UNUSED || at < (uintptr_t)t->sp))
		mc_fail("access to the stack of %s, where the function has returned",
			t->state == MC_UNUSED ? "nobody" : t->name);
}

void mc_touch(const volatile void *p, size_t size)
{
	uintptr_t at = (uintptr_t)p;
	if (C.current < 0)
		return;
	if (at >= MC_ARENA_AT && at < MC_ARENA_AT + MC_ARENA_SIZE) {
		touch_arena(at);
		touch_arena(at + size - 1);
	} else if (at >= MC_STACKS_AT && at < MC_STACKS_AT + MC_THREADS * MC_STACK_SIZE) {
		touch_stack(at);
	} else if (at < 4096) {
		mc_fail("access to address %#zx", (size_t)at);
	}
}

/* --- points ----------------------------------------------------------------------------------- */

/*
 * A coarse program has objects whose code is in this section (run.py): no access there is a point.
 * What they do from one call to its end, or to a sleep, is one step. Their own models show that no
 * other thread can tell. The calls are points, in mc_coarse.c.
 */
extern const char __start_mc_calm[] __attribute__((weak)), __stop_mc_calm[] __attribute__((weak));

bool mc_is_coarse(void)
{
	return __start_mc_calm != NULL;
}

static bool is_calm(const char *pc)
{
	return pc >= __start_mc_calm && pc < __stop_mc_calm;
}

void mc_no_point(const void *at)
{
	if (C.n_no_point == sizeof(C.no_point) / sizeof(*C.no_point))
		mc_give_up("too many places of mc_no_point");
	C.no_point[C.n_no_point++] = at;
}

void mc_tried(const void *lock)
{
	if (C.n_tried == sizeof(C.tried) / sizeof(*C.tried))
		mc_give_up("too many locks of mc_tried");
	C.tried[C.n_tried++] = lock;
}

bool mc_is_tried(const void *lock)
{
	unsigned i = 0;
	while (i < C.n_tried && C.tried[i] != lock)
		i++;
	return i < C.n_tried;
}

static bool is_no_point(const volatile void *at)
{
	unsigned i = 0;
	while (i < C.n_no_point && C.no_point[i] != (const void *)at)
		i++;
	return i < C.n_no_point;
}

void mc_point(const char *what, const volatile void *at, const void *pc)
{
	if (C.current < 0 || C.quiet)
		return;
	if (is_calm(pc) || is_no_point(at)) {
		if (at)
			mc_touch(at, 1);
		return;
	}
	struct mc_thread *t = &W.threads[C.current];
	t->place = (struct mc_place){what, (const void *)at, pc};
	mc_leave();
	if (at)
		mc_touch(at, 1);
}

/*
 * In a coarse program what is relaxed is a count, or has a lock besides. What is counted down is a
 * reference, or a count that a lock guards (client_count, kept.count). A reference may as well be
 * dropped at the end of the step before: that other threads still use the object is found then,
 * too. And the step before such a count has only taken the lock: a thread that reads the count
 * without it cannot tell the two apart.
 */
static void atomic_point(const char *what, const volatile void *at, int order, const void *pc)
{
	if (mc_is_coarse() && (order == __ATOMIC_RELAXED || strcmp(what, "fetch_sub") == 0))
		mc_touch(at, 1);
	else
		mc_point(what, at, pc);
}

/* --- what the compiler calls ------------------------------------------------------------------ */

#define HERE __builtin_return_address(0)

#define PLAIN_READ(name, size)                                                                     \
	void __tsan_##name(void *p);                                                               \
	void __tsan_##name(void *p)                                                                \
	{                                                                                          \
		mc_touch(p, size);                                                                 \
		mc_weak_plain_read(p, size);                                                       \
	}

#define PLAIN_WRITE(name, size)                                                                    \
	void __tsan_##name(void *p);                                                               \
	void __tsan_##name(void *p)                                                                \
	{                                                                                          \
		mc_touch(p, size);                                                                 \
		mc_weak_plain_write(p, size);                                                      \
	}

#define PLAIN(size)                                                                                \
	PLAIN_READ(read##size, size)                                                               \
	PLAIN_READ(unaligned_read##size, size)                                                     \
	PLAIN_READ(volatile_read##size, size)                                                      \
	PLAIN_WRITE(write##size, size)                                                             \
	PLAIN_WRITE(unaligned_write##size, size)                                                   \
	PLAIN_WRITE(volatile_write##size, size)

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_read_range(void *p, size_t n);
void __tsan_read_range(void *p, size_t n)
{
	mc_read_memory(p, n);
}

void __tsan_write_range(void *p, size_t n);
void __tsan_write_range(void *p, size_t n)
{
	mc_write_memory(p, n);
}

void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

void __tsan_init(void);
void __tsan_init(void)
{
}

/*
 * In a walk a weak comparison may fail although the values are the same. (None is in coarse code.)
 */
static bool fails_for_nothing(void)
{
	return C.random && !mc_is_coarse() && C.current >= 0 && !C.quiet && mc_random(8) == 0;
}

static uint64_t exchange(uint64_t value, uint64_t operand)
{
	(void)value;
	return operand;
}

static uint64_t fetch_add(uint64_t value, uint64_t operand)
{
	return value + operand;
}

static uint64_t fetch_sub(uint64_t value, uint64_t operand)
{
	return value - operand;
}

static uint64_t fetch_and(uint64_t value, uint64_t operand)
{
	return value & operand;
}

static uint64_t fetch_or(uint64_t value, uint64_t operand)
{
	return value | operand;
}

static uint64_t fetch_xor(uint64_t value, uint64_t operand)
{
	return value ^ operand;
}

#define CHANGE(bits, type, name)                                                                   \
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int order);                    \
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int order)                     \
	{                                                                                          \
		atomic_point(#name, p, order, HERE);                                               \
		return (type)mc_weak_change(p, sizeof(type), name, v, order);                      \
	}

#define COMPARE(bits, type, kind)                                                                  \
	int __tsan_atomic##bits##_compare_exchange_##kind(                                         \
		volatile type *p, type *expected, type v, int order, int order_if_not);            \
	int __tsan_atomic##bits##_compare_exchange_##kind(                                         \
		volatile type *p, type *expected, type v, int order, int order_if_not)             \
	{                                                                                          \
		uint64_t seen = *expected;                                                         \
		atomic_point("compare_exchange", p, order, HERE);                                  \
		if (#kind[0] == 'w' && fails_for_nothing()) {                                      \
			*expected = (type)mc_weak_load(p, sizeof(type), order_if_not);             \
			return false;                                                              \
		}                                                                                  \
		bool done = mc_weak_compare(p, sizeof(type), &seen, v, order, order_if_not);       \
		*expected = (type)seen;                                                            \
		return done;                                                                       \
	}

#define ATOMIC(bits, type)                                                                         \
	type __tsan_atomic##bits##_load(const volatile type *p, int order);                        \
	type __tsan_atomic##bits##_load(const volatile type *p, int order)                         \
	{                                                                                          \
		atomic_point("load", p, order, HERE);                                              \
		return (type)mc_weak_load(p, sizeof(type), order);                                 \
	}                                                                                          \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order);                     \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                      \
	{                                                                                          \
		atomic_point("store", p, order, HERE);                                             \
		mc_weak_store(p, sizeof(type), v, order);                                          \
	}                                                                                          \
	CHANGE(bits, type, exchange)                                                               \
	CHANGE(bits, type, fetch_add)                                                              \
	CHANGE(bits, type, fetch_sub)                                                              \
	CHANGE(bits, type, fetch_and)                                                              \
	CHANGE(bits, type, fetch_or)                                                               \
	CHANGE(bits, type, fetch_xor)                                                              \
	COMPARE(bits, type, strong)                                                                \
	COMPARE(bits, type, weak)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

/* --- what the compiler does not instrument: functions of libc --------------------------------- */

void mc_read_memory(const void *p, size_t n)
{
	if (n == 0)
		return;
	mc_touch(p, n);
	mc_weak_plain_read(p, n);
}

void mc_write_memory(const void *p, size_t n)
{
	if (n == 0)
		return;
	mc_touch(p, n);
	mc_weak_plain_write(p, n);
}

void *mc_memcpy(void *to, const void *from, size_t n);
void *mc_memcpy(void *to, const void *from, size_t n)
{
	mc_read_memory(from, n);
	mc_write_memory(to, n);
	return memcpy(to, from, n);
}

void *mc_memmove(void *to, const void *from, size_t n);
void *mc_memmove(void *to, const void *from, size_t n)
{
	mc_read_memory(from, n);
	mc_write_memory(to, n);
	return memmove(to, from, n);
}

int mc_memcmp(const void *a, const void *b, size_t n);
int mc_memcmp(const void *a, const void *b, size_t n)
{
	mc_read_memory(a, n);
	mc_read_memory(b, n);
	return memcmp(a, b, n);
}

size_t mc_strlen(const char *s);
size_t mc_strlen(const char *s)
{
	size_t n = strlen(s);
	mc_read_memory(s, n + 1);
	return n;
}

/* Up to the first difference. */
int mc_strcmp(const char *a, const char *b);
int mc_strcmp(const char *a, const char *b)
{
	size_t n = 0;
	while (a[n] == b[n] && a[n] != '\0')
		n++;
	mc_read_memory(a, n + 1);
	mc_read_memory(b, n + 1);
	return strcmp(a, b);
}

void *mc_memset(void *to, int c, size_t n);
void *mc_memset(void *to, int c, size_t n)
{
	mc_write_memory(to, n);
	return memset(to, c, n);
}
