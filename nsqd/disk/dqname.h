/* SPDX-License-Identifier: MIT */
/* Names of backend queues (nsqd/dqname.go). */
#ifndef NSQD_DQNAME_H
#define NSQD_DQNAME_H

#include <stddef.h>

/* Room for two names of 64 bytes, the colon and the terminator. */
#define BACKEND_NAME_SIZE 130

/* getBackendName: "topic:channel", unique since neither name can hold a colon. Returns buf. */
char *get_backend_name(const char *topic_name, const char *channel_name, char *buf, size_t size);

#endif
