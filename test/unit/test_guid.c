/* SPDX-License-Identifier: MIT */
/* guid: ids in stock's layout that are never given twice, whatever the clock does. */
#include "test/unit/helper.h"

#include "nsqd/core/guid.h"

static void test_the_layout_is_stocks(void **state)
{
	struct guid_factory f;
	/* As stock's guid.Hex prints node 0x155 and sequence 0xabc at 1700000000000000000 ns. */
	guid_factory_init(&f, 0x155);
	struct message_id id = guid_hex(&f, (INT64_C(1700000000000000000) >> 20) << 12 | 0xabc);
	assert_memory_equal(id.hex, "135950b844955abc", MSG_ID_LENGTH);
	/* The epoch, and node and sequence at their ends. */
	guid_factory_init(&f, 1023);
	id = guid_hex(&f, INT64_C(1288834974288) << 12 | 4095);
	assert_memory_equal(id.hex, "00000000003fffff", MSG_ID_LENGTH);
	id = guid_hex(&f, INT64_C(1288834974289) << 12);
	assert_memory_equal(id.hex, "00000000007ff000", MSG_ID_LENGTH);
}

static uint64_t value_of(struct message_id id)
{
	char hex[MSG_ID_LENGTH + 1] = {0};
	memcpy(hex, id.hex, MSG_ID_LENGTH);
	return strtoull(hex, NULL, 16);
}

static void test_an_id_tells_the_time_and_the_node(void **state)
{
	struct guid_factory f;
	int64_t before = clock_wall_ns() >> 20, after;
	guid_factory_init(&f, 517);
	uint64_t id = value_of(guid_hex(&f, guid_factory_reserve(&f, 1)));
	after = clock_wall_ns() >> 20;
	assert_int_equal(id >> 12 & 1023, 517);
	assert_in_range((id >> 22) + 1288834974288, before, after);
}

static void test_ids_of_one_thread_grow(void **state)
{
	struct guid_factory f;
	uint64_t last = 0;
	guid_factory_init(&f, 3);
	for (int i = 0; i < 100000; i++) {
		uint64_t id = value_of(guid_hex(&f, guid_factory_reserve(&f, 1)));
		assert_true(id > last);
		last = id;
	}
}

static void test_a_batch_is_reserved_as_a_whole(void **state)
{
	struct guid_factory f;
	uint64_t last = 0;
	guid_factory_init(&f, 3);
	/* More than a pseudo-millisecond has: the sequence overflows into the timestamp. */
	int64_t first = guid_factory_reserve(&f, 10000);
	int64_t second = guid_factory_reserve(&f, 1);
	assert_true(second >= first + 10000);
	for (int i = 0; i < 10000; i++) {
		uint64_t id = value_of(guid_hex(&f, first + i));
		assert_true(id > last);
		last = id;
	}
	assert_true(value_of(guid_hex(&f, second)) > last);
}

static void test_a_clock_that_is_behind_is_noticed_by_nobody(void **state)
{
	struct guid_factory f;
	int64_t ahead = ((clock_wall_ns() + 3600 * NSEC_PER_SEC) >> 20) << 12;
	guid_factory_init(&f, 3);
	/* As if the clock had been an hour ahead when the last id was given out. */
	atomic_store(&f.next, ahead);
	assert_int_equal(guid_factory_reserve(&f, 5), ahead);
	assert_int_equal(guid_factory_reserve(&f, 5), ahead + 5);
}

static void test_the_counter_jumps_to_the_present(void **state)
{
	struct guid_factory f;
	int64_t now = (clock_wall_ns() >> 20) << 12;
	guid_factory_init(&f, 3);
	atomic_store(&f.next, now - 1000000);
	assert_true(guid_factory_reserve(&f, 1) >= now);
}

#define THREADS 8
#define IDS ROUNDS(40000)

struct ids {
	struct guid_factory *factory;
	struct chan *start;
	int64_t v[IDS];
};

static void take_ids(void *arg)
{
	struct ids *ids = arg;
	size_t n = 0;
	chan_recv(ids->start, NULL);
	while (n < IDS) {
		size_t k = 1 + n % 7;
		if (k > IDS - n)
			k = IDS - n;
		int64_t first = guid_factory_reserve(ids->factory, k);
		for (size_t i = 0; i < k; i++)
			ids->v[n++] = first + (int64_t)i;
	}
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static void test_no_id_is_given_twice_under_8_threads(void **state)
{
	struct ids *ids = calloc(THREADS, sizeof(*ids));
	int64_t *all = calloc((size_t)THREADS * IDS, sizeof(*all));
	struct chan *start = chan_new(0, 0);
	struct guid_factory f;
	struct wait_group wg;
	guid_factory_init(&f, 3);
	wait_group_init(&wg);
	for (int i = 0; i < THREADS; i++) {
		ids[i].factory = &f;
		ids[i].start = start;
		go(&wg, take_ids, &ids[i]);
	}
	chan_close(start);
	join(&wg);
	for (int i = 0; i < THREADS; i++) {
		for (size_t k = 1; k < IDS; k++)
			assert_true(ids[i].v[k] > ids[i].v[k - 1]);
		memcpy(all + (size_t)i * IDS, ids[i].v, sizeof(ids[i].v));
	}
	qsort(all, (size_t)THREADS * IDS, sizeof(*all), by_value);
	for (size_t i = 1; i < (size_t)THREADS * IDS; i++)
		assert_true(all[i] > all[i - 1]);
	chan_free(start);
	free(all);
	free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_layout_is_stocks),
		cmocka_unit_test(test_an_id_tells_the_time_and_the_node),
		cmocka_unit_test(test_ids_of_one_thread_grow),
		cmocka_unit_test(test_a_batch_is_reserved_as_a_whole),
		cmocka_unit_test(test_a_clock_that_is_behind_is_noticed_by_nobody),
		cmocka_unit_test(test_the_counter_jumps_to_the_present),
		cmocka_unit_test(test_no_id_is_given_twice_under_8_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
