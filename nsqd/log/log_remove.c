/* SPDX-License-Identifier: MIT */
/*
 * What goes: a whole log, and segments that nobody wants. No Go file: stock has no log. All functions
 * run in their callers' threads.
 */
#include "nsqd/log/log_remove.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/log_internal.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/log_segment.h"

/* What is being deleted; no topic can have such a name. */
#define DELETED_SUFFIX LOG_SUFFIX ":deleted"

/* Removes a directory and the files in it. It is no error if there is none. */
static int remove_dir(const struct log_io *io, int parent, const char *name, struct err *err)
{
	struct log_names names = {0};
	int rc = 0, dir = io->open_dir(io, parent, name);
	if (dir < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "open %s", name);
	if (log_names_list(io, dir, log_names_add_any, &names, err) != 0)
		rc = err_wrap(err, "%s", name);
	for (size_t i = 0; i < names.n; i++) {
		if (io->unlink(io, dir, names.v[i]) != 0 && errno != ENOENT)
			rc = err_errno(err, errno, "remove %s/%s", name, names.v[i]);
	}
	log_names_free(&names);
	io->close(io, dir);
	/* ENOTDIR: the name is a symbolic link to where the directory is. */
	if (rc == 0 && io->rmdir(io, parent, name) != 0 &&
		(errno != ENOTDIR || io->unlink(io, parent, name) != 0))
		rc = err_errno(err, errno, "remove %s", name);
	return rc;
}

int log_remove(const struct log_io *io, int dir, const char *topic, bool disk, struct err *err)
{
	char *name = xasprintf("%s" LOG_SUFFIX, topic);
	char *deleted = xasprintf("%s" DELETED_SUFFIX, topic);
	/* What an earlier deletion has left. */
	int rc = remove_dir(io, dir, deleted, err);
	if (rc == 0 && io->rename(io, dir, name, deleted) != 0)
		rc = err_errno(err, errno, "rename %s", name);
	if (rc == 0 && disk && io->sync_dir(io, dir) != 0)
		rc = err_errno(err, errno, "fsync");
	if (rc == 0)
		rc = remove_dir(io, dir, deleted, err);
	free(name);
	free(deleted);
	return rc;
}

int log_remove_deleted(const struct log_io *io, int dir, const char *file, struct err *err)
{
	if (!log_name_ends(file, DELETED_SUFFIX))
		return 0;
	return remove_dir(io ? io : &log_io_real, dir, file, err);
}

int log_put_aside(int dir, const char *topic, const char *as, struct err *err)
{
	const struct log_io *io = &log_io_real;
	char *name = xasprintf("%s" LOG_SUFFIX, topic);
	int rc = remove_dir(io, dir, as, err);
	if (rc == 0 && io->rename(io, dir, name, as) != 0)
		rc = err_errno(err, errno, "rename %s to %s", name, as);
	if (rc == 0 && io->sync_dir(io, dir) != 0)
		rc = err_errno(err, errno, "fsync");
	free(name);
	return rc;
}

/* The oldest segment, if nothing in it is wanted and it is not the last one. */
static bool oldest_below(struct log *l, uint64_t floor, uint64_t *first)
{
	mutex_lock(&l->lock);
	bool is = l->n_segments > 1 && l->segments[1].first <= floor;
	if (is)
		*first = l->segments[0].first;
	mutex_unlock(&l->lock);
	return is;
}

/*
 * With `disk` one segment is gone for certain before the next one goes. So after a loss of power too,
 * what is missing is the beginning. The mover relies on that: docs/log-design.md.
 */
int log_forget(struct log *l, uint64_t floor, struct err *err)
{
	char name[LOG_SEGMENT_NAME];
	uint64_t first;
	while (oldest_below(l, floor, &first)) {
		log_segment_name(first, name);
		if (l->removed && log_syncs(l) && l->io->sync_dir(l->io, l->dir) != 0)
			return err_errno(err, errno, "fsync");
		l->removed = true;
		if (l->io->unlink(l->io, l->dir, name) != 0 && errno != ENOENT)
			return err_errno(err, errno, "remove %s", name);
		mutex_lock(&l->lock);
		l->n_segments--;
		memmove(l->segments, l->segments + 1, l->n_segments * sizeof(*l->segments));
		mutex_unlock(&l->lock);
	}
	return 0;
}
