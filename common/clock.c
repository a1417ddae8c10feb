/* SPDX-License-Identifier: MIT */
/*
 * Clocks and durations. Mirrors time.Now, time.ParseDuration and time.Duration.String
 * (time/format.go, time/time.go). Any thread; no state.
 */
#include "common/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/ascii.h"

static int64_t now_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

int64_t clock_mono_ns(void)
{
	int64_t t = now_ns(CLOCK_MONOTONIC);
	return t != 0 ? t : 1;
}

/* Two looks at the monotonic clock so close together say what it was at the look between them. */
#define CLOSE_NS (100 * NSEC_PER_USEC)

bool clock_offset_ns(int64_t *ns)
{
	int64_t best = INT64_MAX;
	for (int i = 0; i < 5 && best > CLOSE_NS; i++) {
		int64_t before = clock_mono_ns(), wall = clock_wall_ns();
		int64_t took = clock_mono_ns() - before;
		if (took >= best)
			continue;
		best = took;
		*ns = wall - before - took / 2;
	}
	return best <= CLOSE_NS;
}

int clock_msec_until(int64_t deadline_ns)
{
	int64_t left = deadline_ns - clock_mono_ns();
	if (left <= 0)
		return 0;
	int64_t ms = (left - 1) / NSEC_PER_MSEC + 1;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{"ns", 1},
	{"us", NSEC_PER_USEC},
	{"\xc2\xb5s", NSEC_PER_USEC}, /* U+00B5, micro sign */
	{"\xce\xbcs", NSEC_PER_USEC}, /* U+03BC, Greek mu */
	{"ms", NSEC_PER_MSEC},
	{"s", NSEC_PER_SEC},
	{"m", 60 * NSEC_PER_SEC},
	{"h", 3600 * NSEC_PER_SEC},
};

/* Takes the unit's name, all up to a digit or a point. Returns its ns; 0: no such unit. */
static uint64_t take_unit(const char **s)
{
	size_t n = 0;
	while ((*s)[n] != '\0' && (*s)[n] != '.' && !ascii_is_digit((*s)[n]))
		n++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strlen(units[i].name) == n && memcmp(units[i].name, *s, n) == 0) {
			*s += n;
			return units[i].ns;
		}
	}
	return 0;
}

#define MAX_MAGNITUDE (UINT64_C(1) << 63)

/* Takes digits into *v. False: they exceed 2^63, the magnitude of the least int64. */
static bool take_integer(const char **s, uint64_t *v)
{
	for (*v = 0; ascii_is_digit(**s); (*s)++) {
		if (*v > MAX_MAGNITUDE / 10)
			return false;
		*v = *v * 10 + (uint64_t)(**s - '0');
		if (*v > MAX_MAGNITUDE)
			return false;
	}
	return true;
}

/*
 * Takes the digits after the point: *f / *scale. Skips digits that no longer fit; they do not
 * matter.
 */
static void take_fraction(const char **s, uint64_t *f, double *scale)
{
	bool full = false;
	*f = 0;
	*scale = 1;
	for (; ascii_is_digit(**s); (*s)++) {
		if (full || *f > (MAX_MAGNITUDE - 1) / 10) {
			full = true;
			continue;
		}
		uint64_t next = *f * 10 + (uint64_t)(**s - '0');
		if (next > MAX_MAGNITUDE) {
			full = true;
			continue;
		}
		*f = next;
		*scale *= 10;
	}
}

/* Takes one "12.5ms" of a duration into *ns. False: it is malformed, or too large. */
static bool take_term(const char **s, uint64_t *ns)
{
	const char *start = *s;
	uint64_t v, fraction = 0;
	double scale = 1;
	if (!take_integer(s, &v))
		return false;
	bool digits = *s != start;
	if (**s == '.') {
		start = ++*s;
		take_fraction(s, &fraction, &scale);
		digits = digits || *s != start;
	}
	uint64_t unit = digits ? take_unit(s) : 0;
	if (unit == 0 || v > MAX_MAGNITUDE / unit)
		return false;
	v *= unit;
	if (fraction > 0) {
		v += (uint64_t)((double)fraction * ((double)unit / scale));
		if (v > MAX_MAGNITUDE)
			return false;
	}
	*ns = v;
	return true;
}

bool duration_parse(const char *s, int64_t *ns)
{
	bool negative = *s == '-';
	if (*s == '-' || *s == '+')
		s++;
	if (strcmp(s, "0") == 0) {
		*ns = 0;
		return true;
	}
	if (*s == '\0')
		return false;

	uint64_t total = 0, term;
	while (*s != '\0') {
		if ((*s != '.' && !ascii_is_digit(*s)) || !take_term(&s, &term))
			return false;
		total += term; /* cannot wrap: both are at most 2^63, and a sum of 2^64 is 0 ... */
		if (total > MAX_MAGNITUDE ||
			(total == 0 && term != 0)) /* ... which is caught here */
			return false;
	}
	if (!negative && total == MAX_MAGNITUDE)
		return false;
	*ns = negative ? (int64_t)(0 - total) : (int64_t)total;
	return true;
}

/* v / 10^decimals with the zeros at the end of the fraction dropped. */
static void format_decimal(char *buf, size_t size, uint64_t v, int decimals)
{
	uint64_t scale = 1;
	for (int i = 0; i < decimals; i++)
		scale *= 10;
	uint64_t fraction = v % scale;
	int n = snprintf(buf, size, "%" PRIu64, v / scale);
	if (fraction == 0)
		return;
	for (; fraction % 10 == 0; fraction /= 10)
		decimals--;
	snprintf(buf + n, size - (size_t)n, ".%0*" PRIu64, decimals, fraction);
}

char *duration_format(int64_t ns, char *buf, size_t size)
{
	uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	const char *sign = ns < 0 ? "-" : "";
	char number[32];
	if (u == 0) {
		snprintf(buf, size, "0s");
	} else if (u < NSEC_PER_SEC) { /* the largest unit that keeps a digit before the point */
		int decimals = u < NSEC_PER_USEC ? 0 : u < NSEC_PER_MSEC ? 3 : 6;
		const char *unit = decimals == 0 ? "ns" : decimals == 3 ? "\xc2\xb5s" : "ms";
		format_decimal(number, sizeof(number), u, decimals);
		snprintf(buf, size, "%s%s%s", sign, number, unit);
	} else {
		uint64_t minutes = u / (60 * NSEC_PER_SEC);
		format_decimal(number, sizeof(number), u % (60 * NSEC_PER_SEC), 9);
		if (minutes >= 60)
			snprintf(buf, size, "%s%" PRIu64 "h%" PRIu64 "m%ss", sign, minutes / 60,
				minutes % 60, number);
		else if (minutes > 0)
			snprintf(buf, size, "%s%" PRIu64 "m%ss", sign, minutes, number);
		else
			snprintf(buf, size, "%s%ss", sign, number);
	}
	return buf;
}
