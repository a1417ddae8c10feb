/* SPDX-License-Identifier: MIT */
/*
 * nsq_bench: a load generator for nsqd that costs little and checks the work.
 *
 * Each mode prints one line of key=value. `rate` is messages per second, for modes with consumers
 * counted where they come out; `cpu_us` the server's CPU time per such message (with --pid),
 * `gen_us` the generator's own, `ctx` the server's context switches per message.
 *
 * The exit status is 0 only if every message that was sent was acknowledged, and every message that
 * was expected came, came once, and was finished.
 */
#include "test/bench/bench.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct options opt = {
	.host = "127.0.0.1",
	.port = 4150,
	.http_port = 4151,
	.topic = "bench",
	.channel = "ch",
	.conns = 2,
	.channels = 1,
	.outstanding = 1,
	.batch = 200,
	.size = 200,
	.rate = 1000,
	.rdy = 2500,
	.threads = 16,
};

void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "nsq_bench: error: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	_exit(1);
}

void *xalloc(size_t size)
{
	void *p = calloc(1, size > 0 ? size : 1);

	if (!p)
		die("out of memory");
	return p;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Publishes, consumes, or both at once. */
struct load {
	bool publish, consume;
	enum publish_kind kind;
};

enum { SEQ_LIMIT = 1 << 30 }; /* with --seconds: what a bitmap must have room for */

static void sleep_s(double s)
{
	struct timespec ts = {
		.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

	nanosleep(&ts, NULL);
}

/* Subscribes once to every channel, so that they exist from the start. */
static void create_channels(void)
{
	struct conn c = {0};
	char name[80];

	for (int i = 0; i < opt.channels; i++) {
		snprintf(name, sizeof(name), opt.channels > 1 ? "%s%d" : "%s", opt.channel, i);
		conn_open(&c, opt.port, 4096);
		conn_identify(&c, 30000);
		conn_subscribe(&c, opt.topic, name);
		conn_close(&c);
	}
}

static void run_load(const struct load *load)
{
	struct sequence seq = {.total = opt.total > 0 ? opt.total : SEQ_LIMIT};
	struct publishers *pub = NULL;
	struct consumers *con = NULL;
	struct proc_sample before, after;
	pthread_barrier_t start;
	uint64_t t0, t1, expected = opt.total, timed, out;
	unsigned parties = 1;

	if (opt.create)
		create_channels();
	if (load->consume) {
		con = consumers_open(seq.total, NULL);
		parties += (unsigned)consumers_workers(con);
	}
	if (load->publish) {
		pub = publishers_open(load->kind, &seq);
		parties += (unsigned)publishers_workers(pub);
	}
	pthread_barrier_init(&start, NULL, parties);
	if (con)
		consumers_spawn(con, &start);
	if (pub)
		publishers_spawn(pub, &start);
	proc_sample(&before);
	pthread_barrier_wait(&start);
	t0 = now_ns();
	if (con)
		consumers_ready(con);
	if (pub) {
		if (opt.total == 0) {
			sleep_s(opt.seconds);
			atomic_store(&seq.stop, true);
		}
		expected = publishers_join(pub);
		if (opt.total > 0 && expected != opt.total)
			die("%llu messages acknowledged of %llu", (unsigned long long)expected,
				(unsigned long long)opt.total);
	}
	t1 = now_ns();
	timed = expected;
	if (con)
		t1 = consumers_finish(con, expected, &timed);
	proc_sample(&after);

	out = con != NULL ? expected * (uint64_t)opt.channels : expected;
	timed = con != NULL ? timed * (uint64_t)opt.channels : timed;
	printf("mode=%s msgs=%llu seconds=%.3f rate=%.0f mb_per_s=%.1f redelivered=%llu", opt.mode,
		(unsigned long long)out, (double)(t1 - t0) / 1e9,
		(double)timed * 1e9 / (double)(t1 - t0),
		(double)timed * (double)opt.size * 1e3 / (double)(t1 - t0),
		(unsigned long long)(con != NULL ? consumers_redelivered(con) : 0));
	proc_print(&before, &after, out);
	printf("\n");
	if (pub)
		publishers_close(pub);
	if (con)
		consumers_close(con);
}

static const struct mode {
	const char *name;
	const char *what;
	struct load load;
	void (*run)(void); /* instead of run_load() */
} modes[] = {
	{"pub", "PUB", {true, false, PUBLISH_PUB}, NULL},
	{"mpub", "MPUB of --batch messages", {true, false, PUBLISH_MPUB}, NULL},
	{"http", "POST /pub, keep-alive", {true, false, PUBLISH_HTTP}, NULL},
	{"sub", "consume --total messages that are there", {false, true, PUBLISH_PUB}, NULL},
	{"pubsub", "PUB and consume at once", {true, true, PUBLISH_PUB}, NULL},
	{"mpubsub", "MPUB and consume at once", {true, true, PUBLISH_MPUB}, NULL},
	{"fanout", "MPUB, --channels channels consumed", {true, true, PUBLISH_MPUB}, NULL},
	{"latency", "PUB at --rate, open loop", {false, true, PUBLISH_PUB}, run_latency},
	{"idle", "hold --conns connections for --seconds", {false, false, PUBLISH_PUB}, run_idle},
};

static void usage(void)
{
	printf("usage: nsq_bench MODE [options]\n\nmodes:\n");
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		printf("  %-10s%s\n", modes[i].name, modes[i].what);
	printf("\noptions:\n"
	       "  --host IP --port N --http-port N   where the server is\n"
	       "  --pid N            account for this server process\n"
	       "  --null             load a built-in server that does nothing\n"
	       "  --topic T --channel C\n"
	       "  --create           create the channels before publishing\n"
	       "  --conns N          publishing connections\n"
	       "  --outstanding N    commands without an answer, per connection\n"
	       "  --batch N          messages per MPUB\n"
	       "  --size N           bytes of a body\n"
	       "  --total N          messages, or:\n"
	       "  --seconds S        how long to publish, or to be idle\n"
	       "  --subs N           consuming connections per channel\n"
	       "  --channels N       channels C0..C(N-1), when more than 1\n"
	       "  --rdy N            RDY of each consumer\n"
	       "  --rate N           latency: messages per second\n"
	       "  --output-buffer-size N --output-buffer-timeout MS   as in IDENTIFY\n"
	       "  --threads N        workers for publishing, and for each channel\n"
	       "  --tls --snappy --deflate            what to ask for in IDENTIFY\n");
}

enum option_id {
	O_HOST = 256,
	O_PORT,
	O_HTTP_PORT,
	O_PID,
	O_NULL,
	O_TOPIC,
	O_CHANNEL,
	O_CREATE,
	O_CONNS,
	O_OUTSTANDING,
	O_BATCH,
	O_SIZE,
	O_TOTAL,
	O_SECONDS,
	O_SUBS,
	O_CHANNELS,
	O_RDY,
	O_RATE,
	O_OUTPUT_BUFFER_SIZE,
	O_OUTPUT_BUFFER_TIMEOUT,
	O_THREADS,
	O_TLS,
	O_SNAPPY,
	O_DEFLATE,
	O_HELP,
};

static const struct option long_options[] = {
	{"host", 1, NULL, O_HOST},
	{"port", 1, NULL, O_PORT},
	{"http-port", 1, NULL, O_HTTP_PORT},
	{"pid", 1, NULL, O_PID},
	{"null", 0, NULL, O_NULL},
	{"topic", 1, NULL, O_TOPIC},
	{"channel", 1, NULL, O_CHANNEL},
	{"create", 0, NULL, O_CREATE},
	{"conns", 1, NULL, O_CONNS},
	{"outstanding", 1, NULL, O_OUTSTANDING},
	{"batch", 1, NULL, O_BATCH},
	{"size", 1, NULL, O_SIZE},
	{"total", 1, NULL, O_TOTAL},
	{"seconds", 1, NULL, O_SECONDS},
	{"subs", 1, NULL, O_SUBS},
	{"channels", 1, NULL, O_CHANNELS},
	{"rdy", 1, NULL, O_RDY},
	{"rate", 1, NULL, O_RATE},
	{"output-buffer-size", 1, NULL, O_OUTPUT_BUFFER_SIZE},
	{"output-buffer-timeout", 1, NULL, O_OUTPUT_BUFFER_TIMEOUT},
	{"threads", 1, NULL, O_THREADS},
	{"tls", 0, NULL, O_TLS},
	{"snappy", 0, NULL, O_SNAPPY},
	{"deflate", 0, NULL, O_DEFLATE},
	{"help", 0, NULL, O_HELP},
	{NULL, 0, NULL, 0},
};

static long long number(const char *text, long long min, long long max)
{
	char *end;
	long long n = strtoll(text, &end, 10);

	if (*text == '\0' || *end != '\0' || n < min || n > max)
		die("%s: must be a number from %lld to %lld", text, min, max);
	return n;
}

static int count(const char *text)
{
	return (int)number(text, 1, 1000000);
}

static void set_option(int id, const char *value)
{
	switch (id) {
	case O_HOST:
		opt.host = value;
		break;
	case O_PORT:
		opt.port = (int)number(value, 1, 65535);
		break;
	case O_HTTP_PORT:
		opt.http_port = (int)number(value, 1, 65535);
		break;
	case O_PID:
		opt.pid = (pid_t)number(value, 1, 1 << 30);
		break;
	case O_NULL:
		opt.null = true;
		break;
	case O_TOPIC:
	case O_CHANNEL:
		if (strlen(value) > 64)
			die("%s: a name has at most 64 bytes", value);
		*(id == O_TOPIC ? &opt.topic : &opt.channel) = value;
		break;
	case O_CREATE:
		opt.create = true;
		break;
	case O_CONNS:
		opt.conns = count(value);
		break;
	case O_OUTSTANDING:
		opt.outstanding = count(value);
		break;
	case O_BATCH:
		opt.batch = count(value);
		break;
	case O_SIZE:
		opt.size = (size_t)number(value, BODY_MIN, 1 << 26);
		break;
	case O_TOTAL:
		opt.total = (uint64_t)number(value, 1, SEQ_LIMIT);
		break;
	case O_SECONDS:
		opt.seconds = strtod(value, NULL);
		break;
	case O_SUBS:
		opt.subs = count(value);
		break;
	case O_CHANNELS:
		opt.channels = count(value);
		break;
	case O_RDY:
		opt.rdy = count(value);
		break;
	case O_RATE:
		opt.rate = (double)number(value, 1, 10000000);
		break;
	case O_OUTPUT_BUFFER_SIZE:
		opt.output_buffer_size = (int)number(value, -1, 1 << 26);
		break;
	case O_OUTPUT_BUFFER_TIMEOUT:
		opt.output_buffer_timeout = (int)number(value, -1, 1 << 26);
		break;
	case O_THREADS:
		opt.threads = count(value);
		break;
	case O_TLS:
		opt.tls = true;
		break;
	case O_SNAPPY:
		opt.compress = COMPRESS_SNAPPY;
		break;
	case O_DEFLATE:
		opt.compress = COMPRESS_DEFLATE;
		break;
	case O_HELP:
		usage();
		exit(0);
	default:
		exit(2);
	}
}

static const struct mode *find_mode(const char *name)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(modes[i].name, name) == 0)
			return &modes[i];
	usage();
	exit(2);
}

/* Layers hold back input that epoll does not know of: each connection has a worker. */
static void complete_transport(const struct mode *mode)
{
	if (transport_is_plain())
		return;
	if (mode->run != NULL || mode->load.kind == PUBLISH_HTTP || opt.null)
		die("%s: over plain connections only", mode->name);
	if (opt.conns > opt.threads || opt.subs > opt.threads)
		die("with TLS or compression each connection needs a thread");
	if (opt.compress != COMPRESS_NONE && mode->load.publish && opt.total == 0)
		die("to publish compressed messages needs --total");
}

/* What a mode cannot do without, and what follows from it. */
static void complete_options(const struct mode *mode)
{
	opt.mode = mode->name;
	if (mode->load.consume && opt.subs == 0)
		opt.subs = 1;
	if (!mode->load.consume)
		opt.subs = 0;
	if (mode->run == run_latency) {
		if (opt.size < BODY_MIN_LATENCY)
			die("latency: bodies must have at least %d bytes", BODY_MIN_LATENCY);
		if (opt.total == 0)
			opt.total = (uint64_t)(opt.rate * (opt.seconds > 0 ? opt.seconds : 3));
		opt.channels = 1;
	}
	complete_transport(mode);
	if (opt.total == 0 && opt.seconds <= 0)
		die("one of --total and --seconds is needed");
	if (opt.total == 0 && mode->load.consume && !mode->load.publish)
		die("sub needs --total");
}

int main(int argc, char **argv)
{
	const struct mode *mode;
	struct rlimit files;
	int id;

	signal(SIGPIPE, SIG_IGN);
	while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		set_option(id, optarg);
	if (optind + 1 != argc) {
		usage();
		return 2;
	}
	mode = find_mode(argv[optind]);
	complete_options(mode);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (opt.null)
		null_server_start();
	if (mode->run)
		mode->run();
	else
		run_load(&mode->load);
	if (opt.null)
		kill(opt.pid, SIGKILL);
	return 0;
}
