/* SPDX-License-Identifier: MIT */
/* What a client may do, as an auth server says (internal/auth/authorizations.go). */
#ifndef NSQD_AUTH_H
#define NSQD_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/regex.h"
#include "common/strbuf.h"
#include "nsqd/core/context.h"
#include "nsqd/core/options.h"

/* How many decisions a client's state remembers at most. */
#define AUTH_DECISIONS 64

struct auth_decision;

/* A regular expression: a piece of auth_state.texts. */
struct auth_pattern {
	uint32_t at;
	uint32_t len;
};

struct auth_authorization {
	struct auth_pattern topic;
	uint32_t channels; /* the first of auth_state.patterns */
	uint32_t n_channels;
	bool may_subscribe;
	bool may_publish;
};

/* auth.State: belongs to one client, whose io_loop alone uses it (but for the identity). */
struct auth_state {
	struct auth_authorization *authorizations; /* owned */
	size_t n_authorizations;
	struct auth_pattern *patterns; /* owned; of the channels */
	size_t n_patterns;
	size_t cap_patterns;
	struct strbuf texts; /* of all patterns; may have zeroes in it */
	struct auth_decision *decisions[AUTH_DECISIONS]; /* owned, NULL where there is none */
	struct strbuf identity;                          /* immutable, as is the next */
	struct strbuf identity_url;
	int64_t ttl;        /* seconds, > 0 */
	int64_t expires_ns; /* on the monotonic clock */
};

/* The client that asks. All borrowed. */
struct auth_request {
	const char *remote_ip; /* "" for a unix socket */
	bool tls_enabled;
	const char *common_name; /* of the client's certificate, or "" */
	const char *secret;
	size_t secret_len;
};

/*
 * QueryAnyAuthd: asks the servers of --auth-http-address one after the other, beginning with any,
 * until one has an answer that can be used. Blocks for up to --http-client-request-timeout each;
 * the daemon's exit ends it. NULL: the reasons are in why (without the secret), which was empty;
 * else why is empty.
 */
struct auth_state *auth_query_any(
	struct context *ctx, const struct auth_request *request, struct strbuf *why);
/* The answer of a server, checked. NULL with err set. */
struct auth_state *auth_state_decode(const char *json, size_t len, struct err *err);
/* NULL is fine. */
void auth_state_free(struct auth_state *s);

/*
 * IsAllowed: to subscribe to the channel; to publish, if channel is "". Remembers what it has said
 * of publishing to the last topics.
 */
bool auth_is_allowed(struct auth_state *s, const char *topic, const char *channel);
bool auth_is_expired(const struct auth_state *s);
/* Will it be in so many ns? */
bool auth_expires_within(const struct auth_state *s, int64_t ns);

/*
 * buildClientTLSConfig's check of --tls-root-ca-file: -1 with err set to stock's text. Reads the
 * file.
 */
int auth_check_root_ca(const struct options *opts, struct err *err);

#endif
