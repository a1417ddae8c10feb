/* SPDX-License-Identifier: MIT */
/* What the fuzz targets of the compressing layers have in common. */
#ifndef TEST_FUZZ_LAYER_H
#define TEST_FUZZ_LAYER_H

#include "test/fuzz/fuzz.h"

#include <stdbool.h>

#include "common/xalloc.h"
#include "protocol/stream.h"
#include "test/unit/stream_mem.h"

typedef struct stream *(*layer_new)(struct stream *below, const void *pending, size_t n);

/*
 * Reads data through the layer: whatever it is, it gives data (at most so much), an end or an error.
 * Half of it is there when the layer is made. The first two bytes say in which pieces the rest comes
 * and is asked for.
 */
static inline void layer_read(layer_new layer, struct input in, size_t most)
{
	static char buf[70000];
	struct err err = {0};
	size_t total = 0, step = input_byte(&in), want = input_byte(&in);
	struct input pending = input_take(&in, step & 1 ? in.n / 2 : 0);
	ssize_t got;
	want = 1 + want * want;
	struct stream *s =
		layer(&stream_mem_new(in.p, in.n, 1 + step * step)->stream, pending.p, pending.n);
	while ((got = s->ops->read(s, buf, want, 0, &err)) > 0) {
		CHECK((size_t)got <= want);
		total += (size_t)got;
		CHECK(total <= most);
	}
	/* An end stays one, and so does an error. */
	CHECK(got == 0 || *err.msg);
	CHECK(s->ops->read(s, buf, want, 0, &err) == got);
	s->ops->free(s);
}

/* Writes data in two parts, of which some are flushed; they come out of another layer's reader. */
static inline void layer_write(layer_new layer, struct input in)
{
	struct err err = {0};
	size_t cut = input_byte(&in), at = 0;
	bool flushes = cut & 1;
	if (in.n == 0)
		return;
	struct stream_mem *mem = stream_mem_new(NULL, 0, 1);
	struct stream *w = layer(&mem->stream, NULL, 0);
	char *copy = xmalloc(in.n), *back = xmalloc(in.n + 1);
	memcpy(copy, in.p, in.n);
	cut = cut < in.n ? cut : in.n;
	struct iovec iov[] = {{.iov_base = copy, .iov_len = cut},
		{.iov_base = copy + cut, .iov_len = in.n - cut}};
	for (int i = 0; i < 2; i++) {
		CHECK(w->ops->writev(w, &iov[i], 1, 0, &err) == 0);
		if (i == 1 || flushes)
			CHECK(w->ops->flush(w, 0, &err) == 0);
	}
	struct stream *r = layer(&stream_mem_new(mem->out, mem->out_len, 100)->stream, NULL, 0);
	while (at < in.n) {
		ssize_t got = r->ops->read(r, back + at, in.n - at, 0, &err);
		CHECK(got > 0);
		at += (size_t)got;
	}
	CHECK(memcmp(back, in.p, in.n) == 0);
	r->ops->free(r);
	w->ops->shutdown(w);
	w->ops->free(w);
	free(copy);
	free(back);
}

/* Flags: 1 the input is written, else it is read. */
static inline void layer_try(layer_new layer, const uint8_t *data, size_t size, size_t most)
{
	struct input in = {data, size};
	if (input_byte(&in) & 1)
		layer_write(layer, in);
	else
		layer_read(layer, in, most);
}

#endif
