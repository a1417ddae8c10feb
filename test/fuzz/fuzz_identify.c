/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the body of IDENTIFY, an input being one. It is decoded or refused. A client that sends
 * a body that was decoded can do so through io_loop, too. What it says is kept within the daemon's
 * limits, and /stats shows it (fuzz_client_show).
 *
 * Flags:
 *    1  the first line is the body. The client then sends the rest through the layers that it has
 *       asked for
 */
#include "test/fuzz/clients.h"

#include "common/bytes.h"
#include "protocol/identify.h"

static struct nsqd *nsqd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	nsqd = daemon_start(&(struct daemon_options){.tls = true});
	return 0;
}

static void check_limits(const struct client_v2 *c)
{
	const struct options *o = nsqd_get_opts(&nsqd->ctx);
	CHECK(c->heartbeat_interval >= 0 && c->heartbeat_interval <= o->max_heartbeat_interval);
	CHECK(c->msg_timeout >= 0 && c->msg_timeout <= o->max_msg_timeout);
	CHECK(atomic_load(&c->sample_rate) >= 0 && atomic_load(&c->sample_rate) <= 99);
}

static void send_body(struct input body, struct input rest)
{
	static struct fuzz_client c;
	struct strbuf out = STRBUF_INIT;
	unsigned char size[4];
	fuzz_client_open(&c, nsqd, false, false);
	put_be32(size, (uint32_t)body.n);
	strbuf_adds(&out, "IDENTIFY\n");
	strbuf_add(&out, size, sizeof(size));
	strbuf_add(&out, body.p, body.n);
	strbuf_add(&out, rest.p, rest.n);
	fuzz_client_send(&c, out.data, out.len);
	if (c.client) {
		check_limits(c.client);
		fuzz_client_show(&c, nsqd);
	}
	fuzz_client_end(&c);
	strbuf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct identify_data_v2 d;
	struct err err;
	bool goes_on = input_byte(&in) & 1;
	struct input body = goes_on ? input_until(&in, '\n') : input_take(&in, in.n);
	if (body.n == 0)
		return 0;
	if (identify_decode(&d, (const char *)body.p, body.n, &err) == 0)
		identify_free(&d);
	else
		CHECK(*err.msg);
	send_body(body, in);
	daemon_clear(nsqd);
	return 0;
}
