/* SPDX-License-Identifier: MIT */
/*
 * Opening a file that somebody else may have put there. A FIFO blocks the thread that opens it, a
 * device does something, a directory opens and cannot be read. So the rule is: look at what stands
 * under the name, open it with REGFILE_FLAGS, look once more at what was opened. A file that is new
 * is made with REGFILE_NEW: then nothing that was there is written to, through a symbolic link or
 * not.
 */
#ifndef COMMON_REGFILE_H
#define COMMON_REGFILE_H

#include <fcntl.h>
#include <stdint.h>

#include "common/err.h"

/* Never blocks in open(2), becomes no terminal, is not inherited. No effect on regular files. */
#define REGFILE_FLAGS (O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
/* A new file, or EEXIST. */
#define REGFILE_NEW (REGFILE_FLAGS | O_CREAT | O_EXCL | O_NOFOLLOW)

/*
 * Before open(2): 0 if path names a regular file, or nothing at all (open says so); follows
 * symbolic links. -1 with err set: it is a directory (EISDIR, "read PATH: is a directory", as Go
 * says it), anything else (ENXIO), or cannot be looked at.
 */
int regfile_check(const char *path, struct err *err);
/* After open(2): the same for what fd is, and its size in *size (may be NULL). */
int regfile_check_fd(int fd, const char *path, int64_t *size, struct err *err);
/* Both around open(2) for reading. Returns a descriptor, or -1 with err set. */
int regfile_open(const char *path, struct err *err);

#endif
