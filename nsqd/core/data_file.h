/* SPDX-License-Identifier: MIT */
/*
 * A small file of the data path that is replaced as a whole: nsqd.dat, nsqd.settings.json. Its
 * reader finds the old state or the new one, also after a power cut.
 */
#ifndef NSQD_DATA_FILE_H
#define NSQD_DATA_FILE_H

#include <stdbool.h>

#include "common/err.h"
#include "common/strbuf.h"

/*
 * A directory of the data path in which --export-stock writes stock's files. With the file EXPORT_READY
 * in it they are complete, and some of them may be in their places already.
 */
#define EXPORT_DIR "export-stock.tmp"
#define EXPORT_READY "ready"
/* -1 with err set: there is one, or that cannot be known. No daemon may start then. */
int export_is_complete(const char *data_path, struct err *err);

/* path.Join(dir, name), the caller's to free: dir may end with slashes. */
char *data_file_path(const char *dir, const char *name);
/*
 * Appends what is in the file. 1: read; 0: there is no such file; -1 with err set: it cannot be
 * read, is no regular file, or too large to be ours. Blocks on the disk.
 */
int data_file_read(const char *path, struct strbuf *out, struct err *err);
/*
 * Replaces the file: writes a temporary one beside it, syncs, renames, and syncs the directory
 * dir_fd. -1 with err set: the file is as it was, or (after the rename) may be as it was after a
 * power cut. Blocks on the disk.
 */
int data_file_replace(int dir_fd, const char *path, const struct strbuf *content, struct err *err);
/* Is entry, of a directory, such a temporary file of the file of that name? Also one of stock. */
bool data_file_is_temporary(const char *entry, const char *name);

#endif
