/* SPDX-License-Identifier: MIT */
/*
 * How much of a command has come in: enough to go on with it? For clients at the pollers that have
 * sent a part: a step gathers what comes, until there is something to do. So a command may come in
 * any number of pieces, however slowly, and costs others nothing.
 */
#ifndef NSQD_COMMAND_INPUT_H
#define NSQD_COMMAND_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options;

enum command_stage {
	COMMAND_LINE,    /* its newline is still to come */
	COMMAND_SIZE,    /* the size of its body, at `at` */
	COMMAND_COUNT,   /* MPUB: the number of messages, at `at` */
	COMMAND_MESSAGE, /* MPUB: the size of the next message, at `at` */
	COMMAND_WHOLE,   /* there is something to do, be it to refuse it */
};

/* Zeroed: nothing has been looked at. Its client's owner's (client_v2.h). */
struct command_input {
	bool begun; /* io_loop has found nothing wrong with its line, and waits for the body */
	enum command_stage stage;
	size_t searched; /* so many bytes hold no newline */
	size_t need;     /* before so many bytes are here there is no need to look */
	size_t at;
	bool is_message; /* the body is one message; else a body of several, or of none */
	bool is_mpub;    /* its messages are looked at one by one, as stock believes them alone */
	uint32_t left;   /* messages that are still to be looked at */
	int64_t body_bytes; /* of those that have been */
};

/* What the client may send. */
struct command_limits {
	const struct options *opts; /* borrowed */
	bool may_identify;          /* it has not subscribed yet */
	size_t line_max;            /* a longer line is at fault */
};

/*
 * buf[0..len) is all that has come of a command (and perhaps more behind it). What has been looked
 * at is not looked at again: a drip costs no more than a flood.
 */
bool command_input_is_enough(
	struct command_input *in, const struct command_limits *limits, const char *buf, size_t len);

#endif
