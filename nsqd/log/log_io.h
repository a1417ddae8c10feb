/* SPDX-License-Identifier: MIT */
/*
 * The file layer of the log: all that the log and its cursors ask of the system, as a table. The
 * daemon uses log_io_real. Tests put a simulated disk in its place, which fails, cuts and forgets.
 * Nothing in nsqd/log may touch a file but through this table.
 *
 * Each function does what the system call of its name does. A signal that interrupts it is not seen.
 * -1 with errno set: it has failed. Names are relative to the directory that `dir` is a descriptor of,
 * or AT_FDCWD. Descriptors are closed on exec. All may block on the disk.
 */
#ifndef NSQD_LOG_IO_H
#define NSQD_LOG_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/err.h"
#include "common/gothread.h"

/* How log_io.open opens a file. Only regular files are opened, and no symbolic links. */
enum log_io_mode {
	LOG_IO_READ,   /* an old one, to read */
	LOG_IO_WRITE,  /* an old one, to read and write */
	LOG_IO_CREATE, /* a new one, to read and write: EEXIST if the name is taken; mode 0600 */
};

struct log_io {
	/* A file. Its descriptor. */
	int (*open)(const struct log_io *io, int dir, const char *name, enum log_io_mode mode);
	/* A directory. Its descriptor, for the calls below and for sync_dir. */
	int (*open_dir)(const struct log_io *io, int dir, const char *name);
	/* Of either. What is not synced by then may still fail later, unseen. */
	int (*close)(const struct log_io *io, int fd);
	/* Bytes read, fewer than n at the end of the file or where the system says so; 0: the end. */
	ssize_t (*pread)(const struct log_io *io, int fd, void *buf, size_t n, int64_t off);
	/* Bytes written, which may be fewer than asked for. n is at most LOG_IO_IOV_MAX. */
	ssize_t (*pwritev)(
		const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off);
	/* The size of a file in bytes. */
	int64_t (*size)(const struct log_io *io, int fd);
	int (*truncate)(const struct log_io *io, int fd, int64_t size);
	/* fdatasync. After a failure nobody knows what is on the disk: it is not to be tried again. */
	int (*sync)(const struct log_io *io, int fd);
	/* fsync of a directory: the names that were made, renamed and removed in it. */
	int (*sync_dir)(const struct log_io *io, int dir);
	/* Mode 0700. */
	int (*mkdir)(const struct log_io *io, int dir, const char *name);
	int (*rmdir)(const struct log_io *io, int dir, const char *name);
	/* Within dir; replaces a file that has the new name already, in one go. */
	int (*rename)(const struct log_io *io, int dir, const char *from, const char *to);
	int (*unlink)(const struct log_io *io, int dir, const char *name);
	/* Calls fn for each name in dir but . and .., in no order. fn must not change dir. */
	int (*list)(const struct log_io *io, int dir, void (*fn)(void *arg, const char *name),
		void *arg);
	/* wait_group_wrap */
	int (*start)(struct wait_group *wg, const char *name, void (*fn)(void *), void *arg,
		struct err *err);
	/*
	 * Asks for n bytes of disk from off on, beyond the end of the file, whose size stays: then a
	 * sync has less to do. They are given back by truncate, to whatever size. A failure is no
	 * harm.
	 */
	int (*allocate)(const struct log_io *io, int fd, int64_t off, int64_t n);
};

#define LOG_IO_IOV_MAX 1024

/* The system's own. */
extern const struct log_io log_io_real;

/*
 * Writes all of iov at off, in as many calls as it takes. Changes iov. 0, or -1 with err set: some
 * of the bytes may be there.
 */
int log_io_write_all(
	const struct log_io *io, int fd, struct iovec *iov, int n, int64_t off, struct err *err);
/* Reads n bytes at off. Bytes read, fewer than n only at the end of the file; -1 with errno. */
ssize_t log_io_read_all(const struct log_io *io, int fd, void *buf, size_t n, int64_t off);

#endif
