/* SPDX-License-Identifier: MIT */
/* http_authorization: which values of the header hold a token, and which one. */
#include "test/unit/helper.h"

#include "protocol/http_authorization.h"

#define TOKEN "0123456789abcdef" /* as short as one may be */
#define T255 T64 T64 T64 T32 T16 "0123456789abcde"
#define T64 T32 T32
#define T32 T16 T16
#define T16 "0123456789abcdef"

static void assert_token(const char *value, size_t len, const char *token)
{
	/* Of its own size: AddressSanitizer sees a read beyond it. */
	char *copy = malloc(len + 1), out[HTTP_TOKEN_MAX];
	memcpy(copy, value, len);
	copy = realloc(copy, len ? len : 1);
	size_t got = http_authorization_token(copy, len, out);
	if (got != strlen(token) || memcmp(out, token, got) != 0)
		fail_msg("%.*s: %.*s, not %s", (int)len, value, (int)got, out, token);
	free(copy);
}

#define IS(value, token) assert_token("" value, sizeof(value) - 1, token)
#define NONE(value) assert_token("" value, sizeof(value) - 1, "")

static void test_bearer(void **state)
{
	IS("Bearer " TOKEN, TOKEN);
	IS("bearer " TOKEN, TOKEN);
	IS("BEARER    " TOKEN, TOKEN);
	IS("Bearer " T255, T255);
	IS("Bearer abc-._~+/=XYZ0987", "abc-._~+/=XYZ0987");
}

static void test_what_is_no_bearer_token(void **state)
{
	NONE("");
	NONE("Bearer");
	NONE("Bearer ");
	NONE("Bearer                            ");
	NONE("Bearer 0123456789abcde"); /* too short */
	NONE("Bearer " T255 "x");
	NONE("Bearer " TOKEN " ");
	NONE("Bearer " TOKEN " x");
	NONE("Bearer " TOKEN ",x");
	NONE("Bearer\t" TOKEN);
	NONE("Bearer:" TOKEN);
	NONE("Bearer" TOKEN);
	NONE(" Bearer " TOKEN);
	NONE("Bearers " TOKEN);
	NONE("Token " TOKEN);
	NONE(TOKEN);
	NONE("Bearer 0123456789abcde\0f");
	NONE("Bearer 0123456789abcdef\0");
	NONE("Bearer \xff\xfe" TOKEN);
	NONE("Bearer 0123456789abcd\xc3\xa9");
	NONE("Bearer \"" TOKEN "\"");
	NONE("Bearer cert:somebody-with-a-name");
}

static void test_basic(void **state)
{
	IS("Basic OjAxMjM0NTY3ODlhYmNkZWY=", TOKEN);     /* :TOKEN */
	IS("basic   dTowMTIzNDU2Nzg5YWJjZGVm", TOKEN);   /* u:TOKEN */
	IS("Basic dXM6MDEyMzQ1Njc4OWFiY2RlZg==", TOKEN); /* us:TOKEN */
	IS("Basic //8AOjAxMjM0NTY3ODlhYmNkZWY=", TOKEN); /* \xff\xff\0:TOKEN */
	IS("Basic Oi0uX34rLy0uX34rLy0uX34rLw==", "-._~+/-._~+/-._~+/");
}

static void test_what_is_no_basic_token(void **state)
{
	NONE("Basic");
	NONE("Basic ");
	NONE("Basic =");
	NONE("Basic ==");
	NONE("Basic ====");
	NONE("Basic OjAxMjM0NTY3ODlhYmNkZWY");   /* no padding */
	NONE("Basic OjAxMjM0NTY3ODlhYmNkZWY=="); /* too much */
	NONE("Basic OjAxMjM0NTY3ODlhYmNkZW=Y");
	NONE("Basic OjAxMjM0NTY3\x00ODlhYmNkZWY=");
	NONE("Basic OjAxMjM0NTY3 ODlhYmNkZWY=");
	NONE("Basic OjAxMjM0NTY3-DlhYmNkZWY="); /* that of URLs */
	NONE("Basic \xff\xff\xff\xff");
	NONE("Basic MDEyMzQ1Njc4OWFiY2RlZg==");     /* no colon */
	NONE("Basic dTp2OjAxMjM0NTY3ODlhYmNkZWY="); /* u:v:TOKEN: the password has a colon */
	NONE("Basic Og==");                         /* : */
	NONE("Basic dTowMTIzNDU2Nzg5YWJjZGUA");     /* u:0123456789abcde\0 */
}

/* The longest that fits, and one more. */
static void test_a_value_has_a_limit(void **state)
{
	char value[HTTP_AUTHORIZATION_MAX + 8], out[HTTP_TOKEN_MAX];
	memset(value, ' ', sizeof(value));
	memcpy(value, "Bearer", 6);
	memcpy(value + HTTP_AUTHORIZATION_MAX - 16, TOKEN, 16);
	assert_int_equal(http_authorization_token(value, HTTP_AUTHORIZATION_MAX, out), 16);
	memset(value + 6, ' ', sizeof(value) - 6);
	memcpy(value + HTTP_AUTHORIZATION_MAX - 15, TOKEN, 16);
	assert_int_equal(http_authorization_token(value, HTTP_AUTHORIZATION_MAX + 1, out), 0);
	memset(value, 'A', sizeof(value));
	memcpy(value, "Basic ", 6);
	for (size_t len = 0; len <= sizeof(value); len++)
		assert_int_equal(http_authorization_token(value, len, out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bearer),
		cmocka_unit_test(test_what_is_no_bearer_token),
		cmocka_unit_test(test_basic),
		cmocka_unit_test(test_what_is_no_basic_token),
		cmocka_unit_test(test_a_value_has_a_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
