/* SPDX-License-Identifier: MIT */
/*
 * Protocol V2: the loop that reads and executes a client's commands. Mirrors IOLoop and Exec of
 * nsqd/protocol_v2.go; io_loop.h lists the other parts. Runs in steps of the pollers, as long as
 * nothing can block, else in the connection's thread, "io:ADDR" (common/netpoll.h).
 *
 * Differences, all for the sake of system calls and wake-ups:
 * - answers are buffered, and flushed before a read that may block (stock flushes each), so a
 *   client that sends commands in bulk is answered in bulk;
 * - PUBs of one topic that came in together are queued together. Their OKs are written only then,
 *   so that "acknowledged" means what it says;
 * - FINs that came in together are executed together, under one lock;
 * - the pump is told once of all the FINs that came in together, and this thread may take its step
 *   (common/runnext.h).
 * A connection that reads one answer per command sees no difference.
 *
 * And a client has no thread, but for what may block, or while it is busy.
 *
 * Lessons in docs/course/: 15-sockets, 16-failures, 18-netpoller.
 */
#include "nsqd/client/protocol_v2.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "nsqd/client/io_loop.h"
#include "nsqd/client/protocol_v2_consume.h"
#include "nsqd/client/protocol_v2_identify.h"
#include "nsqd/client/protocol_v2_params.h"
#include "nsqd/client/protocol_v2_publish.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/client/protocol_v2_put.h"
#include "nsqd/client/protocol_v2_reply.h"
#include "nsqd/queue/channel.h"

/* When to try again, if there was no thread for a topic or channel. */
#define THREAD_RETRY_NS (20 * NSEC_PER_MSEC)
/* How long the pump may go on writing when the connection ends. */
#define PUMP_EXIT_NS (500 * NSEC_PER_MSEC)
/* How long a poller gives it for a step that is under way, before io_loop gets a thread. */
#define PUMP_STEP_NS (2 * NSEC_PER_MSEC)
/* So long a client that an error has ended may be silent before the close, and may go on sending. */
#define CLIENT_LINGER_NS (500 * NSEC_PER_MSEC)
#define CLIENT_LINGER_MAX_NS (10 * NSEC_PER_SEC)
/* And after PUMP_EXIT_NS how often io_loop looks whether it needs a thread. */
#define PUMP_LOOK_NS (20 * NSEC_PER_MSEC)
/* So much sooner a silent client gives up its thread, while others wait for one. */
#define HURRY_FACTOR 10
/* A command whose parts drip in waits at the pollers after this time. */
#define WHOLE_NS (4 * SILENCE_NS)
/* How much a step reads, give or take a buffer: some 50 us of work. */
#define STEP_SIZE ((size_t)16 * 1024)
/* A command of more than this is executed by a thread, and read by one as well, unless it drips in. */
#define LARGE_SIZE ((size_t)16 * 1024)
/*
 * A client is busy if a step executes so many commands, and another one so soon after it, so often;
 * or with fewer commands, if its steps are so quick. Then a thread of its own pays.
 */
#ifndef BUSY_STEPS /* tests make both small: see docs/testing.md */
#define BUSY_COMMANDS 8
#define BUSY_STEPS 8
#endif
#define QUICK_STEPS 64
#define BUSY_NS (20 * NSEC_PER_MSEC)
/*
 * A step that another thread keeps from reading is taken again after this time; after so many of them
 * in a row a thread waits for that.
 */
#define BUSY_READS 8
#define BUSY_READ_NS NSEC_PER_MSEC
/*
 * A client whose reads bring few commands keeps its thread only if it reads so often in this time. Else
 * it gives the thread up, though it is never silent. (Where each command may block it soon gets one
 * again: once in many commands.)
 */
#define LONELY_READS 64
#define LONELY_NS (2 * BUSY_NS)

/* What has come of a command, or of waiting for one. */
enum outcome {
	OUTCOME_DONE,    /* it is executed; its answer, if any, waits in the writer */
	OUTCOME_REFUSED, /* it is in error: l->error, or l->pub_error of a PUB before it */
	OUTCOME_AWAITED, /* its body is still to come: it is put back, to be begun again */
	OUTCOME_SILENCE, /* there is no input now */
	OUTCOME_BLOCKS,  /* it is put back: it may block, and is for a thread */
	OUTCOME_PUTS,    /* a put is under way, and what comes next waits for its end */
	OUTCOME_LEFT,    /* there will be no more commands: the client has left, or must */
	OUTCOME_FAILED,  /* the connection is over; l->failure says why */
};

/* --- the loop ------------------------------------------------------------------------------- */

static enum outcome read_command(struct io_loop *l, struct params *p);
static enum outcome execute(struct io_loop *l, const struct params *p);
static enum outcome refuse(struct io_loop *l);
static enum outcome settle(struct io_loop *l, enum outcome o);

/* Until there are no more commands, or no more now: what the last outcome was. */
static enum outcome read_and_execute(struct io_loop *l)
{
	enum outcome o = OUTCOME_DONE;
	while (o == OUTCOME_DONE && !l->client->put) {
		struct params p = {.n = 0};
		o = read_command(l, &p);
		if (o == OUTCOME_DONE)
			o = execute(l, &p);
		l->begun = l->begun && o != OUTCOME_DONE && o != OUTCOME_REFUSED;
		if (o == OUTCOME_REFUSED)
			o = refuse(l);
	}
	return o == OUTCOME_DONE ? OUTCOME_PUTS : o;
}

/* --- executing a command -------------------------------------------------------------------- */

static const struct command {
	const char *name;
	/* 0, *response set if there is one; -1: l->error, l->waiting, or the connection is over. */
	int (*exec)(struct io_loop *l, const struct params *p, const char **response);
	/* May it wait for a disk, another host, a thread, a lock? NULL: never. */
	bool (*may_block)(struct io_loop *l, const struct params *p);
	enum gathered gathers; /* its fellows may wait while this one is executed */
	bool needs_no_tls;     /* also where TLS is required */
} commands[] = {
	/* The busy ones first. */
	{"FIN", protocol_v2_fin, NULL, GATHERED_FINS, false},
	{"PUB", protocol_v2_pub, protocol_v2_pub_may_block, GATHERED_PUBS, false},
	{"RDY", protocol_v2_rdy, NULL, GATHERED_NONE, false},
	{"REQ", protocol_v2_req, protocol_v2_req_may_block, GATHERED_NONE, false},
	{"MPUB", protocol_v2_mpub, protocol_v2_mpub_may_block, GATHERED_NONE, false},
	{"DPUB", protocol_v2_dpub, protocol_v2_pub_may_block, GATHERED_PUBS, false},
	{"NOP", protocol_v2_nop, NULL, GATHERED_NONE, false},
	{"TOUCH", protocol_v2_touch, NULL, GATHERED_NONE, false},
	{"SUB", protocol_v2_sub, protocol_v2_sub_may_block, GATHERED_NONE, false},
	{"CLS", protocol_v2_cls, NULL, GATHERED_NONE, false},
	{"AUTH", protocol_v2_auth, protocol_v2_auth_may_block, GATHERED_NONE, false},
	{"IDENTIFY", protocol_v2_identify, protocol_v2_identify_may_block, GATHERED_NONE, true},
};

/* No such command: it is refused, when all before it is done. */
static int no_command(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	return io_loop_bad_param(l, NULL, "E_INVALID", "invalid command ", p->v[0]);
}

static const struct command *find_command(struct param name)
{
	static const struct command unknown = {"", no_command, NULL, GATHERED_NONE, false};
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strlen(commands[i].name) == name.len &&
			memcmp(commands[i].name, name.s, name.len) == 0)
			return &commands[i];
	}
	return &unknown;
}

/* Why a command has not been executed. */
static enum outcome not_done(const struct io_loop *l)
{
	if (l->waiting)
		return OUTCOME_AWAITED;
	if (l->blocks)
		return OUTCOME_BLOCKS;
	if (l->client->put)
		return OUTCOME_PUTS;
	return l->pub_failed || l->error.text.len > 0 ? OUTCOME_REFUSED : OUTCOME_FAILED;
}

/* The command is left as if it had not begun. */
static void put_back_line(struct io_loop *l)
{
	l->waiting = false;
	l->begun = true;
	bufio_unread_line(&l->client->reader);
}

/*
 * A command that has dripped in may be of any size by now: JSON of 5 MB takes some 30 ms, and as many
 * small messages longer. (Else a step does not read so much.)
 */
static bool takes_long(const struct io_loop *l)
{
	return !l->client->does_without && bufio_buffered(&l->client->reader) > LARGE_SIZE;
}

/* Exec: one command, and its response. */
static enum outcome execute(struct io_loop *l, const struct params *p)
{
	const char *response = NULL;
	const struct command *cmd = find_command(p->v[0]);
	enum outcome o = OUTCOME_DONE;
	strbuf_reset(&l->error.text);
	if (l->polled && (takes_long(l) || (cmd->may_block && cmd->may_block(l, p))))
		o = OUTCOME_BLOCKS;
	/* The commands that came before are done and answered before. */
	else if (io_loop_flush_gathered(l, cmd->gathers) != 0 ||
		 (!cmd->needs_no_tls && io_loop_enforce_tls_policy(l, p->v[0]) != 0) ||
		 cmd->exec(l, p, &response) != 0)
		o = not_done(l);
	else if (response && io_loop_send_response(l, response) != 0)
		o = OUTCOME_FAILED;
	if (o == OUTCOME_AWAITED || o == OUTCOME_BLOCKS || o == OUTCOME_PUTS)
		put_back_line(l);
	l->n_commands++;
	return o;
}

/*
 * The one place where errors are sent: of the command, when the FINs and PUBs that came before it
 * are answered; or of one of these PUBs, which ends the connection before the command is looked at.
 * OUTCOME_REFUSED: they are left with a log, and it is sent behind that.
 */
static enum outcome refuse(struct io_loop *l)
{
	l->last_try = true;
	bool settled = l->pub_failed || io_loop_flush_gathered(l, GATHERED_NONE) == 0;
	l->last_try = false;
	if (!settled && !l->pub_failed)
		return l->client->put ? OUTCOME_REFUSED : OUTCOME_FAILED;
	const struct protocol_err *e = l->pub_failed ? &l->pub_error : &l->error;
	/* That of a PUB ends the connection, sent or not. */
	if (io_loop_send_error(l, e) != 0 && !l->pub_failed)
		return OUTCOME_FAILED;
	if (!e->fatal)
		return OUTCOME_DONE;
	/* errors of this kind should forceably close the connection */
	l->ended_by = client_v2_is_closing(l->client) ? NULL : e;
	l->client->lingers = l->ended_by && !l->send_failed;
	return OUTCOME_LEFT;
}

/* --- reading a command ----------------------------------------------------------------------- */

static void log_command(struct io_loop *l, const char *line, size_t len)
{
	struct strbuf sb = STRBUF_INIT;
	if (!lg_enabled(&l->ctx->lg, LG_DEBUG))
		return;
	strbuf_addf(&sb, "PROTOCOL(V2): [%s] [", l->client->remote_addr);
	strbuf_add(&sb, line, len);
	strbuf_addc(&sb, ']');
	lg_log(&l->ctx->lg, LG_DEBUG, sb.data, sb.len);
	strbuf_free(&sb);
}

/* bytes.Split(line, " "): an empty line is one empty parameter, two blanks enclose another. */
static void split(const char *line, size_t len, struct params *p)
{
	p->n = 0;
	for (;;) {
		const char *blank = memchr(line, ' ', len);
		size_t n = blank ? (size_t)(blank - line) : len;
		if (p->n < MAX_PARAMS)
			p->v[p->n] = (struct param){line, n};
		p->n++;
		if (!blank)
			return;
		line += n + 1;
		len -= n + 1;
	}
}

/* There is no line. The reason is the reader's; its work includes sending what is held back. */
static enum outcome no_line(struct io_loop *l, enum bufio_result res)
{
	if (l->pub_failed)
		return OUTCOME_REFUSED;
	if (res == BUFIO_EOF) {
		l->client->peer_ended = !client_v2_is_closing(l->client);
		return OUTCOME_LEFT;
	}
	if (res == BUFIO_ERR && !l->send_failed)
		err_wrap(&l->failure, "failed to read command - ");
	return OUTCOME_FAILED;
}

/* What was gathered could not be executed, or not answered. */
static enum outcome not_settled(const struct io_loop *l)
{
	return l->blocks ? OUTCOME_BLOCKS : l->pub_failed ? OUTCOME_REFUSED : OUTCOME_FAILED;
}

/*
 * In a thread, before a read that waits. True: the client goes back to the pollers instead. A thread
 * that it got for one command would be its own for ever, if it sends a command now and then.
 */
static bool goes_back(struct io_loop *l)
{
	const struct client_v2 *c = l->client;
	if (l->polled || c->stream != c->base || bufio_buffered(&c->reader) > 0)
		return false;
	bool lonely = l->n_commands - l->n_commands_read < BUSY_COMMANDS;
	l->n_commands_read = l->n_commands;
	if (!lonely) {
		l->lonely_reads = 0;
		return false;
	}
	int64_t now = clock_mono_ns();
	if (l->lonely_reads == 0)
		l->lonely_since_ns = now;
	l->lonely_reads++;
	if (now - l->lonely_since_ns < LONELY_NS)
		return false;
	bool quick = l->lonely_reads > LONELY_READS;
	l->lonely_reads = 0;
	return !quick;
}

/* Reads one command and splits it. */
static enum outcome read_command(struct io_loop *l, struct params *p)
{
	struct client_v2 *c = l->client;
	char *line;
	size_t len;
	c->reader.timeout_ns = 2 * c->heartbeat_interval;
	/* The time goes on while a client moves, and while the rest of a command is awaited. */
	if (!l->goes_on && !l->begun)
		bufio_reader_begin(&c->reader);
	l->goes_on = false;
	if (goes_back(l))
		return io_loop_before_read(l, &l->failure) >= 0 ? OUTCOME_SILENCE : not_settled(l);
	enum bufio_result res = bufio_read_line(&c->reader, &line, &len, &l->failure);
	if (res != BUFIO_OK)
		return settle(l, res == BUFIO_IDLE ? OUTCOME_SILENCE : no_line(l, res));
	/* trim the '\n', optionally the '\r' */
	len--;
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (!l->begun)
		log_command(l, line, len);
	split(line, len, p);
	return OUTCOME_DONE;
}

/* --- a step ---------------------------------------------------------------------------------- */

/* Is there something to do with what has come, or is more of a command awaited? */
static bool is_enough(struct client_v2 *c)
{
	const struct bufio_reader *b = &c->reader;
	const struct command_limits limits = {
		.opts = nsqd_get_opts(c->ctx),
		.may_identify = atomic_load(&c->state) == STATE_INIT,
		.line_max = b->size,
	};
	return command_input_is_enough(&c->input, &limits, b->buf + b->r, bufio_buffered(b));
}

/*
 * A part of a command has been waiting. It is not begun again before it is whole, or at fault, or
 * the input has ended: so drips cost little. OUTCOME_DONE: now it is.
 */
static enum outcome gather_rest(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	if (bufio_buffered(&c->reader) == 0)
		return OUTCOME_DONE;
	c->reader.timeout_ns = 2 * c->heartbeat_interval;
	enum bufio_result res = BUFIO_OK;
	while (!is_enough(c) && res == BUFIO_OK)
		res = bufio_read_more(&c->reader, &l->failure);
	/* Of the end, and of an error, the next read tells as well. */
	l->gathers = res == BUFIO_IDLE;
	return l->gathers ? OUTCOME_SILENCE : OUTCOME_DONE;
}

/* A command that waits at a poller is large, and has just begun: a thread reads it faster. */
static bool is_large(struct client_v2 *c)
{
	return bufio_buffered(&c->reader) > 0 && !is_enough(c) && c->input.need > LARGE_SIZE;
}

/* One more step: were the last n of them quick? */
static bool is_quick(struct pace *p, unsigned n)
{
	if (p->n_steps == 0)
		p->since_ns = clock_mono_ns();
	if (++p->n_steps < n)
		return false;
	p->n_steps = 0;
	return clock_mono_ns() - p->since_ns < BUSY_NS;
}

/* Does the client keep its poller busy, step after step? */
static bool is_busy(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	if (l->n_commands >= BUSY_COMMANDS && is_quick(&c->bulk_steps, BUSY_STEPS))
		return true;
	return l->n_commands > 0 && is_quick(&c->steps, QUICK_STEPS);
}

/*
 * At a poller: what was gathered is executed before the input ends, or is awaited. (In a thread it
 * has been, before the read that told so.) Returns o, or what is wrong with the gathered ones.
 */
static enum outcome settle(struct io_loop *l, enum outcome o)
{
	if (!l->polled || l->blocks || l->pub_failed || io_loop_before_read(l, &l->failure) == 0 ||
		l->client->put)
		return o;
	return not_settled(l);
}

/* --- a put under way --------------------------------------------------------------------------- */

/* The connection is over, when its put is. */
static void fail_behind(struct io_loop *l, struct pending_put *p)
{
	struct put_aside *a = protocol_v2_put_aside(p);
	p->behind = BEHIND_FAILURE;
	a->failure = l->failure;
	a->send_failed = l->send_failed;
}

/* The client is to wait for the end of its put. What was met behind that is kept till then. */
static enum outcome suspend(struct io_loop *l, enum outcome o)
{
	struct pending_put *p = l->client->put;
	if (o == OUTCOME_LEFT) {
		p->behind = BEHIND_END;
	} else if (o == OUTCOME_REFUSED) {
		struct put_aside *a = protocol_v2_put_aside(p);
		p->behind = BEHIND_ERROR;
		a->error = l->error;
		l->error.text = (struct strbuf)STRBUF_INIT;
	}
	if (o == OUTCOME_FAILED || io_loop_before_read(l, &l->failure) != 0)
		fail_behind(l, p);
	return OUTCOME_PUTS;
}

/* It has ended: it is answered. */
static enum outcome answer_put(struct io_loop *l, const struct pending_put *p)
{
	const struct topic_put *put = &p->put;
	l->n_commands += p->n;
	if (put->n > 0)
		client_v2_published_message(l->client, put->topic->name, put->n);
	if (strcmp(p->command, "MPUB") != 0)
		return io_loop_answer_pubs(l, p->command, p->n, put->n, &put->err) == 0
			       ? OUTCOME_DONE
			       : not_done(l);
	if (put->n < p->n) {
		(void)io_loop_put_failed(l, "MPUB", &put->err);
		return OUTCOME_REFUSED;
	}
	return io_loop_send_response(l, "OK") == 0 ? OUTCOME_DONE : OUTCOME_FAILED;
}

/* It could not begin. */
static enum outcome put_in_thread(struct io_loop *l, struct pending_put *p)
{
	protocol_v2_take_from_keep(l, p);
	l->last_try = true;
	enum outcome o = io_loop_flush_gathered(l, GATHERED_NONE) == 0 ? OUTCOME_DONE : not_done(l);
	l->last_try = false;
	return o;
}

/* What comes next, behind a put that has been answered. */
static enum outcome go_on_behind(struct io_loop *l, struct pending_put *p)
{
	switch (p->behind) {
	case BEHIND_COMMANDS:
		break;
	case BEHIND_END:
		return OUTCOME_LEFT;
	case BEHIND_ERROR:
		strbuf_free(&l->error.text);
		l->error = p->aside->error;
		p->aside->error.text = (struct strbuf)STRBUF_INIT;
		return OUTCOME_REFUSED;
	case BEHIND_FAILURE:
		/* The answer comes first. If it cannot be sent, that is the failure. */
		if (io_loop_before_read(l, &l->failure) < 0)
			return not_settled(l);
		l->failure = p->aside->failure;
		l->send_failed = p->aside->send_failed;
		return OUTCOME_FAILED;
	}
	return OUTCOME_DONE;
}

/* OUTCOME_DONE: there is no put, or it has been answered. */
static enum outcome resume(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	struct pending_put *p = c->put;
	if (!p)
		return OUTCOME_DONE;
	if (p->needs_thread ? l->polled : !protocol_v2_put_has_ended(c))
		return OUTCOME_PUTS;
	c->put = NULL;
	enum outcome o = p->needs_thread ? put_in_thread(l, p) : answer_put(l, p);
	if (o == OUTCOME_DONE)
		o = go_on_behind(l, p);
	protocol_v2_free_put(p);
	bufio_reader_begin(&c->reader);
	return o;
}

/* --- a step, as a whole ------------------------------------------------------------------------ */

/* In a step, or in a thread until the client has been silent for a moment. */
static enum outcome go_on(struct io_loop *l)
{
	struct err ignored;
	bool answers = l->client->put;
	enum outcome o = resume(l);
	if (o == OUTCOME_PUTS)
		return o;
	if (o == OUTCOME_DONE && l->polled)
		o = gather_rest(l);
	/* The answer goes out, also if half a command is behind the put. */
	if (o == OUTCOME_SILENCE && answers)
		o = settle(l, o);
	if (o == OUTCOME_DONE)
		o = read_and_execute(l);
	if (o == OUTCOME_AWAITED || o == OUTCOME_BLOCKS)
		o = settle(l, o);
	if (o == OUTCOME_REFUSED && !l->client->put)
		o = refuse(l);
	if (l->client->put)
		return suspend(l, o);
	if (o == OUTCOME_LEFT || o == OUTCOME_FAILED)
		(void)io_loop_flush(l, &ignored);
	return o;
}

/* --- life ------------------------------------------------------------------------------------ */

void protocol_v2_begin_step(struct client_v2 *c)
{
	bufio_poll_begin(&c->reader, STEP_SIZE, c->stream == c->base && !netpoll_hung_up(c->pd));
}

/* Not the arrays, which are large, and not read before they are written. */
static void io_loop_init(struct io_loop *l, struct client_v2 *c)
{
	memset(l, 0, offsetof(struct io_loop, pub_topic));
	l->client = c;
	l->protocol = c->protocol;
	l->ctx = c->ctx;
	l->polled = c->polled;
	l->goes_on = c->pump.client != NULL;
	l->begun = c->input.begun;
	/* What a step could not send. */
	l->unflushed = !l->polled;
	if (!l->goes_on)
		protocol_v2_init_message_pump(c);
	c->reader.before_read = io_loop_before_read;
	c->reader.arg = l;
	c->reader.idle_ns = SILENCE_NS;
	/* Others wait for the thread of a client that is silent. */
	if (netpoll_is_short_of_threads(l->protocol->netpoll))
		c->reader.idle_ns /= HURRY_FACTOR;
	c->reader.whole_ns = WHOLE_NS;
	if (l->polled && !c->reader.poll.on)
		protocol_v2_begin_step(c);
}

static void io_loop_free(struct io_loop *l)
{
	if (l->ended_by) {
		struct strbuf sb = STRBUF_INIT;
		strbuf_addf(&sb, "client(%s) - ", l->client->remote_addr);
		strbuf_add(&sb, l->ended_by->text.data, l->ended_by->text.len);
		lg_log(&l->ctx->lg, LG_ERROR, sb.data, sb.len);
		strbuf_free(&sb);
	}
	io_loop_drop_gathered(l);
	strbuf_free(&l->error.text);
	strbuf_free(&l->pub_error.text);
	strbuf_free(&l->fin_error.text);
}

/* A thread that writes keeps the step from reading: mostly for a moment, but perhaps for long. */
static bool is_kept_from_reading(struct client_v2 *c)
{
	c->busy_reads = c->reader.poll.busy ? c->busy_reads + 1 : 0;
	return c->busy_reads > BUSY_READS;
}

/* How a step ends that the client survives. */
static enum netpoll_next end_step(struct io_loop *l, enum outcome o)
{
	struct client_v2 *c = l->client;
	if (o == OUTCOME_BLOCKS) {
		io_loop_put_back_pubs(l);
		return NETPOLL_THREAD;
	}
	if (client_v2_has_late_answers(c) || (c->put && c->put->needs_thread))
		return NETPOLL_THREAD;
	if (o == OUTCOME_PUTS)
		return NETPOLL_WAIT;
	if (is_kept_from_reading(c))
		return NETPOLL_THREAD;
	if (!c->does_without && ((o == OUTCOME_AWAITED && is_large(c)) || is_busy(l)))
		return NETPOLL_THREAD;
	return c->reader.poll.drained || c->busy_reads > 0 ? NETPOLL_WAIT : NETPOLL_YIELD;
}

/*
 * There is no thread for a topic or channel that a command wants. The command is begun again in a
 * moment. Until then the client has no thread either: it might be the one that is missing.
 */
static bool awaits_thread(struct io_loop *l, enum outcome o)
{
	if (l->polled || (o != OUTCOME_BLOCKS && l->n_pubs == 0))
		return false;
	io_loop_put_back_pubs(l);
	return true;
}

/* The client waits at the pollers from now on: for input, until its deadlines. */
static void wait_at_pollers(struct client_v2 *c)
{
	int64_t deadline = c->put ? protocol_v2_put_deadline() : bufio_read_deadline(&c->reader);
	int64_t pump = protocol_v2_pump_deadline(c);
	if (deadline == 0 || (pump != 0 && pump < deadline))
		deadline = pump;
	if (c->give_up_ns != 0)
		deadline = clock_mono_ns() + THREAD_RETRY_NS;
	if (c->busy_reads > 0)
		deadline = clock_mono_ns() + BUSY_READ_NS;
	netpoll_set_deadline(c->pd, deadline);
	if (bufio_buffered(&c->reader) < LARGE_SIZE / 2)
		client_v2_give_buffers_back(c);
}

/* What a step could not answer goes first. While it cannot go, no more commands are executed. */
static enum outcome begin(struct io_loop *l)
{
	if (io_loop_send_late(l) != 0)
		return l->client->put ? suspend(l, OUTCOME_FAILED) : OUTCOME_FAILED;
	return client_v2_has_late_answers(l->client) ? OUTCOME_SILENCE : OUTCOME_DONE;
}

enum netpoll_next protocol_v2_io_loop(struct client_v2 *c)
{
	struct io_loop l UNINITIALIZED;
	enum netpoll_next next = NETPOLL_WAIT;
	io_loop_init(&l, c);
	runnext_begin();
	enum outcome o = begin(&l);
	if (o == OUTCOME_DONE)
		o = go_on(&l);
	runnext_end();
	if (o == OUTCOME_LEFT || o == OUTCOME_FAILED) {
		nsqd_logf(c->ctx, LG_INFO, "PROTOCOL(V2): [%s] exiting ioloop", c->remote_addr);
		c->stage = STAGE_LEAVING;
	} else {
		/* What has been looked at of a command that is still not whole is not again. */
		if (!l.gathers)
			c->input = (struct command_input){.begun = l.begun};
		if (l.polled)
			next = end_step(&l, o);
		if (!awaits_thread(&l, o) && next != NETPOLL_THREAD)
			c->give_up_ns = 0;
	}
	(void)bufio_poll_end(&c->reader);
	if (next == NETPOLL_WAIT && c->stage == STAGE_COMMANDS)
		wait_at_pollers(c);
	if (o == OUTCOME_FAILED)
		nsqd_logf(c->ctx, LG_ERROR, "client(%s) - %s", c->remote_addr, l.failure.msg);
	io_loop_free(&l);
	return next;
}

/* --- leaving --------------------------------------------------------------------------------- */

/* The pump is told to end, and the channel forgets the client. False: for that a thread is needed. */
static bool leave_channel(struct client_v2 *c)
{
	if (c->polled && c->channel && channel_removal_may_block(c->channel))
		return false;
	/* A pump that is asleep ends here. */
	runnext_begin();
	client_v2_end_pump(c);
	runnext_end();
	if (c->channel)
		channel_remove_client(c->channel, &c->consumer);
	c->has_left = true;
	return true;
}

/*
 * A poller does not wait for the end of the pump. If a step of it is under way, that is a matter of
 * microseconds. A thread of its own may be writing, and that to a peer that does not read.
 */
static enum netpoll_next look_at_pump(struct client_v2 *c)
{
	int64_t now = clock_mono_ns();
	if (c->pump_until_ns == 0)
		c->pump_until_ns = now + PUMP_STEP_NS;
	if (now >= c->pump_until_ns || atomic_load(&c->pump_waits))
		return NETPOLL_THREAD;
	netpoll_set_deadline(c->pd, c->pump_until_ns);
	return NETPOLL_WAIT;
}

/* A thread does. */
static void await_pump(struct client_v2 *c)
{
	if (wait_group_wait_until(&c->wait_group, clock_mono_ns() + PUMP_EXIT_NS))
		return;
	client_v2_abort(c);
	/* There may be no thread for its last step, which another thread has begun. */
	do
		protocol_v2_lend_thread(c);
	while (!wait_group_wait_until(&c->wait_group, clock_mono_ns() + PUMP_LOOK_NS));
}

static bool requeues(const struct client_v2 *c)
{
	return c->channel && !c->has_requeued && channel_requeues_on_disconnect(c->channel);
}

static bool requeue_may_block(const struct client_v2 *c)
{
	return requeues(c) && channel_requeue_of_client_may_block(c->channel);
}

/* Its pump has ended, so nothing more goes in flight. */
static void requeue_in_flight(struct client_v2 *c)
{
	if (!requeues(c))
		return;
	c->has_requeued = true;
	runnext_begin();
	channel_requeue_of_client(c->channel, c->consumer.id);
	runnext_end();
}

/*
 * A client that has sent more behind what was refused, and does so still: to close its connection now
 * would reset it, which may destroy answers on their way. So what comes is read, and thrown away,
 * until the client closes, or is silent, or has taken too long.
 */
static enum netpoll_next linger(struct client_v2 *c)
{
	int64_t now = clock_mono_ns();
	int came = c->lingers && !client_v2_is_closing(c) ? stream_sock_discard(c->base) : -1;
	if (c->linger_end_ns == 0)
		c->linger_end_ns = now + CLIENT_LINGER_MAX_NS;
	if (came > 0 || c->linger_until_ns == 0)
		c->linger_until_ns = now + CLIENT_LINGER_NS;
	if (came < 0 || now >= c->linger_until_ns || now >= c->linger_end_ns) {
		c->stage = STAGE_OVER;
		return NETPOLL_OVER;
	}
	if (came > 0 && c->polled)
		return NETPOLL_YIELD;
	netpoll_set_deadline(c->pd,
		c->linger_until_ns < c->linger_end_ns ? c->linger_until_ns : c->linger_end_ns);
	return NETPOLL_WAIT;
}

enum netpoll_next protocol_v2_leave(struct client_v2 *c)
{
	struct err ignored;
	if (c->has_said_bye)
		return linger(c);
	if (!c->has_left && !leave_channel(c))
		return NETPOLL_THREAD;
	if (!c->polled)
		await_pump(c);
	else if (!wait_group_wait_until(&c->wait_group, 0))
		return look_at_pump(c);
	else if (client_v2_bye_may_block(c) || requeue_may_block(c))
		return NETPOLL_THREAD;
	requeue_in_flight(c);
	(void)client_v2_send_late_answers(c, &ignored);
	client_v2_say_bye(c);
	c->has_said_bye = true;
	client_v2_forget_publications(c);
	return linger(c);
}
