/* SPDX-License-Identifier: MIT */
/* BROKEN: one thread takes two locks in one order, and another thread in the other. */
#include <stdio.h>

#include "common/lock.h"

#include "test/course/gate.h"
#include "test/course/go.h"

struct registry {
	struct rwlock lock; /* guards topics */
	int topics;
};

struct topic {
	struct mutex lock; /* guards depth */
	int depth;
};

static struct registry registry = {.topics = 1};
static struct topic topic = {.depth = 7};
static struct gate has_topic, has_registry;

static void put(void *arg)
{
	(void)arg;
	mutex_lock(&topic.lock);
	gate_open(&has_topic);
	gate_wait(&has_registry);
	topic.depth++;
	rwlock_rdlock(&registry.lock); /* @topic-first */
	printf("one of %d topics has %d messages\n", registry.topics, topic.depth);
	rwlock_unlock(&registry.lock);
	mutex_unlock(&topic.lock);
}

static void clear(void *arg)
{
	(void)arg;
	rwlock_wrlock(&registry.lock);
	gate_open(&has_registry);
	gate_wait(&has_topic);
	mutex_lock(&topic.lock); /* @registry-first */
	topic.depth = 0;
	mutex_unlock(&topic.lock);
	rwlock_unlock(&registry.lock);
}

int main(void)
{
	struct wait_group wg;

	rwlock_init(&registry.lock, RANK_TOPICS);
	mutex_init(&topic.lock, RANK_TOPIC);
	wait_group_init(&wg);
	go(&wg, "put", put, NULL);
	go(&wg, "clear", clear, NULL);
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	mutex_destroy(&topic.lock);
	rwlock_destroy(&registry.lock);
	return 0;
}
