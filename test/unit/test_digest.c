/* SPDX-License-Identifier: MIT */
/* digest: the test vectors of RFC 1321, lengths around a block's end, and crc32.ChecksumIEEE. */
#include "test/unit/helper.h"

#include "common/digest.h"

static void check_md5(const char *text, size_t len, const char *want)
{
	unsigned char sum[16];
	char hex[33];
	digest_md5(text, len, sum);
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
	assert_string_equal(hex, want);
}

static void test_md5_is_that_of_rfc_1321(void **state)
{
	static const char *const cases[][2] = {
		{"", "d41d8cd98f00b204e9800998ecf8427e"},
		{"a", "0cc175b9c0f1b6a831c399e269772661"},
		{"abc", "900150983cd24fb0d6963f7d28e17f72"},
		{"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
		{"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
		{"1234567890123456789012345678901234567890123456789012345678901234567890123456789"
		 "0",
			"57edf4a22be3c955ac49da2e2107b67a"},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		check_md5(cases[i][0], strlen(cases[i][0]), cases[i][1]);
}

static void test_md5_is_right_where_the_padding_changes(void **state)
{
	char a[129];
	memset(a, 'a', sizeof(a));
	check_md5(a, 55, "ef1772b6dff9a122358552954ad0df65");
	check_md5(a, 56, "3b0c8ac703f828b04c6c197006d17218");
	check_md5(a, 63, "b06521f39153d618550606be297466d5");
	check_md5(a, 64, "014842d480b571495a4a0363793f7367");
	check_md5(a, 65, "c743a45e0d2e6a95cb859adae0248435");
	check_md5(a, 128, "e510683b3f5ffe4093d021808bc6ff70");
}

static void test_crc32_is_that_of_go(void **state)
{
	assert_int_equal(digest_crc32("", 0), 0);
	assert_int_equal(digest_crc32("123456789", 9), 0xcbf43926);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_md5_is_that_of_rfc_1321),
		cmocka_unit_test(test_md5_is_right_where_the_padding_changes),
		cmocka_unit_test(test_crc32_is_that_of_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
