/* SPDX-License-Identifier: MIT */
/*
 * Protocol V2: reading and executing a client's commands. Mirrors
 * nsqd/protocol_v2.go (its messagePump is protocol_v2_pump.c). Runs in the
 * connection's thread, "io:ADDR".
 *
 * Differences, all for the sake of system calls and wake-ups:
 * - answers are buffered, and flushed before a read that may block (stock
 *   flushes each), so a client that sends commands in bulk is answered in bulk;
 * - PUBs of one topic that came in together are queued together. Their OKs are
 *   written only then, so that "acknowledged" means what it says;
 * - FINs that came in together are executed together, under one lock;
 * - the pump is told once of all the FINs that came in together, and only if
 *   there are no messages at hand to take their place, and then mostly without
 *   being woken (protocol_v2_fill).
 * A connection that reads one answer per command sees no difference.
 *
 * And for the sake of memory: the threads of an idle client end, and new ones go
 * on when there is something to do (netpoll.h).
 */
#include "nsqd/client/protocol_v2.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/queue/channel.h"
#include "nsqd/client/client_v2.h"
#include "nsqd/client/netpoll.h"
#include "nsqd/client/protocol_v2_pump.h"
#include "nsqd/queue/topic.h"
#include "nsqd/queue/topics.h"
#include "protocol/byte_base10.h"
#include "protocol/errors.h"
#include "protocol/frame.h"
#include "protocol/identify.h"
#include "protocol/names.h"

/* The most PUBs that are queued together. */
#define PUB_BATCH 64
/* The most FINs that are executed together. */
#define FIN_BATCH FINISH_BATCH
/* No command has more parameters than it looks at; what follows is only counted. */
#define MAX_PARAMS 4
/* The longest that is waited before the next attempt to park a client; see PARK_AFTER_NS. */
#define PARK_AFTER_MAX_NS (32 * NSEC_PER_SEC)
/* How long a SUB waits at most for the end of an ephemeral channel that is just being deleted. */
#define SUB_PATIENCE_NS (100 * NSEC_PER_MSEC)
/* How long the pump may go on writing when the connection ends. */
#define PUMP_EXIT_NS (500 * NSEC_PER_MSEC)

struct param {
	const char *s; /* borrowed from the reader's buffer; not terminated */
	size_t len;
};

struct params {
	struct param v[MAX_PARAMS];
	size_t n; /* as many as the line had, also beyond MAX_PARAMS */
};

/* The state of one io_loop; nobody else sees it. */
struct io_loop {
	struct client_v2 *client;
	const struct protocol_v2 *protocol; /* client->protocol */
	struct context *ctx;                /* client->ctx */
	struct protocol_err error;          /* of the command that is being executed */
	struct err failure;                 /* of that command, if the connection is over with it */
	bool send_failed;                   /* an answer could not be sent: says so already */
	bool unflushed;                     /* answers are waiting in the writer */
	bool ready_changed;                 /* the pump is to be told */
	bool resumed; /* the client was parked, and has not sent a command since */
	bool begun;   /* the next command is one that waited for its body: once more */
	bool waiting; /* that is what the present one does; all of it is put back */
	const struct protocol_err
		*ended_by;   /* error or pub_error, if the connection is over with it */
	int64_t patience_ns; /* how long an idle client that could be parked is waited for */

	char pub_topic[NAME_SIZE]; /* of the PUBs that wait to be queued */
	struct message_body *pubs[PUB_BATCH];
	size_t n_pubs;
	bool pub_failed; /* pub_error is to be sent; the connection is over */
	struct protocol_err pub_error;

	struct message_id fins[FIN_BATCH]; /* that wait to be executed; never while PUBs wait */
	size_t n_fins;
	struct protocol_err fin_error; /* of the one that is being answered */
};

/* --- answers -------------------------------------------------------------------------------- */

static int send_frame(
	struct io_loop *l, int32_t type, const void *data, size_t len, struct err *err)
{
	l->unflushed = true;
	return client_v2_send(l->client, type, data, len, false, err);
}

/* Does not wait for the peer: what it does not take at once is the pump's to send. */
static int flush(struct io_loop *l, struct err *err)
{
	if (!l->unflushed)
		return 0;
	l->unflushed = false;
	return client_v2_try_flush(l->client, err);
}

/* An answer could not be sent; err says why. */
static int send_failed(struct io_loop *l, struct err *err)
{
	l->send_failed = true;
	return err_wrap(err, "failed to send response - ");
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
	l->unflushed = true;
	return client_v2_write(l->client, oks, n * OK_LENGTH, err);
}

/*
 * Queues the PUBs that are waiting and answers them. -1 with err set: the
 * connection is over; if one could not be queued (pub_failed), pub_error says
 * what is still to be sent.
 */
static int publish(struct io_loop *l, struct err *err)
{
	size_t n = l->n_pubs, done = 0;
	if (n == 0)
		return 0;
	l->n_pubs = 0;
	struct topic *t = nsqd_get_topic(l->protocol->topics, l->pub_topic, err);
	if (t) {
		done = topic_put_messages(t, l->pubs, n, err);
		topic_unref(t);
		if (done > 0)
			client_v2_published_message(l->client, l->pub_topic, done);
	} else {
		for (size_t i = 0; i < n; i++)
			message_body_unref(l->pubs[i]);
	}
	if (done < n) {
		l->pub_failed = true;
		fatal_client_err(
			&l->pub_error, err->msg, "E_PUB_FAILED", "PUB failed %s", err->msg);
	}
	struct err write_err;
	if (done > 0 && send_oks(l, done, &write_err) != 0) {
		*err = write_err;
		return send_failed(l, err);
	}
	return l->pub_failed ? -1 : 0;
}

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

/*
 * Logs and sends an error. -1: it cannot be sent, and err is what it says. While we end the
 * connection ourselves the client is told nothing: an error would say that its command was wrong,
 * and libraries hand that on as a refusal of the message, where they would try elsewhere.
 */
static int send_error(struct io_loop *l, const struct protocol_err *e, struct err *err)
{
	if (client_v2_is_closing(l->client)) {
		log_error(l, LG_INFO, "closing, so not sent: ", e);
		return 0;
	}
	log_error(l, LG_ERROR, "", e);
	if (send_frame(l, FRAME_TYPE_ERROR, e->text.data, e->text.len, err) == 0)
		return 0;
	nsqd_logf(l->ctx, LG_ERROR, "[%s] - %s%s%s", l->client->remote_addr, err->msg,
		*e->parent ? " - " : "", e->parent);
	l->send_failed = true;
	return err_set(err, 0, "%s", e->text.data);
}

/* A message that is not there or not the client's: not fatal. */
static int message_failed(
	struct protocol_err *e, const char *cmd, struct message_id id, const char *why)
{
	char code[16];
	snprintf(code, sizeof(code), "E_%s_FAILED", cmd);
	client_err(e, why, code, "%s ", cmd);
	strbuf_add(&e->text, id.hex, MSG_ID_LENGTH);
	strbuf_addf(&e->text, " failed %s", why);
	return -1;
}

/*
 * Executes the FINs that are waiting, and answers those that fail. -1 with err
 * set: the answer cannot be sent, the connection is over.
 */
static int finish(struct io_loop *l, struct err *err)
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
		message_failed(&l->fin_error, "FIN", l->fins[i], why[i]);
		if (send_error(l, &l->fin_error, err) != 0)
			return -1;
	}
	return 0;
}

/* Before the reader may block: nothing is held back. */
static int before_read(void *arg, struct err *err)
{
	struct io_loop *l = arg;
	if (finish(l, err) != 0)
		return -1;
	if (l->ready_changed) {
		l->ready_changed = false;
		if (protocol_v2_fill(l->client, &l->unflushed, err) != 0)
			return send_failed(l, err);
	}
	if (publish(l, err) != 0)
		return -1;
	return flush(l, err) == 0 ? 0 : send_failed(l, err);
}

/* --- reading bodies ------------------------------------------------------------------------- */

static enum bufio_result read_len(struct io_loop *l, int32_t *n, struct err *err)
{
	unsigned char buf[4];
	enum bufio_result res = bufio_read_full(&l->client->reader, buf, sizeof(buf), err);
	*n = (int32_t)get_be32(buf);
	return res;
}

/*
 * The body is still to come, and that takes long: the command is left as if it had
 * not begun, and begun again when there is more (see netpoll.h). What each function
 * has read it puts back, the last first; nothing but reading has been done by then
 * that could not be done twice. -1.
 */
static int wait_for_rest(struct io_loop *l)
{
	l->waiting = true;
	return -1;
}

static void put_back_len(struct io_loop *l, int32_t n)
{
	unsigned char buf[4];
	put_be32(buf, (uint32_t)n);
	bufio_put_back(&l->client->reader, buf, sizeof(buf));
}

/* Reads size bytes into a new body. NULL with err set, or l->waiting. */
static struct message_body *read_body(struct io_loop *l, size_t size, struct err *err)
{
	struct message_body *body = message_body_new(size);
	enum bufio_result res = bufio_read_full(&l->client->reader, body->data, size, err);
	if (res == BUFIO_OK)
		return body;
	message_body_unref(body);
	l->waiting = res == BUFIO_IDLE;
	return NULL;
}

/* The body of a PUB or DPUB, with its size in front; NULL with l->error set, or l->waiting. */
static struct message_body *read_message(struct io_loop *l, const char *cmd)
{
	int64_t max = nsqd_get_opts(l->ctx)->max_msg_size;
	struct err err UNINITIALIZED;
	int32_t size;
	enum bufio_result res = read_len(l, &size, &err);
	if (res == BUFIO_IDLE)
		(void)wait_for_rest(l);
	else if (res != BUFIO_OK)
		fatal_client_err(&l->error, err.msg, "E_BAD_MESSAGE",
			"%s failed to read message body size", cmd);
	if (res != BUFIO_OK)
		return NULL;
	if (size <= 0) {
		fatal_client_err(&l->error, NULL, "E_BAD_MESSAGE",
			"%s invalid message body size %" PRId32, cmd, size);
		return NULL;
	}
	if (size > max) {
		fatal_client_err(&l->error, NULL, "E_BAD_MESSAGE",
			"%s message too big %" PRId32 " > %" PRId64, cmd, size, max);
		return NULL;
	}
	struct message_body *body = read_body(l, (size_t)size, &err);
	if (l->waiting)
		put_back_len(l, size);
	else if (!body)
		fatal_client_err(
			&l->error, err.msg, "E_BAD_MESSAGE", "%s failed to read message body", cmd);
	return body;
}

/* The size of the body of an IDENTIFY, AUTH or MPUB. 0, or -1 with l->error set, or l->waiting. */
static int read_body_size(struct io_loop *l, const char *cmd, int32_t *size)
{
	int64_t max = nsqd_get_opts(l->ctx)->max_body_size;
	struct err err;
	enum bufio_result res = read_len(l, size, &err);
	if (res == BUFIO_IDLE)
		return wait_for_rest(l);
	if (res != BUFIO_OK)
		return fatal_client_err(
			&l->error, err.msg, "E_BAD_BODY", "%s failed to read body size", cmd);
	if (*size > max)
		return fatal_client_err(&l->error, NULL, "E_BAD_BODY",
			"%s body too big %" PRId32 " > %" PRId64, cmd, *size, max);
	if (*size <= 0)
		return fatal_client_err(
			&l->error, NULL, "E_BAD_BODY", "%s invalid body size %" PRId32, cmd, *size);
	return 0;
}

/*
 * The body itself, for those that are not messages; the caller frees it. NULL with l->error set, or
 * l->waiting.
 */
static char *read_command_body(struct io_loop *l, const char *cmd, int32_t *size)
{
	struct err err;
	if (read_body_size(l, cmd, size) != 0)
		return NULL;
	char *body = xmalloc((size_t)*size);
	enum bufio_result res = bufio_read_full(&l->client->reader, body, (size_t)*size, &err);
	if (res == BUFIO_OK)
		return body;
	free(body);
	if (res == BUFIO_IDLE) {
		put_back_len(l, *size);
		(void)wait_for_rest(l);
	} else {
		fatal_client_err(&l->error, err.msg, "E_BAD_BODY", "%s failed to read body", cmd);
	}
	return NULL;
}

/* --- checks --------------------------------------------------------------------------------- */

static int bad_state(struct io_loop *l, const char *cmd)
{
	return fatal_client_err(&l->error, NULL, "E_INVALID", "cannot %s in current state", cmd);
}

/* A fatal error whose description is text and the parameter, whatever bytes that holds. */
static int bad_param(
	struct io_loop *l, const char *parent, const char *code, const char *text, struct param p)
{
	fatal_client_err(&l->error, parent, code, "%s", text);
	strbuf_add(&l->error.text, p.s, p.len);
	return -1;
}

/* kind is "topic" or "channel"; the name is shown as %q. */
static int bad_name(
	struct io_loop *l, const char *code, const char *cmd, const char *kind, struct param name)
{
	fatal_client_err(&l->error, NULL, code, "%s %s name ", cmd, kind);
	strbuf_addq(&l->error.text, name.s, name.len);
	strbuf_adds(&l->error.text, " is not valid");
	return -1;
}

static int check_topic_name(struct io_loop *l, const char *cmd, struct param name)
{
	return is_valid_topic_name(name.s, name.len)
		       ? 0
		       : bad_name(l, "E_BAD_TOPIC", cmd, "topic", name);
}

/* A valid name, as a C string. */
static void copy_name(char out[NAME_SIZE], struct param name)
{
	CHECK(name.len < NAME_SIZE);
	memcpy(out, name.s, name.len);
	out[name.len] = '\0';
}

/* IsAuthEnabled */
static bool is_auth_enabled(const struct io_loop *l)
{
	return nsqd_get_opts(l->ctx)->auth_http_addresses.n > 0;
}

/* we don't want to leak errors contacting the auth server to untrusted clients; frees why */
static int auth_failed(struct io_loop *l, struct strbuf *why, bool log_again)
{
	nsqd_logf(l->ctx, LG_WARN, "PROTOCOL(V2): [%s] AUTH failed %s", l->client->remote_addr,
		why->data);
	fatal_client_err(&l->error, log_again ? why->data : NULL, "E_AUTH_FAILED", "AUTH failed");
	strbuf_free(why);
	return -1;
}

/*
 * CheckAuth: if auth is enabled, the client must have authorized already.
 * Compares topic and channel ("": to publish) against cached authorization data
 * (refetching if expired). 0, or -1 with l->error or l->pub_error set.
 */
static int check_auth(
	struct io_loop *l, const char *cmd, const char *topic_name, const char *channel_name)
{
	struct client_v2 *c = l->client;
	struct strbuf why = STRBUF_INIT;
	if (!is_auth_enabled(l))
		return 0;
	if (!client_v2_has_authorizations(c))
		return fatal_client_err(
			&l->error, NULL, "E_AUTH_FIRST", "AUTH required before %s", cmd);
	/* It may take a while: nothing is held back meanwhile. */
	if (auth_is_expired(c->auth_state) && before_read(l, &l->failure) != 0)
		return -1;
	int allowed = client_v2_is_authorized(c, topic_name, channel_name, &why);
	if (allowed < 0)
		return auth_failed(l, &why, false);
	if (allowed)
		return 0;
	/* Names are plain: %q only puts them between quotes. */
	return fatal_client_err(&l->error, NULL, "E_UNAUTHORIZED",
		"AUTH failed for %s on \"%s\" \"%s\"", cmd, topic_name, channel_name);
}

/* enforceTLSPolicy, for all commands but IDENTIFY. */
static int enforce_tls_policy(struct io_loop *l, struct param cmd)
{
	if (nsqd_get_opts(l->ctx)->tls_required == TLS_NOT_REQUIRED || client_v2_is_tls(l->client))
		return 0;
	bad_param(l, NULL, "E_INVALID", "cannot ", cmd);
	strbuf_adds(&l->error.text, " in current state (TLS required)");
	return -1;
}

static bool may_answer_messages(const struct io_loop *l)
{
	int32_t state = atomic_load(&l->client->state);
	return state == STATE_SUBSCRIBED || state == STATE_CLOSING;
}

static int get_message_id(struct io_loop *l, struct param p, struct message_id *id)
{
	if (p.len != MSG_ID_LENGTH) {
		fatal_client_err(&l->error, NULL, "E_INVALID", "invalid message ID");
		return -1;
	}
	memcpy(id->hex, p.s, MSG_ID_LENGTH);
	return 0;
}

/*
 * Milliseconds of a parameter as Go's time.Duration(n) * time.Millisecond: the
 * product wraps. Clamped or range-checked by the callers, as in stock.
 */
static bool parse_ms(struct param p, uint64_t *ms, int64_t *ns)
{
	if (!byte_to_base10(p.s, p.len, ms))
		return false;
	*ns = (int64_t)(*ms * (uint64_t)NSEC_PER_MSEC);
	return true;
}

/*
 * --- commands: each returns 0, *response set if there is one; or -1 with l->error set ----------
 */

static const char ok_bytes[] = "OK";

static int64_t to_ms(int64_t ns)
{
	return ns / NSEC_PER_MSEC;
}

/* What of the wanted features the connection gets. -1 with l->error set. */
static int negotiate(
	struct io_loop *l, const struct identify_data_v2 *data, struct client_v2_upgrade *u)
{
	const struct options *opts = nsqd_get_opts(l->ctx);
	/* A second IDENTIFY finds the stream encrypted or compressed: that stays as it is. */
	bool may_compress = !client_v2_is_compressed(l->client);
	u->tls_v1 = l->protocol->tls_config && data->tls_v1 && may_compress &&
		    !client_v2_is_tls(l->client);
	int64_t level = 6;
	u->deflate = opts->deflate_enabled && data->deflate && may_compress;
	if (u->deflate && data->deflate_level > 0)
		level = data->deflate_level;
	if (level > opts->max_deflate_level)
		level = opts->max_deflate_level;
	u->deflate_level = (int)level;
	u->snappy = opts->snappy_enabled && data->snappy && may_compress;
	if (u->deflate && u->snappy)
		return fatal_client_err(&l->error, NULL, "E_IDENTIFY_FAILED",
			"cannot enable both deflate and snappy compression");
	return 0;
}

static const char *json_bool(bool b)
{
	return b ? "true" : "false";
}

static void add_identify_response(
	const struct io_loop *l, const struct client_v2_upgrade *u, struct strbuf *sb)
{
	const struct options *opts = nsqd_get_opts(l->ctx);
	const struct client_v2 *c = l->client;
	strbuf_addf(sb,
		"{\"max_rdy_count\":%" PRId64 ",\"version\":\"%s\",\"max_msg_timeout\":%" PRId64
		",\"msg_timeout\":%" PRId64 ",\"tls_v1\":%s,\"deflate\":%s"
		",\"deflate_level\":%d,\"max_deflate_level\":%d,\"snappy\":%s"
		",\"sample_rate\":%" PRId32 ",\"auth_required\":%s,\"output_buffer_size\":%d"
		",\"output_buffer_timeout\":%" PRId64,
		opts->max_rdy_count, NSQ_VERSION, to_ms(opts->max_msg_timeout),
		to_ms(c->msg_timeout), json_bool(u->tls_v1), json_bool(u->deflate),
		u->deflate_level, opts->max_deflate_level, json_bool(u->snappy),
		(int32_t)atomic_load(&c->sample_rate), json_bool(is_auth_enabled(l)),
		c->output_buffer_size, to_ms(c->output_buffer_timeout));
	topology_add_region_zone_json(sb, opts);
	strbuf_addc(sb, '}');
}

/* The body of an IDENTIFY, decoded; identify_free. -1 with l->error set. */
static int read_identify(struct io_loop *l, struct identify_data_v2 *data)
{
	int32_t size;
	struct err err;
	char *body = read_command_body(l, "IDENTIFY", &size);
	if (!body)
		return -1;
	int rc = identify_decode(data, body, (size_t)size, &err);
	free(body);
	if (rc != 0)
		return fatal_client_err(
			&l->error, err.msg, "E_BAD_BODY", "IDENTIFY failed to decode JSON body");
	return 0;
}

/* Answers an IDENTIFY that negotiates features, and upgrades the connection. */
static int identify_features(struct io_loop *l, const struct identify_data_v2 *data)
{
	struct client_v2_upgrade u = {0};
	struct strbuf sb = STRBUF_INIT;
	struct err err;
	if (negotiate(l, data, &u) != 0)
		return -1;
	add_identify_response(l, &u, &sb);
	int rc = client_v2_upgrade(l->client, &u, sb.data, sb.len, &err);
	strbuf_free(&sb);
	if (rc != 0)
		return fatal_client_err(
			&l->error, err.msg, "E_IDENTIFY_FAILED", "IDENTIFY failed %s", err.msg);
	return 0;
}

static int identify(struct io_loop *l, const struct params *p, const char **response)
{
	(void)p;
	struct identify_data_v2 data;
	struct err err;
	if (atomic_load(&l->client->state) != STATE_INIT)
		return bad_state(l, "IDENTIFY");
	if (read_identify(l, &data) != 0)
		return -1;
	int rc = client_v2_identify(l->client, &data, &err);
	if (rc != 0)
		fatal_client_err(&l->error, err.msg, "E_BAD_BODY", "IDENTIFY %s", err.msg);
	else if (data.feature_negotiation)
		rc = identify_features(l, &data);
	else
		*response = ok_bytes; /* bail out early if we're not negotiating features */
	identify_free(&data);
	return rc;
}

/* AUTH without its parameters: asks, and answers with what came of it. */
static int auth_with_secret(struct io_loop *l, const char *secret, size_t len)
{
	struct client_v2 *c = l->client;
	struct err err;
	if (client_v2_has_authorizations(c))
		return fatal_client_err(&l->error, NULL, "E_INVALID", "AUTH already set");
	if (!is_auth_enabled(l))
		return fatal_client_err(&l->error, NULL, "E_AUTH_DISABLED", "AUTH disabled");
	struct strbuf sb = STRBUF_INIT;
	/*
	 * It may take a while: nothing is held back meanwhile (exec has published what came
	 * before).
	 */
	(void)flush(l, &err);
	if (client_v2_auth(c, secret, len, &sb) != 0)
		return auth_failed(l, &sb, true);
	if (!client_v2_has_authorizations(c))
		return fatal_client_err(
			&l->error, NULL, "E_UNAUTHORIZED", "AUTH no authorizations found");
	const struct auth_state *s = c->auth_state;
	strbuf_adds(&sb, "{\"identity\":");
	strbuf_add_json(&sb, s->identity.data, s->identity.len);
	strbuf_adds(&sb, ",\"identity_url\":");
	strbuf_add_json(&sb, s->identity_url.data, s->identity_url.len);
	strbuf_addf(&sb, ",\"permission_count\":%zu}", s->n_authorizations);
	int rc = send_frame(l, FRAME_TYPE_RESPONSE, sb.data, sb.len, &err);
	strbuf_free(&sb);
	if (rc != 0)
		return fatal_client_err(
			&l->error, err.msg, "E_AUTH_ERROR", "AUTH error %s", err.msg);
	return 0;
}

static int auth(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	if (atomic_load(&l->client->state) != STATE_INIT)
		return bad_state(l, "AUTH");
	if (p->n != 1)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "AUTH invalid number of parameters");
	int32_t size;
	char *body = read_command_body(l, "AUTH", &size);
	if (!body)
		return -1;
	bufio_reader_wipe(&l->client->reader);
	int rc = auth_with_secret(l, body, (size_t)size);
	explicit_bzero(body, (size_t)size);
	free(body);
	return rc;
}

enum sub_result { SUB_OK, SUB_ERR, SUB_AGAIN };

/*
 * One attempt to join the channel. SUB_AGAIN: the last client has left an
 * ephemeral channel (or topic) between our finding it and joining it, so that it
 * is being deleted, and its end has been waited for, up to patience_ns; err says
 * so. SUB_OK: client->channel is set.
 */
static enum sub_result try_sub(struct io_loop *l, const char *topic_name, const char *channel_name,
	int64_t patience_ns, struct err *err)
{
	enum sub_result res = SUB_ERR;
	struct channel *ch = NULL;
	struct topic *t = nsqd_get_topic(l->protocol->topics, topic_name, err);
	if (!t)
		return SUB_ERR;
	ch = topic_get_channel(t, channel_name, err);
	if (ch && channel_add_client(ch, &l->client->consumer, err) == 0) {
		l->client->channel = channel_ref(ch);
		res = SUB_OK;
	} else if ((t->ephemeral && topic_exiting(t)) ||
		   (ch && ch->ephemeral && channel_exiting(ch))) {
		(void)gone_wait(
			l->ctx, topic_exiting(t) ? t->gone_chan : ch->gone_chan, patience_ns);
		err_set(err, 0, "to deleted topic/channel");
		res = SUB_AGAIN;
	}
	channel_unref(ch);
	topic_unref(t);
	return res;
}

static int sub(struct io_loop *l, const struct params *p, const char **response)
{
	struct client_v2 *c = l->client;
	if (atomic_load(&c->state) != STATE_INIT)
		return bad_state(l, "SUB");
	if (c->heartbeat_interval <= 0)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "cannot SUB with heartbeats disabled");
	if (p->n < 3)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "SUB insufficient number of parameters");
	if (check_topic_name(l, "SUB", p->v[1]) != 0)
		return -1;
	if (!is_valid_channel_name(p->v[2].s, p->v[2].len))
		return bad_name(l, "E_BAD_CHANNEL", "SUB", "channel", p->v[2]);

	char topic_name[NAME_SIZE], channel_name[NAME_SIZE];
	copy_name(topic_name, p->v[1]);
	copy_name(channel_name, p->v[2]);
	if (check_auth(l, "SUB", topic_name, channel_name) != 0)
		return -1;
	struct err err;
	enum sub_result res = try_sub(l, topic_name, channel_name, SUB_PATIENCE_NS, &err);
	if (res == SUB_AGAIN)
		res = try_sub(l, topic_name, channel_name, 0, &err);
	if (res != SUB_OK)
		return fatal_client_err(
			&l->error, err.msg, "E_SUB_FAILED", "SUB failed %s", err.msg);
	atomic_store(&c->state, STATE_SUBSCRIBED);
	/* update message pump */
	chan_send(c->sub_event_chan, &c->channel);
	*response = ok_bytes;
	return 0;
}

static int rdy(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	int64_t max = nsqd_get_opts(l->ctx)->max_rdy_count;
	int32_t state = atomic_load(&l->client->state);
	if (state == STATE_CLOSING) {
		/* just ignore ready changes on a closing channel */
		nsqd_logf(l->ctx, LG_INFO,
			"PROTOCOL(V2): [%s] ignoring RDY after CLS in state ClientStateV2Closing",
			l->client->remote_addr);
		return 0;
	}
	if (state != STATE_SUBSCRIBED)
		return bad_state(l, "RDY");
	uint64_t b10 = 1;
	if (p->n > 1 && !byte_to_base10(p->v[1].s, p->v[1].len, &b10))
		return bad_param(l, "failed to convert to Base10", "E_INVALID",
			"RDY could not parse count ", p->v[1]);
	int64_t count = (int64_t)b10;
	/* this needs to be a fatal error otherwise clients would have inconsistent state */
	if (count < 0 || count > max)
		return fatal_client_err(&l->error, NULL, "E_INVALID",
			"RDY count %" PRId64 " out of range 0-%" PRId64, count, max);
	client_v2_set_ready_count(l->client, count);
	return 0;
}

/* The message waits for its fellows; finish() is the rest. */
static int fin(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	if (!may_answer_messages(l))
		return bad_state(l, "FIN");
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "FIN insufficient number of params");
	if (get_message_id(l, p->v[1], &l->fins[l->n_fins]) != 0)
		return -1;
	return ++l->n_fins < FIN_BATCH ? 0 : finish(l, &l->failure);
}

/* Stock's range of REQ's delay: what is outside is set to the nearest end, and logged. */
static int64_t clamp_req_timeout(struct io_loop *l, int64_t timeout)
{
	int64_t max = nsqd_get_opts(l->ctx)->max_req_timeout;
	int64_t clamped = timeout < 0 ? 0 : timeout > max ? max : timeout;
	if (clamped != timeout)
		nsqd_logf(l->ctx, LG_INFO,
			"PROTOCOL(V2): [%s] REQ timeout %" PRId64 " out of range 0-%" PRId64
			". Setting to %" PRId64,
			l->client->remote_addr, timeout, max, clamped);
	return clamped;
}

static int req(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	struct message_id id;
	struct err err UNINITIALIZED;
	uint64_t ms;
	int64_t timeout;
	if (!may_answer_messages(l))
		return bad_state(l, "REQ");
	if (p->n < 3)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "REQ insufficient number of params");
	if (get_message_id(l, p->v[1], &id) != 0)
		return -1;
	if (!parse_ms(p->v[2], &ms, &timeout))
		return bad_param(l, "failed to convert to Base10", "E_INVALID",
			"REQ could not parse timeout ", p->v[2]);
	timeout = clamp_req_timeout(l, timeout);
	if (channel_requeue_message(
		    l->client->channel, l->client->consumer.id, id, timeout, &err) != 0)
		return message_failed(&l->error, "REQ", id, err.msg);
	if (client_v2_requeued_message(l->client))
		l->ready_changed = true;
	return 0;
}

static int touch(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	struct client_v2 *c = l->client;
	struct message_id id;
	struct err err UNINITIALIZED;
	if (!may_answer_messages(l))
		return bad_state(l, "TOUCH");
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "TOUCH insufficient number of params");
	if (get_message_id(l, p->v[1], &id) != 0)
		return -1;
	if (channel_touch_message(c->channel, c->consumer.id, id, c->msg_timeout, &err) != 0)
		return message_failed(&l->error, "TOUCH", id, err.msg);
	return 0;
}

static int cls(struct io_loop *l, const struct params *p, const char **response)
{
	(void)p;
	if (atomic_load(&l->client->state) != STATE_SUBSCRIBED)
		return bad_state(l, "CLS");
	client_v2_start_close(l->client);
	*response = "CLOSE_WAIT";
	return 0;
}

static int nop(struct io_loop *l, const struct params *p, const char **response)
{
	(void)l;
	(void)p;
	(void)response;
	return 0;
}

/* The message waits for its fellows; publish() queues and answers it. */
static int pub(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	char topic_name[NAME_SIZE];
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "PUB insufficient number of parameters");
	if (check_topic_name(l, "PUB", p->v[1]) != 0)
		return -1;
	copy_name(topic_name, p->v[1]);
	if (l->n_pubs > 0 && strcmp(topic_name, l->pub_topic) != 0 && publish(l, &l->failure) != 0)
		return -1;
	struct message_body *body = read_message(l, "PUB");
	if (!body)
		return -1;
	if (check_auth(l, "PUB", topic_name, "") != 0) {
		message_body_unref(body);
		return -1;
	}
	memcpy(l->pub_topic, topic_name, sizeof(topic_name));
	l->pubs[l->n_pubs++] = body;
	if (l->n_pubs == PUB_BATCH && publish(l, &l->failure) != 0)
		return -1;
	return 0;
}

static int dpub(struct io_loop *l, const struct params *p, const char **response)
{
	int64_t max = nsqd_get_opts(l->ctx)->max_req_timeout;
	char topic_name[NAME_SIZE];
	uint64_t ms;
	int64_t timeout;
	if (p->n < 3)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "DPUB insufficient number of parameters");
	if (check_topic_name(l, "DPUB", p->v[1]) != 0)
		return -1;
	copy_name(topic_name, p->v[1]);
	if (!parse_ms(p->v[2], &ms, &timeout))
		return bad_param(l, "failed to convert to Base10", "E_INVALID",
			"DPUB could not parse timeout ", p->v[2]);
	if (timeout < 0 || timeout > max)
		return fatal_client_err(&l->error, NULL, "E_INVALID",
			"DPUB timeout %" PRIu64 " out of range 0-%" PRId64, ms, to_ms(max));
	struct message_body *body = read_message(l, "DPUB");
	if (!body)
		return -1;
	if (check_auth(l, "DPUB", topic_name, "") != 0) {
		message_body_unref(body);
		return -1;
	}

	struct err err;
	struct topic *t = nsqd_get_topic(l->protocol->topics, topic_name, &err);
	if (!t)
		message_body_unref(body);
	int rc = t ? topic_put_message_deferred(t, body, timeout, &err) : -1;
	topic_unref(t);
	if (rc != 0)
		return fatal_client_err(
			&l->error, err.msg, "E_DPUB_FAILED", "DPUB failed %s", err.msg);
	client_v2_published_message(l->client, topic_name, 1);
	*response = ok_bytes;
	return 0;
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
	enum bufio_result res = read_len(l, &size, &err);
	if (res == BUFIO_IDLE)
		return wait_for_rest(l);
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
	struct message_body *body = read_body(l, (size_t)size, &err);
	if (l->waiting) {
		put_back_len(l, size);
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
	enum bufio_result res = read_len(l, &n, &err);
	if (res == BUFIO_IDLE)
		return wait_for_rest(l);
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

/* Reads the messages and puts them into the topic. */
static int mpub_to(struct io_loop *l, struct topic *t)
{
	struct bodies b = {.bytes = 4};
	int32_t size;
	struct err err;
	if (read_body_size(l, "MPUB", &size) != 0)
		return -1;
	if (read_mpub(l, &b) != 0) {
		if (l->waiting) {
			put_back_bodies(l, &b);
			put_back_len(l, size);
		}
		free_bodies(&b);
		return -1;
	}
	size_t done = topic_put_messages(t, b.v, b.n, &err);
	free(b.v);
	if (done < b.n)
		return fatal_client_err(
			&l->error, err.msg, "E_MPUB_FAILED", "MPUB failed %s", err.msg);
	client_v2_published_message(l->client, t->name, b.n);
	return 0;
}

static int mpub(struct io_loop *l, const struct params *p, const char **response)
{
	char topic_name[NAME_SIZE];
	struct err err;
	if (p->n < 2)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "MPUB insufficient number of parameters");
	/* The code twice, as stock has it. */
	if (!is_valid_topic_name(p->v[1].s, p->v[1].len))
		return bad_name(l, "E_BAD_TOPIC", "E_BAD_TOPIC MPUB", "topic", p->v[1]);
	copy_name(topic_name, p->v[1]);
	if (check_auth(l, "MPUB", topic_name, "") != 0)
		return -1;
	struct topic *t = nsqd_get_topic(l->protocol->topics, topic_name, &err);
	if (!t)
		return fatal_client_err(
			&l->error, err.msg, "E_MPUB_FAILED", "MPUB failed %s", err.msg);
	int rc = mpub_to(l, t);
	topic_unref(t);
	if (rc == 0)
		*response = ok_bytes;
	return rc;
}

/* --- the loop ------------------------------------------------------------------------------- */

static const struct command {
	const char *name;
	int (*exec)(struct io_loop *l, const struct params *p, const char **response);
} commands[] = {
	/* The busy ones first. */
	{"FIN", fin},
	{"PUB", pub},
	{"RDY", rdy},
	{"REQ", req},
	{"MPUB", mpub},
	{"DPUB", dpub},
	{"NOP", nop},
	{"TOUCH", touch},
	{"SUB", sub},
	{"CLS", cls},
	{"AUTH", auth},
	{"IDENTIFY", identify},
};

static const struct command *find_command(struct param name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strlen(commands[i].name) == name.len &&
			memcmp(commands[i].name, name.s, name.len) == 0)
			return &commands[i];
	}
	return NULL;
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

/*
 * Executes one command and sends its response. -1: l->error or l->pub_error is set, or err; or
 * l->waiting.
 */
static int exec(struct io_loop *l, const struct params *p, struct err *err)
{
	const char *response = NULL;
	const struct command *cmd = find_command(p->v[0]);
	/* What came before is done and answered before. */
	if ((!cmd || cmd->exec != pub) && publish(l, err) != 0)
		return -1;
	if ((!cmd || cmd->exec != fin) && finish(l, err) != 0)
		return -1;
	if ((!cmd || cmd->exec != identify) && enforce_tls_policy(l, p->v[0]) != 0)
		return -1;
	if (!cmd)
		return bad_param(l, NULL, "E_INVALID", "invalid command ", p->v[0]);
	if (cmd->exec(l, p, &response) != 0) {
		*err = l->failure;
		return -1;
	}
	if (!response)
		return 0;
	if (send_frame(l, FRAME_TYPE_RESPONSE, response, strlen(response), err) == 0)
		return 0;
	return send_failed(l, err);
}

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

/*
 * The pump's state has been derived from client attributes by then, so there is
 * no race with an IDENTIFY that changes them.
 */
static int start_message_pump(struct client_v2 *c, struct err *err)
{
	char name[160];
	snprintf(name, sizeof(name), "pump:%s", c->remote_addr);
	int rc = wait_group_wrap(&c->wait_group, name, protocol_v2_message_pump, c, err);
	return rc == 0 ? 0 : err_wrap(err, "no thread for the message pump - ");
}

/* The same; 1: there is no thread, so the client is netpoll's, which tries again. */
static int start_message_pump_or_wait(struct io_loop *l, struct err *err)
{
	struct client_v2 *c = l->client;
	bool started = start_message_pump(c, err) == 0;
	netpoll_has_started(l->protocol->netpoll, c);
	if (started) {
		c->parked.served = true;
		return 0;
	}
	client_v2_give_buffers_back(c);
	c->input = (struct command_input){.begun = l->begun};
	return netpoll_retry(l->protocol->netpoll, c, err) ? 1 : -1;
}

/*
 * A client with a pump that has nothing to do may have been idle for longer than it seems: not at
 * once again.
 */
static int not_idle(struct io_loop *l)
{
	if (l->patience_ns < PARK_AFTER_MAX_NS)
		l->patience_ns *= 2;
	return 0;
}

static bool is_idle(const struct client_v2 *c)
{
	return atomic_load(&c->in_flight_count) == 0 && !atomic_load(&c->unsent) &&
	       !(c->channel && c->channel->topology_aware);
}

/*
 * Nothing has come for a while: if nothing is in flight either, the pump's
 * thread ends, and this one is to do so as well (see netpoll.h): 1, and the
 * client is netpoll's (as it is if the pump has no thread to go on). 0: not now.
 * -1 with err set: likewise, but the daemon ends.
 */
static int park(struct io_loop *l, struct err *err)
{
	struct client_v2 *c = l->client;
	/* It takes it only while it waits in its select, with all that it has written flushed. */
	if (!is_idle(c) || chan_try_send_n(c->park_chan, NULL, 1) == 0)
		return not_idle(l);
	wait_group_wait(&c->wait_group);
	/* The channel's pump may still be serving it, but without a pump it does not begin to. */
	if (client_v2_begin_filling(c)) {
		client_v2_end_filling(c);
		client_v2_give_buffers_back(c);
		c->input = (struct command_input){.begun = l->begun};
		/* From then on it is no longer ours. */
		if (is_idle(c) && netpoll_park(l->protocol->netpoll, c))
			return 1;
	}
	(void)not_idle(l);
	return start_message_pump_or_wait(l, err);
}

/*
 * Nothing has come for a moment. A client of whose command a part is here is parked
 * at once, as it is no part of a conversation; another one after some patience, or as
 * soon as others need its threads. 1: it is netpoll's; 0: read on; -1 with err set.
 */
static int wait_for_input(struct io_loop *l, struct err *err)
{
	struct client_v2 *c = l->client;
	struct netpoll *np = l->protocol->netpoll;
	bool inside = bufio_buffered(&c->reader) > 0;
	int64_t until = clock_mono_ns() + l->patience_ns;
	/* Its deadline is the reader's to notice. */
	if (c->reader.deadline_ns != 0 && c->reader.deadline_ns < until)
		until = c->reader.deadline_ns;
	if (!inside) {
		enum netpoll_wait_result res = netpoll_wait(np, c, until, is_idle(c));
		if (res == NETPOLL_INPUT || (res == NETPOLL_TIME && until == c->reader.deadline_ns))
			return 0;
	}
	int parked = park(l, err);
	if (parked == 0 && inside)
		(void)netpoll_wait(np, c, until, false);
	return parked;
}

/* Reads one command and splits it. BUFIO_IDLE: the client has been parked. */
static enum bufio_result read_command(struct io_loop *l, struct params *p, struct err *err)
{
	struct client_v2 *c = l->client;
	char *line;
	size_t len;
	c->reader.timeout_ns = 2 * c->heartbeat_interval;
	/* After a park the time goes on, and while the rest of a command is awaited. */
	if (!l->resumed && !l->begun)
		bufio_reader_begin(&c->reader);
	l->resumed = false;
	enum bufio_result res;
	while ((res = bufio_read_line(&c->reader, &line, &len, err)) == BUFIO_IDLE) {
		int parked = wait_for_input(l, err);
		if (parked != 0)
			return parked > 0 ? BUFIO_IDLE : BUFIO_ERR;
	}
	if (res != BUFIO_OK)
		return res;
	/* trim the '\n', optionally the '\r' */
	len--;
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (!l->begun)
		log_command(l, line, len);
	split(line, len, p);
	return BUFIO_OK;
}

/* The command that was put back but for its line: as wait_for_input. */
static int await_rest(struct io_loop *l, struct err *err)
{
	l->waiting = false;
	l->begun = true;
	bufio_unread_line(&l->client->reader);
	return wait_for_input(l, err);
}

/* The connection is over with this error, of which the last line tells. 0. */
static int ended_by(struct io_loop *l, const struct protocol_err *e)
{
	l->ended_by = client_v2_is_closing(l->client) ? NULL : e;
	return 0;
}

/* Until the client leaves or errs: 0, or -1 with err set; or has been parked: 1. */
static int read_and_execute(struct io_loop *l, struct err *err)
{
	for (;;) {
		struct params p;
		enum bufio_result res = read_command(l, &p, err);
		if (res == BUFIO_OK) {
			strbuf_reset(&l->error.text);
			*err = (struct err){0};
			int rc = exec(l, &p, err);
			if (rc != 0 && l->waiting) {
				rc = await_rest(l, err);
				if (rc != 0)
					return rc;
				continue;
			}
			l->begun = false;
			if (rc == 0)
				continue;
			/*
			 * The FINs and PUBs that came before the bad command are answered before
			 * it.
			 */
			if (finish(l, err) != 0)
				return -1;
			if (!l->pub_failed && l->error.text.len > 0 && publish(l, err) != 0 &&
				!l->pub_failed)
				return -1;
			if (!l->pub_failed && l->error.text.len > 0) {
				if (send_error(l, &l->error, err) != 0)
					return -1;
				if (!l->error.fatal)
					continue;
				/* errors of this kind should forceably close the connection */
				return ended_by(l, &l->error);
			}
		}
		if (l->pub_failed) {
			(void)send_error(l, &l->pub_error, err);
			return ended_by(l, &l->pub_error);
		}
		if (res == BUFIO_IDLE)
			return 1;
		if (res == BUFIO_EOF)
			return 0;
		/* Reading includes sending what is held back. */
		return res == BUFIO_ERR && !l->send_failed
			       ? err_wrap(err, "failed to read command - ")
			       : -1;
	}
}

static void discard_pubs(struct io_loop *l)
{
	for (size_t i = 0; i < l->n_pubs; i++)
		message_body_unref(l->pubs[i]);
	l->n_pubs = 0;
}

static void begin(struct io_loop *l)
{
	struct client_v2 *c = l->client;
	l->resumed = c->pump.client != NULL;
	l->begun = c->input.begun;
	l->patience_ns = PARK_AFTER_NS - MOMENT_NS;
	if (!l->resumed)
		protocol_v2_init_message_pump(c);
	c->reader.before_read = before_read;
	c->reader.arg = l;
	c->reader.idle_ns = netpoll_moment(l->protocol->netpoll);
	c->reader.whole_ns = WHOLE_NS;
}

static void end(struct io_loop *l)
{
	struct strbuf sb = STRBUF_INIT;
	if (l->ended_by) {
		strbuf_addf(&sb, "client(%s) - ", l->client->remote_addr);
		strbuf_add(&sb, l->ended_by->text.data, l->ended_by->text.len);
		lg_log(&l->ctx->lg, LG_ERROR, sb.data, sb.len);
		strbuf_free(&sb);
	}
	discard_pubs(l);
	strbuf_free(&l->error.text);
	strbuf_free(&l->pub_error.text);
	strbuf_free(&l->fin_error.text);
}

/* The last that there is to do for a client: after this nobody knows it but the caller. */
static void leave(struct client_v2 *client)
{
	chan_close(client->exit_chan);
	if (client->channel)
		channel_remove_client(client->channel, &client->consumer);
	/* The pump may be writing, and that to a peer that does not read. */
	if (!wait_group_wait_until(&client->wait_group, clock_mono_ns() + PUMP_EXIT_NS)) {
		client_v2_abort(client);
		wait_group_wait(&client->wait_group);
	}
	client_v2_say_bye(client);
}

void protocol_v2_end_parked(struct client_v2 *client)
{
	nsqd_logf(client->ctx, LG_INFO, "PROTOCOL(V2): [%s] exiting ioloop", client->remote_addr);
	leave(client);
}

int protocol_v2_io_loop(struct client_v2 *client, struct err *err)
{
	struct io_loop l = {.client = client, .protocol = client->protocol, .ctx = client->ctx};
	struct err ignored;
	begin(&l);
	int rc = start_message_pump_or_wait(&l, err);
	if (rc == 0)
		rc = read_and_execute(&l, err);
	if (rc > 0) {
		end(&l);
		return rc;
	}
	nsqd_logf(l.ctx, LG_INFO, "PROTOCOL(V2): [%s] exiting ioloop", client->remote_addr);
	(void)flush(&l, &ignored);
	leave(client);
	end(&l);
	return rc;
}
