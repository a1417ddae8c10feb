/* SPDX-License-Identifier: MIT */
/*
 * The commands of producers: PUB, DPUB, MPUB. Mirrors them in nsqd/protocol_v2.go. Runs in the
 * thread of io_loop: a poller, or "io:ADDR".
 *
 * Lessons in docs/course/: 20-journey.
 */
#include "nsqd/client/protocol_v2_publish.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/client/protocol_v2_params.h"
#include "nsqd/client/protocol_v2_put.h"
#include "nsqd/client/protocol_v2_reply.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"

/* Where n messages go to. */
static bool put_may_block(struct io_loop *l, const struct params *p, size_t n)
{
	char topic_name[NAME_SIZE];
	if (io_loop_auth_may_block(l))
		return true;
	if (p->n < 2 || !is_valid_topic_name(p->v[1].s, p->v[1].len))
		return false;
	io_loop_copy_name(topic_name, p->v[1]);
	/* That has been looked at for the first of them. */
	if (l->n_pubs > 0 && l->n_pubs < PUB_BATCH && strcmp(topic_name, l->pub_topic) == 0)
		return false;
	return nsqd_put_way(l->protocol->topics, topic_name, n) == PUT_BLOCKS;
}

bool protocol_v2_pub_may_block(struct io_loop *l, const struct params *p)
{
	return put_may_block(l, p, PUB_BATCH);
}

/* The number of messages is behind the line and the size; they may not all be here yet. */
bool protocol_v2_mpub_may_block(struct io_loop *l, const struct params *p)
{
	enum { SIZES = 8 };
	const struct bufio_reader *b = &l->client->reader;
	size_t n = 0, most = bufio_buffered(b) / (1 + sizeof(uint32_t));
	if (bufio_buffered(b) >= SIZES)
		n = get_be32((const unsigned char *)b->buf + b->r + sizeof(uint32_t));
	return put_may_block(l, p, n < most ? n : most);
}

/*
 * The message waits for its fellows: the same command to the same topic with the same delay.
 * io_loop_flush_gathered() queues and answers them.
 */
static int gather(struct io_loop *l, const char *command, const char *topic_name, int64_t deferred)
{
	bool fellow = l->n_pubs > 0 && l->n_pubs < PUB_BATCH &&
		      strcmp(command, l->pub_command) == 0 && deferred == l->pub_deferred_ns &&
		      strcmp(topic_name, l->pub_topic) == 0;
	if (l->n_pubs > 0 && !fellow && io_loop_flush_gathered(l, GATHERED_FINS) != 0)
		return -1;
	struct message_body *body = io_loop_read_message(l, command);
	if (!body)
		return -1;
	if (io_loop_check_auth(l, command, topic_name, "") != 0) {
		message_body_unref(body);
		return -1;
	}
	if (!fellow) {
		strcpy(l->pub_topic, topic_name);
		l->pub_command = command;
		l->pub_deferred_ns = deferred;
	}
	l->pubs[l->n_pubs++] = body;
	return 0;
}

int protocol_v2_pub(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	char topic_name[NAME_SIZE];
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "PUB insufficient number of parameters");
	if (io_loop_check_topic_name(l, "PUB", p->v[1]) != 0)
		return -1;
	io_loop_copy_name(topic_name, p->v[1]);
	return gather(l, "PUB", topic_name, 0);
}

int protocol_v2_dpub(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	char topic_name[NAME_SIZE];
	uint64_t ms;
	int64_t timeout;
	if (p->n < 3)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "DPUB insufficient number of parameters");
	if (io_loop_check_topic_name(l, "DPUB", p->v[1]) != 0)
		return -1;
	io_loop_copy_name(topic_name, p->v[1]);
	if (!io_loop_parse_ms(p->v[2], &ms, &timeout))
		return io_loop_bad_param(l, "failed to convert to Base10", "E_INVALID",
			"DPUB could not parse timeout ", p->v[2]);
	int64_t max = nsqd_max_defer(l->protocol->topics, topic_name);
	if (timeout < 0 || timeout > max)
		return fatal_client_err(&l->error, NULL, "E_INVALID",
			"DPUB timeout %" PRIu64 " out of range 0-%" PRId64, ms,
			(int64_t)(max / NSEC_PER_MSEC));
	return gather(l, "DPUB", topic_name, timeout);
}

/* The bodies of an MPUB while they come in. */
struct bodies {
	struct message_body **v; /* owned, a reference each */
	size_t n;
	size_t cap;
	int64_t bytes;
	int32_t announced; /* how many there will be; 0: not known yet */
};

static void free_bodies(struct bodies *b)
{
	for (size_t i = 0; i < b->n; i++)
		message_body_unref(b->v[i]);
	free(b->v);
}

/* All of an MPUB's body that has been read goes back to the reader, as it was. */
static void put_back_bodies(struct io_loop *l, const struct bodies *b)
{
	unsigned char len[4];
	struct strbuf sb = STRBUF_INIT;
	if (b->announced == 0)
		return;
	strbuf_reserve(&sb, (size_t)b->bytes);
	put_be32(len, (uint32_t)b->announced);
	strbuf_add(&sb, len, sizeof(len));
	for (size_t i = 0; i < b->n; i++) {
		put_be32(len, (uint32_t)b->v[i]->len);
		strbuf_add(&sb, len, sizeof(len));
		strbuf_add(&sb, b->v[i]->data, b->v[i]->len);
	}
	bufio_put_back(&l->client->reader, sb.data, sb.len);
	strbuf_free(&sb);
}

/* One more message of an MPUB. 0, or -1 with l->error set, or l->waiting. */
static int read_mpub_message(struct io_loop *l, struct bodies *b, int32_t i)
{
	const struct options *opts = nsqd_get_opts(l->ctx);
	struct err err;
	int32_t size;
	enum bufio_result res = io_loop_read_len(l, &size, &err);
	if (res == BUFIO_IDLE)
		return io_loop_wait_for_rest(l);
	if (res != BUFIO_OK)
		return fatal_client_err(&l->error, err.msg, "E_BAD_MESSAGE",
			"MPUB failed to read message(%" PRId32 ") body size", i);
	if (size <= 0)
		return fatal_client_err(&l->error, NULL, "E_BAD_MESSAGE",
			"MPUB invalid message(%" PRId32 ") body size %" PRId32, i, size);
	if (size > opts->max_msg_size)
		return fatal_client_err(&l->error, NULL, "E_BAD_MESSAGE",
			"MPUB message too big %" PRId32 " > %" PRId64, size, opts->max_msg_size);
	/*
	 * Stock believes the counts, not the body's size, and so reads without a limit; we do not.
	 */
	b->bytes += 4 + size;
	if (b->bytes > opts->max_body_size)
		return fatal_client_err(&l->error, NULL, "E_BAD_BODY",
			"MPUB body too big %" PRId64 " > %" PRId64, b->bytes, opts->max_body_size);
	struct message_body *body = io_loop_read_body(l, (size_t)size, &err);
	if (l->waiting) {
		io_loop_put_back_len(l, size);
		return -1;
	}
	if (!body)
		return fatal_client_err(
			&l->error, err.msg, "E_BAD_MESSAGE", "MPUB failed to read message body");
	if (b->n == b->cap) {
		/* Grown as the messages come, not as announced. */
		b->cap = b->cap ? 2 * b->cap : 256;
		b->v = xreallocarray(b->v, b->cap, sizeof(*b->v));
	}
	b->v[b->n++] = body;
	return 0;
}

static int read_mpub(struct io_loop *l, struct bodies *b)
{
	/* 4 == total num, 5 == length + min 1 */
	int64_t max = (nsqd_get_opts(l->ctx)->max_body_size - 4) / 5;
	struct err err;
	int32_t n;
	enum bufio_result res = io_loop_read_len(l, &n, &err);
	if (res == BUFIO_IDLE)
		return io_loop_wait_for_rest(l);
	if (res != BUFIO_OK)
		return fatal_client_err(
			&l->error, err.msg, "E_BAD_BODY", "MPUB failed to read message count");
	if (n <= 0 || n > max)
		return fatal_client_err(
			&l->error, NULL, "E_BAD_BODY", "MPUB invalid message count %" PRId32, n);
	b->announced = n;
	for (int32_t i = 0; i < n; i++) {
		if (read_mpub_message(l, b, i) != 0)
			return -1;
	}
	return 0;
}

/* Reads the messages and puts them into the topic, or begins that (client.put). */
static int mpub_to(struct io_loop *l, struct topic *t)
{
	struct bodies b = {.bytes = 4};
	int32_t size;
	struct err err;
	if (io_loop_read_body_size(l, "MPUB", &size) != 0)
		return -1;
	int rc = read_mpub(l, &b);
	/* More of it may have come since protocol_v2_mpub_may_block. */
	enum put_way way = rc == 0 && l->polled ? topic_put_way(t, b.n) : PUT_AT_ONCE;
	if (way == PUT_BEGINS && protocol_v2_begin_put(l, "MPUB", t, b.v, b.n, 0)) {
		free(b.v);
		return 0;
	}
	l->blocks = way != PUT_AT_ONCE;
	if (l->waiting || l->blocks) {
		put_back_bodies(l, &b);
		io_loop_put_back_len(l, size);
	}
	if (rc != 0 || l->blocks) {
		free_bodies(&b);
		return -1;
	}
	size_t done = topic_put_messages(t, b.v, b.n, &err);
	free(b.v);
	if (done < b.n)
		return io_loop_put_failed(l, "MPUB", &err);
	client_v2_published_message(l->client, t->name, b.n);
	return 0;
}

int protocol_v2_mpub(struct io_loop *l, const struct params *p, const char **response)
{
	char topic_name[NAME_SIZE];
	struct err err;
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "MPUB insufficient number of parameters");
	/* The code twice, as stock has it. */
	if (!is_valid_topic_name(p->v[1].s, p->v[1].len))
		return io_loop_bad_name(l, "E_BAD_TOPIC", "E_BAD_TOPIC MPUB", "topic", p->v[1]);
	io_loop_copy_name(topic_name, p->v[1]);
	if (io_loop_check_auth(l, "MPUB", topic_name, "") != 0)
		return -1;
	struct topic *t = nsqd_get_topic(l->protocol->topics, topic_name, &err);
	if (!t && io_loop_awaits_thread(l, &err))
		return -1;
	if (!t)
		return io_loop_put_failed(l, "MPUB", &err);
	int rc = mpub_to(l, t);
	topic_unref(t);
	if (rc == 0 && !l->client->put)
		*response = "OK";
	return rc;
}
