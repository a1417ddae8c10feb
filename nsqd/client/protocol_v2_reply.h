/* SPDX-License-Identifier: MIT */
/*
 * What io_loop says to its client: answers and errors; and the PUBs and FINs that are gathered, to
 * be executed together. All of it runs in io_loop.
 */
#ifndef NSQD_PROTOCOL_V2_REPLY_H
#define NSQD_PROTOCOL_V2_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/client/io_loop.h"

/* Appends a frame to the writer, to be flushed before the next read. -1 with err set. */
int io_loop_send_frame(
	struct io_loop *l, int32_t type, const void *data, size_t len, struct err *err);
/* The response to a command. -1: it cannot be sent; l->failure says why. */
int io_loop_send_response(struct io_loop *l, const char *response);
/*
 * Logs and sends an error. -1: it cannot be sent, and l->failure is what it says. While we end the
 * connection ourselves the client is told nothing: an error would say that its command was wrong,
 * and libraries hand that on as a refusal of the message, where they would try elsewhere.
 */
int io_loop_send_error(struct io_loop *l, const struct protocol_err *e);
/* Flushes what the socket takes at once, and leaves the rest to the pump. -1 with err set. */
int io_loop_flush(struct io_loop *l, struct err *err);
/*
 * Sends the answers for which a step found the writer taken: in a thread, or where that is possible
 * now. -1 as above.
 */
int io_loop_send_late(struct io_loop *l);

/* Commands that are not executed at once, but together with their fellows. Never both at a time. */
enum gathered { GATHERED_NONE, GATHERED_PUBS, GATHERED_FINS };

/*
 * Executes what is gathered, but for the kind to_keep, and answers it. The PUBs go to their topic,
 * which may block on the disk. -1: the connection is over: a PUB could not be queued
 * (l->pub_failed, and l->pub_error is to be sent), or an answer could not be sent (l->failure). Or
 * l->blocks: the PUBs are still there. At a poller they would have to wait for the disk; or there is
 * no thread for their topic (io_loop_awaits_thread). Or client.put: they are left with a log.
 */
int io_loop_flush_gathered(struct io_loop *l, enum gathered to_keep);
/*
 * n PUBs or DPUBs were put, and done of them are queued; else why says why not. As above: 0, or -1 with
 * l->pub_failed, or l->failure.
 */
int io_loop_answer_pubs(
	struct io_loop *l, const char *command, size_t n, size_t done, const struct err *why);
/* PUBs that must not or cannot be queued now are commands again, to be read first. */
void io_loop_put_back_pubs(struct io_loop *l);
/*
 * A topic or channel could not be made; why says so. True, and l->blocks is set: for want of a thread
 * that may be there in a moment. The command is put back, and this client gives up its own thread.
 * False: there are other reasons, or it has been so for a second.
 */
bool io_loop_awaits_thread(struct io_loop *l, const struct err *why);
/* The connection is over: drops what is gathered. */
void io_loop_drop_gathered(struct io_loop *l);
/*
 * bufio_reader.before_read; arg is the io_loop. Nothing is held back while the client is silent:
 * executes what is gathered, tells the pump if it has room again, flushes. Then it takes the steps
 * of the pumps that are woken by all that. -1 with err set, as above. 1: PUBs are still there, as
 * there is no thread for their topic.
 */
int io_loop_before_read(void *arg, struct err *err);

/* A message that is not in flight, or not the client's: an error that is not fatal. Returns -1. */
int io_loop_message_failed(
	struct protocol_err *e, const char *cmd, struct message_id id, const char *why);

/*
 * l->error for messages that a topic has not taken, as why says. It is fatal whatever the reason, a
 * limit as well: libraries fail all that is outstanding then, so none of it may be answered. -1.
 */
int io_loop_put_failed(struct io_loop *l, const char *cmd, const struct err *why);

#endif
