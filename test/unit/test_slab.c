/* SPDX-License-Identifier: MIT */
/* slab: memory that one thread takes and another gives back. */
#include "common/rand.h"
#include "common/slab.h"
#include "test/unit/helper.h"

/* Each object is filled with a byte of its own, which must still be there when it is given back. */
struct object {
	unsigned char *p;
	size_t size;
	unsigned char fill;
};

static struct object take(size_t size)
{
	struct object o = {slab_alloc(size), size, (unsigned char)rand_below(256)};
	assert_int_equal((uintptr_t)o.p % 16, 0);
	memset(o.p, o.fill, size);
	return o;
}

static void give(struct object o)
{
	for (size_t i = 0; i < o.size; i++) {
		if (o.p[i] != o.fill)
			fail_msg("byte %zu of %zu has changed", i, o.size);
	}
	slab_free(o.p, o.size);
}

/* Around the borders of all classes, and beyond the largest. */
static void test_objects_of_each_size_are_apart(void **state)
{
	enum { N = 100 };
	for (size_t size = 1; size <= SLAB_MAX + 64; size += size < 300 ? 1 : 61) {
		struct object o[N];
		for (size_t i = 0; i < N; i++)
			o[i] = take(size);
		for (size_t i = 0; i < N; i++)
			give(o[i]);
	}
}

/* What comes back is what goes out next. */
static void test_memory_is_used_again(void **state)
{
#if SANITIZE_ADDRESS
	skip(); /* it keeps what was freed out of use, to find what still uses it */
#endif
	void *p = slab_alloc(1000);
	slab_free(p, 1000);
	void *q = slab_alloc(1000);
	assert_ptr_equal(p, q);
	slab_free(q, 1000);
}

static long resident_pages(void)
{
	long size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
	fclose(f);
	return resident;
}

static void test_a_burst_is_given_back(void **state)
{
#if SANITIZE_ADDRESS || SANITIZE_THREAD
	skip(); /* resident is what they need for themselves */
#endif
	enum { N = 100000, SIZE = 1000 }; /* 100 MB */
	long before = resident_pages();
	void **p = calloc(N, sizeof(*p));
	for (size_t i = 0; i < N; i++)
		memset(p[i] = slab_alloc(SIZE), 1, SIZE);
	assert_true(resident_pages() - before > 20000);
	assert_true(slab_get_stats().in_use >= (size_t)N * SIZE);
	for (size_t i = 0; i < N; i++)
		slab_free(p[i], SIZE);
	free(p);
	slab_trim(); /* it has been needed since the last one, which never was */
	assert_true(resident_pages() - before > 20000);
	assert_true(slab_get_stats().idle > (size_t)N * SIZE * 9 / 10);
	slab_trim();
	assert_true(resident_pages() - before < 5000);
	assert_true(slab_get_stats().released > (size_t)N * SIZE * 9 / 10);
}

static void test_all_is_given_back_at_once_if_asked_for(void **state)
{
#if SANITIZE_ADDRESS
	skip(); /* there are no spans */
#endif
	enum { N = 10000, SIZE = 1000 };
	static void *p[N];
	slab_trim();
	for (size_t i = 0; i < N; i++)
		p[i] = slab_alloc(SIZE);
	for (size_t i = 0; i < N; i++)
		slab_free(p[i], SIZE);
	assert_true(slab_get_stats().idle > (size_t)N * SIZE * 9 / 10);
	slab_trim_all();
	assert_int_equal(slab_get_stats().idle, 0);
	slab_free(slab_alloc(SIZE), SIZE);
}

/* --- threads ---------------------------------------------------------------------------------- */

struct relay {
	struct chan *objects; /* of struct object */
	int n;
};

static void produce(void *arg)
{
	struct relay *r = arg;
	for (int i = 0; i < r->n; i++) {
		struct object o = take(1 + rand_below(rand_below(8) ? 600 : SLAB_MAX + 100));
		chan_send(r->objects, &o);
	}
}

static void consume(void *arg)
{
	struct relay *r = arg;
	struct object o;
	for (int i = 0; i < r->n; i++) {
		chan_recv(r->objects, &o);
		give(o);
	}
}

/* Threads come and go; what is in their caches when they end is not lost, and not shared. */
static void test_objects_may_go_from_thread_to_thread(void **state)
{
	enum { PAIRS = 3, GENERATIONS = 4 };
	struct relay r = {chan_new(sizeof(struct object), 500), ROUNDS(20000)};
	struct err err;
	for (int g = 0; g < GENERATIONS; g++) {
		struct wait_group wg;
		wait_group_init(&wg);
		for (int i = 0; i < PAIRS; i++) {
			assert_int_equal(wait_group_wrap(&wg, "produce", produce, &r, &err), 0);
			assert_int_equal(wait_group_wrap(&wg, "consume", consume, &r, &err), 0);
		}
		wait_group_wait(&wg);
		wait_group_destroy(&wg);
		gothread_drain(); /* else the next ones are the same threads */
	}
	assert_int_equal(chan_len(r.objects), 0);
	chan_free(r.objects);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects_of_each_size_are_apart),
		cmocka_unit_test(test_memory_is_used_again),
		cmocka_unit_test(test_a_burst_is_given_back),
		cmocka_unit_test(test_all_is_given_back_at_once_if_asked_for),
		cmocka_unit_test(test_objects_may_go_from_thread_to_thread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
