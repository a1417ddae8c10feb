/* SPDX-License-Identifier: MIT */
/* The page of GET /debug/: threads, descriptors, memory (in place of net/http/pprof). */
#ifndef NSQD_STATS_DEBUG_PRINT_H
#define NSQD_STATS_DEBUG_PRINT_H

struct strbuf;

/* Adds the page to out. Reads /proc, so it may take a while. Any thread. */
void debug_print(struct strbuf *out);

#endif
