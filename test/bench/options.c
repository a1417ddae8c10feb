/* SPDX-License-Identifier: MIT */
/*
 * The command line of the load generator, and what holds where it says nothing.
 */
#include "test/bench/bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options opt = {
	.host = "127.0.0.1",
	.port = 4150,
	.http_port = 4151,
	.topic = "bench",
	.topics = 1,
	.channel = "ch",
	.conns = 2,
	.channels = 1,
	.outstanding = 1,
	.batch = 200,
	.size = 200,
	.rate = 1000,
	.rdy = 2500,
	.threads = 16,
	.stats_interval = 200,
	.storm_rate = 1000,
};

enum { MANY = 1000000, NAME_MAX_LEN = 56 }; /* a number is appended to a name */

/* One option: where its value goes, and what it may be. */
static const struct setting {
	const char *name;
	enum { FLAG, INT, UNSIGNED, TEXT, HOST, REAL, COMPRESS } kind;
	void *to; /* bool, int, uint64_t, const char *, double */
	long long min, max;
	const char *value; /* in the usage; NULL: it has none */
	const char *what;
} settings[] = {
	{"host", HOST, &opt.host, 0, 0, "HOST", "where the server is, by IPv4"},
	{"port", INT, &opt.port, 1, 65535, "N", "its TCP port"},
	{"http-port", INT, &opt.http_port, 1, 65535, "N", "its HTTP port"},
	{"pid", INT, &opt.pid, 1, 1 << 30, "N", "account for this server process"},
	{"null", FLAG, &opt.null, 0, 0, NULL, "load a built-in server that does nothing"},
	{"topic", TEXT, &opt.topic, 0, 0, "T", "the topic"},
	{"topics", INT, &opt.topics, 1, MANY, "N",
		"latency: topics T0..T(N-1), each with one "
		"publishing and one consuming connection"},
	{"channel", TEXT, &opt.channel, 0, 0, "C", "the channel"},
	{"ok-times", FLAG, &opt.ok_times, 0, 0, NULL, "print how long the answers to PUB took"},
	{"create", FLAG, &opt.create, 0, 0, NULL, "create the channels before publishing"},
	{"conns", INT, &opt.conns, 1, MANY, "N", "publishing connections; connections at once"},
	{"outstanding", INT, &opt.outstanding, 1, MANY, "N",
		"commands without an answer, per connection"},
	{"batch", INT, &opt.batch, 1, MANY, "N", "messages per MPUB"},
	{"size", UNSIGNED, &opt.size, BODY_MIN, 1 << 26, "N", "bytes of a body"},
	{"total", UNSIGNED, &opt.total, 1, SEQ_LIMIT, "N", "messages, or:"},
	{"seconds", REAL, &opt.seconds, 0, 0, "S", "how long to publish, or to be idle"},
	{"subs", INT, &opt.subs, 1, MANY, "N", "consuming connections per channel"},
	{"channels", INT, &opt.channels, 1, MANY, "N", "channels C0..C(N-1), when more than 1"},
	{"rdy", INT, &opt.rdy, 1, MANY, "N", "RDY of each consumer"},
	{"rate", REAL, &opt.rate, 1, 10 * MANY, "N", "latency: messages per second"},
	{"output-buffer-size", INT, &opt.output_buffer_size, -1, 1 << 26, "N", "as in IDENTIFY"},
	{"output-buffer-timeout", INT, &opt.output_buffer_timeout, -1, 1 << 26, "MS", "the same"},
	{"msg-timeout", INT, &opt.msg_timeout, 1, MANY, "MS",
		"the same; the first delivery is not answered"},
	{"requeue", FLAG, &opt.requeue, 0, 0, NULL, "answer the first delivery with REQ 0"},
	{"touch", FLAG, &opt.touch, 0, 0, NULL, "touch each message before it is finished"},
	{"defer", INT, &opt.defer, 1, 3600 * 1000, "MS", "dpub: the delay"},
	{"stored-topics", INT, &opt.stored_topics, 0, MANY, "N", "stats: topics besides T"},
	{"stats-interval", INT, &opt.stats_interval, 1, MANY, "MS", "stats: between requests"},
	{"storm-rate", REAL, &opt.storm_rate, 1, 0, "N", "storm-latency: connections per second"},
	{"pollers", INT, &opt.pollers, 1, MANY, "N", "workers that consume, in all"},
	{"threads", INT, &opt.threads, 1, MANY, "N", "workers to publish, and for each channel"},
	{"tls", FLAG, &opt.tls, 0, 0, NULL, "what to ask for in IDENTIFY"},
	{"snappy", COMPRESS, &opt.compress, COMPRESS_SNAPPY, 0, NULL, "the same"},
	{"deflate", COMPRESS, &opt.compress, COMPRESS_DEFLATE, 0, NULL, "the same"},
};

enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

void options_usage(void)
{
	printf("\noptions:\n");
	for (int i = 0; i < SETTINGS; i++) {
		const struct setting *s = &settings[i];
		int n = printf("  --%s %s", s->name, s->value != NULL ? s->value : "");
		printf("%*s%s\n", n < 30 ? 30 - n : 1, "", s->what);
	}
}

static long long number(const struct setting *s, const char *text)
{
	char *end;
	long long n = strtoll(text, &end, 10);

	if (*text == '\0' || *end != '\0' || n < s->min || n > s->max)
		die("--%s %s: must be a number from %lld to %lld", s->name, text, s->min, s->max);
	return n;
}

static double real(const struct setting *s, const char *text)
{
	char *end;
	double x = strtod(text, &end);

	if (*text == '\0' || *end != '\0' || x < (double)s->min)
		die("--%s %s: must be a number from %lld on", s->name, text, s->min);
	return x;
}

static void set_option(const struct setting *s, const char *value)
{
	switch (s->kind) {
	case FLAG:
		*(bool *)s->to = true;
		break;
	case INT:
		*(int *)s->to = (int)number(s, value);
		break;
	case UNSIGNED:
		*(uint64_t *)s->to = (uint64_t)number(s, value);
		break;
	case REAL:
		*(double *)s->to = real(s, value);
		break;
	case COMPRESS:
		*(enum compression *)s->to = (enum compression)s->min;
		break;
	case HOST:
		*(const char **)s->to = value;
		break;
	case TEXT:
		if (strlen(value) > NAME_MAX_LEN)
			die("--%s %s: at most %d bytes", s->name, value, NAME_MAX_LEN);
		*(const char **)s->to = value;
		break;
	}
}

const char *options_parse(int argc, char **argv)
{
	struct option known[SETTINGS + 2] = {[SETTINGS] = {"help", 0, NULL, SETTINGS}};
	int id;

	for (int i = 0; i < SETTINGS; i++)
		known[i] = (struct option){settings[i].name, settings[i].value != NULL, NULL, i};
	while ((id = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (id == SETTINGS) {
			usage();
			exit(0);
		}
		if (id == '?')
			return NULL;
		set_option(&settings[id], optarg);
	}
	return optind + 1 == argc ? argv[optind] : NULL;
}
