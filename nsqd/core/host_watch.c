/* SPDX-License-Identifier: MIT */
/*
 * The limits of the host. Mirrors no Go file. Publishers' threads ask; the thread "limits" looks at
 * the file system ten times a second, and says when a limit is reached no more.
 *
 * Memory is counted by each thread for itself (message_count.h), and summed up seldom: a sum says how
 * much room there is, and publishers take from that, until it is used up.
 */
#include "nsqd/core/context.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/clock.h"
#include "common/ticker.h"
#include "nsqd/core/message_count.h"

#define LOOK_NS (100 * NSEC_PER_MSEC)
/* So long nobody must have been refused until a limit counts as left. */
#define HEALED_NS NSEC_PER_SEC
/* Summing up takes no more than one part in so many of the time. */
#define SUM_SHARE 20
/* And publishers wait no longer than this for one. */
#define SUM_MAX_NS (20 * NSEC_PER_MSEC)
/* One part in so many of a limit is for topics with a max_bytes of their own. */
#define RESERVE 10

const char *const host_limit_flags[N_HOST_LIMITS] = {
	[HOST_MEMORY] = "max-memory-bytes",
	[HOST_DISK] = "max-disk-bytes",
	[HOST_FREE_DISK] = "min-free-disk",
};

/* --- the sums --------------------------------------------------------------------------------- */

/* What a topic may use of a limit. */
static int64_t usable(struct host_limits *h, int64_t max, bool share)
{
	return share || atomic_load(&h->n_sharing) == 0 ? max : max - max / RESERVE;
}

/* Sums up, unless that was just done: then there is no more room than was left. */
static void sum_memory(struct host_limits *h, int64_t max)
{
	mutex_lock(&h->lock);
	int64_t now = clock_mono_ns();
	if (now >= h->next_sum_ns) {
		atomic_store(&h->room, max - (int64_t)message_count_body_bytes());
		int64_t end = clock_mono_ns();
		int64_t pause = SUM_SHARE * (end - now);
		h->next_sum_ns = end + (pause < SUM_MAX_NS ? pause : SUM_MAX_NS);
	}
	mutex_unlock(&h->lock);
}

/* The bytes are in memory: a sum that is made now has them already. */
static bool memory_admits(struct host_limits *h, int64_t bytes, bool share)
{
	int64_t max = atomic_load(&h->max_memory);
	if (max == 0)
		return true;
	int64_t kept_back = max - usable(h, max, share);
	if (atomic_fetch_sub(&h->room, bytes) - bytes >= kept_back)
		return true;
	sum_memory(h, max);
	return atomic_load(&h->room) >= kept_back;
}

static bool disk_admits(struct host_limits *h, bool share)
{
	int64_t max = atomic_load(&h->max_disk);
	return max == 0 || message_count_stored_bytes() < usable(h, max, share);
}

/* --- refusing --------------------------------------------------------------------------------- */

static void refuse(struct context *ctx, enum host_limit which)
{
	struct host_limits *h = &ctx->host;
	atomic_store_explicit(&h->refused_ns[which], clock_mono_ns(), memory_order_relaxed);
	if (atomic_load(&h->reached[which]) || atomic_exchange(&h->reached[which], true))
		return;
	nsqd_logf(ctx, LG_WARN, "NSQ: --%s is reached: publishers are refused",
		host_limit_flags[which]);
}

bool host_limits_admit(struct context *ctx, int64_t bytes, bool share, bool ephemeral,
	enum host_limit *which, char *why, size_t size)
{
	struct host_limits *h = &ctx->host;
	if (!ephemeral && !disk_admits(h, share))
		*which = HOST_DISK;
	else if (!ephemeral && atomic_load(&h->free_is_low))
		*which = HOST_FREE_DISK;
	else if (!memory_admits(h, bytes, share))
		*which = HOST_MEMORY;
	else
		return true;
	refuse(ctx, *which);
	snprintf(why, size, "%s is full: --%s", *which == HOST_MEMORY ? "memory" : "disk",
		host_limit_flags[*which]);
	return false;
}

/* --- looking ---------------------------------------------------------------------------------- */

/* What is free, and the least that must be. False: there is no such limit, or it is not known. */
static bool look_at_free(
	struct context *ctx, const struct options *opts, int64_t *available, int64_t *least)
{
	struct statvfs fs;
	int64_t bytes;
	double percent;
	options_parse_free(opts->min_free_disk, &bytes, &percent);
	if ((bytes == 0 && percent == 0) || statvfs(nsqd_data_path(ctx), &fs) != 0)
		return false;
	*available = (int64_t)(fs.f_bavail * fs.f_frsize);
	*least = percent > 0
			 ? (int64_t)ceil((double)fs.f_blocks * (double)fs.f_frsize * percent / 100)
			 : bytes;
	return true;
}

void host_limits_look(struct context *ctx, struct host_limits_state *out)
{
	struct host_limits *h = &ctx->host;
	*out = (struct host_limits_state){0};
	out->limits[HOST_MEMORY].max = atomic_load(&h->max_memory);
	out->limits[HOST_MEMORY].used = (int64_t)message_count_body_bytes();
	out->limits[HOST_DISK].max = atomic_load(&h->max_disk);
	out->limits[HOST_DISK].used = message_count_stored_bytes();
	(void)look_at_free(ctx, nsqd_get_opts(ctx), &out->limits[HOST_FREE_DISK].used,
		&out->limits[HOST_FREE_DISK].max);
	for (int i = 0; i < N_HOST_LIMITS; i++)
		out->limits[i].reached = atomic_load(&h->reached[i]);
}

/* --- the thread "limits" ---------------------------------------------------------------------- */

/* Is it so still, by what is there now? */
static bool is_beyond(struct context *ctx, enum host_limit which)
{
	struct host_limits *h = &ctx->host;
	int64_t max = atomic_load(&h->max_memory);
	switch (which) {
	case HOST_MEMORY:
		return max > 0 && (int64_t)message_count_body_bytes() >= usable(h, max, false);
	case HOST_DISK:
		return !disk_admits(h, false);
	default:
		return atomic_load(&h->free_is_low);
	}
}

static void heal(struct context *ctx)
{
	struct host_limits *h = &ctx->host;
	int64_t now = clock_mono_ns();
	for (int i = 0; i < N_HOST_LIMITS; i++) {
		if (!atomic_load(&h->reached[i]) ||
			now - atomic_load(&h->refused_ns[i]) < HEALED_NS || is_beyond(ctx, i))
			continue;
		atomic_store(&h->reached[i], false);
		nsqd_logf(ctx, LG_INFO, "NSQ: --%s is left again: publishers are served",
			host_limit_flags[i]);
	}
}

static void look(struct context *ctx, const struct options *opts)
{
	struct host_limits *h = &ctx->host;
	int64_t available, least;
	bool low = look_at_free(ctx, opts, &available, &least) && available < least;
	atomic_store(&h->free_is_low, low);
	/* It is told at once, whether or not somebody publishes. */
	if (low)
		refuse(ctx, HOST_FREE_DISK);
	heal(ctx);
}

static void limits_loop(void *arg)
{
	struct context *ctx = arg;
	struct ticker pause;
	ticker_start(&pause, LOOK_NS);
	struct chan_case cases[] = {
		chan_case_tick(&pause), chan_case_recv(ctx->host.exit_chan, NULL)};
	while (chan_select(cases, 2) == 0)
		look(ctx, nsqd_get_opts(ctx));
}

int host_limits_use(struct context *ctx, const struct options *opts, struct err *err)
{
	struct host_limits *h = &ctx->host;
	bool on = opts->max_memory_bytes > 0 || opts->max_disk_bytes > 0 || *opts->min_free_disk;
	if (on && !h->running &&
		wait_group_wrap(&h->wait_group, "limits", limits_loop, ctx, err) != 0)
		return -1;
	h->running = h->running || on;
	atomic_store(&h->max_memory, opts->max_memory_bytes);
	atomic_store(&h->max_disk, opts->max_disk_bytes);
	atomic_store(&h->room, 0);
	/* The first publisher finds it, too. */
	if (h->running)
		look(ctx, opts);
	atomic_store(&h->on, on);
	return 0;
}

void host_limits_stop(struct host_limits *h)
{
	if (!h->running)
		return;
	chan_close(h->exit_chan);
	wait_group_wait(&h->wait_group);
	h->running = false;
}
