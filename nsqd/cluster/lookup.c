/* SPDX-License-Identifier: MIT */
/*
 * The loop that keeps the nsqlookupds informed. Mirrors nsqd/lookup.go. Runs in the thread
 * "lookup"; lookup_http_addrs in any.
 *
 * Differences: Notify starts a goroutine per event, which waits until the loop has time. Here
 * events wait in a list, merged by name. Merged events leave the same state behind as one command
 * per event would. The loop looks up whether a name exists when it is that name's turn. Before that
 * it always tells of a deletion among the events, because that also ends a tombstone. (A tombstone
 * hides the name, and REGISTER alone does not end it.) If there are too many events, the list is
 * dropped, and all connections with it. A connection's end takes its tombstones along, and the next
 * one begins with all that exists. A peer that could not be reached is left alone for a while
 * (lookup_peer.h).
 *
 * Lessons in docs/course/: 06-select.
 */
#include "nsqd/cluster/lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/strbuf.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/queue/channel.h"
#include "nsqd/cluster/lookup_peer.h"
#include "nsqd/queue/topic.h"

/* For announcements: how often a peer hears from us, at least. */
#define PING_INTERVAL (15 * NSEC_PER_SEC)
/* The loop's own state. */
struct loop {
	struct lookup *lookup;
	struct topics *topics; /* lookup->topics */
	struct context *ctx;   /* topics->ctx */
	char hostname[256];
	struct lookup_peer **peers;
	size_t n_peers;
	struct ticker retry; /* when to connect to the peers that were left alone */
};

/* --- for other threads ---------------------------------------------------------------------- */

void lookup_init(struct lookup *l, struct topics *topics)
{
	*l = (struct lookup){.topics = topics};
	mutex_init(&l->lock, RANK_LEAF);
}

void lookup_destroy(struct lookup *l)
{
	strarray_free(&l->http_addrs);
	mutex_destroy(&l->lock);
}

void lookup_http_addrs(struct lookup *l, struct strarray *out)
{
	*out = (struct strarray){0};
	mutex_lock(&l->lock);
	for (size_t i = 0; i < l->http_addrs.n; i++)
		strarray_add(out, l->http_addrs.v[i]);
	mutex_unlock(&l->lock);
}

/* net.JoinHostPort of each peer that has told its address. */
static void publish_http_addrs(struct loop *loop)
{
	struct lookup *l = loop->lookup;
	struct strarray addrs = {0};
	for (size_t i = 0; i < loop->n_peers; i++) {
		const struct peer_info *info = &loop->peers[i]->info;
		if (!*info->broadcast_address)
			continue;
		bool v6 = strchr(info->broadcast_address, ':') != NULL;
		char *addr = xasprintf("%s%s%s:%lld", v6 ? "[" : "", info->broadcast_address,
			v6 ? "]" : "", (long long)info->http_port);
		strarray_add(&addrs, addr);
		free(addr);
	}
	mutex_lock(&l->lock);
	struct strarray old = l->http_addrs;
	l->http_addrs = addrs;
	mutex_unlock(&l->lock);
	strarray_free(&old);
}

/* --- connecting ----------------------------------------------------------------------------- */

/* Sends one command, and ignores its response. Logs a failure. */
static int command(struct loop *loop, struct lookup_peer *lp, const char *cmd)
{
	struct err err;
	if (lookup_peer_command(lp, cmd, NULL, NULL, &err) == 0)
		return 0;
	nsqd_logf(loop->ctx, LG_ERROR, "LOOKUPD(%s): %s - %s", lp->addr, cmd, err.msg);
	return -1;
}

/* json.Marshal of a map: the keys are sorted. */
static void add_identify_body(struct loop *loop, struct strbuf *sb)
{
	const struct options *opts = nsqd_get_opts(loop->ctx);
	strbuf_adds(sb, "{\"broadcast_address\":");
	strbuf_add_json(sb, opts->broadcast_address, strlen(opts->broadcast_address));
	strbuf_adds(sb, ",\"hostname\":");
	strbuf_add_json(sb, loop->hostname, strlen(loop->hostname));
	strbuf_addf(sb, ",\"http_port\":%d,\"tcp_port\":%d", opts->broadcast_http_port,
		opts->broadcast_tcp_port);
	topology_add_region_zone_json(sb, opts);
	strbuf_adds(sb, ",\"version\":\"" NSQ_VERSION "\"}");
}

/* Takes the answer to IDENTIFY. Closes the peer if the answer is malformed. */
static int take_peer_info(struct loop *loop, struct lookup_peer *lp, const struct strbuf *resp)
{
	struct context *ctx = loop->ctx;
	const char *text = resp->data ? resp->data : "";
	if (strcmp(text, "E_INVALID") == 0) {
		nsqd_logf(ctx, LG_INFO, "LOOKUPD(%s): lookupd returned %s", lp->addr, text);
		lookup_peer_close(lp);
		return -1;
	}
	if (peer_info_decode(&lp->info, text, resp->len) != 0) {
		nsqd_logf(ctx, LG_ERROR, "LOOKUPD(%s): parsing response - %s", lp->addr, text);
		lookup_peer_close(lp);
		return -1;
	}
	nsqd_logf(ctx, LG_INFO,
		"LOOKUPD(%s): peer info {TCPPort:%lld HTTPPort:%lld Version:%s "
		"BroadcastAddress:%s}",
		lp->addr, (long long)lp->info.tcp_port, (long long)lp->info.http_port,
		lp->info.version, lp->info.broadcast_address);
	if (!*lp->info.broadcast_address)
		nsqd_logf(ctx, LG_ERROR, "LOOKUPD(%s): no broadcast address", lp->addr);
	return 0;
}

static int identify(struct loop *loop, struct lookup_peer *lp)
{
	struct strbuf body = STRBUF_INIT, resp = STRBUF_INIT;
	struct err err;
	add_identify_body(loop, &body);
	int rc = lookup_peer_command(lp, "IDENTIFY", &body, &resp, &err);
	if (rc != 0)
		nsqd_logf(loop->ctx, LG_ERROR, "LOOKUPD(%s): IDENTIFY - %s", lp->addr, err.msg);
	else
		rc = take_peer_info(loop, lp, &resp);
	strbuf_free(&body);
	strbuf_free(&resp);
	return rc;
}

static void add_registration(struct strarray *commands, const char *topic, const char *channel)
{
	char *cmd = xasprintf("REGISTER %s%s%s", topic, channel ? " " : "", channel ? channel : "");
	strarray_add(commands, cmd);
	free(cmd);
}

/* Those that are being deleted would be registered after they were unregistered. */
static bool is_registered_topic(const struct topic *t)
{
	return !topic_exiting(t) && !atomic_load(&t->unregistered);
}

static bool is_registered_channel(const struct channel *c)
{
	return !channel_exiting(c) && !atomic_load(&c->unregistered);
}

/* All topics and channels that are to be found. */
static void collect_registrations(struct topics *ts, struct strarray *commands)
{
	size_t n_topics, n_channels;
	struct topic **topics = nsqd_topics(ts, &n_topics);
	for (size_t i = 0; i < n_topics; i++) {
		struct topic *t = topics[i];
		struct channel **channels = topic_channels(t, &n_channels);
		if (n_channels == 0 && is_registered_topic(t))
			add_registration(commands, t->name, NULL);
		for (size_t k = 0; k < n_channels; k++) {
			if (!topic_exiting(t) && is_registered_channel(channels[k]))
				add_registration(commands, t->name, channels[k]->name);
			channel_unref(channels[k]);
		}
		free(channels);
		topic_unref(t);
	}
	free(topics);
}

static bool exiting(const struct loop *loop)
{
	return context_is_exiting(loop->ctx);
}

static void connect_callback(struct lookup_peer *lp, void *arg)
{
	struct loop *loop = arg;
	struct strarray commands = {0};
	if (identify(loop, lp) != 0)
		return;
	publish_http_addrs(loop);
	/* build all the commands first so we exit the lock(s) as fast as possible */
	collect_registrations(loop->topics, &commands);
	for (size_t i = 0; i < commands.n && !exiting(loop); i++) {
		nsqd_logf(loop->ctx, LG_INFO, "LOOKUPD(%s): %s", lp->addr, commands.v[i]);
		if (command(loop, lp, commands.v[i]) != 0)
			break;
	}
	strarray_free(&commands);
}

/* --- the peers ------------------------------------------------------------------------------ */

static bool in(const char *s, const struct strarray *list)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(s, list->v[i]) == 0)
			return true;
	}
	return false;
}

static bool have_peer(const struct loop *loop, const char *addr)
{
	for (size_t i = 0; i < loop->n_peers; i++) {
		if (strcmp(loop->peers[i]->addr, addr) == 0)
			return true;
	}
	return false;
}

/* Starts the connection if there is none. Logs a failure, which the next ping would meet again. */
static void connect_peer(struct loop *loop, struct lookup_peer *lp)
{
	struct err err;
	if (lookup_peer_command(lp, NULL, NULL, NULL, &err) != 0 && !exiting(loop))
		nsqd_logf(loop->ctx, LG_ERROR, "LOOKUPD(%s): connecting - %s", lp->addr, err.msg);
}

static void connect_new_peers(struct loop *loop)
{
	struct context *ctx = loop->ctx;
	struct strarray addrs;
	nsqd_config_get_lookupd(&ctx->config, &addrs);
	for (size_t i = 0; i < addrs.n && !exiting(loop); i++) {
		if (have_peer(loop, addrs.v[i]))
			continue;
		nsqd_logf(ctx, LG_INFO, "LOOKUP(%s): adding peer", addrs.v[i]);
		struct lookup_peer *lp = lookup_peer_new(&ctx->lg, addrs.v[i], ctx->exit_fd,
			nsqd_get_opts(ctx)->max_body_size, connect_callback, loop);
		loop->peers = xreallocarray(loop->peers, loop->n_peers + 1, sizeof(*loop->peers));
		loop->peers[loop->n_peers++] = lp;
		connect_peer(loop, lp);
	}
	strarray_free(&addrs);
	publish_http_addrs(loop);
}

/* Drops the peers that are no longer among the options. */
static void remove_old_peers(struct loop *loop)
{
	struct strarray addrs;
	size_t kept = 0;
	nsqd_config_get_lookupd(&loop->ctx->config, &addrs);
	for (size_t i = 0; i < loop->n_peers; i++) {
		struct lookup_peer *lp = loop->peers[i];
		if (in(lp->addr, &addrs)) {
			loop->peers[kept++] = lp;
			continue;
		}
		nsqd_logf(loop->ctx, LG_INFO, "LOOKUP(%s): removing peer", lp->addr);
		lookup_peer_free(lp);
	}
	loop->n_peers = kept;
	strarray_free(&addrs);
}

/* send a heartbeat and read a response (read detects closed conns) */
static void ping(struct loop *loop)
{
	for (size_t i = 0; i < loop->n_peers && !exiting(loop); i++) {
		nsqd_logf(loop->ctx, LG_DEBUG, "LOOKUPD(%s): sending heartbeat",
			loop->peers[i]->addr);
		command(loop, loop->peers[i], "PING");
	}
}

/* --- events --------------------------------------------------------------------------------- */

/* Does this topic, or this channel of it, exist, and is it not being deleted, or drained? */
static bool exists(struct topics *ts, const char *topic, const char *channel)
{
	struct topic *t = nsqd_get_existing_topic(ts, topic);
	bool there = t && (channel ? !topic_exiting(t) : is_registered_topic(t));
	if (there && channel) {
		struct channel *c = topic_get_existing_channel(t, channel);
		there = c && is_registered_channel(c);
		channel_unref(c);
	}
	topic_unref(t);
	return there;
}

/* lp has missed something: the loop connects to it as soon as it may be tried again. */
static void retry_after(struct loop *loop, const struct lookup_peer *lp)
{
	int64_t *next = &loop->retry.next_ns;
	if (*next == 0 || lp->rest_until_ns < *next)
		ticker_after(&loop->retry, lp->rest_until_ns - clock_mono_ns());
}

/*
 * Tries the peers again whose rest is over. If that fails, the next event or ping is the next try.
 */
static void reconnect(struct loop *loop)
{
	for (size_t i = 0; i < loop->n_peers && !exiting(loop); i++) {
		struct lookup_peer *lp = loop->peers[i];
		if (lookup_peer_resting(lp))
			retry_after(loop, lp);
		else
			connect_peer(loop, lp);
	}
}

/* One command about a topic ("t") or channel ("t c") to all nsqlookupds. */
static void tell_all(struct loop *loop, const char *verb, const char *name)
{
	char *cmd = xasprintf("%s %s", verb, name);
	for (size_t i = 0; i < loop->n_peers && !exiting(loop); i++) {
		struct lookup_peer *lp = loop->peers[i];
		if (lookup_peer_resting(lp)) {
			retry_after(loop, lp);
			continue;
		}
		nsqd_logf(loop->ctx, LG_INFO, "LOOKUPD(%s): %s %s", lp->addr,
			strchr(name, ' ') ? "channel" : "topic", cmd);
		command(loop, lp, cmd);
	}
	free(cmd);
}

/*
 * notify all nsqlookupds that a topic or channel exists, or that it's removed; or both, one after
 * the other, if it is there again
 */
static void tell(struct loop *loop, const struct notify_event *e)
{
	char topic[sizeof(e->name)];
	memcpy(topic, e->name, sizeof(topic));
	char *channel = strchr(topic, ' ');
	if (channel)
		*channel++ = '\0';
	bool there = exists(loop->topics, topic, channel);
	if (e->gone || !there)
		tell_all(loop, "UNREGISTER", e->name);
	if (there)
		tell_all(loop, "REGISTER", e->name);
}

/* A connection that ends takes its registrations along; a peer that connects is told everything. */
static void tell_everything_anew(struct loop *loop)
{
	for (size_t i = 0; i < loop->n_peers && !exiting(loop); i++) {
		nsqd_logf(loop->ctx, LG_WARN, "LOOKUPD(%s): too many changes, reconnecting",
			loop->peers[i]->addr);
		lookup_peer_close(loop->peers[i]);
		connect_peer(loop, loop->peers[i]);
	}
}

static void handle_notification(struct loop *loop)
{
	bool overflow;
	struct notify_event *e = notify_next(&loop->ctx->notify, &overflow);
	if (overflow)
		tell_everything_anew(loop);
	if (e)
		tell(loop, e);
	free(e);
}

/* --- the loop ------------------------------------------------------------------------------- */

static void run(struct loop *loop)
{
	struct context *ctx = loop->ctx;
	struct ticker ticker;
	ticker_start(&ticker, PING_INTERVAL);
	connect_new_peers(loop);
	ticker_stop(&loop->retry);
	enum { TICK, NOTIFY, OPTIONS, RETRY, EXIT };
	for (;;) {
		struct chan_case cases[] = {
			[TICK] = chan_case_tick(&ticker),
			[NOTIFY] = chan_case_recv(ctx->notify.events_chan, NULL),
			[OPTIONS] = chan_case_recv(ctx->config.opts_notification_chan, NULL),
			[RETRY] = chan_case_tick(&loop->retry),
			[EXIT] = chan_case_recv(ctx->exit_chan, NULL),
		};
		switch (chan_select(cases, 5)) {
		case TICK:
			ping(loop);
			break;
		case NOTIFY:
			handle_notification(loop);
			break;
		case OPTIONS:
			remove_old_peers(loop);
			connect_new_peers(loop);
			break;
		case RETRY:
			reconnect(loop);
			break;
		case EXIT:
			return;
		}
	}
}

void lookup_loop(void *arg)
{
	struct lookup *l = arg;
	struct loop loop = {.lookup = l, .topics = l->topics, .ctx = l->topics->ctx};
	CHECK(gethostname(loop.hostname, sizeof(loop.hostname)) == 0);
	run(&loop);
	nsqd_logf(loop.ctx, LG_INFO, "LOOKUP: closing");
	for (size_t i = 0; i < loop.n_peers; i++)
		lookup_peer_free(loop.peers[i]);
	free(loop.peers);
}
