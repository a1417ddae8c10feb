/* SPDX-License-Identifier: MIT */
/* BROKEN: a frame says how long its body is, and that is believed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/chan.h"
#include "common/xalloc.h"

#include "test/course/go.h"

/* As it has come in: four bytes that say how long the body is, and the body. */
struct frame {
	unsigned char *data;
	size_t len;
};

/* The caller frees it. */
static char *body_of(const struct frame *f)
{
	uint32_t size = get_be32(f->data);
	char *body = xmalloc((size_t)size + 1);

	memcpy(body, f->data + 4, size); /* @copies */
	body[size] = '\0';
	return body;
}

static void serve(void *frames)
{
	struct frame f;

	while (chan_recv(frames, &f)) {
		char *body = body_of(&f); /* @calls */

		printf("%s\n", body);
		free(body);
		free(f.data);
	}
}

int main(void)
{
	static const char sent[] = "\0\0\0\x40hello";
	struct frame f = {xmalloc(sizeof sent - 1), sizeof sent - 1}; /* @allocates */
	struct chan *frames = chan_new(sizeof f, 0);
	struct wait_group wg;

	memcpy(f.data, sent, f.len);
	wait_group_init(&wg);
	go(&wg, "serve", serve, frames);
	chan_send(frames, &f);
	chan_close(frames);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	chan_free(frames);
	return 0;
}
