/* SPDX-License-Identifier: MIT */
/* A group that waits for its threads, and returns the error of the first one that failed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"
#include "common/lock.h"

#include "test/course/go.h"

enum { PARTS = 3 };

struct group {
	struct wait_group wg;
	struct mutex lock;
	int failed;     /* guarded by lock; -1: some thread has failed */
	struct err err; /* guarded by lock; of the first one */
};

/* A thread has failed. */
static void group_fail(struct group *g, const struct err *err)
{
	mutex_lock(&g->lock);
	if (g->failed == 0)
		g->err = *err;
	g->failed = -1;
	mutex_unlock(&g->lock);
}

/* 0, or -1 with err set. No thread of the group runs any more. */
static int group_wait(struct group *g, struct err *err)
{
	wait_group_wait(&g->wg);
	if (g->failed < 0)
		*err = g->err;
	return g->failed;
}

struct part {
	const char *path;
	const char *text;
	struct group *group;
};

static int save(const struct part *p, struct err *err)
{
	int fd = open(p->path, O_WRONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return err_errno(err, errno, "open %s", p->path);
	if (write(fd, p->text, strlen(p->text)) < 0)
		rc = err_errno(err, errno, "write %s", p->path);
	close(fd);
	return rc;
}

static void save_part(void *arg)
{
	struct part *p = arg;
	struct err err;

	if (save(p, &err) < 0)
		group_fail(p->group, &err);
}

int main(void)
{
	struct group g = {0};
	struct part parts[PARTS] = {{"/dev/null", "first", &g}, {"/dev/full", "second", &g},
		{"/dev/null", "third", &g}};
	struct err err;

	mutex_init(&g.lock, RANK_LEAF);
	wait_group_init(&g.wg);
	mutex_init(&g.lock, RANK_LEAF);
	for (int i = 0; i < PARTS; i++)
		go(&g.wg, "save_part", save_part, &parts[i]);
	if (group_wait(&g, &err) < 0)
		printf("not saved: %s\n", err.msg);
	else
		printf("saved\n");
	wait_group_destroy(&g.wg);
	mutex_destroy(&g.lock);
	gothread_drain();
	return 0;
}
