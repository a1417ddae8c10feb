/* SPDX-License-Identifier: MIT */
/*
 * Counting log lines that come again and again. No Go file: stock writes every line. Runs in any
 * thread that logs; the thread "log" takes out what is over.
 */
#include "common/lg_dedup.h"

#include <stdlib.h>
#include <string.h>

#include "common/lock.h"
#include "common/xalloc.h"

struct entry {
	char *text; /* owned; NULL: free */
	size_t len;
	const void *place;
	int level;
	int64_t end_ns;
	uint64_t count; /* after the first time */
};

struct lg_dedup {
	int64_t ns; /* immutable */
	struct mutex lock;
	struct entry entries[LG_DEDUP_TEXTS]; /* guarded by lock */
};

struct lg_dedup *lg_dedup_new(int64_t ns)
{
	struct lg_dedup *d = xcalloc(1, sizeof(*d));
	d->ns = ns;
	mutex_init(&d->lock, RANK_LEAF);
	return d;
}

void lg_dedup_free(struct lg_dedup *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < LG_DEDUP_TEXTS; i++)
		free(d->entries[i].text);
	mutex_destroy(&d->lock);
	free(d);
}

/* Empties the entry. True: it was repeated, and *out has it. */
static bool take_locked(struct lg_dedup *d, struct entry *e, struct lg_repeated *out)
{
	struct entry was = *e;
	mutex_assert_held(&d->lock);
	*e = (struct entry){0};
	if (was.count == 0) {
		free(was.text);
		return false;
	}
	*out = (struct lg_repeated){.level = was.level,
		.text = was.text,
		.len = was.len,
		.count = was.count,
		.ns = d->ns};
	return true;
}

static bool is_same(
	const struct entry *e, int level, const void *place, const char *text, size_t len)
{
	return e->text && e->level == level && e->place == place && e->len == len &&
	       memcmp(e->text, text, len) == 0;
}

/* The text's entry; else a free one, or the one whose time is over first. */
static struct entry *find_locked(
	struct lg_dedup *d, int level, const void *place, const char *text, size_t len)
{
	struct entry *best = &d->entries[0];
	mutex_assert_held(&d->lock);
	for (size_t i = 0; i < LG_DEDUP_TEXTS; i++) {
		struct entry *e = &d->entries[i];
		if (is_same(e, level, place, text, len))
			return e;
		if (best->text && (!e->text || e->end_ns < best->end_ns))
			best = e;
	}
	return best;
}

bool lg_dedup_is_repeated(struct lg_dedup *d, int level, const void *place, const char *text,
	size_t len, int64_t now_ns, struct lg_repeated *out)
{
	*out = (struct lg_repeated){0};
	if (len == 0 || len > LG_DEDUP_SIZE)
		return false;
	mutex_lock(&d->lock);
	struct entry *e = find_locked(d, level, place, text, len);
	bool repeated = is_same(e, level, place, text, len) && now_ns < e->end_ns;
	if (repeated) {
		e->count++;
	} else {
		(void)take_locked(d, e, out);
		*e = (struct entry){.text = xmalloc(len),
			.len = len,
			.place = place,
			.level = level,
			.end_ns = now_ns + d->ns};
		memcpy(e->text, text, len);
	}
	mutex_unlock(&d->lock);
	return repeated;
}

int64_t lg_dedup_next(struct lg_dedup *d)
{
	int64_t next = 0;
	mutex_lock(&d->lock);
	for (size_t i = 0; i < LG_DEDUP_TEXTS; i++) {
		const struct entry *e = &d->entries[i];
		if (e->text && (next == 0 || e->end_ns < next))
			next = e->end_ns;
	}
	mutex_unlock(&d->lock);
	return next;
}

bool lg_dedup_take(struct lg_dedup *d, int64_t now_ns, struct lg_repeated *out)
{
	bool found = false;
	mutex_lock(&d->lock);
	for (size_t i = 0; i < LG_DEDUP_TEXTS && !found; i++) {
		if (d->entries[i].text && d->entries[i].end_ns <= now_ns)
			found = take_locked(d, &d->entries[i], out);
	}
	mutex_unlock(&d->lock);
	return found;
}
