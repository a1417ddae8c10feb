/* SPDX-License-Identifier: MIT */
/*
 * Requests that are none: mirrors what conn.serve and readRequest of net/http
 * (server.go, request.go, transfer.go) say to them. Runs in the connection's thread.
 */
#include "nsqd/http_refuse.h"

#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/ascii.h"
#include "common/clock.h"

/* rstAvoidanceDelay */
#define RST_AVOIDANCE_NS (500 * NSEC_PER_MSEC)

const struct http_refusal http_bad_request = {.status = "400 Bad Request"};

static const struct http_refusal no_host = {
	.status = "400 Bad Request: missing required Host header"};
static const struct http_refusal bad_host = {.status = "400 Bad Request: malformed Host header"};
static const struct http_refusal bad_name = {.status = "400 Bad Request: invalid header name"};
static const struct http_refusal too_large = {.status = "431 Request Header Fields Too Large"};
static const struct http_refusal bad_encoding = {
	.status = "501 Not Implemented", .text = "Unsupported transfer encoding"};
static const struct http_refusal bad_version = {
	.status = "505 HTTP Version Not Supported: unsupported protocol version"};

const struct http_refusal *http_refusal_for(unsigned status)
{
	if (status == MHD_HTTP_URI_TOO_LONG || status == MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE)
		return &too_large;
	return status == MHD_HTTP_HTTP_VERSION_NOT_SUPPORTED ? &bad_version : &http_bad_request;
}

/* --- the head ------------------------------------------------------------------------------- */

/* Are these all of them letters, digits or one of others? */
static bool consists_of(const char *s, size_t len, const char *others)
{
	for (size_t i = 0; i < len; i++) {
		if (!ascii_is_alnum(s[i]) && (!s[i] || !strchr(others, s[i])))
			return false;
	}
	return true;
}

/* The marks of a token. */
#define TCHAR "!#$%&'*+-.^_`|~"

bool http_is_token(const char *s, size_t len)
{
	return len > 0 && consists_of(s, len, TCHAR);
}

struct head {
	size_t n_hosts, n_encodings;
	const char *length;                             /* Content-Length; NULL: none yet */
	const struct http_refusal *plain, *host, *name; /* the first of each kind */
};

static void check_name(struct head *h, const char *name, size_t len)
{
	if (len == 0 || *name == ' ' || *name == '\t' || !consists_of(name, len, TCHAR " "))
		h->plain = &http_bad_request;
	else if (memchr(name, ' ', len))
		h->name = &bad_name;
}

static void check_value(struct head *h, const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)value[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			h->plain = &http_bad_request;
	}
}

static bool is_named(const char *name, size_t len, const char *wanted)
{
	return len == strlen(wanted) && strncasecmp(name, wanted, len) == 0;
}

static void check_meaning(
	struct head *h, const char *name, size_t name_len, const char *value, size_t len)
{
	if (is_named(name, name_len, "Host")) {
		if (++h->n_hosts > 1)
			h->plain = &http_bad_request;
		if (!consists_of(value, len, "!$%&()*+,-.:;=['_]~"))
			h->host = &bad_host;
	} else if (is_named(name, name_len, "Content-Length")) {
		/* Who believes the other one finds another request in the body. */
		if (h->length && strcmp(h->length, value) != 0)
			h->plain = &http_bad_request;
		h->length = value;
	} else if (is_named(name, name_len, "Transfer-Encoding")) {
		if (++h->n_encodings > 1 || !is_named(value, len, "chunked"))
			h->plain = &bad_encoding;
	}
}

/* MHD_KeyValueIteratorN */
static enum MHD_Result check_header(void *cls, enum MHD_ValueKind kind, const char *name,
	size_t name_len, const char *value, size_t len)
{
	struct head *h = cls;
	(void)kind;
	if (!value) {
		value = "";
		len = 0;
	}
	check_name(h, name, name_len);
	check_value(h, value, len);
	check_meaning(h, name, name_len, value, len);
	return h->plain ? MHD_NO : MHD_YES;
}

const struct http_refusal *http_check_head(
	struct MHD_Connection *mc, const char *method, const char *version)
{
	struct head h = {0};
	bool http_1_0 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
	if (!http_is_token(method, strlen(method)))
		return &http_bad_request;
	MHD_get_connection_values_n(mc, MHD_HEADER_KIND, check_header, &h);
	if (h.plain)
		return h.plain;
	if (h.n_hosts == 0 && !http_1_0 && strcmp(method, MHD_HTTP_METHOD_CONNECT) != 0)
		return &no_host;
	return h.host ? h.host : h.name;
}

/* --- the answer ----------------------------------------------------------------------------- */

void http_refuse(int fd, gnutls_session_t session, const struct http_refusal *why)
{
	char answer[300];
	int n = snprintf(answer, sizeof(answer),
		"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: "
		"close\r\n\r\n%s",
		why->status, why->text ? why->text : why->status);
	/* Whoever has left no room for that has not read the answers to what came before. */
	if (session) {
		(void)gnutls_record_send(session, answer, (size_t)n);
		(void)gnutls_bye(session, GNUTLS_SHUT_WR);
	} else {
		(void)!send(fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	shutdown(fd, SHUT_WR);
}

void http_await_close(int fd)
{
	char buf[16384];
	int64_t deadline = clock_mono_ns() + RST_AVOIDANCE_NS;
	int left_ms;
	while ((left_ms = clock_msec_until(deadline)) > 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, left_ms) < 1 || recv(fd, buf, sizeof(buf), MSG_DONTWAIT) <= 0)
			return;
	}
}
