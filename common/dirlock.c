/* SPDX-License-Identifier: MIT */
/* The lock on a directory. Mirrors internal/dirlock/dirlock.go. Main thread. */
#include "common/dirlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/regfile.h"

/*
 * No O_DIRECTORY: stock locks any file that the path names, and says later that it is no directory.
 * But a FIFO must not block this open.
 */
static int open_dir(const char *dir, struct err *err)
{
	int fd = open(dir, O_RDONLY | REGFILE_FLAGS);
	return fd >= 0 ? fd : err_errno(err, errno, "open %s", dir);
}

int dirlock_lock(const char *dir, struct err *err)
{
	char reason[128];
	int fd = open_dir(dir, err);
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	int code = errno;
	close(fd);
	return err_set(err, code,
		"cannot flock directory %s - %s (possibly in use by another instance of nsqd)", dir,
		err_strerror(code, reason, sizeof(reason)));
}

int dirlock_is_held(const char *dir, struct err *err)
{
	int fd = open_dir(dir, err), held = 0;
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_SH | LOCK_NB) != 0)
		held = errno == EWOULDBLOCK ? 1 : err_errno(err, errno, "flock %s", dir);
	close(fd);
	return held;
}

void dirlock_unlock(int fd)
{
	flock(fd, LOCK_UN);
	close(fd);
}
