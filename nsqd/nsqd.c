/* SPDX-License-Identifier: MIT */
/*
 * The daemon: its topics, its life, its health. Mirrors nsqd/nsqd.go, whose
 * other parts are metadata.c and queue_scan.c. nsqd_new, nsqd_main and
 * nsqd_exit run in main; the rest in any thread.
 *
 * Differences at exit: stock flushes the channels while clients may still take
 * messages out of them; here every client and HTTP handler is gone before, so
 * that nothing can slip between a queue and the flush.
 */
#include "nsqd/nsqd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/dirlock.h"
#include "common/http_client.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/auth.h"
#include "nsqd/channel.h"
#include "nsqd/clusterinfo.h"
#include "nsqd/diskqueue.h"
#include "nsqd/http_server.h"
#include "nsqd/metadata.h"
#include "nsqd/netpoll.h"
#include "nsqd/queue_scan.h"
#include "nsqd/statsd.h"
#include "nsqd/tcp.h"
#include "nsqd/tls_config.h"
#include "nsqd/topic.h"
#include "protocol/names.h"

#define LOG_FD STDERR_FILENO
/* How many threads close topics at exit, main included. */
#define MAX_CLOSERS 8
/* How long clients have to take their last answers. */
#define EXIT_GRACE NSEC_PER_SEC

void nsqd_logf(struct nsqd *n, enum lg_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	lg_vlogf(&n->lg, level, fmt, ap);
	va_end(ap);
}

const char *nsqd_data_path(const struct nsqd *n)
{
	return *n->opts->data_path ? n->opts->data_path : ".";
}

/* --- life ----------------------------------------------------------------------------------- */

static int listen_tcp(struct nsqd *n, struct err *err)
{
	n->tcp_listener = xcalloc(1, sizeof(*n->tcp_listener));
	n->tcp_listener->fd = -1;
	if (tcp_listen(n->tcp_listener, n->opts->tcp_address, err) != 0)
		return err_wrap(err, "listen (%s) failed - ", n->opts->tcp_address);
	n->tcp_server = tcp_server_new(n, n->tcp_listener, err);
	if (!n->tcp_server)
		return -1;
	n->netpoll = netpoll_new(n, tcp_server_resume, tcp_server_end_parked, err);
	return n->netpoll ? 0 : -1;
}

static int listen_http(struct nsqd *n, struct err *err)
{
	if (!*n->opts->http_address)
		return 0;
	n->http_server = http_server_new(
		n, n->opts->http_address, NULL, n->opts->tls_required == TLS_REQUIRED, err);
	if (!n->http_server)
		return err_wrap(err, "listen (%s) failed - ", n->opts->http_address);
	return 0;
}

static int listen_https(struct nsqd *n, struct err *err)
{
	if (!n->tls_config || !*n->opts->https_address)
		return 0;
	n->https_server = http_server_new(n, n->opts->https_address, n->tls_config, true, err);
	if (!n->https_server)
		return err_wrap(err, "listen (%s) failed - ", n->opts->https_address);
	return 0;
}

/* What other nodes are told to connect to is what we listen on, unless told otherwise. */
static void set_broadcast_ports(struct nsqd *n)
{
	int http_port = n->http_server ? http_server_port(n->http_server) : 0;
	if (n->opts->broadcast_http_port == 0 && http_port > 0)
		n->opts->broadcast_http_port = http_port;
	if (n->opts->broadcast_tcp_port == 0 && n->tcp_listener->port > 0)
		n->opts->broadcast_tcp_port = n->tcp_listener->port;
}

static int start(struct nsqd *n, struct err *err)
{
	n->exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->exit_fd < 0)
		return err_errno(err, errno, "eventfd");
	if (http_client_global_init(err) != 0)
		return -1;
	n->data_dir_fd = dirlock_lock(nsqd_data_path(n), err);
	if (n->data_dir_fd < 0)
		return err_wrap(err, "failed to lock data-path: ");
	if (options_check(n->opts, err) != 0 || lg_start_writer(&n->lg, err) != 0)
		return -1;
	if (tls_config_new(n->opts, &n->tls_config, err) != 0)
		return err_wrap(err, "failed to build TLS config - ");
	if (auth_check_root_ca(n->opts, err) != 0)
		return err_wrap(err, "failed to build client TLS config - ");
	nsqd_logf(n, LG_INFO, "%s", VERSION_STRING);
	nsqd_logf(n, LG_INFO, "%s", PRODUCT_STRING);
	nsqd_logf(n, LG_INFO, "ID: %lld", (long long)n->opts->id);
	if (listen_tcp(n, err) != 0 || listen_http(n, err) != 0 || listen_https(n, err) != 0)
		return -1;
	set_broadcast_ports(n);
	options_expand_statsd_prefix(n->opts);
	return 0;
}

struct nsqd *nsqd_new(struct options *take_opts, struct err *err)
{
	struct nsqd *n = xcalloc(1, sizeof(*n));
	n->opts = take_opts;
	lg_init(&n->lg, LOG_FD, take_opts->log_prefix, take_opts->log_level);
	nsqd_config_init(&n->config, take_opts);
	lookup_init(&n->lookup);
	n->start_time_ns = clock_wall_ns();
	n->data_dir_fd = -1;
	rwlock_init(&n->lock, RANK_NSQD);
	mutex_init(&n->metadata_lock, RANK_METADATA);
	mutex_init(&n->health_lock, RANK_HEALTH);
	atomic_init(&n->healthy, true);
	n->persist_chan = chan_new(0, 1);
	n->channels_changed_chan = chan_new(0, 1);
	n->exit_begun_chan = chan_new(0, 0);
	n->exit_chan = chan_new(0, 0);
	n->exit_fd = -1;
	wait_group_init(&n->tcp_group);
	wait_group_init(&n->wait_group);
	if (start(n, err) == 0)
		return n;
	nsqd_free(n);
	return NULL;
}

void nsqd_free(struct nsqd *n)
{
	if (!n)
		return;
	CHECK(n->topic_map == NULL);
	http_server_free(n->http_server);
	http_server_free(n->https_server);
	tcp_server_free(n->tcp_server);
	netpoll_free(n->netpoll);
	if (n->tcp_listener)
		tcp_listener_close(n->tcp_listener);
	free(n->tcp_listener);
	tls_config_free(n->tls_config);
	if (n->data_dir_fd >= 0)
		dirlock_unlock(n->data_dir_fd);
	chan_free(n->persist_chan);
	chan_free(n->channels_changed_chan);
	chan_free(n->exit_begun_chan);
	chan_free(n->exit_chan);
	wait_group_destroy(&n->tcp_group);
	wait_group_destroy(&n->wait_group);
	rwlock_destroy(&n->lock);
	mutex_destroy(&n->metadata_lock);
	mutex_destroy(&n->health_lock);
	nsqd_config_destroy(&n->config);
	lookup_destroy(&n->lookup);
	if (n->exit_fd >= 0)
		close(n->exit_fd);
	lg_stop_writer(&n->lg);
	lg_destroy(&n->lg);
	options_free(n->opts);
	free(n);
}

/* The thread "tcp". A listener that fails ends the daemon, as main sees by the signal. */
static void tcp_loop(void *arg)
{
	struct nsqd *n = arg;
	struct err err;
	if (accept_loop_run(&n->tcp_server->loop, &err) == 0)
		return;
	nsqd_logf(n, LG_FATAL, "%s", err.msg);
	atomic_store(&n->main_failed, true);
	kill(getpid(), SIGTERM);
}

int nsqd_main(struct nsqd *n, struct err *err)
{
	if (wait_group_wrap(&n->wait_group, "metadata", nsqd_metadata_loop, n, err) != 0 ||
		wait_group_wrap(&n->wait_group, "scan", nsqd_queue_scan_loop, n, err) != 0 ||
		wait_group_wrap(&n->wait_group, "lookup", lookup_loop, n, err) != 0 ||
		(*n->opts->statsd_address &&
			wait_group_wrap(&n->wait_group, "statsd", statsd_loop, n, err) != 0) ||
		netpoll_start(n->netpoll, err) != 0 ||
		wait_group_wrap(&n->tcp_group, "tcp", tcp_loop, n, err) != 0)
		return -1;
	if (n->http_server && http_server_start(n->http_server, err) != 0)
		return -1;
	return n->https_server ? http_server_start(n->https_server, err) : 0;
}

/* Have all of them gone before the deadline? Those that were parked are netpoll's. */
static bool clients_have_left(struct nsqd *n, int64_t deadline_ns)
{
	return wait_group_wait_until(&n->tcp_group, deadline_ns) &&
	       netpoll_stop_until(n->netpoll, deadline_ns);
}

/*
 * Nobody new comes in, and everybody who is there goes: when it returns, no client and no handler
 * is left.
 */
static void disconnect_everybody(struct nsqd *n)
{
	accept_loop_stop(&n->tcp_server->loop);
	tcp_server_close(n->tcp_server);
	/* Who does not read its last answers does not hold us up. */
	if (!clients_have_left(n, clock_mono_ns() + EXIT_GRACE)) {
		tcp_server_abort(n->tcp_server);
		wait_group_wait(&n->tcp_group);
		netpoll_stop(n->netpoll);
	}
	tcp_listener_close(n->tcp_listener);
	if (n->http_server)
		http_server_stop(n->http_server);
	if (n->https_server)
		http_server_stop(n->https_server);
}

/* The topics that are still to be closed: each thread takes the next one. */
struct closing {
	struct nsqd *nsqd;
	struct topic **topics;
	size_t count;
	_Atomic size_t next; /* atomic */
};

/* The end of an exit that this thread has begun: the name is free, and those that wait are told. */
static void topic_is_gone(struct nsqd *n, struct topic *t, enum exit_result res)
{
	struct topic *found;
	rwlock_wrlock(&n->lock);
	HASH_FIND_STR(n->topic_map, t->name, found);
	CHECK(found == t);
	HASH_DEL(n->topic_map, t);
	rwlock_unlock(&n->lock);
	t->files_left = res == EXIT_FAILED;
	chan_close(t->gone_chan);
	topic_unref(t);
}

/* Or waits until the thread has done its work that deletes the topic just now. */
static void close_topic(struct nsqd *n, struct topic *t)
{
	struct err err;
	enum exit_result res = topic_close(t, &err);
	if (res == EXIT_ELSEWHERE) {
		chan_recv(t->gone_chan, NULL);
		return;
	}
	if (res == EXIT_FAILED)
		nsqd_logf(n, LG_ERROR, "topic(%s) close - %s", t->name, err.msg);
	topic_is_gone(n, t, res);
}

/* The threads "close", and main. */
static void close_some(void *arg)
{
	struct closing *c = arg;
	size_t i;
	while ((i = atomic_fetch_add(&c->next, 1)) < c->count)
		close_topic(c->nsqd, c->topics[i]);
}

/*
 * Several at once, because most of it is waiting for the disk, and an
 * orchestrator may wait for us no longer than 5 s. Threads that cannot be
 * created are done without: main closes what nobody else does.
 */
static void close_all(struct nsqd *n, struct topic **topics, size_t count)
{
	struct closing c = {.nsqd = n, .topics = topics, .count = count};
	struct wait_group wg;
	struct err err;
	wait_group_init(&wg);
	for (size_t i = 1; i < count && i < MAX_CLOSERS; i++) {
		if (wait_group_wrap(&wg, "close", close_some, &c, &err) != 0)
			break;
	}
	close_some(&c);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
}

static void close_topics(struct nsqd *n)
{
	size_t count;
	struct topic **topics = nsqd_topics(n, &count);
	close_all(n, topics, count);
	for (size_t i = 0; i < count; i++)
		topic_unref(topics[i]);
	free(topics);
}

void nsqd_exit(struct nsqd *n)
{
	struct err err;
	atomic_store(&n->is_exiting, true);
	chan_close(n->exit_begun_chan);
	CHECK(eventfd_write(n->exit_fd, 1) == 0);
	disconnect_everybody(n);
	if (nsqd_persist_metadata(n, &err) != 0)
		nsqd_logf(n, LG_ERROR, "failed to persist metadata - %s", err.msg);
	nsqd_close_metadata(n);
	nsqd_logf(n, LG_INFO, "NSQ: closing topics");
	/* The scan loop holds channels: it ends first, so that closing frees them. */
	chan_close(n->exit_chan);
	close_topics(n);
	nsqd_logf(n, LG_INFO, "NSQ: stopping subsystems");
	wait_group_wait(&n->wait_group);
	dirlock_unlock(n->data_dir_fd);
	n->data_dir_fd = -1;
}

struct backend_queue *nsqd_new_diskqueue(struct nsqd *n, const char *backend_name, struct err *err)
{
	const struct options *o = nsqd_get_opts(n);
	struct diskqueue_opts opts = {
		.name = backend_name,
		.data_path = nsqd_data_path(n),
		.max_bytes_per_file = o->max_bytes_per_file,
		.min_msg_size = MIN_VALID_MSG_LENGTH,
		.max_msg_size = (int32_t)o->max_msg_size + MIN_VALID_MSG_LENGTH,
		.sync_every = o->sync_every,
		.sync_timeout = o->sync_timeout,
		.waits_for_done = true,
		/* A channel's ("topic:channel"): from there they go to consumers, and in flight. */
		.crash_forgets = strchr(backend_name, ':') != NULL,
		.lg = &n->lg,
	};
	return diskqueue_new(&opts, err);
}

/* --- topics --------------------------------------------------------------------------------- */

struct topic *nsqd_get_existing_topic(struct nsqd *n, const char *name)
{
	struct topic *t;
	rwlock_rdlock(&n->lock);
	HASH_FIND_STR(n->topic_map, name, t);
	if (t)
		topic_ref(t);
	rwlock_unlock(&n->lock);
	return t;
}

/* Finds or creates it under the lock; the caller gets a reference. NULL with err set. */
static struct topic *get_or_create_topic(
	struct nsqd *n, const char *name, bool *is_new, struct err *err)
{
	struct topic *t;
	*is_new = false;
	rwlock_wrlock(&n->lock);
	HASH_FIND_STR(n->topic_map, name, t);
	if (!t && atomic_load(&n->is_exiting)) {
		err_set(err, 0, "exiting");
	} else if (!t && (t = topic_new(n, name, err)) != NULL) {
		HASH_ADD_STR(n->topic_map, name, t);
		*is_new = true;
	}
	if (t)
		topic_ref(t);
	rwlock_unlock(&n->lock);
	return t;
}

static void create_channels(struct nsqd *n, struct topic *t, const struct strarray *names)
{
	for (size_t i = 0; i < names->n; i++) {
		struct err err;
		const char *name = names->v[i];
		if (is_ephemeral_name(name))
			continue; /* do not create ephemeral channel with no consumer client */
		if (!is_valid_channel_name(name, strlen(name))) {
			nsqd_logf(n, LG_WARN, "skipping creation of invalid channel %s", name);
			continue;
		}
		struct channel *c = topic_get_channel(t, name, &err);
		if (!c)
			nsqd_logf(n, LG_ERROR, "TOPIC(%s): failed to pre-create channel %s - %s",
				t->name, name, err.msg);
		channel_unref(c);
	}
}

/*
 * if using lookupd, make a blocking call to get channels and immediately create
 * them to ensure that all channels receive published messages
 */
static void precreate_channels(struct nsqd *n, struct topic *t)
{
	struct strarray addrs, configured, names = {0};
	struct strbuf why = STRBUF_INIT;
	lookup_http_addrs(n, &addrs);
	nsqd_config_get_lookupd(n, &configured);
	if (addrs.n > 0) {
		if (clusterinfo_get_lookupd_topic_channels(n, t->name, &addrs, &names, &why) != 0)
			nsqd_logf(n, LG_WARN,
				"failed to query nsqlookupd for channels to pre-create for topic "
				"%s - %s",
				t->name, why.data);
		create_channels(n, t, &names);
	} else if (configured.n > 0) {
		nsqd_logf(n, LG_ERROR,
			"no available nsqlookupd to query for channels to pre-create for topic %s",
			t->name);
	}
	strbuf_free(&why);
	strarray_free(&names);
	strarray_free(&configured);
	strarray_free(&addrs);
}

struct topic *nsqd_get_topic(struct nsqd *n, const char *name, struct err *err)
{
	/* most likely we already have this topic, so try read lock first */
	struct topic *t = nsqd_get_existing_topic(n, name);
	if (t)
		return t;
	bool is_new;
	t = get_or_create_topic(n, name, &is_new, err);
	if (!t || !is_new)
		return t;
	nsqd_logf(n, LG_INFO, "TOPIC(%s): created", t->name);
	/* topic is created but messagePump not yet started. If this topic was created
	 * while loading metadata at startup don't do any further initialization
	 * (topic will be "started" after loading completes) */
	if (atomic_load(&n->is_loading))
		return t;
	precreate_channels(n, t);
	/* now that all channels are added, start topic messagePump */
	topic_start(t);
	return t;
}

struct topic *nsqd_create_topic(struct nsqd *n, const char *name, struct err *err)
{
	for (;;) {
		struct topic *t = nsqd_get_topic(n, name, err);
		if (!t || !topic_exiting(t))
			return t;
		bool gone = nsqd_wait_gone(n, t->gone_chan, INT64_MAX);
		topic_unref(t);
		if (!gone) {
			err_set(err, ECANCELED, "exiting");
			return NULL;
		}
	}
}

bool nsqd_wait_gone(struct nsqd *n, struct chan *gone_chan, int64_t timeout_ns)
{
	struct ticker patience;
	enum { GONE, EXIT, TIMEOUT };
	struct chan_case cases[] = {
		[GONE] = chan_case_recv(gone_chan, NULL),
		[EXIT] = chan_case_recv(n->exit_begun_chan, NULL),
		[TIMEOUT] = chan_case_tick(timeout_ns < INT64_MAX ? &patience : NULL),
	};
	if (timeout_ns < INT64_MAX)
		ticker_after(&patience, timeout_ns);
	return chan_select(cases, 3) == GONE;
}

int nsqd_deleted(bool files_left, struct err *err)
{
	return files_left ? err_set(err, EIO, "files could not be removed") : 0;
}

int nsqd_wait_deleted(
	struct nsqd *n, struct chan *gone_chan, const bool *files_left, struct err *err)
{
	return nsqd_wait_gone(n, gone_chan, INT64_MAX) ? nsqd_deleted(*files_left, err)
						       : err_set(err, ECANCELED, "exiting");
}

int nsqd_delete_topic(struct nsqd *n, struct topic *t, struct err *err)
{
	/*
	 * delete empties all channels and the topic itself before closing (so that
	 * we dont leave any messages around). We do this before removing the topic
	 * from the map below (with no lock), so that any incoming writes will error
	 * and not create a new topic, to enforce ordering.
	 */
	enum exit_result res = topic_delete(t, err);
	if (res == EXIT_ELSEWHERE)
		return nsqd_wait_deleted(n, t->gone_chan, &t->files_left, err);
	/* Where the disk refuses, the topic is gone all the same. */
	if (res == EXIT_FAILED)
		nsqd_logf(n, LG_ERROR, "topic(%s) delete - %s", t->name, err->msg);
	topic_is_gone(n, t, res);
	return nsqd_deleted(res == EXIT_FAILED, err);
}

int nsqd_delete_existing_topic(struct nsqd *n, const char *name, struct err *err)
{
	struct topic *t = nsqd_get_existing_topic(n, name);
	if (!t)
		return err_set(err, ENOENT, "topic does not exist");
	int rc = nsqd_delete_topic(n, t, err);
	topic_unref(t);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct topic *const *)a)->name, (*(struct topic *const *)b)->name);
}

struct topic **nsqd_topics(struct nsqd *n, size_t *count)
{
	struct topic *t, *tmp;
	size_t i = 0;
	rwlock_rdlock(&n->lock);
	struct topic **list = xcalloc(HASH_COUNT(n->topic_map) + 1, sizeof(struct topic *));
	HASH_ITER (hh, n->topic_map, t, tmp)
		list[i++] = topic_ref(t);
	rwlock_unlock(&n->lock);
	qsort(list, i, sizeof(*list), by_name);
	*count = i;
	return list;
}

struct channel **nsqd_channels(struct nsqd *n, size_t *count)
{
	size_t n_topics, total = 0;
	struct channel **all = NULL;
	struct topic **topics = nsqd_topics(n, &n_topics);
	for (size_t i = 0; i < n_topics; i++) {
		size_t n_channels;
		struct channel **channels = topic_channels(topics[i], &n_channels);
		all = xreallocarray(all, total + n_channels + 1, sizeof(*all));
		memcpy(all + total, channels, n_channels * sizeof(*all));
		total += n_channels;
		free(channels);
		topic_unref(topics[i]);
	}
	free(topics);
	*count = total;
	return all;
}

/* --- notifications -------------------------------------------------------------------------- */

/*
 * since the in-memory metadata is incomplete, should not persist metadata while
 * loading it; main persists it after loading
 */
static void notify(struct nsqd *n, bool persist)
{
	if (persist && !atomic_load(&n->is_loading))
		chan_signal(n->persist_chan);
}

void nsqd_notify_topic(struct nsqd *n, struct topic *t, bool persist)
{
	lookup_notify(n, t->name, NULL, topic_exiting(t));
	notify(n, persist);
}

void nsqd_notify_channel(struct nsqd *n, struct channel *c, bool persist)
{
	lookup_notify(n, c->topic->name, c->name, channel_exiting(c));
	notify(n, persist);
	chan_signal(n->channels_changed_chan);
}

/* --- health --------------------------------------------------------------------------------- */

void nsqd_set_health(struct nsqd *n, const struct err *err)
{
	if (!err && atomic_load_explicit(&n->healthy, memory_order_relaxed))
		return;
	mutex_lock(&n->health_lock);
	snprintf(n->health_error, sizeof(n->health_error), "%s", err ? err->msg : "");
	atomic_store(&n->healthy, err == NULL);
	mutex_unlock(&n->health_lock);
}

bool nsqd_is_healthy(struct nsqd *n)
{
	return atomic_load(&n->healthy);
}

char *nsqd_get_health(struct nsqd *n, char *buf, size_t size)
{
	mutex_lock(&n->health_lock);
	if (*n->health_error)
		snprintf(buf, size, "NOK - %s", n->health_error);
	else
		snprintf(buf, size, "OK");
	mutex_unlock(&n->health_lock);
	return buf;
}
