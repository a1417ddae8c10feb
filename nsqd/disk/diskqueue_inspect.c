/* SPDX-License-Identifier: MIT */
/*
 * --inspect-data of one queue. Stock has no such thing. Runs in the thread "main" of a process that
 * is no daemon; no locks.
 *
 * What a start would do is not described here a second time: dq_load runs, the code of the start.
 * Its system calls are others (inspecting_io). They read as always, but only say that they have
 * written, renamed and removed. Then dq_record_at reads all records, as the reader would.
 */
#include "nsqd/disk/diskqueue_inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/strbuf.h"
#include "common/xalloc.h"
#include "nsqd/disk/diskqueue_count.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_internal.h"
#include "nsqd/disk/diskqueue_meta.h"
#include "nsqd/disk/diskqueue_record.h"
#include "nsqd/disk/dqname.h"

/* Lines about damage in one queue; the report's numbers have the rest. */
#define DAMAGE_LINES_MAX 20
/* As much is kept of the notes about one queue. */
#define NOTES_MAX (16 * 1024)
/* Up to so many numbers of files are tried; beyond, the directory is read. */
#define TRY_FILES 64

/* --- system calls that change nothing --------------------------------------------------------- */

/* Where the notes go while a queue is inspected. Main thread only. */
static const struct lg *notes;

static int inspecting_open(const char *path, int flags, mode_t mode)
{
	(void)mode;
	if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0) {
		errno = EROFS;
		return -1;
	}
	/* Not even the time of the last access changes, if the file is ours. */
	int fd = open(path, flags | O_NOATIME);
	return fd >= 0 || errno != EPERM ? fd : open(path, flags);
}

static ssize_t no_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	(void)fd, (void)iov, (void)n, (void)off;
	errno = EROFS;
	return -1;
}

static int no_sync(int fd)
{
	(void)fd;
	errno = EROFS;
	return -1;
}

static int no_ftruncate(int fd, off_t len)
{
	(void)fd, (void)len;
	errno = EROFS;
	return -1;
}

/* dq_move_aside has logged it. */
static int pretend_rename(const char *from, const char *to)
{
	(void)from, (void)to;
	return 0;
}

static int pretend_unlink(const char *path)
{
	lg_logf(notes, LG_INFO, "removing %s, which was read to its end", path);
	return 0;
}

static int no_start(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err)
{
	(void)wg, (void)name, (void)fn, (void)arg;
	return err_set(err, 0, "no thread is wanted");
}

static const struct dq_io inspecting_io = {
	.open = inspecting_open,
	.pread = pread,
	.pwritev = no_pwritev,
	.fdatasync = no_sync,
	.fsync = no_sync,
	.ftruncate = no_ftruncate,
	.rename = pretend_rename,
	.unlink = pretend_unlink,
	.start = no_start,
};

/* --- notes ------------------------------------------------------------------------------------ */

/*
 * A file in memory for the lines of the log. It is NOTES_MAX long, and sealed: what does not fit is
 * not written, as a hostile directory may have a line for each of its files. -1 with err set.
 */
static int open_notes(struct err *err)
{
	int fd = memfd_create("notes", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_errno(err, errno, "memfd_create");
	if (ftruncate(fd, NOTES_MAX) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0)
		return fd;
	err_errno(err, errno, "memfd");
	close(fd);
	return -1;
}

/*
 * The lines of the log without their date and time: "INFO: text", and whether there were more. The
 * caller frees it.
 */
static char *read_notes(int fd)
{
	static const size_t stamp = sizeof("2006/01/02 15:04:05.000000 ") - 1;
	struct strbuf sb = STRBUF_INIT;
	char *text = xmalloc(NOTES_MAX + 1);
	ssize_t n = pread(fd, text, NOTES_MAX, 0);
	text[n > 0 ? n : 0] = '\0';
	strbuf_adds(&sb, "");
	for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		size_t skip = (size_t)(end - line) > stamp ? stamp : 0;
		strbuf_add(&sb, line + skip, (size_t)(end - line) + 1 - skip);
	}
	if (n == NOTES_MAX && text[NOTES_MAX - 1] != '\0')
		strbuf_adds(&sb, "(more lines are left out)\n");
	free(text);
	return strbuf_detach(&sb);
}

/* --- records ---------------------------------------------------------------------------------- */

static void damaged(
	struct diskqueue *d, struct diskqueue_report *r, const char *path, int64_t from, int64_t to)
{
	if (++r->damaged_places <= DAMAGE_LINES_MAX)
		dq_logf(d, LG_WARN, "%s has %lld damaged bytes at %lld, which would be skipped",
			path, (long long)(to - from), (long long)from);
	r->damaged_bytes += to - from;
}

static void unreadable(
	struct diskqueue *d, struct diskqueue_report *r, const char *path, const char *why)
{
	if (++r->unreadable_files <= DAMAGE_LINES_MAX)
		dq_logf(d, LG_WARN, "%s cannot be read - %s", path, why);
}

/* The records of the open file in [pos, limit). */
static void read_records(struct diskqueue *d, struct diskqueue_report *r, const char *path,
	int64_t pos, int64_t limit)
{
	struct dq_block *b = &d->block;
	struct dq_record rec = {0};
	struct err err = {0};
	r->bytes += limit > pos ? limit - pos : 0;
	for (;; pos = rec.next) {
		b->budget = INT64_MAX;
		switch (dq_record_at(b, d, pos, limit, &rec, &err)) {
		case DQ_RECORD:
			r->records++;
			break;
		case DQ_DAMAGED:
			damaged(d, r, path, pos, rec.next);
			break;
		case DQ_SHORT:
			unreadable(d, r, path, "it became shorter");
			return;
		case DQ_ERROR:
			unreadable(d, r, path, err.msg);
			return;
		case DQ_MORE:
		case DQ_END:
			return;
		}
	}
}

static void read_file(struct diskqueue *d, struct diskqueue_report *r, int64_t file)
{
	struct err err = {0};
	char *path = dq_file_name(d, file);
	int64_t from = file == d->rd.file ? d->rd.pos : 0;
	if (dq_block_open(&d->block, path, file, &err) == 0) {
		int64_t limit = d->block.size;
		if (file == d->wr.file && d->wr.pos < limit)
			limit = d->wr.pos;
		r->files++;
		read_records(d, r, path, from, limit);
		dq_block_close(&d->block);
	} else if (err.code != ENOENT) {
		r->files++;
		unreadable(d, r, path, err.msg);
	}
	free(path);
}

/* From the read position to the write position. */
static void read_files(struct diskqueue *d, struct diskqueue_report *r)
{
	struct err err;
	int64_t *files;
	size_t n;
	if (d->wr.file - d->rd.file <= TRY_FILES) {
		for (int64_t f = d->rd.file; f <= d->wr.file; f++)
			read_file(d, r, f);
		return;
	}
	if (dq_list_files(d, &files, &n, &err) != 0) {
		unreadable(d, r, d->data_path, err.msg);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (files[i] >= d->rd.file && files[i] <= d->wr.file)
			read_file(d, r, files[i]);
	}
	free(files);
}

/* --- a queue ---------------------------------------------------------------------------------- */

static void inspect(struct diskqueue *d, struct diskqueue_report *r)
{
	r->loaded = dq_load(d, &r->why) == 0;
	if (!r->loaded)
		return;
	while (d->counting.active)
		dq_count_slice(d, DQ_SLICE);
	r->depth = atomic_load(&d->depth);
	r->read_file = d->rd.file;
	r->write_file = d->wr.file;
	read_files(d, r);
}

int diskqueue_inspect(
	const struct diskqueue_opts *opts, struct diskqueue_report *r, struct err *err)
{
	struct lg lg;
	*r = (struct diskqueue_report){0};
	int fd = open_notes(err);
	if (fd < 0)
		return -1;
	lg_init(&lg, fd, "", LG_INFO);
	notes = &lg;
	struct diskqueue *d = xcalloc(1, sizeof(*d));
	d->name = xstrdup(opts->name);
	d->data_path = xstrdup(opts->data_path);
	d->max_bytes_per_file = opts->max_bytes_per_file;
	d->min_msg_size = opts->min_msg_size;
	d->max_msg_size = opts->max_msg_size;
	d->may_forget = opts->crash_forgets;
	atomic_init(&d->crash_forgets, opts->crash_forgets);
	d->lg = &lg;
	d->io = &inspecting_io;
	d->write_fd = -1;
	dq_block_init(&d->block, d->io);
	dq_block_init(&d->counting.block, d->io);
	inspect(d, r);
	dq_count_end(d);
	dq_block_close(&d->block);
	r->notes = read_notes(fd);
	free(d->bad_files);
	free(d->name);
	free(d->data_path);
	free(d);
	notes = NULL;
	lg_destroy(&lg);
	close(fd);
	return 0;
}

void diskqueue_report_free(struct diskqueue_report *r)
{
	free(r->notes);
	r->notes = NULL;
}

/* --- names ------------------------------------------------------------------------------------ */

/* "meta.dat.N.tmp" behind the mark. */
static bool is_temporary(const char *rest)
{
	static const char begin[] = "meta.dat.";
	if (strncmp(rest, begin, sizeof(begin) - 1) != 0)
		return false;
	rest += sizeof(begin) - 1;
	size_t digits = strspn(rest, "0123456789");
	return digits > 0 && digits <= 20 && strcmp(rest + digits, ".tmp") == 0;
}

enum dq_file_kind diskqueue_file_kind(const char *entry, size_t *name_len)
{
	static const char mark[] = ".diskqueue.";
	enum dq_file_kind kind = DQ_FILE_OTHER;
	const char *last = NULL; /* a queue's name may hold a mark itself */
	*name_len = 0;
	for (const char *p = entry; (p = strstr(p, mark)) != NULL; p++)
		last = p;
	if (!last || last == entry)
		return DQ_FILE_OTHER;
	const char *rest = last + sizeof(mark) - 1;
	char *name = xstrndup(entry, (size_t)(last - entry));
	if (dq_ends_with(rest, ".bad"))
		kind = DQ_FILE_BAD;
	else if (dq_file_number(name, entry) >= 0)
		kind = DQ_FILE_DATA;
	else if (strcmp(rest, "meta.dat") == 0)
		kind = DQ_FILE_META;
	else if (is_temporary(rest))
		kind = DQ_FILE_TEMPORARY;
	free(name);
	*name_len = kind == DQ_FILE_OTHER ? 0 : (size_t)(last - entry);
	return kind;
}
