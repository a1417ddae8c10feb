/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: TLS, as the client sends it. A client in a thread of its own makes a handshake, and
 * then does what the input says: see act(). The daemon's end is a client of the TCP port that has
 * asked for TLS, or a connection of the HTTPS server.
 *
 * Flags:
 *    1  HTTPS
 *    2  there is no handshake, the input is what comes instead
 *    4  with 8 the version: none of them is TLS 1.3, 4 is 1.2, 8 is 1.1, both are 1.0
 *   16  clients must have a certificate
 *   32  the certificate must be known
 *   64  the client has a certificate
 *  128  its certificate is not the known one
 */
#include "test/fuzz/clients.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gnutls/gnutls.h>

#include "common/bytes.h"
#include "common/gothread.h"
#include "common/xalloc.h"
#include "nsqd/http/http_internal.h"
#include "nsqd/core/tls_config.h"
#include "protocol/frame.h"
#include "test/fuzz/certificate.h"

#define HTTPS 1
#define NO_HANDSHAKE 2
#define VERSION_SHIFT 2
#define REQUIRE 16
#define VERIFY 32
#define HAS_CERTIFICATE 64
#define STRANGER 128
#define PAUSE_US 200
#define HANDSHAKE_MS (60 * 1000)

static const char *const versions[] = {
	"NORMAL:-VERS-ALL:+VERS-TLS1.3",
	"NORMAL:-VERS-ALL:+VERS-TLS1.2",
	"NORMAL:-VERS-ALL:+VERS-TLS1.1",
	"NORMAL:-VERS-ALL:+VERS-TLS1.0",
};

static struct nsqd *nsqd;
/* Of clients, which take any server: no certificate, the daemon's own, another one. */
static gnutls_certificate_credentials_t nobody, known, stranger;

/* The daemon knows its own certificate as a client's. */
static void adjust(struct options *o)
{
	free(o->tls_client_auth_policy);
	free(o->tls_root_ca_file);
	o->tls_client_auth_policy = xstrdup("require-verify");
	o->tls_root_ca_file = xstrdup(o->tls_cert);
}

static void load(gnutls_certificate_credentials_t *c, const char *cert, const char *key)
{
	CHECK(gnutls_certificate_allocate_credentials(c) == 0);
	if (cert)
		CHECK(gnutls_certificate_set_x509_key_file(*c, cert, key, GNUTLS_X509_FMT_PEM) ==
			0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	nsqd = daemon_start(&(struct daemon_options){.polls = true, .tls = true, .adjust = adjust});
	certificate_write(fuzz_path("other.pem"), fuzz_path("other-key.pem"), true);
	load(&nobody, NULL, NULL);
	load(&known, fuzz_path("cert.pem"), fuzz_path("key.pem"));
	load(&stranger, fuzz_path("other.pem"), fuzz_path("other-key.pem"));
	return 0;
}

/*
 * Instead of GnuTLS's. The daemon keeps the time of a handshake itself (0). Here GnuTLS does so as
 * well, and therefore asks the layer below whether there is input.
 */
void gnutls_handshake_set_timeout(gnutls_session_t session, unsigned ms)
{
	void (*real)(gnutls_session_t, unsigned);
	*(void **)&real = dlsym(RTLD_NEXT, "gnutls_handshake_set_timeout");
	real(session, ms > 0 ? ms : HANDSHAKE_MS);
}

/* --- the client --------------------------------------------------------------------------------- */

struct tls_client {
	int fd;
	uint8_t flags;
	struct input in;
	gnutls_session_t session;
	bool captures;           /* what it would send goes into out */
	unsigned char out[8192]; /* records that have not been sent */
	size_t out_len;
	_Atomic bool paused;  /* this thread waits, until over or as long as this is set */
	_Atomic bool is_last; /* while it waits: what it has done was its last action */
	_Atomic bool over;    /* the daemon's end is, or it does not show this client */
	struct wait_group running;
};

static ssize_t push(gnutls_transport_ptr_t ptr, const void *data, size_t n)
{
	struct tls_client *c = ptr;
	if (!c->captures) {
		daemon_send(c->fd, data, n);
		return (ssize_t)n;
	}
	size_t room = sizeof(c->out) - c->out_len, keep = n < room ? n : room;
	memcpy(c->out + c->out_len, data, keep);
	c->out_len += keep;
	return (ssize_t)n;
}

/* Once the handshake is done it does not wait for answers. */
static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t n)
{
	struct tls_client *c = ptr;
	ssize_t got = recv(c->fd, buf, n, c->captures ? MSG_DONTWAIT : 0);
	if (got < 0)
		gnutls_transport_set_errno(c->session, errno);
	return got;
}

static void add_raw(struct tls_client *c, struct input raw)
{
	(void)push(c, raw.p, raw.n);
}

static void send_out(struct tls_client *c)
{
	daemon_send(c->fd, c->out, c->out_len);
	c->out_len = 0;
}

enum action { DATA, FLIP, CUT, REPEAT, RAW, ALERT, NEW_KEYS, SEND, PAUSE, ABORT, N_ACTIONS };

/* One action: a byte that says which, and what it takes. */
static void act(struct tls_client *c)
{
	enum action action = input_byte(&c->in) % N_ACTIONS;
	unsigned char at[2] = {0};
	size_t place;
	struct input data;
	switch (action) {
	case DATA: /* a record with the next n bytes */
		data = input_take(&c->in, input_byte(&c->in));
		if (data.n > 0)
			(void)gnutls_record_send(c->session, data.p, data.n);
		break;
	case FLIP: /* bits of a byte */
	case CUT:  /* all from there on */
		at[0] = input_byte(&c->in);
		at[1] = input_byte(&c->in);
		if (c->out_len == 0)
			break;
		place = get_be16(at) % c->out_len;
		if (action == FLIP)
			c->out[place] ^= input_byte(&c->in);
		else
			c->out_len = place;
		break;
	case REPEAT: /* all that is to be sent */
		if (2 * c->out_len > sizeof(c->out))
			break;
		memcpy(c->out + c->out_len, c->out, c->out_len);
		c->out_len *= 2;
		break;
	case RAW: /* n bytes that are no record */
		add_raw(c, input_take(&c->in, input_byte(&c->in)));
		break;
	case ALERT:
		(void)gnutls_alert_send(
			c->session, 1 + (input_byte(&c->in) & 1), input_byte(&c->in));
		break;
	case NEW_KEYS: /* an update in TLS 1.3, a new handshake before */
		if (gnutls_protocol_get_version(c->session) == GNUTLS_TLS1_3)
			(void)gnutls_session_key_update(
				c->session, input_byte(&c->in) & 1 ? GNUTLS_KU_PEER : 0);
		else
			(void)gnutls_handshake(c->session);
		break;
	case PAUSE: /* until the daemon's thread has read all of it, and shows the client */
	case ABORT: /* the same; then the daemon ends the connection */
		send_out(c);
		atomic_store(&c->is_last, action == ABORT);
		atomic_store(&c->paused, true);
		while (atomic_load(&c->paused) && !atomic_load(&c->over))
			usleep(PAUSE_US);
		break;
	case SEND:
	case N_ACTIONS:
		send_out(c);
		break;
	}
}

static gnutls_certificate_credentials_t credentials_of(uint8_t flags)
{
	if (!(flags & HAS_CERTIFICATE))
		return nobody;
	return flags & STRANGER ? stranger : known;
}

static bool shake_hands(struct tls_client *c)
{
	int rc;
	CHECK(gnutls_init(&c->session, GNUTLS_CLIENT) == 0);
	CHECK(gnutls_priority_set_direct(
		      c->session, versions[c->flags >> VERSION_SHIFT & 3], NULL) == 0);
	CHECK(gnutls_credentials_set(
		      c->session, GNUTLS_CRD_CERTIFICATE, credentials_of(c->flags)) == 0);
	gnutls_transport_set_ptr(c->session, c);
	gnutls_transport_set_push_function(c->session, push);
	gnutls_transport_set_pull_function(c->session, pull);
	do
		rc = gnutls_handshake(c->session);
	while (rc < 0 && !gnutls_error_is_fatal(rc));
	return rc == 0;
}

/* IDENTIFY, and the answer; what follows is TLS. */
static void ask_for_tls(int fd)
{
	static const char text[] = "IDENTIFY\n\0\0\0\x2a"
				   "{\"tls_v1\":true,\"feature_negotiation\":true}";
	unsigned char head[FRAME_HEADER_LENGTH], body[4096];
	daemon_send(fd, text, sizeof(text) - 1);
	if (recv(fd, head, sizeof(head), MSG_WAITALL) != sizeof(head))
		return;
	size_t n = get_be32(head) - 4;
	CHECK(n <= sizeof(body));
	(void)recv(fd, body, n, MSG_WAITALL);
}

/* In a thread of its own. */
static void run_client(void *arg)
{
	struct tls_client *c = arg;
	if (!(c->flags & HTTPS))
		ask_for_tls(c->fd);
	if (c->flags & NO_HANDSHAKE) {
		daemon_send(c->fd, c->in.p, c->in.n);
	} else {
		/* It fails where the certificate is refused; on a busy machine also for want of time. */
		if (!shake_hands(c))
			c->in.n = 0;
		c->captures = true;
		while (c->in.n > 0)
			act(c);
		send_out(c);
		gnutls_deinit(c->session);
	}
	shutdown(c->fd, SHUT_WR);
	daemon_read_to_end(c->fd);
}

static void client_begin(struct tls_client *c, int fd, uint8_t flags, struct input in)
{
	struct err err;
	*c = (struct tls_client){.fd = fd, .flags = flags, .in = in, .over = flags & HTTPS};
	wait_group_init(&c->running);
	CHECK(wait_group_wrap(&c->running, "client", run_client, c, &err) == 0);
}

static void client_end(struct tls_client *c)
{
	wait_group_wait(&c->running);
	wait_group_destroy(&c->running);
	close(c->fd);
}

/* --- the daemon's end --------------------------------------------------------------------------- */

static void run_tcp(uint8_t flags, struct input in)
{
	static struct fuzz_client c;
	static struct tls_client client;
	fuzz_client_open(&c, nsqd, true, false);
	client_begin(&client, c.peer, flags, in);
	/* Each turn waits a moment for input, as a client's thread does. */
	while (fuzz_client_go_on(&c)) {
		if (atomic_load(&client.paused) && atomic_load(&client.is_last))
			c.client->stream->ops->shutdown(c.client->stream);
		else if (atomic_load(&client.paused))
			fuzz_client_show(&c, nsqd);
		atomic_store(&client.paused, false);
	}
	atomic_store(&client.over, true);
	client_end(&client);
}

static void run_https(uint8_t flags, struct input in)
{
	static struct tls_client client;
	int peer;
	struct http_conn *c = daemon_http_open(nsqd, nsqd->https_server, &peer);
	client_begin(&client, peer, flags, in);
	while (http_conn_step(c, true) != NETPOLL_OVER)
		;
	daemon_http_close(c);
	client_end(&client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t flags = input_byte(&in);
	struct tls_config *tls = tls_current_get(nsqd->tls);
	tls->server.client_auth = flags & VERIFY    ? TLS_REQUIRE_AND_VERIFY_CLIENT_CERT
				  : flags & REQUIRE ? TLS_REQUIRE_ANY_CLIENT_CERT
						    : TLS_NO_CLIENT_CERT;
	tls_config_unref(tls);
	if (flags & HTTPS)
		run_https(flags, in);
	else
		run_tcp(flags, in);
	daemon_clear(nsqd);
	return 0;
}
