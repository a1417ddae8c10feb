/* SPDX-License-Identifier: MIT */
/*
 * Accept headers. No Go file: stock serves one format each; client_golang's expfmt.Negotiate is
 * alike. Runs in any thread.
 */
#include "protocol/http_accept.h"

#include <string.h>
#include <strings.h>

#include "common/ascii.h"

struct part {
	const char *s;
	size_t len;
};

static struct part trim(struct part p)
{
	while (p.len > 0 && (*p.s == ' ' || *p.s == '\t')) {
		p.s++;
		p.len--;
	}
	while (p.len > 0 && (p.s[p.len - 1] == ' ' || p.s[p.len - 1] == '\t'))
		p.len--;
	return p;
}

/* Cuts the part in front of the next separator off rest. False: rest is at its end. */
static bool next_part(struct part *rest, char separator, struct part *part)
{
	if (!rest->s)
		return false;
	const char *at = memchr(rest->s, separator, rest->len);
	size_t len = at ? (size_t)(at - rest->s) : rest->len;
	*part = trim((struct part){rest->s, len});
	rest->len = at ? rest->len - len - 1 : 0;
	rest->s = at ? at + 1 : NULL;
	return true;
}

static bool is(struct part p, const char *text)
{
	return p.len == strlen(text) && strncasecmp(p.s, text, p.len) == 0;
}

static bool begins_with(struct part p, const char *text)
{
	return p.len >= strlen(text) && strncasecmp(p.s, text, strlen(text)) == 0;
}

/* A weight: "0.75" is 750. -1: it is none. */
static int parse_weight(struct part p)
{
	int value = 0, unit = 1000;
	for (size_t i = 0; i < p.len; i++) {
		if (i == 1 && p.s[i] == '.')
			continue;
		if (!ascii_is_digit(p.s[i]) || unit == 0 || (i == 1))
			return -1;
		value += (p.s[i] - '0') * unit;
		unit /= 10;
	}
	return p.len > 0 && value <= 1000 ? value : -1;
}

static void take_type(struct http_accept *a, struct part rest)
{
	struct part type, parameter;
	int weight = 1000;
	bool version_fits = true;
	if (!next_part(&rest, ';', &type))
		return;
	while (next_part(&rest, ';', &parameter)) {
		if (begins_with(parameter, "q="))
			weight = parse_weight((struct part){parameter.s + 2, parameter.len - 2});
		else if (begins_with(parameter, "version="))
			version_fits = is(parameter, "version=1.0.0");
	}
	if (is(type, "application/openmetrics-text") && version_fits && weight > a->openmetrics)
		a->openmetrics = weight;
	if ((is(type, "text/plain") || is(type, "text/*") || is(type, "*/*")) && weight > a->text)
		a->text = weight;
}

void http_accept_add(struct http_accept *a, const char *value, size_t len)
{
	struct part rest = {value, len}, element;
	while (next_part(&rest, ',', &element))
		take_type(a, element);
}
