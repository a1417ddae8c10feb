/* SPDX-License-Identifier: MIT */
/* kept: the order of what is taken and comes back, what counts meanwhile, and the bounds. */
#include "test/unit/nsqd_test.h"

#include "nsqd/queue/kept.h"

/* Appends n messages; whether they are the first. */
static bool push(struct kept *k, uint32_t first, size_t n)
{
	struct message *m[64];
	bool was_empty;
	CHECK(n <= COUNT(m));
	for (size_t i = 0; i < n; i++)
		m[i] = new_message(first + (uint32_t)i);
	assert_true(kept_push(k, m, n, &was_empty));
	return was_empty;
}

/* Takes n, which are first, first + 1, ...; those from done on come back. Whether none is left. */
static bool take(struct kept *k, uint32_t first, size_t n, size_t done)
{
	struct message *m[64];
	size_t before = kept_count(k);
	assert_int_equal(kept_take(k, m, n), n);
	assert_int_equal(kept_count(k), before); /* until it is settled */
	for (size_t i = 0; i < n; i++)
		assert_int_equal(seq_of(m[i]), first + i);
	for (size_t i = 0; i < done; i++)
		message_unref(m[i]);
	return kept_settle(k, m + done, n - done);
}

static void test_what_comes_back_is_the_first_again(void **state)
{
	_Atomic size_t total = 0;
	struct kept k;
	kept_init(&k, &total);
	assert_true(push(&k, 0, 5));
	assert_false(push(&k, 5, 5));
	assert_int_equal(total, 10 * (sizeof(struct message) + 4));
	assert_false(take(&k, 0, 7, 3));
	assert_int_equal(kept_count(&k), 7);
	assert_false(take(&k, 3, 7, 0)); /* all of it */
	assert_false(push(&k, 10, 2));
	assert_false(take(&k, 3, 8, 8));
	assert_int_equal(total, sizeof(struct message) + 4);
	assert_true(take(&k, 11, 1, 1));
	assert_int_equal(total, 0);
	assert_true(push(&k, 12, 1));
	kept_destroy(&k);
	assert_int_equal(total, 0);
}

static void test_what_comes_while_some_are_taken_is_behind_them(void **state)
{
	_Atomic size_t total = 0;
	struct message *m[8];
	struct kept k;
	kept_init(&k, &total);
	push(&k, 0, 8);
	assert_int_equal(kept_take(&k, m, 8), 8);
	assert_false(push(&k, 8, 4)); /* for they are not settled */
	for (size_t i = 0; i < 2; i++)
		message_unref(m[i]);
	assert_false(kept_settle(&k, m + 2, 6));
	assert_true(take(&k, 2, 10, 10));
	kept_destroy(&k);
}

static void test_at_its_bounds_it_takes_nothing_and_the_caller_keeps_them(void **state)
{
	_Atomic size_t total = 0;
	struct message *m = new_message(0);
	bool was_empty;
	struct kept k, other;
	kept_init(&k, &total);
	kept_init(&other, &total);
	for (uint32_t i = 0; i < KEPT_MSGS_MAX; i += 50)
		push(&k, i, 50);
	assert_false(kept_push(&k, &m, 1, &was_empty));
	assert_false(was_empty);
	assert_int_equal(kept_count(&k), KEPT_MSGS_MAX);
	assert_false(take(&k, 0, 1, 1));
	assert_true(kept_push(&k, &m, 1, &was_empty));

	/* The daemon's bound leaves everybody one batch. */
	total += KEPT_TOTAL_BYTES_MAX;
	assert_true(push(&other, 0, 50));
	m = new_message(1);
	assert_false(kept_push(&other, &m, 1, &was_empty));
	total -= KEPT_TOTAL_BYTES_MAX;
	assert_true(kept_push(&other, &m, 1, &was_empty));
	kept_destroy(&k);
	kept_destroy(&other);
	assert_int_equal(total, 0);
}

static void expect_look(struct kept *k, size_t max, const uint32_t *seqs, size_t n)
{
	struct message_views seen;
	message_views_init(&seen, max, 4);
	kept_look(k, &seen, PLACE_KEPT);
	assert_int_equal(seen.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(seen.v[i].place, PLACE_KEPT);
		assert_true(message_id_equal(seen.v[i].id, id_of(seqs[i])));
	}
	message_views_free(&seen);
}

static void take_out(struct kept *k, uint32_t seq)
{
	struct message *m = kept_take_out(k, id_of(seq));
	assert_non_null(m);
	assert_int_equal(seq_of(m), seq);
	message_unref(m);
	assert_null(kept_take_out(k, id_of(seq)));
}

static void test_any_one_is_taken_out_and_the_rest_stays_in_order(void **state)
{
	_Atomic size_t total = 0;
	struct kept k;
	kept_init(&k, &total);
	expect_look(&k, 9, NULL, 0);
	assert_true(kept_first_timestamp(&k) == 0);
	assert_null(kept_take_out(&k, id_of(0)));
	push(&k, 0, 5);
	int64_t first = kept_first_timestamp(&k);
	assert_true(first > 0 && first <= clock_wall_ns());
	expect_look(&k, 9, (uint32_t[]){0, 1, 2, 3, 4}, 5);
	expect_look(&k, 2, (uint32_t[]){0, 1}, 2);
	take_out(&k, 2);
	take_out(&k, 0);
	take_out(&k, 4); /* then 3 is the last, and the next comes behind it */
	push(&k, 5, 1);
	expect_look(&k, 9, (uint32_t[]){1, 3, 5}, 3);
	assert_int_equal(kept_count(&k), 3);
	assert_int_equal(total, 3 * (sizeof(struct message) + 4));
	take_out(&k, 1);
	take_out(&k, 3);
	take_out(&k, 5);
	assert_int_equal(kept_count(&k), 0);
	assert_int_equal(total, 0);
	assert_true(push(&k, 6, 2));
	assert_true(take(&k, 6, 2, 2));
	kept_destroy(&k);
}

static void test_append_does_not_ask(void **state)
{
	_Atomic size_t total = KEPT_TOTAL_BYTES_MAX; /* others keep so much */
	struct message *m[2] = {new_message(0), new_message(1)};
	bool was_empty;
	struct kept k;
	kept_init(&k, &total);
	assert_false(kept_is_full(&k)); /* one that keeps nothing may always keep a batch */
	kept_append(&k, &m[0], 1, &was_empty);
	assert_true(was_empty);
	assert_true(kept_is_full(&k));
	assert_false(kept_push(&k, &m[1], 1, &was_empty));
	kept_append(&k, &m[1], 1, &was_empty);
	assert_false(was_empty);
	assert_int_equal(kept_count(&k), 2);
	assert_true(take(&k, 0, 2, 2));
	assert_int_equal(total, KEPT_TOTAL_BYTES_MAX);
	kept_destroy(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_comes_back_is_the_first_again),
		cmocka_unit_test(test_what_comes_while_some_are_taken_is_behind_them),
		cmocka_unit_test(test_at_its_bounds_it_takes_nothing_and_the_caller_keeps_them),
		cmocka_unit_test(test_any_one_is_taken_out_and_the_rest_stays_in_order),
		cmocka_unit_test(test_append_does_not_ask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
