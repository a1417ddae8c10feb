/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a channel share: channel.c, channel_put.c, channel_in_flight.c, channel_due.c,
 * channel_exit.c, channel_dead.c, channel_overflow.c, channel_inspect.c and the pump, channel_pump.c.
 * redrive.c tells the pump. For no other file.
 */
#ifndef NSQD_CHANNEL_INTERNAL_H
#define NSQD_CHANNEL_INTERNAL_H

#include "nsqd/core/settings.h"
#include "nsqd/queue/channel.h"
#include "nsqd/queue/dead_letter.h"
#include "nsqd/queue/drop_plan.h"

/* What has changed, as told to the pump. */
enum channel_update {
	CHANNEL_PAUSED,      /* or unpaused */
	CHANNEL_EMPTIED,     /* the batch is to be dropped as well */
	CHANNEL_SETTINGS,    /* it is to fetch them */
	CHANNEL_CLIENT_LEFT, /* perhaps the one that asked for the batch */
	CHANNEL_VISITED, /* another thread has something to look at, or to do, where the pump is */
};

/* What runs in the pump, between two of its steps. */
struct pump_visit {
	void (*visit)(struct channel *c, void *arg);
	void *arg;
	struct chan *done_chan; /* capacity 1 */
};

/* An element of update_chan. */
struct pump_update {
	enum channel_update what;
	struct pump_visit *visit; /* CHANNEL_VISITED; else NULL */
};

/* The thread; arg is the channel. It ends when exit_chan is closed. */
void channel_message_pump(void *arg);
/* Blocks until the pump has handled the update, or has exited. */
void channel_update_pump(struct channel *c, enum channel_update what);
/*
 * Has the pump call visit(c, arg): there batch and kept do not change. Blocks until it has, and so
 * perhaps on the disk, as the pump does; the caller holds no lock that the pump wants, exit_lock
 * included. False: the pump has ended, or is about to, and has not called it.
 */
bool channel_visit_pump(struct channel *c, void (*visit)(struct channel *c, void *arg), void *arg);
/*
 * The next two in a visit only. The message of that id becomes the first of the batch, where it
 * stays until the other is called: then it is in another queue, or finished. NULL: it is not there.
 */
struct message *channel_first_in_batch(struct channel *c, struct message_id id);
void channel_drop_first_of_batch(struct channel *c);

/* --- what is put and put back (channel_put.c) --------------------------------------------------- */

/* Is m in the topic's log, and so in no need of a disk queue? */
static inline bool channel_is_logged(const struct channel *c, const struct message *m)
{
	return c->logged && m->seq > 0;
}
/*
 * put of messages that come back: queues n in memory or backend; returns how many it took over, fewer
 * with err set.
 */
size_t channel_put_locked(
	struct channel *c, struct message *const *msgs, size_t n, struct err *err);
/*
 * put of messages that come back, without judging them; takes them over. With exit_lock held for
 * reading. What the disk refuses is deferred, and tried again. May block on the disk.
 */
void channel_put_back_locked(struct channel *c, struct message *const *take_msgs, size_t n);
/* The same without the lock, which it takes for reading. A channel that is being deleted drops them. */
void channel_put_back(struct channel *c, struct message *const *take_msgs, size_t n);
/* Logs how many messages were dropped since the last call, if any. The pump, then exit. */
void channel_tell_dropped(struct channel *c);
/* Less is kept: logs what was dropped; if nothing is any more, the topic's pump may go on. */
void channel_kept_less(struct channel *c);

/* --- what is in flight and deferred (channel_in_flight.c) --------------------------------------- */

/* Messages have left in_flight. With in_flight_lock held. */
void channel_in_flight_changed_locked(struct channel *c);
/* The same of deferred. With deferred_lock held. */
void channel_deferred_changed_locked(struct channel *c);
/* on_due of the queue of a logged channel: with in_flight_lock held. */
void channel_waits_until(void *arg, int64_t at_ns);
/* StartDeferredTimeout. Takes m over. */
void channel_start_deferred_timeout(struct channel *c, struct message *take_m, int64_t delay_ns);
/*
 * Takes a message out of the queue of those in flight, or deferred, of any consumer; the caller gets
 * the queue's reference. NULL: it is not there.
 */
struct message *channel_pop_in_flight(struct channel *c, struct message_id id);
struct message *channel_pop_deferred(struct channel *c, struct message_id id);
/*
 * Takes up to max deferred messages out, those first that are due first, until they are so many, and
 * so many bytes. Returns how many; the caller gets the queue's references.
 */
size_t channel_take_first_deferred(
	struct channel *c, struct message **msgs, size_t max, int64_t wanted, int64_t wanted_bytes);
/* n messages are over without a FIN: the cursor of a logged channel is told. Takes in_flight_lock. */
void channel_are_over(struct channel *c, struct message *const *msgs, size_t n);

/* --- what is due (channel_due.c) ---------------------------------------------------------------- */

/* The consumers that had these have so many less in flight, if they are still there. */
void channel_tell_timed_out(struct channel *c, struct message *const *msgs, size_t n);

/* --- what a channel gives up (channel_dead.c) ---------------------------------------------------- */

/* The most messages that are screened at once: a batch. */
#define SCREEN_BATCH CHANNEL_BATCH

/* How many of those that were screened have left. */
struct screened {
	size_t dead; /* to c->dead */
	size_t gone; /* for good */
};

/* Is there anything to screen for? A branch for each batch. */
static inline bool channel_screens(const struct settings *s)
{
	return s->v.message_ttl != 0 || s->v.max_attempts != 0;
}

/*
 * Takes those out of n <= SCREEN_BATCH messages that must not be delivered. They go to c->dead, or
 * are dropped and counted. Returns how many are left, in their order. The caller has asked
 * channel_dead_is_full. Any thread; takes leaf locks.
 */
size_t channel_screen(struct channel *c, const struct settings *s, struct message **msgs, size_t n,
	struct screened *out);
/* So many dead letters wait that nothing more may be taken to be screened. Takes a leaf lock. */
bool channel_dead_is_full(struct channel *c);
/*
 * Gives up n <= SCREEN_BATCH messages for that reason, and takes their references: they go to c->dead,
 * or are dropped if there is no dead-letter topic. Overtakes the bound of c->dead by one batch.
 */
void channel_give_up(struct channel *c, const struct settings *s, struct message *const *take_msgs,
	size_t n, enum dead_reason reason, struct screened *out);

/*
 * Messages come back that were in flight: those that have had all their attempts are given up, those
 * without a delay of their own may get one (backoff), the others are put back. Called with exit_lock
 * held for reading; may block on the disk where channel_put_back_locked does. client_id of those that
 * are given up changes.
 */
void channel_come_back_locked(
	struct channel *c, struct message *const *take_msgs, size_t n, bool backs_off);
/* Would it be given up now? With exit_lock held. */
bool channel_has_had_it_locked(struct channel *c, const struct message *m);

/*
 * Puts some of c->dead into the dead-letter topic; true: that is refused, and to be tried again
 * later. The pump, in its own thread, without locks: blocks as dead_letter_ops.put.
 */
bool channel_bury(struct channel *c);
/*
 * May the pump be about to bury, or be at it? Then it answers an update when the disk, or a
 * nsqlookupd, lets it. Takes in_flight_lock for a moment.
 */
bool channel_has_dead_letters(struct channel *c);
/* Less is in c->dead: if nothing is, what came from the backend is elsewhere now. The pump; exit. */
void channel_dead_less(struct channel *c);
/* Drops all of c->dead: it was emptied, or is deleted. The pump; or after its end, exit. */
void channel_drop_dead(struct channel *c);
/* The backend is told whether a crash may forget: see dead letters in docs/durability.md. The pump. */
void channel_dead_settings_changed(struct channel *c);

/* --- limits: channel_overflow.c ---------------------------------------------------------------- */

/*
 * The bytes in memory_msg_chan: of n messages that are about to go there, or of n that did not go,
 * or have left. Called with exit_lock held, or by the pump. Nothing is done if they do not count.
 */
void channel_add_bytes(struct channel *c, struct message *const *msgs, size_t n);
void channel_sub_bytes(struct channel *c, struct message *const *msgs, size_t n);

/* For the settings that the channel has: with exit_lock held for writing, or by its maker. */
void channel_apply_limits(struct channel *c);

/* --- the pump --------------------------------------------------------------------------------- */

/* Its settings are new: bytes are counted from now on, or no more. Takes exit_lock for writing. */
void channel_count_bytes(struct channel *c);
/* The batch has changed. Nothing is done if bytes do not count. */
void channel_count_batch(struct channel *c);
/* Does the channel hold too much, and drops what is too much? Takes locks as channel_waiting. */
bool channel_is_over(struct channel *c);
/*
 * Does the backend know of all that was received? Until then it counts what may be in the batch as well.
 * Takes its leaf locks.
 */
bool channel_depth_is_known(struct channel *c);
/* How many of the first of the batch, which is idle, are too many: the depth is known. Likewise. */
size_t channel_batch_too_much(struct channel *c);
/* What is to be dropped next of the memory queue and the backend. Likewise. */
struct drop_plan channel_plan_drop(struct channel *c);
/*
 * Nothing is left there, and still it is too much: drops deferred messages, those first that are due
 * first.
 */
void channel_drop_deferred(struct channel *c);
/*
 * Gives up n <= SCREEN_BATCH messages that are too many, and counts them. Takes them over; *out as
 * for channel_give_up. The caller has asked channel_dead_is_full.
 */
void channel_drop_overflow(
	struct channel *c, struct message **take_msgs, size_t n, struct screened *out);

/* --- who puts --------------------------------------------------------------------------------- */

/* Messages have come; with exit_lock held, or not. The pump is told if it is to drop some. */
void channel_tell_over(struct channel *c);

#endif
