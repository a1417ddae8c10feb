/* SPDX-License-Identifier: MIT */
/*
 * The dead-letter topics that there are. Mirrors no Go file. Runs in main (load), in the pumps of
 * channels, and in the threads of HTTP connections.
 */
#include "nsqd/queue/dead_targets.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/core/context.h"

void dead_targets_init(struct dead_targets *d, struct context *ctx)
{
	*d = (struct dead_targets){.ctx = ctx};
	mutex_init(&d->lock, RANK_LEAF);
}

void dead_targets_destroy(struct dead_targets *d)
{
	struct dead_target *t, *tmp;
	HASH_ITER (hh, d->list, t, tmp) {
		HASH_DEL(d->list, t);
		dead_target_unref(t);
	}
	mutex_destroy(&d->lock);
}

void dead_target_unref(struct dead_target *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	dead_log_free(t->log);
	mutex_destroy(&t->lock);
	free(t);
}

/* A reference, or NULL. */
static struct dead_target *find(struct dead_targets *d, const char *name)
{
	struct dead_target *t;
	mutex_lock(&d->lock);
	HASH_FIND_STR(d->list, name, t);
	if (t)
		atomic_fetch_add(&t->refs, 1);
	mutex_unlock(&d->lock);
	return t;
}

struct dead_target *dead_targets_get(struct dead_targets *d, const char *name)
{
	struct dead_target *t = find(d, name), *found;
	if (t)
		return t;
	t = xcalloc(1, sizeof(*t));
	atomic_init(&t->refs, 2);
	snprintf(t->name, sizeof(t->name), "%s", name);
	mutex_init(&t->lock, RANK_DEAD_LETTERS);
	t->log = dead_log_new(nsqd_data_path(d->ctx), name, is_ephemeral_name(name));
	mutex_lock(&d->lock);
	HASH_FIND_STR(d->list, name, found);
	if (found)
		atomic_fetch_add(&found->refs, 1);
	else
		HASH_ADD_STR(d->list, name, t);
	mutex_unlock(&d->lock);
	if (!found)
		return t;
	atomic_store(&t->refs, 1);
	dead_target_unref(t);
	return found;
}

bool dead_targets_has(struct dead_targets *d, const char *topic)
{
	struct dead_target *t;
	mutex_lock(&d->lock);
	HASH_FIND_STR(d->list, topic, t);
	mutex_unlock(&d->lock);
	return t != NULL;
}

static void see_log(struct dead_targets *d, const char *entry)
{
	char name[NAME_SIZE];
	size_t len = dead_log_topic(entry);
	if (len == 0)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)len, entry);
	dead_target_unref(dead_targets_get(d, name));
}

/*
 * How much of the entry is the name of a queue that has messages, or had some; 0: it is none. An empty
 * disk queue has no file but that which says where it is. Of a log its cursors say what is left.
 * TOPIC.log, TOPIC.diskqueue.REST, or TOPIC:CHANNEL.diskqueue.REST, and what was kept aside of these.
 */
static size_t queue_len(const char *entry)
{
	static const char mark[] = ".diskqueue.", where[] = "meta.dat", log[] = ".log";
	const char *end = NULL;
	size_t n = strlen(entry), k = strlen(log);
	if (n > k && strcmp(entry + n - k, log) == 0)
		return n - k;
	for (const char *p = entry; (p = strstr(p, mark)) != NULL; p++)
		end = p;
	return end && strcmp(end + strlen(mark), where) != 0 ? (size_t)(end - entry) : 0;
}

/* Its topic has messages, or had some. */
static void see_queue(struct dead_targets *d, const char *entry)
{
	char name[NAME_SIZE];
	size_t len = queue_len(entry), topic = strcspn(entry, ":");
	if (len == 0)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(topic < len ? topic : len), entry);
	struct dead_target *t = find(d, name);
	if (t)
		t->has_messages = true;
	dead_target_unref(t);
}

/* By errno. */
static void log_failed_look(struct dead_targets *d)
{
	char text[128];
	nsqd_logf(d->ctx, LG_ERROR, "failed to look for dead-letter topics in the data path - %s",
		err_strerror(errno, text, sizeof(text)));
}

/* False: not all of them could be read, as the log says. */
static bool see_all(
	struct dead_targets *d, DIR *dir, void (*see)(struct dead_targets *d, const char *entry))
{
	struct dirent *e;
	rewinddir(dir);
	for (errno = 0; (e = readdir(dir)) != NULL; errno = 0)
		see(d, e->d_name);
	if (errno == 0)
		return true;
	log_failed_look(d);
	return false;
}

static void clear_empty(struct dead_targets *d)
{
	struct err err;
	for (struct dead_target *t = d->list; t; t = t->hh.next) {
		if (!t->has_messages && dead_log_clear(t->log, &err) != 0)
			nsqd_logf(d->ctx, LG_ERROR, "failed to %s", err.msg);
	}
}

void dead_targets_load(struct dead_targets *d, const char *data_path)
{
	DIR *dir = opendir(data_path);
	if (!dir) {
		log_failed_look(d);
		return;
	}
	if (see_all(d, dir, see_log) && see_all(d, dir, see_queue))
		clear_empty(d);
	closedir(dir);
}

int dead_targets_origins(struct dead_targets *d, const char *topic, struct dead_entry *entries,
	bool *found, size_t n, struct err *err)
{
	struct dead_target *t = find(d, topic);
	struct dead_log_files files;
	memset(found, 0, n * sizeof(*found));
	if (!t)
		return 0;
	int rc = 0;
	if (n > 0) {
		mutex_lock(&t->lock);
		rc = dead_log_snapshot(t->log, &files, err);
		mutex_unlock(&t->lock);
	}
	if (n > 0 && rc == 0) {
		rc = dead_log_find(&files, entries, found, n, err);
		dead_log_close(&files);
	}
	dead_target_unref(t);
	return rc;
}

void dead_targets_clear(struct dead_targets *d, const char *topic)
{
	struct err err;
	struct dead_target *t = find(d, topic);
	if (!t)
		return;
	mutex_lock(&t->lock);
	if (dead_log_clear(t->log, &err) != 0)
		nsqd_logf(d->ctx, LG_ERROR, "failed to %s", err.msg);
	mutex_unlock(&t->lock);
	dead_target_unref(t);
}

void dead_targets_forget(struct dead_targets *d, const char *topic)
{
	struct dead_target *t;
	mutex_lock(&d->lock);
	HASH_FIND_STR(d->list, topic, t);
	if (t)
		HASH_DEL(d->list, t);
	mutex_unlock(&d->lock);
	if (!t)
		return;
	mutex_lock(&t->lock);
	t->forgotten = true;
	struct err err;
	int rc = dead_log_remove(t->log, &err);
	mutex_unlock(&t->lock);
	if (rc != 0)
		nsqd_logf(d->ctx, LG_ERROR, "failed to %s", err.msg);
	dead_target_unref(t);
}
