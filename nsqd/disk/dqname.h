/* SPDX-License-Identifier: MIT */
/* Names of backend queues (nsqd/dqname.go), and of their files. */
#ifndef NSQD_DQNAME_H
#define NSQD_DQNAME_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Room for two names of 64 bytes, the colon and the terminator. */
#define BACKEND_NAME_SIZE 130

/* getBackendName: "topic:channel", unique since neither name can hold a colon. Returns buf. */
char *get_backend_name(const char *topic_name, const char *channel_name, char *buf, size_t size);

/* Does the name s of a file end like this? */
static inline bool dq_ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && strcmp(s + n - m, end) == 0;
}

#endif
