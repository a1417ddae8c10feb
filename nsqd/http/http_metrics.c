/* SPDX-License-Identifier: MIT */
/*
 * GET /metrics, and the health checks of an orchestrator. No Go file: stock has neither, but /ping
 * (http.c), which stays as it is. /metrics runs in the thread of an HTTP connection, since it looks
 * at the disk. The health checks run at a poller: they are answered when threads have run out.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/gothread.h"
#include "nsqd/client/tcp.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_request.h"
#include "nsqd/http/http_server.h"
#include "nsqd/stats/exposition.h"
#include "nsqd/stats/metrics.h"
#include "protocol/stream.h"

#define OK 200
#define UNAVAILABLE 503

/* --- /metrics --------------------------------------------------------------------------------- */

static void get_daemon_stats(const struct http_request *req, struct daemon_stats *out)
{
	const struct http_daemon *d = req->daemon;
	*out = (struct daemon_stats){
		.healthy = nsqd_is_healthy(req->ctx),
		.start_time_seconds = (double)req->ctx->start_time_ns / NSEC_PER_SEC,
		.tcp_connections = (int64_t)tcp_server_n_clients(d->tcp_server),
		.http_connections = (int64_t)(http_server_n_connections(d->http_server) +
					      http_server_n_connections(d->readonly_server)),
		.https_connections = (int64_t)http_server_n_connections(d->https_server),
		.kept_threads = (int64_t)gothread_kept(),
		.kept_bytes = (int64_t)atomic_load(&req->ctx->kept_bytes),
		.expired_channels = (int64_t)atomic_load(&req->ctx->expired_channels),
	};
	stream_sock_get_bytes(&out->received_bytes, &out->sent_bytes);
	proc_get_stats(&out->proc);
	disk_stats_get(&out->disk);
	disk_usage_get(nsqd_data_path(req->ctx), &out->usage);
	host_limits_look(req->ctx, &out->limits);
	mem_stats_get(&out->memory);
}

void http_do_metrics(struct http_request *req)
{
	struct stats stats;
	struct daemon_stats daemon;
	if (!http_parse_params(req))
		return;
	bool clients = http_get_bool(req, "include_clients", false);
	stats_get(req->daemon->topics, clients ? req->daemon->tcp_server : NULL,
		http_get_param(req, "topic"), http_get_param(req, "channel"), &stats);
	get_daemon_stats(req, &daemon);
	struct metrics_page page = {
		.stats = &stats,
		.daemon = &daemon,
		.openmetrics = req->prefers_openmetrics,
		.include_exporter = http_get_bool(req, "include_exporter", true),
		.include_histograms = http_get_bool(req, "include_histograms", true),
	};
	metrics_print(&req->out, &page);
	http_respond_as(req, exposition_type(page.openmetrics));
	stats_free(&stats);
}

/* --- /health ---------------------------------------------------------------------------------- */

void http_do_health_live(struct http_request *req)
{
	http_respond_text(req, "OK");
}

static void add_reason(struct strbuf *out, const char *reason)
{
	strbuf_adds(out, out->data[out->len - 1] == '[' ? "" : ",");
	strbuf_add_json(out, reason, strlen(reason));
}

/*
 * A listener has let the client in, and listeners listen when nsqd.dat is loaded. So what is left to
 * ask is whether the daemon ends, and whether its disk takes messages.
 */
void http_do_health_ready(struct http_request *req)
{
	static const char ready[] = "{\"status\":\"ready\",\"reasons\":[";
	static const char not_ready[] = "{\"status\":\"not ready\",\"reasons\":[";
	char health[520];
	struct strbuf *out = &req->out;
	bool loading = context_is_loading(req->ctx), exiting = context_is_exiting(req->ctx);
	bool healthy = nsqd_is_healthy(req->ctx);
	bool draining = !exiting && context_is_draining(req->ctx);
	bool is_ready = !loading && !exiting && !draining && healthy;
	strbuf_adds(out, is_ready ? ready : not_ready);
	if (loading)
		add_reason(out, "the metadata are being loaded");
	if (exiting)
		add_reason(out, "the daemon exits");
	if (draining)
		add_reason(out, "the daemon drains");
	if (!healthy)
		add_reason(out, nsqd_get_health(req->ctx, health, sizeof(health)));
	strbuf_adds(out, "]}");
	http_respond_json(req, is_ready ? OK : UNAVAILABLE);
}
