/* SPDX-License-Identifier: MIT */
/* What nsqd.dat says, without making any of it. The names in it are not checked. */
#ifndef NSQD_METADATA_FILE_H
#define NSQD_METADATA_FILE_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "common/err.h"

/* path.Join(data_path, "nsqd.dat"), the caller's to free: the path may end with slashes. */
char *metadata_file_path(const char *data_path);
/*
 * Reads nsqd.dat and checks all of it: as encoding/json would, null or no field is the zero value.
 * 1: *root has "topics" and is the caller's to delete. 0: there is no such file. -1 with err set:
 * it cannot be read, or is not nsqd.dat. In both cases *root is NULL. Blocks on the disk.
 */
int metadata_file_read(const char *data_path, cJSON **root, struct err *err);
/* Of an entry of "topics", or of its "channels": "name", or "" where there is none. Borrowed. */
const char *metadata_name(const cJSON *e);
/* "paused". */
bool metadata_paused(const cJSON *e);
/* Is name nsqd.dat.N.tmp, as a daemon writes it (also stock) before it replaces nsqd.dat? */
bool metadata_is_temporary(const char *name);

#endif
