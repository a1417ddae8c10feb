/* SPDX-License-Identifier: MIT */
/* A registry of topics, used by three threads. A fourth is told of each new topic. */
#include <stdio.h>
#include <stdlib.h>

#include "common/chan.h"
#include "common/lock.h"
#include "common/xalloc.h"

#include "test/course/go.h"

enum { NAMES = 26, PUTTERS = 3 };

struct topic {
	struct mutex lock; /* guards depth */
	int depth;
};

struct registry {
	struct rwlock lock; /* guards topics; is taken before the lock of a topic */
	struct topic *topics[NAMES];
	struct chan *created; /* of char */
	int watched;          /* written by watch; main reads it after wait_group_wait */
};

static struct topic *topic_new(void)
{
	struct topic *t = xcalloc(1, sizeof *t);

	mutex_init(&t->lock, RANK_TOPIC);
	return t;
}

static struct topic *get(struct registry *r, char name)
{
	rwlock_rdlock(&r->lock);
	struct topic *t = r->topics[name - 'a'];
	rwlock_unlock(&r->lock);
	if (t)
		return t;

	rwlock_wrlock(&r->lock);
	t = r->topics[name - 'a']; /* it may have been made meanwhile */
	bool is_new = !t;
	if (is_new)
		t = r->topics[name - 'a'] = topic_new();
	rwlock_unlock(&r->lock);
	if (is_new)
		chan_send(r->created, &name); /* while no lock is held */
	return t;
}

static void put(void *arg)
{
	struct registry *r = arg;

	for (int i = 0; i < 300; i++) {
		struct topic *t = get(r, (char)('a' + i % 3));

		mutex_lock(&t->lock);
		t->depth++;
		mutex_unlock(&t->lock);
	}
}

static int total(struct registry *r)
{
	int sum = 0;

	rwlock_rdlock(&r->lock);
	for (int i = 0; i < NAMES; i++) {
		struct topic *t = r->topics[i];

		if (t) {
			mutex_lock(&t->lock);
			sum += t->depth;
			mutex_unlock(&t->lock);
		}
	}
	rwlock_unlock(&r->lock);
	return sum;
}

static void watch(void *arg)
{
	struct registry *r = arg;
	char name;

	while (chan_recv(r->created, &name)) {
		rwlock_rdlock(&r->lock);
		r->watched = 0;
		for (int i = 0; i < NAMES; i++)
			r->watched += r->topics[i] != NULL;
		rwlock_unlock(&r->lock);
	}
}

int main(void)
{
	struct registry r = {.created = chan_new(sizeof(char), 0)};
	struct wait_group putters, watchers;

	rwlock_init(&r.lock, RANK_TOPICS);
	wait_group_init(&putters);
	wait_group_init(&watchers);
	go(&watchers, "watch", watch, &r);
	for (int i = 0; i < PUTTERS; i++)
		go(&putters, "put", put, &r);
	wait_group_wait(&putters);
	chan_close(r.created);
	wait_group_wait(&watchers);
	printf("%d topics, %d messages\n", r.watched, total(&r));
	wait_group_destroy(&putters);
	wait_group_destroy(&watchers);
	gothread_drain();
	for (int i = 0; i < NAMES; i++) {
		if (r.topics[i])
			mutex_destroy(&r.topics[i]->lock);
		free(r.topics[i]);
	}
	rwlock_destroy(&r.lock);
	chan_free(r.created);
	return 0;
}
