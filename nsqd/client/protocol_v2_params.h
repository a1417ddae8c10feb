/* SPDX-License-Identifier: MIT */
/*
 * The parameters and bodies of commands: reading them, and what is checked of them. Where it is not
 * said otherwise a function returns 0, or -1 (NULL) with l->error set. All of it runs in io_loop;
 * the reading blocks for the client.
 */
#ifndef NSQD_PROTOCOL_V2_PARAMS_H
#define NSQD_PROTOCOL_V2_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "nsqd/client/io_loop.h"
#include "protocol/bufio.h"

/* --- bodies ----------------------------------------------------------------------------------
 *
 * Where a body takes long the command is left as if it had not begun, and begun again when more of
 * it is here. Then l->waiting is set in place of l->error. Each function puts back what
 * it has read, the last part first. By then a command has done nothing but read, so it can be done
 * twice.
 */

/* Sets l->waiting. Returns -1. */
int io_loop_wait_for_rest(struct io_loop *l);
/* A length, or a count. As bufio_read_full, with err set. */
enum bufio_result io_loop_read_len(struct io_loop *l, int32_t *n, struct err *err);
void io_loop_put_back_len(struct io_loop *l, int32_t n);
/* size bytes as a new body, which is the caller's. NULL with err set, or l->waiting. */
struct message_body *io_loop_read_body(struct io_loop *l, size_t size, struct err *err);
/* The body of a PUB or DPUB, with its size in front; the caller's. */
struct message_body *io_loop_read_message(struct io_loop *l, const char *cmd);
/* The size of the body of an IDENTIFY, AUTH or MPUB. */
int io_loop_read_body_size(struct io_loop *l, const char *cmd, int32_t *size);
/* The body of an IDENTIFY or AUTH, with its size in front; the caller frees it. */
char *io_loop_read_command_body(struct io_loop *l, const char *cmd, int32_t *size);

/* --- errors: each returns -1 ------------------------------------------------------------------ */

int io_loop_bad_state(struct io_loop *l, const char *cmd);
/* A fatal error whose description is text and the parameter, with all bytes that this holds. */
int io_loop_bad_param(
	struct io_loop *l, const char *parent, const char *code, const char *text, struct param p);
/* kind is "topic" or "channel"; the name is shown as %q. */
int io_loop_bad_name(
	struct io_loop *l, const char *code, const char *cmd, const char *kind, struct param name);
/*
 * AUTH failed; why is logged, and freed. we don't want to leak errors contacting the auth server to
 * untrusted clients
 */
int io_loop_auth_failed(struct io_loop *l, struct strbuf *why, bool log_again);

/* --- checks ----------------------------------------------------------------------------------- */

int io_loop_check_topic_name(struct io_loop *l, const char *cmd, struct param name);
/* A valid name, as a C string. */
void io_loop_copy_name(char out[NAME_SIZE], struct param name);
/*
 * Milliseconds of a parameter as Go's time.Duration(n) * time.Millisecond: the product wraps.
 * Callers clamp it or check its range, as stock does. False: it is no number.
 */
bool io_loop_parse_ms(struct param p, uint64_t *ms, int64_t *ns);
/* IsAuthEnabled */
bool io_loop_is_auth_enabled(const struct io_loop *l);
/* Would a CheckAuth ask an auth server, now or in a moment? */
bool io_loop_auth_may_block(const struct io_loop *l);
/*
 * CheckAuth: if auth is enabled, the client must have authorized already. Compares topic and
 * channel ("": to publish) against cached authorization data (refetching if expired, which blocks
 * as client_v2_is_authorized does). -1 also where the connection is over, with l->pub_error or
 * l->failure set.
 */
int io_loop_check_auth(
	struct io_loop *l, const char *cmd, const char *topic_name, const char *channel_name);
/* enforceTLSPolicy, for all commands but IDENTIFY. */
int io_loop_enforce_tls_policy(struct io_loop *l, struct param cmd);

#endif
