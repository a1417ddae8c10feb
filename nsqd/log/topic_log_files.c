/* SPDX-License-Identifier: MIT */
/*
 * The cursors' files in the directory of a log: which there are, opening them, and removing those that
 * nobody wants. No Go file: stock has no log. All functions run in their callers' threads, before
 * topic_log_start has succeeded.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/topic_log_internal.h"

static void report(struct topic_log *tl, const char *what, const struct cursor_found *f)
{
	if (f->damaged)
		topic_log_logf(tl, LG_ERROR,
			"LOG(%s): the cursor of %s is damaged (%lld bytes): messages come again",
			tl->topic, what, (long long)f->damaged_bytes);
	if (f->beyond > 0)
		topic_log_logf(tl, LG_WARN,
			"LOG(%s): the cursor of %s knew of messages that the log has lost",
			tl->topic, what);
}

struct cursor *topic_log_open_old(
	struct topic_log *tl, const struct cursor_opts *o, struct err *err)
{
	struct cursor_found found;
	struct log_stats s;
	log_get_stats(tl->log, &s);
	struct cursor *c = cursor_open(o, s.first, s.next, &found, err);
	if (!c) {
		if (err->code == ENOENT)
			err->code = EIO;
		return NULL;
	}
	if (found.missing) {
		cursor_free(c);
		err_set(err, ENOENT, "there is no %s", o->file);
		return NULL;
	}
	report(tl, o->channel, &found);
	return c;
}

int topic_log_open_handed(struct topic_log *tl, struct err *err)
{
	struct cursor_found found;
	struct log_stats s;
	struct cursor_opts o = {.io = tl->io,
		.dir = log_dir(tl->log),
		.file = TOPIC_CURSOR,
		.topic = tl->topic,
		.channel = ""};
	log_get_stats(tl->log, &s);
	tl->begin = s.first;
	tl->end = s.next;
	tl->handed = cursor_open(&o, s.first, s.next, &found, err);
	if (!tl->handed)
		return -1;
	tl->handed_to = cursor_floor(tl->handed);
	report(tl, "the topic", &found);
	/*
	 * A loss of power may have left a hole in what it knows. What is behind it is handed out again,
	 * each message in its turn. So that is forgotten: else the place of the topic would jump over it.
	 */
	if (cursor_next_seen(tl->handed, tl->handed_to) != SEQ_END) {
		cursor_free(tl->handed);
		tl->handed = cursor_new(&o, tl->handed_to);
	}
	return 0;
}

static void add_cursor(void *arg, const char *name)
{
	if (strcmp(name, TOPIC_CURSOR) != 0 && strcmp(name, TOPIC_CURSOR ".tmp") != 0 &&
		(log_name_ends(name, CURSOR_SUFFIX) || log_name_ends(name, CURSOR_TMP_SUFFIX)))
		log_names_add_any(arg, name);
}

/* Those of channels, and what was to replace one. */
static int list_cursors(struct topic_log *tl, struct log_names *names, struct err *err)
{
	if (log_names_list(tl->io, log_dir(tl->log), add_cursor, names, err) == 0)
		return 0;
	return err_wrap(err, "LOG(%s)", tl->topic);
}

int topic_log_each_channel(struct topic_log *tl, void (*fn)(void *arg, const char *channel),
	void *arg, struct err *err)
{
	struct log_names f;
	int rc = list_cursors(tl, &f, err);
	for (size_t i = 0; i < f.n; i++) {
		if (!log_name_ends(f.v[i], CURSOR_SUFFIX))
			continue;
		f.v[i][strlen(f.v[i]) - strlen(CURSOR_SUFFIX)] = '\0';
		fn(arg, f.v[i]);
	}
	log_names_free(&f);
	return rc;
}

/* Is it the file of a channel that is open, or what will be? */
static bool is_open(struct topic_log *tl, const char *file)
{
	for (const struct topic_log_member *m = tl->members.first; m; m = m->next) {
		const char *own = cursor_file_name(m->cursor);
		size_t n = strlen(own);
		if (strncmp(file, own, n) == 0 &&
			(file[n] == '\0' || strcmp(file + n, ".tmp") == 0))
			return true;
	}
	return false;
}

int topic_log_remove_strays(struct topic_log *tl, struct err *err)
{
	struct log_names f;
	bool any = false;
	int rc = list_cursors(tl, &f, err);
	for (size_t i = 0; rc == 0 && i < f.n; i++) {
		if (is_open(tl, f.v[i]))
			continue;
		any = true;
		if (tl->io->unlink(tl->io, log_dir(tl->log), f.v[i]) != 0 && errno != ENOENT)
			rc = err_errno(err, errno, "LOG(%s): remove %s", tl->topic, f.v[i]);
	}
	/* Else what they say would be taken for true of other messages, after a loss of power. */
	if (rc == 0 && any && tl->io->sync_dir(tl->io, log_dir(tl->log)) != 0)
		rc = err_errno(err, errno, "LOG(%s): fsync", tl->topic);
	log_names_free(&f);
	return rc;
}
