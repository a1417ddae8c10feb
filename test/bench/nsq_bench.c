/* SPDX-License-Identifier: MIT */
/*
 * nsq-bench: a load generator for nsqd that costs little and checks the work.
 *
 * Each mode prints one line of key=value. `rate` is messages per second, for modes with consumers
 * counted where they come out; `cpu_us` the server's CPU time per such message (with --pid),
 * `gen_us` the generator's own, `ctx` the server's context switches per message.
 *
 * The exit status is 0 only if every message that was sent was acknowledged, and every message that
 * was expected came, came once, and was finished.
 */
#include "test/bench/bench.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "nsq-bench: error: ");
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

void sleep_until(uint64_t at)
{
	struct timespec ts = {
		.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* Publishes, consumes, or both at once. */
struct load {
	bool publish, consume;
	enum publish_kind kind;
};

static void sleep_s(double s)
{
	struct timespec ts = {
		.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

	nanosleep(&ts, NULL);
}

void create_channel(const char *topic, const char *channel)
{
	struct conn c = {0};

	conn_open(&c, opt.port, 4096);
	conn_identify(&c, 30000);
	conn_subscribe(&c, topic, channel);
	conn_close(&c);
}

void create_channels(void)
{
	char name[NAME_SIZE];

	for (int i = 0; i < opt.channels; i++) {
		numbered(name, sizeof(name), opt.channel, opt.channels, i);
		create_channel(opt.topic, name);
	}
}

/* One line: of acknowledged messages `timed` took ns. Either of pub and con may be NULL. */
static void report(struct publishers *pub, struct consumers *con, uint64_t acknowledged,
	uint64_t timed, uint64_t ns, const struct proc_sample *before,
	const struct proc_sample *after)
{
	uint64_t copies = con != NULL ? (uint64_t)opt.channels : 1, out = acknowledged * copies;
	timed *= copies;
	printf("mode=%s msgs=%llu seconds=%.3f rate=%.0f mb_per_s=%.1f redelivered=%llu", opt.mode,
		(unsigned long long)out, (double)ns / 1e9, (double)timed * 1e9 / (double)ns,
		(double)timed * (double)opt.size * 1e3 / (double)ns,
		(unsigned long long)(con != NULL ? consumers_redelivered(con) : 0));
	if (pub && opt.ok_times)
		publishers_print(pub);
	proc_print(before, after, out);
	printf("\n");
}

static void run_load(const struct load *load)
{
	struct sequence seq = {.total = opt.total > 0 ? opt.total : SEQ_LIMIT};
	struct publishers *pub = NULL;
	struct consumers *con = NULL;
	struct proc_sample before, after;
	pthread_barrier_t start;
	uint64_t t0, t1, expected = opt.total, timed;
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
	if (load->kind == PUBLISH_DPUB && !opt.null)
		stats_await("deferred_count", expected);
	t1 = now_ns();
	timed = expected;
	if (con)
		t1 = consumers_finish(con, expected, &timed);
	proc_sample(&after);
	report(pub, con, expected, timed, t1 - t0, &before, &after);
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
	{"dpub", "DPUB with a delay of --defer", {true, false, PUBLISH_DPUB}, NULL},
	{"http", "POST /pub, keep-alive", {true, false, PUBLISH_HTTP}, NULL},
	{"redis", "XADD to a stream of Redis", {true, false, PUBLISH_REDIS}, NULL},
	{"beanstalkd", "put into a tube of beanstalkd", {true, false, PUBLISH_BEANSTALKD}, NULL},
	{"nats", "PUB to a stream of NATS that exists", {true, false, PUBLISH_NATS}, NULL},
	{"sub", "consume --total messages that are there", {false, true, PUBLISH_PUB}, NULL},
	{"pubsub", "PUB and consume at once", {true, true, PUBLISH_PUB}, NULL},
	{"mpubsub", "MPUB and consume at once", {true, true, PUBLISH_MPUB}, NULL},
	{"fanout", "MPUB, --channels channels consumed", {true, true, PUBLISH_MPUB}, NULL},
	{"latency", "PUB at --rate, open loop", {false, true, PUBLISH_PUB}, run_latency},
	{"timeouts", "consume --total messages that are there, after a timeout of each",
		{false, true, PUBLISH_PUB}, run_timeouts},
	{"expiring", "PUB at --rate, each message runs out once", {false, true, PUBLISH_PUB},
		run_timeouts},
	{"churn-pub", "connect, PUB, close", {true, false, PUBLISH_PUB}, run_churn},
	{"churn-sub", "connect, SUB to a new ephemeral channel, close", {true, false, PUBLISH_PUB},
		run_churn},
	{"churn-http", "connect, POST /pub, with the end of the connection",
		{true, false, PUBLISH_HTTP}, run_churn},
	{"storm", "--conns consumers connect at once, then one message each",
		{true, false, PUBLISH_PUB}, run_storm},
	{"storm-latency", "latency, and short connections meanwhile", {false, true, PUBLISH_PUB},
		run_storm_latency},
	{"exit-traffic", "SIGTERM with --conns consumers at work", {true, false, PUBLISH_PUB},
		run_exit_traffic},
	{"exit", "SIGTERM with --conns consumers that have just had a message",
		{true, false, PUBLISH_PUB}, run_exit},
	{"stats", "latency, and GET /stats meanwhile", {false, true, PUBLISH_PUB}, run_stats},
	{"idle", "hold --conns connections for --seconds", {false, false, PUBLISH_PUB}, run_idle},
};

static const char recipes[] =
	"\n"
	"Three recipes, each against any nsqd:\n"
	"\n"
	"  How many messages pass, in batches, with four connections each way?\n"
	"    nsq-bench mpubsub --host=127.0.0.1 --seconds=10 --conns=4 --subs=4\n"
	"  How long does a message take that comes alone, at 1,000 a second?\n"
	"    nsq-bench latency --host=127.0.0.1 --seconds=10 --rate=1000\n"
	"  How fast is the disk queue? (1,000,000 x 200 bytes; --mem-queue-size=0 sends all to "
	"disk.)\n"
	"    nsq-bench mpub --host=127.0.0.1 --total=1000000 --topic=bench_disk --create\n"
	"    nsq-bench sub --host=127.0.0.1 --total=1000000 --topic=bench_disk\n"
	"\n"
	"They leave their topics behind: curl -X POST 'http://HOST:4151/topic/delete?topic=bench'\n"
	"\n"
	"A run prints one line of key=value. rate: messages a second. mb_per_s: bodies, a second.\n"
	"due_p50_us: half of the messages came within so long after they were due to be sent, "
	"which a\n"
	"nsqd that falls behind cannot hide; sent_p50_us: after they were sent. redelivered: "
	"messages\n"
	"that came again. gen_us: CPU time of nsq-bench for each message. With --pid, where nsqd "
	"runs\n"
	"on the same host: cpu_us, its CPU time for each message; ctx, its context switches.\n"
	"The status is 0 only if all messages were acknowledged, came, and were finished.\n";

void usage(void)
{
	printf("usage: nsq-bench MODE [options]\n\nLoads an nsqd, and checks its "
	       "work.\n\nmodes:\n");
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		printf("  %-14s%s\n", modes[i].name, modes[i].what);
	options_usage();
	fputs(recipes, stdout);
}

static const struct mode *find_mode(const char *name)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(modes[i].name, name) == 0)
			return &modes[i];
	return NULL;
}

/* Layers hold back input that epoll does not know of: each connection has a worker. */
static void complete_transport(const struct mode *mode)
{
	if (transport_is_plain())
		return;
	if (mode->run == run_churn && mode->load.kind == PUBLISH_HTTP &&
		opt.compress == COMPRESS_NONE)
		return; /* HTTPS, and a thread for each connection at all times */
	if (mode->run != NULL || mode->load.kind >= PUBLISH_HTTP || opt.null)
		die("%s: over plain connections only", mode->name);
	if (opt.conns > opt.threads || opt.subs > opt.threads)
		die("with TLS or compression each connection needs a thread");
	if (opt.compress != COMPRESS_NONE && mode->load.publish && opt.total == 0)
		die("to publish compressed messages needs --total");
}

/* What is to come of the first delivery of a message. */
static void check_deliveries(const struct mode *mode)
{
	bool timeouts = mode->run == run_timeouts;

	if (timeouts != (opt.msg_timeout > 0))
		die("--msg-timeout is for mode timeouts, which needs it");
	if (timeouts && (opt.requeue || opt.channels > 1 || opt.threads > 1))
		die("timeouts: one channel, one thread, no --requeue");
	if (mode->load.kind == PUBLISH_DPUB && (opt.defer == 0 || opt.channels > 1))
		die("dpub: needs --defer, and one channel");
}

static bool at_a_rate(const struct mode *mode)
{
	return mode->run == run_latency || mode->run == run_stats ||
	       mode->run == run_storm_latency || strcmp(mode->name, "expiring") == 0;
}

/* Does it stop the server? */
static bool needs_pid(const struct mode *mode)
{
	return mode->run == run_exit || mode->run == run_exit_traffic;
}

/* What a mode cannot do without, and what follows from it. */
static void complete_options(const struct mode *mode)
{
	opt.mode = mode->name;
	if (mode->load.consume && opt.subs == 0)
		opt.subs = 1;
	if (!mode->load.consume)
		opt.subs = 0;
	if (at_a_rate(mode)) {
		if (opt.size < BODY_MIN_LATENCY)
			die("%s: bodies must have at least %d bytes", mode->name, BODY_MIN_LATENCY);
		if (opt.total == 0)
			opt.total = (uint64_t)(opt.rate * (opt.seconds > 0 ? opt.seconds : 3));
		if (opt.topics > 1 && opt.channels > 1)
			die("%s: one channel for each of several topics", mode->name);
		if (opt.topics > 1)
			opt.subs = opt.topics;
	} else if (opt.topics > 1) {
		die("%s: one topic only", mode->name);
	}
	if (needs_pid(mode) && opt.pid == 0 && !opt.null)
		die("%s: needs --pid, the server's on this host", mode->name);
	if (opt.ok_times && (mode->run != NULL || !mode->load.publish || !transport_is_plain()))
		die("--ok-times: for what publishes over plain connections");
	if (opt.null && mode->load.kind >= PUBLISH_REDIS)
		die("--null: it is like nsqd only");
	check_deliveries(mode);
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
	const char *name;

	signal(SIGPIPE, SIG_IGN);
	name = options_parse(argc, argv);
	mode = name != NULL ? find_mode(name) : NULL;
	if (!mode) {
		usage();
		return 2;
	}
	complete_options(mode);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (opt.null)
		null_server_start();
	else
		resolve_host();
	if (mode->run)
		mode->run();
	else
		run_load(&mode->load);
	if (opt.null)
		kill(opt.pid, SIGKILL);
	return 0;
}
