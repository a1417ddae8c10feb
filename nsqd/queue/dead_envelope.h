/* SPDX-License-Identifier: MIT */
/*
 * The body of a dead letter with dead_letter_envelope=true: where it has come from, for programs that
 * read messages and not nsqd's API. (No Go file.)
 *
 *   {"topic":"orders","channel":"mail","id":"0a1b...","timestamp":1700000000000000000,"attempts":5,
 *    "reason":"max_attempts","time":1700000000000000000,"body":"aGVsbG8="}
 */
#ifndef NSQD_DEAD_ENVELOPE_H
#define NSQD_DEAD_ENVELOPE_H

#include "nsqd/core/message.h"
#include "nsqd/queue/dead_letter.h"

/* The body in its envelope; a reference. NULL: that would be longer than max. */
struct message_body *dead_envelope_new(
	const struct dead_letter *from, const struct message_body *body, size_t max);
/* What is in it; a reference. NULL: it is no envelope. */
struct message_body *dead_envelope_open(const struct message_body *envelope);

#endif
