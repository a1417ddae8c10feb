/* SPDX-License-Identifier: MIT */
/*
 * Sending messages and heartbeats. Mirrors SendMessage and the heartbeat of nsqd/protocol_v2.go.
 * Runs in the thread "pump:ADDR", and in those that take its steps; heartbeats also in "netpoll".
 *
 * Lessons in docs/course/: 13-lifetimes, 20-journey.
 */
#include "nsqd/client/protocol_v2_send.h"

#include <sys/uio.h>

#include "common/check.h"
#include "common/compiler.h"
#include "common/rand.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/queue/channel.h"

static const char heartbeat_bytes[] = "_heartbeat_";

int protocol_v2_send_heartbeat(struct client_v2 *c, struct err *err)
{
	return client_v2_send(
		c, FRAME_TYPE_RESPONSE, heartbeat_bytes, sizeof(heartbeat_bytes) - 1, true, err);
}

bool protocol_v2_try_send_heartbeat(struct client_v2 *c, bool *left)
{
	return client_v2_try_send(
		c, FRAME_TYPE_RESPONSE, heartbeat_bytes, sizeof(heartbeat_bytes) - 1, left);
}

size_t protocol_v2_sample(int32_t sample_rate, struct message **msgs, size_t n)
{
	size_t kept = 0;
	if (sample_rate == 0)
		return n;
	for (size_t i = 0; i < n; i++) {
		if ((int32_t)rand_below(100) > sample_rate)
			message_unref(msgs[i]);
		else
			msgs[kept++] = msgs[i];
	}
	return kept;
}

/*
 * Before message i of n: another processor wrote the records and the bodies last, and this one
 * would wait for them one after the other. So records are fetched some ahead, and bodies, to which
 * they point, less so. (Inline, since gcc drops calls of a function that does nothing but this.)
 */
static inline __attribute__((always_inline)) void fetch_ahead(
	struct message *const *msgs, size_t n, size_t i)
{
	enum { BODY_AHEAD = 4, RECORD_AHEAD = 2 * BODY_AHEAD, LINE = 64, BODY_LINES = 4 };
	if (i + RECORD_AHEAD < n) {
		const char *record = (const char *)msgs[i + RECORD_AHEAD];
		__builtin_prefetch(record, 1);
		__builtin_prefetch(record + LINE, 1);
	}
	if (i + BODY_AHEAD < n) {
		const struct message_body *body = msgs[i + BODY_AHEAD]->body;
		__builtin_prefetch(body);
		for (size_t k = 0; k < BODY_LINES; k++)
			__builtin_prefetch(body->data + k * LINE);
	}
}

void protocol_v2_start_sending(struct client_v2 *c, struct channel *channel, int64_t msg_timeout,
	struct message *const *msgs, size_t n, message_prefix *prefixes)
{
	for (size_t i = 0; i < n; i++) {
		fetch_ahead(msgs, n, i);
		struct message *m = message_ref(msgs[i]);
		m->attempts++;
		frame_write_header(
			prefixes[i], FRAME_TYPE_MESSAGE, MSG_HEADER_LENGTH + m->body->len);
		message_write_header(m, prefixes[i] + FRAME_HEADER_LENGTH);
	}
	/* Counted first: a FIN must not find the count at 0. */
	client_v2_sending_messages(c, n);
	channel_start_in_flight_timeout(channel, msgs, n, c->consumer.id, msg_timeout);
}

/* --- the pump's way of writing --------------------------------------------------------------- */

/* The frames of n messages, as two parts each; these borrow from msgs and prefixes. */
static void frame_parts(
	struct iovec *parts, struct message *const *msgs, size_t n, message_prefix *prefixes)
{
	for (size_t i = 0; i < n; i++) {
		struct message_body *body = msgs[i]->body;
		parts[2 * i] =
			(struct iovec){.iov_base = prefixes[i], .iov_len = MSG_PREFIX_LENGTH};
		parts[2 * i + 1] = (struct iovec){.iov_base = body->data, .iov_len = body->len};
	}
}

size_t protocol_v2_size_of(struct message *const *msgs, size_t n)
{
	size_t size = 0;
	for (size_t i = 0; i < n; i++)
		size += msgs[i]->body->len;
	return size;
}

/*
 * With so much a write has a deadline of its own (and the rest goes with the last). In stock each
 * message has one. A single deadline for a large batch would end the connections of consumers that
 * are slow, but not stuck.
 */
#define WRITE_SIZE ((size_t)256 * 1024)

static int write_parts(struct client_v2 *c, const struct iovec *parts, size_t n, struct err *err)
{
	client_v2_lock_for_writing(c);
	int rc = bufio_writev(&c->writer, parts, (int)n, client_v2_write_deadline_locked(c), err);
	mutex_unlock(&c->write_lock);
	return rc;
}

int protocol_v2_write_messages(struct client_v2 *c, struct message *const *msgs, size_t n,
	size_t left, message_prefix *prefixes, struct err *err)
{
	struct iovec parts[2 * CLIENT_BATCH] UNINITIALIZED;
	int rc = 0;
	frame_parts(parts, msgs, n, prefixes);
	for (size_t i = 0, from = 0; i < n && rc == 0; from = i) {
		for (size_t size = 0; i < n && (size < WRITE_SIZE || left < WRITE_SIZE); i++) {
			size += msgs[i]->body->len;
			left -= msgs[i]->body->len;
		}
		rc = write_parts(c, parts + 2 * from, 2 * (i - from), err);
	}
	return rc;
}

void protocol_v2_write_messages_locked(struct client_v2 *c, struct channel *channel,
	int64_t msg_timeout, struct message *const *msgs, size_t n)
{
	message_prefix prefixes[SHORT_WRITE] UNINITIALIZED;
	struct iovec parts[2 * SHORT_WRITE] UNINITIALIZED;
	struct err ignored UNINITIALIZED;
	mutex_assert_held(&c->write_lock);
	CHECK(n <= SHORT_WRITE);
	protocol_v2_start_sending(c, channel, msg_timeout, msgs, n, prefixes);
	frame_parts(parts, msgs, n, prefixes);
	(void)bufio_writev(&c->writer, parts, (int)(2 * n), STREAM_NOW, &ignored);
}
