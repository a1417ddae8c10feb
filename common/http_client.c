/* SPDX-License-Identifier: MIT */
/*
 * Requests and dialling through libcurl. Mirrors internal/http_api/api_request.go and the part of
 * net/http below it. Threads: lookup, the io_loops of clients (auth), and any that creates a topic.
 *
 * Differences: the connect timeout covers the TLS handshake. Errors do not show the query of the
 * URL, which contains a client's secret. The size of a response is limited. curl asks a name server
 * in a thread of its own, and leaves that thread behind when the time is over: no caller waits for
 * a name server that does not answer.
 *
 * URLs, addresses, times and answers come from outside. So if libcurl refuses one, that is an error
 * for the caller, and never a CHECK. libcurl wipes all memory that it gives back, since requests
 * contain clients' secrets.
 */
#include "common/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/runnext.h"
#include "common/version.h"
#include "common/xalloc.h"

/* More than any list of channels or permissions has. */
#define MAX_BODY ((size_t)64 * 1024 * 1024)
#define MAX_REDIRECTS 9L /* net/http stops after 10 requests */
/* CURL_MAX_INPUT_LENGTH, a constant inside libcurl. */
#define MAX_URL ((size_t)8000000)
#define OK_STATUS 200
#define FORBIDDEN_STATUS 403
/* The longest wait for network and cancel_fd at a time; curl's own timers may end it sooner. */
#define WAIT_MS 10000

/* One transfer of libcurl's. */
struct transfer {
	CURL *easy;
	struct http_client_call *call; /* borrowed */
	char *url;                     /* owned */
	struct curl_slist *headers;
	CURLcode setup;   /* the first option that was refused, or CURLE_OK */
	char status[128]; /* "500 Internal Server Error" */
	bool too_large;   /* the body is beyond the limit */
	bool done;        /* result counts */
	CURLcode result;
	const char *why; /* not done: static text */
	char error[CURL_ERROR_SIZE];
};

/* --- libcurl's memory ------------------------------------------------------------------------- */

static void wiping_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

/* Not by realloc, which leaves a copy behind. */
static void *wiping_realloc(void *old, size_t size)
{
	void *p = xmalloc(size);
	size_t had = old ? malloc_usable_size(old) : 0;
	if (old)
		memcpy(p, old, had < size ? had : size);
	wiping_free(old);
	return p;
}

int http_client_global_init(struct err *err)
{
	CURLcode rc = curl_global_init_mem(
		CURL_GLOBAL_DEFAULT, xmalloc, wiping_free, wiping_realloc, xstrdup, xcalloc);
	if (rc != CURLE_OK)
		return err_set(err, 0, "libcurl: %s", curl_easy_strerror(rc));
	return 0;
}

/* --- one transfer ----------------------------------------------------------------------------- */

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

/* Keeps the status of the last status line (redirects bring several). */
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

/* Cuts off at libcurl's maximum, 24 days. */
static long to_ms(int64_t ns)
{
	/* Less than a millisecond must not become 0, which means "for ever". */
	if (ns > 0 && ns < NSEC_PER_MSEC)
		return 1;
	return ns / NSEC_PER_MSEC > INT_MAX ? INT_MAX : (long)(ns / NSEC_PER_MSEC);
}

/* Keeps the first refusal, and tries nothing after it. */
#define SET(t, option, value)                                                                      \
	((t)->setup = (t)->setup != CURLE_OK ? (t)->setup                                          \
					     : curl_easy_setopt((t)->easy, option, value))

/* If libcurl has no memory, the transfer has failed already. */
static void new_easy(struct transfer *t, int64_t connect_timeout_ns)
{
	t->easy = curl_easy_init();
	t->setup = t->easy ? CURLE_OK : CURLE_FAILED_INIT;
	SET(t, CURLOPT_NOSIGNAL, 1L);
	SET(t, CURLOPT_ERRORBUFFER, t->error);
	/* A negative time is over at once, as net.Dialer's is. */
	SET(t, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ns < 0 ? 1L : to_ms(connect_timeout_ns));
	/* Stock's transport asks no proxy. */
	SET(t, CURLOPT_PROXY, "");
	SET(t, CURLOPT_PRIVATE, t);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* The end of a transfer does not wait for a name server. */
	SET(t, CURLOPT_QUICK_EXIT, 1L);
#endif
}

/* Starts the transfer, unless libcurl has refused an option. */
static void start(struct transfer *t, CURLM *multi)
{
	t->why = "libcurl: out of handles";
	if (t->setup == CURLE_OK && curl_multi_add_handle(multi, t->easy) == CURLM_OK)
		return;
	t->done = t->setup != CURLE_OK;
	t->result = t->setup;
}

static void set_tls(struct transfer *t, const struct http_client *c)
{
	static const long versions[] = {
		CURL_SSLVERSION_TLSv1_0,
		CURL_SSLVERSION_TLSv1_1,
		CURL_SSLVERSION_TLSv1_2,
		CURL_SSLVERSION_TLSv1_3,
	};
	if (c->tls_min_version >= 0x0301 && c->tls_min_version <= 0x0304)
		SET(t, CURLOPT_SSLVERSION, versions[c->tls_min_version - 0x0301]);
	if (c->ca_file && *c->ca_file) {
		SET(t, CURLOPT_CAINFO, c->ca_file);
		SET(t, CURLOPT_CAPATH, NULL);
	}
}

static void add_header(struct transfer *t, const char *header)
{
	struct curl_slist *more = curl_slist_append(t->headers, header);
	if (more)
		t->headers = more;
	else
		t->setup = CURLE_OUT_OF_MEMORY;
}

/* libcurl would only say that an argument is bad. */
static void set_url(struct transfer *t)
{
	size_t len = strlen(t->url);
	if (len > MAX_URL && t->setup == CURLE_OK) {
		snprintf(t->error, sizeof(t->error), "URL of %zu bytes is too long", len);
		t->setup = CURLE_URL_MALFORMAT;
	}
	SET(t, CURLOPT_URL, t->url);
}

static void start_transfer(struct transfer *t, const struct http_client *c, CURLM *multi)
{
	new_easy(t, c->connect_timeout_ns);
	add_header(t, "Accept: application/vnd.nsq; version=1.0");
	if (t->call->json)
		add_header(t, "Content-Type: application/json");
	/* http.Client: a negative time is no limit. */
	SET(t, CURLOPT_TIMEOUT_MS, c->request_timeout_ns < 0 ? 0L : to_ms(c->request_timeout_ns));
	SET(t, CURLOPT_PROTOCOLS_STR, "http,https");
	SET(t, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	set_url(t);
	SET(t, CURLOPT_HTTPHEADER, t->headers);
	SET(t, CURLOPT_USERAGENT, PRODUCT_NAME "/" PRODUCT_VERSION);
	/* net/http does the same without being asked. */
	SET(t, CURLOPT_ACCEPT_ENCODING, "gzip");
	SET(t, CURLOPT_FOLLOWLOCATION, 1L);
	SET(t, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
	SET(t, CURLOPT_WRITEFUNCTION, on_body);
	SET(t, CURLOPT_WRITEDATA, t);
	SET(t, CURLOPT_HEADERFUNCTION, on_header);
	SET(t, CURLOPT_HEADERDATA, t);
	if (t->call->json)
		SET(t, CURLOPT_POSTFIELDS, t->call->json);
	set_tls(t, c);
	start(t, multi);
}

/* --- waiting ---------------------------------------------------------------------------------- */

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

/* Drives all transfers to their ends. A cancelled one stays not done, and has the reason. */
static void run(CURLM *multi, int cancel_fd, struct transfer *ts, size_t n)
{
	struct curl_waitfd cancel = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};
	unsigned extra = cancel_fd >= 0 ? 1 : 0;
	CURLMcode rc = CURLM_OK;
	int running = 1;
	runnext_handoff(); /* peers may take their time */
	while (rc == CURLM_OK && cancel.revents == 0) {
		rc = curl_multi_perform(multi, &running);
		collect(multi);
		if (running == 0)
			return;
		if (rc == CURLM_OK)
			rc = curl_multi_poll(multi, extra ? &cancel : NULL, extra, WAIT_MS, NULL);
	}
	for (size_t i = 0; i < n; i++)
		ts[i].why = rc == CURLM_OK ? "canceled" : curl_multi_strerror(rc);
}

/* --- results ---------------------------------------------------------------------------------- */

/* Why a transfer failed, in Go's words if Go has some. */
static void set_reason(const struct transfer *t, struct err *err)
{
	long os_errno = 0;
	if (!t->done) {
		err_set(err, ECANCELED, "%s", t->why);
		return;
	}
	if (t->easy)
		curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_errno);
	if (t->result == CURLE_OPERATION_TIMEDOUT)
		err_set(err, ETIMEDOUT, "i/o timeout");
	else if (t->result == CURLE_COULDNT_CONNECT && os_errno != 0)
		err_errno(err, (int)os_errno, "connect");
	else
		err_set(err, 0, "%s", *t->error ? t->error : curl_easy_strerror(t->result));
}

static void fail(struct transfer *t)
{
	struct http_client_call *call = t->call;
	if (t->too_large)
		err_set(&call->err, 0, "response body larger than %zu bytes", MAX_BODY);
	else
		set_reason(t, &call->err);
	err_wrap(&call->err, "%s \"%.*s\": ", call->json ? "Post" : "Get",
		(int)strcspn(t->url, "?"), t->url);
}

static bool is_https(const char *url)
{
	return strncmp(url, "https", 5) == 0;
}

/* {"https_port":1}, as encoding/json takes it. False: it is none. */
static bool decode_https_port(const struct strbuf *body, int64_t *port)
{
	const char *text = body->data ? body->data : "";
	struct json_value key, value;
	size_t pos = 0;
	*port = 0;
	if (!json_valid(text, body->len))
		return false;
	struct json_value root = json_root(text, body->len);
	if (root.type != JSON_OBJECT)
		return root.type == JSON_NULL;
	while (json_next_member(root, &pos, &key, &value)) {
		if (json_key_is(key, "https_port") && value.type != JSON_NULL &&
			!json_int(value, INT64_MIN, INT64_MAX, port))
			return false;
	}
	return true;
}

/* httpsEndpoint: the URL with TLS that the body of a 403 points to. NULL with err set. */
static char *https_endpoint(const char *url, const struct strbuf *body, struct err *err)
{
	char port[24], *found = NULL, *out = NULL;
	int64_t number;
	if (!decode_https_port(body, &number)) {
		err_set(err, 0, "got response 403, which names no https_port");
		return NULL;
	}
	CURLU *u = curl_url();
	snprintf(port, sizeof(port), "%lld", (long long)number);
	if (!u || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
		curl_url_get(u, CURLUPART_PORT, &found, 0) != CURLUE_OK ||
		curl_url_set(u, CURLUPART_SCHEME, "https", 0) != CURLUE_OK ||
		curl_url_set(u, CURLUPART_PORT, port, 0) != CURLUE_OK ||
		curl_url_get(u, CURLUPART_URL, &out, 0) != CURLUE_OK)
		err_set(err, 0, "got response 403, and cannot use port %s", port);
	char *copy = out ? xstrdup(out) : NULL;
	curl_free(found);
	curl_free(out);
	curl_url_cleanup(u);
	return copy;
}

/* Judges a transfer that is over. True: t->url is a new one, to be tried. */
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
		wiping_free(t->url);
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
	if (t->easy)
		curl_multi_remove_handle(multi, t->easy);
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	t->easy = NULL;
	t->headers = NULL;
}

/* With https the second answer is the last. */
static void try_again(const struct http_client *c, struct transfer *first, CURLM *multi)
{
	struct transfer t = {.call = first->call, .url = first->url};
	strbuf_reset(&t.call->body);
	start_transfer(&t, c, multi);
	run(multi, c->cancel_fd, &t, 1);
	finish(&t);
	end_transfer(&t, multi);
	first->url = t.url;
}

void http_client_do(const struct http_client *c, struct http_client_call *calls, size_t n)
{
	struct transfer *ts = xcalloc(n + 1, sizeof(*ts));
	/* NULL means that there is no memory; then nothing can be added to it. */
	CURLM *multi = curl_multi_init();
	for (size_t i = 0; i < n; i++) {
		ts[i].call = &calls[i];
		ts[i].url = xstrdup(calls[i].url);
		calls[i].ok = false;
		start_transfer(&ts[i], c, multi);
	}
	run(multi, c->cancel_fd, ts, n);
	for (size_t i = 0; i < n; i++) {
		bool again = finish(&ts[i]);
		end_transfer(&ts[i], multi);
		if (again)
			try_again(c, &ts[i], multi);
		wiping_free(ts[i].url);
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

/* --- dialling --------------------------------------------------------------------------------- */

#define HOSTS_FILE "/etc/hosts"
/* Stands for a name of /etc/hosts that libcurl would not take. */
#define FROM_HOSTS_FILE "from-hosts-file.invalid"
#define IP_SIZE INET6_ADDRSTRLEN

/* A duplicate of curl's descriptor, which curl closes with its handle. */
static int take_socket(CURL *easy, struct err *err)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
		fd == CURL_SOCKET_BAD)
		return err_set(err, 0, "no connection");
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return err_errno(err, errno, "dup");
	int flags = fcntl(copy, F_GETFL);
	if (flags >= 0 && fcntl(copy, F_SETFL, flags | O_NONBLOCK) == 0)
		return copy;
	err_errno(err, errno, "fcntl");
	close(copy);
	return -1;
}

/* The scope of fe80::1%eth0. False: no such interface. */
static bool add_v6(struct strbuf *host, const char *address, const char *zone)
{
	unsigned index = zone ? if_nametoindex(zone) : 0;
	if (zone && index == 0)
		return false;
	strbuf_addf(host, "[%s", address);
	if (zone)
		strbuf_addf(host, "%%25%u", index);
	strbuf_addc(host, ']');
	return true;
}

/* An IP address as libcurl wants it in a URL. False: it is none. */
static bool add_ip(struct strbuf *url, const char *host)
{
	unsigned char ip[sizeof(struct in6_addr)];
	bool added = false;
	/* As in Go, an empty host is this machine. */
	if (!*host || inet_pton(AF_INET, host, ip) == 1) {
		strbuf_adds(url, *host ? host : "127.0.0.1");
		return true;
	}
	char *copy = xstrdup(host), *zone = strchr(copy, '%');
	if (zone)
		*zone++ = '\0';
	if (inet_pton(AF_INET6, copy, ip) == 1)
		added = add_v6(url, copy, zone);
	free(copy);
	return added;
}

/*
 * Appends "http://host" for libcurl, such that libcurl takes no part of host for user, path or
 * query. host is an address, or a name as net allows it. ips receives the addresses from /etc/hosts
 * for a name that the C library would not find there. -1 with err set.
 */
static int add_host(struct strbuf *url, const char *host, struct strbuf *ips, struct err *err)
{
	struct in_addr odd;
	size_t len = strlen(host);
	strbuf_adds(url, "http://");
	if (add_ip(url, host))
		return 0;
	bool is_name = address_is_domain_name(host);
	if ((!is_name || host[len - 1] == '.') &&
		address_lookup_hosts_file(HOSTS_FILE, host, ips)) {
		strbuf_adds(url, FROM_HOSTS_FILE);
		return 0;
	}
	/* 10.0.10 and 0x7f.1 are addresses to the C library, but names to Go. */
	if (!is_name || inet_aton(host, &odd))
		return err_set(err, 0, "lookup %s: no such host", host);
	strbuf_adds(url, host);
	return 0;
}

/* libcurl is about to connect to this address. Keeps the first one as text, in ip. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	(void)purpose;
	char *ip = arg;
	const struct sockaddr *sa = &a->addr;
	if (*ip == '\0' && a->family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, ip, IP_SIZE);
	else if (*ip == '\0' && a->family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, ip, IP_SIZE);
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* Connects. A descriptor, or -1 with err set, which shows the peer by its address or as host. */
static int dial(const char *url, const char *resolve, const char *host, uint16_t port,
	int64_t timeout_ns, int cancel_fd, struct err *err)
{
	struct transfer t = {0};
	struct curl_slist *known = NULL;
	char ip[IP_SIZE] = "";
	int fd = -1;
	CURLM *multi = curl_multi_init();
	new_easy(&t, timeout_ns);
	SET(&t, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(&t, CURLOPT_OPENSOCKETDATA, (void *)ip);
	SET(&t, CURLOPT_PROTOCOLS_STR, "http");
	SET(&t, CURLOPT_URL, url);
	SET(&t, CURLOPT_CONNECT_ONLY, 1L);
	if (*resolve) {
		known = curl_slist_append(NULL, resolve);
		SET(&t, CURLOPT_RESOLVE, known);
	}
	start(&t, multi);
	run(multi, cancel_fd, &t, 1);
	if (t.done && t.result == CURLE_OK)
		fd = take_socket(t.easy, err);
	else if (t.done && t.result == CURLE_COULDNT_RESOLVE_HOST)
		err_set(err, 0, "dial tcp: lookup %s: no such host", host);
	else
		set_reason(&t, err);
	/* As in Go, the error shows an empty host as such. */
	if (*ip && *host && !strchr(host, ':'))
		host = ip;
	if (fd < 0 && t.result != CURLE_COULDNT_RESOLVE_HOST)
		err_wrap(err, strchr(host, ':') ? "dial tcp [%s]:%u: " : "dial tcp %s:%u: ", host,
			port);
	end_transfer(&t, multi);
	curl_slist_free_all(known);
	curl_multi_cleanup(multi);
	return fd;
}

/* The same, when host and port have been taken apart. */
static int dial_host(
	const char *host, uint16_t port, int64_t timeout_ns, int cancel_fd, struct err *err)
{
	struct strbuf url = STRBUF_INIT, ips = STRBUF_INIT, resolve = STRBUF_INIT;
	int fd = -1;
	if (add_host(&url, host, &ips, err) == 0) {
		strbuf_addf(&url, ":%u", port);
		if (ips.len > 0)
			strbuf_addf(&resolve, FROM_HOSTS_FILE ":%u:%s", port, ips.data);
		fd = dial(url.data, resolve.data ? resolve.data : "", host, port, timeout_ns,
			cancel_fd, err);
	} else {
		err_wrap(err, "dial tcp: ");
	}
	strbuf_free(&url);
	strbuf_free(&ips);
	strbuf_free(&resolve);
	return fd;
}

int http_client_dial(const char *address, int64_t timeout_ns, int cancel_fd, struct err *err)
{
	size_t size = strlen(address) + 1;
	char *host = xmalloc(2 * size), *port = host + size;
	uint16_t number;
	int fd = -1;
	const char *why = address_split_host_port(address, host, port);
	if (!*address)
		err_set(err, 0, "dial tcp: missing address");
	else if (why)
		err_set(err, 0, "dial tcp: address %s: %s", address, why);
	else if (address_lookup_port(port, &number, err) != 0)
		err_wrap(err, "dial tcp: ");
	else
		fd = dial_host(host, number, timeout_ns, cancel_fd, err);
	free(host);
	return fd;
}
