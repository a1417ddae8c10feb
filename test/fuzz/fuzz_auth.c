/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the answer of an auth server, and the regular expressions in it. An input is a topic,
 * a channel and an answer, with line ends between them.
 *
 * Flags: 1 the rest of the input is one expression instead, and the channel's name is its text.
 */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "common/json.h"
#include "common/regex.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"

/* Some of them have the same place in a state's memory. */
#define N_TOPICS 10

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	return 0;
}

static void try_expression(struct input in, const char *text)
{
	struct err err = {0};
	struct regex *re = regex_compile((const char *)in.p, in.n, &err);
	if (re) {
		/* The same each time, and without a state. */
		bool matches = regex_match(re, text);
		CHECK(regex_match(re, text) == matches);
	} else {
		CHECK(*err.msg);
	}
	regex_free(re);
}

/* May one publish to a topic of this name, and a number? */
static bool may_publish(struct auth_state *s, const char *topic, int number)
{
	char *name = xasprintf("%s%d%d", topic, number, number * number);
	bool yes = auth_is_allowed(s, name, "");
	free(name);
	return yes;
}

/* What is remembered is what was decided, in whatever order it is asked for. */
static void check_memory(struct auth_state *s, struct auth_state *other, const char *topic)
{
	bool first[N_TOPICS];
	for (int i = 0; i < N_TOPICS; i++)
		first[i] = may_publish(s, topic, i);
	for (int i = N_TOPICS - 1; i >= 0; i--)
		CHECK(may_publish(other, topic, i) == first[i]);
	for (int i = 0; i < N_TOPICS; i++)
		CHECK(may_publish(s, topic, i) == first[i]);
}

static void try_answer(struct input in, const char *topic, const char *channel)
{
	struct err err = {0};
	struct auth_state *s = auth_state_decode((const char *)in.p, in.n, &err);
	if (!s) {
		CHECK(*err.msg);
		return;
	}
	CHECK(json_valid((const char *)in.p, in.n) && s->ttl > 0 && !auth_is_expired(s));
	(void)auth_is_allowed(s, topic, channel);
	struct auth_state *other = auth_state_decode((const char *)in.p, in.n, &err);
	check_memory(s, other, topic);
	auth_state_free(other);
	auth_state_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t flags = input_byte(&in);
	char *topic = input_string(input_until(&in, '\n'));
	char *channel = input_string(input_until(&in, '\n'));
	if (flags & 1)
		try_expression(in, channel);
	else
		try_answer(in, topic, channel);
	free(topic);
	free(channel);
	return 0;
}
