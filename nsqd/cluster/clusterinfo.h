/* SPDX-License-Identifier: MIT */
/* The nsqlookupds' knowledge of the cluster (internal/clusterinfo), as far as nsqd asks for it. */
#ifndef NSQD_CLUSTERINFO_H
#define NSQD_CLUSTERINFO_H

#include "common/err.h"
#include "common/strbuf.h"
#include "nsqd/core/context.h"
#include "nsqd/core/options.h"

struct lookup;
struct topic;

/*
 * GetLookupdTopicChannels: adds the names of all channels of topic that any of the nsqlookupds
 * ("host:port" of HTTP) knows to *channels, sorted, each once. Asks all of them at the same time,
 * and blocks until they have answered, at most for --http-client-request-timeout; the daemon's exit
 * ends it. -1: at least one did not answer, and the reason is appended to why. The channels of the
 * others are there.
 */
int clusterinfo_get_lookupd_topic_channels(struct context *ctx, const char *topic,
	const struct strarray *lookupd_http_addrs, struct strarray *channels, struct strbuf *why);

/*
 * The part of GetTopic that asks the nsqlookupds. It creates the channels that they know of the new
 * topic t, so that all of these receive its messages from the first one on. For topics.prepare; arg
 * is the struct lookup. Blocks as above; takes no lock meanwhile. The thread that creates the
 * topic.
 */
void clusterinfo_precreate_channels(void *arg, struct topic *t);

#endif
