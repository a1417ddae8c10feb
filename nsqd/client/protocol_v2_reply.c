/* SPDX-License-Identifier: MIT */
/*
 * Answers, errors, and the PUBs and FINs that are executed together. Mirrors Send of
 * nsqd/protocol_v2.go, and the second halves of PUB and FIN. Runs in the thread of io_loop, which
 * takes the next steps of the pumps that it wakes so (common/runnext.h).
 *
 * Lessons in docs/course/: 16-failures, 17-cost.
 */
#include "nsqd/client/protocol_v2_reply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/client/protocol_v2_put.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "protocol/frame.h"

/* --- answers -------------------------------------------------------------------------------- */

/* An answer could not be sent; l->failure says why. */
static int send_failed(struct io_loop *l)
{
	l->send_failed = true;
	return err_wrap(&l->failure, "failed to send response - ");
}

int io_loop_send_frame(
	struct io_loop *l, int32_t type, const void *data, size_t len, struct err *err)
{
	unsigned char header[FRAME_HEADER_LENGTH];
	struct iovec parts[] = {
		{.iov_base = header, .iov_len = sizeof(header)},
		{.iov_base = (void *)data, .iov_len = len},
	};
	frame_write_header(header, type, len);
	l->unflushed = true;
	return client_v2_answer(l->client, parts, 2, err);
}

int io_loop_flush(struct io_loop *l, struct err *err)
{
	if (!l->unflushed)
		return 0;
	l->unflushed = false;
	int rc = client_v2_flush_answers(l->client, err);
	/* The pump flushes what the socket does not take. */
	if (rc == 0 && l->client->answers_left)
		protocol_v2_start_message_pump(l->client);
	return rc;
}

int io_loop_send_late(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	bool late = client_v2_has_late_answers(c);
	if (client_v2_send_late_answers(c, &l->failure) != 0)
		return send_failed(l);
	if (!late || client_v2_has_late_answers(c))
		return 0;
	l->unflushed = true;
	return io_loop_flush(l, &l->failure) == 0 ? 0 : send_failed(l);
}

int io_loop_send_response(struct io_loop *l, const char *response)
{
	return io_loop_send_frame(
		       l, FRAME_TYPE_RESPONSE, response, strlen(response), &l->failure) == 0
		       ? 0
		       : send_failed(l);
}

/* n frames "OK" at once. */
static int send_oks(struct io_loop *l, size_t n, struct err *err)
{
	static const char ok[] = "\0\0\0\6\0\0\0\0OK";
	enum { OK_LENGTH = sizeof(ok) - 1 };
	char oks[PUB_BATCH * OK_LENGTH] UNINITIALIZED;
	CHECK(n <= PUB_BATCH);
	for (size_t i = 0; i < n; i++)
		memcpy(oks + i * OK_LENGTH, ok, OK_LENGTH);
	struct iovec part = {.iov_base = oks, .iov_len = n * OK_LENGTH};
	l->unflushed = true;
	return client_v2_answer(l->client, &part, 1, err);
}

/* --- errors --------------------------------------------------------------------------------- */

/* The text may hold any byte that the client has sent. */
static void log_error(
	struct io_loop *l, enum lg_level level, const char *note, const struct protocol_err *e)
{
	struct strbuf sb = STRBUF_INIT;
	strbuf_addf(&sb, "[%s] - %s", l->client->remote_addr, note);
	strbuf_add(&sb, e->text.data, e->text.len);
	strbuf_addf(&sb, "%s%s", *e->parent ? " - " : "", e->parent);
	lg_log(&l->ctx->lg, level, sb.data, sb.len);
	strbuf_free(&sb);
}

int io_loop_send_error(struct io_loop *l, const struct protocol_err *e)
{
	struct err err;
	if (client_v2_is_closing(l->client)) {
		log_error(l, LG_INFO, "closing, so not sent: ", e);
		return 0;
	}
	log_error(l, LG_ERROR, "", e);
	if (io_loop_send_frame(l, FRAME_TYPE_ERROR, e->text.data, e->text.len, &err) == 0)
		return 0;
	nsqd_logf(l->ctx, LG_ERROR, "[%s] - %s%s%s", l->client->remote_addr, err.msg,
		*e->parent ? " - " : "", e->parent);
	l->send_failed = true;
	return err_set(&l->failure, 0, "%s", e->text.data);
}

int io_loop_message_failed(
	struct protocol_err *e, const char *cmd, struct message_id id, const char *why)
{
	char code[16];
	snprintf(code, sizeof(code), "E_%s_FAILED", cmd);
	client_err(e, why, code, "%s ", cmd);
	strbuf_add(&e->text, id.hex, MSG_ID_LENGTH);
	strbuf_addf(&e->text, " failed %s", why);
	return -1;
}

int io_loop_put_failed(struct io_loop *l, const char *cmd, const struct err *why)
{
	char code[16];
	snprintf(code, sizeof(code), "E_%s_FAILED", cmd);
	return fatal_client_err(&l->error, why->msg, code, "%s failed %s", cmd, why->msg);
}

bool io_loop_awaits_thread(struct io_loop *l, const struct err *why)
{
	struct client_v2 *c = l->client;
	int64_t now = clock_mono_ns();
	if (why->code != EAGAIN || l->last_try || context_is_exiting(l->ctx))
		return false;
	if (c->give_up_ns == 0)
		c->give_up_ns = now + THREAD_WAIT_NS;
	l->blocks = now < c->give_up_ns;
	return l->blocks;
}

/* --- what is gathered ------------------------------------------------------------------------ */

/* Puts the PUBs into their topic. Returns how many are queued; fewer than all with err set. */
static size_t put_pubs(struct io_loop *l, size_t n, struct err *err)
{
	struct topic *t = nsqd_get_topic(l->protocol->topics, l->pub_topic, err);
	if (!t && io_loop_awaits_thread(l, err))
		return 0;
	if (!t) {
		for (size_t i = 0; i < n; i++)
			message_body_unref(l->pubs[i]);
		return 0;
	}
	size_t done = strcmp(l->pub_command, "PUB") == 0
			      ? topic_put_publications(t, l->pubs, n, err)
			      : topic_put_deferred(t, l->pubs, n, l->pub_deferred_ns, err);
	topic_unref(t);
	if (done > 0)
		client_v2_published_message(l->client, l->pub_topic, done);
	return done;
}

/*
 * At a poller: PUBs for which it would have to wait. True: they are left with a log (client.put), or
 * stay (l->blocks). Memory may have filled up since they were gathered.
 */
static bool leave_pubs(struct io_loop *l, size_t n)
{
	enum put_way way = nsqd_put_way(l->protocol->topics, l->pub_topic, n);
	if (way == PUT_AT_ONCE)
		return false;
	struct topic *t = way == PUT_BEGINS
				  ? nsqd_get_existing_topic(l->protocol->topics, l->pub_topic)
				  : NULL;
	bool begun =
		t && protocol_v2_begin_put(l, l->pub_command, t, l->pubs, n, l->pub_deferred_ns);
	topic_unref(t);
	if (begun)
		l->n_pubs = 0;
	else if (l->last_try)
		protocol_v2_keep_for_thread(l);
	else
		l->blocks = true;
	return true;
}

int io_loop_answer_pubs(
	struct io_loop *l, const char *command, size_t n, size_t done, const struct err *why)
{
	char code[16];
	if (done < n) {
		l->pub_failed = true;
		l->failure = *why;
		snprintf(code, sizeof(code), "E_%s_FAILED", command);
		fatal_client_err(&l->pub_error, why->msg, code, "%s failed %s", command, why->msg);
	}
	struct err send_err;
	if (done > 0 && send_oks(l, done, &send_err) != 0) {
		l->failure = send_err;
		return send_failed(l);
	}
	return l->pub_failed ? -1 : 0;
}

/* Queues the PUBs that wait, and answers them. */
static int flush_pubs(struct io_loop *l)
{
	struct err err;
	size_t n = l->n_pubs;
	if (n == 0)
		return 0;
	if (l->polled && leave_pubs(l, n))
		return -1;
	size_t done = put_pubs(l, n, &err);
	if (l->blocks)
		return -1;
	l->n_pubs = 0;
	return io_loop_answer_pubs(l, l->pub_command, n, done, &err);
}

/* Executes the FINs that wait, and answers those that fail. */
static int flush_fins(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	const char *why[FIN_BATCH] UNINITIALIZED;
	size_t n = l->n_fins;
	if (n == 0)
		return 0;
	l->n_fins = 0;
	size_t done = channel_finish_messages(c->channel, c->consumer.id, l->fins, n, why);
	if (done > 0 && client_v2_finished_messages(c, done))
		l->ready_changed = true;
	for (size_t i = 0; i < n && done < n; i++) {
		if (!why[i])
			continue;
		io_loop_message_failed(&l->fin_error, "FIN", l->fins[i], why[i]);
		if (io_loop_send_error(l, &l->fin_error) != 0)
			return -1;
	}
	return 0;
}

int io_loop_flush_gathered(struct io_loop *l, enum gathered to_keep)
{
	if (to_keep != GATHERED_PUBS && flush_pubs(l) != 0)
		return -1;
	return to_keep != GATHERED_FINS ? flush_fins(l) : 0;
}

void io_loop_drop_gathered(struct io_loop *l)
{
	for (size_t i = 0; i < l->n_pubs; i++)
		message_body_unref(l->pubs[i]);
	l->n_pubs = 0;
}

static int release(struct io_loop *l)
{
	if (flush_fins(l) != 0)
		return -1;
	if (l->ready_changed) {
		l->ready_changed = false;
		client_v2_try_update_ready_state(l->client);
	}
	int rc = flush_pubs(l);
	if (rc != 0 && (l->polled || !l->blocks))
		return -1;
	/* They stay for later, and the thread is not to wait for more input: it is for others. */
	l->blocks = false;
	if (io_loop_flush(l, &l->failure) != 0)
		return send_failed(l);
	return rc == 0 ? 0 : 1;
}

/*
 * The answers go out before this thread takes the steps of the pumps that it has woken: its client
 * does not wait for those.
 */
int io_loop_before_read(void *arg, struct err *err)
{
	struct io_loop *l = arg;
	int rc = release(l);
	/* While the client has a thread, no poller looks when its first heartbeat is due. */
	if (!l->polled)
		(void)protocol_v2_pump_deadline(l->client);
	protocol_v2_retry_pump(l->client);
	runnext_end();
	runnext_begin();
	if (rc < 0 && err != &l->failure)
		*err = l->failure;
	return rc;
}

void io_loop_put_back_pubs(struct io_loop *l)
{
	struct bufio_reader *b = &l->client->reader;
	struct strbuf sb = STRBUF_INIT;
	unsigned char len[4];
	if (l->n_pubs == 0)
		return;
	for (size_t i = 0; i < l->n_pubs; i++) {
		const struct message_body *body = l->pubs[i];
		if (strcmp(l->pub_command, "PUB") == 0)
			strbuf_addf(&sb, "PUB %s\n", l->pub_topic);
		else
			strbuf_addf(&sb, "DPUB %s %" PRId64 "\n", l->pub_topic,
				(int64_t)(l->pub_deferred_ns / NSEC_PER_MSEC));
		put_be32(len, (uint32_t)body->len);
		strbuf_add(&sb, len, sizeof(len));
		strbuf_add(&sb, body->data, body->len);
	}
	bufio_put_back(b, sb.data, sb.len);
	strbuf_free(&sb);
	io_loop_drop_gathered(l);
	l->begun = false;
}
