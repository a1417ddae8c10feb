/* SPDX-License-Identifier: MIT */
/*
 * Message ids. Mirrors nsqd/guid.go: 42 bits of pseudo-milliseconds (2^20 ns) since an epoch, 10
 * bits of node id, 12 bits of sequence, in hexadecimal. Any thread.
 *
 * Stock gives out a timestamp and a sequence under a mutex. It fails when 4096 ids of a
 * pseudo-millisecond are used up, or the clock has stepped back; its publishers then sleep until
 * time has caught up. Here both are one counter, (timestamp << 12 | sequence), which only grows. If
 * it is behind the clock it jumps to the present; if it is ahead it goes on counting. So no
 * publisher waits for an id, and none is given twice. A burst of more than 3.9 million per second
 * borrows from the near future. A clock that steps back has no effect.
 */
#include "nsqd/core/guid.h"

#include "common/clock.h"

#define NODE_ID_BITS 10
#define SEQUENCE_BITS 12
#define SEQUENCE_MASK ((INT64_C(1) << SEQUENCE_BITS) - 1)
#define TIMESTAMP_SHIFT (SEQUENCE_BITS + NODE_ID_BITS)
/* ( 2012-10-28 16:23:42 UTC ).UnixNano() >> 20 */
#define TWEPOCH INT64_C(1288834974288)

void guid_factory_init(struct guid_factory *f, int64_t node_id)
{
	f->node_id = node_id;
	atomic_init(&f->next, 0);
}

int64_t guid_factory_reserve(struct guid_factory *f, size_t n)
{
	int64_t now = (clock_wall_ns() >> 20) << SEQUENCE_BITS;
	int64_t next = atomic_load_explicit(&f->next, memory_order_relaxed);
	int64_t first;
	do {
		first = next > now ? next : now;
	} while (!atomic_compare_exchange_weak_explicit(
		&f->next, &next, first + (int64_t)n, memory_order_relaxed, memory_order_relaxed));
	return first;
}

struct message_id guid_hex(const struct guid_factory *f, int64_t reserved)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t ts = (uint64_t)((reserved >> SEQUENCE_BITS) - TWEPOCH);
	uint64_t id = ts << TIMESTAMP_SHIFT | (uint64_t)f->node_id << SEQUENCE_BITS |
		      (uint64_t)(reserved & SEQUENCE_MASK);
	struct message_id h;
	for (int i = 0; i < MSG_ID_LENGTH; i++)
		h.hex[i] = digits[id >> (60 - 4 * i) & 0xf];
	return h;
}
