/* SPDX-License-Identifier: MIT */
/*
 * channel_expire. Mirrors no Go file. Runs in "scan", and in the thread "expire", which it starts.
 */
#include "nsqd/queue/channel_expiry.h"

#include "common/clock.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic.h"

/* Without a thread the scan loop waits so long. */
#define RETRY_NS (5 * NSEC_PER_SEC)

void expiry_init(struct expiry *e, struct context *ctx)
{
	*e = (struct expiry){.ctx = ctx};
	wait_group_init(&e->threads);
}

/* A daemon that drains keeps what it has: an operator waits for it to become less. */
static bool may_expire(const struct context *ctx)
{
	return !context_is_exiting(ctx) && !context_is_draining(ctx) && !context_is_loading(ctx);
}

bool expiry_is_open(const struct expiry *e, int64_t now_ns)
{
	return !atomic_load(&e->runs) && now_ns >= e->not_before_ns && may_expire(e->ctx);
}

bool expiry_add(struct expiry *e, struct channel *c)
{
	if (e->n_found == EXPIRY_BATCH)
		return false;
	e->found[e->n_found++] = channel_ref(c);
	return true;
}

/* The thread "expire". The daemon's exit ends it before the next channel. */
static void expire(void *arg)
{
	struct expiry *e = arg;
	for (size_t i = 0; i < e->n_found; i++) {
		struct channel *c = e->found[i];
		if (may_expire(e->ctx))
			topic_expire_channel(c->topic, c);
		channel_unref(c);
	}
	e->n_found = 0;
	atomic_store(&e->runs, false);
}

static void forget_found(struct expiry *e)
{
	for (size_t i = 0; i < e->n_found; i++)
		channel_unref(e->found[i]);
	e->n_found = 0;
}

void expiry_start(struct expiry *e, int64_t now_ns)
{
	struct err err;
	if (e->n_found == 0)
		return;
	atomic_store(&e->runs, true);
	if (wait_group_wrap(&e->threads, "expire", expire, e, &err) == 0)
		return;
	atomic_store(&e->runs, false);
	nsqd_logf(
		e->ctx, LG_ERROR, "QUEUESCAN: no thread to delete expired channels - %s", err.msg);
	forget_found(e);
	e->not_before_ns = now_ns + RETRY_NS;
}

void expiry_end(struct expiry *e)
{
	wait_group_wait(&e->threads);
	wait_group_destroy(&e->threads);
}
