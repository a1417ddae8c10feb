/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory for tests of a log's files, in place of log_io_real. It writes down each call
 * that changes something. So a test can look at the disk as it was after any of these calls, in the
 * middle of a write, or as a power cut may have left it. It fails where the test wants it to.
 *
 * One thread. Names are those of one directory.
 */
#ifndef TEST_UNIT_CURSOR_DISK_H
#define TEST_UNIT_CURSOR_DISK_H

#include "test/unit/helper.h"

#include <errno.h>

#include "common/rand.h"
#include "common/strbuf.h"
#include "common/xalloc.h"
#include "nsqd/log/log_io.h"

#define SIM_FILES 512
#define SIM_NAMES 8
/* What a power cut leaves of a write that was not synced goes by such pieces. */
#define SIM_SECTOR 64

enum sim_kind { SIM_MAKE, SIM_WRITE, SIM_TRUNCATE, SIM_SYNC, SIM_RENAME, SIM_UNLINK, SIM_SYNC_DIR };

/* A call that has changed something, or made it last. */
struct sim_op {
	enum sim_kind kind;
	int file;
	int64_t off;        /* of WRITE; TRUNCATE: the new size */
	struct strbuf data; /* of WRITE */
	char name[32], to[32];
};

struct sim_disk {
	struct log_io io; /* the first */
	struct strbuf files[SIM_FILES];
	int n_files;
	struct {
		char name[32]; /* "": free */
		int file;
	} names[SIM_NAMES];
	struct sim_op *ops;
	size_t n_ops, cap_ops;
	/* Called before each operation; an errno, or 0. -1: a write that writes less. May be NULL. */
	int (*fault)(struct sim_disk *d, enum sim_kind kind);
	void *arg;
};

/* --- chance ------------------------------------------------------------------------------------- */

/* All that is random in a test: SEED=n in the environment replays it. */
static uint64_t sim_seed, sim_state;

/* A setup of cmocka. */
static inline int sim_seed_test(void **state)
{
	const char *seed = getenv("SEED");
	sim_seed = sim_state = seed ? strtoull(seed, NULL, 10) : rand_u64() | 1;
	return 0;
}

/* Uniform in [0, n), about. */
static inline uint32_t chance(uint32_t n)
{
	sim_state ^= sim_state << 13;
	sim_state ^= sim_state >> 7;
	sim_state ^= sim_state << 17;
	return (uint32_t)((sim_state >> 32) * n >> 32);
}

/* --- names and bytes --------------------------------------------------------------------------- */

static inline int sim_find(const struct sim_disk *d, const char *name)
{
	for (int i = 0; i < SIM_NAMES; i++)
		if (d->names[i].name[0] && strcmp(d->names[i].name, name) == 0)
			return i;
	return -1;
}

static inline void sim_set_name(struct sim_disk *d, const char *name, int file)
{
	int i = sim_find(d, name);
	for (int free = 0; i < 0 && free < SIM_NAMES; free++)
		if (!d->names[free].name[0])
			i = free;
	assert_true(i >= 0);
	snprintf(d->names[i].name, sizeof(d->names[i].name), "%s", name);
	d->names[i].file = file;
}

static inline void sim_resize(struct strbuf *sb, size_t size)
{
	if (size > sb->len) {
		size_t had = sb->len;
		strbuf_reserve(sb, size - had);
		memset(sb->data + had, 0, size - had);
	}
	sb->len = size;
}

static inline void sim_put(struct strbuf *sb, int64_t off, const char *data, size_t n)
{
	if (sb->len < (size_t)off + n)
		sim_resize(sb, (size_t)off + n);
	memcpy(sb->data + off, data, n);
}

/* Does what op did; of a WRITE the first n bytes. */
static inline void sim_apply(struct sim_disk *d, const struct sim_op *op, size_t n)
{
	int i;
	switch (op->kind) {
	case SIM_MAKE:
		sim_set_name(d, op->name, op->file);
		break;
	case SIM_WRITE:
		if (n > 0)
			sim_put(&d->files[op->file], op->off, op->data.data, n);
		break;
	case SIM_TRUNCATE:
		sim_resize(&d->files[op->file], (size_t)op->off);
		break;
	case SIM_RENAME:
		i = sim_find(d, op->name);
		if (i >= 0)
			d->names[i].name[0] = '\0';
		sim_set_name(d, op->to, op->file);
		break;
	case SIM_UNLINK:
		i = sim_find(d, op->name);
		if (i >= 0)
			d->names[i].name[0] = '\0';
		break;
	default:
		break;
	}
}

/* --- the calls --------------------------------------------------------------------------------- */

static inline struct sim_op *sim_note(struct sim_disk *d, enum sim_kind kind, int file)
{
	if (d->n_ops == d->cap_ops) {
		d->cap_ops = d->cap_ops ? d->cap_ops * 2 : 64;
		d->ops = xreallocarray(d->ops, d->cap_ops, sizeof(*d->ops));
	}
	struct sim_op *op = &d->ops[d->n_ops++];
	*op = (struct sim_op){.kind = kind, .file = file};
	return op;
}

static inline int sim_fault(const struct log_io *io, enum sim_kind kind)
{
	struct sim_disk *d = (struct sim_disk *)io;
	int code = d->fault ? d->fault(d, kind) : 0;
	if (code > 0)
		errno = code;
	return code;
}

static inline int sim_open(
	const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	struct sim_disk *d = (struct sim_disk *)io;
	int i = sim_find(d, name);
	if (mode != LOG_IO_CREATE) {
		errno = ENOENT;
		return i < 0 ? -1 : d->names[i].file;
	}
	errno = EEXIST;
	if (i >= 0 || sim_fault(io, SIM_MAKE) > 0)
		return -1;
	assert_true(d->n_files < SIM_FILES);
	struct sim_op *op = sim_note(d, SIM_MAKE, d->n_files++);
	snprintf(op->name, sizeof(op->name), "%s", name);
	sim_apply(d, op, 0);
	return op->file;
}

static inline int sim_close(const struct log_io *io, int fd)
{
	return 0;
}

static inline ssize_t sim_pread(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	struct strbuf *sb = &((struct sim_disk *)io)->files[fd];
	size_t there = (size_t)off < sb->len ? sb->len - (size_t)off : 0;
	if (there < n)
		n = there;
	if (n > 0)
		memcpy(buf, sb->data + off, n);
	return (ssize_t)n;
}

static inline ssize_t sim_pwritev(
	const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off)
{
	struct sim_disk *d = (struct sim_disk *)io;
	int fault = sim_fault(io, SIM_WRITE);
	if (fault > 0)
		return -1;
	struct sim_op *op = sim_note(d, SIM_WRITE, fd);
	op->off = off;
	for (int i = 0; i < n; i++)
		strbuf_add(&op->data, iov[i].iov_base, iov[i].iov_len);
	if (fault < 0 && op->data.len > 1)
		op->data.len = 1 + chance((uint32_t)op->data.len - 1);
	sim_apply(d, op, op->data.len);
	return (ssize_t)op->data.len;
}

static inline int64_t sim_size(const struct log_io *io, int fd)
{
	return (int64_t)((struct sim_disk *)io)->files[fd].len;
}

static inline int sim_truncate(const struct log_io *io, int fd, int64_t size)
{
	struct sim_disk *d = (struct sim_disk *)io;
	if (sim_fault(io, SIM_TRUNCATE) > 0)
		return -1;
	struct sim_op *op = sim_note(d, SIM_TRUNCATE, fd);
	op->off = size;
	sim_apply(d, op, 0);
	return 0;
}

static inline int sim_sync(const struct log_io *io, int fd)
{
	if (sim_fault(io, SIM_SYNC) > 0)
		return -1;
	sim_note((struct sim_disk *)io, SIM_SYNC, fd);
	return 0;
}

static inline int sim_sync_dir(const struct log_io *io, int dir)
{
	if (sim_fault(io, SIM_SYNC_DIR) > 0)
		return -1;
	sim_note((struct sim_disk *)io, SIM_SYNC_DIR, -1);
	return 0;
}

static inline int sim_rename(const struct log_io *io, int dir, const char *from, const char *to)
{
	struct sim_disk *d = (struct sim_disk *)io;
	int i = sim_find(d, from);
	errno = ENOENT;
	if (i < 0 || sim_fault(io, SIM_RENAME) > 0)
		return -1;
	struct sim_op *op = sim_note(d, SIM_RENAME, d->names[i].file);
	snprintf(op->name, sizeof(op->name), "%s", from);
	snprintf(op->to, sizeof(op->to), "%s", to);
	sim_apply(d, op, 0);
	return 0;
}

static inline int sim_unlink(const struct log_io *io, int dir, const char *name)
{
	struct sim_disk *d = (struct sim_disk *)io;
	errno = ENOENT;
	if (sim_find(d, name) < 0 || sim_fault(io, SIM_UNLINK) > 0)
		return -1;
	struct sim_op *op = sim_note(d, SIM_UNLINK, -1);
	snprintf(op->name, sizeof(op->name), "%s", name);
	sim_apply(d, op, 0);
	return 0;
}

/* --- disks ------------------------------------------------------------------------------------- */

static inline void sim_init(struct sim_disk *d)
{
	*d = (struct sim_disk){.io = {.open = sim_open,
				       .close = sim_close,
				       .pread = sim_pread,
				       .pwritev = sim_pwritev,
				       .size = sim_size,
				       .truncate = sim_truncate,
				       .sync = sim_sync,
				       .sync_dir = sim_sync_dir,
				       .rename = sim_rename,
				       .unlink = sim_unlink}};
}

static inline void sim_free(struct sim_disk *d)
{
	for (int i = 0; i < d->n_files; i++)
		strbuf_free(&d->files[i]);
	for (size_t i = 0; i < d->n_ops; i++)
		strbuf_free(&d->ops[i].data);
	free(d->ops);
}

/* What was there before the first call is there again. The file numbers stay. */
static inline void sim_start(struct sim_disk *out, const struct sim_disk *before)
{
	sim_init(out);
	memcpy(out->names, before->names, sizeof(out->names));
	out->n_files = before->n_files;
	for (int i = 0; i < before->n_files; i++)
		if (before->files[i].len > 0)
			strbuf_add(&out->files[i], before->files[i].data, before->files[i].len);
}

/* The disk in place of d: as a kill -9 leaves it after n calls of d and the first bytes of the next. */
static inline void sim_killed(struct sim_disk *out, const struct sim_disk *before,
	const struct sim_disk *d, size_t n, size_t bytes)
{
	sim_start(out, before);
	out->n_files = d->n_files;
	for (size_t i = 0; i < n; i++)
		sim_apply(out, &d->ops[i], d->ops[i].data.len);
	if (bytes > 0)
		sim_apply(out, &d->ops[n], bytes);
}

/* Of a write that was not synced some sectors are there, and the size may be. */
static inline void sim_scatter(struct sim_disk *out, const struct sim_op *op)
{
	struct strbuf *file = &out->files[op->file];
	size_t len = op->data.len;
	if (chance(2) && file->len < (size_t)op->off + len)
		sim_resize(file, (size_t)op->off + len);
	bool all = chance(3) == 0;
	for (size_t at = 0; at < len;) {
		size_t n = SIM_SECTOR - (size_t)(op->off + (int64_t)at) % SIM_SECTOR;
		n = n < len - at ? n : len - at;
		if (all || chance(2))
			sim_put(file, op->off + (int64_t)at, op->data.data + at, n);
		at += n;
	}
}

/*
 * The same after a power cut: what was not synced may be there or not, in any order, names
 * included.
 */
static inline void sim_power_cut(
	struct sim_disk *out, const struct sim_disk *before, const struct sim_disk *d, size_t n)
{
	size_t synced[SIM_FILES] = {0}, dir = 0;
	sim_start(out, before);
	out->n_files = d->n_files;
	for (size_t i = 0; i < n; i++) {
		if (d->ops[i].kind == SIM_SYNC)
			synced[d->ops[i].file] = i;
		else if (d->ops[i].kind == SIM_SYNC_DIR)
			dir = i;
	}
	for (size_t i = 0; i < n; i++) {
		const struct sim_op *op = &d->ops[i];
		bool name =
			op->kind == SIM_MAKE || op->kind == SIM_RENAME || op->kind == SIM_UNLINK;
		bool lasts = name ? i < dir : i < synced[op->file < 0 ? 0 : op->file];
		if (lasts)
			sim_apply(out, op, op->data.len);
		else if (op->kind == SIM_WRITE)
			sim_scatter(out, op);
		else if (chance(2))
			sim_apply(out, op, 0);
	}
}

#endif
