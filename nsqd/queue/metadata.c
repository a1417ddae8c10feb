/* SPDX-License-Identifier: MIT */
/*
 * nsqd.dat. Mirrors LoadMetadata, GetMetadata and PersistMetadata of nsqd/nsqd.go. Runs in main
 * (load; persist at start and exit), in the thread "metadata" (persist after each change), and in
 * HTTP handlers (pause).
 *
 * Differences: stock starts a goroutine per change, and each writes the file; here changes that
 * come while it is being written are written together. The file is parsed and checked as a whole
 * before anything is created. The directory is synced after the rename. A change that cannot be
 * written is tried again; stock waits for the next change. Temporary files of a daemon that was
 * killed are removed at the start.
 */
#include "nsqd/queue/metadata.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/strbuf.h"
#include "common/ticker.h"
#include "common/version.h"
#include "common/xalloc.h"
#include "nsqd/core/data_file.h"
#include "nsqd/core/settings_store.h"
#include "nsqd/queue/channel.h"
#include "nsqd/disk/diskqueue.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/log_remove.h"
#include "nsqd/log/log_view.h"
#include "nsqd/queue/metadata_file.h"
#include "nsqd/queue/topic.h"
#include "protocol/names.h"

/* How long the start waits for queues that count what a crash has left. */
#define COUNTING_NS (300 * NSEC_PER_MSEC)
/*
 * When a change that could not be written is tried again, since a crash would forget it; then after
 * twice the time, up to the most. Each try is two lines in the log, and a temporary file.
 */
#define FIRST_RETRY_NS NSEC_PER_SEC
#define MAX_RETRY_NS (30 * NSEC_PER_SEC)

void metadata_init(struct metadata *m, struct topics *topics)
{
	*m = (struct metadata){.topics = topics};
	mutex_init(&m->lock, RANK_METADATA);
}

void metadata_destroy(struct metadata *m)
{
	mutex_destroy(&m->lock);
}

/* --- loading --------------------------------------------------------------------------------- */

static int load_channels(struct topic *t, const cJSON *channels, struct err *err)
{
	const cJSON *e;
	cJSON_ArrayForEach(e, channels)
	{
		const char *name = metadata_name(e);
		if (!is_valid_channel_name(name, strlen(name))) {
			nsqd_logf(t->ctx, LG_WARN, "skipping creation of invalid channel %s", name);
			continue;
		}
		struct channel *c = topic_get_channel(t, name, err);
		if (!c)
			return -1;
		if (metadata_paused(e))
			channel_pause(c);
		channel_unref(c);
	}
	return 0;
}

/* The topics that were loaded, and are started together. */
struct loaded {
	struct topic **topics; /* owned, with a reference each */
	size_t n;
	int64_t deadline_ns; /* the start waits for depths no longer than that */
};

static int load_topics(struct topics *ts, const cJSON *topics, struct loaded *l, struct err *err)
{
	const cJSON *e;
	cJSON_ArrayForEach(e, topics)
	{
		const char *name = metadata_name(e);
		if (!is_valid_topic_name(name, strlen(name))) {
			nsqd_logf(ts->ctx, LG_WARN, "skipping creation of invalid topic %s", name);
			continue;
		}
		struct topic *t = nsqd_get_topic(ts, name, err);
		if (!t)
			return -1;
		l->topics = xreallocarray(l->topics, l->n + 1, sizeof(struct topic *));
		l->topics[l->n++] = t;
		if (metadata_paused(e))
			topic_pause(t);
		if (load_channels(t, cJSON_GetObjectItem(e, "channels"), err) != 0)
			return -1;
	}
	return 0;
}

struct loading {
	struct topics *topics;
	struct loaded *loaded;
};

/* A topic has a log, and nsqd.dat does not know it: the daemon was killed before it wrote that. */
static int load_logged(void *arg, const char *name, struct err *err)
{
	struct loading *into = arg;
	struct loaded *l = into->loaded;
	struct topic *t = nsqd_get_existing_topic(into->topics, name);
	bool known = t != NULL;
	topic_unref(t);
	if (known)
		return 0;
	t = nsqd_get_topic(into->topics, name, err);
	if (!t)
		return -1;
	l->topics = xreallocarray(l->topics, l->n + 1, sizeof(struct topic *));
	l->topics[l->n++] = t;
	return 0;
}

/*
 * The daemon was killed while it deleted topics. What is left of those is gone for clients. -1 with err
 * set: the data path cannot be listed.
 */
static int remove_deleted(struct context *ctx, struct err *err)
{
	struct log_names names = {0};
	struct err why;
	int rc = log_names_list(&log_io_real, ctx->data_dir_fd, log_names_add_any, &names, err);
	for (size_t i = 0; rc == 0 && i < names.n; i++) {
		if (log_remove_deleted(NULL, ctx->data_dir_fd, names.v[i], &why) != 0)
			nsqd_logf(ctx, LG_WARN, "failed to remove a deleted log - %s", why.msg);
	}
	log_names_free(&names);
	return rc;
}

/* What cannot be listed might have messages: then the start fails. */
static int load_all_logged(struct topics *ts, struct loaded *l, struct err *err)
{
	struct loading into = {.topics = ts, .loaded = l};
	if (remove_deleted(ts->ctx, err) != 0)
		return -1;
	return log_view_each_topic(ts->ctx->data_dir_fd, NULL, load_logged, &into, err);
}

/*
 * After all are loaded: those that have a backlog on disk get to work at once, and a thousand of
 * them would leave the loading little of the processor.
 */
static void start_topics(struct loaded *l)
{
	for (size_t i = 0; i < l->n; i++) {
		topic_start(l->topics[i]);
		topic_unref(l->topics[i]);
	}
	free(l->topics);
}

static int load(struct topics *ts, const cJSON *root, struct err *err)
{
	/* The first request sees the right depths, where counting them does not take long. */
	struct loaded loaded = {.deadline_ns = clock_mono_ns() + COUNTING_NS};
	diskqueue_count_until(loaded.deadline_ns);
	int rc = load_topics(ts, cJSON_GetObjectItem(root, "topics"), &loaded, err);
	if (rc == 0)
		rc = load_all_logged(ts, &loaded, err);
	/* Not before it is known that all can be loaded. */
	for (size_t i = 0; rc == 0 && i < loaded.n; i++)
		rc = topic_leave_log(loaded.topics[i], err);
	diskqueue_wait_counted(loaded.deadline_ns);
	for (size_t i = 0; rc == 0 && i < loaded.n; i++)
		rc = topic_enter_log(loaded.topics[i], err);
	start_topics(&loaded);
	return rc;
}

static void remove_temporary(struct context *ctx, const char *name)
{
	struct stat st;
	struct err err;
	char *path = xasprintf("%s/%s", nsqd_data_path(ctx), name);
	if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && unlink(path) != 0) {
		err_errno(&err, errno, "remove %s", path);
		nsqd_logf(ctx, LG_WARN, "failed to remove a temporary file - %s", err.msg);
	}
	free(path);
}

/* A daemon that was killed while it wrote may have left one. The lock says that it is gone. */
static void remove_all_temporary(struct context *ctx)
{
	struct err err;
	struct dirent *e;
	DIR *dir = opendir(nsqd_data_path(ctx));
	if (dir) {
		for (errno = 0; (e = readdir(dir)) != NULL; errno = 0) {
			if (data_file_is_temporary(e->d_name, METADATA_FILE) ||
				data_file_is_temporary(e->d_name, SETTINGS_FILE))
				remove_temporary(ctx, e->d_name);
		}
	}
	if (errno != 0) {
		err_errno(&err, errno, "read %s", nsqd_data_path(ctx));
		nsqd_logf(ctx, LG_WARN, "failed to look for temporary files - %s", err.msg);
	}
	if (dir)
		closedir(dir);
}

int nsqd_load_metadata(struct metadata *m, struct err *err)
{
	struct context *ctx = m->topics->ctx;
	cJSON *root;
	remove_all_temporary(ctx);
	if (export_is_complete(nsqd_data_path(ctx), err) != 0)
		return -1;
	atomic_store(&ctx->phase, PHASE_LOADING);
	int rc = metadata_file_read(nsqd_data_path(ctx), &root, err);
	if (rc >= 0)
		rc = load(m->topics, root, err);
	atomic_store(&ctx->phase, PHASE_RUNNING);
	cJSON_Delete(root);
	return rc;
}

/* --- persisting ------------------------------------------------------------------------------- */

static void add_name_and_pause(struct strbuf *sb, const char *name, bool paused)
{
	strbuf_adds(sb, "{\"name\":");
	strbuf_add_json(sb, name, strlen(name));
	strbuf_addf(sb, ",\"paused\":%s", paused ? "true" : "false");
}

/* Go prints a nil slice as null: a topic without channels has none. */
static void add_channels(struct strbuf *sb, struct topic *t)
{
	size_t n, shown = 0;
	struct channel **channels = topic_channels(t, &n);
	for (size_t i = 0; i < n; i++) {
		if (!channels[i]->ephemeral && !channel_exiting(channels[i])) {
			strbuf_addc(sb, shown++ ? ',' : '[');
			add_name_and_pause(sb, channels[i]->name, channel_is_paused(channels[i]));
			strbuf_addc(sb, '}');
		}
		channel_unref(channels[i]);
	}
	free(channels);
	strbuf_adds(sb, shown ? "]" : "null");
}

/* GetMetadata(false), as JSON; sorted by name, where stock has them in a map's order. */
static void add_metadata(struct strbuf *sb, struct topics *ts)
{
	size_t count, shown = 0;
	struct topic **topics = nsqd_topics(ts, &count);
	strbuf_adds(sb, "{\"topics\":");
	for (size_t i = 0; i < count; i++) {
		if (!topics[i]->ephemeral && !topic_exiting(topics[i])) {
			strbuf_addc(sb, shown++ ? ',' : '[');
			add_name_and_pause(sb, topics[i]->name, topic_is_paused(topics[i]));
			strbuf_adds(sb, ",\"channels\":");
			add_channels(sb, topics[i]);
			strbuf_addc(sb, '}');
		}
		topic_unref(topics[i]);
	}
	free(topics);
	strbuf_adds(sb, shown ? "]" : "null");
	strbuf_addf(sb, ",\"version\":\"%s\"}", NSQ_VERSION);
}

static int persist_locked(struct metadata *m, struct err *err)
{
	struct context *ctx = m->topics->ctx;
	mutex_assert_held(&m->lock);
	struct strbuf sb = STRBUF_INIT;
	char *fn = data_file_path(nsqd_data_path(ctx), METADATA_FILE);
	nsqd_logf(ctx, LG_INFO, "NSQ: persisting topic/channel metadata to %s", fn);
	add_metadata(&sb, m->topics);
	int rc = data_file_replace(ctx->data_dir_fd, fn, &sb, err);
	strbuf_free(&sb);
	free(fn);
	return rc;
}

int nsqd_persist_metadata(struct metadata *m, struct err *err)
{
	int rc = 0;
	/* Held over the writing, so that an older state never replaces a newer one. */
	mutex_lock(&m->lock);
	if (!m->closed)
		rc = persist_locked(m, err);
	mutex_unlock(&m->lock);
	return rc;
}

void nsqd_close_metadata(struct metadata *m)
{
	mutex_lock(&m->lock);
	m->closed = true;
	mutex_unlock(&m->lock);
}

void nsqd_metadata_loop(void *arg)
{
	struct metadata *m = arg;
	struct context *ctx = m->topics->ctx;
	enum { PERSIST, RETRY, EXIT };
	struct ticker retry;
	int64_t retry_ns = FIRST_RETRY_NS;
	ticker_stop(&retry);
	for (;;) {
		struct chan_case cases[] = {
			[PERSIST] = chan_case_recv(ctx->notify.persist_chan, NULL),
			[RETRY] = chan_case_tick(&retry),
			[EXIT] = chan_case_recv(ctx->exit_chan, NULL),
		};
		int event = chan_select(cases, 3);
		if (event == EXIT)
			return;
		struct err err;
		ticker_stop(&retry);
		if (nsqd_persist_metadata(m, &err) == 0) {
			retry_ns = FIRST_RETRY_NS;
			continue;
		}
		nsqd_logf(ctx, LG_ERROR, "failed to persist metadata - %s", err.msg);
		if (event == RETRY)
			retry_ns = 2 * retry_ns < MAX_RETRY_NS ? 2 * retry_ns : MAX_RETRY_NS;
		ticker_after(&retry, retry_ns);
	}
}
