/* SPDX-License-Identifier: MIT */
/* heap: the least key is always first, beside a model that is a plain array of keys. */
#include "test/unit/helper.h"

#include "common/heap.h"
#include "common/rand.h"

enum { N = 1000 };

struct element {
	int64_t key; /* what the model believes */
	bool in;     /* of the model: it is in the heap */
	struct heap_node node;
};

static struct element *element_of(struct heap_node *n)
{
	return (struct element *)((char *)n - offsetof(struct element, node));
}

/* No key is less than that above it, and every element knows its place and has its key. */
static void expect_sound(const struct heap *h)
{
	assert_true(h->len <= h->cap);
	for (size_t i = 0; i < h->len; i++) {
		assert_int_equal(h->v[i].node->index, i);
		assert_int_equal(h->v[i].key, element_of(h->v[i].node)->key);
		if (i > 0)
			assert_true(h->v[(i - 1) / 2].key <= h->v[i].key);
	}
}

static void push(struct heap *h, struct element *e, int64_t key)
{
	e->key = key;
	heap_push(h, &e->node, key);
}

static struct element *pop(struct heap *h)
{
	struct element *e = element_of(heap_peek(h));
	heap_remove(h, &e->node);
	return e;
}

static void test_an_empty_heap_has_no_first(void **state)
{
	struct heap h = {0};
	assert_null(heap_peek(&h));
	assert_int_equal(heap_least(&h), INT64_MAX);
	heap_trim(&h);
	heap_free(&h);
}

static void test_keys_come_out_in_their_order(void **state)
{
	static struct element e[5];
	static const int64_t keys[] = {5, INT64_MAX, -3, INT64_MIN, 0};
	struct heap h = {0};
	for (size_t i = 0; i < COUNT(keys); i++)
		push(&h, &e[i], keys[i]);
	expect_sound(&h);
	assert_int_equal(heap_least(&h), INT64_MIN);
	assert_ptr_equal(pop(&h), &e[3]);
	assert_ptr_equal(pop(&h), &e[2]);
	assert_ptr_equal(pop(&h), &e[4]);
	assert_ptr_equal(pop(&h), &e[0]);
	assert_ptr_equal(pop(&h), &e[1]);
	assert_null(heap_peek(&h));
	heap_free(&h);
}

static void test_equal_keys_all_come_out_once(void **state)
{
	static struct element e[N];
	struct heap h = {0};
	for (int i = 0; i < N; i++)
		push(&h, &e[i], i % 3);
	expect_sound(&h);
	for (int i = 0; i < N; i++) {
		struct element *first = pop(&h);
		assert_int_equal(first->key, i < 334 ? 0 : i < 667 ? 1 : 2);
		assert_false(first->in);
		first->in = true;
	}
	assert_int_equal(h.len, 0);
	heap_free(&h);
}

/*
 * The last entry takes the place of a removed one. In this heap it must go up from there: 60 is
 * below 50, and 20, the last one, is in the other branch.
 *
 *            0
 *       50       10
 *     60  70   15  20
 */
static void test_what_fills_a_gap_may_go_up_or_down(void **state)
{
	static struct element e[7];
	static const int64_t keys[] = {0, 50, 10, 60, 70, 15, 20};
	struct heap h = {0};
	for (size_t i = 0; i < COUNT(keys); i++)
		push(&h, &e[i], keys[i]);
	heap_remove(&h, &e[3].node); /* 20 goes up, above 50 */
	expect_sound(&h);
	heap_remove(&h, &e[0].node); /* 15 comes to the top, and goes down below 10 */
	expect_sound(&h);
	heap_remove(&h, h.v[h.len - 1].node);
	expect_sound(&h);
	assert_int_equal(h.len, 4);
	heap_free(&h);
}

static void test_a_new_key_moves_an_element(void **state)
{
	static struct element e[N];
	struct heap h = {0};
	for (int i = 0; i < N; i++)
		push(&h, &e[i], i);
	heap_fix(&h, &e[500].node, e[500].key = -1);
	assert_ptr_equal(heap_peek(&h), &e[500].node);
	heap_fix(&h, &e[500].node, e[500].key = N);
	assert_ptr_equal(heap_peek(&h), &e[0].node);
	heap_fix(&h, &e[0].node, e[0].key = 0);
	expect_sound(&h);
	heap_free(&h);
}

static void test_one_element_takes_anothers_place(void **state)
{
	static struct element e[N], by;
	struct heap h = {0};
	for (int i = 0; i < N; i++)
		push(&h, &e[i], i);
	by.key = 700;
	heap_replace(&h, &e[0].node, &by.node, 700);
	expect_sound(&h);
	assert_int_equal(h.len, N);
	assert_ptr_equal(heap_peek(&h), &e[1].node);
	for (int i = 1; i < 700; i++)
		assert_ptr_equal(pop(&h), &e[i]);
	/* It and e[700], in any order. */
	assert_int_equal(pop(&h)->key, 700);
	assert_int_equal(pop(&h)->key, 700);
	assert_ptr_equal(heap_peek(&h), &e[701].node);
	heap_free(&h);
}

static void test_memory_grows_and_is_given_back(void **state)
{
	static struct element e[N];
	struct heap h = {0};
	for (int i = 0; i < N; i++)
		push(&h, &e[i], i);
	assert_true(h.cap >= N && h.cap < 2 * N + 16);
	heap_trim(&h); /* too full for that */
	assert_true(h.cap >= N);
	while (h.len > 100)
		pop(&h);
	heap_trim(&h);
	assert_true(h.cap >= 100 && h.cap < 500);
	expect_sound(&h);
	while (h.len > 0)
		pop(&h);
	heap_trim(&h);
	assert_true(h.cap > 0 && h.cap <= 16);
	heap_free(&h);
	assert_null(h.v);
	push(&h, &e[0], 0);
	heap_free(&h);
}

/* One of the elements that are in the heap, or of the others. */
static struct element *any(struct element *e, bool in)
{
	size_t i = rand_below(N);
	for (size_t n = 0; n < N && e[i].in != in; n++)
		i = (i + 1) % N;
	return e[i].in == in ? &e[i] : NULL;
}

static void step(struct heap *h, struct element *e)
{
	/* Few keys: many are equal. */
	int64_t key = (int64_t)rand_below(300) - 150;
	uint32_t dice = rand_below(100);
	struct element *out = any(e, false), *in = any(e, true);
	if (dice < 40 && out) {
		push(h, out, key);
		out->in = true;
	} else if (dice < 60 && in) {
		heap_remove(h, &in->node);
		in->in = false;
	} else if (dice < 75 && in) {
		pop(h)->in = false;
	} else if (dice < 90 && in) {
		heap_fix(h, &in->node, in->key = key);
	} else if (dice < 99 && in && out) {
		out->key = key;
		heap_replace(h, &in->node, &out->node, key);
		out->in = true;
		in->in = false;
	} else {
		heap_trim(h);
	}
}

static void expect_least_of_model(const struct heap *h, const struct element *e)
{
	size_t n = 0;
	int64_t least = INT64_MAX;
	for (size_t i = 0; i < N; i++) {
		n += e[i].in;
		if (e[i].in && e[i].key < least)
			least = e[i].key;
	}
	assert_int_equal(h->len, n);
	assert_int_equal(heap_least(h), least);
}

static void test_it_behaves_as_a_plain_list_would(void **state)
{
	static struct element e[N];
	struct heap h = {0};
	for (int i = 0; i < ROUNDS(20000); i++) {
		step(&h, e);
		expect_sound(&h);
		expect_least_of_model(&h, e);
	}
	int64_t last = INT64_MIN;
	while (h.len > 0) {
		struct element *first = pop(&h);
		assert_true(first->in && first->key >= last);
		first->in = false;
		last = first->key;
	}
	heap_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_heap_has_no_first),
		cmocka_unit_test(test_keys_come_out_in_their_order),
		cmocka_unit_test(test_equal_keys_all_come_out_once),
		cmocka_unit_test(test_what_fills_a_gap_may_go_up_or_down),
		cmocka_unit_test(test_a_new_key_moves_an_element),
		cmocka_unit_test(test_one_element_takes_anothers_place),
		cmocka_unit_test(test_memory_grows_and_is_given_back),
		cmocka_unit_test(test_it_behaves_as_a_plain_list_would),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
