/* SPDX-License-Identifier: MIT */
/*
 * in_flight_pqueue: the tests of stock under their names, and a long random run beside a model, a
 * plain list.
 */
#include "test/unit/helper.h"

#include "common/rand.h"
#include "nsqd/queue/in_flight_pqueue.h"

static struct message *new_message(uint64_t id, int64_t pri)
{
	struct message_id mid;
	char hex[MSG_ID_LENGTH + 1];
	snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)id);
	memcpy(mid.hex, hex, MSG_ID_LENGTH);
	struct message *m = message_new(mid, message_body_new(0), 0);
	m->due_ns = pri;
	return m;
}

/* Its links agree, and nothing is due before its predecessor. Returns its length. */
static size_t expect_sound_run(const struct in_flight_pqueue *q, const struct message *first)
{
	size_t n = 1;
	assert_null(first->run_prev);
	for (const struct message *m = first; m->run_next; m = m->run_next) {
		assert_ptr_equal(m->run_next->run_prev, m);
		assert_true(m->due_ns <= m->run_next->due_ns);
		assert_ptr_not_equal(m, q->last);
		n++;
	}
	return n;
}

static struct message *first_of_run(const struct in_flight_pqueue *q, size_t i)
{
	return (struct message *)((char *)q->runs.v[i].node - offsetof(struct message, heap_node));
}

static void expect_sound(const struct in_flight_pqueue *q)
{
	size_t filed = 0, in_runs = 0;
	assert_true(q->len <= q->n_buckets);
	for (size_t i = 0; i < q->runs.len; i++) {
		const struct message *first = first_of_run(q, i);
		assert_int_equal(q->runs.v[i].key, first->due_ns);
		in_runs += expect_sound_run(q, first);
	}
	for (size_t b = 0; b < q->n_buckets; b++)
		for (const struct message *m = q->table[b]; m; m = m->hash_next)
			filed++;
	assert_int_equal(filed, q->len);
	assert_int_equal(in_runs, q->len);
}

static void test_priority_queue(void **state)
{
	struct in_flight_pqueue q;
	in_flight_pqueue_init(&q);
	for (int i = 0; i < 101; i++)
		in_flight_pqueue_push(&q, new_message((uint64_t)i, i));
	assert_int_equal(q.len, 101);
	for (int i = 0; i < 101; i++) {
		struct message *m = in_flight_pqueue_peek_and_shift(&q, INT64_MAX);
		assert_int_equal(m->due_ns, i);
		message_unref(m);
	}
	assert_null(in_flight_pqueue_peek_and_shift(&q, INT64_MAX));
	in_flight_pqueue_clear(&q);
}

static void test_unsorted_insert(void **state)
{
	struct in_flight_pqueue q;
	int64_t last = INT64_MIN;
	in_flight_pqueue_init(&q);
	for (uint64_t i = 0; i < 100; i++)
		in_flight_pqueue_push(&q, new_message(i, (int64_t)(rand_u64() >> 1)));
	for (int i = 0; i < 100; i++) {
		struct message *m = in_flight_pqueue_peek_and_shift(&q, INT64_MAX);
		assert_true(m->due_ns >= last);
		last = m->due_ns;
		message_unref(m);
	}
	in_flight_pqueue_clear(&q);
}

static void test_remove(void **state)
{
	struct in_flight_pqueue q;
	struct message *all[100];
	in_flight_pqueue_init(&q);
	for (uint64_t i = 0; i < 100; i++)
		in_flight_pqueue_push(&q, all[i] = new_message(i, rand_below(100000000)));
	for (uint64_t i = 0; i < 100; i += 10) {
		in_flight_pqueue_remove(&q, all[i]);
		assert_null(in_flight_pqueue_find(&q, all[i]->id));
		message_unref(all[i]);
		expect_sound(&q);
	}
	assert_int_equal(q.len, 90);
	in_flight_pqueue_clear(&q);
}

static void test_shift_takes_what_is_due_and_nothing_else(void **state)
{
	struct in_flight_pqueue q;
	in_flight_pqueue_init(&q);
	in_flight_pqueue_push(&q, new_message(1, 100));
	assert_null(in_flight_pqueue_peek_and_shift(&q, 99));
	struct message *m = in_flight_pqueue_peek_and_shift(&q, 100);
	assert_non_null(m);
	assert_int_equal(m->refs, 1);
	message_unref(m);
	in_flight_pqueue_clear(&q);
}

static void test_the_earliest_deadline_is_known(void **state)
{
	struct in_flight_pqueue q;
	struct message *a = new_message(1, 100), *b = new_message(2, 50);
	in_flight_pqueue_init(&q);
	assert_true(in_flight_pqueue_next(&q) == INT64_MAX);
	in_flight_pqueue_push(&q, a);
	assert_int_equal(in_flight_pqueue_next(&q), 100);
	in_flight_pqueue_push(&q, b);
	assert_int_equal(in_flight_pqueue_next(&q), 50);
	b->due_ns = 200;
	in_flight_pqueue_fix(&q, b);
	assert_int_equal(in_flight_pqueue_next(&q), 100);
	in_flight_pqueue_clear(&q);
	assert_true(in_flight_pqueue_next(&q) == INT64_MAX);
}

static void test_an_empty_queue_finds_nothing(void **state)
{
	struct in_flight_pqueue q;
	struct message *m = new_message(1, 0);
	in_flight_pqueue_init(&q);
	assert_null(in_flight_pqueue_find(&q, m->id));
	assert_null(in_flight_pqueue_peek_and_shift(&q, INT64_MAX));
	in_flight_pqueue_push(&q, m);
	in_flight_pqueue_clear(&q);
	m = new_message(1, 0);
	assert_null(in_flight_pqueue_find(&q, m->id));
	message_unref(m);
}

static void test_two_messages_of_one_id_live_side_by_side(void **state)
{
	struct in_flight_pqueue q;
	struct message *a = new_message(1, 100), *b = new_message(1, 50), *found;
	in_flight_pqueue_init(&q);
	in_flight_pqueue_push(&q, a);
	in_flight_pqueue_push(&q, b);
	assert_int_equal(q.len, 2);
	found = in_flight_pqueue_find(&q, a->id);
	assert_true(found == a || found == b);
	in_flight_pqueue_remove(&q, found);
	expect_sound(&q);
	assert_ptr_equal(in_flight_pqueue_find(&q, a->id), found == a ? b : a);
	message_unref(found);
	in_flight_pqueue_clear(&q);
}

static void test_clear_drops_its_references_only(void **state)
{
	struct in_flight_pqueue q;
	struct message *m = new_message(1, 0);
	in_flight_pqueue_init(&q);
	in_flight_pqueue_push(&q, message_ref(m));
	in_flight_pqueue_clear(&q);
	assert_int_equal(m->refs, 1);
	assert_int_equal(q.len, 0);
	message_unref(m);
}

static void test_a_burst_gives_its_memory_back(void **state)
{
	struct in_flight_pqueue q;
	struct message *m;
	in_flight_pqueue_init(&q);
	for (uint64_t i = 0; i < 10000; i++)
		in_flight_pqueue_push(&q, new_message(i, -(int64_t)i));
	assert_true(q.runs.cap >= 10000 && q.runs.cap < 20000 && q.n_buckets >= 10000);
	assert_int_equal(q.runs.len, 10000);
	while ((m = in_flight_pqueue_peek_and_shift(&q, INT64_MAX)))
		message_unref(m);
	/* Not at once: a channel that had so many is likely to have as many soon. */
	size_t n_buckets = q.n_buckets;
	in_flight_pqueue_trim(&q);
	assert_int_equal(q.n_buckets, n_buckets);
	for (uint64_t i = 0; i < 100; i++)
		in_flight_pqueue_push(&q, new_message(i, 0));
	in_flight_pqueue_trim(&q);
	assert_true(q.n_buckets >= 100 && q.n_buckets < 1000 && q.runs.cap <= 16);
	expect_sound(&q);
	while ((m = in_flight_pqueue_peek_and_shift(&q, INT64_MAX)))
		message_unref(m);
	in_flight_pqueue_trim(&q); /* 100 since the last time */
	assert_non_null(q.table);
	in_flight_pqueue_trim(&q);
	assert_null(q.table);
	assert_null(q.runs.v);
	in_flight_pqueue_push(&q, new_message(1, 0));
	expect_sound(&q);
	in_flight_pqueue_clear(&q);
}

static void test_buckets_stay_short_for_ids_that_follow_each_other(void **state)
{
	struct in_flight_pqueue q;
	size_t longest = 0;
	in_flight_pqueue_init(&q);
	for (uint64_t i = 0; i < 16384; i++)
		in_flight_pqueue_push(&q, new_message(0x135950b844955000 + i, (int64_t)i));
	for (size_t b = 0; b < q.n_buckets; b++) {
		size_t n = 0;
		for (const struct message *m = q.table[b]; m; m = m->hash_next)
			n++;
		if (n > longest)
			longest = n;
	}
	/* Dice would give about 7. */
	assert_true(longest <= 16);
	in_flight_pqueue_clear(&q);
}

/* --- runs ------------------------------------------------------------------------------------- */

static void expect_shifts(struct in_flight_pqueue *q, struct message *wanted)
{
	struct message *m = in_flight_pqueue_peek_and_shift(q, INT64_MAX);
	assert_ptr_equal(m, wanted);
	message_unref(m);
	expect_sound(q);
}

static void test_one_timeout_makes_one_run(void **state)
{
	struct in_flight_pqueue q;
	struct message *all[1000];
	in_flight_pqueue_init(&q);
	/* Batches, each of one deadline. */
	for (uint64_t i = 0; i < 1000; i++)
		in_flight_pqueue_push(&q, all[i] = new_message(i, (int64_t)i / 100));
	assert_int_equal(q.runs.len, 1);
	/* From the middle, the front and the end. */
	for (uint64_t i = 0; i < 1000; i++)
		if (i % 7 < 3) {
			in_flight_pqueue_remove(&q, all[i]);
			message_unref(all[i]);
		}
	expect_sound(&q);
	assert_int_equal(q.runs.len, 1);
	/* Those of one deadline leave in the order in which they came. */
	for (uint64_t i = 0; i < 1000; i++)
		if (i % 7 >= 3)
			expect_shifts(&q, all[i]);
	assert_int_equal(q.len, 0);
	assert_int_equal(q.runs.len, 0);
	in_flight_pqueue_clear(&q);
}

static void test_a_shorter_timeout_begins_a_run(void **state)
{
	struct in_flight_pqueue q;
	struct message *a = new_message(1, 60), *b = new_message(2, 30), *c = new_message(3, 61);
	in_flight_pqueue_init(&q);
	in_flight_pqueue_push(&q, a);
	in_flight_pqueue_push(&q, b);
	in_flight_pqueue_push(&q, c); /* behind b: that was the last */
	assert_int_equal(q.runs.len, 2);
	assert_ptr_equal(b->run_next, c);
	assert_int_equal(in_flight_pqueue_next(&q), 30);
	expect_shifts(&q, b);
	assert_int_equal(in_flight_pqueue_next(&q), 60);
	expect_shifts(&q, a);
	expect_shifts(&q, c);
	in_flight_pqueue_clear(&q);
}

static void test_the_end_of_a_run_may_leave(void **state)
{
	struct in_flight_pqueue q;
	struct message *a = new_message(1, 10), *b = new_message(2, 20), *c = new_message(3, 15);
	in_flight_pqueue_init(&q);
	in_flight_pqueue_push(&q, a);
	in_flight_pqueue_push(&q, b);
	in_flight_pqueue_remove(&q, b);
	message_unref(b);
	expect_sound(&q);
	in_flight_pqueue_push(&q, c); /* behind a, the end again */
	assert_int_equal(q.runs.len, 1);
	in_flight_pqueue_remove(&q, c);
	message_unref(c);
	in_flight_pqueue_remove(&q, a);
	message_unref(a);
	expect_sound(&q);
	assert_null(q.last);
	in_flight_pqueue_push(&q, c = new_message(4, 5));
	expect_shifts(&q, c);
	in_flight_pqueue_clear(&q);
}

static void test_a_touch_moves_a_message_to_its_new_place(void **state)
{
	struct in_flight_pqueue q;
	struct message *m[4];
	in_flight_pqueue_init(&q);
	for (uint64_t i = 0; i < 4; i++)
		in_flight_pqueue_push(&q, m[i] = new_message(i, 10 * (int64_t)i));
	m[0]->due_ns = 35; /* the first: behind the last */
	in_flight_pqueue_fix(&q, m[0]);
	expect_sound(&q);
	assert_int_equal(q.runs.len, 1);
	m[2]->due_ns = 12; /* to an earlier time: a run of its own */
	in_flight_pqueue_fix(&q, m[2]);
	expect_sound(&q);
	m[2]->due_ns = 14; /* which the last one may go on with */
	in_flight_pqueue_fix(&q, m[2]);
	expect_sound(&q);
	assert_int_equal(q.runs.len, 2);
	expect_shifts(&q, m[1]);
	expect_shifts(&q, m[2]);
	expect_shifts(&q, m[3]);
	expect_shifts(&q, m[0]);
	in_flight_pqueue_clear(&q);
}

/* --- the model -------------------------------------------------------------------------------- */

#define MODEL_MAX 600

struct model {
	struct message *v[MODEL_MAX];
	size_t n;
};

static void model_drop(struct model *model, const struct message *m)
{
	for (size_t i = 0; i < model->n; i++)
		if (model->v[i] == m) {
			model->v[i] = model->v[--model->n];
			return;
		}
	fail_msg("a message that was never put in");
}

static int64_t model_min(const struct model *model)
{
	int64_t min = INT64_MAX;
	for (size_t i = 0; i < model->n; i++)
		if (model->v[i]->due_ns < min)
			min = model->v[i]->due_ns;
	return min;
}

static bool model_has(const struct model *model, struct message_id id)
{
	for (size_t i = 0; i < model->n; i++)
		if (memcmp(model->v[i]->id.hex, id.hex, MSG_ID_LENGTH) == 0)
			return true;
	return false;
}

static struct message *model_any(const struct model *model)
{
	return model->v[rand_below((uint32_t)model->n)];
}

static void both_push(struct in_flight_pqueue *q, struct model *model, int64_t pri)
{
	/* Few ids, so that they repeat. */
	struct message *m = new_message(rand_below(300), pri);
	model->v[model->n++] = m;
	in_flight_pqueue_push(q, m);
}

static void both_remove(struct in_flight_pqueue *q, struct model *model, struct message *m)
{
	in_flight_pqueue_remove(q, m);
	model_drop(model, m);
	message_unref(m);
}

/* False: nothing is due. */
static bool both_shift(struct in_flight_pqueue *q, struct model *model, int64_t max)
{
	int64_t min = model_min(model);
	struct message *m = in_flight_pqueue_peek_and_shift(q, max);
	assert_int_equal(m != NULL, min <= max);
	if (!m)
		return false;
	assert_int_equal(m->due_ns, min);
	model_drop(model, m);
	message_unref(m);
	return true;
}

static int compare_due(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

/* A look has each of the first n messages once, and no deadline is less than what it has left out. */
static void expect_look(const struct in_flight_pqueue *q, const struct model *model, size_t max)
{
	static struct in_flight_step steps[IN_FLIGHT_STEPS(MODEL_MAX + 1)];
	struct message *seen[MODEL_MAX + 1];
	int64_t due[MODEL_MAX];
	size_t n = in_flight_pqueue_look(q, seen, max, steps);
	assert_int_equal(n, max < model->n ? max : model->n);
	for (size_t i = 0; i < model->n; i++)
		due[i] = model->v[i]->due_ns;
	qsort(due, model->n, sizeof(due[0]), compare_due);
	for (size_t i = 0; i < n; i++) {
		assert_true(seen[i]->due_ns == due[i]);
		for (size_t k = i; k-- > 0 && seen[k]->due_ns == seen[i]->due_ns;)
			assert_ptr_not_equal(seen[k], seen[i]);
	}
}

static void expect_same(const struct in_flight_pqueue *q, const struct model *model)
{
	struct message *wanted = new_message(rand_below(300), 0), *found;
	struct message_id ids[10];
	/* Whether they are there or not, it does no harm. */
	for (size_t i = 0; i < COUNT(ids); i++)
		ids[i] = i % 2 || model->n == 0 ? wanted->id : model->v[i % model->n]->id;
	for (size_t i = 0; i < COUNT(ids); i++)
		in_flight_pqueue_fetch_ahead(q, ids, COUNT(ids), i);

	assert_int_equal(q->len, model->n);
	assert_true(in_flight_pqueue_next(q) == model_min(model));
	found = in_flight_pqueue_find(q, wanted->id);
	assert_int_equal(found != NULL, model_has(model, wanted->id));
	if (found)
		assert_memory_equal(found->id.hex, wanted->id.hex, MSG_ID_LENGTH);
	message_unref(wanted);
}

static void random_step(struct in_flight_pqueue *q, struct model *model, uint32_t push_percent)
{
	uint32_t dice = rand_below(100);
	if (dice < push_percent && model->n < MODEL_MAX) {
		/* Few deadlines, so that they repeat. */
		both_push(q, model, rand_below(50));
	} else if (dice < 60 + push_percent / 3 && model->n > 0) {
		struct message *m = model_any(model);
		m->due_ns = rand_below(50);
		in_flight_pqueue_fix(q, m);
	} else if (dice < 80 && model->n > 0) {
		both_remove(q, model, model_any(model));
	} else {
		both_shift(q, model, rand_below(50));
	}
}

static void test_it_behaves_as_a_plain_list_would(void **state)
{
	struct in_flight_pqueue q;
	struct model model = {.n = 0};
	in_flight_pqueue_init(&q);
	for (int i = 0; i < ROUNDS(20000); i++) {
		/* In turn it grows and shrinks. */
		random_step(&q, &model, i / 1000 % 2 ? 15 : 70);
		expect_same(&q, &model);
		if (i % 50 == 0) {
			expect_sound(&q);
			expect_look(&q, &model, rand_below(MODEL_MAX + 2));
		}
		if (rand_below(500) == 0)
			in_flight_pqueue_trim(&q);
	}
	in_flight_pqueue_clear(&q);
}

/* What a channel does, with time going on: runs get long, and few. */
static void step_of_a_channel(struct in_flight_pqueue *q, struct model *model, int64_t now)
{
	static const int64_t timeouts[] = {60, 60, 60, 30, 90};
	int64_t timeout = timeouts[rand_below(5)];
	uint32_t dice = rand_below(100);
	if (dice < 10) {
		for (size_t n = rand_below(128); n > 0 && model->n < MODEL_MAX; n--)
			both_push(q, model, now + timeout); /* a batch for a consumer */
	} else if (dice < 90 && model->n > 0) {
		/* FINs, half of them in the order of delivery. */
		for (size_t n = rand_below(12); n > 0 && model->n > 0; n--)
			both_remove(q, model, dice < 50 ? first_of_run(q, 0) : model_any(model));
	} else if (dice < 95 && model->n > 0) {
		struct message *m = model_any(model);
		m->due_ns = now + timeout;
		in_flight_pqueue_fix(q, m); /* TOUCH */
	} else {
		while (both_shift(q, model, now))
			;
	}
}

static void test_it_behaves_as_a_plain_list_would_while_time_goes_on(void **state)
{
	struct in_flight_pqueue q;
	struct model model = {.n = 0};
	in_flight_pqueue_init(&q);
	for (int i = 0; i < ROUNDS(20000); i++) {
		step_of_a_channel(&q, &model, i / 4);
		expect_same(&q, &model);
		if (i % 50 == 0) {
			expect_sound(&q);
			expect_look(&q, &model, rand_below(MODEL_MAX + 2));
		}
		if (rand_below(500) == 0)
			in_flight_pqueue_trim(&q);
	}
	in_flight_pqueue_clear(&q);
}

/* Slice by slice: all of one client, none of the others, however small the slices are. */
static void test_those_of_a_client_are_taken(void **state)
{
	enum { N = 1000, MAX = 7 };
	for (size_t slice = 1; slice <= 64; slice *= 8) {
		struct in_flight_pqueue q;
		struct message *msgs[MAX];
		size_t at = 0, taken = 0, calls = 0;
		in_flight_pqueue_init(&q);
		for (uint64_t i = 0; i < N; i++) {
			struct message *m = new_message(i, (int64_t)i);
			m->client_id = (int64_t)(i % 3);
			in_flight_pqueue_push(&q, m);
		}
		while (at < q.n_buckets) {
			size_t n = in_flight_pqueue_take_of_client(&q, 1, &at, slice, msgs, MAX);
			assert_true(n <= MAX && ++calls < 10 * N);
			for (size_t i = 0; i < n; i++) {
				assert_int_equal(msgs[i]->client_id, 1);
				message_unref(msgs[i]);
			}
			taken += n;
		}
		assert_int_equal(taken, N / 3);
		assert_int_equal(q.len, N - N / 3);
		assert_int_equal(in_flight_pqueue_take_of_client(&q, 0, &at, slice, msgs, MAX), 0);
		for (struct message *m; (m = in_flight_pqueue_peek_and_shift(&q, INT64_MAX));) {
			assert_int_not_equal(m->client_id, 1);
			message_unref(m);
		}
		in_flight_pqueue_clear(&q);
		at = 0;
		assert_int_equal(in_flight_pqueue_take_of_client(&q, 0, &at, slice, msgs, MAX), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_priority_queue),
		cmocka_unit_test(test_unsorted_insert),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_shift_takes_what_is_due_and_nothing_else),
		cmocka_unit_test(test_the_earliest_deadline_is_known),
		cmocka_unit_test(test_an_empty_queue_finds_nothing),
		cmocka_unit_test(test_two_messages_of_one_id_live_side_by_side),
		cmocka_unit_test(test_clear_drops_its_references_only),
		cmocka_unit_test(test_a_burst_gives_its_memory_back),
		cmocka_unit_test(test_buckets_stay_short_for_ids_that_follow_each_other),
		cmocka_unit_test(test_one_timeout_makes_one_run),
		cmocka_unit_test(test_a_shorter_timeout_begins_a_run),
		cmocka_unit_test(test_the_end_of_a_run_may_leave),
		cmocka_unit_test(test_a_touch_moves_a_message_to_its_new_place),
		cmocka_unit_test(test_it_behaves_as_a_plain_list_would),
		cmocka_unit_test(test_it_behaves_as_a_plain_list_would_while_time_goes_on),
		cmocka_unit_test(test_those_of_a_client_are_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
