/* SPDX-License-Identifier: MIT */
/*
 * The message record and its forms. Mirrors nsqd/message.go. Any thread; the counts are atomic,
 * everything else belongs to the record's owner.
 *
 * In the Go source a slice shares the body, and the collector frees both. Here the body is counted
 * apart from the record, because it outlives the record of any one channel.
 *
 * Lessons in docs/course/: 13-lifetimes, 14-pool.
 */
#include "nsqd/core/message.h"

#include <string.h>

#include "common/bytes.h"
#include "common/chan.h"
#include "common/check.h"
#include "common/compiler.h"
#include "common/slab.h"
#include "nsqd/core/message_count.h"

/* How many messages are taken out of a chan at once when it is drained. */
#define DRAIN_BATCH 128

struct message_body *message_body_new(size_t len)
{
	CHECK(len <= UINT32_MAX);
	struct message_body *b = slab_alloc(sizeof(*b) + len);
	atomic_init(&b->refs, 1);
	b->len = (uint32_t)len;
	message_count_body_made(len);
	return b;
}

struct message_body *message_body_ref(struct message_body *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void message_body_unref(struct message_body *b)
{
	/* The last holder may skip the locked instruction: no other thread has a reference. */
	if (atomic_load_explicit(&b->refs, memory_order_acquire) == 1 ||
		atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
		message_count_body_freed(b->len);
		slab_free(b, sizeof(*b) + b->len);
	}
}

static void message_init(
	struct message *m, struct message_id id, struct message_body *body, int64_t timestamp_ns)
{
	*m = (struct message){
		.id = id,
		.refs = 1,
		.timestamp = timestamp_ns,
		.body = body,
	};
	message_count_made_one();
}

struct message *message_new(
	struct message_id id, struct message_body *take_body, int64_t timestamp_ns)
{
	struct message *m = &take_body->first;
	message_init(m, id, take_body, timestamp_ns);
	return m;
}

struct message *message_copy(const struct message *m)
{
	struct message *copy = slab_alloc(sizeof(*copy));
	message_init(copy, m->id, message_body_ref(m->body), m->timestamp);
	copy->deferred_ns = m->deferred_ns;
	copy->seq = m->seq;
	copy->offset = m->offset;
	return copy;
}

struct message *message_ref(struct message *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void message_unref(struct message *m)
{
	if (!m)
		return;
	if (atomic_load_explicit(&m->refs, memory_order_acquire) == 1 ||
		atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) {
		struct message_body *body = m->body;
		if (m != &body->first)
			slab_free(m, sizeof(*m));
		message_count_freed_one();
		message_body_unref(body);
	}
}

void message_unref_all(struct message *const *msgs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		message_unref(msgs[i]);
}

void message_drain_chan(struct chan *c)
{
	struct message *msgs[DRAIN_BATCH] UNINITIALIZED;
	size_t n;
	while (c && (n = chan_try_recv_n(c, msgs, DRAIN_BATCH, NULL)) > 0) {
		message_unref_all(msgs, n);
	}
}

void message_write_header(const struct message *m, unsigned char out[MSG_HEADER_LENGTH])
{
	put_be64(out, (uint64_t)m->timestamp);
	put_be16(out + 8, m->attempts);
	memcpy(out + 10, m->id.hex, MSG_ID_LENGTH);
}

/*
 *  [x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x][x]...
 *  |       (int64)        ||    ||      (hex string encoded in ASCII)           || (binary)
 *  |       8-byte         ||    ||                 16-byte                      || N-byte
 *  ------------------------------------------------------------------------------------------...
 *    nanosecond timestamp    ^^                   message ID                       message body
 *                         (uint16)
 *                          2-byte
 *                         attempts
 */
struct message *message_decode(const void *buf, size_t len, struct err *err)
{
	const unsigned char *p = buf;
	if (len < MIN_VALID_MSG_LENGTH) {
		err_set(err, 0, "invalid message buffer size (%zu)", len);
		return NULL;
	}
	struct message_id id;
	memcpy(id.hex, p + 10, MSG_ID_LENGTH);
	struct message_body *body = message_body_new(len - MSG_HEADER_LENGTH);
	memcpy(body->data, p + MSG_HEADER_LENGTH, body->len);
	struct message *m = message_new(id, body, (int64_t)get_be64(p));
	m->attempts = get_be16(p + 8);
	return m;
}
