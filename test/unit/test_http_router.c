/* SPDX-License-Identifier: MIT */
/*
 * Routing as httprouter does it; the whole table is compared with stock in
 * test_http_side_by_side.py.
 */
#include "test/unit/helper.h"

#include "nsqd/http/http_router.h"

static void handle(struct http_request *req)
{
}

static const struct http_route routes[] = {
	{HTTP_GET, "/ping", HTTP_OPEN, handle, 0, NULL},
	{HTTP_POST, "/pub", HTTP_OPEN, handle, 0, NULL},
	{HTTP_GET, "/config/:opt", HTTP_OPEN, handle, 0, NULL},
	{HTTP_PUT, "/config/:opt", HTTP_OPEN, handle, 0, NULL},
	{HTTP_GET, "/debug/pprof/", HTTP_OPEN, handle, 0, NULL},
	{HTTP_GET, "/debug/pprof/heap", HTTP_OPEN, handle, 0, NULL},
};

#define N (COUNT(routes))

/* text: the parameter, the redirect or the list of methods. */
static void assert_route(
	const char *method, const char *path, enum http_route_result result, const char *text)
{
	struct http_match m;
	struct strbuf out = STRBUF_INIT;
	assert_int_equal(
		http_route_find(routes, N, http_method_parse(method), path, strlen(path), &m),
		result);
	strbuf_adds(&out, m.allow);
	if (m.redirect_path.data)
		strbuf_adds(&out, m.redirect_path.data);
	if (m.param)
		strbuf_add(&out, m.param, m.param_len);
	assert_string_equal(out.len ? out.data : "", text);
	strbuf_free(&out);
	strbuf_free(&m.redirect_path);
}

static void test_a_known_path_has_its_route(void **state)
{
	assert_route("GET", "/ping", HTTP_ROUTE_FOUND, "");
	assert_route("PUT", "/config/x", HTTP_ROUTE_FOUND, "x");
	assert_route("GET", "/debug/pprof/", HTTP_ROUTE_FOUND, "");
}

static void test_an_unknown_path_has_no_route(void **state)
{
	static const char *const paths[] = {"/", "//", "/pin", "/pings", "/config", "/config/",
		"/config/x/y", "/debug", "/debug/", "x", ""};
	for (size_t i = 0; i < COUNT(paths); i++)
		assert_route("GET", paths[i], HTTP_ROUTE_NOT_FOUND, "");
	assert_route("BREW", "/coffee", HTTP_ROUTE_NOT_FOUND, "");
}

static void test_a_path_that_is_not_clean_is_redirected(void **state)
{
	assert_route("GET", "/ping/", HTTP_ROUTE_REDIRECT, "/ping");
	assert_route("GET", "/PiNG", HTTP_ROUTE_REDIRECT, "/ping");
	assert_route("GET", "/PING/", HTTP_ROUTE_REDIRECT, "/ping");
	assert_route("GET", "//x/..//ping", HTTP_ROUTE_REDIRECT, "/ping");
	assert_route("GET", "/debug/pprof", HTTP_ROUTE_REDIRECT, "/debug/pprof/");
	assert_route("GET", "/debug/pprof/heap/", HTTP_ROUTE_REDIRECT, "/debug/pprof/heap");
	assert_route("GET", "/config/x/", HTTP_ROUTE_REDIRECT, "/config/x");
	assert_route("GET", "/CONFIG/Xy", HTTP_ROUTE_REDIRECT, "/config/Xy");
	assert_route("GET", "/config//", HTTP_ROUTE_REDIRECT, "/config/");
	assert_route("POST", "/PUB", HTTP_ROUTE_REDIRECT, "/pub");
}

static void test_other_methods_are_told_which_are_allowed(void **state)
{
	assert_route("POST", "/ping", HTTP_ROUTE_METHOD_NOT_ALLOWED, "GET, OPTIONS");
	assert_route("HEAD", "/ping", HTTP_ROUTE_METHOD_NOT_ALLOWED, "GET, OPTIONS");
	assert_route("POST", "/config/x", HTTP_ROUTE_METHOD_NOT_ALLOWED, "GET, OPTIONS, PUT");
	assert_route("DELETE", "/PING", HTTP_ROUTE_NOT_FOUND, "");
	assert_route("OPTIONS", "/pub", HTTP_ROUTE_ALLOW, "OPTIONS, POST");
	assert_route("OPTIONS", "*", HTTP_ROUTE_ALLOW, "GET, OPTIONS, POST, PUT");
	assert_route("OPTIONS", "/nope", HTTP_ROUTE_NOT_FOUND, "");
}

static void test_a_path_with_a_zero_byte_is_no_route(void **state)
{
	struct http_match m;
	assert_int_equal(
		http_route_find(routes, N, HTTP_GET, "/ping\0", 6, &m), HTTP_ROUTE_NOT_FOUND);
	strbuf_free(&m.redirect_path);
	assert_int_equal(
		http_route_find(routes, N, HTTP_GET, "/pin\0g", 6, &m), HTTP_ROUTE_NOT_FOUND);
	strbuf_free(&m.redirect_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_known_path_has_its_route),
		cmocka_unit_test(test_an_unknown_path_has_no_route),
		cmocka_unit_test(test_a_path_that_is_not_clean_is_redirected),
		cmocka_unit_test(test_other_methods_are_told_which_are_allowed),
		cmocka_unit_test(test_a_path_with_a_zero_byte_is_no_route),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
