/* SPDX-License-Identifier: MIT */
/*
 * Sending messages to a client (SendMessage and Send of nsqd/protocol_v2.go), for its pump.
 *
 * The order is: protocol_v2_sample, protocol_v2_start_sending, a write of the frames, and then
 * message_unref_all.
 */
#ifndef NSQD_PROTOCOL_V2_SEND_H
#define NSQD_PROTOCOL_V2_SEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/core/message.h"
#include "protocol/frame.h"

struct channel;
struct client_v2;

/* What goes before the body of a message: the frame's header and the message's. */
#define MSG_PREFIX_LENGTH (FRAME_HEADER_LENGTH + MSG_HEADER_LENGTH)
/* The most messages for one client at a time: so much its fellow consumers may have to wait. */
#define CLIENT_BATCH 256
/* So many messages, of so many bytes in all, may be written by another thread than the pump's. */
#define SHORT_WRITE 16
#define SHORT_WRITE_SIZE ((size_t)4096)

/* A prefix, as protocol_v2_start_sending makes it. */
typedef unsigned char message_prefix[MSG_PREFIX_LENGTH];

/*
 * Keeps about sample_rate percent (0: all) of the n messages, and drops a reference to each of the
 * others. Returns how many are left; they come first.
 */
size_t protocol_v2_sample(int32_t sample_rate, struct message **msgs, size_t n);

/*
 * The first half of SendMessage, for n of them: counts them, and puts them in flight. A message is
 * in flight before it is written, so that its FIN, which may come as soon as it is written, finds
 * it there. From that moment a FIN or a timeout may drop it, or hand it to another client, which
 * counts up its attempts. So the bytes that change are copied before, to prefixes, and one more
 * reference keeps the body. The caller drops that when it has written the frame. Takes
 * in_flight_lock.
 */
void protocol_v2_start_sending(struct client_v2 *c, struct channel *channel, int64_t msg_timeout,
	struct message *const *msgs, size_t n, message_prefix *prefixes);

/* The size of n bodies. */
size_t protocol_v2_size_of(struct message *const *msgs, size_t n);
/*
 * Writes the frames of n messages, at most CLIENT_BATCH, whose bodies have that size in all. Blocks
 * until the write deadline. Takes write_lock. -1 with err set. The client's pump.
 */
int protocol_v2_write_messages(struct client_v2 *c, struct message *const *msgs, size_t n,
	size_t size, message_prefix *prefixes, struct err *err);
/*
 * Both halves for n messages, at most SHORT_WRITE, without blocking. The caller has write_lock by
 * client_v2_begin_try_write. Takes in_flight_lock. An error is the writer's to keep.
 */
void protocol_v2_write_messages_locked(struct client_v2 *c, struct channel *channel,
	int64_t msg_timeout, struct message *const *msgs, size_t n);
/*
 * One heartbeat, flushed. Blocks as client_v2_send does. The client's pump.
 */
int protocol_v2_send_heartbeat(struct client_v2 *c, struct err *err);
/*
 * The same without blocking; false, and nothing done: that is not possible now. *left: the socket has
 * not taken all that was to be flushed. The pump.
 */
bool protocol_v2_try_send_heartbeat(struct client_v2 *c, bool *left);

#endif
