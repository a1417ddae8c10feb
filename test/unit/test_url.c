/* SPDX-License-Identifier: MIT */
/* common/url against net/url and httprouter's CleanPath. */
#include "test/unit/helper.h"

#include "common/url.h"

/* The pairs as "k=v|k=v|", with 0 bytes as "^". */
static void assert_query(const char *query, bool ok, const char *expected)
{
	struct url_values vs = {0};
	struct strbuf out = STRBUF_INIT;
	assert_int_equal(url_parse_query(&vs, query, strlen(query)), ok);
	strbuf_adds(&out, "");
	for (size_t i = 0; i < vs.n; i++) {
		assert_int_equal(vs.v[i].key[vs.v[i].key_len], 0);
		assert_int_equal(vs.v[i].value[vs.v[i].value_len], 0);
		strbuf_add(&out, vs.v[i].key, vs.v[i].key_len);
		strbuf_addc(&out, '=');
		strbuf_add(&out, vs.v[i].value, vs.v[i].value_len);
		strbuf_addc(&out, '|');
	}
	for (size_t i = 0; i < out.len; i++) {
		if (out.data[i] == '\0')
			out.data[i] = '^';
	}
	assert_string_equal(out.len ? out.data : "", expected);
	strbuf_free(&out);
	url_values_free(&vs);
}

static void test_queries_are_taken_apart_as_by_go(void **state)
{
	assert_query("", true, "");
	assert_query("a=1&b=2", true, "a=1|b=2|");
	assert_query("a&=x&&b=", true, "a=|=x|b=|");
	assert_query("a=1=2", true, "a=1=2|");
	assert_query("a+b=c+d%20e", true, "a b=c d e|");
	assert_query("%61=%00%ff", true, "a=^\xff|");
	assert_query("a=1&a=2", true, "a=1|a=2|");
	assert_query("a=%zz&b=1", false, "b=1|");
	assert_query("a=%2&b=1", false, "b=1|");
	assert_query("a=%", false, "");
	assert_query("a;b&c=1", false, "c=1|");
}

static void test_values_are_found_by_whole_key(void **state)
{
	struct url_values vs = {0};
	const char query[] = "topics=1&topic=2&topic=3&top%00=4";
	assert_true(url_parse_query(&vs, query, strlen(query)));
	assert_string_equal(url_values_get(&vs, "topic")->value, "2");
	assert_null(url_values_get(&vs, "top"));
	assert_true(url_parse_query(&vs, "", 0));
	assert_null(url_values_get(&vs, "topic"));
	url_values_free(&vs);
}

static void test_pointers_survive_a_long_query(void **state)
{
	struct url_values vs = {0};
	struct strbuf query = STRBUF_INIT;
	for (int i = 0; i < 5000; i++)
		strbuf_adds(&query, "a&");
	assert_true(url_parse_query(&vs, query.data, query.len));
	assert_int_equal(vs.n, 5000);
	for (size_t i = 0; i < vs.n; i++) {
		assert_string_equal(vs.v[i].key, "a");
		assert_string_equal(vs.v[i].value, "");
	}
	strbuf_free(&query);
	url_values_free(&vs);
}

/* path, escaped path and query; "-" for none. */
static void assert_target(
	const char *target, const char *path, const char *escaped, const char *query)
{
	struct url_target t;
	struct strbuf buf = STRBUF_INIT, out = STRBUF_INIT;
	assert_true(url_parse_target(&t, target, strlen(target), &buf));
	assert_string_equal(t.path, path);
	url_add_escaped_path(&out, &t);
	assert_string_equal(out.len ? out.data : "", escaped);
	strbuf_reset(&out);
	strbuf_add(&out, t.raw_query ? t.raw_query : "-", t.raw_query ? t.raw_query_len : 1);
	assert_string_equal(out.len ? out.data : "", query);
	strbuf_free(&buf);
	strbuf_free(&out);
}

static void test_targets_are_parsed_as_by_go(void **state)
{
	assert_target("/", "/", "/", "-");
	assert_target("/a?", "/a", "/a", "");
	assert_target("/a?b?c", "/a", "/a", "b?c");
	assert_target("/a%20b%2Fc", "/a b/c", "/a%20b%2Fc", "-");
	assert_target("/a+b", "/a+b", "/a+b", "-");
	assert_target("/\xe9", "/\xe9", "/%E9", "-");
	assert_target("/a#b", "/a#b", "/a%23b", "-");
	assert_target("http://host:1/a?b", "/a", "/a", "b");
	assert_target("http://host", "", "", "-");
	assert_target("*", "*", "*", "-");
	/* Absolute ones: only what an authority can be is skipped. */
	assert_target("http:/a", "/a", "/a", "-");
	assert_target("mailto:x@y", "", "", "-");
	assert_target("x:80", "", "", "-");
	assert_target("http:?q", "", "", "q");
	assert_target("http:///a", "/a", "/a", "-");
	assert_target("http://u:p%20@h%e9:80/a", "/a", "/a", "-");
	assert_target("http://[::1]:80/a", "/a", "/a", "-");
	assert_target("http://[fe80::1%25en0]/a", "/a", "/a", "-");
	assert_target("http://a:b:1/a", "/a", "/a", "-");
}

static void test_malformed_targets_are_refused(void **state)
{
	static const char *const bad[] = {"", "a", "a/b", "://x", "/%", "/%2", "/%zz", "/a b",
		"/a\x01", "/a?b\x7f", "**", "1:x", "http://h:x/", "http://[::1/",
		"http://[1.2.3.4]/", "http://x[::1]/", "http://h%41/", "http://h%zz/",
		"http://a^b/", "http://u^@h/", "http://u%zz@h/", "http://[::1]x/"};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct url_target t;
		struct strbuf buf = STRBUF_INIT;
		assert_false(url_parse_target(&t, bad[i], strlen(bad[i]), &buf));
		strbuf_free(&buf);
	}
}

/* httprouter's path_test.go */
static void test_paths_are_cleaned_as_by_go(void **state)
{
	static const struct {
		const char *path;
		const char *clean;
	} tests[] = {
		{"/", "/"},
		{"/abc", "/abc"},
		{"/a/b/c", "/a/b/c"},
		{"/abc/", "/abc/"},
		{"/a/b/c/", "/a/b/c/"},
		{"", "/"},
		{"a/", "/a/"},
		{"abc", "/abc"},
		{"abc/def", "/abc/def"},
		{"//", "/"},
		{"/abc//", "/abc/"},
		{"/abc/def//", "/abc/def/"},
		{"/a/b/c//", "/a/b/c/"},
		{"/abc//def//ghi", "/abc/def/ghi"},
		{"//abc", "/abc"},
		{"///abc", "/abc"},
		{"//abc//", "/abc/"},
		{".", "/"},
		{"./", "/"},
		{"/abc/./def", "/abc/def"},
		{"/./abc/def", "/abc/def"},
		{"/abc/.", "/abc/"},
		{"..", "/"},
		{"../", "/"},
		{"../../", "/"},
		{"../..", "/"},
		{"../../abc", "/abc"},
		{"/abc/def/ghi/../jkl", "/abc/def/jkl"},
		{"/abc/def/../ghi/../jkl", "/abc/jkl"},
		{"/abc/def/..", "/abc"},
		{"/abc/def/../..", "/"},
		{"/abc/def/../../..", "/"},
		{"/abc/def/../../../ghi/jkl/../../../mno", "/mno"},
		{"abc/./../def", "/def"},
		{"abc//./../def", "/def"},
		{"abc/../../././../def", "/def"},
	};
	for (size_t i = 0; i < COUNT(tests); i++) {
		struct strbuf out = STRBUF_INIT;
		url_clean_path(&out, tests[i].path, strlen(tests[i].path));
		assert_string_equal(out.data, tests[i].clean);
		strbuf_free(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queries_are_taken_apart_as_by_go),
		cmocka_unit_test(test_values_are_found_by_whole_key),
		cmocka_unit_test(test_pointers_survive_a_long_query),
		cmocka_unit_test(test_targets_are_parsed_as_by_go),
		cmocka_unit_test(test_malformed_targets_are_refused),
		cmocka_unit_test(test_paths_are_cleaned_as_by_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
