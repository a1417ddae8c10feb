/* SPDX-License-Identifier: MIT */
/* Which format a client of /metrics gets. */
#include "test/unit/helper.h"

#include <string.h>

#include "protocol/http_accept.h"

static bool prefers(const char *first, const char *second)
{
	struct http_accept a = {0};
	http_accept_add(&a, first, strlen(first));
	if (second)
		http_accept_add(&a, second, strlen(second));
	return http_accept_prefers_openmetrics(&a);
}

#define OM "application/openmetrics-text"

static void test_openmetrics_where_it_is_wanted(void **state)
{
	const char *const values[] = {
		OM,
		OM ";version=1.0.0",
		OM "; version=1.0.0; charset=utf-8",
		"APPLICATION/OpenMetrics-Text;Version=1.0.0",
		/* Prometheus 2.42, 2.53 and 3.0 */
		OM ";version=1.0.0," OM ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,"
		   "*/*;q=0.1",
		"text/plain;version=0.0.4;q=0.5,*/*;q=0.1 , " OM ";version=1.0.0;q=0.6",
		OM ";version=1.0.0;escaping=allow-utf-8;q=0.6," OM ";version=0.0.1;q=0.5,"
		   "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;"
		   "version=0.0.4;q=0.3,*/*;q=0.2",
		"application/vnd.google.protobuf," OM ";q=0.001",
		OM ";q=1.000",
	};
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		assert_true(prefers(values[i], NULL));
	assert_true(prefers("text/plain;q=0.5", OM));
}

static void test_plain_text_otherwise(void **state)
{
	const char *const values[] = {
		"",
		",",
		";",
		";q=1," OM ";version=",
		"*/*",
		"text/html,application/xml;q=0.9,*/*;q=0.8",
		OM ";version=0.0.1",
		OM ";version=2.0.0",
		OM ";q=0",
		OM ";q=0.5,text/plain;q=0.6",
		OM ";q=0.5,text/*;q=0.501",
		OM ";q=1.001",
		OM ";q=2",
		OM ";q=",
		OM ";q=x",
		OM ";q=0,5",
		OM ";q=0.12345",
		OM "2",
		"application/openmetrics",
	};
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		assert_false(prefers(values[i], NULL));
	assert_false(http_accept_prefers_openmetrics(&(struct http_accept){0}));
	assert_false(prefers(OM ";q=0.4", "text/plain;q=0.5"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openmetrics_where_it_is_wanted),
		cmocka_unit_test(test_plain_text_otherwise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
