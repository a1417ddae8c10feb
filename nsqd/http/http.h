/* SPDX-License-Identifier: MIT */
/* The routes of the HTTP API and their handlers (nsqd/http.go). */
#ifndef NSQD_HTTP_H
#define NSQD_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "nsqd/http/http_router.h"

struct channel;
struct topic;

/* The topic of the query, which is created. False: no topic, and the answer is given. */
bool http_find_topic(struct http_request *req);
/*
 * May a handler that publishes block, or take long? It does not if the topic is there, with room in
 * memory for one message, or for the `many` in what has come of the body.
 */
bool http_put_may_block(struct http_request *req, bool many);

/* The topic, or channel, of the query: a reference. NULL: it is not there, and the answer is given. */
struct topic *http_get_existing_topic(struct http_request *req);
struct channel *http_get_existing_channel(struct http_request *req);

extern const struct http_route http_routes[];
extern const size_t http_n_routes;

/* /debug (http_debug.c) */
void http_do_debug(struct http_request *req);
void http_do_set_block_rate(struct http_request *req);
void http_do_free_memory(struct http_request *req);
void http_do_pprof(struct http_request *req);
/* /metrics, /health (http_metrics.c) */
void http_do_metrics(struct http_request *req);
void http_do_health_live(struct http_request *req);
void http_do_health_ready(struct http_request *req);
/* /topic/config, /channel/config (http_settings.c) */
int64_t http_settings_limit(const struct options *opts);
void http_do_get_topic_config(struct http_request *req);
void http_do_put_topic_config(struct http_request *req);
void http_do_get_channel_config(struct http_request *req);
void http_do_put_channel_config(struct http_request *req);
/* /channel/redrive (http_redrive.c) */
void http_do_redrive(struct http_request *req);

/* peek, and one message by its id (http_inspect.c) */
void http_do_topic_peek(struct http_request *req);
void http_do_channel_peek(struct http_request *req);
void http_do_message_finish(struct http_request *req);
void http_do_message_requeue(struct http_request *req);
/* /config (http_config.c) */
void http_do_get_config(struct http_request *req);
void http_do_put_config(struct http_request *req);

#endif
