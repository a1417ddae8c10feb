/* SPDX-License-Identifier: MIT */
/*
 * Writing metrics as Prometheus reads them: its text format 0.0.4, or OpenMetrics 1.0. All samples
 * of a family stand together, behind its HELP and TYPE. The caller owns the exposition; nothing
 * blocks.
 */
#ifndef NSQD_EXPOSITION_H
#define NSQD_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/latency.h"
#include "common/strbuf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* A family of metrics. */
struct metric {
	const char *name; /* of a counter: it ends in _total, unless others have named it */
	enum metric_type type;
	const char *help; /* without line ends and backslashes */
};

struct exposition {
	struct strbuf *out; /* borrowed */
	bool openmetrics;
	struct metric family; /* the samples that come are of this one */
	size_t name_len;      /* of its name */
};

/* The labels of a sample, as they stand between the braces: name="value",... Borrowed. */
struct labels {
	const char *s;
	size_t len;
};

/* Content-Type of what is written. */
const char *exposition_type(bool openmetrics);

/* The samples that follow are of this family. A family comes once. */
void exposition_family(struct exposition *e, const struct metric *m);
void exposition_int(struct exposition *e, struct labels labels, int64_t value);
void exposition_double(struct exposition *e, struct labels labels, double value);
/* A histogram, in seconds. */
void exposition_latency(struct exposition *e, struct labels labels, const struct latency *l);
/* Ends the text. */
void exposition_end(struct exposition *e);

/*
 * Adds name="value" to labels, behind a comma where there are some. Escapes the value. What is not
 * UTF-8, and zero bytes, become U+FFFD: Prometheus would refuse the whole text.
 */
void exposition_add_label(struct strbuf *labels, const char *name, const char *value, size_t len);

#endif
