/* SPDX-License-Identifier: MIT */
/*
 * A disk that is slow or refuses, as long as a test says so: a library in front of libc (LD_PRELOAD).
 * No Go file. Any thread.
 *
 * DISK_GATE names a file, which is read anew at each call. While it is there it says "KIND ACTION",
 * and calls of that kind on files whose path has DISK_GATE_ONLY in it meet the action:
 *
 *   sync    fsync, fdatasync
 *   read    pread
 *   write   pwritev, fallocate
 *   all     sync and write, ftruncate, and all that makes or changes a name
 *
 *   hold    the call waits until the file says something else
 *   EIO, ENOMEM, ENOSPC, EROFS    the call is not made, and fails
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What the file says, by the system's own calls: those below are not to meet themselves. */
static void look(char *kind, char *action)
{
	const char *path = getenv("DISK_GATE");
	char text[64] = "";
	*kind = *action = '\0';
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	ssize_t n = syscall(SYS_read, fd, text, sizeof(text) - 1);
	syscall(SYS_close, fd);
	if (n <= 0 || sscanf(text, "%15s %15s", kind, action) != 2)
		*kind = *action = '\0';
}

static bool is_watched(int fd, const char *name)
{
	const char *only = getenv("DISK_GATE_ONLY");
	char link[64], path[4096];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	return only && (strstr(path, only) || (name && strstr(name, only)));
}

/* True: the call fails, with errno set. Returns when it may be made. */
static bool meets(const char *of_kind, int fd, const char *name)
{
	const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
	int saved = errno;
	for (;;) {
		char kind[16], action[16];
		look(kind, action);
		errno = saved;
		bool all = strcmp(kind, "all") == 0 && strcmp(of_kind, "read") != 0;
		if ((!all && strcmp(kind, of_kind) != 0) || !is_watched(fd, name))
			return false;
		if (strcmp(action, "hold") != 0) {
			errno = strcmp(action, "EROFS") == 0    ? EROFS
				: strcmp(action, "ENOSPC") == 0 ? ENOSPC
				: strcmp(action, "ENOMEM") == 0 ? ENOMEM
								: EIO;
			return true;
		}
		syscall(SYS_nanosleep, &moment, NULL);
	}
}

int fsync(int fd)
{
	return meets("sync", fd, NULL) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	return meets("sync", fd, NULL) ? -1 : REAL(fdatasync)(fd);
}

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
	return meets("read", fd, NULL) ? -1 : REAL(pread)(fd, buf, n, off);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	return meets("write", fd, NULL) ? -1 : REAL(pwritev)(fd, iov, n, off);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	return meets("write", fd, NULL) ? -1 : REAL(fallocate)(fd, mode, off, len);
}

int ftruncate(int fd, off_t size)
{
	return meets("all", fd, NULL) ? -1 : REAL(ftruncate)(fd, size);
}

int openat(int dir, const char *name, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (flags & (O_CREAT | O_WRONLY | O_RDWR) && meets("all", dir, name))
		return -1;
	return REAL(openat)(dir, name, flags, mode);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
	return meets("all", dir, name) ? -1 : REAL(mkdirat)(dir, name, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return meets("all", from_dir, from) ? -1 : REAL(renameat)(from_dir, from, to_dir, to);
}

int unlinkat(int dir, const char *name, int flags)
{
	return meets("all", dir, name) ? -1 : REAL(unlinkat)(dir, name, flags);
}
