/* SPDX-License-Identifier: MIT */
/* What nsqd.dat says, without making any of it. The names in it are not checked. */
#ifndef NSQD_METADATA_FILE_H
#define NSQD_METADATA_FILE_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "common/err.h"

/* Its name in the data path. */
#define METADATA_FILE "nsqd.dat"
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

#endif
