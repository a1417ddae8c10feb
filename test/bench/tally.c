/* SPDX-License-Identifier: MIT */
/*
 * What has come, and whether that is what should come.
 *
 * Each thread has a bitmap of its own for each of its channels, so that noting a message touches no
 * shared memory. At the end the bitmaps of a channel are put together, and every message must be in
 * there. A message may come twice only when its attempts say so. Where each message is to come
 * twice, its two deliveries are noted in two bitmaps, and both must be full.
 *
 * The clock of a channel stops when 99 % of its messages have come. The last few may lie in the
 * server's output buffers until their ticker comes round (250 ms), which says nothing about
 * throughput and would hide it.
 */
#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { STALL_MS = 30000 };

bool delivered_twice(void)
{
	return opt.requeue || opt.msg_timeout > 0;
}

static uint64_t *bitmap_new(size_t size)
{
	/* Pages that are never touched cost nothing. */
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("no memory for a bitmap of %zu bytes", size);
	return p;
}

void tallies_init(struct tallies *t, uint64_t max, int per_channel)
{
	t->max = max;
	t->bitmap_size = (max / 64 + 1) * sizeof(uint64_t);
	t->counts = aligned_alloc(64, (size_t)opt.channels * sizeof(*t->counts));
	memset(t->counts, 0, (size_t)opt.channels * sizeof(*t->counts));
	for (int i = 0; i < opt.channels; i++)
		t->counts[i].mark = max - max / 100;
	t->n = opt.channels * per_channel;
	t->list = xalloc((size_t)t->n * sizeof(*t->list));
	for (int i = 0; i < t->n; i++) {
		t->list[i].channel = i / per_channel;
		t->list[i].last = delivered_twice() ? 2 : 1;
		t->list[i].seen = bitmap_new(t->bitmap_size);
		t->list[i].first = bitmap_new(t->bitmap_size);
	}
}

void tallies_free(struct tallies *t)
{
	for (int i = 0; i < t->n; i++) {
		munmap(t->list[i].seen, t->bitmap_size);
		munmap(t->list[i].first, t->bitmap_size);
	}
	free(t->list);
	free(t->counts);
}

void tallies_count(
	struct tallies *t, int channel, uint64_t first, uint64_t fresh, uint64_t received_at)
{
	struct channel_count *count = &t->counts[channel];
	uint64_t before;

	if (first > 0)
		atomic_fetch_add(&count->first, first);
	if (fresh == 0)
		return;
	before = atomic_fetch_add(&count->received, fresh);
	if (before < count->mark && before + fresh >= count->mark)
		atomic_store(&count->marked_at, received_at);
}

/* Dies when nothing comes for STALL_MS. */
static void await(const char *what, int channel, _Atomic uint64_t *counter, uint64_t expected)
{
	struct timespec ms = {.tv_nsec = 1000000};
	uint64_t before = 0;
	int silent = 0;

	for (;;) {
		uint64_t now = atomic_load(counter);
		if (now >= expected)
			return;
		silent = now == before ? silent + 1 : 0;
		before = now;
		if (silent > STALL_MS)
			die("channel %d stalled: %llu %s of %llu", channel, (unsigned long long)now,
				what, (unsigned long long)expected);
		nanosleep(&ms, NULL);
	}
}

void tallies_await_first(struct tallies *t, uint64_t expected)
{
	for (int i = 0; i < opt.channels; i++)
		await("first deliveries", i, &t->counts[i].first, expected);
}

void tallies_await(struct tallies *t, uint64_t expected)
{
	for (int i = 0; i < opt.channels; i++)
		await("messages", i, &t->counts[i].received, expected);
}

/* Puts the bitmaps of a channel together: how many different messages; adds to *twice those that
 * are in several. */
static uint64_t distinct(
	const struct tallies *t, int channel, bool first, uint64_t expected, uint64_t *twice)
{
	uint64_t n = 0;

	for (size_t w = 0; w <= (expected - 1) / 64; w++) { /* numbers are dense */
		uint64_t all = 0;
		for (int i = 0; i < t->n; i++) {
			const struct tally *one = &t->list[i];
			uint64_t word = first ? one->first[w] : one->seen[w];
			if (one->channel != channel)
				continue;
			*twice += (uint64_t)__builtin_popcountll(all & word);
			all |= word;
		}
		n += (uint64_t)__builtin_popcountll(all);
	}
	return n;
}

static void check_channel(const struct tallies *t, int channel, uint64_t expected)
{
	uint64_t twice = 0, redelivered = 0, n, first = expected;

	for (int i = 0; i < t->n; i++)
		if (t->list[i].channel == channel) {
			redelivered += t->list[i].redelivered;
			twice += t->list[i].again;
		}
	n = distinct(t, channel, false, expected, &twice);
	if (delivered_twice())
		first = distinct(t, channel, true, expected, &twice);
	if (n != expected || first != expected)
		die("channel %d: %llu different messages of %llu, of first deliveries %llu",
			channel, (unsigned long long)n, (unsigned long long)expected,
			(unsigned long long)first);
	if (twice > redelivered)
		die("channel %d: %llu messages came twice", channel, (unsigned long long)twice);
}

void tallies_check(const struct tallies *t, uint64_t expected)
{
	for (int i = 0; i < opt.channels; i++)
		check_channel(t, i, expected);
}
