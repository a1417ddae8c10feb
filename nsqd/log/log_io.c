/* SPDX-License-Identifier: MIT */
/*
 * The file layer of the log: the system's own calls. No Go file: stock has no log. Runs in whatever
 * thread uses a log or a cursor; blocks on the disk only. No locks.
 */
#include "nsqd/log/log_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/regfile.h"

/* Closes fd, and keeps the errno of what has failed before. */
static int give_up(int fd)
{
	int code = errno;
	close(fd);
	errno = code;
	return -1;
}

static int real_open(const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	static const int flags[] = {
		[LOG_IO_READ] = O_RDONLY | O_NOFOLLOW | REGFILE_FLAGS,
		[LOG_IO_WRITE] = O_RDWR | O_NOFOLLOW | REGFILE_FLAGS,
		[LOG_IO_CREATE] = O_RDWR | REGFILE_NEW,
	};
	struct stat st;
	(void)io;
	/* To open a FIFO or a device may do something. */
	if (mode != LOG_IO_CREATE && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : ENXIO;
		return -1;
	}
	int fd = openat(dir, name, flags[mode], 0600);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) != 0)
		return give_up(fd);
	if (!S_ISREG(st.st_mode)) {
		errno = ENXIO;
		return give_up(fd);
	}
	return fd;
}

static int real_open_dir(const struct log_io *io, int dir, const char *name)
{
	(void)io;
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int real_close(const struct log_io *io, int fd)
{
	(void)io;
	return close(fd);
}

static ssize_t real_pread(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	ssize_t r;
	(void)io;
	do
		r = pread(fd, buf, n, off);
	while (r < 0 && errno == EINTR);
	return r;
}

static ssize_t real_pwritev(
	const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off)
{
	ssize_t w;
	(void)io;
	do
		w = pwritev(fd, iov, n, off);
	while (w < 0 && errno == EINTR);
	return w;
}

static int64_t real_size(const struct log_io *io, int fd)
{
	struct stat st;
	(void)io;
	return fstat(fd, &st) == 0 ? st.st_size : -1;
}

static int real_truncate(const struct log_io *io, int fd, int64_t size)
{
	int rc;
	(void)io;
	do
		rc = ftruncate(fd, size);
	while (rc < 0 && errno == EINTR);
	return rc;
}

static int real_sync(const struct log_io *io, int fd)
{
	(void)io;
	return fdatasync(fd);
}

static int real_sync_dir(const struct log_io *io, int dir)
{
	(void)io;
	if (dir != AT_FDCWD)
		return fsync(dir);
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fsync(fd) != 0)
		return give_up(fd);
	return close(fd);
}

static int real_mkdir(const struct log_io *io, int dir, const char *name)
{
	(void)io;
	return mkdirat(dir, name, 0700);
}

static int real_rmdir(const struct log_io *io, int dir, const char *name)
{
	(void)io;
	return unlinkat(dir, name, AT_REMOVEDIR);
}

static int real_rename(const struct log_io *io, int dir, const char *from, const char *to)
{
	(void)io;
	return renameat(dir, from, dir, to);
}

static int real_unlink(const struct log_io *io, int dir, const char *name)
{
	(void)io;
	return unlinkat(dir, name, 0);
}

static int real_list(
	const struct log_io *io, int dir, void (*fn)(void *arg, const char *name), void *arg)
{
	struct dirent *entry;
	(void)io;
	/* A descriptor of its own: fdopendir takes it over, and its position. */
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	DIR *d = fdopendir(fd);
	if (!d)
		return give_up(fd);
	errno = 0;
	while ((entry = readdir(d)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			fn(arg, entry->d_name);
		errno = 0;
	}
	int code = errno;
	closedir(d);
	errno = code;
	return code == 0 ? 0 : -1;
}

static int real_allocate(const struct log_io *io, int fd, int64_t off, int64_t n)
{
	(void)io;
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, off, n);
}

const struct log_io log_io_real = {
	.open = real_open,
	.open_dir = real_open_dir,
	.close = real_close,
	.pread = real_pread,
	.pwritev = real_pwritev,
	.size = real_size,
	.truncate = real_truncate,
	.sync = real_sync,
	.sync_dir = real_sync_dir,
	.mkdir = real_mkdir,
	.rmdir = real_rmdir,
	.rename = real_rename,
	.unlink = real_unlink,
	.list = real_list,
	.start = wait_group_wrap,
	.allocate = real_allocate,
};

/* Leaves out the first w bytes. */
static void advance(struct iovec **iov, int *n, size_t w)
{
	while (*n > 0 && w >= (*iov)->iov_len) {
		w -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + w;
		(*iov)->iov_len -= w;
	}
}

int log_io_write_all(
	const struct log_io *io, int fd, struct iovec *iov, int n, int64_t off, struct err *err)
{
	advance(&iov, &n, 0);
	while (n > 0) {
		int some = n < LOG_IO_IOV_MAX ? n : LOG_IO_IOV_MAX;
		ssize_t w = io->pwritev(io, fd, iov, some, off);
		if (w <= 0)
			return err_errno(err, w < 0 ? errno : ENOSPC, "write");
		off += w;
		advance(&iov, &n, (size_t)w);
	}
	return 0;
}

ssize_t log_io_read_all(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = io->pread(io, fd, (char *)buf + done, n - done, off + (int64_t)done);
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}
