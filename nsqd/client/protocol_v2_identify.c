/* SPDX-License-Identifier: MIT */
/*
 * IDENTIFY and AUTH. Mirrors both of nsqd/protocol_v2.go. Runs in the thread of
 * io_loop: a poller, or "io:ADDR".
 */
#include "nsqd/client/protocol_v2_identify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/version.h"
#include "nsqd/client/auth.h"
#include "nsqd/client/protocol_v2_params.h"
#include "nsqd/client/protocol_v2_reply.h"
#include "protocol/frame.h"
#include "protocol/identify.h"

static int64_t to_ms(int64_t ns)
{
	return ns / NSEC_PER_MSEC;
}

/* What of the wanted features the connection gets. -1 with l->error set. */
static int negotiate(
	struct io_loop *l, const struct identify_data_v2 *data, struct client_v2_upgrade *u)
{
	const struct options *opts = nsqd_get_opts(l->ctx);
	/* A second IDENTIFY finds the stream encrypted or compressed: that stays as it is. */
	bool may_compress = !client_v2_is_compressed(l->client);
	u->tls_v1 =
		l->protocol->tls && data->tls_v1 && may_compress && !client_v2_is_tls(l->client);
	int64_t level = 6;
	u->deflate = opts->deflate_enabled && data->deflate && may_compress;
	if (u->deflate && data->deflate_level > 0)
		level = data->deflate_level;
	if (level > opts->max_deflate_level)
		level = opts->max_deflate_level;
	u->deflate_level = (int)level;
	u->snappy = opts->snappy_enabled && data->snappy && may_compress;
	if (u->deflate && u->snappy)
		return fatal_client_err(&l->error, NULL, "E_IDENTIFY_FAILED",
			"cannot enable both deflate and snappy compression");
	return 0;
}

static const char *json_bool(bool b)
{
	return b ? "true" : "false";
}

static void add_identify_response(
	const struct io_loop *l, const struct client_v2_upgrade *u, struct strbuf *sb)
{
	const struct options *opts = nsqd_get_opts(l->ctx);
	const struct client_v2 *c = l->client;
	strbuf_addf(sb,
		"{\"max_rdy_count\":%" PRId64 ",\"version\":\"%s\",\"max_msg_timeout\":%" PRId64
		",\"msg_timeout\":%" PRId64 ",\"tls_v1\":%s,\"deflate\":%s"
		",\"deflate_level\":%d,\"max_deflate_level\":%d,\"snappy\":%s"
		",\"sample_rate\":%" PRId32 ",\"auth_required\":%s,\"output_buffer_size\":%d"
		",\"output_buffer_timeout\":%" PRId64,
		opts->max_rdy_count, NSQ_VERSION, to_ms(opts->max_msg_timeout),
		to_ms(c->msg_timeout ? c->msg_timeout : opts->msg_timeout), json_bool(u->tls_v1),
		json_bool(u->deflate), u->deflate_level, opts->max_deflate_level,
		json_bool(u->snappy), (int32_t)atomic_load(&c->sample_rate),
		json_bool(io_loop_is_auth_enabled(l)), c->output_buffer_size,
		to_ms(c->output_buffer_timeout));
	topology_add_region_zone_json(sb, opts);
	strbuf_addc(sb, '}');
}

/* Is a layer to be put onto the stream? That may block: for a handshake, or a full socket. */
static bool wants_layer(const struct io_loop *l, const struct identify_data_v2 *data)
{
	return data->feature_negotiation &&
	       ((data->tls_v1 && l->protocol->tls) || data->snappy || data->deflate);
}

/*
 * The body of an IDENTIFY, decoded; identify_free. -1 with l->error set, or with l->blocks: it has
 * been put back.
 */
static int read_identify(struct io_loop *l, struct identify_data_v2 *data)
{
	int32_t size;
	struct err err;
	char *body = io_loop_read_command_body(l, "IDENTIFY", &size);
	if (!body)
		return -1;
	int rc = identify_decode(data, body, (size_t)size, &err);
	if (rc != 0)
		fatal_client_err(
			&l->error, err.msg, "E_BAD_BODY", "IDENTIFY failed to decode JSON body");
	l->blocks = rc == 0 && l->polled && wants_layer(l, data);
	if (l->blocks) {
		bufio_put_back(&l->client->reader, body, (size_t)size);
		io_loop_put_back_len(l, size);
		identify_free(data);
		rc = -1;
	}
	free(body);
	return rc;
}

bool protocol_v2_identify_may_block(struct io_loop *l, const struct params *p)
{
	(void)p;
	return !client_v2_has_written_all(l->client);
}

bool protocol_v2_auth_may_block(struct io_loop *l, const struct params *p)
{
	(void)l;
	(void)p;
	return true;
}

/* Answers an IDENTIFY that negotiates features, and upgrades the connection. */
static int identify_features(struct io_loop *l, const struct identify_data_v2 *data)
{
	struct client_v2_upgrade u = {0};
	struct strbuf sb = STRBUF_INIT;
	struct err err;
	if (negotiate(l, data, &u) != 0)
		return -1;
	add_identify_response(l, &u, &sb);
	int rc = u.tls_v1 || u.snappy || u.deflate
			 ? client_v2_upgrade(l->client, &u, sb.data, sb.len, &err)
			 : io_loop_send_frame(l, FRAME_TYPE_RESPONSE, sb.data, sb.len, &err);
	strbuf_free(&sb);
	if (rc != 0)
		return fatal_client_err(
			&l->error, err.msg, "E_IDENTIFY_FAILED", "IDENTIFY failed %s", err.msg);
	return 0;
}

int protocol_v2_identify(struct io_loop *l, const struct params *p, const char **response)
{
	(void)p;
	struct identify_data_v2 data;
	struct err err;
	if (atomic_load(&l->client->state) != STATE_INIT)
		return io_loop_bad_state(l, "IDENTIFY");
	if (read_identify(l, &data) != 0)
		return -1;
	int rc = client_v2_identify(l->client, &data, &err);
	if (rc != 0)
		fatal_client_err(&l->error, err.msg, "E_BAD_BODY", "IDENTIFY %s", err.msg);
	else if (data.feature_negotiation)
		rc = identify_features(l, &data);
	else
		*response = "OK"; /* bail out early if we're not negotiating features */
	identify_free(&data);
	return rc;
}

/* AUTH without its parameters: asks, and answers with what came of it. */
static int auth_with_secret(struct io_loop *l, const char *secret, size_t len)
{
	struct client_v2 *c = l->client;
	struct err err;
	if (client_v2_has_authorizations(c))
		return fatal_client_err(&l->error, NULL, "E_INVALID", "AUTH already set");
	if (!io_loop_is_auth_enabled(l))
		return fatal_client_err(&l->error, NULL, "E_AUTH_DISABLED", "AUTH disabled");
	struct strbuf sb = STRBUF_INIT;
	/* It may take a while: no answer is held back meanwhile. */
	(void)io_loop_flush(l, &err);
	if (client_v2_auth(c, secret, len, &sb) != 0)
		return io_loop_auth_failed(l, &sb, true);
	if (!client_v2_has_authorizations(c))
		return fatal_client_err(
			&l->error, NULL, "E_UNAUTHORIZED", "AUTH no authorizations found");
	const struct auth_state *s = c->auth_state;
	strbuf_adds(&sb, "{\"identity\":");
	strbuf_add_json(&sb, s->identity.data, s->identity.len);
	strbuf_adds(&sb, ",\"identity_url\":");
	strbuf_add_json(&sb, s->identity_url.data, s->identity_url.len);
	strbuf_addf(&sb, ",\"permission_count\":%zu}", s->n_authorizations);
	int rc = io_loop_send_frame(l, FRAME_TYPE_RESPONSE, sb.data, sb.len, &err);
	strbuf_free(&sb);
	if (rc != 0)
		return fatal_client_err(
			&l->error, err.msg, "E_AUTH_ERROR", "AUTH error %s", err.msg);
	return 0;
}

int protocol_v2_auth(struct io_loop *l, const struct params *p, const char **response)
{
	(void)response;
	if (atomic_load(&l->client->state) != STATE_INIT)
		return io_loop_bad_state(l, "AUTH");
	if (p->n != 1)
		return fatal_client_err(
			&l->error, NULL, "E_INVALID", "AUTH invalid number of parameters");
	int32_t size;
	char *body = io_loop_read_command_body(l, "AUTH", &size);
	if (!body)
		return -1;
	bufio_reader_wipe(&l->client->reader);
	int rc = auth_with_secret(l, body, (size_t)size);
	explicit_bzero(body, (size_t)size);
	free(body);
	return rc;
}
