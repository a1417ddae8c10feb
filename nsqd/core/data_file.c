/* SPDX-License-Identifier: MIT */
/*
 * A small file of the data path. Mirrors readOrEmpty and writeSyncFile of nsqd/nsqd.go. Runs in the
 * threads "main" and "metadata", and in those of HTTP connections; it keeps no state.
 */
#include "nsqd/core/data_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/rand.h"
#include "common/regfile.h"
#include "common/xalloc.h"

/* No daemon has this many names: what is larger is not ours. */
#define MAX_SIZE (1 << 30)

char *data_file_path(const char *dir, const char *name)
{
	size_t len = strlen(dir);
	while (len > 1 && dir[len - 1] == '/')
		len--;
	return xasprintf("%.*s%s%s", (int)len, dir, dir[len - 1] == '/' ? "" : "/", name);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int read_all(int fd, struct strbuf *sb, struct err *err)
{
	char buf[65536];
	ssize_t got;
	while ((got = read(fd, buf, sizeof(buf))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, errno, "read");
		if (sb->len > MAX_SIZE)
			return err_set(err, EFBIG, "file too large");
		strbuf_add(sb, buf, (size_t)got);
	}
	return 0;
}

int data_file_read(const char *path, struct strbuf *out, struct err *err)
{
	int fd = regfile_open(path, err);
	if (fd < 0)
		return err->code == ENOENT ? 0 : -1;
	int64_t size;
	int rc = regfile_check_fd(fd, path, &size, err);
	if (rc == 0 && size > MAX_SIZE)
		rc = err_set(err, EFBIG, "file too large");
	if (rc == 0)
		rc = read_all(fd, out, err);
	close(fd);
	return rc == 0 ? 1 : -1;
}

/* --- replacing -------------------------------------------------------------------------------- */

static int write_all(int fd, const char *p, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t put = write(fd, p, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(err, errno, "write");
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

/* path is a new file: nothing that stands there already is written to. */
static int write_sync_file(const char *path, const struct strbuf *sb, struct err *err)
{
	int fd = open(path, O_WRONLY | REGFILE_NEW, 0600);
	if (fd < 0)
		return err_errno(err, errno, "open %s", path);
	int rc = write_all(fd, sb->data, sb->len, err);
	if (rc == 0 && fsync(fd) != 0)
		rc = err_errno(err, errno, "sync %s", path);
	if (close(fd) != 0 && rc == 0)
		rc = err_errno(err, errno, "close %s", path);
	if (rc != 0)
		unlink(path);
	return rc;
}

static int rename_and_sync(int dir_fd, const char *from, const char *to, struct err *err)
{
	if (rename(from, to) != 0) {
		err_errno(err, errno, "rename %s %s", from, to);
		unlink(from);
		return -1;
	}
	/* So that the rename survives a power cut. */
	if (fsync(dir_fd) != 0)
		return err_errno(err, errno, "sync the directory of %s", to);
	return 0;
}

int data_file_replace(int dir_fd, const char *path, const struct strbuf *content, struct err *err)
{
	char *tmp = xasprintf("%s.%llu.tmp", path, (unsigned long long)rand_u64() >> 1);
	int rc = write_sync_file(tmp, content, err);
	if (rc == 0)
		rc = rename_and_sync(dir_fd, tmp, path, err);
	free(tmp);
	return rc;
}

int export_is_complete(const char *data_path, struct err *err)
{
	char *path = data_file_path(data_path, EXPORT_DIR "/" EXPORT_READY);
	struct stat st;
	int rc = 0;
	if (lstat(path, &st) == 0)
		rc = err_set(err, 0,
			"--export-stock was cut short: nsqd --data-path=%s --export-stock "
			"completes it",
			data_path);
	else if (errno != ENOENT && errno != ENOTDIR)
		rc = err_errno(err, errno, "stat %s", path);
	free(path);
	return rc;
}

/* NAME.N.tmp. */
bool data_file_is_temporary(const char *entry, const char *name)
{
	size_t len = strlen(name);
	if (strncmp(entry, name, len) != 0 || entry[len] != '.')
		return false;
	const char *number = entry + len + 1;
	size_t digits = strspn(number, "0123456789");
	return digits > 0 && digits <= 19 && strcmp(number + digits, ".tmp") == 0;
}
