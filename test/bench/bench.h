/* SPDX-License-Identifier: MIT */
/*
 * What the files of the load generator share.
 *
 * The generator is a set of worker threads. A worker owns one or more connections and does nothing
 * but wait for input on them; a connection is a publisher or a consumer, and its `input` callback
 * does the rest. With one connection a worker blocks in recv(), with several in epoll_wait().
 *
 * Everything that goes wrong ends the process through die(): a load generator that survives a fault
 * only produces wrong figures.
 */
#ifndef BENCH_H
#define BENCH_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/stream.h"

/* ---- options (options.c) ---- */

enum { SEQ_LIMIT = 1 << 30 }; /* with --seconds: what a bitmap must have room for */

enum compression { COMPRESS_NONE, COMPRESS_SNAPPY, COMPRESS_DEFLATE };

struct options {
	const char *mode;
	const char *host;
	struct in_addr addr; /* that of host */
	int port;
	int http_port;
	pid_t pid; /* the server to account for, 0 = none */
	const char *topic;
	int topics; /* latency: so many, each with a publisher and a consumer */
	const char *channel;
	int conns; /* publishing connections */
	int subs;  /* consuming connections per channel */
	int channels;
	int outstanding; /* commands without an answer, per connection */
	int batch;       /* messages per MPUB */
	uint64_t size;   /* of a body */
	uint64_t total;  /* messages to publish or to expect */
	double seconds;  /* publish for so long instead of `total` messages */
	double rate;     /* latency: messages per second */
	int rdy;
	int output_buffer_size;    /* as in IDENTIFY; 0 = the server's default */
	int output_buffer_timeout; /* in ms, the same */
	int msg_timeout;           /* in ms, the same; first deliveries are not answered */
	bool requeue;              /* first deliveries are answered with REQ 0 */
	bool touch;                /* each message is touched before it is finished */
	int defer;                 /* dpub: in ms */
	int stored_topics;         /* stats: so many topics besides opt.topic */
	int stats_interval;        /* stats: in ms, from request to request */
	double storm_rate;         /* storm-latency: connections per second */
	int threads;   /* at most so many workers publish, and as many consume per channel */
	int pollers;   /* at most so many workers consume in all; 0 = no limit */
	bool ok_times; /* print how long the answers to publishes took */
	bool create;   /* create the channels before publishing */
	bool null;     /* load the built-in null server instead */
	bool tls;
	enum compression compress;
};

extern struct options opt;

/* Sets opt; returns the mode's name, NULL where the command line is wrong. Ends the run for a value
 * that is out of range. */
const char *options_parse(int argc, char **argv);
/* Prints what there is. */
void options_usage(void);

/* ---- the process (nsq_bench.c) ---- */

void usage(void);

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);
void *xalloc(size_t size);
void sleep_until(uint64_t at); /* the same clock */
/* Subscribes once, so that the channel exists from the start; the same for all channels. */
void create_channel(const char *topic, const char *channel);
void create_channels(void);
uint64_t now_ns(void); /* CLOCK_MONOTONIC */

/* ---- connections (conn.c) ---- */

struct tap;

struct conn {
	int fd;
	struct stream *stream;     /* what is on top of fd; NULL: nothing, it is plain */
	struct tap *tap;           /* below the compressor, if there is one */
	pthread_mutex_t send_lock; /* for a stream: its writers */
	bool done;                 /* the worker drops a connection that is done */
	char *buf;                 /* input not yet used: buf[0 .. have) */
	size_t have;
	size_t cap;
	uint64_t input_at; /* when the last input arrived */
	void (*start)(struct conn *);
	void (*input)(struct conn *);
};

enum { FRAME_RESPONSE = 0, FRAME_ERROR = 1, FRAME_MESSAGE = 2 };
/* A message: timestamp 8, attempts 2, id 16, then its body. */
enum { MESSAGE_HEAD = 26, ID_AT = 10, ID_SIZE = 16 };

struct frame {
	int32_t type;
	const char *data;
	size_t len;
};

static inline uint32_t get_be32(const char *p)
{
	uint32_t v;
	__builtin_memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static inline void put_be32(char *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	__builtin_memcpy(p, &v, 4);
}

/* Writes "NAME TOPIC\n" and the size of what follows; returns how many bytes that are. */
size_t put_command(char *out, const char *name, const char *topic, size_t size);

int dial(int port);
/* Finds opt.addr, once, before the first connection. Ends the program if there is none. */
void resolve_host(void);
/* From this address of 127.0.0.0/8, in host order: each has its own ports. */
int dial_from(uint32_t source, int port);
/* Past all layers of a connection: what a plain one needs. */
void send_all(int fd, const void *data, size_t len);
/* Connects with room for `cap` bytes of input. */
void conn_open(struct conn *c, int port, size_t cap);
void conn_close(struct conn *c);
/* From now on a connection that the server closes is done, and a command that it refuses is an
 * error frame, instead of an end of the run. */
void conn_expect_end(void);
/* Magic, IDENTIFY and the upgrades. heartbeat_ms -1 switches heartbeats off. */
void conn_identify(struct conn *c, int heartbeat_ms);
/* Without waiting for the answer. */
void conn_send_identify(struct conn *c, int heartbeat_ms);
/* Waits for the answer OK to `what`; any other ends the run. */
void conn_expect_ok(struct conn *c, const char *what);
void conn_send(struct conn *c, const void *data, size_t len);
/* The name of the i-th of n topics or channels: where there is one, it has no number. */
enum { NAME_SIZE = 80 };
void numbered(char *out, size_t size, const char *name, int n, int i);
void conn_subscribe(struct conn *c, const char *topic, const char *channel);
/* Without waiting for the answer. */
void conn_send_sub(struct conn *c, const char *topic, const char *channel);
/* Waits for input and appends it to buf. */
void conn_recv(struct conn *c);
/* The same; false: the server has closed the connection. */
bool conn_recv_some(struct conn *c);
/* The frame at offset *used; advances *used. False: no complete frame there.
 * An error frame from the server ends the run (but see conn_expect_end()). */
bool conn_frame(const struct conn *c, size_t *used, struct frame *f);
/* Drops the first `used` bytes of buf. */
void conn_consume(struct conn *c, size_t used);
bool frame_is(const struct frame *f, const char *text);

/* ---- TLS, snappy, deflate (transport.c, tls_client.c) ---- */

bool transport_is_plain(void);
/* What IDENTIFY has to say: members of its object, each with a comma in front. */
int transport_json(char *out, size_t size);
/* Reads the answer to IDENTIFY and puts on c what has been asked for. */
void transport_upgrade(struct conn *c);
void transport_close(struct conn *c);
void transport_send(struct conn *c, const void *data, size_t len);
ssize_t transport_recv(struct conn *c, void *buf, size_t n);
/* Takes over below, a connection on which the server has agreed to TLS. A full handshake. */
struct stream *tls_client_new(struct stream *below);

/* What the compressor of a connection made of what was sent meanwhile. */
struct recording {
	char *data; /* owned by the holder of the recording */
	size_t len, cap;
};

/* Until recording_end(), all that is sent goes to r instead of the server. */
void recording_begin(struct conn *c, struct recording *r);
void recording_end(struct conn *c);
/* Sends data[from..to). The whole recording must be sent, in order. */
void recording_send(struct conn *c, const struct recording *r, size_t from, size_t to);

/* ---- workers (worker.c) ---- */

struct worker {
	pthread_t thread;
	struct conn **conns;
	int n;
	pthread_barrier_t *start;
};

/* The worker begins with the barrier, and ends when its connections are done. */
void worker_spawn(struct worker *w, pthread_barrier_t *start);
void worker_join(struct worker *w);

/* ---- bodies: a sequence number in front and again behind (body.c) ---- */

enum { BODY_MIN = 12, BODY_MIN_LATENCY = 28 };

/* Text; another one for another seed. */
void body_fill(char *body, size_t size, uint32_t seed);
void body_stamp(char *body, size_t size, uint64_t seq);
/* Checks both copies and the size; ends the run when they differ. */
uint64_t body_check(const char *body, size_t size);

/* Sequence numbers are dense, from 0, over all publishers. */
struct sequence {
	_Atomic uint64_t next;
	uint64_t total; /* UINT64_MAX: until `stop` */
	_Atomic bool stop;
};

/* Takes up to n numbers from *first on; returns how many there were. */
unsigned sequence_take(struct sequence *s, unsigned n, uint64_t *first);

/* ---- publishers (publish.c) ---- */

enum publish_kind {
	PUBLISH_PUB,
	PUBLISH_MPUB,
	PUBLISH_DPUB,
	PUBLISH_HTTP,
	PUBLISH_REDIS, /* from here on other servers than nsqd: peers.c */
	PUBLISH_BEANSTALKD,
	PUBLISH_NATS
};

struct publishers;

struct publishers *publishers_open(enum publish_kind kind, struct sequence *seq);
void publishers_spawn(struct publishers *p, pthread_barrier_t *start);
int publishers_workers(const struct publishers *p);
/* Returns the number of messages that the server acknowledged. */
uint64_t publishers_join(struct publishers *p);
/* With opt.ok_times: prints how long the answers took. */
void publishers_print(struct publishers *p);
void publishers_close(struct publishers *p);

/* ---- other servers (peers.c): kind is PUBLISH_REDIS or one behind it ---- */

/* What a publishing connection says first. */
void peer_handshake(struct conn *c, enum publish_kind kind);
/* Writes what is in front of a body; PEER_TAIL follows the body. Returns its size. */
int peer_command_head(char *out, const struct conn *c, enum publish_kind kind);
#define PEER_TAIL "\r\n"
/* How many commands the input answers. An answer that is not OK ends the run. */
int peer_answers(struct conn *c, enum publish_kind kind);

/* ---- one thread that publishes on time (open_loop.c) ---- */

/* What a body starts with. */
struct stamps {
	uint64_t seq;
	uint64_t due; /* when it should be sent, in ns of CLOCK_MONOTONIC */
	uint64_t sent;
};

struct source;

/* One publishing connection to each of opt.topics topics. */
struct source *sources_open(void);
/* Publishes the messages from `from` to `to` at opt.rate, each on time or as soon as possible after
 * it; returns when all are acknowledged. */
void sources_publish(struct source *sources, uint64_t from, uint64_t to);
void sources_close(struct source *sources);

/* ---- what has come (tally.c) ---- */

/* Whether each message comes twice by design, so that only its second delivery is finished. */
bool delivered_twice(void);

/* The messages of one channel that one thread has seen. */
struct tally {
	int channel;
	unsigned last;        /* the attempts of a delivery that is finished */
	uint64_t *seen;       /* bitmap over the sequence numbers: to be finished */
	uint64_t *first;      /* the same of those that were left for a second delivery */
	uint64_t redelivered; /* messages with more attempts than that */
	uint64_t again;       /* messages that had been seen before */
};

struct channel_count {
	_Alignas(64) _Atomic uint64_t received;
	_Atomic uint64_t first; /* deliveries that were left for a second one */
	uint64_t mark;          /* so many stop the clock */
	_Atomic uint64_t marked_at;
};

struct tallies {
	uint64_t max; /* messages of a channel */
	size_t bitmap_size;
	int n; /* several for each channel */
	struct tally *list;
	struct channel_count *counts; /* one per channel */
};

void tallies_init(struct tallies *t, uint64_t max, int per_channel);
void tallies_free(struct tallies *t);
/* Notes a delivery. True: it was the last one, and that for the first time. */
static inline bool tally_note(struct tally *t, uint64_t seq, unsigned attempts)
{
	uint64_t *word = &(attempts < t->last ? t->first : t->seen)[seq >> 6];
	uint64_t bit = 1ULL << (seq & 63);
	bool fresh = (*word & bit) == 0;

	*word |= bit;
	if (attempts > t->last)
		t->redelivered++;
	if (!fresh)
		t->again++;
	return fresh && attempts >= t->last;
}

/* For the deliveries of one recv(): first ones, and those that tally_note() said true of. */
void tallies_count(
	struct tallies *t, int channel, uint64_t first, uint64_t fresh, uint64_t received_at);
/* Wait until each channel got so many first deliveries, or so many messages. */
void tallies_await_first(struct tallies *t, uint64_t expected);
void tallies_await(struct tallies *t, uint64_t expected);
/* Ends the run unless each message has come as often as it should. */
void tallies_check(const struct tallies *t, uint64_t expected);

/* ---- consumers (consume.c) ---- */

/* Something that wants to see each delivery, on the thread of its consumer. */
struct observer {
	void (*delivered)(struct observer *o, int channel, const char *body, unsigned attempts,
		uint64_t received_at);
};

struct consumers;

/* Connects and subscribes, without RDY. At most `max` messages will come. */
struct consumers *consumers_open(uint64_t max, struct observer *observer);
/* The consumers' threads begin with the barrier. */
void consumers_spawn(struct consumers *c, pthread_barrier_t *start);
int consumers_workers(const struct consumers *c);
void consumers_ready(struct consumers *c);
/* All three at once, where nothing else begins with them. */
void consumers_run(struct consumers *c);
struct tallies *consumers_tallies(struct consumers *c);
/* Waits until each channel got `expected` messages and the server has taken
 * every FIN, and checks them. Returns when the clock stopped, with the number of
 * messages that each channel had received by then. */
uint64_t consumers_finish(struct consumers *c, uint64_t expected, uint64_t *received);
uint64_t consumers_redelivered(const struct consumers *c);
void consumers_close(struct consumers *c);

/* ---- latency (latency.c) ---- */

struct latency;

/* For messages from `from` to `to`: the others are seen and not counted. */
struct latency *latency_new(uint64_t from, uint64_t to);
struct observer *latency_observer(struct latency *l);
/* Prints percentiles of the messages from `from` to `to`. Sorts them, so once for each message. */
void latency_print(struct latency *l, const char *prefix, uint64_t from, uint64_t to);
void latency_free(struct latency *l);
void print_distribution(const char *name, const char *unit, double scale, uint64_t *v, size_t n);
void run_latency(void);

/* ---- a connection for each piece of work (churn.c) ---- */

enum churn_kind {
	CHURN_PUB,     /* PUB, without IDENTIFY */
	CHURN_SUB,     /* IDENTIFY, SUB to a channel that exists */
	CHURN_SUB_NEW, /* IDENTIFY, SUB to an ephemeral channel that is new each time */
	CHURN_HTTP,    /* POST /pub, Connection: close; with opt.tls over TLS */
};

/* A thread that opens one connection after the other. */
struct churner;

/* Each number has source addresses of its own. Borrows the names. */
struct churner *churner_new(
	enum churn_kind kind, uint32_t number, const char *topic, const char *channel);
/* Connects, does the work and closes. Any answer that is not as it should be ends the run. */
void churner_once(struct churner *c, uint64_t seq);
void churner_free(struct churner *c);
void run_churn(void);

/* ---- many consumers at once, one message each (crowd.c) ---- */

struct crowd;

/* opt.conns of them; the channel exists. */
struct crowd *crowd_new(void);
/* Returns when all have subscribed and sent RDY 1. */
void crowd_connect(struct crowd *c);
/* Each gets one message, which must come once; returns when all have sent FIN. */
void crowd_deliver(struct crowd *c);
/* Returns when the server has executed all that they have sent. */
void crowd_finish(struct crowd *c);
/* Each message is finished at once, until the server closes (conn_expect_end() has been called). */
void crowd_traffic_begin(struct crowd *c);
void crowd_traffic_end(struct crowd *c);
/* How many different messages have come, of at most so many. */
enum { CROWD_TRAFFIC_MAX = 1 << 22 };
uint64_t crowd_seen(const struct crowd *c);
/* Prints the numbers below `to` of those that have not, each with a comma in front. */
void crowd_print_unseen(const struct crowd *c, uint64_t to);
/* The server has ended: each connection must be at its end. */
void crowd_expect_end(struct crowd *c);
void crowd_free(struct crowd *c);

/* ---- the other modes ---- */

void run_idle(void);     /* idle.c */
void run_timeouts(void); /* timeouts.c */
void run_stats(void);    /* stats.c */
void run_storm(void);    /* storm.c */
void run_storm_latency(void);
void run_exit(void); /* exit.c */
void run_exit_traffic(void);
/* Waits until /stats says so of the channel: deferred_count, in_flight_count. */
void stats_await(const char *counter, uint64_t expected);
void null_server_start(void); /* null_server.c: sets opt.port, opt.pid */

/* ---- the server's accounts (proc.c) ---- */

struct proc_sample {
	int64_t cpu_ns;
	uint64_t disk_bytes; /* that it has made the system write to disks, or will */
	uint64_t voluntary;  /* context switches of the threads that live now */
	uint64_t involuntary;
	long rss_kb;
	long peak_kb;
	int threads;
	int64_t own_cpu_ns; /* of the generator */
};

void proc_sample(struct proc_sample *s);
/* How many the server has open; 0 without a server process to account for. */
int proc_descriptors(void);
/* Cheap enough for every millisecond, however many threads there are. */
struct proc_memory {
	long rss_kb, peak_kb, tables_kb, threads;
};

void proc_memory(struct proc_memory *m);
/* Of the whole machine: what is free or can be had, and what TCP's buffers take. */
long mem_available_kb(void);
long tcp_memory_kb(void);
/* What another process had, above all its kernel stacks, comes back for some time after its end:
 * until then it would be counted in this one's favour. */
void await_steady_memory(void);
enum { KERNEL_STACK_KB = 16 };

/* The most that there was (watch.c). */
struct peak {
	long memory_kb;            /* RSS, page tables and kernel stacks, at one time */
	long rss_kb, kernel_kb;    /* each for itself; kernel: page tables and stacks */
	long avail_kb, sockets_kb; /* what the whole machine lost of MemAvailable, and TCP took */
	long threads;
};

struct watch;

struct watch *watch_begin(void);
struct peak watch_end(struct watch *w);
void peak_print(const char *prefix, const struct peak *p);

/* Prints the server's share as key=value, each with a blank in front. */
void proc_print(const struct proc_sample *a, const struct proc_sample *b, uint64_t messages);

#endif
