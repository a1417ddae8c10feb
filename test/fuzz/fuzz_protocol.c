/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whatever clients send, io_loop takes it, and when they have gone nothing is left. An
 * input is what up to three clients send: a byte 0xff, and the next one, say that the piece before
 * has ended. The lower half of that byte is the client that sends the next piece. The upper half is
 * what an operator does meanwhile: see operate().
 *
 * Flags:
 *    1  threads take all steps
 *    2  the log has all lines
 *    4  over the daemon's listener, and its pollers (then each client says its magic)
 *    8  clients must be allowed to do what they do, and may do some of it
 *   16  TLS is required
 *   32  time-outs and heartbeats come within milliseconds
 *   64  more messages fit into memory, where they do not block a publisher
 *  128  sockets take little at once
 */
#include "test/fuzz/clients.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/client/tcp.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/settings_change.h"
#include "nsqd/queue/topic.h"

#define THREADED 1
#define LOGGED 2
#define LISTENER 4
#define AUTH 8
#define TLS 16
#define QUICK 32
#define ROOMY 64
#define NARROW 128
#define N_CLIENTS 3
#define MARK 0xff
#define REPEATS 256
/* The most that is repeated in an input: what is sent to a client finds room in its socket. */
#define REPEATED_MAX ((size_t)100 * 1024)
#define QUICK_NS (3 * NSEC_PER_MSEC)

static struct nsqd *nsqd;

static void adjust(struct options *o)
{
	/* Nothing listens there. */
	strarray_add(&o->auth_http_addresses, "127.0.0.1:1");
	strarray_add(&o->experiments, EXPERIMENT_TOPOLOGY_AWARE_CONSUMPTION);
	free(o->topology_region);
	free(o->topology_zone);
	o->topology_region = xstrdup("r");
	o->topology_zone = xstrdup("z");
	o->max_channel_consumers = 2;
	o->max_memory_bytes = INT64_C(1) << 40; /* so that its thread is there */
}

/* --max-memory-bytes; 0: no limit. */
static void limit_memory(int64_t bytes)
{
	struct err err;
	struct options o = *nsqd_get_opts(&nsqd->ctx);
	o.max_memory_bytes = bytes;
	CHECK(host_limits_use(&nsqd->ctx, &o, &err) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	nsqd = daemon_start(&(struct daemon_options){.polls = true, .tls = true, .adjust = adjust});
	limit_memory(0);
	return 0;
}

/* The options do not change otherwise: no client is there when they do here. */
static void set_options(uint8_t flags)
{
	struct options *o = atomic_load(&nsqd->ctx.opts);
	o->auth_http_addresses.n = flags & AUTH ? 1 : 0;
	o->tls_required = flags & TLS ? TLS_REQUIRED : TLS_NOT_REQUIRED;
	int64_t before = o->msg_timeout;
	o->msg_timeout = flags & QUICK ? QUICK_NS : 60 * NSEC_PER_SEC;
	if (o->msg_timeout != before)
		nsqd_reload_settings(&nsqd->topics, o);
	o->mem_queue_size = flags & ROOMY ? 400 : 4;
	daemon_log_level(nsqd, flags & LOGGED ? LG_DEBUG : LG_FATAL);
}

/* As if AUTH had been answered with this. */
static void authorize(struct client_v2 *c)
{
	static const char answer[] =
		"{\"ttl\":60,\"identity\":\"i\",\"authorizations\":[{\"topic\":\"^t$\","
		"\"channels\":[\"^c$\",\"^$\"],\"permissions\":[\"publish\",\"subscribe\"]}]}";
	struct err err;
	c->auth_state = auth_state_decode(answer, sizeof(answer) - 1, &err);
	CHECK(c->auth_state);
}

/* --- operators ---------------------------------------------------------------------------------- */

enum operation {
	NOTHING,
	PAUSE_CHANNEL,
	UNPAUSE_CHANNEL,
	EMPTY_CHANNEL,
	DELETE_CHANNEL,
	PAUSE_TOPIC,
	UNPAUSE_TOPIC,
	EMPTY_TOPIC,
	DELETE_TOPIC,
	WAIT,   /* for what comes with time */
	RESET,  /* the client that has sent the piece takes nothing more */
	REPEAT, /* the piece is sent REPEATS times */
	ABORT,  /* the daemon ends the client that has sent the piece */
	LIMIT_TOPIC,
	SET_CHANNEL, /* it gives messages up, and drops some */
	FILL_HOST,   /* no message fits into memory any more */
};

static const char topic_limits[] = "{\"max_depth\":2,\"max_bytes\":40}";
static const char channel_settings[] =
	"{\"max_attempts\":1,\"message_ttl\":\"5ms\",\"dead_letter_topic\":\"dead\","
	"\"overflow\":\"drop-head\",\"max_depth\":2,\"requeue_on_disconnect\":true,"
	"\"backoff\":[\"1ms\"],\"max_in_flight\":2}";

static void set(struct topic *t, struct channel *c, const char *settings)
{
	struct err err;
	CHECK(json_valid(settings, strlen(settings)));
	CHECK(nsqd_set_settings(t, c, json_root(settings, strlen(settings)), &err) == 0);
}

static void operate_on_channel(enum operation what, struct topic *t)
{
	struct err err;
	struct channel *c = topic_get_existing_channel(t, "c");
	if (!c)
		return;
	if (what == PAUSE_CHANNEL)
		channel_pause(c);
	else if (what == UNPAUSE_CHANNEL)
		channel_unpause(c);
	else if (what == EMPTY_CHANNEL)
		CHECK(channel_empty(c, &err) == 0);
	else if (what == SET_CHANNEL)
		set(c->topic, c, channel_settings);
	channel_unref(c);
	if (what == DELETE_CHANNEL)
		(void)topic_delete_existing_channel(t, "c", &err);
}

static void operate_on_topic(enum operation what, struct topic *t)
{
	struct err err;
	if (what == PAUSE_TOPIC)
		topic_pause(t);
	else if (what == UNPAUSE_TOPIC)
		topic_unpause(t);
	else if (what == EMPTY_TOPIC)
		CHECK(topic_empty(t, &err) == 0);
	else if (what == DELETE_TOPIC)
		(void)nsqd_delete_topic(&nsqd->topics, t, &err);
	else if (what == LIMIT_TOPIC)
		set(t, NULL, topic_limits);
}

/* What an operator does to the topic t and its channel c, if they are there. */
static void operate(enum operation what)
{
	if (what == WAIT)
		usleep(2 * QUICK_NS / NSEC_PER_USEC);
	if (what == FILL_HOST)
		limit_memory(1);
	if (what == NOTHING || (what >= WAIT && what <= ABORT) || what == FILL_HOST)
		return;
	struct topic *t = nsqd_get_existing_topic(&nsqd->topics, "t");
	if (!t)
		return;
	operate_on_channel(what, t);
	operate_on_topic(what, t);
	topic_unref(t);
}

/* --- clients ------------------------------------------------------------------------------------ */

/* What comes between two pieces. */
struct mark {
	unsigned next; /* the client that sends what comes then */
	enum operation operation;
};

static struct input next_piece(struct input *in, struct mark *m)
{
	struct input piece = input_until(in, MARK);
	uint8_t b = input_byte(in);
	*m = (struct mark){.next = (b & 15) % N_CLIENTS, .operation = b >> 4};
	return piece;
}

static void open_client(struct fuzz_client *c, uint8_t flags, bool first)
{
	fuzz_client_open(c, nsqd, flags & THREADED, flags & NARROW);
	if (flags & AUTH && first)
		authorize(c->client);
	if (flags & QUICK)
		c->client->heartbeat_interval = QUICK_NS;
}

static void send_piece(struct fuzz_client *c, struct input piece, size_t times)
{
	char *copy = xmalloc(times * piece.n + 1);
	for (size_t i = 0; i < times && piece.n > 0; i++)
		memcpy(copy + i * piece.n, piece.p, piece.n);
	fuzz_client_send(c, copy, times * piece.n);
	free(copy);
}

/* All see what the last piece, or the operator, has done to them. */
static void look_after(struct fuzz_client clients[N_CLIENTS], const bool open[N_CLIENTS])
{
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		if (open[i] && clients[i].client)
			(void)fuzz_client_go_on(&clients[i]);
	}
}

/* Client 0 is there from the beginning, the others from their first piece on. */
static void run_clients(struct input in, uint8_t flags)
{
	static struct fuzz_client clients[N_CLIENTS];
	bool open[N_CLIENTS] = {false};
	unsigned now = 0;
	struct mark mark;
	size_t repeated = 0;
	do {
		struct input piece = next_piece(&in, &mark);
		size_t times = mark.operation == REPEAT ? REPEATS : 1;
		repeated += times > 1 ? times * piece.n : 0;
		if (repeated > REPEATED_MAX)
			break;
		if (!open[now])
			open_client(&clients[now], flags, now == 0);
		open[now] = true;
		send_piece(&clients[now], piece, times);
		operate(mark.operation);
		if (mark.operation == RESET)
			fuzz_client_reset(&clients[now]);
		if (mark.operation == ABORT && clients[now].client)
			client_v2_abort(clients[now].client);
		if (mark.operation != NOTHING)
			look_after(clients, open);
		now = mark.next;
	} while (in.n > 0);
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		if (open[i])
			fuzz_client_show(&clients[i], nsqd);
		if (open[i])
			fuzz_client_end(&clients[i]);
	}
}

static void run_connections(struct input in)
{
	int fds[N_CLIENTS];
	unsigned now = 0;
	struct mark mark;
	for (unsigned i = 0; i < N_CLIENTS; i++)
		fds[i] = -1;
	do {
		struct input piece = next_piece(&in, &mark);
		if (fds[now] < 0)
			fds[now] = daemon_connect("tcp.sock");
		daemon_send(fds[now], piece.p, piece.n);
		operate(mark.operation);
		now = mark.next;
	} while (in.n > 0);
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		if (fds[i] < 0)
			continue;
		shutdown(fds[i], SHUT_WR);
		daemon_read_to_end(fds[i]);
		close(fds[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t flags = input_byte(&in);
	if (in.n == 0)
		return 0;
	set_options(flags);
	if (flags & LISTENER)
		run_connections(in);
	else
		run_clients(in, flags);
	daemon_clear(nsqd);
	limit_memory(0);
	set_options(AUTH); /* so that all of them are freed at the end */
	return 0;
}
