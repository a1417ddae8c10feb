/* SPDX-License-Identifier: MIT */
/*
 * Opening a file that another program may have put there. A FIFO blocks the thread that opens it, a
 * device does something, a directory opens and cannot be read. So the rule is: check the name, open
 * it with REGFILE_FLAGS, and check the open file once more. A new file is made with REGFILE_NEW.
 * Then no existing file is written to, not even through a symbolic link.
 */
#ifndef COMMON_REGFILE_H
#define COMMON_REGFILE_H

#include <fcntl.h>
#include <stdint.h>

#include "common/err.h"

/* open(2) never blocks, the file becomes no terminal, and children do not inherit it. */
#define REGFILE_FLAGS (O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
/* Makes a new file; EEXIST if there is one. */
#define REGFILE_NEW (REGFILE_FLAGS | O_CREAT | O_EXCL | O_NOFOLLOW)

/*
 * Before open(2): 0 if path names a regular file, or nothing (open reports that). Follows symbolic
 * links. -1 with err set: it is a directory (EISDIR, Go's "read PATH: is a directory"), another
 * kind of file (ENXIO), or stat fails.
 */
int regfile_check(const char *path, struct err *err);
/* After open(2): the same for fd; its size goes to *size (may be NULL). */
int regfile_check_fd(int fd, const char *path, int64_t *size, struct err *err);
/* open(2) for reading between both checks. Returns a descriptor, or -1 with err set. */
int regfile_open(const char *path, struct err *err);

#endif
