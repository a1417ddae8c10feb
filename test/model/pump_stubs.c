/* SPDX-License-Identifier: MIT */
/*
 * What the pumps use, and is no part of their model. The writer of a client has a socket that takes
 * all, some, or nothing. The disk is a chan. The log is for nobody.
 */
#include "test/model/pump_stubs.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/rand.h"
#include "common/slab.h"
#include "nsqd/core/tls_config.h"
#include "nsqd/client/protocol_v2_send.h"
#include "nsqd/core/context.h"
#include "nsqd/disk/backend.h"
#include "nsqd/disk/backend_flush.h"
#include "nsqd/disk/dqname.h"
#include "nsqd/queue/channel.h"
#include "protocol/frame.h"
#include "protocol/stream_tls.h"
#include "test/model/mc.h"
#include "test/model/mc_os.h"

MC_GHOST struct peer peers[PEERS];
MC_GHOST int stalls;
MC_GHOST struct disk disk;

struct message_id id_of(int number)
{
	struct message_id id = {"message 0000000"};
	id.hex[15] = (char)('0' + number);
	return id;
}

int number_of(struct message_id id)
{
	return id.hex[15] - '0';
}

/* --- a client's writer ------------------------------------------------------------------------ */

/* One thread at a time writes: the one that has the client's write_lock. */
static struct peer *peer_of(struct bufio_writer *b)
{
	struct client_v2 *c = (struct client_v2 *)((char *)b - offsetof(struct client_v2, writer));
	MC_CHECK(mc_holds(&c->write_lock.m));
	return &peers[c->consumer.id];
}

void bufio_reader_init(struct bufio_reader *b, struct stream *s, size_t size)
{
	(void)b, (void)s, (void)size;
}

void bufio_reader_free(struct bufio_reader *b)
{
	(void)b;
}

void bufio_writer_init(struct bufio_writer *b, struct stream *s, size_t size)
{
	b->stream = s;
	b->size = size;
}

void bufio_writer_free(struct bufio_writer *b)
{
	(void)b;
}

void bufio_writer_give_back(struct bufio_writer *b)
{
	(void)b;
}

static void add(struct frames *f, int frame)
{
	MC_CHECK(f->n < 2 * MESSAGES);
	f->v[f->n++] = frame;
}

/* The first n have gone out. */
static void arrive(struct peer *p, int n)
{
	struct frames *f = &p->buffered;
	for (int i = 0; i < n; i++)
		add(&p->arrived, f->v[i]);
	memmove(f->v, f->v + n, (size_t)(f->n - n) * sizeof(*f->v));
	memset(f->v + f->n - n, 0, (size_t)n * sizeof(*f->v));
	f->n -= n;
}

static int fail(struct bufio_writer *b, struct err *err)
{
	b->failed = true;
	return err_set(err, 0, "broken pipe");
}

/* How many of the frames the socket takes. */
static int taken_by_socket(struct peer *p, int64_t deadline_ns)
{
	if (deadline_ns != STREAM_NOW || stalls == 0)
		return p->buffered.n;
	int less = (int)mc_choose(2);
	stalls -= less;
	return less ? (int)mc_choose((unsigned)p->buffered.n) : p->buffered.n;
}

static int send_all(struct bufio_writer *b, int64_t deadline_ns, struct err *err)
{
	struct peer *p = peer_of(b);
	if (!b->failed && !p->shut && p->errors > 0 && mc_choose(2)) {
		p->errors--;
		return fail(b, err);
	}
	if (b->failed || p->shut)
		return fail(b, err);
	arrive(p, taken_by_socket(p, deadline_ns));
	b->len = 0;
	b->unflushed = b->below = p->buffered.n > 0;
	return 0;
}

/* Whole frames in one part: answers. */
static void append_answers(struct peer *p, const unsigned char *at, size_t len)
{
	for (size_t i = 0; i < len; i += 4 + get_be32(at + i))
		add(&p->buffered, ANSWER);
}

static void append(struct bufio_writer *b, const struct iovec *parts, int n)
{
	struct peer *p = peer_of(b);
	if (n == 1)
		append_answers(p, parts->iov_base, parts->iov_len);
	for (int i = 0; i + 1 < n; i += 2) {
		const unsigned char *prefix = parts[i].iov_base;
		struct message_id id;
		if (get_be32(prefix + 4) != FRAME_TYPE_MESSAGE) {
			add(&p->buffered, ANSWER);
			continue;
		}
		memcpy(id.hex, prefix + FRAME_HEADER_LENGTH + 10, MSG_ID_LENGTH);
		add(&p->buffered, number_of(id));
	}
	b->len += (size_t)n;
	b->unflushed = true;
}

/* With size=0 nothing is held back here. */
int bufio_writev(struct bufio_writer *b, const struct iovec *parts, int n, int64_t deadline_ns,
	struct err *err)
{
	if (b->failed)
		return fail(b, err);
	/* A peer that does not read is not to fill the daemon's memory. */
	MC_CHECK(!b->below || deadline_ns != STREAM_NOW);
	append(b, parts, n);
	return mc_param("size", 1) == 0 ? send_all(b, deadline_ns, err) : 0;
}

int bufio_flush(struct bufio_writer *b, int64_t deadline_ns, struct err *err)
{
	return send_all(b, deadline_ns, err);
}

void stream_sock_shutdown_read(struct stream *s)
{
	((struct peer *)s)->shut = true;
}

int stream_sock_fd(const struct stream *s)
{
	(void)s;
	return -1;
}

/* --- the disk --------------------------------------------------------------------------------- */

static struct chan *disk_read_chan(struct backend_queue *q)
{
	return ((struct disk *)q)->read_chan;
}

static void disk_done(struct backend_queue *q, size_t n)
{
	((struct disk *)q)->n_done += (int)n;
}

static int64_t disk_depth(struct backend_queue *q)
{
	return atomic_load(&((struct disk *)q)->depth);
}

static int disk_close(struct backend_queue *q, struct err *err)
{
	(void)err;
	((struct disk *)q)->closed = true;
	return 0;
}

static const struct backend_queue_ops disk_ops = {.read_chan = disk_read_chan,
	.done = disk_done,
	.depth = disk_depth,
	.close = disk_close,
	.delete = disk_close};

struct backend_queue *backend_new(struct context *ctx, const char *name, struct err *err)
{
	(void)ctx, (void)name, (void)err;
	disk.queue.ops = &disk_ops;
	return &disk.queue;
}

char *get_backend_name(const char *topic_name, const char *channel_name, char *buf, size_t size)
{
	(void)topic_name, (void)channel_name, (void)size;
	*buf = '\0';
	return buf;
}

size_t backend_queue_put_messages(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err)
{
	(void)err;
	for (size_t i = 0; i < n; i++)
		((struct disk *)q)->stored[number_of(msgs[i]->id)]++;
	return n;
}

size_t backend_flush_messages(
	struct context *ctx, struct backend_queue *q, struct message *const *take_msgs, size_t n)
{
	struct err err;
	(void)ctx;
	backend_queue_put_messages(q, take_msgs, n, &err);
	message_unref_all(take_msgs, n);
	return 0;
}

/* A step of io_loop follows. */
void netpoll_kick(struct poll_desc *pd)
{
	((struct peer *)pd)->kicked = true;
}

/* --- the rest of the daemon ------------------------------------------------------------------- */

void nsqd_logf(struct context *ctx, enum lg_level level, const char *fmt, ...)
{
	(void)ctx, (void)level, (void)fmt;
	mc_yield(); /* it takes a lock */
}

bool topology_is_aware(const struct options *opts)
{
	(void)opts;
	return mc_param("near", 0);
}

bool is_ephemeral_name(const char *name)
{
	(void)name;
	return false;
}

struct quantile *quantile_new(int64_t window_ns, const double *percentiles, size_t n)
{
	(void)window_ns, (void)percentiles, (void)n;
	return NULL;
}

void quantile_insert(struct quantile *q, int64_t msg_start_ns)
{
	(void)q, (void)msg_start_ns;
}

void quantile_free(struct quantile *q)
{
	(void)q;
}

void auth_state_free(struct auth_state *s)
{
	(void)s;
}

void tls_config_unref(struct tls_config *c)
{
	(void)c;
}

void *slab_alloc(size_t size)
{
	return malloc(size);
}

void slab_free(void *p, size_t size)
{
	(void)size;
	free(p);
}

uint32_t rand_below(uint32_t n)
{
	(void)n;
	return 0;
}
