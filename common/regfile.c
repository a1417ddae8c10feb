/* SPDX-License-Identifier: MIT */
/*
 * Files that are checked to be regular ones. No Go file: stock opens any file. Any thread; blocks
 * on the disk only.
 */
#include "common/regfile.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_mode(mode_t mode, const char *path, struct err *err)
{
	if (S_ISREG(mode))
		return 0;
	if (S_ISDIR(mode))
		return err_errno(err, EISDIR, "read %s", path);
	return err_set(err, ENXIO, "open %s: not a regular file", path);
}

int regfile_check(const char *path, struct err *err)
{
	struct stat st;
	if (stat(path, &st) == 0)
		return check_mode(st.st_mode, path, err);
	return errno == ENOENT ? 0 : err_errno(err, errno, "open %s", path);
}

int regfile_check_fd(int fd, const char *path, int64_t *size, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return err_errno(err, errno, "stat %s", path);
	if (size)
		*size = st.st_size;
	return check_mode(st.st_mode, path, err);
}

int regfile_open(const char *path, struct err *err)
{
	if (regfile_check(path, err) != 0)
		return -1;
	int fd = open(path, O_RDONLY | REGFILE_FLAGS);
	if (fd < 0)
		return err_errno(err, errno, "open %s", path);
	if (regfile_check_fd(fd, path, NULL, err) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}
