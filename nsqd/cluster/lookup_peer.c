/* SPDX-License-Identifier: MIT */
/*
 * A connection to one nsqlookupd. Mirrors nsqd/lookup_peer.go. Runs in the thread "lookup".
 *
 * Differences: a response of negative length is an error (stock panics). The daemon's exit ends
 * every wait. A peer that cannot be reached is left alone for a while.
 */
#include "nsqd/cluster/lookup_peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/http_client.h"
#include "common/json.h"
#include "common/xalloc.h"

/* For connecting, and for each read and write. */
#define TIMEOUT_NS NSEC_PER_SEC
#define REST_FACTOR 3

static const char magic_v1[] = "  V1";

struct lookup_peer *lookup_peer_new(const struct lg *lg, const char *addr, int cancel_fd,
	int64_t max_body_size, void (*connect_callback)(struct lookup_peer *, void *), void *arg)
{
	struct lookup_peer *lp = xcalloc(1, sizeof(*lp));
	*lp = (struct lookup_peer){
		.lg = lg,
		.addr = xstrdup(addr),
		.fd = -1,
		.cancel_fd = cancel_fd,
		.max_body_size = max_body_size,
		.connect_callback = connect_callback,
		.arg = arg,
		.info = {.version = xstrdup(""), .broadcast_address = xstrdup("")},
	};
	return lp;
}

void lookup_peer_free(struct lookup_peer *lp)
{
	lookup_peer_close(lp);
	free(lp->addr);
	free(lp->info.version);
	free(lp->info.broadcast_address);
	free(lp);
}

void lookup_peer_close(struct lookup_peer *lp)
{
	if (lp->fd >= 0)
		close(lp->fd);
	lp->fd = -1;
}

/* --- reading and writing -------------------------------------------------------------------- */

/*
 * Blocks until the socket is ready for events. -1 with err set: the deadline is over, or the daemon
 * exits.
 */
static int wait_ready(struct lookup_peer *lp, short events, int64_t deadline_ns, struct err *err)
{
	struct pollfd fds[] = {
		{.fd = lp->fd, .events = events},
		{.fd = lp->cancel_fd, .events = POLLIN},
	};
	for (;;) {
		/*
		 * Also polls after the deadline: the machine may have stood still, and the answer
		 * may be there.
		 */
		int left_ms = clock_msec_until(deadline_ns);
		int n = poll(fds, 2, left_ms);
		if (n < 0 && errno != EINTR)
			return err_errno(err, errno, "poll");
		if (n > 0 && fds[1].revents)
			return err_set(err, ECANCELED, "exiting");
		if (n > 0)
			return 0;
		if (n == 0 && left_ms == 0)
			return err_set(err, ETIMEDOUT, "i/o timeout");
	}
}

static int write_all(struct lookup_peer *lp, const char *p, size_t n, struct err *err)
{
	int64_t deadline = clock_mono_ns() + TIMEOUT_NS;
	while (n > 0) {
		ssize_t sent = send(lp->fd, p, n, MSG_NOSIGNAL);
		if (sent >= 0) {
			p += sent;
			n -= (size_t)sent;
		} else if (errno == EAGAIN) {
			if (wait_ready(lp, POLLOUT, deadline, err) != 0)
				return -1;
		} else if (errno != EINTR) {
			return err_errno(err, errno, "write");
		}
	}
	return 0;
}

/* io.ReadFull; as in stock every single read has its second. */
static int read_full(struct lookup_peer *lp, char *p, size_t n, struct err *err)
{
	size_t got = 0;
	while (got < n) {
		if (wait_ready(lp, POLLIN, clock_mono_ns() + TIMEOUT_NS, err) != 0)
			return -1;
		ssize_t part = recv(lp->fd, p + got, n - got, 0);
		if (part == 0)
			return err_set(err, 0, got > 0 ? "unexpected EOF" : "EOF");
		if (part < 0 && errno != EINTR && errno != EAGAIN)
			return err_errno(err, errno, "read");
		if (part > 0)
			got += (size_t)part;
	}
	return 0;
}

static int read_response_bounded(struct lookup_peer *lp, struct strbuf *resp, struct err *err)
{
	unsigned char head[4];
	if (read_full(lp, (char *)head, sizeof(head), err) != 0)
		return -1;
	int32_t size = (int32_t)get_be32(head);
	if (size < 0)
		return err_set(err, 0, "response body size (%d) is negative", (int)size);
	if (size > lp->max_body_size)
		return err_set(err, 0, "response body size (%d) is greater than limit (%lld)",
			(int)size, (long long)lp->max_body_size);
	char *body = xmalloc((size_t)size + 1);
	int rc = read_full(lp, body, (size_t)size, err);
	if (rc == 0 && resp)
		strbuf_add(resp, body, (size_t)size);
	free(body);
	return rc;
}

/* --- commands ------------------------------------------------------------------------------- */

int lookup_peer_resting(const struct lookup_peer *lp)
{
	return lp->fd < 0 && clock_mono_ns() < lp->rest_until_ns;
}

static int connect_and_introduce(struct lookup_peer *lp, struct err *err)
{
	lg_logf(lp->lg, LG_INFO, "LOOKUP connecting to %s", lp->addr);
	lp->fd = http_client_dial(lp->addr, TIMEOUT_NS, lp->cancel_fd, err);
	if (lp->fd < 0)
		return -1;
	if (write_all(lp, magic_v1, sizeof(magic_v1) - 1, err) != 0)
		return -1;
	lp->connect_callback(lp, lp->arg);
	if (lp->fd < 0)
		return err_set(err, 0, "lookupPeer connectCallback() failed");
	return 0;
}

static int reconnect(struct lookup_peer *lp, struct err *err)
{
	int64_t start = clock_mono_ns();
	int rc = connect_and_introduce(lp, err);
	int64_t now = clock_mono_ns();
	lp->rest_until_ns = rc == 0 ? 0 : now + REST_FACTOR * (now - start);
	return rc;
}

static int round_trip(struct lookup_peer *lp, const char *cmd, const struct strbuf *body,
	struct strbuf *resp, struct err *err)
{
	struct strbuf out = STRBUF_INIT;
	strbuf_addf(&out, "%s\n", cmd);
	if (body) {
		unsigned char size[4];
		put_be32(size, (uint32_t)body->len);
		strbuf_add(&out, size, sizeof(size));
		strbuf_add(&out, body->data, body->len);
	}
	int rc = write_all(lp, out.data, out.len, err);
	strbuf_free(&out);
	return rc == 0 ? read_response_bounded(lp, resp, err) : -1;
}

int lookup_peer_command(struct lookup_peer *lp, const char *cmd, const struct strbuf *body,
	struct strbuf *resp, struct err *err)
{
	int rc = lp->fd < 0 ? reconnect(lp, err) : 0;
	if (rc == 0 && cmd)
		rc = round_trip(lp, cmd, body, resp, err);
	if (rc != 0)
		lookup_peer_close(lp);
	return rc;
}

/* --- what it says of itself ----------------------------------------------------------------- */

/* encoding/json's rules: null changes nothing, another type is an error. */
static int decode_string(struct json_value v, char **out)
{
	if (v.type != JSON_STRING)
		return -1;
	free(*out);
	*out = json_string(v);
	return 0;
}

static int decode_member(struct peer_info *info, struct json_value key, struct json_value v)
{
	if (v.type == JSON_NULL)
		return 0;
	if (json_key_is(key, "tcp_port"))
		return json_int(v, INT64_MIN, INT64_MAX, &info->tcp_port) ? 0 : -1;
	if (json_key_is(key, "http_port"))
		return json_int(v, INT64_MIN, INT64_MAX, &info->http_port) ? 0 : -1;
	if (json_key_is(key, "version"))
		return decode_string(v, &info->version);
	if (json_key_is(key, "broadcast_address"))
		return decode_string(v, &info->broadcast_address);
	return 0;
}

int peer_info_decode(struct peer_info *info, const char *json, size_t len)
{
	struct json_value key, value;
	size_t pos = 0;
	if (!json_valid(json, len))
		return -1;
	struct json_value root = json_root(json, len);
	if (root.type != JSON_OBJECT)
		return root.type == JSON_NULL ? 0 : -1;
	while (json_next_member(root, &pos, &key, &value)) {
		if (decode_member(info, key, value) != 0)
			return -1;
	}
	return 0;
}
