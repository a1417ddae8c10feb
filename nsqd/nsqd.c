/* SPDX-License-Identifier: MIT */
/*
 * The daemon's life. Mirrors New, Main and Exit of nsqd/nsqd.go. It alone knows all other parts,
 * and puts them together. Runs in the thread "main".
 *
 * Differences at exit: stock flushes the channels while clients may still take messages out of
 * them. Here every client and HTTP handler is gone before that, so nothing can slip between a queue
 * and the flush.
 *
 * Lessons in docs/course/: 01-goroutine, 05-exit-chan, 12-once.
 */
#include "nsqd/nsqd.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/dirlock.h"
#include "common/http_client.h"
#include "common/netpoll.h"
#include "common/runnext.h"
#include "common/sd_daemon.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/cluster/clusterinfo.h"
#include "nsqd/http/http_server.h"
#include "nsqd/queue/dead_letters.h"
#include "nsqd/queue/queue_scan.h"
#include "nsqd/stats/statsd.h"
#include "nsqd/client/tcp.h"
#include "nsqd/core/tls_config.h"
#include "nsqd/core/watchdog.h"

#define LOG_FD STDERR_FILENO

enum socket_index { SOCKET_TCP, SOCKET_HTTP, SOCKET_HTTPS, SOCKET_READONLY };

const char *const nsqd_socket_names[SD_SOCKETS] = {[SOCKET_TCP] = "tcp",
	[SOCKET_HTTP] = "http",
	[SOCKET_HTTPS] = "https",
	[SOCKET_READONLY] = "http-readonly"};

static bool is_passed(const struct nsqd *n, enum socket_index i)
{
	return n->sd && n->sd->sockets[i] >= 0;
}

/* A socket that was passed takes the place of the address. */
static int adopt_or_listen(struct nsqd *n, enum socket_index i, const char *address,
	struct tcp_listener *l, struct err *err)
{
	if (is_passed(n, i)) {
		int fd = n->sd->sockets[i];
		n->sd->sockets[i] = -1;
		if (tcp_listener_adopt(l, fd, err) != 0)
			return err_wrap(err, "listen (%s) failed - ", nsqd_socket_names[i]);
		return 0;
	}
	if ((i == SOCKET_HTTPS ? tcp_listen_no_unix : tcp_listen)(l, address, err) != 0)
		return err_wrap(err, "listen (%s) failed - ", address);
	return 0;
}

static int listen_tcp(struct nsqd *n, struct err *err)
{
	const char *address = nsqd_get_opts(&n->ctx)->tcp_address;
	if (adopt_or_listen(n, SOCKET_TCP, address, &n->tcp_listener, err) != 0)
		return -1;
	n->tcp_server = tcp_server_new(&n->ctx, &n->topics, n->tls, &n->tcp_listener, n->netpoll);
	return 0;
}

static int listen_http(struct nsqd *n, struct err *err)
{
	const struct options *opts = nsqd_get_opts(&n->ctx);
	struct tcp_listener l;
	if (!is_passed(n, SOCKET_HTTP) && !*opts->http_address)
		return 0;
	if (adopt_or_listen(n, SOCKET_HTTP, opts->http_address, &l, err) != 0)
		return -1;
	n->http_server =
		http_server_new(&n->http_daemon, &l, NULL, opts->tls_required == TLS_REQUIRED);
	return 0;
}

static int listen_https(struct nsqd *n, struct err *err)
{
	const char *address = nsqd_get_opts(&n->ctx)->https_address;
	struct tcp_listener l;
	if (!n->tls && is_passed(n, SOCKET_HTTPS))
		return err_set(err, 0,
			"listen (https) failed - a passed socket needs --tls-cert "
			"and --tls-key");
	if (!n->tls || (!is_passed(n, SOCKET_HTTPS) && !*address))
		return 0;
	if (adopt_or_listen(n, SOCKET_HTTPS, address, &l, err) != 0)
		return -1;
	n->https_server = http_server_new(&n->http_daemon, &l, n->tls, true);
	return 0;
}

static int listen_readonly(struct nsqd *n, struct err *err)
{
	const char *address = nsqd_get_opts(&n->ctx)->http_readonly_address;
	struct tcp_listener l;
	if (!is_passed(n, SOCKET_READONLY) && !*address)
		return 0;
	if (adopt_or_listen(n, SOCKET_READONLY, address, &l, err) != 0)
		return -1;
	n->readonly_server = http_server_new_readonly(&n->http_daemon, &l);
	return 0;
}

static int listen_all(struct nsqd *n, struct err *err)
{
	bool ok = listen_tcp(n, err) == 0 && listen_http(n, err) == 0 &&
		  listen_https(n, err) == 0 && listen_readonly(n, err) == 0;
	return ok ? 0 : -1;
}

/* All listen: handlers get to know the TCP server, and the ports. */
static void complete_http_daemon(struct nsqd *n)
{
	struct http_daemon *d = &n->http_daemon;
	d->tcp_server = n->tcp_server;
	d->http_server = n->http_server;
	d->https_server = n->https_server;
	d->readonly_server = n->readonly_server;
	d->tcp_port = n->tcp_listener.port;
	d->http_port = n->http_server ? http_server_port(n->http_server) : 0;
	d->https_port = n->https_server ? http_server_port(n->https_server) : 0;
}

/* Other nodes are told to connect to what we listen on, unless told otherwise. */
static void set_broadcast_ports(struct nsqd *n, struct options *opts)
{
	if (opts->broadcast_http_port == 0 && n->http_daemon.http_port > 0)
		opts->broadcast_http_port = n->http_daemon.http_port;
	if (opts->broadcast_tcp_port == 0 && n->http_daemon.tcp_port > 0)
		opts->broadcast_tcp_port = n->http_daemon.tcp_port;
}

static void warn_of_tokens(void *arg, const char *text)
{
	struct context *ctx = arg;
	nsqd_logf(
		ctx, LG_WARN, "--http-auth-file %s: %s", nsqd_get_opts(ctx)->http_auth_file, text);
}

static int load_tokens(struct nsqd *n, struct err *err)
{
	const struct options *opts = nsqd_get_opts(&n->ctx);
	struct http_token_list *list;
	if (http_token_list_load(opts, &list, err) != 0)
		return -1;
	http_token_list_check(list, opts, warn_of_tokens, &n->ctx);
	n->tokens = n->http_daemon.tokens = http_tokens_new(list);
	return 0;
}

static int open_all(struct nsqd *n, struct err *err)
{
	struct context *ctx = &n->ctx;
	struct options *opts = atomic_load(&ctx->opts); /* nobody else has seen them yet */
	if (context_open(ctx, err) != 0 || http_client_global_init(err) != 0)
		return -1;
	ctx->data_dir_fd = dirlock_lock(nsqd_data_path(ctx), err);
	if (ctx->data_dir_fd < 0)
		return err_wrap(err, "failed to lock data-path: ");
	if (options_check(opts, err) != 0 || lg_start_writer(&ctx->lg, err) != 0)
		return -1;
	struct tls_config *tls;
	if (tls_config_new(opts, &tls, err) != 0)
		return err_wrap(err, "failed to build TLS config - ");
	if (tls)
		n->tls = tls_current_new(tls);
	if (auth_check_root_ca(opts, err) != 0)
		return err_wrap(err, "failed to build client TLS config - ");
	if (load_tokens(n, err) != 0)
		return -1;
	nsqd_logf(ctx, LG_INFO, "%s", VERSION_STRING);
	nsqd_logf(ctx, LG_INFO, "%s", PRODUCT_STRING);
	nsqd_logf(ctx, LG_INFO, "ID: %lld", (long long)opts->id);
	n->netpoll = netpoll_new(err);
	if (!n->netpoll || listen_all(n, err) != 0)
		return -1;
	if (runnext_start(err) != 0)
		return -1;
	n->runnext = true;
	if (host_limits_use(ctx, opts, err) != 0)
		return -1;
	complete_http_daemon(n);
	set_broadcast_ports(n, opts);
	options_expand_statsd_prefix(opts);
	return 0;
}

struct nsqd *nsqd_new(struct options *take_opts, struct sd_daemon *sd, struct err *err)
{
	struct nsqd *n = xcalloc(1, sizeof(*n));
	n->sd = sd;
	context_init(&n->ctx, take_opts, LOG_FD);
	topics_init(&n->topics, &n->ctx);
	dead_letters_init(&n->topics);
	metadata_init(&n->metadata, &n->topics);
	lookup_init(&n->lookup, &n->topics);
	n->topics.prepare = clusterinfo_precreate_channels;
	n->topics.prepare_arg = &n->lookup;
	n->http_daemon = (struct http_daemon){
		.ctx = &n->ctx, .topics = &n->topics, .metadata = &n->metadata};
	n->tcp_listener.fd = -1;
	wait_group_init(&n->wait_group);
	if (open_all(n, err) == 0)
		return n;
	nsqd_free(n);
	return NULL;
}

void nsqd_free(struct nsqd *n)
{
	if (!n)
		return;
	if (n->runnext)
		runnext_stop();
	watchdog_stop(n->watchdog);
	host_limits_stop(&n->ctx.host);
	topics_destroy(&n->topics);
	http_server_free(n->http_server);
	http_server_free(n->https_server);
	http_server_free(n->readonly_server);
	http_tokens_free(n->tokens);
	tcp_server_free(n->tcp_server);
	netpoll_free(n->netpoll);
	tcp_listener_close(&n->tcp_listener);
	tls_current_free(n->tls);
	if (n->ctx.data_dir_fd >= 0)
		dirlock_unlock(n->ctx.data_dir_fd);
	wait_group_destroy(&n->wait_group);
	metadata_destroy(&n->metadata);
	lookup_destroy(&n->lookup);
	context_destroy(&n->ctx);
	free(n);
}

int nsqd_main(struct nsqd *n, struct err *err)
{
	struct wait_group *wg = &n->wait_group;
	if (wait_group_wrap(wg, "metadata", nsqd_metadata_loop, &n->metadata, err) != 0 ||
		wait_group_wrap(wg, "scan", nsqd_queue_scan_loop, &n->topics, err) != 0 ||
		wait_group_wrap(wg, "lookup", lookup_loop, &n->lookup, err) != 0 ||
		(*nsqd_get_opts(&n->ctx)->statsd_address &&
			wait_group_wrap(wg, "statsd", statsd_loop, &n->topics, err) != 0) ||
		netpoll_start(n->netpoll, err) != 0)
		return -1;
	if (watchdog_start(&n->watchdog, &n->ctx, n->netpoll, n->sd, err) != 0) {
		netpoll_stop(n->netpoll);
		return -1;
	}
	tcp_server_start(n->tcp_server);
	if (n->http_server)
		http_server_start(n->http_server, n->netpoll);
	if (n->https_server)
		http_server_start(n->https_server, n->netpoll);
	if (n->readonly_server)
		http_server_start(n->readonly_server, n->netpoll);
	return 0;
}

/* Lets no new client in, and ends the others: when it returns, no client and no handler is left. */
static void disconnect_everybody(struct nsqd *n)
{
	tcp_server_close(n->tcp_server);
	tcp_listener_close(&n->tcp_listener);
	/* All, before any is waited for: their clients have the same second. */
	http_server_close(n->http_server);
	http_server_close(n->https_server);
	http_server_close(n->readonly_server);
	http_server_wait(n->http_server);
	http_server_wait(n->https_server);
	http_server_wait(n->readonly_server);
	watchdog_leave_pollers(n->watchdog);
	netpoll_stop(n->netpoll);
}

/* Writes what is in memory to disk, joins the loops, and lets another daemon have the data path. */
static void close_queues(struct nsqd *n)
{
	struct context *ctx = &n->ctx;
	nsqd_close_metadata(&n->metadata);
	nsqd_logf(ctx, LG_INFO, "NSQ: closing topics");
	/* The scan loop holds channels: it ends first, so that closing frees them. */
	chan_close(ctx->exit_chan);
	topics_close(&n->topics);
	nsqd_logf(ctx, LG_INFO, "NSQ: stopping subsystems");
	wait_group_wait(&n->wait_group);
	dirlock_unlock(ctx->data_dir_fd);
	ctx->data_dir_fd = -1;
}

void nsqd_give_up(struct nsqd *n)
{
	context_begin_exit(&n->ctx);
	close_queues(n);
}

/* Its patience is its own: what it uses up would be missing to messages. */
static void persist_for_the_last_time(struct nsqd *n)
{
	struct err err;
	int64_t pause_ns = 0;
	while (nsqd_persist_metadata(&n->metadata, &err) != 0) {
		nsqd_logf(&n->ctx, LG_ERROR, "failed to persist metadata - %s", err.msg);
		if (!patience_wait(&n->ctx.metadata_patience, &pause_ns))
			return;
	}
}

void nsqd_exit(struct nsqd *n)
{
	struct context *ctx = &n->ctx;
	context_begin_exit(ctx);
	disconnect_everybody(n);
	persist_for_the_last_time(n);
	close_queues(n);
}
