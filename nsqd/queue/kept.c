/* SPDX-License-Identifier: MIT */
/*
 * What a channel's disk refuses. Stock has no such thing: it logs and drops. No thread of its own;
 * kept.h says which threads come here.
 */
#include "nsqd/queue/kept.h"

#include "common/check.h"
#include "common/compiler.h"

/* How many messages are dropped at once. */
#define CLEAR_BATCH 128

static size_t bytes_of(struct message *const *msgs, size_t n)
{
	size_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		bytes += sizeof(struct message) + msgs[i]->body->len;
	return bytes;
}

void kept_init(struct kept *k, _Atomic size_t *total_bytes)
{
	*k = (struct kept){.total_bytes = total_bytes};
	mutex_init(&k->lock, RANK_LEAF);
}

void kept_destroy(struct kept *k)
{
	kept_clear(k);
	mutex_destroy(&k->lock);
}

static bool is_full_locked(const struct kept *k)
{
	mutex_assert_held(&k->lock);
	size_t count = atomic_load(&k->count);
	return count > 0 && (count >= KEPT_MSGS_MAX || k->bytes >= KEPT_BYTES_MAX ||
				    atomic_load(k->total_bytes) >= KEPT_TOTAL_BYTES_MAX);
}

int64_t kept_body_bytes(struct kept *k)
{
	if (kept_count(k) == 0)
		return 0;
	mutex_lock(&k->lock);
	size_t records = atomic_load(&k->count) * sizeof(struct message);
	int64_t bytes = (int64_t)(k->bytes - records);
	mutex_unlock(&k->lock);
	return bytes;
}

bool kept_is_full(struct kept *k)
{
	mutex_lock(&k->lock);
	bool full = is_full_locked(k);
	mutex_unlock(&k->lock);
	return full;
}

static void append_locked(struct kept *k, struct message *const *take_msgs, size_t n, size_t bytes)
{
	mutex_assert_held(&k->lock);
	for (size_t i = 0; i < n; i++) {
		struct message *m = take_msgs[i];
		m->run_next = NULL;
		if (k->first)
			k->last->run_next = m;
		else
			k->first = m;
		k->last = m;
	}
	k->bytes += bytes;
	atomic_fetch_add(k->total_bytes, bytes);
	atomic_fetch_add(&k->count, n);
}

bool kept_push(struct kept *k, struct message *const *take_msgs, size_t n, bool *was_empty)
{
	size_t bytes = bytes_of(take_msgs, n);
	mutex_lock(&k->lock);
	bool full = is_full_locked(k);
	*was_empty = atomic_load(&k->count) == 0;
	if (!full)
		append_locked(k, take_msgs, n, bytes);
	mutex_unlock(&k->lock);
	return !full;
}

void kept_append(struct kept *k, struct message *const *take_msgs, size_t n, bool *was_empty)
{
	size_t bytes = bytes_of(take_msgs, n);
	mutex_lock(&k->lock);
	*was_empty = atomic_load(&k->count) == 0;
	append_locked(k, take_msgs, n, bytes);
	mutex_unlock(&k->lock);
}

size_t kept_take(struct kept *k, struct message **msgs, size_t max)
{
	size_t n = 0;
	CHECK(k->taken == 0);
	mutex_lock(&k->lock);
	for (; n < max && k->first; n++) {
		msgs[n] = k->first;
		k->first = msgs[n]->run_next;
	}
	mutex_unlock(&k->lock);
	k->taken = n;
	k->taken_bytes = bytes_of(msgs, n);
	return n;
}

bool kept_settle(struct kept *k, struct message *const *take_rest, size_t n)
{
	size_t gone_bytes = k->taken_bytes - bytes_of(take_rest, n);
	CHECK(n <= k->taken);
	mutex_lock(&k->lock);
	for (size_t i = n; i-- > 0;) {
		struct message *m = take_rest[i];
		m->run_next = k->first;
		if (!k->first)
			k->last = m;
		k->first = m;
	}
	k->bytes -= gone_bytes;
	atomic_fetch_sub(k->total_bytes, gone_bytes);
	size_t gone = k->taken - n;
	bool empty = atomic_fetch_sub(&k->count, gone) == gone;
	mutex_unlock(&k->lock);
	k->taken = 0;
	return empty;
}

/*
 * The list as it is now, up to *last; NULL: it is empty. Nobody but the taker changes what is before
 * the last message, so the taker may walk there without the lock.
 */
static struct message *list_of(struct kept *k, struct message **last)
{
	mutex_lock(&k->lock);
	struct message *first = k->first;
	*last = first ? k->last : NULL;
	mutex_unlock(&k->lock);
	return first;
}

static struct message *next_of(const struct message *m, const struct message *last)
{
	return m == last ? NULL : m->run_next;
}

void kept_look(struct kept *k, struct message_views *views, enum message_place place)
{
	struct message *last;
	const struct message *m = list_of(k, &last);
	for (; m && message_views_room(views) > 0; m = next_of(m, last))
		message_views_add(views, m, place);
}

int64_t kept_first_timestamp(struct kept *k)
{
	if (kept_count(k) == 0)
		return 0;
	mutex_lock(&k->lock);
	int64_t timestamp = k->first ? k->first->timestamp : 0;
	mutex_unlock(&k->lock);
	return timestamp;
}

struct message *kept_take_out(struct kept *k, struct message_id id)
{
	struct message *before = NULL, *last;
	CHECK(k->taken == 0);
	struct message *m = list_of(k, &last);
	for (; m && !message_id_equal(m->id, id); m = next_of(m, last))
		before = m;
	if (!m)
		return NULL;
	mutex_lock(&k->lock);
	if (before)
		before->run_next = m->run_next;
	else
		k->first = m->run_next;
	if (k->last == m)
		k->last = before;
	k->bytes -= bytes_of(&m, 1);
	atomic_fetch_sub(k->total_bytes, bytes_of(&m, 1));
	atomic_fetch_sub(&k->count, 1);
	mutex_unlock(&k->lock);
	return m;
}

void kept_clear(struct kept *k)
{
	struct message *msgs[CLEAR_BATCH] UNINITIALIZED;
	size_t n;
	while ((n = kept_take(k, msgs, CLEAR_BATCH)) > 0) {
		message_unref_all(msgs, n);
		kept_settle(k, NULL, 0);
	}
}
