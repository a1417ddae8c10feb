/* SPDX-License-Identifier: MIT */
/* Message ids: noeqd/snowflake style, unique per topic and node (nsqd/guid.go). */
#ifndef NSQD_GUID_H
#define NSQD_GUID_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "nsqd/core/message.h"

struct guid_factory {
	int64_t node_id;      /* immutable; [0, 1024) */
	_Atomic int64_t next; /* pseudo-milliseconds << 12 | sequence, of the next id */
};

void guid_factory_init(struct guid_factory *f, int64_t node_id);
/*
 * Reserves n ids at once and returns the first; guid_hex(f, first + i) is the i-th. Any thread,
 * never blocks, never fails. guid.c says what happens if the clock steps back, or if 4096 ids in a
 * pseudo-millisecond do not suffice.
 */
int64_t guid_factory_reserve(struct guid_factory *f, size_t n);
/* The 16 hex digits of a reserved id (guid.Hex). */
struct message_id guid_hex(const struct guid_factory *f, int64_t reserved);

#endif
