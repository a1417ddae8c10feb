/* SPDX-License-Identifier: MIT */
/*
 * How much of a command has come in. No Go file: stock reads commands with a goroutine per client.
 * The bounds are those of protocol_v2_params.c, which has the last word: anything odd is "enough",
 * and io_loop then finds out what it is. Runs in the threads "poller".
 */
#include "nsqd/client/command_input.h"

#include <string.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "nsqd/core/options.h"
#include "protocol/byte_base10.h"
#include "protocol/names.h"

#define SIZE_LENGTH 4

struct word {
	const char *s;
	size_t len;
};

/* The word up to a blank or the end; and moves behind it. */
static struct word next_word(const char **p, const char *end)
{
	const char *blank = memchr(*p, ' ', (size_t)(end - *p));
	struct word w = {*p, (size_t)((blank ? blank : end) - *p)};
	*p = blank ? blank + 1 : end;
	return w;
}

static bool is(struct word w, const char *name)
{
	return w.len == strlen(name) && memcmp(w.s, name, w.len) == 0;
}

static bool is_delay(struct word w, const struct options *opts)
{
	uint64_t ms;
	return byte_to_base10(w.s, w.len, &ms) &&
	       ms <= (uint64_t)(opts->max_req_timeout / NSEC_PER_MSEC);
}

/*
 * Has a command with this line nothing to be refused for before its body is here? False also where
 * it may have: then io_loop looks.
 */
static bool is_plain(const struct command_limits *limits, const char *line, const char *end)
{
	const struct options *opts = limits->opts;
	struct word cmd = next_word(&line, end);
	if (is(cmd, "IDENTIFY") || is(cmd, "AUTH"))
		return line == end && limits->may_identify &&
		       opts->tls_required == TLS_NOT_REQUIRED;
	struct word topic = next_word(&line, end);
	if (opts->tls_required != TLS_NOT_REQUIRED || opts->auth_http_addresses.n > 0 ||
		!is_valid_topic_name(topic.s, topic.len))
		return false;
	return is(cmd, "DPUB") ? is_delay(next_word(&line, end), opts) && line == end : line == end;
}

/* The line is here, its newline at end. */
static void look_at_line(struct command_input *in, const struct command_limits *limits,
	const char *line, const char *end)
{
	in->stage = COMMAND_WHOLE;
	in->at = (size_t)(end - line) + 1;
	if (end > line && end[-1] == '\r')
		end--;
	const char *p = line;
	struct word cmd = next_word(&p, end);
	in->is_message = is(cmd, "PUB") || is(cmd, "DPUB");
	in->is_mpub = is(cmd, "MPUB");
	if (!in->is_message && !in->is_mpub && !is(cmd, "IDENTIFY") && !is(cmd, "AUTH"))
		return;
	if (!in->begun && !is_plain(limits, line, end))
		return;
	in->stage = COMMAND_SIZE;
	in->need = in->at + SIZE_LENGTH;
}

/* A size or number is here. Out of range it is for io_loop to refuse. */
static void look_at_number(struct command_input *in, const struct options *opts, int32_t n)
{
	enum command_stage stage = in->stage;
	in->stage = COMMAND_WHOLE;
	in->at += SIZE_LENGTH;
	if (n <= 0)
		return;
	switch (stage) {
	case COMMAND_SIZE:
		if (n > (in->is_message ? opts->max_msg_size : opts->max_body_size))
			return;
		if (in->is_mpub)
			in->stage = COMMAND_COUNT;
		in->need = in->at + (in->is_mpub ? SIZE_LENGTH : (size_t)n);
		return;
	case COMMAND_COUNT:
		if (n > (opts->max_body_size - 4) / 5)
			return;
		in->left = (uint32_t)n;
		in->body_bytes = SIZE_LENGTH;
		in->stage = COMMAND_MESSAGE;
		in->need = in->at + SIZE_LENGTH;
		return;
	case COMMAND_MESSAGE:
		in->body_bytes += SIZE_LENGTH + (int64_t)n;
		if (n > opts->max_msg_size || in->body_bytes > opts->max_body_size)
			return;
		in->at += (size_t)n;
		if (--in->left > 0)
			in->stage = COMMAND_MESSAGE;
		in->need = in->at + (in->left > 0 ? SIZE_LENGTH : 0);
		return;
	case COMMAND_LINE:
	case COMMAND_WHOLE:
		break;
	}
}

bool command_input_is_enough(
	struct command_input *in, const struct command_limits *limits, const char *buf, size_t len)
{
	while (len >= in->need) {
		if (in->stage == COMMAND_WHOLE)
			return true;
		if (in->stage == COMMAND_LINE) {
			size_t most = len < limits->line_max ? len : limits->line_max;
			const char *nl = memchr(buf + in->searched, '\n', most - in->searched);
			if (!nl && most == limits->line_max)
				return true; /* a line that is too long */
			in->searched = most;
			in->need = most + 1;
			if (nl) {
				in->need = 0;
				look_at_line(in, limits, buf, nl);
			}
		} else {
			look_at_number(in, limits->opts,
				(int32_t)get_be32((const unsigned char *)buf + in->at));
		}
	}
	return false;
}
