/* SPDX-License-Identifier: MIT */
/* The directory in which an export grows. Stock has no such thing. Runs in the thread "main". */
#include "nsqd/offline/export_staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/xalloc.h"
#include "nsqd/core/data_file.h"
#include "nsqd/disk/diskqueue_inspect.h"

/* So often a log may have been put aside before. */
#define ASIDE_MAX 10000

static int open_dir(int data_fd)
{
	return openat(data_fd, EXPORT_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Calls fn with each name in the directory, which fn may remove. -1 with err set. */
static int each_file(
	int fd, int (*fn)(void *arg, const char *name, struct err *err), void *arg, struct err *err)
{
	struct dirent *e;
	int rc = 0, copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	if (!dir) {
		rc = err_errno(err, errno, "open %s", EXPORT_DIR);
		if (copy >= 0)
			close(copy);
		return rc;
	}
	for (errno = 0; rc == 0 && (e = readdir(dir)) != NULL; errno = 0) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			rc = fn(arg, e->d_name, err);
	}
	if (rc == 0 && errno != 0)
		rc = err_errno(err, errno, "read %s", EXPORT_DIR);
	closedir(dir);
	return rc;
}

static int sync_dir(int fd, const char *what, struct err *err)
{
	return fsync(fd) == 0 ? 0 : err_errno(err, errno, "sync %s", what);
}

/* --- the end of an export -------------------------------------------------------------------------- */

struct completion {
	int data_fd, fd;
	enum dq_file_kind kind; /* which files it is the turn of */
	void (*put_aside)(void *arg, const char *log, const char *name);
	void *arg;
};

/* Data first: until the metadata know of them, they are nothing. nsqd.dat last. */
static int move_file(void *arg, const char *name, struct err *err)
{
	struct completion *c = arg;
	size_t len;
	if (strcmp(name, EXPORT_READY) == 0 || diskqueue_file_kind(name, &len) != c->kind)
		return 0;
	if (renameat(c->fd, name, c->data_fd, name) == 0)
		return 0;
	return err_errno(err, errno, "move %s/%s to the data path", EXPORT_DIR, name);
}

static int move_files(struct completion *c, struct err *err)
{
	static const enum dq_file_kind kinds[] = {DQ_FILE_DATA, DQ_FILE_META, DQ_FILE_OTHER};
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		c->kind = kinds[i];
		rc = each_file(c->fd, move_file, c, err);
		if (rc == 0)
			rc = sync_dir(c->data_fd, "the data path", err);
	}
	return rc;
}

/* T.log becomes T.log:exported, or T.log:exported-N: no topic can have such a name. */
static int put_aside(const struct completion *c, const char *log, struct err *err)
{
	struct stat st;
	if (fstatat(c->data_fd, log, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "stat %s", log);
	for (int i = 1; i <= ASIDE_MAX; i++) {
		char *name = i == 1 ? xasprintf("%s:exported", log)
				    : xasprintf("%s:exported-%d", log, i);
		bool is_free = fstatat(c->data_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0;
		int rc = is_free ? renameat(c->data_fd, log, c->data_fd, name) : 0;
		if (rc != 0)
			err_errno(err, errno, "rename %s to %s", log, name);
		else if (is_free)
			c->put_aside(c->arg, log, name);
		free(name);
		if (is_free)
			return rc;
	}
	return err_set(err, EEXIST, "%s was put aside too often", log);
}

static int put_all_aside(const struct completion *c, const char *logs, struct err *err)
{
	int rc = 0;
	for (const char *end; rc == 0 && (end = strchr(logs, '\n')) != NULL; logs = end + 1) {
		char *log = xasprintf("%.*s", (int)(end - logs), logs);
		if (strchr(log, '/'))
			rc = err_set(err, EINVAL, "%s/%s is damaged", EXPORT_DIR, EXPORT_READY);
		else
			rc = put_aside(c, log, err);
		free(log);
	}
	return rc == 0 ? sync_dir(c->data_fd, "the data path", err) : rc;
}

static int remove_dir(const struct completion *c, struct err *err)
{
	if (unlinkat(c->fd, EXPORT_READY, 0) != 0 && errno != ENOENT)
		return err_errno(err, errno, "remove %s/%s", EXPORT_DIR, EXPORT_READY);
	if (unlinkat(c->data_fd, EXPORT_DIR, AT_REMOVEDIR) != 0)
		return err_errno(err, errno, "remove %s", EXPORT_DIR);
	return sync_dir(c->data_fd, "the data path", err);
}

int staging_complete(const char *data_path, int data_fd,
	void (*aside)(void *arg, const char *log, const char *name), void *arg, struct err *err)
{
	struct completion c = {.data_fd = data_fd, .put_aside = aside, .arg = arg};
	struct strbuf logs = STRBUF_INIT;
	char *ready = data_file_path(data_path, EXPORT_DIR "/" EXPORT_READY);
	int rc = data_file_read(ready, &logs, err);
	free(ready);
	if (rc > 0) {
		strbuf_addc(&logs, '\0');
		c.fd = open_dir(data_fd);
		rc = c.fd >= 0 ? 1 : err_errno(err, errno, "open %s", EXPORT_DIR);
	}
	if (rc > 0) {
		if (move_files(&c, err) != 0 || put_all_aside(&c, logs.data, err) != 0 ||
			remove_dir(&c, err) != 0)
			rc = -1;
		close(c.fd);
	}
	strbuf_free(&logs);
	return rc;
}

/* --- the beginning ---------------------------------------------------------------------------------- */

static int remove_file(void *arg, const char *name, struct err *err)
{
	const int *fd = arg;
	if (unlinkat(*fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	return err_errno(err, errno, "remove %s/%s", EXPORT_DIR, name);
}

int staging_begin(struct staging *s, const char *data_path, int data_fd, struct err *err)
{
	*s = (struct staging){.data_path = data_path, .data_fd = data_fd, .fd = -1};
	s->path = data_file_path(data_path, EXPORT_DIR);
	if (mkdirat(data_fd, EXPORT_DIR, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, "mkdir %s", s->path);
	s->fd = open_dir(data_fd);
	if (s->fd < 0)
		return err_errno(err, errno, "open %s", s->path);
	return each_file(s->fd, remove_file, &s->fd, err);
}

static int sync_file(void *arg, const char *name, struct err *err)
{
	const struct staging *s = arg;
	int fd = openat(s->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int rc = fd >= 0 && fsync(fd) == 0 ? 0 : err_errno(err, errno, "sync %s", name);
	if (fd >= 0)
		close(fd);
	return rc;
}

int staging_ready(struct staging *s, const struct strbuf *logs, struct err *err)
{
	char *ready = xasprintf("%s/%s", s->path, EXPORT_READY);
	int rc = each_file(s->fd, sync_file, s, err);
	if (rc == 0)
		rc = sync_dir(s->fd, s->path, err);
	if (rc == 0)
		rc = sync_dir(s->data_fd, s->data_path, err);
	if (rc == 0)
		rc = data_file_replace(s->fd, ready, logs, err);
	free(ready);
	return rc;
}

void staging_end(struct staging *s, bool removes)
{
	struct err ignored; /* the next attempt removes it, or says why it cannot */
	if (s->fd >= 0 && removes)
		(void)each_file(s->fd, remove_file, &s->fd, &ignored);
	if (s->fd >= 0)
		close(s->fd);
	if (removes)
		unlinkat(s->data_fd, EXPORT_DIR, AT_REMOVEDIR);
	free(s->path);
}
