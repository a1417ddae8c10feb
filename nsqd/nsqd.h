/* SPDX-License-Identifier: MIT */
/*
 * The daemon (nsqd/nsqd.go): its topics, its life from nsqd_new to nsqd_exit,
 * its health, and the notifications between its parts.
 */
#ifndef NSQD_NSQD_H
#define NSQD_NSQD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/err.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/lock.h"
#include "nsqd/lookup.h"
#include "nsqd/nsqd_config.h"
#include "nsqd/options.h"

struct topic;
struct channel;
struct tcp_server;
struct tcp_listener;
struct http_server;
struct tls_config;
struct netpoll;
struct backend_queue;

struct nsqd {
	struct options *opts;      /* owned; immutable after nsqd_new */
	struct lg lg;              /* level: atomic */
	struct nsqd_config config; /* what of the options may change; its own synchronisation */
	struct lookup lookup;      /* registration with nsqlookupd; its own synchronisation */
	int64_t start_time_ns;     /* immutable; wall clock */
	_Atomic int64_t client_id_sequence;
	_Atomic bool is_loading;
	_Atomic bool is_exiting;

	struct rwlock lock;
	struct topic *topic_map; /* guarded by lock; uthash by name; one reference each */

	struct mutex metadata_lock;         /* held while nsqd.dat is written */
	bool metadata_closed;               /* guarded by metadata_lock; the last word is written */
	struct chan *persist_chan;          /* immutable; capacity 1: metadata has changed */
	struct chan *channels_changed_chan; /* immutable; capacity 1: the scan loop's list is old */

	_Atomic size_t kept_bytes; /* what channels keep, since their disks refuse it (kept.h) */
	_Atomic bool healthy;
	struct mutex health_lock;
	char health_error[512]; /* guarded by health_lock; "" while healthy */

	int data_dir_fd;               /* immutable; holds the lock on the data path */
	struct tcp_server *tcp_server; /* immutable after nsqd_new; owned, as are the next three */
	struct tcp_listener *tcp_listener;
	struct wait_group tcp_group;     /* the accept loop, and through it every client */
	_Atomic bool main_failed;        /* a listener has failed: exit with 1 */
	struct tls_config *tls_config;   /* immutable after nsqd_new; owned; NULL: no certificate */
	struct netpoll *netpoll;         /* the clients that are parked */
	struct http_server *http_server; /* NULL: switched off */
	struct http_server *https_server; /* NULL: no certificate, or switched off */

	struct chan *
		exit_begun_chan; /* immutable; closed when nsqd_exit begins: requests are given up */
	struct chan *exit_chan;  /* immutable; closed by nsqd_exit: everybody stops */
	int exit_fd; /* immutable; readable as soon as exit_begun_chan is closed: for poll */
	struct wait_group wait_group; /* every thread that nsqd_main and notifications started */
};

/*
 * New: takes over opts, locks the data path, checks the options against each
 * other, listens. NULL with err set, and nothing left behind. Main thread.
 */
struct nsqd *nsqd_new(struct options *take_opts, struct err *err);
/* Main: starts the threads and returns; -1 with err set if one cannot be started. Main thread. */
int nsqd_main(struct nsqd *n, struct err *err);
/*
 * Exit: stops listening, disconnects everybody, writes what is in memory to
 * disk, joins every thread. Blocks on the disk. Main thread, once.
 */
void nsqd_exit(struct nsqd *n);
/* The rest of Go's collector; after nsqd_exit, or right after nsqd_new. NULL is fine. */
void nsqd_free(struct nsqd *n);

void nsqd_logf(struct nsqd *n, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline const struct options *nsqd_get_opts(const struct nsqd *n)
{
	return n->opts;
}

/* --data-path, or "." where it is not given. */
const char *nsqd_data_path(const struct nsqd *n);
/*
 * The disk queue of a topic or channel, by its backend name. NULL with err set. Blocks on the disk.
 */
struct backend_queue *nsqd_new_diskqueue(struct nsqd *n, const char *backend_name, struct err *err);

/* --- topics; each function takes nsqd.lock for a moment ------------------------------------- */

/*
 * GetTopic: finds or creates it. The caller gets a reference (topic_unref).
 * NULL with err set: its thread cannot be created, or the daemon exits. Who
 * creates one asks the nsqlookupds for its channels first, and waits for their
 * answers up to --http-client-request-timeout, without a lock. What is found may
 * be exiting itself; then the caller's next step fails ("exiting").
 */
struct topic *nsqd_get_topic(struct nsqd *n, const char *name, struct err *err);
/*
 * The same for an operator, whose next step is not seen here: waits for the end of a topic of that
 * name that is being deleted, and makes it anew.
 */
struct topic *nsqd_create_topic(struct nsqd *n, const char *name, struct err *err);
/* GetExistingTopic: a reference, or NULL. */
struct topic *nsqd_get_existing_topic(struct nsqd *n, const char *name);
/*
 * DeleteExistingTopic: with its channels, messages and files. Blocks until it is gone, also if
 * another thread has begun the deletion. 0, or -1 with err set, as topic_delete_existing_channel.
 */
int nsqd_delete_existing_topic(struct nsqd *n, const char *name, struct err *err);
/*
 * The same for one that the caller holds, and never for another that has taken its name meanwhile.
 */
int nsqd_delete_topic(struct nsqd *n, struct topic *t, struct err *err);
/*
 * The exit of a topic or channel takes a while, and one thread does it: the first to set exit_flag.
 * To all others it is gone when that thread has closed gone_chan: its threads have ended, its files
 * are closed or removed, its name is free. Waits for that, up to timeout_ns (INT64_MAX: without
 * end). The caller holds no lock, but a reference to the topic or channel. False: it is not gone
 * yet, and time is up or the daemon exits.
 */
bool nsqd_wait_gone(struct nsqd *n, struct chan *gone_chan, int64_t timeout_ns);
/* Waits for another thread's deletion, and answers as the delete functions above. */
int nsqd_wait_deleted(
	struct nsqd *n, struct chan *gone_chan, const bool *files_left, struct err *err);
/* The answer to a deletion that has ended. */
int nsqd_deleted(bool files_left, struct err *err);
/*
 * All topics sorted by name, a reference each; *count of them. The caller unrefs them and frees the
 * array.
 */
struct topic **nsqd_topics(struct nsqd *n, size_t *count);
/*
 * channels(): all channels of all topics, a reference each, in no order; array freed by the caller.
 */
struct channel **nsqd_channels(struct nsqd *n, size_t *count);

/* --- notifications --------------------------------------------------------------------------- */

/* Notify: a topic or channel has come or gone; persists the metadata if persist. Never blocks. */
void nsqd_notify_topic(struct nsqd *n, struct topic *t, bool persist);
void nsqd_notify_channel(struct nsqd *n, struct channel *c, bool persist);

/* SetHealth: err NULL is healthy. Cheap while nothing changes. Any thread. */
void nsqd_set_health(struct nsqd *n, const struct err *err);
bool nsqd_is_healthy(struct nsqd *n);
/* GetHealth: "OK" or "NOK - reason" into buf. Returns buf. */
char *nsqd_get_health(struct nsqd *n, char *buf, size_t size);

#endif
