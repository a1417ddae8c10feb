/* SPDX-License-Identifier: MIT */
/* The part of GET /metrics that is about the logs of topics. */
#ifndef NSQD_LOG_METRICS_H
#define NSQD_LOG_METRICS_H

#include "nsqd/stats/exposition.h"
#include "nsqd/stats/stats.h"

/* Adds them; nothing, if no topic has a log. */
void log_metrics_print(struct exposition *e, const struct stats *s);

#endif
