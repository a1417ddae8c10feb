/* SPDX-License-Identifier: MIT */
/* A pool made of a chan: it keeps up to four free buffers, and neither get nor put ever waits. */
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/xalloc.h"

#include "test/course/go.h"

enum { KEEP = 4, WANTED = 6, SIZE = 4096 };

struct pool {
	struct chan *free; /* of char *; what lies there is the pool's */
	int made;          /* only main gets buffers */
};

/* The caller owns it, and may put it back from any thread. */
static char *pool_get(struct pool *p)
{
	char *buf;

	if (chan_try_recv_n(p->free, &buf, 1, NULL) == 1)
		return buf;
	p->made++;
	return xmalloc(SIZE);
}

static void pool_put(struct pool *p, char *buf)
{
	if (chan_try_send_n(p->free, &buf, 1) == 0)
		free(buf); /* enough of them */
}

/* The buffers that are in use are not the pool's: they have been put back before. */
static void pool_free(struct pool *p)
{
	char *buf;

	while (chan_try_recv_n(p->free, &buf, 1, NULL) == 1)
		free(buf);
	chan_free(p->free);
}

struct round {
	struct pool *pool;
	struct chan *used; /* of char * */
};

static void put_all(void *arg)
{
	struct round *r = arg;
	char *buf;

	while (chan_recv(r->used, &buf))
		pool_put(r->pool, buf);
}

static void run_round(struct pool *p)
{
	struct round r = {p, chan_new(sizeof(char *), WANTED)};
	struct wait_group wg;

	wait_group_init(&wg);
	for (int i = 0; i < WANTED; i++) {
		char *buf = pool_get(p);

		chan_send(r.used, &buf);
	}
	chan_close(r.used);
	go(&wg, "put", put_all, &r);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	chan_free(r.used);
}

int main(void)
{
	struct pool p = {.free = chan_new(sizeof(char *), KEEP)};

	for (int round = 1; round <= 2; round++) {
		run_round(&p);
		printf("round %d: made %d, kept %zu\n", round, p.made, chan_len(p.free));
	}
	pool_free(&p);
	gothread_drain();
	return 0;
}
