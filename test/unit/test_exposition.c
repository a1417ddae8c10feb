/* SPDX-License-Identifier: MIT */
/* The text formats of Prometheus, to the byte. */
#include "test/unit/helper.h"

#include <math.h>
#include <string.h>

#include "nsqd/stats/exposition.h"

static const struct labels none = {"", 0};

static void assert_printed(struct exposition *e, const char *text)
{
	assert_string_equal(e->out->data, text);
	strbuf_free(e->out);
}

#define EXPOSITION(e, om)                                                                          \
	struct strbuf out = STRBUF_INIT;                                                           \
	struct exposition e = {.out = &out, .openmetrics = om}

static struct labels label(struct strbuf *sb, const char *value, size_t len)
{
	strbuf_reset(sb);
	exposition_add_label(sb, "a", value, len);
	return (struct labels){sb->data, sb->len};
}

static void test_a_family_has_help_type_and_samples(void **state)
{
	EXPOSITION(e, false);
	struct strbuf sb = STRBUF_INIT;
	exposition_family(&e, &(struct metric){"x_count", METRIC_COUNTER, "How many."});
	exposition_int(&e, none, 0);
	exposition_int(&e, label(&sb, "b", 1), INT64_MAX);
	exposition_int(&e, label(&sb, "c", 1), INT64_MIN);
	exposition_end(&e);
	assert_printed(&e, "# HELP x_count How many.\n# TYPE x_count counter\nx_count 0\n"
			   "x_count{a=\"b\"} 9223372036854775807\n"
			   "x_count{a=\"c\"} -9223372036854775808\n");
	strbuf_free(&sb);
}

static void test_openmetrics_names_a_counter_without_total(void **state)
{
	EXPOSITION(e, true);
	exposition_family(&e, &(struct metric){"x_total", METRIC_COUNTER, "X."});
	exposition_int(&e, none, 7);
	exposition_family(&e, &(struct metric){"_total", METRIC_GAUGE, "G."});
	exposition_end(&e);
	assert_printed(&e, "# HELP x X.\n# TYPE x counter\nx_total 7\n"
			   "# HELP _total G.\n# TYPE _total gauge\n# EOF\n");
}

static void test_openmetrics_knows_no_counter_of_another_name(void **state)
{
	EXPOSITION(e, true);
	exposition_family(&e, &(struct metric){"x_count", METRIC_COUNTER, "X."});
	exposition_int(&e, none, 7);
	exposition_end(&e);
	assert_printed(&e, "# HELP x_count X.\n# TYPE x_count unknown\nx_count 7\n# EOF\n");
}

static void test_doubles_are_numbers_that_prometheus_reads(void **state)
{
	EXPOSITION(e, false);
	exposition_family(&e, &(struct metric){"x", METRIC_GAUGE, "X."});
	const double values[] = {0, 0.5, 1795364524.25, 1e300, NAN, INFINITY, -INFINITY};
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		exposition_double(&e, none, values[i]);
	assert_printed(&e, "# HELP x X.\n# TYPE x gauge\nx 0\nx 0.5\nx 1795364524.25\nx 1e+300\n"
			   "x NaN\nx +Inf\nx -Inf\n");
}

static void test_a_time_is_in_the_bucket_of_its_bound(void **state)
{
	struct latency l = {0};
	latency_add(&l, -1);
	latency_add(&l, NSEC_PER_MSEC);
	latency_add(&l, NSEC_PER_MSEC + 1);
	latency_add(&l, 1800 * NSEC_PER_SEC);
	latency_add(&l, INT64_MAX);
	assert_int_equal(l.counts[0], 2);
	assert_int_equal(l.counts[1], 1);
	assert_int_equal(l.counts[LATENCY_BOUNDS - 1], 1);
	assert_int_equal(l.counts[LATENCY_BOUNDS], 1);
	assert_true(l.sum_ns > 9.2e18);
}

static void test_buckets_are_added_up(void **state)
{
	EXPOSITION(e, false);
	struct strbuf sb = STRBUF_INIT;
	struct latency l = {.counts = {2, 0, 1, [LATENCY_BOUNDS] = 4}, .sum_ns = 1.5e9};
	exposition_family(&e, &(struct metric){"x_seconds", METRIC_HISTOGRAM, "X."});
	exposition_latency(&e, label(&sb, "b", 1), &l);
	assert_printed(&e, "# HELP x_seconds X.\n# TYPE x_seconds histogram\n"
			   "x_seconds_bucket{a=\"b\",le=\"0.001\"} 2\n"
			   "x_seconds_bucket{a=\"b\",le=\"0.01\"} 2\n"
			   "x_seconds_bucket{a=\"b\",le=\"0.1\"} 3\n"
			   "x_seconds_bucket{a=\"b\",le=\"0.5\"} 3\n"
			   "x_seconds_bucket{a=\"b\",le=\"2.5\"} 3\n"
			   "x_seconds_bucket{a=\"b\",le=\"15.0\"} 3\n"
			   "x_seconds_bucket{a=\"b\",le=\"120.0\"} 3\n"
			   "x_seconds_bucket{a=\"b\",le=\"1800.0\"} 3\n"
			   "x_seconds_bucket{a=\"b\",le=\"+Inf\"} 7\n"
			   "x_seconds_sum{a=\"b\"} 1.5\nx_seconds_count{a=\"b\"} 7\n");
	strbuf_free(&sb);
}

static void test_a_histogram_without_labels(void **state)
{
	EXPOSITION(e, false);
	struct latency l = {0};
	exposition_family(&e, &(struct metric){"x", METRIC_HISTOGRAM, "X."});
	exposition_latency(&e, none, &l);
	assert_non_null(strstr(out.data, "\nx_bucket{le=\"0.001\"} 0\n"));
	assert_non_null(strstr(out.data, "\nx_sum 0\nx_count 0\n"));
	strbuf_free(&out);
}

/* No label of any length, nor any number, goes beyond the room that was made for the line. */
static void test_lines_of_any_length(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	char value[700];
	memset(value, 'v', sizeof(value));
	struct latency l = {.sum_ns = 1.2345678901234567e-300};
	for (size_t i = 0; i <= LATENCY_BOUNDS; i++)
		l.counts[i] = INT64_MAX / 16;
	for (size_t len = 0; len <= sizeof(value); len++) {
		EXPOSITION(e, len % 2);
		struct labels labels = label(&sb, value, len);
		exposition_family(&e, &(struct metric){"x_seconds", METRIC_HISTOGRAM, "X."});
		exposition_int(&e, labels, INT64_MIN);
		exposition_latency(&e, labels, &l);
		exposition_double(&e, labels, -1.2345678901234567e-300);
		assert_int_equal(strlen(out.data), out.len);
		strbuf_free(&out);
	}
	strbuf_free(&sb);
}

static void assert_label(const char *value, size_t len, const char *expected)
{
	struct strbuf sb = STRBUF_INIT;
	label(&sb, value, len);
	assert_string_equal(sb.data, expected);
	strbuf_free(&sb);
}

static void test_values_of_labels_are_escaped(void **state)
{
	assert_label("", 0, "a=\"\"");
	assert_label("h\xc3\xa9", 3, "a=\"h\xc3\xa9\"");
	assert_label("\"\\\n", 3, "a=\"\\\"\\\\\\n\"");
	assert_label("}\r\t,=", 5, "a=\"}\r\t,=\"");
}

/* One such byte would cost Prometheus the whole scrape. */
static void test_what_is_no_text_is_replaced(void **state)
{
	assert_label("a\0b", 3,
		"a=\"a\xef\xbf\xbd"
		"b\"");
	assert_label("\xff\xc3", 2, "a=\"\xef\xbf\xbd\xef\xbf\xbd\"");
	assert_label("\xed\xa0\x80", 3, "a=\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void test_labels_are_separated(void **state)
{
	struct strbuf sb = STRBUF_INIT;
	exposition_add_label(&sb, "a", "", 0);
	exposition_add_label(&sb, "b", "\"", 1);
	exposition_add_label(&sb, "c", "x", 1);
	assert_string_equal(sb.data, "a=\"\",b=\"\\\"\",c=\"x\"");
	strbuf_free(&sb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_family_has_help_type_and_samples),
		cmocka_unit_test(test_openmetrics_names_a_counter_without_total),
		cmocka_unit_test(test_openmetrics_knows_no_counter_of_another_name),
		cmocka_unit_test(test_doubles_are_numbers_that_prometheus_reads),
		cmocka_unit_test(test_a_time_is_in_the_bucket_of_its_bound),
		cmocka_unit_test(test_buckets_are_added_up),
		cmocka_unit_test(test_a_histogram_without_labels),
		cmocka_unit_test(test_lines_of_any_length),
		cmocka_unit_test(test_values_of_labels_are_escaped),
		cmocka_unit_test(test_what_is_no_text_is_replaced),
		cmocka_unit_test(test_labels_are_separated),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
