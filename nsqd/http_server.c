/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server's connections, and its life: mirrors Serve of
 * internal/http_api/http_server.go, on libmicrohttpd in place of net/http.
 * Threads: "http" accepts; libmicrohttpd has one that starts and joins the
 * connections' threads "http:ADDR", in which requests are read and answered
 * (http_request.c).
 *
 * Different from Go: a connection is a thread, so their number is limited, and at
 * the limit the one that has been idle longest makes room (by us: libmicrohttpd
 * 0.9.75 deadlocks when it reaches a limit of its own).
 */
#include "nsqd/http_server_internal.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utlist.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/sanitize.h"
#include "common/xalloc.h"
#include "nsqd/nsqd.h"
#include "nsqd/tls_config.h"

/* Handlers keep little on the stack; sanitizers need several times that. */
#if SANITIZE_THREAD || SANITIZE_ADDRESS
#define STACK_SIZE ((size_t)1024 * 1024)
#else
#define STACK_SIZE ((size_t)192 * 1024)
#endif

/* A handshake computes with big numbers, some of them on the stack. */
#define TLS_STACK_SIZE (STACK_SIZE + (size_t)192 * 1024)

/*
 * libmicrohttpd's buffer per connection: bounds the head of a request, and is what a body is read
 * through.
 */
#define CONNECTION_MEMORY ((size_t)32 * 1024)
/* Connections at once: half of the descriptors, within these bounds. */
#define MIN_CONNECTIONS 64
#define MAX_CONNECTIONS 8192
/* Beyond the limit until those that make room are gone. */
#define SPARE_CONNECTIONS 16
/* Nobody who did something so recently makes room. */
#define EVICT_IDLE_NS (2 * NSEC_PER_SEC)
/* Between two log lines about the limit. */
#define LIMIT_LOG_NS NSEC_PER_SEC
/* How long stop waits for answers under way, and for TLS connections to end. */
#define STOP_WAIT_NS NSEC_PER_SEC
#define GOODBYE_WAIT_NS (NSEC_PER_SEC / 2)

/* --- connections ---------------------------------------------------------------------------- */

/*
 * Over the limit: whoever has done nothing for longest goes. conns_lock keeps its descriptor open.
 */
static void evict_locked(struct http_server *s)
{
	struct http_conn *oldest = NULL;
	int64_t before = clock_mono_ns() - EVICT_IDLE_NS;
	for (struct http_conn *c = s->conns; c; c = c->next) {
		int64_t last = atomic_load_explicit(&c->last_active, memory_order_relaxed);
		if (last < before && !atomic_load(&c->handling)) {
			oldest = c;
			before = last;
		}
	}
	if (!oldest)
		return;
	atomic_store_explicit(&oldest->last_active, INT64_MAX, memory_order_relaxed);
	shutdown(oldest->fd, SHUT_RDWR);
}

/* In libmicrohttpd's own thread, before the connection has one. */
static void connection_started(struct http_server *s, struct MHD_Connection *mc, void **socket_cls)
{
	struct http_conn *c = xcalloc(1, sizeof(*c));
	c->server = s;
	c->fd = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	const void *addr =
		MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
	address_format(addr, c->remote_addr, sizeof(c->remote_addr));
	atomic_init(&c->last_active, clock_mono_ns());
	c->req.nsqd = s->nsqd;
	c->req.remote_addr = c->remote_addr;
	if (s->tls) {
		c->session = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_GNUTLS_SESSION)
				     ->tls_session;
		c->handshake = handshake_new(s->handshakes, c->session, c->fd, c->remote_addr);
	}
	*socket_cls = c;
	mutex_lock(&s->conns_lock);
	DL_APPEND(s->conns, c);
	if (s->tls && atomic_load(&s->stopping))
		shutdown(c->fd, SHUT_RD); /* as say_goodbye does */
	mutex_unlock(&s->conns_lock);
}

/* Likewise; its thread has been joined, its descriptor is still open. */
static void connection_closed(struct http_server *s, struct http_conn *c)
{
	mutex_lock(&s->conns_lock);
	DL_DELETE(s->conns, c);
	bool last = --s->n_conns == 0;
	mutex_unlock(&s->conns_lock);
	if (last && atomic_load(&s->stopping))
		chan_try_send_n(s->closed_chan, "", 1);
	handshake_free(c->handshake);
	CHECK(!c->req.message); /* http_request_completed comes first */
	strbuf_free(&c->uri);
	strbuf_free(&c->path);
	strbuf_free(&c->req.body);
	strbuf_free(&c->req.out);
	url_values_free(&c->req.query);
	free(c);
}

static void notify_connection(void *cls, struct MHD_Connection *mc, void **socket_cls,
	enum MHD_ConnectionNotificationCode toe)
{
	if (toe == MHD_CONNECTION_NOTIFY_STARTED)
		connection_started(cls, mc, socket_cls);
	else
		connection_closed(cls, *socket_cls);
}

/* Accept thread: is there room for one more, or can there be? */
static bool make_room(struct http_server *s)
{
	mutex_lock(&s->conns_lock);
	bool full = s->n_conns >= s->max_conns;
	mutex_unlock(&s->conns_lock);
	bool evicted = full && s->newcomers &&
		       http_newcomers_evict(s->newcomers, clock_mono_ns() - EVICT_IDLE_NS);
	mutex_lock(&s->conns_lock);
	if (full && !evicted)
		evict_locked(s);
	bool room = s->n_conns < s->max_conns + SPARE_CONNECTIONS;
	if (room)
		s->n_conns++;
	mutex_unlock(&s->conns_lock);
	return room;
}

static void refuse(struct http_server *s, int fd)
{
	int64_t now = clock_mono_ns();
	close(fd);
	s->refused++;
	if (now - s->refused_logged < LIMIT_LOG_NS)
		return;
	nsqd_logf(s->nsqd, LG_WARN, "%s: %zu connections are too many, %zu refused", s->proto,
		s->max_conns, s->refused);
	s->refused = 0;
	s->refused_logged = now;
}

/* One that was not, or is no longer, libmicrohttpd's. */
static void uncount(void *arg)
{
	struct http_server *s = arg;
	mutex_lock(&s->conns_lock);
	s->n_conns--;
	mutex_unlock(&s->conns_lock);
}

/* Libmicrohttpd owns the socket from now on, also when it fails. */
static void add_connection(void *arg, int fd, const union address *addr)
{
	struct http_server *s = arg;
	/* (All of the address, since its zeros are needed to format it again.) */
	if (MHD_add_connection(s->daemon, fd, &addr->sa, sizeof(*addr)) != MHD_YES)
		uncount(s);
}

/* tcp_handler.accepted */
static void handle_accepted(void *arg, int fd, const union address *addr)
{
	struct http_server *s = arg;
	if (!make_room(s))
		refuse(s, fd);
	else if (s->newcomers)
		http_newcomers_add(s->newcomers, fd, addr);
	else
		add_connection(s, fd, addr);
}

/* tcp_handler.also */
static void look_at_newcomers(void *arg)
{
	struct http_server *s = arg;
	http_newcomers_look(s->newcomers);
}

/* --- the server ------------------------------------------------------------------------------ */

static void log_mhd(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* What libmicrohttpd has to say; net/http says such things at the same level. */
static void log_mhd(void *cls, const char *fmt, va_list ap)
{
	struct http_server *s = cls;
	struct strbuf text = STRBUF_INIT;
	va_list args;
	va_copy(args, ap);
	bool refused = handshake_complaint() || http_refuse_malformed(fmt, args);
	va_end(args);
	if (refused)
		return;
	strbuf_vaddf(&text, fmt, ap);
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		text.data[--text.len] = '\0';
	/*
	 * When we stop, what it complains about is our doing; and a unix socket has no TCP options.
	 */
	bool known = atomic_load(&s->stopping) || s->listener.port < 0;
	lg_logf(&s->nsqd->lg, known ? LG_DEBUG : LG_WARN, "%s: %s", s->proto, text.data);
	strbuf_free(&text);
}

static _Noreturn void mhd_panic(void *cls, const char *file, unsigned int line, const char *reason)
{
	(void)cls;
	check_failed(file, (int)line, "libmicrohttpd: %s", reason ? reason : "");
}

/* HTTPS has half as many, so that both together leave some for the rest. */
static size_t connection_limit(bool tls)
{
	struct rlimit files;
	size_t n = MAX_CONNECTIONS;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 2 < n)
		n = (size_t)files.rlim_cur / 2;
	n = tls ? n / 2 : n;
	return n < MIN_CONNECTIONS ? MIN_CONNECTIONS : n;
}

struct http_server *http_server_new(struct nsqd *n, const char *address,
	const struct tls_config *tls, bool tls_required, struct err *err)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	s->nsqd = n;
	s->proto = tls ? "HTTPS" : "HTTP";
	s->tls = tls;
	s->tls_required = tls_required;
	s->max_conns = connection_limit(tls != NULL);
	if ((tls ? tcp_listen_no_unix : tcp_listen)(&s->listener, address, err) != 0) {
		free(s);
		return NULL;
	}
	struct tcp_handler h = {
		.accepted = handle_accepted, .arg = s, .lg = &n->lg, .proto = s->proto};
	if (!tls) {
		s->newcomers = http_newcomers_new(add_connection, uncount, s, err);
		h.also = look_at_newcomers;
		h.also_fd = s->newcomers ? http_newcomers_fd(s->newcomers) : -1;
	}
	if ((!tls && !s->newcomers) || tcp_server_init(&s->loop, &s->listener, &h, err) != 0) {
		http_newcomers_free(s->newcomers);
		tcp_listener_close(&s->listener);
		free(s);
		return NULL;
	}
	mutex_init(&s->conns_lock, RANK_LEAF);
	wait_group_init(&s->wait_group);
	if (tls)
		s->handshakes = handshakes_new(&tls->server, &n->lg);
	s->answered_chan = chan_new(0, 1);
	s->closed_chan = chan_new(0, 1);
	s->ok = http_new_response(NULL, "OK", 2, MHD_RESPMEM_PERSISTENT, TEXT_PLAIN, true);
	s->empty = http_new_response(NULL, "", 0, MHD_RESPMEM_PERSISTENT, NULL, true);
	s->plain_ok = http_new_response(NULL, "OK", 2, MHD_RESPMEM_PERSISTENT, TEXT_PLAIN, false);
	return s;
}

static void accept_loop(void *arg)
{
	struct http_server *s = arg;
	struct err err;
	if (tcp_server_run(&s->loop, &err) == 0)
		return;
	nsqd_logf(s->nsqd, LG_FATAL, "http.Serve() error - %s", err.msg);
	/* As in stock, the daemon does not go on with an ear less. */
	atomic_store(&s->nsqd->main_failed, true);
	kill(getpid(), SIGTERM);
}

/* Its threads, which wait for what we give it. */
static struct MHD_Daemon *start_daemon(struct http_server *s)
{
	unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
			 MHD_USE_POLL | MHD_USE_ITC | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, s->tls ? s->tls->cert_pem : NULL},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, s->tls ? s->tls->key_pem : NULL},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, s->tls ? s->tls->priority : NULL},
		{MHD_OPTION_TLS_NO_ALPN, 1, NULL}, /* stock offers no protocols */
		{MHD_OPTION_END, 0, NULL},
	};
	MHD_set_panic_func(mhd_panic, NULL);
	return MHD_start_daemon(flags | (s->tls ? MHD_USE_TLS : 0), 0, NULL, NULL,
		http_handle_access, s, MHD_OPTION_EXTERNAL_LOGGER, log_mhd, s,
		MHD_OPTION_NOTIFY_CONNECTION, notify_connection, s, MHD_OPTION_NOTIFY_COMPLETED,
		http_request_completed, s, MHD_OPTION_URI_LOG_CALLBACK, http_handle_uri, s,
		MHD_OPTION_UNESCAPE_CALLBACK, http_leave_escaped, s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_CONNECTION_LIMIT,
		UINT_MAX, MHD_OPTION_THREAD_STACK_SIZE, s->tls ? TLS_STACK_SIZE : STACK_SIZE,
		MHD_OPTION_ARRAY, s->tls ? tls : none, MHD_OPTION_END);
}

int http_server_start(struct http_server *s, struct err *err)
{
	s->daemon = start_daemon(s);
	if (!s->daemon)
		return err_set(err, 0, "%s: libmicrohttpd cannot start a thread", s->proto);
	const char *name = s->tls ? "https" : "http";
	if ((s->tls && handshakes_start(s->handshakes, err) != 0) ||
		wait_group_wrap(&s->wait_group, name, accept_loop, s, err) != 0) {
		MHD_stop_daemon(s->daemon);
		s->daemon = NULL;
		return -1;
	}
	s->started = true;
	return 0;
}

static void wait_a_while(struct chan *for_chan, int64_t timeout_ns)
{
	struct ticker timeout;
	ticker_after(&timeout, timeout_ns);
	struct chan_case cases[] = {
		chan_case_recv(for_chan, NULL),
		chan_case_tick(&timeout),
	};
	chan_select(cases, 2);
}

/*
 * Connections that wait for their next request are simply closed; answers under way get a moment.
 */
static void wait_for_answers(struct http_server *s)
{
	atomic_store(&s->stopping, true);
	if (atomic_load(&s->answering) > 0)
		wait_a_while(s->answered_chan, STOP_WAIT_NS);
}

/*
 * libmicrohttpd would close them without TLS's close-notify. A thread that sees
 * the end of its input sends one.
 */
static void say_goodbye(struct http_server *s)
{
	struct http_conn *c;
	mutex_lock(&s->conns_lock);
	DL_FOREACH (s->conns, c)
		shutdown(c->fd, SHUT_RD);
	bool any = s->n_conns > 0;
	mutex_unlock(&s->conns_lock);
	if (any)
		wait_a_while(s->closed_chan, GOODBYE_WAIT_NS);
}

void http_server_stop(struct http_server *s)
{
	if (!s->started)
		return;
	s->started = false;
	tcp_server_stop(&s->loop);
	wait_group_wait(&s->wait_group);
	/* Who comes now is told so, instead of waiting until the daemon has ended. */
	tcp_listener_close(&s->listener);
	http_newcomers_free(s->newcomers);
	s->newcomers = NULL;
	wait_for_answers(s);
	if (s->tls) {
		handshakes_stop(s->handshakes);
		say_goodbye(s);
	}
	MHD_stop_daemon(s->daemon);
	s->daemon = NULL;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	CHECK(!s->daemon);
	MHD_destroy_response(s->ok);
	MHD_destroy_response(s->empty);
	MHD_destroy_response(s->plain_ok);
	if (s->handshakes)
		handshakes_stop(s->handshakes);
	handshakes_free(s->handshakes);
	http_newcomers_free(s->newcomers);
	tcp_server_destroy(&s->loop);
	tcp_listener_close(&s->listener);
	wait_group_destroy(&s->wait_group);
	mutex_destroy(&s->conns_lock);
	chan_free(s->answered_chan);
	chan_free(s->closed_chan);
	free(s);
}

int http_server_port(const struct http_server *s)
{
	return s->listener.port;
}
