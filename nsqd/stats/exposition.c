/* SPDX-License-Identifier: MIT */
/*
 * The text formats of Prometheus. No Go file: stock has none; client_golang's expfmt is alike. Runs
 * in the threads of HTTP connections.
 *
 * OpenMetrics wants a counter to end in _total, and its family to be called without that. Those
 * whose names others have given would have to change theirs. So there they are of unknown type, and
 * a dashboard finds them in either format.
 */
#include "nsqd/stats/exposition.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOTAL "_total"

const char *exposition_type(bool openmetrics)
{
	return openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
			   : "text/plain; version=0.0.4; charset=utf-8";
}

static bool ends_in_total(const char *name, size_t len)
{
	const size_t n = sizeof(TOTAL) - 1;
	return len > n && memcmp(name + len - n, TOTAL, n) == 0;
}

void exposition_family(struct exposition *e, const struct metric *m)
{
	static const char *const types[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};
	const char *type = types[m->type];
	e->family = *m;
	e->name_len = strlen(m->name);
	int shown = (int)e->name_len;
	if (e->openmetrics && m->type == METRIC_COUNTER) {
		if (ends_in_total(m->name, e->name_len))
			shown -= (int)sizeof(TOTAL) - 1;
		else
			type = "unknown";
	}
	strbuf_addf(e->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", shown, m->name, m->help, shown,
		m->name, type);
}

/*
 * A scrape may have some 100,000 lines. So a line is written in one go, into room that is there by
 * then, and numbers without printf.
 */
#define NUMBER_SIZE 24

static char *put(char *to, const char *s, size_t len)
{
	memcpy(to, s, len);
	return to + len;
}

/* The number, and the end of the line: NUMBER_SIZE bytes at most. */
static char *put_int(char *to, int64_t value)
{
	char text[NUMBER_SIZE], *p = text + sizeof(text);
	uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	*--p = '\n';
	do {
		*--p = (char)('0' + left % 10);
		left /= 10;
	} while (left > 0);
	if (value < 0)
		*--p = '-';
	return put(to, p, (size_t)(text + sizeof(text) - p));
}

/* Makes room for lines with these labels; returns where the first begins. */
static char *room_for(struct exposition *e, struct labels labels, size_t lines)
{
	const size_t others = 64; /* the suffix, {,le="..."}, the value */
	strbuf_reserve(e->out, lines * (e->name_len + labels.len + others));
	return e->out->data + e->out->len;
}

/* What was written up to p belongs to the text. */
static void end_at(struct exposition *e, char *p)
{
	*p = '\0';
	e->out->len = (size_t)(p - e->out->data);
}

/* The name, and the labels; then the value follows. */
static char *begin(struct exposition *e, char *p, const char *suffix, struct labels labels)
{
	p = put(p, e->family.name, e->name_len);
	p = put(p, suffix, strlen(suffix));
	if (labels.len > 0) {
		*p++ = '{';
		p = put(p, labels.s, labels.len);
		*p++ = '}';
	}
	*p++ = ' ';
	return p;
}

void exposition_int(struct exposition *e, struct labels labels, int64_t value)
{
	char *p = begin(e, room_for(e, labels, 1), "", labels);
	end_at(e, put_int(p, value));
}

static void add_double(struct exposition *e, double value)
{
	if (isnan(value))
		strbuf_adds(e->out, "NaN\n");
	else if (isinf(value))
		strbuf_adds(e->out, value < 0 ? "-Inf\n" : "+Inf\n");
	else
		strbuf_addf(e->out, "%.15g\n", value);
}

void exposition_double(struct exposition *e, struct labels labels, double value)
{
	end_at(e, begin(e, room_for(e, labels, 1), "", labels));
	add_double(e, value);
}

/* OpenMetrics wants these to look like fractions, and Prometheus takes both. */
static const char *const bound_texts[] = {
	"0.001", "0.01", "0.1", "0.5", "2.5", "15.0", "120.0", "1800.0", "+Inf"};
_Static_assert(sizeof(bound_texts) / sizeof(*bound_texts) == LATENCY_BOUNDS + 1, "one for each");

/* All lines of the buckets begin alike. */
static char *put_buckets(
	struct exposition *e, char *p, struct labels labels, const struct latency *l)
{
	const char *start = p;
	uint64_t sum = 0;
	p = put(p, e->family.name, e->name_len);
	p = put(p, "_bucket{", strlen("_bucket{"));
	p = put(p, labels.s, labels.len);
	p = put(p, labels.len > 0 ? ",le=\"" : "le=\"", labels.len > 0 ? 5 : 4);
	size_t len = (size_t)(p - start);
	for (size_t i = 0; i <= LATENCY_BOUNDS; i++) {
		if (i > 0)
			p = put(p, start, len);
		p = put(p, bound_texts[i], strlen(bound_texts[i]));
		p = put(p, "\"} ", 3);
		sum += l->counts[i];
		p = put_int(p, (int64_t)sum);
	}
	return p;
}

void exposition_latency(struct exposition *e, struct labels labels, const struct latency *l)
{
	uint64_t count = 0;
	for (size_t i = 0; i <= LATENCY_BOUNDS; i++)
		count += l->counts[i];
	char *p = room_for(e, labels, LATENCY_BOUNDS + 2);
	p = put_buckets(e, p, labels, l);
	end_at(e, begin(e, p, "_sum", labels));
	add_double(e, l->sum_ns / 1e9);
	p = begin(e, room_for(e, labels, 1), "_count", labels);
	end_at(e, put_int(p, (int64_t)count));
}

void exposition_end(struct exposition *e)
{
	if (e->openmetrics)
		strbuf_adds(e->out, "# EOF\n");
}

void exposition_add_label(struct strbuf *labels, const char *name, const char *value, size_t len)
{
	if (labels->len > 0 && labels->data[labels->len - 1] == '"')
		strbuf_addc(labels, ',');
	strbuf_adds(labels, name);
	strbuf_adds(labels, "=\"");
	for (size_t i = 0, n; i < len; i += n) {
		n = strbuf_utf8_len(value + i, len - i);
		if (n == 0 || value[i] == '\0') {
			strbuf_adds(labels, "\xef\xbf\xbd");
			n = 1;
		} else if (value[i] == '\n') {
			strbuf_adds(labels, "\\n");
		} else {
			if (value[i] == '"' || value[i] == '\\')
				strbuf_addc(labels, '\\');
			strbuf_add(labels, value + i, n);
		}
	}
	strbuf_addc(labels, '"');
}
