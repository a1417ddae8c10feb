/* SPDX-License-Identifier: MIT */
/*
 * The origins of dead letters, in files. Mirrors no Go file. Runs in the pumps of channels that have
 * dead letters, and in the threads of HTTP connections; the caller holds dead_target.lock
 * (dead_letters.c).
 */
#include "nsqd/queue/dead_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/regfile.h"
#include "common/xalloc.h"
#include "nsqd/core/data_file.h"

#define VERSION 1
#define FLAG_ENVELOPE 1
/* Where a record has what. */
enum {
	AT_VERSION = 4,
	AT_REASON = 5,
	AT_FLAGS = 6,
	AT_ID = 8,
	AT_FROM_ID = 24,
	AT_TIMESTAMP = 40,
	AT_TIME = 48,
	AT_ATTEMPTS = 56,
	AT_TOPIC = 64,
	AT_CHANNEL = 128,
};
/* How much is read at once. */
#define CHUNK_RECORDS 256

struct dead_log {
	char *path, *old_path; /* NULL: in memory */
	char *name;            /* for errors */
	int fd, old_fd;        /* -1: not open; old_fd of one in memory alone */
	size_t n;              /* records in fd */
	size_t max;            /* so many it may have */
};

/* --- records ------------------------------------------------------------------------------------ */

static void encode(const struct dead_entry *e, unsigned char r[DEAD_RECORD_SIZE])
{
	const struct dead_letter *d = &e->from;
	memset(r, 0, DEAD_RECORD_SIZE);
	r[AT_VERSION] = VERSION;
	r[AT_REASON] = (unsigned char)d->reason;
	r[AT_FLAGS] = d->envelope ? FLAG_ENVELOPE : 0;
	memcpy(r + AT_ID, e->id.hex, MSG_ID_LENGTH);
	memcpy(r + AT_FROM_ID, d->id.hex, MSG_ID_LENGTH);
	put_be64(r + AT_TIMESTAMP, (uint64_t)d->timestamp);
	put_be64(r + AT_TIME, (uint64_t)d->time);
	put_be16(r + AT_ATTEMPTS, d->attempts);
	memcpy(r + AT_TOPIC, d->topic, strlen(d->topic));
	memcpy(r + AT_CHANNEL, d->channel, strlen(d->channel));
	put_be32(r, crc32c(0, r + AT_VERSION, DEAD_RECORD_SIZE - AT_VERSION));
}

static bool is_sound(const unsigned char r[DEAD_RECORD_SIZE])
{
	return r[AT_VERSION] == VERSION && r[AT_REASON] < N_DEAD_REASONS &&
	       get_be32(r) == crc32c(0, r + AT_VERSION, DEAD_RECORD_SIZE - AT_VERSION);
}

static void decode(const unsigned char r[DEAD_RECORD_SIZE], struct dead_letter *d)
{
	*d = (struct dead_letter){
		.timestamp = (int64_t)get_be64(r + AT_TIMESTAMP),
		.time = (int64_t)get_be64(r + AT_TIME),
		.attempts = get_be16(r + AT_ATTEMPTS),
		.reason = r[AT_REASON],
		.envelope = r[AT_FLAGS] & FLAG_ENVELOPE,
	};
	memcpy(d->id.hex, r + AT_FROM_ID, MSG_ID_LENGTH);
	memcpy(d->topic, r + AT_TOPIC, NAME_MAX_LENGTH);
	memcpy(d->channel, r + AT_CHANNEL, NAME_MAX_LENGTH);
}

/* --- files -------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, size_t len, const char *suffix)
{
	size_t n = strlen(suffix);
	return len > n && memcmp(s + len - n, suffix, n) == 0;
}

size_t dead_log_topic(const char *entry)
{
	size_t len = strlen(entry), topic = 0;
	if (ends_with(entry, len, DEAD_LOG_SUFFIX))
		topic = len - strlen(DEAD_LOG_SUFFIX);
	else if (ends_with(entry, len, DEAD_LOG_OLD_SUFFIX))
		topic = len - strlen(DEAD_LOG_OLD_SUFFIX);
	return is_valid_topic_name(entry, topic) ? topic : 0;
}

static char *path_of(const char *data_path, const char *topic, const char *suffix)
{
	char *file = xasprintf("%s%s", topic, suffix);
	char *path = data_file_path(data_path, file);
	free(file);
	return path;
}

struct dead_log *dead_log_new(const char *data_path, const char *topic, bool in_memory)
{
	struct dead_log *l = xcalloc(1, sizeof(*l));
	l->name = xstrdup(topic);
	l->fd = l->old_fd = -1;
	l->max = in_memory ? DEAD_LOG_MEMORY_RECORDS : DEAD_LOG_RECORDS;
	if (!in_memory) {
		l->path = path_of(data_path, topic, DEAD_LOG_SUFFIX);
		l->old_path = path_of(data_path, topic, DEAD_LOG_OLD_SUFFIX);
	}
	return l;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void dead_log_free(struct dead_log *l)
{
	if (!l)
		return;
	close_fd(&l->fd);
	close_fd(&l->old_fd);
	free(l->path);
	free(l->old_path);
	free(l->name);
	free(l);
}

static int failed(const struct dead_log *l, const char *what, struct err *err)
{
	return err_errno(err, errno, "%s the origins of dead letters of %s", what, l->name);
}

/* As it is there; what is torn is cut off. */
static int open_file(struct dead_log *l, struct err *err)
{
	int64_t size;
	if (regfile_check(l->path, err) != 0)
		return -1;
	l->fd = open(l->path, O_RDWR | O_CREAT | O_NOFOLLOW | REGFILE_FLAGS, 0600);
	if (l->fd < 0)
		return failed(l, "open", err);
	if (regfile_check_fd(l->fd, l->path, &size, err) != 0) {
		close_fd(&l->fd);
		return -1;
	}
	l->n = (size_t)size / DEAD_RECORD_SIZE;
	if (size % DEAD_RECORD_SIZE == 0 || ftruncate(l->fd, (off_t)(l->n * DEAD_RECORD_SIZE)) == 0)
		return 0;
	failed(l, "cut", err);
	close_fd(&l->fd);
	return -1;
}

static int open_memory(struct dead_log *l, struct err *err)
{
	l->fd = memfd_create("nsqd-dead-letters", MFD_CLOEXEC);
	l->n = 0;
	return l->fd >= 0 ? 0 : failed(l, "keep", err);
}

static int open_log(struct dead_log *l, struct err *err)
{
	if (l->fd >= 0)
		return 0;
	return l->path ? open_file(l, err) : open_memory(l, err);
}

/* It is full: it becomes the old one. */
static int turn(struct dead_log *l, struct err *err)
{
	if (l->path && rename(l->path, l->old_path) != 0)
		return failed(l, "rename", err);
	if (l->path) {
		close_fd(&l->fd);
	} else {
		close_fd(&l->old_fd);
		l->old_fd = l->fd;
		l->fd = -1;
	}
	return open_log(l, err);
}

static int write_at(int fd, const unsigned char *p, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
		at += n;
	}
	return 0;
}

int dead_log_append(
	struct dead_log *l, const struct dead_entry *entries, size_t n, bool sync, struct err *err)
{
	if (open_log(l, err) != 0 || (l->n + n > l->max && l->n > 0 && turn(l, err) != 0))
		return -1;
	unsigned char *records = xreallocarray(NULL, n, DEAD_RECORD_SIZE);
	for (size_t i = 0; i < n; i++)
		encode(&entries[i], records + i * DEAD_RECORD_SIZE);
	off_t at = (off_t)(l->n * DEAD_RECORD_SIZE);
	int rc = write_at(l->fd, records, n * DEAD_RECORD_SIZE, at);
	free(records);
	if (rc == 0 && sync)
		rc = fdatasync(l->fd);
	if (rc == 0) {
		l->n += n;
		return 0;
	}
	failed(l, "write", err);
	/* What is behind the end is written over; a restart finds it, if this fails, and no harm. */
	if (ftruncate(l->fd, at) != 0)
		close_fd(&l->fd);
	return -1;
}

int dead_log_take_back(struct dead_log *l, size_t n, struct err *err)
{
	if (n == 0 || l->fd < 0 || n > l->n)
		return 0;
	l->n -= n;
	if (ftruncate(l->fd, (off_t)(l->n * DEAD_RECORD_SIZE)) == 0)
		return 0;
	failed(l, "take back", err);
	close_fd(&l->fd);
	return -1;
}

int dead_log_clear(struct dead_log *l, struct err *err)
{
	int rc = open_log(l, err);
	if (rc == 0 && l->n > 0 && ftruncate(l->fd, 0) != 0)
		rc = failed(l, "clear", err);
	close_fd(&l->fd);
	if (rc == 0 && l->path && unlink(l->old_path) != 0 && errno != ENOENT)
		rc = failed(l, "remove", err);
	return rc;
}

int dead_log_remove(struct dead_log *l, struct err *err)
{
	int rc = 0;
	close_fd(&l->fd);
	close_fd(&l->old_fd);
	if (!l->path)
		return 0;
	if (unlink(l->path) != 0 && errno != ENOENT)
		rc = failed(l, "remove", err);
	if (unlink(l->old_path) != 0 && errno != ENOENT)
		rc = failed(l, "remove", err);
	return rc;
}

/* --- finding ------------------------------------------------------------------------------------ */

/* What is looked for, by id. */
struct wanted {
	struct message_id id;
	size_t i; /* of the entry */
};

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct wanted *)a)->id.hex, ((const struct wanted *)b)->id.hex,
		MSG_ID_LENGTH);
}

static void look_at(const unsigned char *r, const struct wanted *w, size_t n,
	struct dead_entry *entries, bool *found)
{
	struct wanted key;
	memcpy(key.id.hex, r + AT_ID, MSG_ID_LENGTH);
	const struct wanted *hit = bsearch(&key, w, n, sizeof(*w), by_id);
	if (!hit || !is_sound(r))
		return;
	decode(r, &entries[hit->i].from);
	found[hit->i] = true;
}

static int look_in(const struct dead_log *l, int fd, const struct wanted *w, size_t n,
	struct dead_entry *entries, bool *found, struct err *err)
{
	unsigned char *chunk = xreallocarray(NULL, CHUNK_RECORDS, DEAD_RECORD_SIZE);
	off_t at = 0;
	ssize_t got;
	do {
		got = pread(fd, chunk, (size_t)CHUNK_RECORDS * DEAD_RECORD_SIZE, at);
		if (got < 0 && errno == EINTR)
			continue;
		for (ssize_t p = 0; p + DEAD_RECORD_SIZE <= got; p += DEAD_RECORD_SIZE)
			look_at(chunk + p, w, n, entries, found);
		at += got > 0 ? got - got % DEAD_RECORD_SIZE : 0;
	} while (got >= DEAD_RECORD_SIZE || (got < 0 && errno == EINTR));
	free(chunk);
	return got < 0 ? failed(l, "read", err) : 0;
}

/* *fd is -1 if there is none. */
static int open_old(const struct dead_log *l, int *fd, struct err *err)
{
	if (l->path) {
		*fd = regfile_open(l->old_path, err);
		return *fd >= 0 || err->code == ENOENT ? 0 : -1;
	}
	if (l->old_fd < 0)
		return 0;
	*fd = fcntl(l->old_fd, F_DUPFD_CLOEXEC, 0);
	return *fd >= 0 ? 0 : failed(l, "open", err);
}

int dead_log_snapshot(struct dead_log *l, struct dead_log_files *out, struct err *err)
{
	*out = (struct dead_log_files){.log = l, .fd = {-1, -1}};
	if (open_log(l, err) != 0)
		return -1;
	out->fd[0] = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
	int rc = out->fd[0] >= 0 ? 0 : failed(l, "open", err);
	if (rc == 0)
		rc = open_old(l, &out->fd[1], err);
	if (rc != 0)
		dead_log_close(out);
	return rc;
}

void dead_log_close(struct dead_log_files *files)
{
	close_fd(&files->fd[0]);
	close_fd(&files->fd[1]);
}

static bool all_found(const bool *found, size_t n)
{
	size_t i = 0;
	while (i < n && found[i])
		i++;
	return i == n;
}

int dead_log_find(const struct dead_log_files *files, struct dead_entry *entries, bool *found,
	size_t n, struct err *err)
{
	int rc = 0;
	memset(found, 0, n * sizeof(*found));
	struct wanted *w = xreallocarray(NULL, n, sizeof(*w));
	for (size_t i = 0; i < n; i++)
		w[i] = (struct wanted){.id = entries[i].id, .i = i};
	qsort(w, n, sizeof(*w), by_id);
	for (int i = 0; i < 2 && rc == 0 && files->fd[i] >= 0 && !all_found(found, n); i++)
		rc = look_in(files->log, files->fd[i], w, n, entries, found, err);
	free(w);
	return rc;
}
