/* SPDX-License-Identifier: MIT */
/*
 * The state that every part of the daemon needs: options, log, health, exit, and the place where
 * news is posted. It knows nothing of topics, clients or servers. In Go each part holds *NSQD,
 * which knows everything; here it holds this (nsqd/context.go of older versions).
 *
 * Functions that are methods of NSQD in Go keep its name: nsqd_logf, nsqd_set_health.
 */
#ifndef NSQD_CONTEXT_H
#define NSQD_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/clock.h"
#include "common/deadlines.h"
#include "common/err.h"
#include "common/lg.h"
#include "common/lock.h"
#include "nsqd/core/drain.h"
#include "nsqd/core/host_limits.h"
#include "nsqd/core/notify.h"
#include "nsqd/core/nsqd_config.h"
#include "nsqd/core/options.h"
#include "nsqd/core/patience.h"
#include "nsqd/core/settings_store.h"

enum phase {
	PHASE_RUNNING, /* or on the way there */
	PHASE_LOADING, /* nsqd.dat is being read: topics do not start yet */
	PHASE_EXITING, /* nsqd_exit has begun */
};

/*
 * So long an exit tries again what the disk refuses: messages, and nsqd.dat. It is short, since some
 * supervisors kill after ten seconds: docs/architecture.md adds up all that an exit may wait for.
 */
#define FLUSH_PATIENCE_NS (2 * NSEC_PER_SEC)
#define METADATA_PATIENCE_NS (500 * NSEC_PER_MSEC)

/* So many options are kept at most: some kilobytes each. */
#define OPTIONS_SWAPS_MAX 1000

struct dead_letter_ops;

struct context {
	/* Owned; what it points to is immutable after nsqd_new. A reload puts another one here. */
	_Atomic(struct options *) opts;
	struct options **old_opts; /* main's own; those that others may still read; owned */
	size_t n_old_opts;         /* main's own */
	struct lg lg;              /* level: atomic */
	struct nsqd_config config; /* what of the options may change; its own synchronisation */
	struct notify notify;      /* what has come and gone; its own synchronisation */
	struct drain drain;        /* its own synchronisation */
	struct host_limits host;   /* the limits of the host; its own synchronisation */
	struct settings_store settings; /* of topics and channels; its own synchronisation */
	struct deadlines deadlines; /* of channels, for the scan loop; its own synchronisation */
	int64_t start_time_ns;      /* immutable; wall clock */
	_Atomic int phase;          /* enum phase; written by main */
	_Atomic bool main_failed;   /* a listener has failed: exit with 1 */

	_Atomic uint64_t expired_channels; /* so many were deleted by channel_expire */
	_Atomic size_t kept_bytes; /* what channels keep, since their disks refuse it (kept.h) */
	/* Where dead letters go (dead_letter.h); immutable once there are topics; NULL: nowhere. */
	const struct dead_letter_ops *dead_letter_ops;
	void *dead_letter_arg; /* for these; likewise */
	_Atomic bool healthy;
	struct mutex health_lock;
	/* guarded by health_lock */
	char health_error[512]; /* of the last write to a disk queue; "": it succeeded */
	char log_error[512];    /* the last one of a log */
	size_t failing_logs;    /* whose last commit has failed, or that could not be opened */

	struct patience flush_patience;    /* of all topics together; its own synchronisation */
	struct patience metadata_patience; /* of nsqd.dat; main's own */

	int data_dir_fd; /* immutable until the exit has ended; holds the lock on the data path */

	struct chan *alive_chan; /* immutable; the scan loop receives: it goes on (watchdog.h) */
	struct chan *exit_begun_chan; /* immutable; closed when the exit begins: requests give up */
	struct chan *exit_chan;       /* immutable; closed by nsqd_exit: all threads stop */
	int exit_fd; /* immutable; readable as soon as exit_begun_chan is closed: for poll */
};

/* Takes over opts. Logs to log_fd, which stays the caller's. Main thread. */
void context_init(struct context *ctx, struct options *take_opts, int log_fd);
/* Stops the log's thread, too. Main thread, last of all. */
void context_destroy(struct context *ctx);
/* Opens exit_fd. -1 with err set. Main thread. */
int context_open(struct context *ctx, struct err *err);
/* The exit begins: sets the phase, closes exit_begun_chan, makes exit_fd readable. Main thread. */
void context_begin_exit(struct context *ctx);
static inline bool context_is_exiting(const struct context *ctx)
{
	return atomic_load(&ctx->phase) == PHASE_EXITING;
}
/* It takes no new messages: see drain.h. Takes no lock; any thread. */
static inline bool context_is_draining(const struct context *ctx)
{
	return drain_is_on(&ctx->drain);
}
static inline bool context_is_loading(const struct context *ctx)
{
	return atomic_load(&ctx->phase) == PHASE_LOADING;
}

void nsqd_logf(struct context *ctx, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * getOpts: the options as they are now. They stay as they are as long as the daemon lives: what is
 * asked for twice may differ, after a reload. Borrowed; any thread.
 */
static inline const struct options *nsqd_get_opts(const struct context *ctx)
{
	return atomic_load_explicit(&ctx->opts, memory_order_acquire);
}
/*
 * swapOpts: from now on these are the options. False, and nothing has changed: that was done
 * OPTIONS_SWAPS_MAX times already, and others may still read all of those. Main thread.
 */
bool nsqd_swap_opts(struct context *ctx, struct options *take_opts);
/* --data-path, or "." without it. */
const char *nsqd_data_path(const struct context *ctx);

/*
 * Notify: this topic, or this channel of it (NULL for the topic itself), has come or (gone) is
 * being deleted. Persists the metadata if persist. Never blocks; takes a leaf lock. Any thread.
 */
void nsqd_notify(
	struct context *ctx, const char *topic, const char *channel, bool gone, bool persist);

/*
 * A topic (channel NULL) or channel of this name is being deleted, and its exit has begun: what was
 * set at run time is forgotten. Blocks on the disk; if that refuses, the log says so.
 */
void nsqd_forget_settings(struct context *ctx, const char *topic, const char *channel);

/*
 * SetHealth: err NULL is healthy. Cheap while nothing changes; else takes health_lock. Any thread.
 */
void nsqd_set_health(struct context *ctx, const struct err *err);
/*
 * The same of a topic's log: err, or NULL: it is well, or gone. was: this log was failing before.
 * Unlike a disk queue, a log that fails is not forgotten over another that does not. Any thread.
 */
void nsqd_set_log_health(struct context *ctx, bool was, const struct err *err);
bool nsqd_is_healthy(struct context *ctx);
/* GetHealth: "OK" or "NOK - reason" into buf. Returns buf. Any thread. */
char *nsqd_get_health(struct context *ctx, char *buf, size_t size);

/* --- the limits of the host (host_limits.h, host_watch.c) ------------------------------------- */

/*
 * These flags hold from now on: at the start, and after a reload. Starts the thread "limits" if one is
 * set and there is none yet. -1 with err set: there is no thread; the former ones hold on. main.
 */
int host_limits_use(struct context *ctx, const struct options *opts, struct err *err);
/* Ends the thread. main. */
void host_limits_stop(struct host_limits *h);
/*
 * May so many bytes of bodies be published, which are in memory already? share: by a topic with a
 * max_bytes of its own. False: *which is reached, and `why` says so. May take a leaf lock.
 */
bool host_limits_admit(struct context *ctx, int64_t bytes, bool share, bool ephemeral,
	enum host_limit *which, char *why, size_t size);

/* Sums up the memory; asks the file system. So it may block on the disk. Any thread. */
void host_limits_look(struct context *ctx, struct host_limits_state *out);

#endif
