/* SPDX-License-Identifier: MIT */
/*
 * Protocol V2: the loop that reads and executes a client's commands. Mirrors IOLoop and Exec of
 * nsqd/protocol_v2.go; io_loop.h lists the other parts. Runs in the connection's thread, "io:ADDR".
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
 * And for the sake of memory: the threads of an idle client end, and new ones go on when there is
 * something to do (netpoll.h).
 */
#include "nsqd/client/protocol_v2.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "nsqd/client/io_loop.h"
#include "nsqd/client/netpoll.h"
#include "nsqd/client/protocol_v2_consume.h"
#include "nsqd/client/protocol_v2_identify.h"
#include "nsqd/client/protocol_v2_params.h"
#include "nsqd/client/protocol_v2_publish.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/client/protocol_v2_reply.h"
#include "nsqd/queue/channel.h"

/* The longest wait before the next attempt to let a client go dormant; see DORMANT_AFTER_NS. */
#define DORMANT_AFTER_MAX_NS (32 * NSEC_PER_SEC)
/* How long the pump may go on writing when the connection ends. */
#define PUMP_EXIT_NS (500 * NSEC_PER_MSEC)

/* What has come of a command, or of waiting for one. */
enum outcome {
	OUTCOME_DONE,    /* it is executed; its answer, if any, waits in the writer */
	OUTCOME_REFUSED, /* it is in error: l->error, or l->pub_error of a PUB before it */
	OUTCOME_AWAITED, /* its body is still to come: it is put back, to be begun again */
	OUTCOME_DORMANT, /* the client is netpoll's now */
	OUTCOME_LEFT,    /* there will be no more commands: the client has left, or must */
	OUTCOME_FAILED,  /* the connection is over; l->failure says why */
};

/* --- the loop ------------------------------------------------------------------------------- */

static enum outcome read_command(struct io_loop *l, struct params *p);
static enum outcome execute(struct io_loop *l, const struct params *p);
static enum outcome refuse(struct io_loop *l);
static enum outcome await_rest(struct io_loop *l);

/* Until there are no more commands: what the last outcome was. */
static enum outcome read_and_execute(struct io_loop *l)
{
	enum outcome o = OUTCOME_DONE;
	while (o == OUTCOME_DONE) {
		struct params p;
		o = read_command(l, &p);
		if (o == OUTCOME_DONE)
			o = execute(l, &p);
		if (o == OUTCOME_AWAITED)
			o = await_rest(l);
		else
			l->begun = false;
		if (o == OUTCOME_REFUSED)
			o = refuse(l);
	}
	return o;
}

/* --- executing a command -------------------------------------------------------------------- */

static const struct command {
	const char *name;
	/* 0, *response set if there is one; -1: l->error, l->waiting, or the connection is over. */
	int (*exec)(struct io_loop *l, const struct params *p, const char **response);
	enum gathered gathers; /* its fellows may wait while this one is executed */
	bool needs_no_tls;     /* also where TLS is required */
} commands[] = {
	/* The busy ones first. */
	{"FIN", protocol_v2_fin, GATHERED_FINS, false},
	{"PUB", protocol_v2_pub, GATHERED_PUBS, false},
	{"RDY", protocol_v2_rdy, GATHERED_NONE, false},
	{"REQ", protocol_v2_req, GATHERED_NONE, false},
	{"MPUB", protocol_v2_mpub, GATHERED_NONE, false},
	{"DPUB", protocol_v2_dpub, GATHERED_NONE, false},
	{"NOP", protocol_v2_nop, GATHERED_NONE, false},
	{"TOUCH", protocol_v2_touch, GATHERED_NONE, false},
	{"SUB", protocol_v2_sub, GATHERED_NONE, false},
	{"CLS", protocol_v2_cls, GATHERED_NONE, false},
	{"AUTH", protocol_v2_auth, GATHERED_NONE, false},
	{"IDENTIFY", protocol_v2_identify, GATHERED_NONE, true},
};

/* No such command: it is refused, when all before it is done. */
static int no_command(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	return io_loop_bad_param(l, NULL, "E_INVALID", "invalid command ", p->v[0]);
}

static const struct command *find_command(struct param name)
{
	static const struct command unknown = {"", no_command, GATHERED_NONE, false};
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
	return l->pub_failed || l->error.text.len > 0 ? OUTCOME_REFUSED : OUTCOME_FAILED;
}

/* Exec: one command, and its response. */
static enum outcome execute(struct io_loop *l, const struct params *p)
{
	const char *response = NULL;
	const struct command *cmd = find_command(p->v[0]);
	strbuf_reset(&l->error.text);
	/* The commands that came before are done and answered before. */
	if (io_loop_flush_gathered(l, cmd->gathers) != 0 ||
		(!cmd->needs_no_tls && io_loop_enforce_tls_policy(l, p->v[0]) != 0) ||
		cmd->exec(l, p, &response) != 0)
		return not_done(l);
	if (response && io_loop_send_response(l, response) != 0)
		return OUTCOME_FAILED;
	return OUTCOME_DONE;
}

/*
 * The one place where errors are sent: of the command, when the FINs and PUBs that came before it
 * are answered; or of one of these PUBs, which ends the connection before the command is looked at.
 */
static enum outcome refuse(struct io_loop *l)
{
	if (!l->pub_failed && io_loop_flush_gathered(l, GATHERED_NONE) != 0 && !l->pub_failed)
		return OUTCOME_FAILED;
	const struct protocol_err *e = l->pub_failed ? &l->pub_error : &l->error;
	/* That of a PUB ends the connection, sent or not. */
	if (io_loop_send_error(l, e) != 0 && !l->pub_failed)
		return OUTCOME_FAILED;
	if (!e->fatal)
		return OUTCOME_DONE;
	/* errors of this kind should forceably close the connection */
	l->ended_by = client_v2_is_closing(l->client) ? NULL : e;
	return OUTCOME_LEFT;
}

/* --- the pump -------------------------------------------------------------------------------- */

/*
 * The pump's state has been derived from client attributes by then, so there is no race with an
 * IDENTIFY that changes them.
 */
static int start_message_pump(struct client_v2 *c, struct err *err)
{
	char name[160];
	snprintf(name, sizeof(name), "pump:%s", c->remote_addr);
	int rc = wait_group_wrap(&c->wait_group, name, protocol_v2_message_pump, c, err);
	return rc == 0 ? 0 : err_wrap(err, "no thread for the message pump - ");
}

/* OUTCOME_DORMANT: there is no thread for the pump; the client is netpoll's, which tries again. */
static enum outcome start_message_pump_or_wait(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	struct oldpoll *np = l->protocol->netpoll;
	bool started = start_message_pump(c, &l->failure) == 0;
	oldpoll_has_started(np, c);
	if (started) {
		c->dormancy.served = true;
		return OUTCOME_DONE;
	}
	client_v2_give_buffers_back(c);
	c->input = (struct command_input){.begun = l->begun};
	return oldpoll_retry(np, c, &l->failure) ? OUTCOME_DORMANT : OUTCOME_FAILED;
}

/* --- waiting for a command ------------------------------------------------------------------- */

/* Going dormant failed; the next try comes after twice the time. */
static void sleep_later(struct io_loop *l)
{
	if (l->patience_ns < DORMANT_AFTER_MAX_NS)
		l->patience_ns *= 2;
}

static bool is_idle(struct client_v2 *c)
{
	return atomic_load(&c->in_flight_count) == 0 && !client_v2_has_answers_left(c) &&
	       !(c->channel && c->channel->topology_aware);
}

/*
 * No input has come for a while. If no message is in flight either, the pump's thread ends, and
 * this one is to do so as well (see netpoll.h): OUTCOME_DORMANT, also where the pump has ended and
 * there is no thread to go on. OUTCOME_DONE: not now. OUTCOME_FAILED: likewise, but the daemon
 * exits.
 */
static enum outcome go_dormant(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	if (!is_idle(c) || !client_v2_suspend_pump(c)) {
		sleep_later(l);
		return OUTCOME_DONE;
	}
	wait_group_wait(&c->wait_group);
	client_v2_give_buffers_back(c);
	c->input = (struct command_input){.begun = l->begun};
	/* From then on it is no longer ours. */
	if (is_idle(c) && oldpoll_sleep(l->protocol->netpoll, c))
		return OUTCOME_DORMANT;
	sleep_later(l);
	return start_message_pump_or_wait(l);
}

/*
 * No input has come for a moment. A client with half a command goes dormant at once, as it is no
 * part of a conversation. Another one waits for a while, or until other clients need its threads.
 * OUTCOME_DONE: read on.
 */
static enum outcome wait_for_input(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	struct oldpoll *np = l->protocol->netpoll;
	bool inside = bufio_buffered(&c->reader) > 0;
	int64_t until = clock_mono_ns() + l->patience_ns;
	/* The read deadline is the reader's to notice. */
	if (c->reader.deadline_ns != 0 && c->reader.deadline_ns < until)
		until = c->reader.deadline_ns;
	if (!inside) {
		enum oldpoll_wait_result res = oldpoll_wait(np, c, until, is_idle(c));
		if (res == OLDPOLL_INPUT || (res == OLDPOLL_TIME && until == c->reader.deadline_ns))
			return OUTCOME_DONE;
	}
	enum outcome o = go_dormant(l);
	if (o == OUTCOME_DONE && inside)
		(void)oldpoll_wait(np, c, until, false);
	return o;
}

/* The command has been put back but for its line; it is begun again when there is more of it. */
static enum outcome await_rest(struct io_loop *l)
{
	l->waiting = false;
	l->begun = true;
	bufio_unread_line(&l->client->reader);
	return wait_for_input(l);
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
	if (res == BUFIO_EOF)
		return OUTCOME_LEFT;
	if (res == BUFIO_ERR && !l->send_failed)
		err_wrap(&l->failure, "failed to read command - ");
	return OUTCOME_FAILED;
}

/* Reads one command and splits it. */
static enum outcome read_command(struct io_loop *l, struct params *p)
{
	struct client_v2 *c = l->client;
	char *line;
	size_t len;
	c->reader.timeout_ns = 2 * c->heartbeat_interval;
	/* The time goes on behind a dormancy, and while the rest of a command is awaited. */
	if (!l->resumed && !l->begun)
		bufio_reader_begin(&c->reader);
	l->resumed = false;
	enum bufio_result res;
	while ((res = bufio_read_line(&c->reader, &line, &len, &l->failure)) == BUFIO_IDLE) {
		enum outcome o = wait_for_input(l);
		if (o != OUTCOME_DONE)
			return o == OUTCOME_FAILED ? no_line(l, BUFIO_ERR) : o;
	}
	if (res != BUFIO_OK)
		return no_line(l, res);
	/* trim the '\n', optionally the '\r' */
	len--;
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (!l->begun)
		log_command(l, line, len);
	split(line, len, p);
	return OUTCOME_DONE;
}

/* --- life ------------------------------------------------------------------------------------ */

static void io_loop_init(struct io_loop *l, struct client_v2 *c)
{
	*l = (struct io_loop){.client = c, .protocol = c->protocol, .ctx = c->ctx};
	l->resumed = c->pump.client != NULL;
	l->begun = c->input.begun;
	l->patience_ns = DORMANT_AFTER_NS - MOMENT_NS;
	if (!l->resumed)
		protocol_v2_init_message_pump(c);
	c->reader.before_read = io_loop_before_read;
	c->reader.arg = l;
	c->reader.idle_ns = oldpoll_moment(l->protocol->netpoll);
	c->reader.whole_ns = WHOLE_NS;
}

/* The client may be netpoll's by then, unless an error has ended it. */
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

static void log_exit(struct client_v2 *client)
{
	nsqd_logf(client->ctx, LG_INFO, "PROTOCOL(V2): [%s] exiting ioloop", client->remote_addr);
}

/* The last that there is to do for a client: after this only the caller knows it. */
static void leave(struct client_v2 *client)
{
	client_v2_end_pump(client);
	if (client->channel)
		channel_remove_client(client->channel, &client->consumer);
	/* The pump may be writing, and that to a peer that does not read. */
	if (!wait_group_wait_until(&client->wait_group, clock_mono_ns() + PUMP_EXIT_NS)) {
		client_v2_abort(client);
		wait_group_wait(&client->wait_group);
	}
	client_v2_say_bye(client);
}

void protocol_v2_end_dormant(struct client_v2 *client)
{
	log_exit(client);
	leave(client);
}

int protocol_v2_io_loop(struct client_v2 *client, struct err *err)
{
	struct io_loop l;
	struct err ignored;
	io_loop_init(&l, client);
	enum outcome o = start_message_pump_or_wait(&l);
	if (o == OUTCOME_DONE)
		o = read_and_execute(&l);
	if (o != OUTCOME_DORMANT) {
		*err = l.failure;
		log_exit(client);
		(void)io_loop_flush(&l, &ignored);
		leave(client);
	}
	io_loop_free(&l);
	return o == OUTCOME_DORMANT ? 1 : o == OUTCOME_LEFT ? 0 : -1;
}
