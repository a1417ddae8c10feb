/* SPDX-License-Identifier: MIT */
/*
 * The head of an HTTP request. Mirrors readRequest of net/http's request.go and server.go,
 * ReadMIMEHeader of net/textproto's reader.go, and transfer.go. Threads: those of HTTP connections;
 * the caller keeps all state.
 *
 * The parser checks a line when it is complete. It checks a header when the first byte of the next
 * line shows that the header does not continue there. net/http refuses at the same points, in the
 * same order. Of the headers, the parser keeps only those that decide about the request.
 */
#include "protocol/http_head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/ascii.h"
#include "protocol/http_authorization.h"

/* numLeadingCRorLF looks for line ends in so many bytes in front of a request. */
#define MAX_SKIPPED 4

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

/* --- characters ------------------------------------------------------------------------------- */

struct span {
	const char *s;
	size_t len;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static struct span trim(struct span v)
{
	while (v.len > 0 && is_space(v.s[v.len - 1]))
		v.len--;
	while (v.len > 0 && is_space(*v.s)) {
		v.s++;
		v.len--;
	}
	return v;
}

/* Is s made of letters, digits and characters of others only? */
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

static bool is_text(struct span v, const char *text)
{
	return v.len == strlen(text) && strncasecmp(v.s, text, v.len) == 0;
}

/* Cuts the part in front of the next comma off v. False: v is at its end. */
static bool next_element(struct span *v, struct span *element)
{
	if (!v->s)
		return false;
	const char *comma = memchr(v->s, ',', v->len);
	size_t len = comma ? (size_t)(comma - v->s) : v->len;
	*element = trim((struct span){v->s, len});
	v->len = comma ? v->len - len - 1 : 0;
	v->s = comma ? comma + 1 : NULL;
	return true;
}

/* httpguts.HeaderValuesContainsToken, of one value. */
static bool contains_token(struct span v, const char *token)
{
	struct span element;
	while (next_element(&v, &element)) {
		if (is_text(element, token))
			return true;
	}
	return false;
}

static bool is_token_boundary(char c)
{
	return is_space(c) || c == ',';
}

/* net/http's own hasToken, which knows blanks as separators, too. */
static bool has_token(struct span v, const char *token)
{
	size_t n = strlen(token);
	for (size_t i = 0; i + n <= v.len; i++) {
		if ((i == 0 || is_token_boundary(v.s[i - 1])) &&
			(i + n == v.len || is_token_boundary(v.s[i + n])) &&
			strncasecmp(v.s + i, token, n) == 0)
			return true;
	}
	return false;
}

/* --- the first line --------------------------------------------------------------------------- */

static bool refuse(struct http_head *h, const struct http_refusal *why)
{
	h->refusal = why;
	return false;
}

/* ParseHTTPVersion */
static bool parse_version(struct http_head *h, struct span v)
{
	if (v.len != 8 || memcmp(v.s, "HTTP/", 5) != 0 || !ascii_is_digit(v.s[5]) ||
		v.s[6] != '.' || !ascii_is_digit(v.s[7]))
		return false;
	h->major = v.s[5] - '0';
	h->minor = v.s[7] - '0';
	return true;
}

/* The authority of a CONNECT is a URL without its scheme: it gets one. */
static struct span add_scheme(struct http_head *h, struct span raw)
{
	static const char scheme[] = "http://";
	size_t from = (size_t)(raw.s - h->first_line.data), at = h->first_line.len;
	strbuf_reserve(&h->first_line, sizeof(scheme) + raw.len);
	h->method = h->first_line.data;
	strbuf_adds(&h->first_line, scheme);
	strbuf_add(&h->first_line, h->first_line.data + from, raw.len);
	return (struct span){h->first_line.data + at, h->first_line.len - at};
}

static bool parse_target(struct http_head *h, struct span raw)
{
	h->is_server_target = raw.len == 1 && *raw.s == '*';
	if (strcmp(h->method, "CONNECT") == 0 && (raw.len == 0 || *raw.s != '/'))
		raw = add_scheme(h, raw);
	return url_parse_target(&h->target, raw.s, raw.len, &h->path);
}

static bool parse_first_line(struct http_head *h, struct span line)
{
	strbuf_reset(&h->first_line);
	strbuf_add(&h->first_line, line.s, line.len);
	char *s = h->first_line.data, *end = s + line.len;
	char *target = memchr(s, ' ', line.len);
	char *version = target ? memchr(target + 1, ' ', (size_t)(end - target - 1)) : NULL;
	if (!version || !http_is_token(s, (size_t)(target - s)))
		return refuse(h, &http_bad_request);
	*target++ = '\0';
	*version++ = '\0';
	h->method = s;
	if (!parse_version(h, (struct span){version, (size_t)(end - version)}) ||
		!parse_target(h, (struct span){target, (size_t)(version - 1 - target)}))
		return refuse(h, &http_bad_request);
	return true;
}

/* --- headers ---------------------------------------------------------------------------------- */

/*
 * parseContentLength. False: v is not a length. An empty one counts as absent (with the GODEBUG
 * settings of the Go releases that stock was made for).
 */
static bool parse_length(struct span v, int64_t *length)
{
	int64_t n = 0;
	for (size_t i = 0; i < v.len; i++) {
		if (!ascii_is_digit(v.s[i]) || __builtin_mul_overflow(n, 10, &n) ||
			__builtin_add_overflow(n, v.s[i] - '0', &n))
			return false;
	}
	*length = n;
	return true;
}

/* A second length must be the same: else a proxy might choose the other one. */
static void take_length(struct http_head *h, struct span v)
{
	v = trim(v);
	if (h->n_lengths++ == 0) {
		strbuf_add(&h->length_text, v.s, v.len);
		h->length_is_bad = !parse_length(v, &h->length);
	} else if (h->length_text.len != v.len ||
		   (v.len > 0 && memcmp(h->length_text.data, v.s, v.len) != 0)) {
		h->length_is_bad = true;
	}
}

static void take_connection(struct http_head *h, struct span v)
{
	if (contains_token(v, "close"))
		h->has_token_close = true;
	if (contains_token(v, "keep-alive"))
		h->has_token_keep_alive = true;
	if (h->n_connections++ > 0)
		return;
	h->wants_close = has_token(v, "close");
	h->wants_keep_alive = has_token(v, "keep-alive");
}

/* fixTrailer: a header that decides about the body cannot come behind it. */
static void take_trailer(struct http_head *h, struct span v)
{
	struct span name;
	h->n_trailers++;
	while (next_element(&v, &name)) {
		if (is_text(name, "Transfer-Encoding") || is_text(name, "Trailer") ||
			is_text(name, "Content-Length"))
			h->trailer_is_bad = true;
	}
}

static void take_header(struct http_head *h, struct span name, struct span v)
{
	if (is_text(name, "Host")) {
		h->n_hosts++;
		h->host_is_bad = !consists_of(v.s, v.len, "!$%&()*+,-.:;=['_]~");
	} else if (is_text(name, "Content-Length")) {
		take_length(h, v);
	} else if (is_text(name, "Transfer-Encoding")) {
		h->n_encodings++;
		h->encoding_is_chunked = is_text(v, "chunked");
	} else if (is_text(name, "Connection")) {
		take_connection(h, v);
	} else if (is_text(name, "Expect") && h->n_expects++ == 0) {
		h->expects_continue = has_token(v, "100-continue");
		h->expects_other = !h->expects_continue && v.len > 0;
	} else if (is_text(name, "Accept")) {
		http_accept_add(&h->accept, v.s, v.len);
	} else if (is_text(name, "Authorization")) {
		if (h->n_authorizations++ == 0 && v.len <= HTTP_AUTHORIZATION_MAX)
			strbuf_add(&h->authorization, v.s, v.len);
	} else if (is_text(name, "Trailer")) {
		take_trailer(h, v);
	}
}

static bool is_valid_value(struct span v)
{
	for (size_t i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.s[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/*
 * Parses a header with all of its lines. A blank within its name is refused late; until then it is
 * an unknown name.
 */
static bool parse_header(struct http_head *h, struct span line)
{
	const char *colon = memchr(line.s, ':', line.len);
	struct span name = {line.s, (size_t)(colon - line.s)};
	struct span value = {colon + 1, line.len - name.len - 1};
	if (name.len == 0 || !consists_of(name.s, name.len, TCHAR " ") || !is_valid_value(value))
		return refuse(h, &http_bad_request);
	while (value.len > 0 && is_space(*value.s)) {
		value.s++;
		value.len--;
	}
	h->has_headers = true;
	if (memchr(name.s, ' ', name.len))
		h->name_is_bad = true;
	else
		take_header(h, name, value);
	return true;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* parseTransferEncoding, fixLength. In HTTP/1.0 there are no chunks. */
static bool check_body(struct http_head *h)
{
	bool chunked = h->n_encodings > 0 && http_head_is_1_1(h);
	if (chunked && (h->n_encodings > 1 || !h->encoding_is_chunked))
		return refuse(h, &bad_encoding);
	if (h->length_is_bad || (chunked && h->trailer_is_bad))
		return refuse(h, &http_bad_request);
	h->ignored_encoding = h->n_encodings > 0 && !chunked;
	h->content_length = chunked ? -1 : h->n_lengths > 0 ? h->length : 0;
	return true;
}

/* shouldClose, wantsClose, wantsHttp10KeepAlive. */
static void decide_connection(struct http_head *h)
{
	bool is_1_0 = h->major == 1 && h->minor == 0;
	if (h->has_token_close || (is_1_0 && !h->has_token_keep_alive) || h->is_h2_preface)
		h->wants_close = true;
	h->wants_keep_alive = h->wants_keep_alive && is_1_0;
}

static bool check_head(struct http_head *h)
{
	if (h->n_hosts > 1)
		return refuse(h, &http_bad_request);
	if (!check_body(h))
		return false;
	bool is_preface = h->major == 2 && h->minor == 0 && strcmp(h->method, "PRI") == 0 &&
			  h->is_server_target;
	if (h->major != 1 && !is_preface)
		return refuse(h, &bad_version);
	h->is_h2_preface = is_preface && !h->has_headers;
	if (h->n_hosts == 0 && http_head_is_1_1(h) && !h->is_h2_preface &&
		strcmp(h->method, "CONNECT") != 0)
		return refuse(h, &no_host);
	if (h->host_is_bad)
		return refuse(h, &bad_host);
	if (h->name_is_bad)
		return refuse(h, &bad_name);
	decide_connection(h);
	return true;
}

/* --- lines ------------------------------------------------------------------------------------ */

static bool end_header(struct http_head *h)
{
	bool ok = !h->has_line || parse_header(h, (struct span){h->line.data, h->line.len});
	h->has_line = false;
	strbuf_reset(&h->line);
	h->part = 0;
	return ok;
}

/* Takes the line end, and blanks around the text, off the complete line behind part. */
static void trim_part(struct http_head *h)
{
	struct span v = trim((struct span){h->line.data + h->part, h->line.len - h->part});
	memmove(h->line.data + h->part, v.s, v.len);
	h->line.len = h->part + v.len;
	h->line.data[h->line.len] = '\0';
	h->has_line = true;
}

/* A line is complete, in `line` from part on. True: go on; else done or refused. */
static bool end_line(struct http_head *h, bool *done)
{
	if (h->line.len > h->part && h->line.data[h->line.len - 1] == '\r')
		h->line.data[--h->line.len] = '\0';
	struct span line = {h->line.data + h->part, h->line.len - h->part};
	if (!h->has_first_line) {
		bool ok = parse_first_line(h, line);
		h->has_first_line = true;
		strbuf_reset(&h->line);
		return ok;
	}
	if (h->part > 0) {
		trim_part(h);
		return true;
	}
	if (line.len == 0) {
		*done = true;
		return false;
	}
	if ((h->is_first_header && is_space(*line.s)) || !memchr(line.s, ':', line.len))
		return refuse(h, &http_bad_request);
	h->is_first_header = false;
	trim_part(h);
	return true;
}

/*
 * Takes the first byte of the line behind a header: a blank continues the header, else it ends
 * there. False: refused.
 */
static bool begin_line(struct http_head *h, char c)
{
	if (!is_space(c))
		return end_header(h);
	strbuf_addc(&h->line, ' ');
	h->part = h->line.len;
	h->has_line = false;
	return true;
}

static enum http_head_state result(const struct http_head *h, bool done)
{
	return h->refusal ? HTTP_HEAD_REFUSED : done ? HTTP_HEAD_DONE : HTTP_HEAD_MORE;
}

/* Takes data up to the end of one line, or all of it. */
static bool feed_line(struct http_head *h, const char *data, size_t n, size_t *taken, bool *done)
{
	const char *newline = memchr(data, '\n', n);
	*taken = newline ? (size_t)(newline - data) + 1 : n;
	if (*taken > h->max - h->size) {
		*taken = h->max - h->size;
		h->size = h->max;
		return refuse(h, &too_large);
	}
	h->size += *taken;
	strbuf_add(&h->line, data, newline ? *taken - 1 : *taken);
	return !newline || end_line(h, done);
}

enum http_head_state http_head_feed(struct http_head *h, const char *data, size_t n, size_t *used)
{
	size_t i = 0;
	bool done = false, go_on = true;
	for (; i < n && h->skip > 0; i++, h->size++) {
		if (data[i] != '\r' && data[i] != '\n') {
			h->skip = 0;
			break;
		}
		h->skip--;
	}
	while (go_on && i < n) {
		size_t taken = 0;
		go_on = (!h->has_line || begin_line(h, data[i])) &&
			feed_line(h, data + i, n - i, &taken, &done);
		i += taken;
	}
	if (done)
		(void)check_head(h);
	*used = i;
	return result(h, done);
}

bool http_trailer_is_valid(const char *data, size_t n)
{
	struct http_head h;
	size_t used;
	http_head_init(&h, n);
	h.has_first_line = true;
	h.method = "";
	bool valid = true, done = false;
	for (size_t i = 0; valid && !done && i < n; i += used) {
		used = 0;
		if (h.has_line && !begin_line(&h, data[i]))
			valid = false;
		else
			valid = feed_line(&h, data + i, n - i, &used, &done) || done;
	}
	valid = valid && done && h.size == n;
	http_head_free(&h);
	return valid;
}

/* --- life ------------------------------------------------------------------------------------- */

void http_head_init(struct http_head *h, size_t max)
{
	*h = (struct http_head){.max = max, .is_first_header = true};
}

void http_head_free(struct http_head *h)
{
	strbuf_free(&h->first_line);
	strbuf_free(&h->path);
	strbuf_free(&h->line);
	strbuf_free(&h->length_text);
	strbuf_wipe(&h->authorization);
}

/* A buffer that grew large for one request is not kept for the following ones. */
static struct strbuf emptied(struct strbuf sb)
{
	enum { KEEP = 1024 };
	if (sb.cap > KEEP)
		strbuf_free(&sb);
	else
		strbuf_reset(&sb);
	return sb;
}

void http_head_reset(struct http_head *h, bool after_post)
{
	strbuf_wipe(&h->authorization);
	*h = (struct http_head){
		.max = h->max,
		.skip = after_post ? MAX_SKIPPED : 0,
		.is_first_header = true,
		.first_line = emptied(h->first_line),
		.path = emptied(h->path),
		.line = emptied(h->line),
		.length_text = emptied(h->length_text),
	};
}
