/* SPDX-License-Identifier: MIT */
/* clock: Go durations, parsed and printed as package time does (its own test tables, and more). */
#include "test/unit/helper.h"

#include "common/clock.h"

#define US NSEC_PER_USEC
#define MS NSEC_PER_MSEC
#define S NSEC_PER_SEC
#define M (60 * S)
#define H (60 * M)

static void test_what_go_takes_is_a_duration(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} cases[] = {
		{"0", 0},
		{"5s", 5 * S},
		{"30s", 30 * S},
		{"1478s", 1478 * S},
		{"-5s", -5 * S},
		{"+5s", 5 * S},
		{"-0", 0},
		{"+0", 0},
		{"5.0s", 5 * S},
		{"5.6s", 5 * S + 600 * MS},
		{"5.s", 5 * S},
		{".5s", 500 * MS},
		{"1.0s", S},
		{"1.00s", S},
		{"1.004s", S + 4 * MS},
		{"1.0040s", S + 4 * MS},
		{"100.00100s", 100 * S + MS},
		{"10ns", 10},
		{"11us", 11 * US},
		{"12\xc2\xb5s", 12 * US},
		{"12\xce\xbcs", 12 * US},
		{"13ms", 13 * MS},
		{"14s", 14 * S},
		{"15m", 15 * M},
		{"16h", 16 * H},
		{"3h30m", 3 * H + 30 * M},
		{"10.5s4m", 4 * M + 10 * S + 500 * MS},
		{"-2m3.4s", -(2 * M + 3 * S + 400 * MS)},
		{"1h2m3s4ms5us6ns", H + 2 * M + 3 * S + 4 * MS + 5 * US + 6},
		{"39h9m14.425s", 39 * H + 9 * M + 14 * S + 425 * MS},
		{"52763797000ns", 52763797000},
		{"0.3333333333333333333h", 20 * M},
		{"9007199254740993ns", 9007199254740993},
		{"9223372036854775807ns", INT64_MAX},
		{"9223372036854775.807us", INT64_MAX},
		{"9223372036s854ms775us807ns", INT64_MAX},
		{"-9223372036854775808ns", INT64_MIN},
		{"-9223372036854775.808us", INT64_MIN},
		{"-9223372036s854ms775us808ns", INT64_MIN},
		{"-2562047h47m16.854775808s", INT64_MIN},
		{"0.100000000000000000000h", 6 * M},
		{"0.830103483285477580700h", 49 * M + 48 * S + 372539827},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t ns = -1;
		if (!duration_parse(cases[i].text, &ns) || ns != cases[i].ns)
			fail_msg("%s: %lld", cases[i].text, (long long)ns);
	}
}

static void test_what_go_refuses_is_no_duration(void **state)
{
	static const char *const cases[] = {"", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "5 s",
		" 5s", "5s ", "1h-2m", "--5s", "00", "1e3s", "0x5s", "5S", "\x85\x85", "\xffs",
		"hello \xff world", "9223372036854775810ns", "9223372036854775808ns",
		"-9223372036854775809ns", "9223372036854776us", "3000000h",
		"9223372036854775.808us", "9223372036854ms775us808ns", "9223372036s854ms775us808ns",
		"2562047h47m16.854775808s", "-9223372036854775808ns-9223372036854775808ns",
		"-9223372036854775808ns9223372036854775808ns"};
	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t ns = 42;
		if (duration_parse(cases[i], &ns))
			fail_msg("accepted: %s as %lld", cases[i], (long long)ns);
		assert_int_equal(ns, 42);
	}
}

static void test_durations_are_printed_as_by_go(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} cases[] = {
		{"0s", 0},
		{"1ns", 1},
		{"999ns", 999},
		{"1.1\xc2\xb5s", 1100},
		{"2.2ms", 2200 * US},
		{"3.3s", 3300 * MS},
		{"4m5s", 4 * M + 5 * S},
		{"4m5.001s", 4 * M + 5001 * MS},
		{"5h6m7.001s", 5 * H + 6 * M + 7001 * MS},
		{"8m0.000000001s", 8 * M + 1},
		{"2562047h47m16.854775807s", INT64_MAX},
		{"-2562047h47m16.854775808s", INT64_MIN},
		{"1m0s", M},
		{"250ms", 250 * MS},
		{"15m0s", 15 * M},
		{"1h0m0s", H},
		{"-1.5s", -1500 * MS},
		{"10m0s", 10 * M},
		{"100\xc2\xb5s", 100 * US},
		{"999.999999ms", S - 1},
	};
	char buf[32];
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_string_equal(duration_format(cases[i].ns, buf, sizeof(buf)), cases[i].text);
}

static void test_what_is_printed_can_be_parsed(void **state)
{
	uint64_t x = 88172645463325252ULL;
	for (int i = 0; i < 20000; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		int64_t ns = (int64_t)x >> (x % 63), back = 0;
		char buf[32];
		duration_format(ns, buf, sizeof(buf));
		if (!duration_parse(buf, &back) || back != ns)
			fail_msg("%lld -> %s -> %lld", (long long)ns, buf, (long long)back);
	}
}

static void test_clocks_run(void **state)
{
	int64_t a = clock_mono_ns(), b = clock_mono_ns();
	assert_true(a != 0 && b >= a);
	assert_true(clock_wall_ns() > 1500000000LL * S);
}

static void test_a_deadline_for_poll_is_rounded_up(void **state)
{
	int64_t now = clock_mono_ns();
	assert_int_equal(clock_msec_until(now - S), 0);
	assert_int_equal(clock_msec_until(now), 0);
	/* Rounded up: a thread that waits for so long is not too early. */
	int ms = clock_msec_until(clock_mono_ns() + H);
	assert_true(ms > 0 && ms <= 3600 * 1000);
	assert_true((int64_t)ms * MS + clock_mono_ns() >= now + H);
	assert_int_equal(clock_msec_until(INT64_MAX), INT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_go_takes_is_a_duration),
		cmocka_unit_test(test_what_go_refuses_is_no_duration),
		cmocka_unit_test(test_durations_are_printed_as_by_go),
		cmocka_unit_test(test_what_is_printed_can_be_parsed),
		cmocka_unit_test(test_clocks_run),
		cmocka_unit_test(test_a_deadline_for_poll_is_rounded_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
