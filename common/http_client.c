/* SPDX-License-Identifier: MIT */
/*
 * Requests and dialling through libcurl. Mirrors internal/http_api/api_request.go
 * and the part of net/http below it. Runs in the threads of lookup_loop, of
 * clients (auth) and of whoever creates a topic.
 *
 * Differences: the connect timeout covers the TLS handshake; errors do not show
 * the query of the URL, which has a client's secret in it; a response has a
 * limit; a name server that does not answer holds up nobody (curl asks it in a
 * thread of its own, which it leaves behind when the time is over).
 */
#include "common/http_client.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/version.h"
#include "common/xalloc.h"

/* More than any list of channels or permissions: what is larger is not for us. */
#define MAX_BODY ((size_t)64 * 1024 * 1024)
#define MAX_REDIRECTS 10L
#define OK_STATUS 200
#define FORBIDDEN_STATUS 403
/* The longest that one wait for network and cancel_fd takes; curl has its own, shorter ones. */
#define WAIT_MS 10000

/* One transfer of libcurl's. */
struct transfer {
	CURL *easy;
	struct http_client_call *call; /* borrowed */
	char *url;                     /* owned */
	struct curl_slist *headers;
	char status[128]; /* "500 Internal Server Error" */
	bool too_large;   /* the body is beyond the limit */
	bool done;        /* result counts */
	CURLcode result;
	char error[CURL_ERROR_SIZE];
};

void http_client_global_init(void)
{
	CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

/* --- one transfer --------------------------------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	if (t->call->body.len + size * n > MAX_BODY) {
		t->too_large = true;
		return 0;
	}
	strbuf_add(&t->call->body, data, size * n);
	return size * n;
}

/* Keeps what follows the version in the last status line (there are several with redirects). */
static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;
	const char *blank = memchr(data, ' ', len);
	if (len < 5 || memcmp(data, "HTTP/", 5) != 0 || !blank)
		return len;
	size_t rest = len - (size_t)(blank + 1 - data);
	while (rest > 0 && strchr("\r\n ", blank[rest]))
		rest--;
	if (rest >= sizeof(t->status))
		rest = sizeof(t->status) - 1;
	memcpy(t->status, blank + 1, rest);
	t->status[rest] = '\0';
	strbuf_reset(&t->call->body);
	return len;
}

static long to_ms(int64_t ns)
{
	/* What is less than a millisecond must not become "for ever". */
	return ns > 0 && ns < NSEC_PER_MSEC ? 1 : (long)(ns / NSEC_PER_MSEC);
}

/* Options fail for want of memory, or in a libcurl that is not the one that we were built for. */
#define SET(easy, option, value) CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK)

static CURL *new_easy(int64_t connect_timeout_ns, char *error)
{
	CURL *easy = curl_easy_init();
	CHECK(easy != NULL);
	SET(easy, CURLOPT_NOSIGNAL, 1L);
	SET(easy, CURLOPT_ERRORBUFFER, error);
	SET(easy, CURLOPT_CONNECTTIMEOUT_MS, to_ms(connect_timeout_ns));
	/* Stock's transport asks no proxy. */
	SET(easy, CURLOPT_PROXY, "");
#if LIBCURL_VERSION_NUM >= 0x075700
	/* The end does not wait for a name server. */
	SET(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	return easy;
}

static void set_tls(CURL *easy, const struct http_client *c)
{
	static const long versions[] = {
		CURL_SSLVERSION_TLSv1_0,
		CURL_SSLVERSION_TLSv1_1,
		CURL_SSLVERSION_TLSv1_2,
		CURL_SSLVERSION_TLSv1_3,
	};
	if (c->tls_min_version >= 0x0301 && c->tls_min_version <= 0x0304)
		SET(easy, CURLOPT_SSLVERSION, versions[c->tls_min_version - 0x0301]);
	if (c->ca_file && *c->ca_file) {
		SET(easy, CURLOPT_CAINFO, c->ca_file);
		SET(easy, CURLOPT_CAPATH, NULL);
	}
}

static void start_transfer(struct transfer *t, const struct http_client *c, CURLM *multi)
{
	CURL *easy = t->easy = new_easy(c->connect_timeout_ns, t->error);
	t->headers = curl_slist_append(NULL, "Accept: application/vnd.nsq; version=1.0");
	if (t->call->json)
		t->headers = curl_slist_append(t->headers, "Content-Type: application/json");
	CHECK(t->headers != NULL);
	SET(easy, CURLOPT_TIMEOUT_MS, to_ms(c->request_timeout_ns));
	SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	SET(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	SET(easy, CURLOPT_URL, t->url);
	SET(easy, CURLOPT_HTTPHEADER, t->headers);
	SET(easy, CURLOPT_USERAGENT, PRODUCT_NAME "/" PRODUCT_VERSION);
	SET(easy, CURLOPT_FOLLOWLOCATION, 1L);
	SET(easy, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
	SET(easy, CURLOPT_WRITEFUNCTION, on_body);
	SET(easy, CURLOPT_WRITEDATA, t);
	SET(easy, CURLOPT_HEADERFUNCTION, on_header);
	SET(easy, CURLOPT_HEADERDATA, t);
	SET(easy, CURLOPT_PRIVATE, t);
	if (t->call->json)
		SET(easy, CURLOPT_POSTFIELDS, t->call->json);
	set_tls(easy, c);
	CHECK(curl_multi_add_handle(multi, easy) == CURLM_OK);
}

/* --- waiting -------------------------------------------------------------------------------- */

static void collect(CURLM *multi)
{
	CURLMsg *msg;
	int left;
	while ((msg = curl_multi_info_read(multi, &left)) != NULL) {
		char *private = NULL;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
		struct transfer *t = (struct transfer *)private;
		t->done = true;
		t->result = msg->data.result;
	}
}

/* Drives all transfers to their ends; what is cancelled stays not done. */
static void run(CURLM *multi, int cancel_fd)
{
	struct curl_waitfd cancel = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};
	int running = 1;
	for (;;) {
		CHECK(curl_multi_perform(multi, &running) == CURLM_OK);
		collect(multi);
		if (running == 0)
			return;
		cancel.revents = 0;
		unsigned extra = cancel_fd >= 0 ? 1 : 0;
		CHECK(curl_multi_poll(multi, extra ? &cancel : NULL, extra, WAIT_MS, NULL) ==
			CURLM_OK);
		if (cancel.revents != 0)
			return;
	}
}

/* --- results -------------------------------------------------------------------------------- */

/* Why a transfer failed, in Go's words where there are some. */
static void set_reason(CURL *easy, CURLcode result, bool done, const char *text, struct err *err)
{
	long os_errno = 0;
	if (!done) {
		err_set(err, ECANCELED, "canceled");
		return;
	}
	curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno);
	if (result == CURLE_OPERATION_TIMEDOUT)
		err_set(err, ETIMEDOUT, "i/o timeout");
	else if (result == CURLE_COULDNT_CONNECT && os_errno != 0)
		err_errno(err, (int)os_errno, "connect");
	else
		err_set(err, 0, "%s", *text ? text : curl_easy_strerror(result));
}

static void fail(struct transfer *t)
{
	struct http_client_call *call = t->call;
	if (t->too_large)
		err_set(&call->err, 0, "response body larger than %zu bytes", MAX_BODY);
	else
		set_reason(t->easy, t->result, t->done, t->error, &call->err);
	err_wrap(&call->err, "%s \"%.*s\": ", call->json ? "Post" : "Get",
		(int)strcspn(t->url, "?"), t->url);
}

static bool is_https(const char *url)
{
	return strncmp(url, "https", 5) == 0;
}

/* httpsEndpoint: where a 403 says that the same is to be had with TLS. NULL with err set. */
static char *https_endpoint(const char *url, const struct strbuf *body, struct err *err)
{
	char port[16], *found = NULL, *out = NULL;
	cJSON *json = cJSON_ParseWithLength(body->data ? body->data : "", body->len);
	const cJSON *field = cJSON_GetObjectItem(json, "https_port");
	int number = cJSON_IsNumber(field) ? field->valueint : 0;
	bool ok = json != NULL;
	cJSON_Delete(json);
	if (!ok) {
		err_set(err, 0, "got response 403, which names no https_port");
		return NULL;
	}
	CURLU *u = curl_url();
	CHECK(u != NULL);
	snprintf(port, sizeof(port), "%d", number);
	if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
		curl_url_get(u, CURLUPART_PORT, &found, 0) != CURLUE_OK ||
		curl_url_set(u, CURLUPART_SCHEME, "https", 0) != CURLUE_OK ||
		curl_url_set(u, CURLUPART_PORT, port, 0) != CURLUE_OK ||
		curl_url_get(u, CURLUPART_URL, &out, 0) != CURLUE_OK)
		err_set(err, 0, "got response 403, and cannot use port %d", number);
	char *copy = out ? xstrdup(out) : NULL;
	curl_free(found);
	curl_free(out);
	curl_url_cleanup(u);
	return copy;
}

/* Judges a transfer that is over; true: t->url is a new one, to be tried. */
static bool finish(struct transfer *t)
{
	struct http_client_call *call = t->call;
	long status = 0;
	if (!t->done || t->result != CURLE_OK) {
		fail(t);
		return false;
	}
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == OK_STATUS) {
		call->ok = true;
		return false;
	}
	if (status == FORBIDDEN_STATUS && !is_https(t->url)) {
		char *url = https_endpoint(t->url, &call->body, &call->err);
		free(t->url);
		t->url = url;
		return url != NULL;
	}
	struct strbuf text = STRBUF_INIT;
	strbuf_addf(&text, "got response %s ", t->status);
	strbuf_addq(&text, call->body.data ? call->body.data : "", call->body.len);
	err_set(&call->err, 0, "%s", text.data);
	strbuf_free(&text);
	return false;
}

static void end_transfer(struct transfer *t, CURLM *multi)
{
	curl_multi_remove_handle(multi, t->easy);
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	t->easy = NULL;
	t->headers = NULL;
}

static CURLM *new_multi(void)
{
	CURLM *multi = curl_multi_init();
	CHECK(multi != NULL);
	return multi;
}

void http_client_do(const struct http_client *c, struct http_client_call *calls, size_t n)
{
	struct transfer *ts = xcalloc(n + 1, sizeof(*ts));
	CURLM *multi = new_multi();
	for (size_t i = 0; i < n; i++) {
		ts[i].call = &calls[i];
		ts[i].url = xstrdup(calls[i].url);
		calls[i].ok = false;
		start_transfer(&ts[i], c, multi);
	}
	run(multi, c->cancel_fd);
	/* With https the second answer is the last. */
	for (size_t i = 0; i < n; i++) {
		bool again = finish(&ts[i]);
		end_transfer(&ts[i], multi);
		if (again) {
			struct transfer second = {.call = ts[i].call, .url = ts[i].url};
			strbuf_reset(&second.call->body);
			start_transfer(&second, c, multi);
			run(multi, c->cancel_fd);
			finish(&second);
			end_transfer(&second, multi);
			ts[i].url = second.url;
		}
		free(ts[i].url);
	}
	curl_multi_cleanup(multi);
	free(ts);
}

void http_client_query_escape(struct strbuf *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || (c != '\0' && strchr("-_.~", c));
		if (plain)
			strbuf_addc(out, (char)c);
		else if (c == ' ')
			strbuf_addc(out, '+');
		else
			strbuf_addf(out, "%%%02X", c);
	}
}

/* --- dialling ------------------------------------------------------------------------------- */

/* A descriptor that outlives curl's, which curl closes with its handle. */
static int take_socket(CURL *easy, struct err *err)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
		fd == CURL_SOCKET_BAD)
		return err_set(err, 0, "no connection");
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return err_errno(err, errno, "dup");
	CHECK(fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK) == 0);
	return copy;
}

/* net.SplitHostPort's demand: libcurl would take port 80 where there is none. */
static bool has_port(const char *address)
{
	const char *colon = strrchr(address, ':'), *bracket = strrchr(address, ']');
	return colon && colon[1] && (!bracket || bracket < colon);
}

int http_client_dial(const char *address, int64_t timeout_ns, int cancel_fd, struct err *err)
{
	if (!has_port(address))
		return err_set(err, 0, "dial tcp: address %s: missing port in address", address);
	struct transfer t = {0};
	int fd = -1;
	/* As in Go, no host is this one. */
	t.url = xasprintf("http://%s%s", *address == ':' ? "localhost" : "", address);
	CURLM *multi = new_multi();
	CURL *easy = t.easy = new_easy(timeout_ns, t.error);
	SET(easy, CURLOPT_PROTOCOLS_STR, "http");
	SET(easy, CURLOPT_URL, t.url);
	SET(easy, CURLOPT_CONNECT_ONLY, 1L);
	SET(easy, CURLOPT_PRIVATE, &t);
	CHECK(curl_multi_add_handle(multi, easy) == CURLM_OK);
	run(multi, cancel_fd);
	if (t.done && t.result == CURLE_OK)
		fd = take_socket(easy, err);
	else
		set_reason(easy, t.result, t.done, t.error, err);
	if (fd < 0)
		err_wrap(err, "dial tcp %s: ", address);
	end_transfer(&t, multi);
	curl_multi_cleanup(multi);
	free(t.url);
	return fd;
}
