/* SPDX-License-Identifier: MIT */
/*
 * A server that does nothing, as fast as it can, to show the limits of the generator: it answers
 * OK, feeds a consumer with messages made in advance, and throws FINs away. It runs in a child
 * process, one thread per connection, and is measured like any other server. For churn, threads take
 * one connection after the other.
 *
 * It keeps no queue: in mode sub each consumer is fed until opt.total messages are out; otherwise
 * what is published is passed on at once, to one consumer of each channel, in turn. It knows no
 * layers: the rows over TLS, snappy and deflate are not for it.
 */
#include "test/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INPUT_MIN = 256 * 1024, FEED = 64, MESSAGE_FRAME = 34, OK_SIZE = 10 };

static const char OK[] = "\0\0\0\6\0\0\0\0OK";
static const char CLOSE_WAIT[] = "\0\0\0\16\0\0\0\0CLOSE_WAIT";
static const char HTTP_OK[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

static struct sequence feed;
/* The subscribers: complete before the first message is published, since each SUB is answered. */
struct channel {
	char name[NAME_SIZE];
	pthread_mutex_t lock; /* one writes to this channel's consumers at a time */
	int *fds;
	int n;
	int turn; /* guarded by lock */
};

struct topic {
	char name[NAME_SIZE];
	struct channel *channels; /* opt.channels */
	int n;
};

static pthread_mutex_t subscribe_lock = PTHREAD_MUTEX_INITIALIZER;
static struct topic *topics; /* opt.topics; changed under subscribe_lock */
static int n_topics;

/* One connection's thread. */
struct peer {
	int fd;
	struct topic *topic;   /* the one that it published to last */
	char *in, *out, *pass; /* input; answers; messages to pass on */
	size_t have, cap, answered, passed;
};

static void spawn(void *(*f)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, f, arg) != 0)
		die("pthread_create failed");
	pthread_detach(t);
}

static void message_head(char *p, size_t body)
{
	put_be32(p, (uint32_t)(30 + body));
	put_be32(p + 4, FRAME_MESSAGE);
	memset(p + 8, 0, 8);
	p[16] = 0;
	p[17] = 1;
	memcpy(p + 18, "0123456789abcdef", 16);
}

static void *feed_main(void *arg)
{
	int fd = (int)(intptr_t)arg;
	size_t message = MESSAGE_FRAME + opt.size;
	char *out = xalloc(FEED * message);
	uint64_t first;
	unsigned n;

	for (int i = 0; i < FEED; i++) {
		message_head(out + (size_t)i * message, opt.size);
		body_fill(out + (size_t)i * message + MESSAGE_FRAME, opt.size, (uint32_t)i);
	}
	while ((n = sequence_take(&feed, FEED, &first)) > 0) {
		for (unsigned i = 0; i < n; i++)
			body_stamp(out + i * message + MESSAGE_FRAME, opt.size, first + i);
		send_all(fd, out, n * message);
	}
	free(out);
	return NULL;
}

/* RDY. */
static void ready(int fd)
{
	if (strcmp(opt.mode, "sub") == 0)
		spawn(feed_main, (void *)(intptr_t)fd);
}

static bool is_name(const char *name, const char *text, size_t len)
{
	return strncmp(name, text, len) == 0 && name[len] == '\0';
}

/* NULL: nobody has subscribed to it. */
static struct topic *find_topic(const char *name, size_t len)
{
	for (struct topic *t = topics; t < topics + n_topics; t++)
		if (is_name(t->name, name, len))
			return t;
	return NULL;
}

static void copy_name(char *to, const char *name, size_t len)
{
	if (len >= NAME_SIZE)
		die("null server: a name of %zu bytes", len);
	memcpy(to, name, len);
}

static struct topic *get_topic(const char *name, size_t len)
{
	struct topic *t = find_topic(name, len);

	if (t)
		return t;
	if (n_topics == opt.topics)
		die("null server: more topics than --topics");
	t = &topics[n_topics];
	copy_name(t->name, name, len);
	t->channels = xalloc((size_t)opt.channels * sizeof(*t->channels));
	n_topics++;
	return t;
}

static struct channel *get_channel(struct topic *t, const char *name, size_t len)
{
	struct channel *c = t->channels;

	for (; c < t->channels + t->n; c++)
		if (is_name(c->name, name, len))
			return c;
	if (t->n == opt.channels)
		die("null server: more channels than --channels");
	copy_name(c->name, name, len);
	pthread_mutex_init(&c->lock, NULL);
	c->fds = xalloc((size_t)opt.subs * sizeof(int));
	t->n++;
	return c;
}

/* "SUB topic channel\n": publishing begins when all have been answered, so none comes too early. */
static void subscribed(int fd, const char *line, size_t len)
{
	const char *topic = line + sizeof("SUB");
	const char *name = (const char *)memrchr(line, ' ', len) + 1;
	struct channel *c;

	if (opt.subs == 0) /* it only creates the channel */
		return;
	pthread_mutex_lock(&subscribe_lock);
	c = get_channel(get_topic(topic, (size_t)(name - 1 - topic)), name,
		(size_t)(line + len - 1 - name));
	if (c->n == opt.subs)
		die("null server: more consumers than --subs");
	c->fds[c->n++] = fd;
	pthread_mutex_unlock(&subscribe_lock);
}

static void pass_on(struct peer *p)
{
	for (int i = 0; i < p->topic->n; i++) {
		struct channel *c = &p->topic->channels[i];
		pthread_mutex_lock(&c->lock);
		send_all(c->fds[c->turn++ % c->n], p->pass, p->passed);
		pthread_mutex_unlock(&c->lock);
	}
	p->passed = 0;
}

/* "PUB topic\n" or "MPUB topic\n": what is passed on together is of one topic. */
static void published(struct peer *p, const char *line, size_t len)
{
	const char *name = (const char *)memchr(line, ' ', len) + 1;
	size_t n = (size_t)(line + len - 1 - name);

	if (p->topic && is_name(p->topic->name, name, n))
		return;
	if (p->passed > 0)
		pass_on(p);
	p->topic = find_topic(name, n);
}

/* One published message. */
static void pass(struct peer *p, const char *body, size_t len)
{
	message_head(p->pass + p->passed, len);
	memcpy(p->pass + p->passed + MESSAGE_FRAME, body, len);
	p->passed += MESSAGE_FRAME + len;
}

/* The body of an MPUB: a count, then a size and a body for each. */
static void pass_all(struct peer *p, const char *at)
{
	uint32_t n = get_be32(at);

	for (at += 4; n > 0; n--) {
		pass(p, at + 4, get_be32(at));
		at += 4 + get_be32(at);
	}
}

static void reply(struct peer *p, const char *text, size_t len)
{
	memcpy(p->out + p->answered, text, len);
	p->answered += len;
}

/* Returns the size of the request at p, 0 when it is not complete. */
static size_t http_request(struct peer *p, const char *at, size_t have)
{
	const char *end = memmem(at, have, "\r\n\r\n", 4);
	size_t size;

	if (!end)
		return 0;
	size = (size_t)(end + 4 - at) + opt.size;
	if (size > have)
		return 0;
	reply(p, HTTP_OK, sizeof(HTTP_OK) - 1);
	return size;
}

/* The same for a command of protocol V2. */
static size_t command(struct peer *p, const char *at, size_t have)
{
	const char *nl;
	size_t line, body;

	if (at[0] == 'F') /* "FIN ", id, newline: not worth a search */
		return have < 21 ? 0 : 21;
	if (at[0] == ' ')
		return have < 4 ? 0 : 4;
	nl = memchr(at, '\n', have);
	if (!nl)
		return 0;
	line = (size_t)(nl + 1 - at);
	switch (at[0]) {
	case 'R':
		ready(p->fd);
		break;
	case 'S':
		subscribed(p->fd, at, line);
		reply(p, OK, OK_SIZE);
		break;
	case 'C':
		reply(p, CLOSE_WAIT, sizeof(CLOSE_WAIT) - 1);
		break;
	}
	if (strchr("PMDI", at[0]) == NULL)
		return line;
	if (have < line + 4)
		return 0;
	body = get_be32(at + line);
	if (have < line + 4 + body)
		return 0;
	reply(p, OK, OK_SIZE);
	if (at[0] == 'I' || at[0] == 'D') /* what is deferred does not come */
		return line + 4 + body;
	published(p, at, line);
	if (at[0] == 'P' && p->topic)
		pass(p, at + line + 4, body);
	if (at[0] == 'M' && p->topic)
		pass_all(p, at + line + 4);
	return line + 4 + body;
}

/* Answers what one recv() brings. False: the connection is at its end. */
static bool peer_step(struct peer *p)
{
	ssize_t n = recv(p->fd, p->in + p->have, p->cap - p->have, 0);
	size_t used = 0, k;

	if (n <= 0)
		return false;
	p->have += (size_t)n;
	while (p->have > used) {
		if (p->have - used >= 4 && memcmp(p->in + used, "POST", 4) == 0)
			k = http_request(p, p->in + used, p->have - used);
		else
			k = command(p, p->in + used, p->have - used);
		if (k == 0)
			break;
		used += k;
	}
	p->have -= used;
	memmove(p->in, p->in + used, p->have);
	if (p->answered > 0)
		send_all(p->fd, p->out, p->answered);
	p->answered = 0;
	if (p->passed > 0)
		pass_on(p);
	return true;
}

static void *peer_main(void *arg)
{
	struct peer *p = arg;

	while (peer_step(p))
		;
	/* The descriptor stays open: a feeder may still use it. */
	free(p->in);
	free(p->out);
	free(p->pass);
	free(p);
	return NULL;
}

static struct peer *peer_new(void)
{
	size_t largest = 256 + (size_t)opt.batch * (opt.size + 4);
	struct peer *p = xalloc(sizeof(*p));

	p->cap = 2 * largest > INPUT_MIN ? 2 * largest : INPUT_MIN;
	p->in = xalloc(p->cap);
	p->out = xalloc(p->cap + 64);      /* an answer is never longer than */
	p->pass = xalloc(p->cap * 3 + 64); /* what asked for it, a message not 3 times */
	return p;
}

static int accept_one(int listener)
{
	int fd = accept(listener, NULL, NULL), one = 1;

	if (fd < 0)
		die("accept: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* One connection after the other, each for one piece of work: no thread is made for it. */
static void *serve_churn(void *arg)
{
	bool http = strcmp(opt.mode, "churn-http") == 0;
	struct peer *p = peer_new();

	for (;;) {
		p->fd = accept_one((int)(intptr_t)arg);
		p->have = 0;
		while (peer_step(p) && !(http && p->have == 0))
			;
		close(p->fd);
	}
	return NULL;
}

static void serve(int listener)
{
	if (strncmp(opt.mode, "churn-", 6) == 0) {
		for (int i = 0; i < opt.conns; i++)
			spawn(serve_churn, (void *)(intptr_t)listener);
		serve_churn((void *)(intptr_t)listener);
	}
	for (;;) {
		struct peer *p = peer_new();

		p->fd = accept_one(listener);
		spawn(peer_main, p);
	}
}

void null_server_start(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 || listen(fd, 1024) != 0 ||
		getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		die("null server: %s", strerror(errno));
	opt.addr = sa.sin_addr;
	opt.port = opt.http_port = ntohs(sa.sin_port);
	feed.total = opt.total;
	topics = xalloc((size_t)opt.topics * sizeof(*topics));
	opt.pid = fork();
	if (opt.pid < 0)
		die("fork: %s", strerror(errno));
	if (opt.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fd);
	}
	close(fd);
}
