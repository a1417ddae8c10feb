/* SPDX-License-Identifier: MIT */
/*
 * Names and numbers of the data files. The caller frees what is returned. Runs in the thread of
 * "io" fields. All but the names block on the disk.
 */
#ifndef NSQD_DISKQUEUE_DIR_H
#define NSQD_DISKQUEUE_DIR_H

#include <sys/stat.h>

#include "nsqd/disk/diskqueue_internal.h"

char *dq_meta_data_file_name(const struct diskqueue *d);
char *dq_file_name(const struct diskqueue *d, int64_t file);
/* The number of the data file "NAME.diskqueue.NNNNNN.dat" of the queue NAME, or -1. */
int64_t dq_file_number(const char *name, const char *entry);
/* The numbers of the data files that are there, in order, the caller's to free. -1 with err set. */
int dq_list_files(const struct diskqueue *d, int64_t **files, size_t *n, struct err *err);
/*
 * Whether this queue has data files: 1, 0, or -1 with err set. Cheap where many queues ask in a
 * row.
 */
int dq_any_files(const struct diskqueue *d, struct err *err);
/*
 * Whether a regular file is there, and its size. -1 with err set: not known. 0: nothing, or
 * something else, which is dealt with where it is met. 1: yes.
 */
int dq_file_size(const struct diskqueue *d, int64_t file, int64_t *size, struct err *err);
/* Removes the data files [from, to); missing ones are fine. Logs; -1 with the last error in err. */
int dq_remove_files(struct diskqueue *d, int64_t from, int64_t to, struct err *err);
/*
 * Opens what stands there, to be written over, and fills st: a regular file with one name. -1 with
 * err set, also if it is something else, which may be another program's.
 */
int dq_open_ours(const struct diskqueue *d, const char *path, struct stat *st, struct err *err);
/*
 * The beginning of a file that the writer will make. A data file that stands there by now, behind a
 * gap, or in the place after it, is not the queue's. It is kept as .bad, lest the next start takes
 * it for the queue's: a start looks one file further than the writer came (judge, count_tail).
 * Logs.
 */
struct dq_pos dq_new_file(struct diskqueue *d, int64_t file);
/* Something stands under this name, whatever it is; follows no symbolic link. */
bool dq_anything_at(const char *path);
/* Renames path to path.bad, or to path.N.bad if there is one already. Logs. */
void dq_move_aside(struct diskqueue *d, const char *path);
/* fsyncs the directory. -1 with err set. */
int dq_sync_dir(const struct diskqueue *d, struct err *err);

#endif
