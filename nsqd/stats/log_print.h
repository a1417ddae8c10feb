/* SPDX-License-Identifier: MIT */
/* What /stats?include_log=true shows of the logs of topics: ours alone. */
#ifndef NSQD_LOG_PRINT_H
#define NSQD_LOG_PRINT_H

#include "common/strbuf.h"
#include "nsqd/queue/log_holder.h"
#include "nsqd/stats/stats.h"

/* Adds the member "logs", behind a comma. holder: of the only topic there; NULL: not known. */
void log_print_json(struct strbuf *out, const struct stats *s, const struct log_holder *holder);

#endif
