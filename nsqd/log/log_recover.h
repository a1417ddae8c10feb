/* SPDX-License-Identifier: MIT */
/* What is found when a log opens. */
#ifndef NSQD_LOG_RECOVER_H
#define NSQD_LOG_RECOVER_H

#include "common/err.h"
#include "nsqd/log/log_internal.h"

/*
 * Lists the segments, finds the end of the last one, and repairs that. Afterwards next, segments and
 * ends are known. -1 with err set: the disk does not say now, or a newer program has written it.
 * Before others know the log; blocks on the disk.
 */
int log_recover(struct log *l, struct err *err);

#endif
