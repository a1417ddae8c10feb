/* SPDX-License-Identifier: MIT */
/* The names of threads, for all that tells of one: failed checks, the log of locks (Go: none). */
#ifndef COMMON_THREAD_NAME_H
#define COMMON_THREAD_NAME_H

/* The full name of the calling thread ("main" for the first, "?" for foreign ones). Borrowed. */
const char *thread_name(void);
/* Sets it; borrowed until it is set anew. NULL: it has none any more. For gothread.c. */
void thread_name_set(const char *name);

#endif
