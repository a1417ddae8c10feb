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
#include "nsqd/options.h"

struct nsqd;

struct auth_authorization {
	struct regex *topic;     /* owned */
	struct regex **channels; /* owned, each too */
	size_t n_channels;
	bool may_subscribe;
	bool may_publish;
};

/* auth.State: belongs to one client; its regexes serve one thread at a time. */
struct auth_state {
	struct auth_authorization *authorizations; /* owned */
	size_t n_authorizations;
	char *identity;     /* owned, never NULL, as is the next */
	char *identity_url; /* owned */
	int64_t ttl;        /* seconds, > 0 */
	int64_t expires_ns; /* on the monotonic clock */
};

/* Who asks. All borrowed. */
struct auth_request {
	const char *remote_ip; /* "" for a unix socket */
	bool tls_enabled;
	const char *common_name; /* of the client's certificate, or "" */
	const char *secret;
	size_t secret_len;
};

/*
 * QueryAnyAuthd: asks the servers of --auth-http-address one after the other,
 * beginning with any, until one has an answer that can be used. Blocks for up to
 * --http-client-request-timeout each; the daemon's exit ends it. NULL: the
 * reasons are appended to why (without the secret).
 */
struct auth_state *auth_query_any(
	struct nsqd *n, const struct auth_request *request, struct strbuf *why);
/* The answer of a server, checked. NULL with err set. */
struct auth_state *auth_state_decode(const char *json, size_t len, struct err *err);
/* NULL is fine. */
void auth_state_free(struct auth_state *s);

/* IsAllowed: to subscribe to the channel; to publish, if channel is "". */
bool auth_is_allowed(const struct auth_state *s, const char *topic, const char *channel);
bool auth_is_expired(const struct auth_state *s);

/*
 * buildClientTLSConfig's check of --tls-root-ca-file: -1 with err set to stock's text. Reads the
 * file.
 */
int auth_check_root_ca(const struct options *opts, struct err *err);

#endif
