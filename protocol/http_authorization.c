/* SPDX-License-Identifier: MIT */
/*
 * Authorization headers. No Go file: stock asks nobody for a secret by HTTP. Request.BasicAuth of
 * net/http decodes as strictly. Runs in any thread.
 */
#include "protocol/http_authorization.h"

#include <string.h>
#include <strings.h>

#include "common/ascii.h"

bool http_is_auth_token(const char *s, size_t len)
{
	if (len < HTTP_TOKEN_MIN || len > HTTP_TOKEN_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!ascii_is_alnum(s[i]) && (!s[i] || !strchr("-._~+/=", s[i])))
			return false;
	}
	return true;
}

/* The scheme in front of v and the blanks behind it are cut off. False: it is another one. */
static bool cut_scheme(const char *scheme, const char **v, size_t *len)
{
	size_t n = strlen(scheme);
	if (*len <= n || strncasecmp(*v, scheme, n) != 0 || (*v)[n] != ' ')
		return false;
	while (n < *len && (*v)[n] == ' ')
		n++;
	*v += n;
	*len -= n;
	return true;
}

/* What a character of base64 stands for; -1: it is none. */
static int sextet(char c)
{
	if (ascii_is_digit(c))
		return c - '0' + 52;
	if (ascii_is_alnum(c))
		return c >= 'a' ? c - 'a' + 26 : c - 'A';
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/*
 * base64.StdEncoding, with its padding. Returns the length, 0 also if it is malformed. out has 3
 * bytes for each 4 of s.
 */
static size_t decode(const char *s, size_t len, char *out)
{
	unsigned bits = 0;
	size_t n = 0;
	if (len == 0 || len % 4 != 0)
		return 0;
	size_t padding = s[len - 1] != '=' ? 0 : s[len - 2] != '=' ? 1 : 2;
	for (size_t i = 0; i < len - padding; i++) {
		int value = sextet(s[i]);
		if (value < 0)
			return 0;
		bits = bits << 6 | (unsigned)value;
		if (i % 4 != 0)
			out[n++] = (char)(bits >> (6 - 2 * (i % 4)) & 0xff);
	}
	return n;
}

size_t http_authorization_token(const char *v, size_t len, char out[HTTP_TOKEN_MAX])
{
	char decoded[HTTP_AUTHORIZATION_MAX / 4 * 3];
	if (len > HTTP_AUTHORIZATION_MAX)
		return 0;
	if (cut_scheme("Basic", &v, &len)) {
		len = decode(v, len, decoded);
		const char *colon = memchr(decoded, ':', len);
		if (!colon)
			return 0;
		v = colon + 1;
		len -= (size_t)(v - decoded);
	} else if (!cut_scheme("Bearer", &v, &len)) {
		return 0;
	}
	if (!http_is_auth_token(v, len))
		return 0;
	memcpy(out, v, len);
	return len;
}
