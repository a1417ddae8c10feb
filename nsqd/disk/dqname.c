/* SPDX-License-Identifier: MIT */
/* Names of backend queues. Mirrors nsqd/dqname.go. Any thread. */
#include "nsqd/disk/dqname.h"

#include <stdio.h>

#include "common/check.h"

char *get_backend_name(const char *topic_name, const char *channel_name, char *buf, size_t size)
{
	/* backend names, for uniqueness, automatically include the topic... <topic>:<channel> */
	int n = snprintf(buf, size, "%s:%s", topic_name, channel_name);

	/* Names were checked long before; a name cut short could be another queue's. */
	CHECK(n > 0 && (size_t)n < size);
	return buf;
}
