/* SPDX-License-Identifier: MIT */
/*
 * A connected client. Mirrors nsqd/client_v2.go. Its io_loop runs at the pollers or in a thread, its
 * message pump in any thread that takes its steps (common/runnext.h). Operators, the scan workers and
 * stats come by under the locks of channel and tcp_server.
 *
 * Lessons in docs/course/: 15-sockets, 21-testing, 22-project.
 */
#include "nsqd/client/client_v2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/queue/channel.h"
#include "nsqd/core/tls_config.h"
#include "protocol/frame.h"
#include "protocol/stream_deflate.h"
#include "protocol/stream_snappy.h"
#include "protocol/stream_tls.h"

#define TLS_HANDSHAKE_TIMEOUT (5 * NSEC_PER_SEC)
#define BYE_TIMEOUT (500 * NSEC_PER_MSEC)

/* --- life --------------------------------------------------------------------------------- */

/* net.SplitHostPort's host: without port and brackets. The caller owns it. */
static char *host_of(const char *addr)
{
	const char *colon = strrchr(addr, ':');
	size_t len = colon ? (size_t)(colon - addr) : 0;
	if (len >= 2 && addr[0] == '[' && addr[len - 1] == ']')
		return xstrndup(addr + 1, len - 2);
	return xstrndup(addr, len);
}

struct client_v2 *client_v2_new(const struct protocol_v2 *protocol, int64_t id,
	struct stream *take_stream, const char *remote_addr)
{
	const struct options *opts = nsqd_get_opts(protocol->ctx);
	struct client_v2 *c = xcalloc(1, sizeof(*c));
	c->protocol = protocol;
	c->ctx = protocol->ctx;
	c->consumer.id = id;
	c->consumer.ops = protocol->consumer_ops;
	snprintf(c->remote_addr, sizeof(c->remote_addr), "%s", remote_addr);
	c->connect_time_ns = clock_wall_ns();
	c->base = take_stream;
	c->stream = take_stream;
	bufio_reader_init(&c->reader, c->stream, DEFAULT_BUFFER_SIZE);
	mutex_init(&c->write_lock, RANK_CLIENT_WRITE);
	bufio_writer_init(&c->writer, c->stream, DEFAULT_BUFFER_SIZE);
	c->output_buffer_size = DEFAULT_BUFFER_SIZE;
	c->output_buffer_timeout = opts->output_buffer_timeout;
	/* heartbeats are client configurable but default to 30s */
	c->heartbeat_interval = opts->client_timeout / 2;
	mutex_init(&c->meta_lock, RANK_CLIENT_META);
	char *host = host_of(remote_addr);
	c->client_id = text_from(host);
	c->hostname = text_from(host);
	free(host);
	c->user_agent = text_from("");
	c->topology_region = text_from("");
	c->topology_zone = text_from("");
	c->ready_state_chan = chan_new(0, 1);
	wait_group_init(&c->wait_group);
	return c;
}

void client_v2_forget_publications(struct client_v2 *c)
{
	struct pub_count *p, *tmp;
	mutex_lock(&c->meta_lock);
	HASH_ITER (hh, c->pub_counts, p, tmp) {
		HASH_DEL(c->pub_counts, p);
		free(p);
	}
	mutex_unlock(&c->meta_lock);
}

void client_v2_free(struct client_v2 *c)
{
	CHECK(!c->put);
	client_v2_forget_publications(c);
	channel_unref(c->channel);
	bufio_reader_free(&c->reader);
	bufio_writer_free(&c->writer);
	strbuf_free(&c->late_answers);
	free(c->pump_task);
	c->stream->ops->free(c->stream);
	tls_config_unref(c->tls_config);
	mutex_destroy(&c->write_lock);
	mutex_destroy(&c->meta_lock);
	text_free(&c->client_id);
	text_free(&c->hostname);
	text_free(&c->user_agent);
	auth_state_free(c->auth_state);
	strbuf_wipe(&c->auth_secret);
	text_free(&c->topology_region);
	text_free(&c->topology_zone);
	chan_free(c->ready_state_chan);
	wait_group_destroy(&c->wait_group);
	free(c);
}

/* --- the pump's orders: io_loop -------------------------------------------------------------- */

void client_v2_subscribed(struct client_v2 *c)
{
	atomic_store(&c->pump_orders.sub_channel, c->channel);
	client_v2_try_update_ready_state(c);
}

void client_v2_end_pump(struct client_v2 *c)
{
	atomic_store(&c->pump_orders.exit, true);
	client_v2_try_update_ready_state(c);
}

/* --- IDENTIFY ------------------------------------------------------------------------------ */

/*
 * The next four: within range it is set (under write_lock), 0 keeps the default, else stock's text.
 */

static int set_heartbeat_interval(struct client_v2 *c, int64_t desired_ms, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	int64_t max_ms = nsqd_get_opts(c->ctx)->max_heartbeat_interval / NSEC_PER_MSEC;
	if (desired_ms == -1)
		c->heartbeat_interval = 0;
	else if (desired_ms >= 1000 && desired_ms <= max_ms)
		c->heartbeat_interval = desired_ms * NSEC_PER_MSEC;
	else if (desired_ms != 0)
		return err_set(
			err, 0, "heartbeat interval (%lld) is invalid", (long long)desired_ms);
	return 0;
}

static int set_output_buffer(
	struct client_v2 *c, int64_t desired_size, int64_t desired_timeout_ms, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	const struct options *opts = nsqd_get_opts(c->ctx);
	if (desired_timeout_ms == -1)
		c->output_buffer_timeout = 0;
	else if (desired_timeout_ms != 0 &&
		 desired_timeout_ms >= opts->min_output_buffer_timeout / NSEC_PER_MSEC &&
		 desired_timeout_ms <= opts->max_output_buffer_timeout / NSEC_PER_MSEC)
		c->output_buffer_timeout = desired_timeout_ms * NSEC_PER_MSEC;
	else if (desired_timeout_ms != 0)
		return err_set(err, 0, "output buffer timeout (%lld) is invalid",
			(long long)desired_timeout_ms);

	if (desired_size == -1) {
		/* effectively no buffer (every write will go directly to the stream) */
		c->output_buffer_size = 1;
		c->output_buffer_timeout = 0;
	} else if (desired_size >= 64 && desired_size <= opts->max_output_buffer_size) {
		c->output_buffer_size = (int)desired_size;
	} else if (desired_size != 0) {
		return err_set(
			err, 0, "output buffer size (%lld) is invalid", (long long)desired_size);
	}
	if (desired_size != 0) {
		if (bufio_flush(&c->writer, client_v2_write_deadline_locked(c), err) != 0)
			return -1;
		bufio_writer_reset(&c->writer, c->stream, (size_t)c->output_buffer_size);
	}
	return 0;
}

static int set_sample_rate(struct client_v2 *c, int32_t sample_rate, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	if (sample_rate < 0 || sample_rate > 99)
		return err_set(err, 0, "sample rate (%d) is invalid", (int)sample_rate);
	atomic_store(&c->sample_rate, sample_rate);
	return 0;
}

static int set_msg_timeout(struct client_v2 *c, int64_t msg_timeout_ms, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	int64_t max_ms = nsqd_get_opts(c->ctx)->max_msg_timeout / NSEC_PER_MSEC;
	if (msg_timeout_ms >= 1000 && msg_timeout_ms <= max_ms)
		c->msg_timeout = msg_timeout_ms * NSEC_PER_MSEC;
	else if (msg_timeout_ms != 0)
		return err_set(err, 0, "msg timeout (%lld) is invalid", (long long)msg_timeout_ms);
	return 0;
}

static const char *yes_no(bool b)
{
	return b ? "true" : "false";
}

static void add_text(struct strbuf *sb, const char *name, struct text t)
{
	strbuf_adds(sb, name);
	strbuf_add(sb, t.s, t.len);
}

/* As Go's %+v shows it, byte for byte. */
static void log_identify(struct client_v2 *c, const struct identify_data_v2 *d)
{
	struct strbuf sb = STRBUF_INIT;
	if (!lg_enabled(&c->ctx->lg, LG_INFO))
		return;
	strbuf_addf(&sb, "[%s] IDENTIFY: {", c->remote_addr);
	add_text(&sb, "ClientID:", d->client_id);
	add_text(&sb, " Hostname:", d->hostname);
	strbuf_addf(&sb,
		" HeartbeatInterval:%lld OutputBufferSize:%lld OutputBufferTimeout:%lld "
		"FeatureNegotiation:%s TLSv1:%s Deflate:%s DeflateLevel:%lld Snappy:%s "
		"SampleRate:%d",
		(long long)d->heartbeat_interval, (long long)d->output_buffer_size,
		(long long)d->output_buffer_timeout, yes_no(d->feature_negotiation),
		yes_no(d->tls_v1), yes_no(d->deflate), (long long)d->deflate_level,
		yes_no(d->snappy), (int)d->sample_rate);
	add_text(&sb, " UserAgent:", d->user_agent);
	strbuf_addf(&sb, " MsgTimeout:%lld", (long long)d->msg_timeout);
	if (topology_is_aware(nsqd_get_opts(c->ctx))) {
		add_text(&sb, " TopologyRegion:", d->topology_region);
		add_text(&sb, " TopologyZone:", d->topology_zone);
	}
	strbuf_addc(&sb, '}');
	lg_log(&c->ctx->lg, LG_INFO, sb.data, sb.len);
	strbuf_free(&sb);
}

static void set_names(struct client_v2 *c, const struct identify_data_v2 *d)
{
	struct text old[] = {
		c->client_id, c->hostname, c->user_agent, c->topology_region, c->topology_zone};
	mutex_lock(&c->meta_lock);
	c->client_id = text_copy(d->client_id);
	c->hostname = text_copy(d->hostname);
	c->user_agent = text_copy(d->user_agent);
	c->topology_region = text_copy(d->topology_region);
	c->topology_zone = text_copy(d->topology_zone);
	mutex_unlock(&c->meta_lock);
	for (size_t i = 0; i < sizeof(old) / sizeof(*old); i++)
		text_free(&old[i]);
}

/* Updates the client's message pump, with the first IDENTIFY only. */
static void tell_identified(struct client_v2 *c, const struct identify_data_v2 *data)
{
	struct pump_orders *o = &c->pump_orders;
	if (atomic_load(&o->identified))
		return;
	o->identify = (struct identify_event){
		.output_buffer_timeout = c->output_buffer_timeout,
		.heartbeat_interval = c->heartbeat_interval,
		.sample_rate = atomic_load(&c->sample_rate),
		.msg_timeout = c->msg_timeout,
		.topology = topology_of(
			nsqd_get_opts(c->ctx), data->topology_zone, data->topology_region),
	};
	atomic_store(&o->identified, true);
	client_v2_try_update_ready_state(c);
}

int client_v2_identify(struct client_v2 *c, const struct identify_data_v2 *data, struct err *err)
{
	log_identify(c, data);
	set_names(c, data);

	mutex_lock(&c->write_lock);
	int rc = set_heartbeat_interval(c, data->heartbeat_interval, err);
	if (rc == 0)
		rc = set_output_buffer(
			c, data->output_buffer_size, data->output_buffer_timeout, err);
	if (rc == 0)
		rc = set_sample_rate(c, data->sample_rate, err);
	if (rc == 0)
		rc = set_msg_timeout(c, data->msg_timeout, err);
	mutex_unlock(&c->write_lock);
	if (rc != 0)
		return rc;

	tell_identified(c, data);
	return 0;
}

/* --- AUTH ----------------------------------------------------------------------------------- */

/* RemoteAddr().Network() == "tcp" */
static bool is_tcp(const struct client_v2 *c)
{
	int family = AF_UNIX;
	socklen_t size = sizeof(family);
	(void)getsockopt(stream_sock_fd(c->base), SOL_SOCKET, SO_DOMAIN, &family, &size);
	return family == AF_INET || family == AF_INET6;
}

/* QueryAuthd */
static int query_authd(struct client_v2 *c, struct strbuf *why)
{
	/* A client on a unix socket has none; the name that it gave its own says nothing. */
	char *remote_ip = is_tcp(c) ? host_of(c->remote_addr) : xstrdup("");
	struct auth_request request = {
		.remote_ip = remote_ip,
		.tls_enabled = client_v2_is_tls(c),
		.common_name = client_v2_is_tls(c) ? c->tls_info->common_name : "",
		.secret = c->auth_secret.data,
		.secret_len = c->auth_secret.len,
	};
	struct auth_state *new = auth_query_any(c->ctx, &request, why);
	free(remote_ip);
	if (!new)
		return -1;
	mutex_lock(&c->meta_lock);
	struct auth_state *old = c->auth_state;
	c->auth_state = new;
	mutex_unlock(&c->meta_lock);
	auth_state_free(old);
	return 0;
}

int client_v2_auth(struct client_v2 *c, const char *secret, size_t len, struct strbuf *why)
{
	strbuf_wipe(&c->auth_secret);
	strbuf_add(&c->auth_secret, secret, len);
	return query_authd(c, why);
}

int client_v2_is_authorized(
	struct client_v2 *c, const char *topic, const char *channel, struct strbuf *why)
{
	if (!c->auth_state)
		return 0;
	if (auth_is_expired(c->auth_state) && query_authd(c, why) != 0)
		return -1;
	return auth_is_allowed(c->auth_state, topic, channel);
}

bool client_v2_has_authorizations(const struct client_v2 *c)
{
	return c->auth_state && c->auth_state->n_authorizations > 0;
}

/* --- readiness and counts ------------------------------------------------------------------- */

int64_t client_v2_ready_for_messages(const struct client_v2 *c, const struct channel *ch)
{
	if (channel_is_paused(ch))
		return 0;
	int64_t ready = atomic_load(&c->ready_count);
	int64_t in_flight = atomic_load(&c->in_flight_count);
	if (lg_enabled(&c->ctx->lg, LG_DEBUG))
		nsqd_logf(c->ctx, LG_DEBUG, "[%s] state rdy: %4lld inflt: %4lld", c->remote_addr,
			(long long)ready, (long long)in_flight);
	return ready > in_flight ? ready - in_flight : 0;
}

void client_v2_set_ready_count(struct client_v2 *c, int64_t count)
{
	if (atomic_exchange(&c->ready_count, count) != count)
		client_v2_try_update_ready_state(c);
}

void client_v2_try_update_ready_state(struct client_v2 *c)
{
	/*
	 * you can always *try* to write to ready_state_chan because in the cases where you cannot
	 * the message pump loop would have iterated anyway. the atomic integer operations guarantee
	 * correctness of the value.
	 */
	chan_signal(c->ready_state_chan);
}

void client_v2_sending_messages(struct client_v2 *c, size_t n)
{
	atomic_fetch_add(&c->in_flight_count, (int64_t)n);
	atomic_fetch_add_explicit(&c->message_count, n, memory_order_relaxed);
}

/*
 * n less in flight. True: the pump must be told, since it may be waiting for that (stock tells it
 * every time). While in_flight < ready the pump sees itself as ready anyway. Of all threads that
 * count down, one sees the step from "not ready" to "ready".
 */
static bool less_in_flight(struct client_v2 *c, size_t n)
{
	int64_t before = atomic_load(&c->in_flight_count), after;
	do {
		/* The channel was emptied between the message and its count: never below 0, or the
		 * client would get more than its RDY from then on. */
		if (before <= 0)
			return true;
		after = before > (int64_t)n ? before - (int64_t)n : 0;
	} while (!atomic_compare_exchange_weak(&c->in_flight_count, &before, after));
	return before >= atomic_load(&c->ready_count);
}

bool client_v2_finished_messages(struct client_v2 *c, size_t n)
{
	atomic_fetch_add_explicit(&c->finish_count, n, memory_order_relaxed);
	return less_in_flight(c, n);
}

bool client_v2_requeued_message(struct client_v2 *c)
{
	atomic_fetch_add_explicit(&c->requeue_count, 1, memory_order_relaxed);
	return less_in_flight(c, 1);
}

void client_v2_timed_out_messages(struct client_v2 *c, size_t n)
{
	if (less_in_flight(c, n))
		client_v2_try_update_ready_state(c);
}

void client_v2_empty(struct client_v2 *c)
{
	atomic_store(&c->in_flight_count, 0);
	client_v2_try_update_ready_state(c);
}

void client_v2_published_message(struct client_v2 *c, const char *topic, uint64_t count)
{
	struct pub_count *p;
	mutex_lock(&c->meta_lock);
	HASH_FIND_STR(c->pub_counts, topic, p);
	if (!p) {
		p = xcalloc(1, sizeof(*p));
		snprintf(p->topic, sizeof(p->topic), "%s", topic);
		HASH_ADD_STR(c->pub_counts, topic, p);
	}
	p->count += count;
	mutex_unlock(&c->meta_lock);
}

void client_v2_start_close(struct client_v2 *c)
{
	/* Force the client into ready 0 */
	client_v2_set_ready_count(c, 0);
	/* mark this client as closing */
	atomic_store(&c->state, STATE_CLOSING);
}

void client_v2_close(struct client_v2 *c)
{
	/* Before the reading ends, so that io_loop knows why. */
	atomic_store(&c->closing, true);
	stream_sock_shutdown_read(c->base);
}

bool client_v2_is_closing(const struct client_v2 *c)
{
	return atomic_load(&c->closing) || context_is_exiting(c->ctx);
}

void client_v2_abort(struct client_v2 *c)
{
	c->base->ops->shutdown(c->base);
}

void client_v2_say_bye(struct client_v2 *c)
{
	struct err ignored;
	mutex_lock(&c->write_lock);
	int64_t deadline = clock_mono_ns() + BYE_TIMEOUT;
	/* The last answers, where they have been left to the pump; messages are not waited for. */
	int rc = c->writer.failed ? -1 : 0;
	if (rc == 0 && c->answers_left)
		rc = bufio_flush(&c->writer, deadline, &ignored);
	/*
	 * What the lowest layer still has ends with a frame. A peer that has said goodbye first, and
	 * got all, needs no more than the close.
	 */
	bool close_will_do = c->peer_ended && c->stream == c->base && !c->writer.unflushed;
	if (rc == 0 && !close_will_do && c->stream->ops->flush(c->stream, deadline, &ignored) == 0)
		c->stream->ops->close_write(c->stream, deadline);
	mutex_unlock(&c->write_lock);
}

/* --- stats ---------------------------------------------------------------------------------- */

bool client_v2_is_producer(struct client_v2 *c)
{
	mutex_lock(&c->meta_lock);
	bool published = c->pub_counts != NULL;
	mutex_unlock(&c->meta_lock);
	return published;
}

/*
 * prettyConnectionState.GetCipherSuite: stock knows no names for those of TLS 1.3, nor for some
 * others.
 */
static void print_cipher_suite(uint16_t number, char *out, size_t size)
{
	static const struct {
		uint16_t number;
		const char *name;
	} suites[] = {
		{0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
		{0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"},
		{0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
		{0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"},
		{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
		{0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
	};
	for (size_t i = 0; i < sizeof(suites) / sizeof(*suites); i++) {
		if (suites[i].number == number) {
			snprintf(out, size, "%s", suites[i].name);
			return;
		}
	}
	snprintf(out, size, "Unknown %u", number);
}

static void add_tls_stats(const struct client_v2 *c, struct client_v2_stats *out)
{
	out->tls = client_v2_is_tls(c);
	if (!out->tls)
		return;
	uint16_t version = c->tls_info->version;
	print_cipher_suite(
		c->tls_info->cipher_suite, out->tls_cipher_suite, sizeof(out->tls_cipher_suite));
	/* GetVersion: 0x0301 is TLS1.0 */
	snprintf(out->tls_version, sizeof(out->tls_version), "TLS1.%u", version - 0x0301u);
}

void client_v2_stats(struct client_v2 *c, const char *topic, struct client_v2_stats *out)
{
	*out = (struct client_v2_stats){
		.id = c->consumer.id,
		.state = atomic_load(&c->state),
		.ready_count = atomic_load(&c->ready_count),
		.in_flight_count = atomic_load(&c->in_flight_count),
		.message_count = atomic_load(&c->message_count),
		.finish_count = atomic_load(&c->finish_count),
		.requeue_count = atomic_load(&c->requeue_count),
		.connect_ts = c->connect_time_ns / NSEC_PER_SEC,
		.sample_rate = atomic_load(&c->sample_rate),
		.deflate = atomic_load(&c->deflate),
		.snappy = atomic_load(&c->snappy),
	};
	snprintf(out->remote_address, sizeof(out->remote_address), "%s", c->remote_addr);
	add_tls_stats(c, out);
	mutex_lock(&c->meta_lock);
	out->client_id = text_copy(c->client_id);
	out->hostname = text_copy(c->hostname);
	out->user_agent = text_copy(c->user_agent);
	out->authed = client_v2_has_authorizations(c);
	if (c->auth_state) {
		const struct auth_state *s = c->auth_state;
		strbuf_add(&out->auth_identity, s->identity.data, s->identity.len);
		strbuf_add(&out->auth_identity_url, s->identity_url.data, s->identity_url.len);
	}
	if (topology_is_aware(nsqd_get_opts(c->ctx))) {
		out->topology_region = text_copy(c->topology_region);
		out->topology_zone = text_copy(c->topology_zone);
	}
	/* As stock, whose loop over the counts leaves after one. */
	struct pub_count *p = c->pub_counts;
	if (topic && *topic)
		HASH_FIND_STR(c->pub_counts, topic, p);
	if (p) {
		snprintf(out->pub_topic, sizeof(out->pub_topic), "%s", p->topic);
		out->pub_count = p->count;
	}
	mutex_unlock(&c->meta_lock);
}

void client_v2_stats_free(struct client_v2_stats *s)
{
	text_free(&s->client_id);
	text_free(&s->hostname);
	text_free(&s->user_agent);
	strbuf_free(&s->auth_identity);
	strbuf_free(&s->auth_identity_url);
	text_free(&s->topology_region);
	text_free(&s->topology_zone);
}

/* --- writing -------------------------------------------------------------------------------- */

int64_t client_v2_write_deadline_locked(const struct client_v2 *c)
{
	mutex_assert_held(&c->write_lock);
	return c->heartbeat_interval > 0 ? clock_mono_ns() + c->heartbeat_interval : 0;
}

/*
 * Another thread may hold the lock while it waits for the peer. What this one keeps is for others to
 * do then.
 */
void client_v2_lock_for_writing(struct client_v2 *c)
{
	if (mutex_trylock(&c->write_lock))
		return;
	runnext_handoff();
	mutex_lock(&c->write_lock);
}

static int send_locked(struct client_v2 *c, int32_t frame_type, const void *data, size_t len,
	bool flush, int64_t deadline_ns, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	unsigned char header[FRAME_HEADER_LENGTH];
	frame_write_header(header, frame_type, len);
	struct iovec parts[] = {
		{.iov_base = header, .iov_len = sizeof(header)},
		{.iov_base = (void *)data, .iov_len = len},
	};
	int rc = bufio_writev(&c->writer, parts, 2, deadline_ns, err);
	if (rc == 0 && flush)
		rc = bufio_flush(&c->writer, deadline_ns, err);
	return rc;
}

int client_v2_send(struct client_v2 *c, int32_t frame_type, const void *data, size_t len,
	bool flush, struct err *err)
{
	client_v2_lock_for_writing(c);
	int64_t deadline = client_v2_write_deadline_locked(c);
	int rc = send_locked(c, frame_type, data, len, flush, deadline, err);
	mutex_unlock(&c->write_lock);
	return rc;
}

/*
 * At a poller: takes write_lock, unless another thread has it, or the socket has not taken what there
 * was before: a client that does not read must not fill the daemon's memory.
 */
static bool begin_to_answer(struct client_v2 *c)
{
	if (!mutex_trylock(&c->write_lock))
		return false;
	if (!c->writer.below)
		return true;
	mutex_unlock(&c->write_lock);
	return false;
}

/* Without waiting. False: that is not possible now. Else *rc is what came of it. */
static bool try_answer(
	struct client_v2 *c, const struct iovec *parts, int n, int *rc, struct err *err)
{
	if (!begin_to_answer(c))
		return false;
	*rc = bufio_writev(&c->writer, parts, n, STREAM_NOW, err);
	mutex_unlock(&c->write_lock);
	return true;
}

int client_v2_answer(struct client_v2 *c, const struct iovec *parts, int n, struct err *err)
{
	int rc = 0;
	if (!c->polled) {
		client_v2_lock_for_writing(c);
		int64_t deadline = client_v2_write_deadline_locked(c);
		rc = bufio_writev(&c->writer, parts, n, deadline, err);
		mutex_unlock(&c->write_lock);
	} else if (c->late_answers.len > 0 || !try_answer(c, parts, n, &rc, err)) {
		for (int i = 0; i < n; i++)
			strbuf_add(&c->late_answers, parts[i].iov_base, parts[i].iov_len);
	}
	return rc;
}

int client_v2_send_late_answers(struct client_v2 *c, struct err *err)
{
	struct iovec part = {c->late_answers.data, c->late_answers.len};
	int rc = 0;
	if (part.iov_len == 0)
		return 0;
	if (!c->polled)
		rc = client_v2_answer(c, &part, 1, err);
	else if (!try_answer(c, &part, 1, &rc, err))
		return 0;
	strbuf_free(&c->late_answers);
	c->answers_left = true;
	return rc;
}

bool client_v2_has_written_all(struct client_v2 *c)
{
	if (c->late_answers.len > 0 || !mutex_trylock(&c->write_lock))
		return false;
	bool all = !c->writer.unflushed || c->writer.failed;
	mutex_unlock(&c->write_lock);
	return all;
}

bool client_v2_bye_may_block(struct client_v2 *c)
{
	const struct bufio_writer *w = &c->writer;
	if (c->stream != c->base || c->late_answers.len > 0 || !mutex_trylock(&c->write_lock))
		return true;
	bool may_block = !w->failed && (w->below || (c->answers_left && w->unflushed));
	mutex_unlock(&c->write_lock);
	return may_block;
}

void client_v2_give_buffers_back(struct client_v2 *c)
{
	bufio_reader_give_back(&c->reader);
	client_v2_give_writer_back(c);
}

void client_v2_give_writer_back(struct client_v2 *c)
{
	if (!mutex_trylock(&c->write_lock))
		return;
	bufio_writer_give_back(&c->writer);
	mutex_unlock(&c->write_lock);
}

int client_v2_flush(struct client_v2 *c, struct err *err)
{
	int rc = 0;
	client_v2_lock_for_writing(c);
	if (c->writer.unflushed || c->writer.failed)
		rc = bufio_flush(&c->writer, client_v2_write_deadline_locked(c), err);
	mutex_unlock(&c->write_lock);
	return rc;
}

int client_v2_flush_answers(struct client_v2 *c, struct err *err)
{
	int rc = 0;
	c->answers_left = true;
	if (mutex_trylock(&c->write_lock)) {
		if (c->writer.unflushed || c->writer.failed)
			rc = bufio_flush(&c->writer, STREAM_NOW, err);
		c->answers_left = rc == 0 && c->writer.unflushed;
		mutex_unlock(&c->write_lock);
	}
	if (c->answers_left) {
		atomic_store(&c->pump_orders.flush, true);
		client_v2_try_update_ready_state(c);
	}
	return rc;
}

/* --- writing without waiting ----------------------------------------------------------------- */

bool client_v2_begin_try_write(struct client_v2 *c)
{
	if (!mutex_trylock(&c->write_lock))
		return false;
	if (!c->writer.failed && !c->writer.below)
		return true;
	mutex_unlock(&c->write_lock);
	return false;
}

bool client_v2_try_flush(struct client_v2 *c)
{
	struct err ignored UNINITIALIZED; /* the writer keeps it */
	if (!mutex_trylock(&c->write_lock))
		return false;
	bool ok = !c->writer.failed;
	if (ok && c->writer.unflushed)
		ok = bufio_flush(&c->writer, STREAM_NOW, &ignored) == 0 && !c->writer.unflushed;
	/* A client that has no thread is not to keep a buffer for its next message. */
	if (ok)
		bufio_writer_give_back(&c->writer);
	mutex_unlock(&c->write_lock);
	return ok;
}

bool client_v2_try_send(
	struct client_v2 *c, int32_t frame_type, const void *data, size_t len, bool *left)
{
	struct err ignored UNINITIALIZED; /* the writer keeps it */
	if (!client_v2_begin_try_write(c))
		return false;
	(void)send_locked(c, frame_type, data, len, true, STREAM_NOW, &ignored);
	*left = c->writer.unflushed || c->writer.failed;
	bufio_writer_give_back(&c->writer);
	mutex_unlock(&c->write_lock);
	return true;
}

/* --- upgrades ------------------------------------------------------------------------------- */

bool client_v2_is_tls(const struct client_v2 *c)
{
	return atomic_load(&c->tls);
}

bool client_v2_is_compressed(const struct client_v2 *c)
{
	return atomic_load(&c->snappy) || atomic_load(&c->deflate);
}

static int respond_locked(struct client_v2 *c, const void *response, size_t len, struct err *err)
{
	int64_t deadline = client_v2_write_deadline_locked(c);
	return send_locked(c, FRAME_TYPE_RESPONSE, response, len, true, deadline, err);
}

static int send_ok_locked(struct client_v2 *c, struct err *err)
{
	return respond_locked(c, "OK", 2, err);
}

/*
 * Reader and writer go through the new top of the stack. What was written must have been flushed.
 */
static void use_stream_locked(struct client_v2 *c, struct stream *take_stream)
{
	mutex_assert_held(&c->write_lock);
	c->stream = take_stream;
	bufio_reader_reset(&c->reader, take_stream);
	bufio_writer_reset(&c->writer, take_stream, (size_t)c->output_buffer_size);
}

/* What the reader holds of the stream below is the new layer's. */
static const void *pending(const struct client_v2 *c)
{
	return c->reader.buf + c->reader.r;
}

/* UpgradeTLS, with its OK */
static int upgrade_tls_locked(struct client_v2 *c, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	nsqd_logf(
		c->ctx, LG_INFO, "PROTOCOL(V2): [%s] upgrading connection to TLS", c->remote_addr);
	size_t n = bufio_buffered(&c->reader);
	if (!c->tls_config)
		c->tls_config = tls_current_get(c->protocol->tls);
	struct stream *tls = stream_tls_new(
		c->stream, &c->tls_config->server, pending(c), n, TLS_HANDSHAKE_TIMEOUT, err);
	if (!tls)
		return -1;
	use_stream_locked(c, tls);
	c->tls_info = stream_tls_info(tls);
	atomic_store(&c->tls, true);
	return send_ok_locked(c, err);
}

/* UpgradeSnappy, with its OK */
static int upgrade_snappy_locked(struct client_v2 *c, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	nsqd_logf(c->ctx, LG_INFO, "PROTOCOL(V2): [%s] upgrading connection to snappy",
		c->remote_addr);
	size_t n = bufio_buffered(&c->reader);
	use_stream_locked(c, stream_snappy_new(c->stream, pending(c), n));
	atomic_store(&c->snappy, true);
	return send_ok_locked(c, err);
}

/* UpgradeDeflate, with its OK */
static int upgrade_deflate_locked(struct client_v2 *c, int level, struct err *err)
{
	mutex_assert_held(&c->write_lock);
	nsqd_logf(c->ctx, LG_INFO, "PROTOCOL(V2): [%s] upgrading connection to deflate (level %d)",
		c->remote_addr, level);
	size_t n = bufio_buffered(&c->reader);
	use_stream_locked(c, stream_deflate_new(c->stream, level, pending(c), n));
	atomic_store(&c->deflate, true);
	return send_ok_locked(c, err);
}

int client_v2_upgrade(struct client_v2 *c, const struct client_v2_upgrade *u, const void *response,
	size_t len, struct err *err)
{
	runnext_handoff(); /* the peer may take its time */
	mutex_lock(&c->write_lock);
	int rc = respond_locked(c, response, len, err);
	if (rc == 0 && u->tls_v1)
		rc = upgrade_tls_locked(c, err);
	if (rc == 0 && u->snappy)
		rc = upgrade_snappy_locked(c, err);
	if (rc == 0 && u->deflate)
		rc = upgrade_deflate_locked(c, u->deflate_level, err);
	mutex_unlock(&c->write_lock);
	return rc;
}
