/* SPDX-License-Identifier: MIT */
/* crc32c: the vectors of RFC 3720, and both ways of computing it agree. */
#include "test/unit/helper.h"

#include "common/crc32c.h"

static void test_crc32c_is_that_of_rfc_3720(void **state)
{
	unsigned char data[32];
	memset(data, 0, sizeof(data));
	assert_int_equal(crc32c(0, data, 32), 0x8a9136aau);
	memset(data, 0xff, sizeof(data));
	assert_int_equal(crc32c(0, data, 32), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		data[i] = (unsigned char)i;
	assert_int_equal(crc32c(0, data, 32), 0x46dd794eu);
	for (int i = 0; i < 32; i++)
		data[i] = (unsigned char)(31 - i);
	assert_int_equal(crc32c(0, data, 32), 0x113fdb5cu);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void test_both_ways_agree_at_every_length_and_in_parts(void **state)
{
	unsigned char data[300];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * i * 7 + 3);
	for (size_t from = 0; from < 9; from++) {
		for (size_t n = 0; n + from <= sizeof(data); n++) {
			uint32_t whole = crc32c(0, data + from, n);
			size_t half = n / 3;
			assert_int_equal(whole, crc32c_portable(0, data + from, n));
			assert_int_equal(whole,
				crc32c(crc32c(0, data + from, half), data + from + half, n - half));
			assert_int_equal(
				whole, crc32c_portable(crc32c_portable(0, data + from, half),
					       data + from + half, n - half));
		}
	}
}

/* Long enough for what is done several at a time, and for a rest. */
static void test_both_ways_agree_on_long_data(void **state)
{
	enum { MAX = 70000 };
	unsigned char *data = malloc(MAX);
	uint32_t x = 1;
	for (size_t i = 0; i < MAX; i++) {
		x = x * 1664525u + 1013904223u;
		data[i] = (unsigned char)(x >> 24);
	}
	for (size_t n = 3000; n <= MAX; n += 331) {
		uint32_t whole = crc32c(0, data, n);
		assert_int_equal(whole, crc32c_portable(0, data, n));
		assert_int_equal(whole, crc32c(crc32c(0, data, 1001), data + 1001, n - 1001));
	}
	for (size_t n = 3070; n <= 3090; n++)
		assert_int_equal(crc32c(7, data + 1, n), crc32c_portable(7, data + 1, n));
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_is_that_of_rfc_3720),
		cmocka_unit_test(test_both_ways_agree_at_every_length_and_in_parts),
		cmocka_unit_test(test_both_ways_agree_on_long_data),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
