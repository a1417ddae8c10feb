/* SPDX-License-Identifier: MIT */
/*
 * A topic is emptied, and ends. Mirrors nsqd/topic.go: Empty, flush and exit. Runs in the operators'
 * HTTP threads, in the threads that take away an ephemeral topic's last channel, and at the daemon's
 * exit in main and "close".
 *
 * Difference: the exit takes the lock for writing when it sets its flag, so that no put can come
 * after the final flush.
 *
 * Lessons in docs/course/: 04-close, 05-exit-chan.
 */
#include "nsqd/queue/topic_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "common/compiler.h"
#include "common/xalloc.h"
#include "nsqd/disk/backend_flush.h"
#include "nsqd/log/topic_log.h"
#include "nsqd/queue/channel.h"

/* The most messages that the final flush writes at once. */
#define FLUSH_BATCH 1024

/* --- emptying --------------------------------------------------------------------------------- */

static void empty_memory(struct topic *t)
{
	struct message *msgs[TOPIC_BATCH] UNINITIALIZED;
	size_t n = TOPIC_BATCH;
	while (n > 0) {
		int64_t bytes = 0;
		rwlock_rdlock(&t->lock);
		n = chan_try_recv_n(t->memory_msg_chan, msgs, TOPIC_BATCH, NULL);
		for (size_t i = 0; i < n; i++)
			bytes += msgs[i]->body->len;
		limits_emptied(t, n, bytes);
		rwlock_unlock(&t->lock);
		message_unref_all(msgs, n);
	}
}

int topic_empty(struct topic *t, struct err *err)
{
	empty_memory(t);
	/* For reading: the lock keeps the backend from being closed; others may go on putting. */
	rwlock_rdlock(&t->lock);
	int rc = t->backend ? t->backend->ops->empty(t->backend, err) : 0;
	if (rc == 0 && t->backend && t->log) {
		/* Else a restart would find that the channels have not finished them. */
		uint64_t upto = topic_log_handed_upto(t->log);
		for (struct channel *c = t->channel_map; c; c = c->hh.next)
			channel_pass_over(c, upto);
	}
	rwlock_unlock(&t->lock);
	/* What was emptied must not come again after kill -9. */
	topic_flush_log(t);
	return rc;
}

/* --- exit ------------------------------------------------------------------------------------- */

/* flush: memory goes to the backend. Messages that it refuses are lost, and the log says so. */
static void flush(struct topic *t)
{
	struct message **msgs = xreallocarray(NULL, FLUSH_BATCH, sizeof(*msgs));
	size_t n, lost = 0, left = chan_len(t->memory_msg_chan);
	if (left > 0)
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): flushing %zu memory messages to backend",
			t->name, left);
	while ((n = chan_try_recv_n(t->memory_msg_chan, msgs, FLUSH_BATCH, NULL)) > 0)
		lost += backend_flush_messages(t->ctx, t->backend, msgs, n);
	free(msgs);
	if (lost > 0)
		nsqd_logf(t->ctx, LG_ERROR, "TOPIC(%s): %zu messages could not be flushed", t->name,
			lost);
}

/* From here on depth and empty do without the backend, so that it can be freed. */
static struct backend_queue *take_backend(struct topic *t)
{
	rwlock_wrlock(&t->lock);
	struct backend_queue *q = t->backend;
	t->backend = NULL;
	rwlock_unlock(&t->lock);
	return q;
}

/*
 * Ends a channel. Where another thread is deleting it, waits until that has done so: only then may
 * the files be another's. False: its files could not be removed, or not be written.
 */
static bool end_channel(struct topic *t, struct channel *c, bool deleted)
{
	struct err err;
	enum exit_result res = deleted ? channel_delete(c, &err) : channel_close(c, &err);
	if (res == EXIT_ELSEWHERE) {
		chan_recv(c->gone_chan, NULL);
		return !c->files_left;
	}
	/* we need to continue regardless of error to close all the channels */
	if (res == EXIT_FAILED)
		nsqd_logf(t->ctx, LG_ERROR, "channel(%s) %s - %s", c->name,
			deleted ? "delete" : "close", err.msg);
	/* The channels hold the topic: taking them out of the map ends the circle. */
	topic_channel_is_gone(t, c, res);
	return res == EXIT_DONE;
}

/* *lost: messages that could not be flushed. */
static bool end_channels(struct topic *t, bool deleted, size_t *lost)
{
	size_t n;
	bool ok = true;
	struct channel **channels = topic_channels(t, &n);
	*lost = 0;
	for (size_t i = 0; i < n; i++) {
		ok &= end_channel(t, channels[i], deleted);
		*lost += channels[i]->lost;
	}
	topic_free_channels(channels, n);
	return ok;
}

/* Whether the exit is the calling thread's; else another one has begun it. */
static bool begin_exit(struct topic *t)
{
	rwlock_wrlock(&t->lock);
	bool first = !topic_exiting(t);
	if (first) {
		t->gone_chan = chan_new(0, 0);
		atomic_store(&t->exit_flag, true);
	}
	rwlock_unlock(&t->lock);
	return first;
}

static enum exit_result topic_exit(struct topic *t, bool deleted, struct err *err)
{
	if (!begin_exit(t)) {
		err_set(err, 0, "exiting");
		return EXIT_ELSEWHERE;
	}
	wait_group_wait(&t->appends);
	if (deleted) {
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): deleting", t->name);
		/* before nsqd.dat is without it: who makes it anew finds none of them */
		nsqd_forget_settings(t->ctx, t->name, NULL);
		/* since we are explicitly deleting a topic (not just at system exit time)
		 * de-register this from the lookupd */
		nsqd_notify(t->ctx, t->name, NULL, true, !t->ephemeral);
	} else {
		nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): closing", t->name);
	}
	chan_close(t->exit_chan);
	/* synchronize the close of messagePump() */
	wait_group_wait(&t->wait_group);

	size_t lost;
	bool ok = end_channels(t, deleted, &lost);
	if (deleted) {
		message_drain_chan(t->memory_msg_chan);
	} else {
		if (t->undone > 0 && lost == 0)
			topic_settle(t); /* else the next start finds these once more */
		flush(t);
	}
	struct backend_queue *q = take_backend(t);
	int rc = deleted ? q->ops->delete (q, err) : q->ops->close(q, err);
	rc |= topic_end_log(t, deleted, err);
	if (rc == 0 && !ok && deleted)
		rc = err_set(err, EIO, "the files of a channel could not be removed");
	return rc == 0 ? EXIT_DONE : EXIT_FAILED;
}

enum exit_result topic_delete(struct topic *t, struct err *err)
{
	return topic_exit(t, true, err);
}

enum exit_result topic_close(struct topic *t, struct err *err)
{
	return topic_exit(t, false, err);
}
