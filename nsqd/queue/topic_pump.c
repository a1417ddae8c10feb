/* SPDX-License-Identifier: MIT */
/*
 * The topic's message pump: memory queue or backend -> every channel. Mirrors Topic.messagePump of
 * nsqd/topic.go. Thread "t:NAME", and threads that take its steps (common/runnext.h).
 *
 * Differences: it takes messages in batches. It leaves out a channel from the beginning of its
 * deletion. So messages for a topic whose only channel is being deleted wait for the next one. A
 * message that a channel's disk refuses is kept and tried again, where stock logs and drops it.
 *
 * Lessons in docs/course/: 06-select, 07-nil-chan, 17-cost, 20-journey.
 */
#include <stdlib.h>

#include "common/compiler.h"
#include "common/runnext.h"
#include "common/xalloc.h"
#include "nsqd/log/topic_log.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/topic_internal.h"

/* The same as long as no batch was larger: most topics are idle, and each has a pump. */
#define SMALL_BATCH 16
/* The most messages, over all channels, that another thread than the pump's deals out. */
#define SHORT_STEP 16

enum { MEMORY, BACKEND, UPDATE, PAUSE, UNSTUCK, RETRY, EXIT, N_CASES };

/* The pump's state: that of the thread that takes its step. */
struct pump {
	struct task task;
	struct chan_case cases[N_CASES];
	struct waiter waiters[N_CASES];
	struct topic *topic;
	struct channel **channels; /* a reference each */
	size_t n_channels;
	bool stale;            /* channel_map has changed since */
	struct message **msgs; /* not on the stack, where they would take a page for themselves */
	size_t cap;            /* for so many of them there is memory */
	size_t last;           /* how many the last batch had */
	struct drop_plan drop; /* these are to be dropped: the topic holds too many */
	unsigned drop_looks;   /* so often in a row it did not know */
	struct ticker retry;   /* when to look again, what is to be dropped */
	int64_t received;      /* from the backend, in all */
};

/* Those that are being deleted get nothing more. */
static void refresh_channels(struct pump *p)
{
	size_t n, kept = 0;
	struct channel **channels = topic_channels(p->topic, &n);
	for (size_t i = 0; i < n; i++) {
		if (channel_exiting(channels[i]))
			channel_unref(channels[i]);
		else
			channels[kept++] = channels[i];
	}
	/* Publishers look at the former ones until then. */
	limits_refresh(p->topic, channels, kept);
	topic_free_channels(p->channels, p->n_channels);
	p->channels = channels;
	p->n_channels = kept;
	p->stale = false;
}

/* Queues n plain messages in the channel; takes over their references. */
static void put_to_channel(struct pump *p, struct channel *c, struct message **msgs, size_t n)
{
	struct err err UNINITIALIZED;
	if (channel_put_messages(c, msgs, n, &err) == n)
		return;
	/* It is being deleted, and its messages with it. */
	nsqd_logf(p->topic->ctx, LG_ERROR,
		"TOPIC(%s) ERROR: failed to put msg(%.16s) to channel(%s) - %s", p->topic->name,
		msgs[0]->id.hex, c->name, err.msg);
	message_unref_all(msgs, n);
}

/* Queues n messages in the channel, runs of plain ones at once; takes over their references. */
static void deliver_to_channel(struct pump *p, struct channel *c, struct message **msgs, size_t n)
{
	size_t i = 0;
	while (i < n) {
		size_t plain = i;
		while (plain < n && msgs[plain]->deferred_ns == 0)
			plain++;
		if (plain > i)
			put_to_channel(p, c, msgs + i, plain - i);
		i = plain;
		if (i < n) {
			channel_put_message_deferred(c, msgs[i], msgs[i]->deferred_ns);
			i++;
		}
	}
}

/*
 * Every channel needs records of its own. The first gets the ones that the topic made, last of all,
 * because a record that is queued is not ours to copy any more. (Not inlined: a pump that waits has
 * no need of the copies on its stack.)
 */
static __attribute__((noinline)) void deliver(struct pump *p, struct message **msgs, size_t n)
{
	struct message *copies[TOPIC_BATCH] UNINITIALIZED;
	for (size_t i = p->n_channels; i-- > 1;) {
		for (size_t k = 0; k < n; k++)
			copies[k] = message_copy(msgs[k]);
		deliver_to_channel(p, p->channels[i], copies, n);
	}
	deliver_to_channel(p, p->channels[0], msgs, n);
}

/*
 * Whether the disks refuse all channels, so that it is no use to go on. As long as one channel is
 * well, the others keep their messages (kept.h), and this pump waits for none.
 */
static bool all_are_stuck(const struct pump *p)
{
	size_t i = 0;
	while (i < p->n_channels && channel_is_stuck(p->channels[i]))
		i++;
	return i > 0 && i == p->n_channels;
}

void topic_settle(struct topic *t)
{
	t->backend->ops->done(t->backend, t->undone);
	t->undone = 0;
}

/*
 * What is set holds when a second update is taken (topic_settle_settings). No channel that is being
 * deleted stays among the limited ones. (Others wait: a topic may begin with thousands of them.)
 */
static void update_before_start(struct pump *p)
{
	if (atomic_exchange(&p->topic->unsettled, false) || p->topic->limits.n_channels > 0)
		refresh_channels(p);
	p->stale = true;
}

/* Do not pass messages before topic_start, but avoid blocking topic_pause or topic_get_channel. */
static bool wait_for_start(struct pump *p)
{
	struct topic *t = p->topic;
	enum { ON_UPDATE, ON_PAUSE, ON_EXIT, ON_START };
	for (;;) {
		struct chan_case cases[] = {
			[ON_UPDATE] = chan_case_recv(t->channel_update_chan, NULL),
			[ON_PAUSE] = chan_case_recv(t->pause_chan, NULL),
			[ON_EXIT] = chan_case_recv(t->exit_chan, NULL),
			[ON_START] = chan_case_recv(t->start_chan, NULL),
		};
		switch (chan_select(cases, 4)) {
		case ON_UPDATE:
			update_before_start(p);
			break;
		case ON_EXIT:
			return false;
		case ON_START:
			return true;
		}
	}
}

/* A batch was full: from now on it may be the largest. */
static void grow(struct pump *p)
{
	p->cap = TOPIC_BATCH;
	p->msgs = xreallocarray(p->msgs, p->cap, sizeof(struct message *));
}

static void deal_out(struct pump *p, size_t n, bool memory, bool owner)
{
	int64_t bytes = limits_begin_deal(p->topic, p->msgs, n, memory);
	uint64_t upto = p->msgs[n - 1]->seq + 1;
	deliver(p, p->msgs, n);
	if (p->topic->log)
		topic_log_handed(p->topic->log, upto);
	limits_end_deal(p->topic, n, bytes, memory);
	/* Channels that drop what is too much may be behind. */
	for (size_t i = 0; i < p->n_channels && owner; i++)
		channel_await_drops(p->channels[i]);
}

/* With a log the channels are told: they would find these there after a restart. */
static void drop(struct pump *p, size_t n, bool memory)
{
	uint64_t upto = p->msgs[n - 1]->seq + 1;
	for (size_t i = 0; i < p->n_channels && p->topic->logged; i++)
		channel_pass_over(p->channels[i], upto);
	if (p->topic->log)
		topic_log_handed(p->topic->log, upto);
	limits_drop(p->topic, p->msgs, n, memory);
}

static struct pump *pump_of(struct task *task)
{
	return (struct pump *)task;
}

/* The sources are open while there is a channel, and none of what stops them. */
static int prepare(struct task *task, bool owner)
{
	struct pump *p = pump_of(task);
	struct topic *t = p->topic;
	/* That takes topic.lock, which may be held over the disk. */
	if (p->stale && !owner)
		return -1;
	if (p->stale)
		refresh_channels(p);
	if (p->last == p->cap && p->last < TOPIC_BATCH)
		grow(p);
	bool stuck = all_are_stuck(p);
	if (t->undone > 0 && !stuck)
		topic_settle(t);
	bool flowing = p->n_channels > 0 && !topic_is_paused(t) && !stuck;
	/* That takes topic.lock, too. */
	if (!flowing && !owner && atomic_load(&t->limits.on))
		return -1;
	p->drop = flowing ? (struct drop_plan){0} : limits_plan_topic(t, p->received);
	if (p->drop.again)
		ticker_after(&p->retry, drop_retry_ns(&p->drop_looks));
	else
		p->drop_looks = 0;
	bool drops = p->drop.n > 0;
	size_t most = drops && p->drop.n < p->cap ? p->drop.n : p->cap;
	struct chan *memory = NULL, *backend = NULL;
	if (flowing || (drops && (p->drop.memory || p->drop.both)))
		memory = t->memory_msg_chan;
	if (flowing || (drops && !p->drop.memory))
		backend = t->backend->ops->read_chan(t->backend);
	task->cases[MEMORY] = chan_case_recv_n(memory, p->msgs, most);
	task->cases[BACKEND] = chan_case_recv_n(backend, p->msgs, most);
	task->cases[UPDATE] = chan_case_recv(t->channel_update_chan, NULL);
	task->cases[PAUSE] = chan_case_recv(t->pause_chan, NULL);
	bool waits = stuck || t->stock_first || (!flowing && atomic_load(&t->limits.on));
	task->cases[UNSTUCK] = chan_case_recv(waits ? t->unstuck_chan : NULL, NULL);
	task->cases[RETRY] = chan_case_tick(p->drop.again ? &p->retry : NULL);
	task->cases[EXIT] = chan_case_recv(t->exit_chan, NULL);
	return N_CASES;
}

/* A few messages for a few channels, which have room for them in memory. */
static bool may_run(struct task *task, int chosen, size_t n)
{
	struct pump *p = pump_of(task);
	if (chosen != MEMORY || n * p->n_channels > SHORT_STEP || p->drop.n > 0)
		return false;
	for (size_t i = 0; i < p->n_channels; i++) {
		if (!channel_has_room(p->channels[i], n))
			return false;
	}
	return true;
}

static enum task_result act(struct task *task, int chosen, bool owner)
{
	struct pump *p = pump_of(task);
	size_t n = task->cases[chosen].n;
	p->last = n;
	switch (chosen) {
	case MEMORY:
	case BACKEND:
		if (chosen == BACKEND)
			backend_queue_took(p->topic->backend, p->msgs, n);
		if (p->drop.n > 0)
			drop(p, n, chosen == MEMORY);
		else
			deal_out(p, n, chosen == MEMORY, owner);
		if (chosen == BACKEND) {
			p->topic->undone = n;
			p->received += (int64_t)n;
		}
		break;
	case UPDATE:
		p->stale = true;
		break;
	case EXIT:
		return TASK_END;
	}
	return TASK_ON;
}

/*
 * messagePump: selects over the in-memory and backend queue and writes messages to every channel.
 */
static const struct task_ops pump_ops = {.prepare = prepare, .may_run = may_run, .act = act};

void topic_message_pump(void *arg)
{
	struct topic *t = arg;
	struct pump p UNINITIALIZED;
	p.topic = t;
	p.channels = NULL;
	p.n_channels = 0;
	p.stale = true;
	p.msgs = xreallocarray(NULL, SMALL_BATCH, sizeof(struct message *));
	p.cap = SMALL_BATCH;
	p.last = 0;
	p.drop = (struct drop_plan){0};
	p.drop_looks = 0;
	p.received = 0;
	task_init(&p.task, p.cases, p.waiters, N_CASES);
	if (wait_for_start(&p))
		task_run(&p.task, &pump_ops);
	free(p.msgs);
	topic_free_channels(p.channels, p.n_channels);
	nsqd_logf(t->ctx, LG_INFO, "TOPIC(%s): closing ... messagePump", t->name);
}
