/* SPDX-License-Identifier: MIT */
/* BROKEN: a thread has nobody to return its error to, and drops it. main says that all is saved. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"

#include "test/course/go.h"

enum { PARTS = 3 };

struct part {
	const char *path;
	const char *text;
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
	struct err err;

	save(arg, &err);
}

int main(void)
{
	struct part parts[PARTS] = {
		{"/dev/null", "first"}, {"/dev/full", "second"}, {"/dev/null", "third"}};
	struct wait_group wg;

	wait_group_init(&wg);
	for (int i = 0; i < PARTS; i++)
		go(&wg, "save_part", save_part, &parts[i]);
	wait_group_wait(&wg);
	printf("saved %d of %d parts\n", PARTS, PARTS);
	wait_group_destroy(&wg);
	gothread_drain();
	return 0;
}
