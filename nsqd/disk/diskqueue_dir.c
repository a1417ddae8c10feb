/* SPDX-License-Identifier: MIT */
/*
 * Names and numbers of a queue's files. Mirrors fileName, metaDataFileName and the file loops of
 * go-diskqueue's diskqueue.go. Runs in dq_io_loop, and in the thread that creates or closes a
 * queue. One lock, for what all queues know of a directory.
 *
 * Deliberately different from stock:
 * - The numbers come from a file that may be damaged. So a loop over a wide range of them goes by
 *   the directory.
 * - A file that was moved aside is never overwritten by the next one.
 */
#include "nsqd/disk/diskqueue_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/regfile.h"
#include "common/xalloc.h"
#include "nsqd/disk/disk_stats.h"

/* Up to this many numbers are simply tried. */
#define TRY_RANGE 64

/* path.Join(dataPath, ...) in as far as data paths need it; the texts in the log depend on it. */
static char *join(const struct diskqueue *d, const char *file)
{
	size_t n = strlen(d->data_path);
	while (n > 1 && d->data_path[n - 1] == '/')
		n--;
	if (n == 0 || (n == 1 && d->data_path[0] == '.'))
		return xstrdup(file);
	if (n == 1 && d->data_path[0] == '/')
		return xasprintf("/%s", file);
	return xasprintf("%.*s/%s", (int)n, d->data_path, file);
}

char *dq_meta_data_file_name(const struct diskqueue *d)
{
	char *name = xasprintf("%s.diskqueue.meta.dat", d->name);
	char *path = join(d, name);
	free(name);
	return path;
}

char *dq_file_name(const struct diskqueue *d, int64_t file)
{
	char *name = xasprintf("%s.diskqueue.%06lld.dat", d->name, (long long)file);
	char *path = join(d, name);
	free(name);
	return path;
}

int64_t dq_file_number(const char *name, const char *entry)
{
	size_t n = strlen(name);
	int64_t v = 0;
	int digits = 0;
	if (strncmp(entry, name, n) != 0 || strncmp(entry + n, ".diskqueue.", 11) != 0)
		return -1;
	for (entry += n + 11; *entry >= '0' && *entry <= '9'; entry++, digits++) {
		v = v * 10 + (*entry - '0');
		if (v > DQ_SANE_MAX)
			return -1;
	}
	/* %06d must print the number like this, or dq_file_name would not find the file. */
	if (digits < 6 || (digits > 6 && v < 1000000) || strcmp(entry, ".dat") != 0)
		return -1;
	return v;
}

static int compare_numbers(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

int dq_list_files(const struct diskqueue *d, int64_t **files, size_t *n, struct err *err)
{
	DIR *dir = opendir(d->data_path[0] != '\0' ? d->data_path : ".");
	struct dirent *e;
	size_t cap = 0;
	*files = NULL;
	*n = 0;
	if (!dir)
		return err_errno(err, errno, "open %s", d->data_path);
	for (errno = 0; (e = readdir(dir)) != NULL; errno = 0) {
		int64_t v = dq_file_number(d->name, e->d_name);
		if (v < 0)
			continue;
		if (*n == cap) {
			cap = cap != 0 ? 2 * cap : 16;
			*files = xreallocarray(*files, cap, sizeof(**files));
		}
		(*files)[(*n)++] = v;
	}
	int code = errno;

	closedir(dir);
	if (code != 0) {
		free(*files);
		*files = NULL;
		*n = 0;
		return err_errno(err, code, "read %s", d->data_path);
	}
	if (*n > 1)
		qsort(*files, *n, sizeof(**files), compare_numbers);
	return 0;
}

/*
 * The names of the queues that have data files in one directory, as of one reading of it. At start,
 * thousands of queues without metadata ask whether there are data files; nothing is written
 * meanwhile.
 */
static struct {
	struct mutex lock;
	dev_t dev; /* guarded by lock, as is all of it */
	ino_t ino;
	struct timespec mtime; /* of the directory, when it was read; sec 0: never */
	char **names;          /* sorted, owned */
	size_t n;
} known = {.lock = {PTHREAD_MUTEX_INITIALIZER, RANK_LEAF}};

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void forget_known_locked(void)
{
	mutex_assert_held(&known.lock);
	for (size_t i = 0; i < known.n; i++)
		free(known.names[i]);
	free(known.names);
	known.names = NULL;
	known.n = 0;
	known.mtime.tv_sec = 0;
}

static int read_known_locked(const char *path, const struct stat *st, struct err *err)
{
	static const char mark[] = ".diskqueue.";
	DIR *dir = opendir(path);
	struct dirent *e;
	size_t cap = 0;
	mutex_assert_held(&known.lock);
	forget_known_locked();
	if (!dir)
		return err_errno(err, errno, "open %s", path);
	for (errno = 0; (e = readdir(dir)) != NULL; errno = 0) {
		/* The last mark: a name may hold one itself. */
		char *end = NULL;

		for (char *p = e->d_name; (p = strstr(p, mark)) != NULL; p++)
			end = p;
		if (!end || end[sizeof(mark) - 1] < '0' || end[sizeof(mark) - 1] > '9')
			continue;
		if (known.n == cap) {
			cap = cap != 0 ? 2 * cap : 64;
			known.names = xreallocarray(known.names, cap, sizeof(char *));
		}
		known.names[known.n++] = xstrndup(e->d_name, (size_t)(end - e->d_name));
	}
	int code = errno;
	closedir(dir);
	if (code != 0) {
		forget_known_locked();
		return err_errno(err, code, "read %s", path);
	}
	if (known.n > 1)
		qsort(known.names, known.n, sizeof(char *), compare_names);
	known.dev = st->st_dev;
	known.ino = st->st_ino;
	known.mtime = st->st_mtim;
	return 0;
}

int dq_any_files(const struct diskqueue *d, struct err *err)
{
	const char *path = d->data_path[0] != '\0' ? d->data_path : ".";
	const char *name = d->name;
	struct stat st;
	int rc = 0;
	if (stat(path, &st) != 0)
		return err_errno(err, errno, "stat %s", path);
	/*
	 * This reads a directory under a lock: threads that wait for it want the very same answer.
	 */
	mutex_lock(&known.lock);
	/* A directory that changed in this very second may change again without a new time. */
	if (st.st_dev != known.dev || st.st_ino != known.ino ||
		st.st_mtim.tv_sec != known.mtime.tv_sec ||
		st.st_mtim.tv_nsec != known.mtime.tv_nsec ||
		clock_wall_ns() - st.st_mtim.tv_sec * NSEC_PER_SEC < 2 * NSEC_PER_SEC)
		rc = read_known_locked(path, &st, err);
	if (rc == 0 && known.n > 0)
		rc = bsearch(&name, known.names, known.n, sizeof(char *), compare_names) != NULL;
	mutex_unlock(&known.lock);
	return rc;
}

int dq_file_size(const struct diskqueue *d, int64_t file, int64_t *size, struct err *err)
{
	char *path = dq_file_name(d, file);
	struct stat st;
	int rc = 0;
	if (stat(path, &st) == 0) {
		rc = S_ISREG(st.st_mode);
		if (rc)
			*size = st.st_size;
	} else if (errno != ENOENT && errno != ELOOP) {
		rc = err_errno(err, errno, "stat %s", path);
	}
	free(path);
	return rc;
}

int dq_open_ours(const struct diskqueue *d, const char *path, struct stat *st, struct err *err)
{
	if (lstat(path, st) != 0)
		return err_errno(err, errno, "stat %s", path);
	if (!S_ISREG(st->st_mode))
		return err_set(err, 0, "%s is no file", path);
	int fd = d->io->open(path, O_WRONLY | O_NOFOLLOW | REGFILE_FLAGS, 0);
	if (fd < 0)
		return err_errno(err, errno, "open %s", path);
	if (fstat(fd, st) != 0)
		err_errno(err, errno, "stat %s", path);
	else if (!S_ISREG(st->st_mode) || st->st_nlink != 1)
		err_set(err, 0, "%s is no file of ours", path);
	else
		return fd;
	close(fd);
	return -1;
}

/*
 * The disk refuses to remove this file. At least its messages do not come back, in a queue that is
 * emptied, or that is made anew with this name.
 */
static void cut_off(struct diskqueue *d, const char *path)
{
	struct stat st;
	struct err err;
	int fd = dq_open_ours(d, path, &st, &err), rc = fd < 0 ? -1 : 0;
	if (fd >= 0 && d->io->ftruncate(fd, 0) != 0)
		rc = err_errno(&err, errno, "truncate %s", path);
	if (rc < 0)
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to truncate data file %s - %s", d->name,
			path, err.msg);
	if (fd >= 0)
		close(fd);
}

bool dq_anything_at(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

/* What stands there is not the queue's. An empty file is no matter: it has no messages. */
static void make_way(struct diskqueue *d, int64_t file)
{
	struct err err;
	int64_t size = 0;
	char *path = dq_file_name(d, file);
	if (dq_file_size(d, file, &size, &err) < 0)
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to look for a file in the way - %s",
			d->name, err.msg);
	if (size > 0)
		dq_move_aside(d, path);
	free(path);
}

struct dq_pos dq_new_file(struct diskqueue *d, int64_t file)
{
	make_way(d, file);
	make_way(d, file + 1);
	return (struct dq_pos){file, 0};
}

/* Moves a damaged file aside, or a directory in its place; removes a sound file. */
static int remove_file(struct diskqueue *d, int64_t file, struct err *err)
{
	char *path = dq_file_name(d, file);
	bool bad = false;
	int rc = 0;
	for (size_t i = 0; i < d->n_bad_files && !bad; i++) {
		bad = d->bad_files[i] == file;
		if (bad)
			d->bad_files[i] = d->bad_files[--d->n_bad_files];
	}
	if (!bad && d->io->unlink(path) != 0 && errno != ENOENT) {
		bad = errno == EISDIR;
		rc = bad ? 0 : err_errno(err, errno, "remove %s", path);
	}
	if (bad)
		dq_move_aside(d, path);
	if (rc < 0) {
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to remove data file - %s", d->name,
			err->msg);
		cut_off(d, path);
	}
	free(path);
	return rc;
}

int dq_remove_files(struct diskqueue *d, int64_t from, int64_t to, struct err *err)
{
	int64_t *files;
	size_t n;
	int rc = 0;
	if (to - from <= TRY_RANGE) {
		for (int64_t f = from; f < to; f++)
			rc |= remove_file(d, f, err);
		return rc;
	}
	if (dq_list_files(d, &files, &n, err) != 0) {
		dq_logf(d, LG_ERROR, "DISKQUEUE(%s) failed to remove data file - %s", d->name,
			err->msg);
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		if (files[i] >= from && files[i] < to)
			rc |= remove_file(d, files[i], err);
	free(files);
	return rc;
}

void dq_move_aside(struct diskqueue *d, const char *path)
{
	char *bad = xasprintf("%s.bad", path);
	for (int i = 1; dq_anything_at(bad) && i < 10000; i++) {
		free(bad);
		bad = xasprintf("%s.%d.bad", path, i);
	}
	dq_logf(d, LG_WARN, "DISKQUEUE(%s) jump to next file and saving bad file as %s", d->name,
		bad);
	char reason[128];
	int code = 0;
	if (dq_anything_at(bad))
		code = EEXIST;
	else if (d->io->rename(path, bad) != 0)
		code = errno;
	if (code == 0)
		disk_stats_moved_aside();
	else
		dq_logf(d, LG_ERROR,
			"DISKQUEUE(%s) failed to rename bad diskqueue file %s to %s - %s", d->name,
			path, bad, err_strerror(code, reason, sizeof(reason)));
	free(bad);
}

int dq_sync_dir(const struct diskqueue *d, struct err *err)
{
	const char *path = d->data_path[0] != '\0' ? d->data_path : ".";
	int fd = d->io->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	int rc = 0;
	if (fd < 0)
		return err_errno(err, errno, "open %s", path);
	/* EINVAL: a file system that has no such thing. */
	int64_t start = clock_mono_ns();
	bool failed = d->io->fsync(fd) != 0 && errno != EINVAL;
	int code = errno;
	disk_stats_synced(start, failed);
	if (failed)
		rc = err_errno(err, code, "fsync %s", path);
	close(fd);
	return rc;
}
