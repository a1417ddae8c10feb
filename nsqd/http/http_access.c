/* SPDX-License-Identifier: MIT */
/*
 * --http-auth-file and --http-readonly-address. No Go file: stock lets everybody do everything by
 * HTTP. Runs at the pollers, and in the connections' threads.
 */
#include "nsqd/http/http_access.h"

#include "nsqd/core/tls_config.h"
#include "protocol/http_authorization.h"

/* Of two headers a proxy may have looked at the other one: so these are none. */
static unsigned scopes_of_token(const struct http_conn *c)
{
	char token[HTTP_TOKEN_MAX];
	const struct http_head *h = &c->head;
	if (h->n_authorizations != 1 || h->authorization.len == 0)
		return 0;
	size_t len = http_authorization_token(h->authorization.data, h->authorization.len, token);
	return len > 0 ? http_tokens_find(c->server->daemon->tokens, token, len) : 0;
}

/* Anybody can make a certificate of any name: only one that has been verified counts. */
static unsigned scopes_of_certificate(const struct http_conn *c)
{
	if (c->stream == c->sock ||
		c->tls_config->server.client_auth != TLS_REQUIRE_AND_VERIFY_CLIENT_CERT)
		return 0;
	return http_tokens_find_certificate(
		c->server->daemon->tokens, stream_tls_info(c->stream)->common_name);
}

enum http_access http_access_check(const struct http_conn *c)
{
	const struct http_route *route = c->match.route;
	if (c->server->is_readonly)
		return route->flags & HTTP_PUBLIC ? HTTP_GRANTED : HTTP_FORBIDDEN;
	if (route->scope == HTTP_OPEN || !*nsqd_get_opts(c->server->daemon->ctx)->http_auth_file)
		return HTTP_GRANTED;
	unsigned scopes = scopes_of_token(c) | scopes_of_certificate(c);
	if (scopes & route->scope)
		return HTTP_GRANTED;
	return scopes ? HTTP_FORBIDDEN : HTTP_UNAUTHORIZED;
}
