/* SPDX-License-Identifier: MIT */
/* toml: what is read, what is refused with which message, and that no bytes do any harm. */
#include "test/unit/helper.h"

#include <math.h>

#include "common/toml.h"

/* Parses an exact copy, so that a read beyond the end is seen by the sanitizer. */
static int parse(struct toml *t, const char *text, size_t len, struct err *err)
{
	char *copy = malloc(len ? len : 1);
	memcpy(copy, text, len);
	int rc = toml_parse(t, copy, len, err);
	free(copy);
	return rc;
}

static struct toml must_parse(const char *text)
{
	struct toml t;
	struct err err;
	if (parse(&t, text, strlen(text), &err) != 0)
		fail_msg("%s: %s", text, err.msg);
	return t;
}

static const struct toml_value *value(const struct toml *t, const char *key)
{
	const struct toml_entry *e = toml_get(t, key);
	assert_non_null(e);
	return &e->value;
}

static void test_an_empty_document_is_fine(void **state)
{
	static const char *const texts[] = {
		"", "\n", "# only a comment", "  \t\n\r\n# x\n", "\xef\xbb\xbf"};
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct toml t = must_parse(texts[i]);
		assert_int_equal(t.n, 0);
		toml_free(&t);
	}
}

static void test_keys_know_their_lines(void **state)
{
	struct toml t = must_parse("a = 1\n\n# c\r\nb-2_C=2 # c\n\"q\" = 3\n'l'=4\n\"x y\"=5\n"
				   "d . e = 6\n[t]\n f=7\n[ t.u ]\ng=8\n[[v]]\nh=9\n[[v]]\nh=10\n");
	static const struct {
		const char *key;
		int line;
	} keys[] = {{"a", 1}, {"b-2_C", 4}, {"q", 5}, {"l", 6}, {"\"x y\"", 7}, {"d.e", 8},
		{"t.f", 10}, {"t.u.g", 12}, {"v[13].h", 14}, {"v[15].h", 16}};
	assert_int_equal(t.n, COUNT(keys));
	for (size_t i = 0; i < t.n; i++) {
		assert_string_equal(t.entries[i].key, keys[i].key);
		assert_int_equal(t.entries[i].line, keys[i].line);
		assert_int_equal(t.entries[i].value.integer, i + 1);
	}
	assert_null(toml_get(&t, "nope"));
	toml_free(&t);
}

static void test_strings_are_unquoted(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"s=\"\"", ""},
		{"s=''", ""},
		{"s=\"a # b\" # c", "a # b"},
		{"s=\"\\b\\t\\n\\f\\r\\\"\\\\\"", "\b\t\n\f\r\"\\"},
		{"s='C:\\x\"'", "C:\\x\""},
		{"s=\"\\u00fc\\u20AC\\U0001F600\"", "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"s=\"tab\there\"", "tab\there"},
		{"s=\"gr\xc3\xbc\xc3\x9f\"", "gr\xc3\xbc\xc3\x9f"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct toml t = must_parse(cases[i].text);
		assert_int_equal(value(&t, "s")->type, TOML_STRING);
		assert_string_equal(value(&t, "s")->string, cases[i].want);
		toml_free(&t);
	}
}

static void test_numbers_and_booleans_have_their_values(void **state)
{
	struct toml t = must_parse("a=0\nb=-17\nc=+1_000\nd=0xDEAD_beef\ne=0o17\nf=0b101\n"
				   "g=9223372036854775807\nh=-9223372036854775808\n"
				   "i=1.5\nj=-0.25e2\nk=1e3\nl=1_0.5_0\nm=inf\nn=-inf\no=nan\n"
				   "p=true\nq=false");
	static const int64_t integers[] = {0, -17, 1000, 0xdeadbeef, 15, 5, INT64_MAX, INT64_MIN};
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(t.entries[i].value.type, TOML_INTEGER);
		assert_true(t.entries[i].value.integer == integers[i]);
	}
	static const double floats[] = {1.5, -25, 1000, 10.5, (double)INFINITY, -(double)INFINITY};
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(t.entries[8 + i].value.type, TOML_FLOAT);
		assert_true(t.entries[8 + i].value.number == floats[i]);
	}
	assert_true(isnan(value(&t, "o")->number));
	assert_true(value(&t, "p")->boolean);
	assert_int_equal(value(&t, "q")->type, TOML_BOOLEAN);
	assert_false(value(&t, "q")->boolean);
	toml_free(&t);
}

static void test_arrays_keep_their_elements(void **state)
{
	struct toml t = must_parse("a = []\nb = [ \"x\", 'y' , ]\nc = [\n 1, # one\n\n 2.5\n]\n"
				   "d=[1,2,3,4,5,6,7,8,9,true]");
	assert_int_equal(value(&t, "a")->array.n, 0);
	assert_int_equal(value(&t, "b")->array.n, 2);
	assert_string_equal(value(&t, "b")->array.v[1].string, "y");
	assert_int_equal(value(&t, "c")->array.n, 2);
	assert_int_equal(value(&t, "c")->array.v[0].integer, 1);
	assert_true(value(&t, "c")->array.v[1].number == 2.5);
	assert_int_equal(value(&t, "d")->array.n, 10);
	assert_int_equal(toml_get(&t, "d")->line, 8);
	toml_free(&t);
}

static void test_what_is_refused_says_where_and_why(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"x", "line 1 (last key \"x\"): expected '.' or '=' but found the end of the file"},
		{"\n\nx y = 1", "line 3 (last key \"x\"): expected '.' or '=' but found 'y'"},
		{"x =\n1",
			"line 1 (last key \"x\"): expected a value but found the end of the line"},
		{"= 1", "line 1: expected a key but found '='"},
		{"a=1\na=2", "line 2 (last key \"a\"): key 'a' has already been defined"},
		{"a=1\n\"a\"=2", "line 2 (last key \"a\"): key 'a' has already been defined"},
		{"a=1 b=2", "line 1 (last key \"a\"): expected the end of the line but found 'b'"},
		{"a=1\rb=2", "expected the end of the line but found byte 0x0d"},
		{"a=\"x", "expected the end of the string but found the end of the file"},
		{"a=\"x\ny\"", "expected the end of the string but found the end of the line"},
		{"a=\"\\q\"", "invalid escape in string '\\q'"},
		{"a=\"\\", "invalid escape in string"},
		{"a=\"\\u12\"", "expected 4 hexadecimal digits after \\u"},
		{"a=\"\\u0000\"", "a string cannot contain U+0000"},
		{"a=\"\\ud800\"", "escape is not a Unicode scalar value: U+D800"},
		{"a=\"\x01\"", "control byte 0x01 in a string"},
		{"# \x02", "control byte 0x02 in a comment"},
		{"a='\xff'", "line 1: invalid UTF-8 byte: 0xff"},
		{"\n\na='\xc3'", "line 3: invalid UTF-8 byte: 0xc3"},
		{"a=\"\"\"x\"\"\"", "multi-line strings are not supported"},
		{"a='''x'''", "multi-line strings are not supported"},
		{"a={b=1}", "inline tables are not supported"},
		{"a=[[1]]", "arrays in arrays are not supported"},
		{"a=[1 2]", "expected ',' or ']' but found '2'"},
		{"a=[1,,2]", "expected a value but found ','"},
		{"a=[\n\n1", "line 3 (last key \"a\"): expected ',' or ']' but found the end of"},
		{"a=1979-05-27T07:32:00Z", "dates and times are not supported"},
		{"a=07:32:00", "dates and times are not supported"},
		{"a=01", "invalid value: 01"},
		{"a=1__0", "invalid value: 1__0"},
		{"a=1_", "invalid value: 1_"},
		{"a=_1", "invalid value: _1"},
		{"a=1.", "invalid value: 1."},
		{"a=.5", "invalid value: .5"},
		{"a=1e", "invalid value: 1e"},
		{"a=0x", "invalid integer: 0x"},
		{"a=0b2", "invalid integer: 0b2"},
		{"a=+0x1", "invalid value: +0x1"},
		{"a=yes", "invalid value: yes"},
		{"a=1e999", "number out of range: 1e999"},
		{"a=9223372036854775808", "integer out of range: 9223372036854775808"},
		{"[a", "expected ']' but found the end of the file"},
		{"[[a]", "expected ']]' but found ']'"},
		{"[]", "expected a key but found ']'"},
		{"[a] x=1", "expected the end of the line but found 'x'"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct toml t;
		struct err err;
		if (parse(&t, cases[i].text, strlen(cases[i].text), &err) != -1)
			fail_msg("accepted: %s", cases[i].text);
		if (strncmp(err.msg, "toml: line ", 11) != 0 || !strstr(err.msg, cases[i].message))
			fail_msg("%s: %s", cases[i].text, err.msg);
		assert_int_equal(t.n, 0);
		assert_null(t.entries);
	}
}

static void test_a_zero_byte_is_refused(void **state)
{
	struct toml t;
	assert_int_equal(parse(&t, "a=1\0", 4, NULL), -1);
	assert_int_equal(parse(&t, "a='\0'", 6, NULL), -1);
	assert_int_equal(parse(&t, "#\0", 2, NULL), -1);
}

/* Every prefix of a document that has everything, and many a mutation of it. */
static void test_garbage_does_no_harm(void **state)
{
	static const char text[] = "# c\r\na = \"x\\u00fc\\n\" # c\nb='y'\n[t.\"q\"]\nc=[1,2.5e3,\n"
				   "0x1_f,true,]\n[[z]]\nd=-inf\ne=9\xe2\x82\xac\n";
	uint64_t x = 88172645463325252ULL;
	char copy[sizeof(text)];
	for (size_t n = 0; n < sizeof(text); n++) {
		struct toml t;
		if (parse(&t, text, n, NULL) == 0)
			toml_free(&t);
	}
	for (int i = 0; i < 50000; i++) {
		memcpy(copy, text, sizeof(text));
		for (int j = i % 5; j >= 0; j--) {
			static const char likely[] = "\"'[]{}=.,#\\\n\r\t -+_0x9eE\x00\xff\xc3u:";
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			copy[x % sizeof(copy)] = (x >> 20) % 3 == 0
							 ? (char)(x >> 32)
							 : likely[(x >> 32) % (sizeof(likely) - 1)];
		}
		struct toml t;
		struct err err = {0, ""};
		int rc = parse(&t, copy, sizeof(copy), &err);
		assert_true((rc == 0) == (err.msg[0] == '\0'));
		toml_free(&t);
	}
}

static void test_a_file_may_be_long(void **state)
{
	struct toml t;
	struct err err;
	FILE *f = fopen("x.cfg", "w");
	assert_non_null(f);
	for (int i = 0; i < 2000; i++)
		fprintf(f, "key%d = %d\n", i, i);
	fclose(f);
	assert_int_equal(toml_parse_file(&t, "x.cfg", &err), 0);
	assert_int_equal(t.n, 2000);
	assert_int_equal(value(&t, "key1999")->integer, 1999);
	toml_free(&t);

	assert_int_equal(toml_parse_file(&t, "nope.cfg", &err), -1);
	assert_string_equal(err.msg, "open nope.cfg: no such file or directory");
	assert_int_equal(toml_parse_file(&t, ".", &err), -1);
	assert_string_equal(err.msg, "read .: is a directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_document_is_fine),
		cmocka_unit_test(test_keys_know_their_lines),
		cmocka_unit_test(test_strings_are_unquoted),
		cmocka_unit_test(test_numbers_and_booleans_have_their_values),
		cmocka_unit_test(test_arrays_keep_their_elements),
		cmocka_unit_test(test_what_is_refused_says_where_and_why),
		cmocka_unit_test(test_a_zero_byte_is_refused),
		cmocka_unit_test(test_garbage_does_no_harm),
		cmocka_unit_test(test_a_file_may_be_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
