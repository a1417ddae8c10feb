/* SPDX-License-Identifier: MIT */
/* frame: the eight bytes in front of what the server sends. */
#include "test/unit/helper.h"

#include "protocol/frame.h"

static void test_the_size_counts_the_type_but_not_itself(void **state)
{
	unsigned char h[FRAME_HEADER_LENGTH];
	frame_write_header(h, FRAME_TYPE_RESPONSE, 2);
	assert_memory_equal(h, "\0\0\0\6\0\0\0\0", 8);
}

static void test_size_and_type_are_big_endian(void **state)
{
	unsigned char h[FRAME_HEADER_LENGTH];
	frame_write_header(h, FRAME_TYPE_MESSAGE, 0x01020304 - 4);
	assert_memory_equal(h, "\1\2\3\4\0\0\0\2", 8);
}

static void test_a_frame_may_be_empty(void **state)
{
	unsigned char h[FRAME_HEADER_LENGTH];
	frame_write_header(h, FRAME_TYPE_ERROR, 0);
	assert_memory_equal(h, "\0\0\0\4\0\0\0\1", 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_size_counts_the_type_but_not_itself),
		cmocka_unit_test(test_size_and_type_are_big_endian),
		cmocka_unit_test(test_a_frame_may_be_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
