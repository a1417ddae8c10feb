/* SPDX-License-Identifier: MIT */
/*
 * How the directories and files of logs are called. No Go file: stock has no log. All functions run in
 * their callers' threads.
 */
#include "nsqd/log/log_names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

void log_names_add(struct log_names *names, const char *name, size_t len)
{
	names->v = xreallocarray(names->v, names->n + 1, sizeof(char *));
	names->v[names->n++] = xasprintf("%.*s", (int)len, name);
}

void log_names_add_any(void *arg, const char *name)
{
	log_names_add(arg, name, strlen(name));
}

void log_names_free(struct log_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
	*names = (struct log_names){0};
}

bool log_name_ends(const char *name, const char *suffix)
{
	size_t n = strlen(name), k = strlen(suffix);
	return n > k && strcmp(name + n - k, suffix) == 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int log_names_list(const struct log_io *io, int dir, void (*add)(void *arg, const char *name),
	struct log_names *names, struct err *err)
{
	*names = (struct log_names){0};
	if (io->list(io, dir, add, names) != 0)
		return err_errno(err, errno, "list");
	if (names->n > 0)
		qsort(names->v, names->n, sizeof(char *), by_name);
	return 0;
}
