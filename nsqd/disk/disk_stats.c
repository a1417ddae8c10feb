/* SPDX-License-Identifier: MIT */
/*
 * Counts of all disk queues together. No Go file: go-diskqueue counts nothing. The threads of disk
 * queues count, a few times per batch; the thread of an HTTP connection reads.
 */
#include "nsqd/disk/disk_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "nsqd/disk/dqname.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct disk_stats stats;                          /* guarded by lock */

void disk_stats_get(struct disk_stats *out)
{
	pthread_mutex_lock(&lock);
	*out = stats;
	pthread_mutex_unlock(&lock);
}

void disk_stats_synced(int64_t start_ns, int rc)
{
	int64_t took = clock_mono_ns() - start_ns;
	pthread_mutex_lock(&lock);
	latency_add(&stats.syncs, took);
	stats.sync_errors += rc != 0;
	pthread_mutex_unlock(&lock);
}

void disk_stats_written(uint64_t bytes)
{
	pthread_mutex_lock(&lock);
	stats.written_bytes += bytes;
	pthread_mutex_unlock(&lock);
}

void disk_stats_read(uint64_t bytes)
{
	pthread_mutex_lock(&lock);
	stats.read_bytes += bytes;
	pthread_mutex_unlock(&lock);
}

void disk_stats_moved_aside(void)
{
	pthread_mutex_lock(&lock);
	stats.moved_aside++;
	pthread_mutex_unlock(&lock);
}

static void add_file(struct disk_usage *u, const char *name, const struct stat *st)
{
	/* Blocks that are there: a file may have holes, or be cut by its file system. */
	u->bytes += (int64_t)st->st_blocks * 512;
	if (dq_ends_with(name, ".bad"))
		u->bad++;
	else if (strcmp(name, "nsqd.dat") == 0 || dq_ends_with(name, ".seg") ||
		 dq_ends_with(name, ".cursor") ||
		 (strstr(name, ".diskqueue.") && dq_ends_with(name, ".dat")))
		u->data++;
	else
		u->other++;
}

/* The files of a topic's log. */
static void add_log(struct disk_usage *u, int parent, const char *name)
{
	struct stat st;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			add_file(u, e->d_name, &st);
	}
	closedir(d);
}

void disk_usage_get(const char *data_path, struct disk_usage *out)
{
	struct statvfs fs;
	struct stat st;
	*out = (struct disk_usage){
		.bytes = DISK_UNKNOWN, .size = DISK_UNKNOWN, .available = DISK_UNKNOWN};
	if (statvfs(data_path, &fs) == 0) {
		out->size = (int64_t)(fs.f_blocks * fs.f_frsize);
		out->available = (int64_t)(fs.f_bavail * fs.f_frsize);
	}
	DIR *d = opendir(data_path);
	if (!d)
		return;
	out->bytes = 0;
	for (struct dirent *e; (e = readdir(d));) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (S_ISREG(st.st_mode))
			add_file(out, e->d_name, &st);
		else if (S_ISDIR(st.st_mode) && strstr(e->d_name, ".log"))
			add_log(out, dirfd(d), e->d_name);
	}
	closedir(d);
}
