/* SPDX-License-Identifier: MIT */
/* What log_queue.c and log_queue_*.c share; for no other file. */
#ifndef NSQD_LOG_QUEUE_INTERNAL_H
#define NSQD_LOG_QUEUE_INTERNAL_H

#include <string.h>

#include "common/gothread.h"
#include "common/ticker.h"
#include "nsqd/log/log_queue.h"
#include "nsqd/log/log_read.h"

/* Messages that are read ahead, and the bytes of their bodies. */
#ifndef LQ_BATCH
#define LQ_BATCH 256
#endif
#define LQ_BATCH_BYTES (1 << 20)
/* Messages that have waited, and are read at a time. */
#ifndef LQ_DUE_BATCH
#define LQ_DUE_BATCH 64
#endif

/* What another thread wants of lq:NAME's batch; it waits for done_chan. */
struct lq_visit {
	struct message_views *see; /* NULL, or: adds what has waited */
	struct message_id id;      /* else: takes the message of that id out */
	struct message *taken;     /* the visitor's; NULL: it is not there */
	struct chan *done_chan;    /* capacity 1 */
};

/* What a queue holds, to be shown: guarded by log_queue.count_lock, a leaf. */
struct log_queue_counts {
	int64_t unread;       /* messages in the log that are to be read, and those of the batch */
	int64_t unread_bytes; /* of their bodies; an estimate for those of another process */
	int64_t back; /* came back, or were due: to be read again, in the batch, or in hand */
	int64_t hand; /* of these: log_queue_take_due has taken them, and is not done */
	int64_t waiting_bytes; /* of the bodies of these, and of what waits; likewise */
	int64_t received, received_bytes;
	int64_t done;        /* of a topic's: how many its pump has dealt with */
	size_t ahead;        /* in the batch */
	bool offered;        /* the batch is */
	int64_t first, last; /* their timestamps */
	uint64_t batch_seq; /* of the first of them, if they come in the order of the log; else 0 */
	uint32_t batch_offset;
};

struct log_queue {
	struct backend_queue base; /* the first */
	/* immutable */
	uint32_t magic;
	struct topic_log *tl;
	struct log *log;
	char *name;         /* TOPIC or TOPIC:CHANNEL */
	char *channel;      /* NULL: it is the topic's */
	struct mutex *lock; /* the owner's */
	struct cursor *cursor;
	struct chan *memory; /* or NULL */
	struct chan *read_chan;
	struct chan *wake_chan;  /* capacity 1: look again */
	struct chan *empty_chan; /* of struct chan *, on which it is answered */
	struct chan *visit_chan; /* of struct lq_visit * */
	struct chan *exit_chan;
	struct wait_group wait_group;
	struct topic_log_member member; /* a channel's */

	/* guarded by *lock */
	bool running;   /* lq:NAME is there, or about to be */
	size_t pending; /* requests that it must still answer */
	bool behind;
	bool held;            /* of a topic: log_queue_hold */
	bool poke;            /* lq:NAME is to look again */
	bool drained;         /* since it is behind, memory has been empty */
	uint64_t next;        /* behind: the next number that is read; else it is to */
	uint64_t read_to;     /* of a channel: of those from next on, these are in lq:NAME's hand */
	uint64_t hint;        /* the record of this number is */
	uint32_t hint_offset; /* there */
	/*
	 * Of a channel: all before it was put, or is not for it. Of a topic: all before it has been
	 * told of by the log, or was read.
	 */
	uint64_t to;
	size_t zero; /* entries of the cursor that wait, and are due at once */
	/*
	 * Of a channel: old numbers of copied messages. Consumers, and others that hold one, call it so.
	 * due is the number of the copy, and offset its place.
	 */
	struct cursor_entries aliases;
	/* Of a topic: what is for one channel alone, from next on, and is not among the unread. Owned. */
	struct seq_range *copies;
	size_t n_copies, copies_cap;

	/* A channel's, guarded by *lock: what waits (log_queue_due.c). */
	int64_t offset_ns; /* what is due is on the clock clock_mono_ns() + offset_ns */
	bool reads_due;    /* lq:NAME sees to what is due now; the owner need not */
	bool start_fails;  /* lq:NAME could not be started, and that is logged; any queue's */
	int64_t start_ns;  /* when to try to start lq:NAME again (monotonic); INT64_MAX: not so */
	int64_t touch_ns;  /* when to try topic_log_touch again; likewise */
	int64_t told_ns;   /* what on_due was told last */
	void (*on_due)(void *arg, int64_t at_ns);
	void *on_due_arg;
	void (*on_rest)(void *arg); /* set before anything is put, as its arg is; or NULL */
	void *on_rest_arg;
	bool due_fails;   /* what waits could not be read, and that is logged */
	uint64_t bad_seq; /* the disk says that this one is bad; 0: none */
	int bad_tries;    /* so often */

	struct mutex count_lock;
	struct log_queue_counts counts; /* guarded by count_lock */

	/* of lq:NAME; or of the thread that closes */
	struct log_reader *reader;    /* goes through the log; NULL: closed */
	struct log_reader *at_reader; /* reads single messages; NULL: closed */
	struct message **msgs;        /* LQ_BATCH of them; NULL: nothing was read yet */
	uint32_t *lens;               /* of their bodies */
	size_t n, at;                 /* the batch is msgs[at..n) */
	bool waited;                  /* it is of messages that have waited */
	bool was_waited;              /* so was the last one */
	bool more;                    /* there is more to read, though the batch is empty */
	uint64_t seen;                /* q->to, when it was looked what is to be read */
	bool offered;                 /* as is shown */
	struct ticker retry;          /* the disk could not be read */
	int tries;
	bool failing;    /* it could not be read, and that is logged */
	int64_t used_ns; /* when something was read; 0: the readers are closed, or at rest */
};

static inline bool lq_is_topic(const struct log_queue *q)
{
	return !q->channel;
}

/* Is it for this queue, and no other channel's copy? */
static inline bool lq_is_mine(const struct log_queue *q, const struct log_item *item)
{
	return !item->channel || (q->channel && strcmp(item->channel, q->channel) == 0);
}

/* --- log_queue.c ---------------------------------------------------------------------------------- */

/* The queue whose base that is. */
struct log_queue *log_queue_of(struct backend_queue *q);
/* What is added to the counts of the same names. */
struct lq_change {
	int64_t unread, unread_bytes, back, hand, waiting_bytes;
};
/*
 * Adds to what is shown. Takes count_lock. What goes from what waits into the depth, or back, does so
 * with *lock held: so log_queue_waiting misses none.
 */
void lq_count(struct log_queue *q, struct lq_change by);
/*
 * Where there is something to do, lq:NAME is to run, and to look again if q->poke is set. True: it is
 * to be started, behind the unlock, by lq_start. With *lock held.
 */
bool lq_wake_locked(struct log_queue *q);
/* Starts lq:NAME. -1: there is no thread, as is logged; it is tried again later. Without locks. */
int lq_start(struct log_queue *q);

/* --- log_queue_move.c: with *lock held ------------------------------------------------------------- */

/* The number that a message has now which its holder calls seq; *offset: of its record, if moved. */
uint64_t lq_number_locked(const struct log_queue *q, uint64_t seq, uint32_t *offset);
/* Nobody calls a message so any more. */
void lq_drop_alias_locked(struct log_queue *q, uint64_t seq);
/* A topic's: from to to - 1 are for one channel alone, as q->copies has them. */
void lq_note_copies_locked(struct log_queue *q, uint64_t from, uint64_t to);
/* Is it one of them? */
bool lq_is_copy_locked(const struct log_queue *q, uint64_t seq);
/*
 * An own copy of an earlier process: does it count, or its old number? A new message for this channel
 * alone always counts.
 */
bool lq_copy_counts_locked(const struct log_queue *q, const struct log_item *item);
/* Without the lock: the queue is freed. */
void lq_free_copies(struct log_queue *q);
extern const struct topic_log_member_ops lq_member_ops;

/* --- log_queue_put.c ------------------------------------------------------------------------------ */

/* backend_queue_ops.put_messages. */
size_t lq_put_messages(struct backend_queue *base, struct chan *memory, struct message *const *msgs,
	size_t n, bool fresh);
/* Numbers before upto that were not put are over: what is older, lost, dropped, another's copy. */
void lq_pass_over_locked(struct log_queue *q, uint64_t upto);
/* log_opts.kept; arg is the topic's queue. Returns how many, the first ones, are in memory now. */
size_t lq_kept(void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n);
/* topic_log_member_ops.alone; arg is the channel's queue. */
void lq_alone(void *arg, bool mine, struct message *const *msgs, size_t n);

/* --- log_queue_due.c ------------------------------------------------------------------------------ */

/* The clock of what waits in a channel's queue. With *lock held. */
int64_t lq_now_locked(const struct log_queue *q);
/* m waits, due then on that clock; 0: at once, read by lq:NAME, which the caller wakes. */
void lq_wait_locked(struct log_queue *q, const struct message *m, int64_t due);
/* The same of an entry, whose body has so many bytes. It may be called by the number that it had. */
void lq_wait_entry_locked(struct log_queue *q, struct cursor_entry *e, uint32_t len);
/* An entry that was taken out waits until due, by the number that it has now. False: it is finished. */
bool lq_wait_again_locked(struct log_queue *q, struct cursor_entry *e, int64_t due);
/* When the message is due that the log has with this delay, on that clock; 0: that is over. */
int64_t lq_due_of_locked(const struct log_queue *q, const struct message *m);
/* Tells the owner when there is something to do, if that has changed. */
void lq_tell_due_locked(struct log_queue *q);
/* topic_log_touch; if that fails, once more in a while. Without locks. */
void lq_touch(struct log_queue *q);
/* Takes up to max entries that are due out of the cursor. They count as having come back. */
size_t lq_pop_due_locked(struct log_queue *q, struct cursor_entry *out, size_t max);
/*
 * Reads these n. Those that cannot be read now wait again. Returns how many there are in msgs, which
 * still count as having come back. Blocks on the disk, without locks.
 */
size_t lq_read_waited(struct log_queue *q, struct log_reader *r, struct cursor_entry *e, size_t n,
	struct message **msgs);
/* The queue begins: has what waited told of its due times. */
void lq_due_begins_locked(struct log_queue *q);
/*
 * Has the wall clock been set? Then what waits goes on waiting as long as it would have, and the file
 * says anew when that is over. For the flusher, without locks.
 */
void lq_check_clock(struct log_queue *q);

/* --- log_queue_look.c ----------------------------------------------------------------------------- */

/* backend_queue_ops.look. */
struct backend_look *lq_look(struct backend_queue *base);
/* Adds m to out, with so much of its body as is asked for. Takes m over. */
void lq_see(struct message *take_m, struct message_views *out);

/* --- log_queue_read.c: lq:NAME --------------------------------------------------------------------- */

/* Reads a batch, if there is none. */
void lq_fill(struct log_queue *q);
/* Drops the batch. */
void lq_drop_batch(struct log_queue *q);
/* Does what a visitor wants, but does not answer. */
void lq_serve(struct log_queue *q, struct lq_visit *v);
/* n messages of the batch have been received. */
void lq_received(struct log_queue *q, size_t n);
/* Shows the batch. */
void lq_show(struct log_queue *q);
/* Closes the files that it reads. */
void lq_close_readers(struct log_queue *q);
/* Nobody takes the batch: gives back what the readers have, and they know where they were. */
void lq_rest_readers(struct log_queue *q);
/* Gives the memory of the batch back, which is empty. */
void lq_free_batch(struct log_queue *q);

#endif
