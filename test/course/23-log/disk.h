/* SPDX-License-Identifier: MIT */
/*
 * A disk with a power switch: the tool of lesson 23. It has one file, of zeros at first. What is
 * written is seen by all, and is on the disk after a sync. Before each call, and behind it, the power
 * fails: of the sectors that were not synced each has its new content or its old one, in all the ways
 * that there are. Then the next process looks. It must find what somebody was told is kept, and
 * nothing that nobody has sent. Else the program ends with a message.
 */
#ifndef TEST_COURSE_DISK_H
#define TEST_COURSE_DISK_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/course/23-log/record.h"

enum { SECTOR = 8, SECTORS = 32, DISK_SIZE = SECTOR * SECTORS };

struct disk {
	/* What the next process makes of the file. */
	size_t (*recover)(const char *data, size_t len, struct texts *texts);
	char seen[DISK_SIZE], kept[DISK_SIZE];
	bool dirty[SECTORS]; /* these differ, and the next sync keeps them */
	bool bad;            /* the next sync fails */
	const char *sent[TEXTS], *told[TEXTS];
	int n_sent, n_told;
};

static inline bool disk_is_in(const char *text, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i], text) == 0)
			return true;
	return false;
}

/* What the next process would find of this file. */
static inline void disk_look(const struct disk *d, const char *file, const char *when)
{
	struct texts found;
	const char *list[TEXTS];

	d->recover(file, DISK_SIZE, &found);
	for (int i = 0; i < found.n; i++) {
		list[i] = found.list[i];
		if (!disk_is_in(list[i], d->sent, d->n_sent)) {
			printf("power cut %s: \"%s\" is there, and nobody has sent that\n", when,
				list[i]);
			exit(1);
		}
	}
	for (int i = 0; i < d->n_told; i++)
		if (!disk_is_in(d->told[i], list, found.n)) {
			printf("power cut %s: \"%s\" is lost, and an OK was sent for it\n", when,
				d->told[i]);
			exit(1);
		}
}

/* Each subset of the sectors that are dirty. */
static inline void disk_cut(const struct disk *d, const char *when)
{
	unsigned dirty = 0;

	for (int s = 0; s < SECTORS; s++)
		dirty |= (unsigned)d->dirty[s] << s;
	for (unsigned set = 0;; set = (set - dirty) & dirty) {
		char file[DISK_SIZE];

		memcpy(file, d->kept, DISK_SIZE);
		for (int s = 0; s < SECTORS; s++)
			if (set >> s & 1)
				memcpy(file + s * SECTOR, d->seen + s * SECTOR, SECTOR);
		disk_look(d, file, when);
		if (set == dirty)
			return;
	}
}

static inline void disk_write(struct disk *d, size_t at, const char *data, size_t len)
{
	disk_cut(d, "before a write");
	memcpy(d->seen + at, data, len);
	for (size_t s = at / SECTOR; s * SECTOR < at + len; s++)
		d->dirty[s] = true;
	disk_cut(d, "before a sync");
}

/* As on Linux: what a sync could not write is clean after that, and lost. */
static inline int disk_sync(struct disk *d)
{
	bool bad = d->bad;

	for (size_t s = 0; s < SECTORS; s++) {
		if (d->dirty[s] && !bad)
			memcpy(d->kept + s * SECTOR, d->seen + s * SECTOR, SECTOR);
		d->dirty[s] = false;
	}
	d->bad = false;
	errno = EIO;
	return bad ? -1 : 0;
}

/* Somebody sends this, or is told OK. */
static inline void disk_sent(struct disk *d, const char *text)
{
	d->sent[d->n_sent++] = text;
}

static inline void disk_told(struct disk *d, const char *text)
{
	d->told[d->n_told++] = text;
	disk_cut(d, "behind an OK");
}

#endif
