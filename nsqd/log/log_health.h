/* SPDX-License-Identifier: MIT */
/*
 * How the commits of a log fare. They are counted. When they begin to fail, are slow, or are well again,
 * the daemon's log gets one line.
 */
#ifndef NSQD_LOG_HEALTH_H
#define NSQD_LOG_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/err.h"
#include "nsqd/log/log_internal.h"

/* A commit that takes so long is slow. */
#define LOG_SLOW_NS NSEC_PER_SEC
/* So long none must have been, until the disk counts as well again. */
#define LOG_WELL_NS (5 * NSEC_PER_SEC)

/* A commit begins. Returns when (monotonic). The writer; takes log.lock. */
int64_t log_health_begin(struct log *l);
/*
 * It has ended, or (start_ns 0) a probe has: counts it. err as rc says. Returns what log_health_tell
 * wants to know. The writer.
 */
int log_health_note_locked(struct log *l, int rc, const struct err *err, int64_t start_ns);
/* Tells log_opts.fared and the daemon's log what is new. The writer, without locks. */
void log_health_tell(struct log *l, int rc, const struct err *err, int news);
/* Has the last commit failed? Any thread; takes log.lock. */
bool log_health_is_failing(struct log *l);
/* The thread log:TOPIC is in tick since then; 0: no more. Takes log.lock. */
void log_health_tick(struct log *l, int64_t since_ns);
/*
 * Since when a commit has been under way, or appends have waited for the thread that is in tick
 * (monotonic); 0: neither is so.
 */
int64_t log_health_since_locked(struct log *l);
/* Says so, if a commit has been under way for long. Any thread; takes log.lock. */
void log_health_look(struct log *l);

#endif
