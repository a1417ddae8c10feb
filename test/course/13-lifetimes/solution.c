/* SPDX-License-Identifier: MIT */
/* A topic hands each body to three channels. Each has a record of its own; the last frees the body. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/chan.h"
#include "common/xalloc.h"

#include "test/course/go.h"

enum { CHANNELS = 3 };

struct body {
	atomic_int refs; /* the records, and the topic while it makes them */
	char text[8];
};

/* Belongs to one thread at a time: a send gives it away. */
struct record {
	struct body *body; /* a reference */
	int attempts;
};

struct channel {
	struct chan *in; /* of struct record * */
	size_t bytes;
};

static atomic_int bodies; /* how many there are */

static struct body *body_new(const char *text)
{
	struct body *b = xcalloc(1, sizeof *b);

	atomic_init(&b->refs, 1);
	snprintf(b->text, sizeof b->text, "%s", text);
	atomic_fetch_add_explicit(&bodies, 1, memory_order_relaxed);
	return b;
}

static struct body *body_ref(struct body *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

static void body_unref(struct body *b)
{
	if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(b);
	atomic_fetch_sub_explicit(&bodies, 1, memory_order_relaxed);
}

/* A record for each channel. The topic has a reference of its own until all have theirs. */
static void publish(struct channel *channels, const char *text)
{
	struct body *b = body_new(text);

	for (int i = 0; i < CHANNELS; i++) {
		struct record *r = xcalloc(1, sizeof *r);

		r->body = body_ref(b);
		chan_send(channels[i].in, &r);
	}
	body_unref(b);
}

static void consume(void *arg)
{
	struct channel *ch = arg;
	struct record *r;

	while (chan_recv(ch->in, &r)) {
		r->attempts++;
		ch->bytes += strlen(r->body->text);
		body_unref(r->body);
		free(r);
	}
}

int main(void)
{
	struct channel channels[CHANNELS];
	struct wait_group wg;
	size_t bytes = 0;

	wait_group_init(&wg);
	for (int i = 0; i < CHANNELS; i++) {
		channels[i] = (struct channel){.in = chan_new(sizeof(struct record *), 2)};
		go(&wg, "channel", consume, &channels[i]);
	}
	publish(channels, "one");
	publish(channels, "two");
	publish(channels, "three");
	for (int i = 0; i < CHANNELS; i++)
		chan_close(channels[i].in);
	wait_group_wait(&wg);
	for (int i = 0; i < CHANNELS; i++) {
		bytes += channels[i].bytes;
		chan_free(channels[i].in);
	}
	printf("%zu bytes, %d bodies left\n", bytes, atomic_load(&bodies));
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
