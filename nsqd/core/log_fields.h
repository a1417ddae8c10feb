/* SPDX-License-Identifier: MIT */
/* What a log line is about, for --log-format=json. */
#ifndef NSQD_LOG_FIELDS_H
#define NSQD_LOG_FIELDS_H

#include <string.h>

#include "common/lg.h"
#include "nsqd/core/options.h"

/*
 * Reads component, topic, channel and client from the beginning of a line's text, as stock and we
 * write it. What is not there is empty. The fields point into text. (An lg_describe_fn.)
 */
void log_fields_describe(const char *text, size_t len, struct lg_fields *out);

/* log_fields_describe for --log-format=json, NULL for text. */
static inline lg_describe_fn *log_describe(const struct options *o)
{
	return strcmp(o->log_format, "json") == 0 ? log_fields_describe : NULL;
}

#endif
