/* SPDX-License-Identifier: MIT */
/*
 * The channels of a topic with a log, as the topic_log knows them. They join and leave, and some messages
 * are for one of them alone. No Go file: stock has no log. All functions run in their callers' threads.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/topic_log_internal.h"

int topic_log_join(struct topic_log *tl, const char *channel, struct topic_log_member *m,
	uint64_t *handed, struct err *err)
{
	struct err why;
	char *file = xasprintf("%s" CURSOR_SUFFIX, channel);
	struct cursor_opts o = {.io = tl->io,
		.dir = log_dir(tl->log),
		.file = file,
		.topic = tl->topic,
		.channel = channel};
	m->saved = false;
	m->muted = true;
	m->mark = (struct topic_log_mark){0};
	m->cursor = tl->started ? NULL : topic_log_open_old(tl, &o, &why);
	m->old = m->cursor != NULL;
	bool failed = !tl->started && !m->cursor && why.code != ENOENT;
	if (!failed) {
		mutex_lock(&tl->members.lock);
		mutex_lock(&tl->lock);
		*handed = tl->handed_to;
		tl->n_unsaved++;
		mutex_unlock(&tl->lock);
		if (!m->cursor)
			m->cursor = cursor_new(&o, *handed);
		m->next = tl->members.first;
		tl->members.first = m;
		mutex_unlock(&tl->members.lock);
	}
	free(file);
	if (failed)
		return err_set(err, why.code, "LOG(%s): %s", tl->topic, why.msg);
	topic_log_touch(tl);
	return 0;
}

void topic_log_listen(struct topic_log *tl, struct topic_log_member *m)
{
	mutex_lock(&tl->members.lock);
	m->muted = false;
	mutex_unlock(&tl->members.lock);
}

void topic_log_mute(struct topic_log *tl, struct topic_log_member *m)
{
	topic_log_take_turn(tl);
	m->tick = NULL;
	topic_log_give_turn(tl);
	mutex_lock(&tl->members.lock);
	m->muted = true;
	mutex_unlock(&tl->members.lock);
}

void topic_log_tell_alone(struct topic_log *tl, const char *channel, bool copies,
	struct message *const *msgs, size_t n)
{
	mutex_lock(&tl->members.lock);
	for (struct topic_log_member *m = tl->members.first; m; m = m->next) {
		bool mine = strcmp(m->channel, channel) == 0;
		if (!m->muted && !(mine && copies))
			m->ops->alone(m->arg, mine, msgs, n);
	}
	mutex_unlock(&tl->members.lock);
	topic_log_touch(tl);
}

int topic_log_append_alone(struct topic_log *tl, const char *channel, struct message *const *msgs,
	size_t n, struct err *err)
{
	if (!tl->started)
		return err_set(err, 0, "LOG(%s): the log is not open", tl->topic);
	int rc = log_append_copies(tl->log, channel, msgs, n, err);
	if (rc == 0)
		topic_log_save_members(tl);
	return rc;
}

int topic_log_leave(struct topic_log *tl, struct topic_log_member *m, bool remove, struct err *err)
{
	topic_log_take_turn(tl);
	mutex_lock(&tl->members.lock);
	struct topic_log_member **p = &tl->members.first;
	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	log_mover_left_locked(tl->mover, m);
	mutex_lock(&tl->lock);
	/* Where its file is left, but could not be written, the topic's cursor stays where it is. */
	if (remove && !m->saved) {
		tl->n_unsaved--;
		topic_log_move_handed_locked(tl);
	}
	mutex_unlock(&tl->lock);
	mutex_unlock(&tl->members.lock);
	tl->closing |= !remove;
	int rc = remove ? cursor_remove(m->cursor, err) : topic_log_flush_member(tl, m, err);
	if (m->mark.failing) {
		mutex_lock(&tl->lock);
		tl->failing_cursors--;
		mutex_unlock(&tl->lock);
	}
	cursor_free(m->cursor);
	m->cursor = NULL;
	topic_log_give_turn(tl);
	/* Segments may go. */
	(void)topic_log_touch(tl);
	return rc;
}

void topic_log_met(struct topic_log *tl, const struct log_item *item)
{
	/* Of what this process has written each channel has been told. */
	if (item->seq >= tl->end)
		return;
	if (item->origin == 0) {
		topic_log_tell_alone(tl, item->channel, false, &item->msg, 1);
		return;
	}
	mutex_lock(&tl->members.lock);
	struct topic_log_member *m = tl->members.first;
	while (m && strcmp(m->channel, item->channel) != 0)
		m = m->next;
	/* One that is new would take what another one of its name has left. */
	if (m && m->old && !m->muted)
		m->ops->met(m->arg, item);
	mutex_unlock(&tl->members.lock);
}
