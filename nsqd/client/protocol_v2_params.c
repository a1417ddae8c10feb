/* SPDX-License-Identifier: MIT */
/*
 * Parameters and bodies of commands. Mirrors readLen, CheckAuth and enforceTLSPolicy of
 * nsqd/protocol_v2.go. Runs in the thread of io_loop: a poller, or "io:ADDR".
 *
 * Lessons in docs/course/: 16-failures.
 */
#include "nsqd/client/protocol_v2_params.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/client/protocol_v2_reply.h"
#include "protocol/byte_base10.h"

/* A command that begins so long before the answer of an auth server expires ends in time. */
#define AUTH_MARGIN_NS NSEC_PER_SEC

/* --- reading bodies ------------------------------------------------------------------------- */

enum bufio_result io_loop_read_len(struct io_loop *l, int32_t *n, struct err *err)
{
	unsigned char buf[4];
	enum bufio_result res = bufio_read_full(&l->client->reader, buf, sizeof(buf), err);
	*n = (int32_t)get_be32(buf);
	return res;
}

int io_loop_wait_for_rest(struct io_loop *l)
{
	l->waiting = true;
	return -1;
}

void io_loop_put_back_len(struct io_loop *l, int32_t n)
{
	unsigned char buf[4];
	put_be32(buf, (uint32_t)n);
	bufio_put_back(&l->client->reader, buf, sizeof(buf));
}

struct message_body *io_loop_read_body(struct io_loop *l, size_t size, struct err *err)
{
	struct message_body *body = message_body_new(size);
	enum bufio_result res = bufio_read_full(&l->client->reader, body->data, size, err);
	if (res == BUFIO_OK)
		return body;
	message_body_unref(body);
	l->waiting = res == BUFIO_IDLE;
	return NULL;
}

struct message_body *io_loop_read_message(struct io_loop *l, const char *cmd)
{
	int64_t max = nsqd_get_opts(l->ctx)->max_msg_size;
	struct err err UNINITIALIZED;
	int32_t size;
	enum bufio_result res = io_loop_read_len(l, &size, &err);
	if (res == BUFIO_IDLE)
		(void)io_loop_wait_for_rest(l);
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
	struct message_body *body = io_loop_read_body(l, (size_t)size, &err);
	if (l->waiting)
		io_loop_put_back_len(l, size);
	else if (!body)
		fatal_client_err(
			&l->error, err.msg, "E_BAD_MESSAGE", "%s failed to read message body", cmd);
	return body;
}

int io_loop_read_body_size(struct io_loop *l, const char *cmd, int32_t *size)
{
	int64_t max = nsqd_get_opts(l->ctx)->max_body_size;
	struct err err;
	enum bufio_result res = io_loop_read_len(l, size, &err);
	if (res == BUFIO_IDLE)
		return io_loop_wait_for_rest(l);
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

char *io_loop_read_command_body(struct io_loop *l, const char *cmd, int32_t *size)
{
	struct err err;
	if (io_loop_read_body_size(l, cmd, size) != 0)
		return NULL;
	char *body = xmalloc((size_t)*size);
	enum bufio_result res = bufio_read_full(&l->client->reader, body, (size_t)*size, &err);
	if (res == BUFIO_OK)
		return body;
	free(body);
	if (res == BUFIO_IDLE) {
		io_loop_put_back_len(l, *size);
		(void)io_loop_wait_for_rest(l);
	} else {
		fatal_client_err(&l->error, err.msg, "E_BAD_BODY", "%s failed to read body", cmd);
	}
	return NULL;
}

/* --- checks --------------------------------------------------------------------------------- */

int io_loop_bad_state(struct io_loop *l, const char *cmd)
{
	return fatal_client_err(&l->error, NULL, "E_INVALID", "cannot %s in current state", cmd);
}

int io_loop_bad_param(
	struct io_loop *l, const char *parent, const char *code, const char *text, struct param p)
{
	fatal_client_err(&l->error, parent, code, "%s", text);
	strbuf_add(&l->error.text, p.s, p.len);
	return -1;
}

int io_loop_bad_name(
	struct io_loop *l, const char *code, const char *cmd, const char *kind, struct param name)
{
	fatal_client_err(&l->error, NULL, code, "%s %s name ", cmd, kind);
	strbuf_addq(&l->error.text, name.s, name.len);
	strbuf_adds(&l->error.text, " is not valid");
	return -1;
}

int io_loop_check_topic_name(struct io_loop *l, const char *cmd, struct param name)
{
	return is_valid_topic_name(name.s, name.len)
		       ? 0
		       : io_loop_bad_name(l, "E_BAD_TOPIC", cmd, "topic", name);
}

void io_loop_copy_name(char out[NAME_SIZE], struct param name)
{
	CHECK(name.len < NAME_SIZE);
	memcpy(out, name.s, name.len);
	out[name.len] = '\0';
}

bool io_loop_is_auth_enabled(const struct io_loop *l)
{
	return nsqd_get_opts(l->ctx)->auth_http_addresses.n > 0;
}

bool io_loop_auth_may_block(const struct io_loop *l)
{
	const struct client_v2 *c = l->client;
	return io_loop_is_auth_enabled(l) && c->auth_state &&
	       auth_expires_within(c->auth_state, AUTH_MARGIN_NS);
}

int io_loop_auth_failed(struct io_loop *l, struct strbuf *why, bool log_again)
{
	nsqd_logf(l->ctx, LG_WARN, "PROTOCOL(V2): [%s] AUTH failed %s", l->client->remote_addr,
		why->data);
	fatal_client_err(&l->error, log_again ? why->data : NULL, "E_AUTH_FAILED", "AUTH failed");
	strbuf_free(why);
	return -1;
}

int io_loop_check_auth(
	struct io_loop *l, const char *cmd, const char *topic_name, const char *channel_name)
{
	struct client_v2 *c = l->client;
	struct strbuf why = STRBUF_INIT;
	if (!io_loop_is_auth_enabled(l))
		return 0;
	if (!client_v2_has_authorizations(c))
		return fatal_client_err(
			&l->error, NULL, "E_AUTH_FIRST", "AUTH required before %s", cmd);
	/* It may take a while: nothing is held back meanwhile. */
	if (auth_is_expired(c->auth_state) && io_loop_before_read(l, &l->failure) != 0)
		return -1;
	int allowed = client_v2_is_authorized(c, topic_name, channel_name, &why);
	if (allowed < 0)
		return io_loop_auth_failed(l, &why, false);
	if (allowed)
		return 0;
	/* Names are plain: %q only puts them between quotes. */
	return fatal_client_err(&l->error, NULL, "E_UNAUTHORIZED",
		"AUTH failed for %s on \"%s\" \"%s\"", cmd, topic_name, channel_name);
}

int io_loop_enforce_tls_policy(struct io_loop *l, struct param cmd)
{
	if (nsqd_get_opts(l->ctx)->tls_required == TLS_NOT_REQUIRED || client_v2_is_tls(l->client))
		return 0;
	io_loop_bad_param(l, NULL, "E_INVALID", "cannot ", cmd);
	strbuf_adds(&l->error.text, " in current state (TLS required)");
	return -1;
}

bool io_loop_parse_ms(struct param p, uint64_t *ms, int64_t *ns)
{
	if (!byte_to_base10(p.s, p.len, ms))
		return false;
	*ns = (int64_t)(*ms * (uint64_t)NSEC_PER_MSEC);
	return true;
}
