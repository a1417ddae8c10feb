/* SPDX-License-Identifier: MIT */
/* http_tokens: what may stand in the file of --http-auth-file, and what a token may do then. */
#include "test/unit/dir_test.h"

#include <sys/stat.h>

#include "common/strbuf.h"
#include "common/xalloc.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_tokens.h"
#include "protocol/http_authorization.h"

#define A "aaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbb"
#define C "cccccccccccccccc"
#define ALL (HTTP_READ | HTTP_PUBLISH | HTTP_ADMIN)

static struct http_tokens *parse(const char *text, size_t len)
{
	struct err err = {0};
	/* Of its own size: AddressSanitizer sees a read beyond it. */
	char *copy = malloc(len ? len : 1);
	memcpy(copy, text, len);
	struct http_token_list *list = http_token_list_parse(copy, len, &err);
	free(copy);
	if (!list)
		fail_msg("%s", err.msg);
	return http_tokens_new(list);
}

#define PARSE(text) parse("" text, sizeof(text) - 1)

static unsigned scopes(struct http_tokens *t, const char *token)
{
	return http_tokens_find(t, token, strlen(token));
}

/* The file is one token's: so many scopes it has. */
static void assert_scopes(const char *text, unsigned wanted)
{
	struct http_tokens *t = parse(text, strlen(text));
	assert_int_equal(scopes(t, A), wanted);
	http_tokens_free(t);
}

static void test_lines(void **state)
{
	assert_scopes(A " read", HTTP_READ);
	assert_scopes(A " read\n", HTTP_READ);
	assert_scopes(A " read\r\n", HTTP_READ);
	assert_scopes("\t " A "\t\tpublish \t\n\n", HTTP_PUBLISH);
	assert_scopes("\n\r\n# read\n   # x\n" A " read,publish\n", HTTP_READ | HTTP_PUBLISH);
	assert_scopes(A " publish,read # a comment, read, admin\n", HTTP_READ | HTTP_PUBLISH);
	assert_scopes(A " read #\n", HTTP_READ);
	assert_scopes(A " read,read\n", HTTP_READ);
	assert_scopes("# \xff\xfe\n" A " read # \xc3\xa9\n", HTTP_READ);
}

static void test_admin_implies_the_others(void **state)
{
	assert_scopes(A " admin", ALL);
	assert_scopes(A " read,admin", ALL);
}

static void test_a_token_is_known_as_a_whole(void **state)
{
	struct http_tokens *t = PARSE(A " read\n" A "a publish\n" B " admin");
	assert_int_equal(scopes(t, A), HTTP_READ);
	assert_int_equal(scopes(t, A "a"), HTTP_PUBLISH);
	assert_int_equal(scopes(t, B), ALL);
	static const char *const unknown[] = {"", "a", "aaaaaaaaaaaaaaa", A "aa", A " ", "A" A, C,
		"AAAAAAAAAAAAAAAA", A "\n", A " read", B "b", "read"};
	for (size_t i = 0; i < COUNT(unknown); i++)
		assert_int_equal(scopes(t, unknown[i]), 0);
	assert_int_equal(http_tokens_find(t, A "\0", sizeof(A)), 0);
	http_tokens_free(t);
}

static void assert_refused(const char *text, size_t len, const char *why)
{
	struct err err = {0};
	assert_null(http_token_list_parse(text, len, &err));
	if (!strstr(err.msg, why))
		fail_msg("%s: %s, not %s", text, err.msg, why);
	/* No secret is quoted. */
	assert_null(strstr(err.msg, "aaaa"));
	assert_null(strstr(err.msg, "secret"));
}

#define REFUSED(text, why) assert_refused("" text, sizeof(text) - 1, why)

static void test_what_is_refused(void **state)
{
	static const char no_token[] = "a token has 16 to 255 letters",
			  no_scopes[] = "behind the token stands a list of";
	REFUSED("", "there is no token in it");
	REFUSED("\n\n# " A " read\n", "there is no token in it");
	REFUSED(A, "line 1: no scope stands behind the token");
	REFUSED("#\n" A " # read\n", "line 2: no scope stands behind the token");
	REFUSED(A "\tsecret\n", no_scopes);
	REFUSED(A " read,\n", no_scopes);
	REFUSED(A " ,read\n", no_scopes);
	REFUSED(A " read, publish\n", no_scopes);
	REFUSED(A " read publish\n", no_scopes);
	REFUSED(A " READ\n", no_scopes);
	REFUSED(A " rea\n", no_scopes);
	REFUSED(A " reads\n", no_scopes);
	REFUSED(A " read#x\n", no_scopes);
	REFUSED(A " read\vadmin\n", no_scopes);
	REFUSED("secret read\n", no_token);
	REFUSED("read " A "\n", no_token);
	REFUSED("aaaaaaaaaaaaaaa read\n", no_token);
	REFUSED("\xef\xbb\xbf" A " read\n", no_token);
	REFUSED(A "\xff read\n", no_token);
	REFUSED(A ":x read\n", no_token);
	REFUSED("secret:" A " read\n", no_token);
	REFUSED(B " read\n" A "\0 read\n", "line 2: there is a NUL byte in it");
	REFUSED("#\0\n" A " read\n", "line 1: there is a NUL byte in it");
	REFUSED(A " read\n" B " read\n\n" A " admin\n",
		"line 4: its token stands in line 1 as well");
	REFUSED(A " admin\n" A " admin", "line 2: its token stands in line 1 as well");
}

static void test_a_line_and_a_token_have_limits(void **state)
{
	struct strbuf text = STRBUF_INIT;
	for (int i = 0; i < HTTP_TOKEN_MAX; i++)
		strbuf_addc(&text, 'x');
	strbuf_adds(&text, " read #");
	while (text.len < 1024)
		strbuf_addc(&text, 'c');
	struct http_tokens *t = parse(text.data, text.len);
	assert_int_equal(http_tokens_find(t, text.data, HTTP_TOKEN_MAX), HTTP_READ);
	http_tokens_free(t);
	strbuf_addc(&text, 'c');
	assert_refused(text.data, text.len, "line 1: it is longer than 1024 bytes");
	strbuf_reset(&text);
	for (int i = 0; i <= HTTP_TOKEN_MAX; i++)
		strbuf_addc(&text, 'x');
	strbuf_adds(&text, " read");
	assert_refused(text.data, text.len, "a token has 16 to 255");
	strbuf_free(&text);
}

static void test_ten_thousand_tokens(void **state)
{
	struct strbuf text = STRBUF_INIT;
	char token[32];
	for (int i = 0; i < HTTP_TOKENS_MAX; i++)
		strbuf_addf(&text, "token-number-%05d %s\n", i, i % 2 ? "read" : "publish");
	struct http_tokens *t = parse(text.data, text.len);
	for (int i = 0; i < HTTP_TOKENS_MAX; i += 7) {
		snprintf(token, sizeof(token), "token-number-%05d", i);
		assert_int_equal(scopes(t, token), i % 2 ? HTTP_READ : HTTP_PUBLISH);
	}
	assert_int_equal(scopes(t, "token-number-10000"), 0);
	http_tokens_free(t);
	strbuf_adds(&text, "token-number-10000 read\n");
	assert_refused(text.data, text.len, "line 10001: more than 10000 tokens");
	strbuf_free(&text);
}

static void test_names_of_certificates(void **state)
{
	struct http_tokens *t =
		PARSE("cert:nsqadmin admin\n" A " read\ncert:0123456789abcdef read\n");
	assert_int_equal(http_tokens_find_certificate(t, "nsqadmin"), ALL);
	assert_int_equal(http_tokens_find_certificate(t, "nsqadmi"), 0);
	assert_int_equal(http_tokens_find_certificate(t, ""), 0);
	assert_int_equal(http_tokens_find_certificate(t, A), 0);
	/* The name is no token. */
	assert_int_equal(scopes(t, "0123456789abcdef"), 0);
	assert_false(http_is_auth_token("cert:0123456789abcdef", 21));
	char longest[66];
	memset(longest, 'a', sizeof(longest));
	longest[65] = '\0';
	assert_int_equal(http_tokens_find_certificate(t, longest), 0);
	http_tokens_free(t);
	REFUSED("cert: read\n", "a token has");
	REFUSED("cert:a b read\n", "behind the token");
}

static void test_none_are_known_where_there_is_no_list(void **state)
{
	struct http_tokens *t = http_tokens_new(NULL);
	assert_int_equal(scopes(t, A), 0);
	assert_int_equal(scopes(t, ""), 0);
	http_tokens_free(t);
	http_tokens_free(NULL);
	http_token_list_free(NULL);
}

/* --- files ------------------------------------------------------------------------------------ */

static int load(const char *path, struct http_token_list **list, struct err *err)
{
	struct options *o = options_new();
	free(o->http_auth_file);
	o->http_auth_file = xstrdup(path);
	int rc = http_token_list_load(o, list, err);
	options_free(o);
	return rc;
}

static void assert_not_loaded(const char *path, const char *why)
{
	struct http_token_list *list;
	struct err err = {0};
	assert_int_equal(load(path, &list, &err), -1);
	assert_null(list);
	assert_string_equal(err.msg, why);
}

static void test_without_the_flag_there_is_no_list(void **state)
{
	struct http_token_list *list;
	struct err err;
	assert_int_equal(load("", &list, &err), 0);
	assert_null(list);
}

static void test_files_that_are_none(void **state)
{
	write_text("bad", A " secret\n");
	write_text("empty", "");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_not_loaded("none", "--http-auth-file: open none: no such file or directory");
	assert_not_loaded(".", "--http-auth-file: read .: is a directory");
	assert_not_loaded("fifo", "--http-auth-file: open fifo: not a regular file");
	assert_not_loaded("/dev/zero", "--http-auth-file: open /dev/zero: not a regular file");
	assert_not_loaded("empty", "--http-auth-file empty: there is no token in it");
	assert_not_loaded("bad", "--http-auth-file bad: line 1: behind the token stands a list of "
				 "read, publish and admin, with commas");
	write_text("large", A " read\n");
	assert_int_equal(truncate("large", 8 * 1024 * 1024 + 1), 0);
	assert_not_loaded("large", "--http-auth-file large: file too large");
}

struct warnings {
	int n;
	char text[256]; /* the last one */
};

static void take_warning(void *arg, const char *text)
{
	struct warnings *w = arg;
	w->n++;
	snprintf(w->text, sizeof(w->text), "%s", text);
}

static struct warnings warnings_of(const char *text, mode_t mode, const char *policy)
{
	struct http_token_list *list;
	struct err err;
	struct warnings w = {0};
	struct options *o = options_new();
	free(o->tls_client_auth_policy);
	o->tls_client_auth_policy = xstrdup(policy);
	write_text("file", text);
	assert_int_equal(chmod("file", mode), 0);
	assert_int_equal(load("file", &list, &err), 0);
	http_token_list_check(list, o, take_warning, &w);
	http_token_list_free(list);
	options_free(o);
	return w;
}

static void test_warnings(void **state)
{
	assert_int_equal(warnings_of(A " read\n", 0600, "").n, 0);
	assert_int_equal(warnings_of(A " read\n", 0640, "").n, 0);
	assert_non_null(strstr(warnings_of(A " read\n", 0644, "").text, "other users"));
	assert_non_null(strstr(warnings_of(A " read\n", 0602, "").text, "other users"));
	assert_int_equal(warnings_of("cert:x read\n", 0600, "require-verify").n, 0);
	assert_non_null(strstr(warnings_of("cert:x read\n", 0600, "require").text, "cert:"));
	assert_int_equal(warnings_of("cert:x read\n", 0644, "").n, 2);
	http_token_list_check(NULL, NULL, take_warning, NULL);
}

/* --- the list in use -------------------------------------------------------------------------- */

struct asker {
	struct http_tokens *t;
	_Atomic bool stop;
	_Atomic int asked, wrong;
};

/* A is in every list; B or C is, never both. */
static void ask(void *arg)
{
	struct asker *a = arg;
	while (!atomic_load(&a->stop)) {
		unsigned b = scopes(a->t, B);
		if (scopes(a->t, A) != HTTP_READ || (b != 0 && b != HTTP_PUBLISH))
			atomic_fetch_add(&a->wrong, 1);
		atomic_fetch_add(&a->asked, 1);
	}
}

static void test_a_list_is_replaced_while_others_look(void **state)
{
	static const char *const texts[] = {A " read\n" B " publish\n", C " admin\n" A " read\n"};
	struct asker a = {.t = http_tokens_new(NULL)};
	struct wait_group wg;
	struct err err;
	http_tokens_replace(a.t, http_token_list_parse(texts[0], strlen(texts[0]), &err));
	wait_group_init(&wg);
	for (int i = 0; i < 3; i++)
		go(&wg, ask, &a);
	wait_for(atomic_load(&a.asked) > 0);
	for (int i = 1; i < ROUNDS(1000); i++) {
		const char *text = texts[i % 2];
		http_tokens_replace(a.t, http_token_list_parse(text, strlen(text), &err));
		assert_int_equal(scopes(a.t, B), i % 2 ? 0 : HTTP_PUBLISH);
		assert_int_equal(scopes(a.t, C), i % 2 ? ALL : 0);
	}
	atomic_store(&a.stop, true);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	assert_int_equal(atomic_load(&a.wrong), 0);
	http_tokens_free(a.t);
}

/* The table of the daemon: each route has one scope. */
static void test_each_route_has_a_scope(void **state)
{
	for (size_t i = 0; i < http_n_routes; i++) {
		enum http_scope s = http_routes[i].scope;
		if (s != HTTP_OPEN && s != HTTP_READ && s != HTTP_PUBLISH && s != HTTP_ADMIN)
			fail_msg("%s: %d", http_routes[i].path, (int)s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_admin_implies_the_others),
		cmocka_unit_test(test_a_token_is_known_as_a_whole),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_a_line_and_a_token_have_limits),
		cmocka_unit_test(test_ten_thousand_tokens),
		cmocka_unit_test(test_names_of_certificates),
		cmocka_unit_test(test_none_are_known_where_there_is_no_list),
		cmocka_unit_test(test_without_the_flag_there_is_no_list),
		cmocka_unit_test_setup_teardown(
			test_files_that_are_none, enter_test_dir, leave_test_dir),
		cmocka_unit_test_setup_teardown(test_warnings, enter_test_dir, leave_test_dir),
		cmocka_unit_test(test_a_list_is_replaced_while_others_look),
		cmocka_unit_test(test_each_route_has_a_scope),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
