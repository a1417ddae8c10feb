/* SPDX-License-Identifier: MIT */
/* log_fields: what lines are about, read from the texts that stock and we write. */
#include "test/unit/helper.h"

#include "common/rand.h"
#include "nsqd/core/log_fields.h"

static void check(struct lg_text t, const char *wanted)
{
	if (t.n != strlen(wanted) || (t.n > 0 && memcmp(t.s, wanted, t.n) != 0))
		fail_msg("\"%.*s\", not \"%s\"", (int)t.n, t.s ? t.s : "", wanted);
}

static void test_the_fields_of_each_kind_of_line(void **state)
{
	static const struct {
		const char *text, *component, *topic, *channel, *client;
	} lines[] = {
		{"TOPIC(t): created", "TOPIC", "t", "", ""},
		{"TOPIC(t#ephemeral): new channel(c)", "TOPIC", "t#ephemeral", "c", ""},
		{"TOPIC(t): deleting channel c#ephemeral", "TOPIC", "t", "c#ephemeral", ""},
		{"TOPIC(t) ERROR: failed to put msg(0) to channel(c) - x", "TOPIC", "t", "", ""},
		{"CHANNEL(c): closing", "CHANNEL", "", "c", ""},
		{"topic(t) delete - x", "TOPIC", "t", "", ""},
		{"channel(c) delete - x", "CHANNEL", "", "c", ""},
		{"DISKQUEUE(t:c): closing", "DISKQUEUE", "t", "c", ""},
		{"DISKQUEUE(t) reading at 5 of x - EOF", "DISKQUEUE", "t", "", ""},
		{"PROTOCOL(V2): [127.0.0.1:5] exiting ioloop", "PROTOCOL", "", "", "127.0.0.1:5"},
		{"PROTOCOL(V2): [[::1]:5] exiting ioloop", "PROTOCOL", "", "", "[::1]:5"},
		{"PROTOCOL(V2): [@] exiting ioloop", "PROTOCOL", "", "", "@"},
		{"CLIENT([::1]:5): desired protocol magic '  V2'", "CLIENT", "", "", "[::1]:5"},
		{"client(1.2.3.4:5) - x", "CLIENT", "", "", "1.2.3.4:5"},
		{"TCP: new client(1.2.3.4:5)", "TCP", "", "", "1.2.3.4:5"},
		{"TCP: listening on 1.2.3.4:5", "TCP", "", "", ""},
		{"HTTPS: closing x", "HTTPS", "", "", ""},
		{"http: TLS handshake error from 1.2.3.4:5: EOF", "HTTP", "", "", ""},
		{"200 GET /ping (127.0.0.1:5) 11.5us", "HTTP", "", "", "127.0.0.1:5"},
		{"404 GET /(a)?(b) ([::1]:5) 11.5us", "HTTP", "", "", "[::1]:5"},
		{"LOOKUPD(1.2.3.4:5): REGISTER t", "LOOKUPD", "", "", ""},
		{"LOOKUP connecting to x", "LOOKUP", "", "", ""},
		{"NSQ: bye", "NSQ", "", "", ""},
		{"ID: 17", "", "", "", ""},
		{"nsqd v1.3.0", "", "", "", ""},
		{"", "", "", "", ""},
		{"TOPIC(", "TOPIC", "", "", ""},
		{"TOPIC(no end", "TOPIC", "", "", ""},
		{"PROTOCOL(V2): [no end", "PROTOCOL", "", "", ""},
		{"PROTOCOL(V2): [[::1]:no end", "PROTOCOL", "", "", "[::1"},
		{"DISKQUEUE(:)", "DISKQUEUE", "", "", ""},
		{"2000 GET", "", "", "", ""},
		{"200 GET )(", "HTTP", "", "", ""},
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct lg_fields f;
		log_fields_describe(lines[i].text, strlen(lines[i].text), &f);
		check(f.component, lines[i].component);
		check(f.topic, lines[i].topic);
		check(f.channel, lines[i].channel);
		check(f.client, lines[i].client);
	}
}

static void check_within(struct lg_text t, const char *text, size_t len)
{
	/* A component is a constant; the others are pieces of the text. */
	assert_true(t.n <= len);
	if (t.n > 0)
		assert_true(t.s >= text && t.s + t.n <= text + len);
}

/* Each text cut anywhere, with any byte anywhere: nothing beyond its end is looked at. */
static void test_any_bytes(void **state)
{
	static const char whole[] =
		"PROTOCOL(V2): [[::1]:5] x DISKQUEUE(t:c) TOPIC(t): new channel(c";
	static const char *const starts[] = {"TOPIC(", "DISKQUEUE(", "PROTOCOL(",
		"TCP: new client(", "CLIENT(", "200 ", "PROTOCOL(V2): [", "TOPIC(t): new channel("};
	for (int i = 0; i < 200000; i++) {
		const char *start = starts[rand_u64() % 8];
		size_t n = strlen(start), more = rand_u64() % 24;
		char *text = malloc(n + more + 1); /* its end is where a sanitizer watches */
		memcpy(text, start, n);
		for (size_t k = 0; k < more; k++)
			text[n + k] = whole[rand_u64() % (sizeof(whole) - 1)];
		size_t len = rand_u64() % (n + more + 1);
		char *exact = malloc(len ? len : 1);
		memcpy(exact, text, len);
		struct lg_fields f;
		log_fields_describe(exact, len, &f);
		check_within(f.topic, exact, len);
		check_within(f.channel, exact, len);
		check_within(f.client, exact, len);
		free(exact);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_fields_of_each_kind_of_line),
		cmocka_unit_test(test_any_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
