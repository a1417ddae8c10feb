/* SPDX-License-Identifier: MIT */
/*
 * A simulated disk behind struct log_io. Files and directories are in memory, each with what the
 * process sees and with what is on the disk for certain. A test may fail any call, and look at the disk
 * before each change. It may copy the disk: that is what the death of the process leaves. And it may
 * cut the power. Then each sector of a file has any of the contents that it had since its last sync,
 * and the file any of its sizes. Of the changes of a directory any subset is there.
 *
 * After a failed sync what was to be synced is never safe again, as on a disk. The system takes the
 * pages for clean, and the next sync succeeds without them.
 */
#ifndef TEST_UNIT_SIM_DISK_H
#define TEST_UNIT_SIM_DISK_H

#include "test/unit/helper.h"

#include <errno.h>
#include <pthread.h>

#include "common/check.h"
#include "common/xalloc.h"
#include "nsqd/log/log_io.h"

#define SIM_FILES 512
#define SIM_FDS 256
#define SIM_NAME 128
#define SIM_ROOT 0 /* the inode of the directory in which all begins */

struct sim_bytes {
	unsigned char *data;
	size_t size;
};

struct sim_entry {
	char name[SIM_NAME];
	int inode;
};

/*
 * A change of a directory: name is linked to inode, or removed (-1); or inode, which has that name, gets
 * another (to is not "").
 */
struct sim_change {
	char name[SIM_NAME];
	char to[SIM_NAME];
	int inode;
};

struct sim_inode {
	bool used, dir;
	/* a file */
	struct sim_bytes now;
	struct sim_bytes *old; /* old[0] is on the disk, the others were there since */
	size_t n_old;
	bool unsafe; /* a sync has failed: */
	struct sim_bytes
		dirty; /* 1 for each byte that was written since; only these get to the disk */
	/* a directory */
	struct sim_entry *entries;
	size_t n_entries;
	struct sim_entry *safe; /* what is on the disk */
	size_t n_safe;
	struct sim_change *changes; /* since */
	size_t n_changes;
};

enum sim_op {
	SIM_CREATE,
	SIM_WRITE,
	SIM_TRUNCATE,
	SIM_SYNC,
	SIM_SYNC_DIR,
	SIM_MKDIR,
	SIM_RMDIR,
	SIM_RENAME,
	SIM_UNLINK,
	SIM_LOOK /* changes nothing */
};

/* A call that is about to be made. */
struct sim_call {
	enum sim_op op;
	int inode;
	const unsigned char *bytes; /* of SIM_WRITE */
	size_t n;
	int64_t off;
};

struct sim_disk {
	struct log_io io; /* the first member */
	pthread_mutex_t lock;
	struct sim_inode inodes[SIM_FILES];
	int fds[SIM_FDS]; /* inode, or -1 */
	size_t sector;
	/* faults */
	long calls;      /* so far */
	long fail_at;    /* this call fails, counted from 0; -1: none */
	long fail_calls; /* and so many in all, from there on */
	int fail_code;
	bool fail_partly;  /* a write that is to fail writes half of its bytes first */
	size_t write_most; /* the next write succeeds, with no more bytes than that; 0: with all */
	bool fail_syncs;   /* each sync fails */
	bool fail_changes; /* each call fails that changes something */
	/* called with the disk locked, before each change; may copy the disk */
	void (*before)(struct sim_disk *d, const struct sim_call *call, void *arg);
	void *arg;
};

/* --- bytes ---------------------------------------------------------------------------------------- */

static inline struct sim_bytes sim_copy_bytes(const struct sim_bytes *b)
{
	struct sim_bytes copy = {xmalloc(b->size + 1), b->size};
	if (b->size > 0)
		memcpy(copy.data, b->data, b->size);
	return copy;
}

static inline void sim_resize(struct sim_bytes *b, size_t size)
{
	b->data = xrealloc(b->data, size + 1);
	if (size > b->size)
		memset(b->data + b->size, 0, size - b->size);
	b->size = size;
}

static inline void sim_put(struct sim_bytes *b, const void *data, size_t n, int64_t off)
{
	if ((size_t)off + n > b->size)
		sim_resize(b, (size_t)off + n);
	if (n > 0)
		memcpy(b->data + off, data, n);
}

static inline void *sim_copy_array(const void *p, size_t n, size_t size)
{
	void *copy = xmalloc(n * size + 1);
	if (n > 0)
		memcpy(copy, p, n * size);
	return copy;
}

/* The present content is one of those that may be on the disk after a loss of power. */
static inline void sim_remember(struct sim_inode *f)
{
	f->old = xreallocarray(f->old, f->n_old + 1, sizeof(*f->old));
	f->old[f->n_old++] = sim_copy_bytes(&f->now);
}

static inline void sim_forget_old(struct sim_inode *f)
{
	for (size_t i = 0; i < f->n_old; i++)
		free(f->old[i].data);
	f->n_old = 0;
}

/* --- the disk ------------------------------------------------------------------------------------- */

static inline int sim_new_inode(struct sim_disk *d, bool dir)
{
	for (int i = 0; i < SIM_FILES; i++) {
		if (d->inodes[i].used)
			continue;
		d->inodes[i] = (struct sim_inode){.used = true, .dir = dir};
		d->inodes[i].now.data = xmalloc(1);
		sim_remember(&d->inodes[i]);
		return i;
	}
	fail_msg("too many simulated files");
	return -1;
}

static inline int sim_new_fd(struct sim_disk *d, int inode)
{
	for (int i = 0; i < SIM_FDS; i++) {
		if (d->fds[i] >= 0)
			continue;
		d->fds[i] = inode;
		return i;
	}
	fail_msg("too many simulated descriptors");
	return -1;
}

static inline struct sim_inode *sim_of(struct sim_disk *d, int fd)
{
	CHECK(fd >= 0 && fd < SIM_FDS && d->fds[fd] >= 0);
	return &d->inodes[d->fds[fd]];
}

static inline struct sim_disk *sim_lock(const struct log_io *io)
{
	struct sim_disk *d = (struct sim_disk *)io;
	pthread_mutex_lock(&d->lock);
	return d;
}

static inline int sim_unlock(struct sim_disk *d, int rc)
{
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static inline int sim_fail(int code)
{
	errno = code;
	return -1;
}

/* Tells the test of the call. True: it is to fail. */
static inline bool sim_called(struct sim_disk *d, struct sim_call call)
{
	if (call.op != SIM_LOOK && d->before)
		d->before(d, &call, d->arg);
	long k = d->calls++;
	bool fails = d->fail_at >= 0 && k >= d->fail_at && k - d->fail_at < d->fail_calls;
	if (d->fail_syncs && (call.op == SIM_SYNC || call.op == SIM_SYNC_DIR))
		fails = true;
	if (d->fail_changes && call.op != SIM_LOOK)
		fails = true;
	if (fails)
		errno = d->fail_code;
	return fails;
}

static inline bool sim_called_op(struct sim_disk *d, enum sim_op op)
{
	return sim_called(d, (struct sim_call){.op = op, .inode = -1});
}

static inline struct sim_entry *sim_find(struct sim_inode *dir, const char *name)
{
	for (size_t i = 0; i < dir->n_entries; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static inline void sim_link(struct sim_entry **entries, size_t *n, const char *name, int inode)
{
	struct sim_inode list = {.entries = *entries, .n_entries = *n};
	struct sim_entry *e = sim_find(&list, name);
	if (!e) {
		*entries = xreallocarray(*entries, *n + 1, sizeof(**entries));
		e = &(*entries)[(*n)++];
		strcpy(e->name, name);
	}
	e->inode = inode;
}

/* Makes a change in a list of entries, or as much of it as there is to do. */
static inline void sim_apply(struct sim_entry **entries, size_t *n, const struct sim_change *c)
{
	struct sim_inode list = {.entries = *entries, .n_entries = *n};
	struct sim_entry *e = sim_find(&list, c->name);
	bool goes = *c->to || c->inode < 0;
	if (goes && e)
		*e = (*entries)[--*n];
	if (*c->to)
		sim_link(entries, n, c->to, c->inode);
	else if (!goes)
		sim_link(entries, n, c->name, c->inode);
}

static inline void sim_change(struct sim_inode *dir, const char *name, const char *to, int inode)
{
	struct sim_change c = {.inode = inode};
	snprintf(c.name, sizeof(c.name), "%s", name);
	snprintf(c.to, sizeof(c.to), "%s", to ? to : "");
	sim_apply(&dir->entries, &dir->n_entries, &c);
	dir->changes = xreallocarray(dir->changes, dir->n_changes + 1, sizeof(c));
	dir->changes[dir->n_changes++] = c;
}

/* --- the calls ------------------------------------------------------------------------------------ */

static inline int sim_open(
	const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, mode == LOG_IO_CREATE ? SIM_CREATE : SIM_LOOK))
		return sim_unlock(d, -1);
	struct sim_inode *parent = sim_of(d, dir);
	struct sim_entry *e = sim_find(parent, name);
	int inode;
	if (mode == LOG_IO_CREATE) {
		if (e)
			return sim_unlock(d, sim_fail(EEXIST));
		inode = sim_new_inode(d, false);
		sim_change(parent, name, NULL, inode);
	} else {
		if (!e)
			return sim_unlock(d, sim_fail(ENOENT));
		inode = e->inode;
		if (d->inodes[inode].dir)
			return sim_unlock(d, sim_fail(EISDIR));
	}
	return sim_unlock(d, sim_new_fd(d, inode));
}

static inline int sim_open_dir(const struct log_io *io, int dir, const char *name)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_LOOK))
		return sim_unlock(d, -1);
	struct sim_entry *e = sim_find(sim_of(d, dir), name);
	if (!e)
		return sim_unlock(d, sim_fail(ENOENT));
	if (!d->inodes[e->inode].dir)
		return sim_unlock(d, sim_fail(ENOTDIR));
	return sim_unlock(d, sim_new_fd(d, e->inode));
}

static inline int sim_close(const struct log_io *io, int fd)
{
	struct sim_disk *d = sim_lock(io);
	sim_of(d, fd);
	d->fds[fd] = -1;
	return sim_unlock(d, 0);
}

static inline ssize_t sim_pread(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_LOOK))
		return sim_unlock(d, -1);
	struct sim_bytes *b = &sim_of(d, fd)->now;
	if ((size_t)off >= b->size)
		return sim_unlock(d, 0);
	if (n > b->size - (size_t)off)
		n = b->size - (size_t)off;
	memcpy(buf, b->data + off, n);
	pthread_mutex_unlock(&d->lock);
	return (ssize_t)n;
}

static inline ssize_t sim_pwritev(
	const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off)
{
	struct sim_disk *d = sim_lock(io);
	struct sim_inode *f = sim_of(d, fd);
	struct sim_bytes all = {NULL, 0};
	CHECK(n > 0 && n <= LOG_IO_IOV_MAX);
	for (int i = 0; i < n; i++)
		sim_put(&all, iov[i].iov_base, iov[i].iov_len, (int64_t)all.size);
	if (sim_called(d, (struct sim_call){SIM_WRITE, d->fds[fd], all.data, all.size, off})) {
		/* Half of it goes, and the next call fails. */
		bool partly = d->fail_partly && all.size > 1;
		if (partly && d->fail_calls == 1)
			d->fail_at++;
		d->fail_partly = false;
		all.size = partly ? all.size / 2 : 0;
	} else if (d->write_most > 0 && d->write_most < all.size) {
		all.size = d->write_most;
	}
	d->write_most = 0;
	sim_put(&f->now, all.data, all.size, off);
	if (all.size > 0) {
		sim_remember(f);
		memset(all.data, 1, all.size);
		sim_put(&f->dirty, all.data, all.size, off);
	}
	free(all.data);
	pthread_mutex_unlock(&d->lock);
	return all.size > 0 ? (ssize_t)all.size : -1;
}

static inline int64_t sim_size(const struct log_io *io, int fd)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_LOOK))
		return sim_unlock(d, -1);
	int64_t size = (int64_t)sim_of(d, fd)->now.size;
	pthread_mutex_unlock(&d->lock);
	return size;
}

static inline int sim_truncate(const struct log_io *io, int fd, int64_t size)
{
	struct sim_disk *d = sim_lock(io);
	struct sim_inode *f = sim_of(d, fd);
	if (sim_called(d, (struct sim_call){.op = SIM_TRUNCATE, .inode = d->fds[fd], .off = size}))
		return sim_unlock(d, -1);
	sim_resize(&f->now, (size_t)size);
	sim_remember(f);
	return sim_unlock(d, 0);
}

/* After a failed sync another one succeeds: what was written in between is on the disk. */
static inline void sim_sync_dirty(struct sim_inode *f, struct sim_bytes *old, size_t sector)
{
	sim_resize(old, f->now.size);
	for (size_t at = 0; at < f->now.size; at += sector) {
		size_t n = f->now.size - at < sector ? f->now.size - at : sector;
		bool dirty = false;
		for (size_t i = at; i < at + n; i++)
			dirty = dirty || (i < f->dirty.size && f->dirty.data[i]);
		if (dirty)
			memcpy(old->data + at, f->now.data + at, n);
	}
}

static inline int sim_sync(const struct log_io *io, int fd)
{
	struct sim_disk *d = sim_lock(io);
	struct sim_inode *f = sim_of(d, fd);
	if (sim_called(d, (struct sim_call){.op = SIM_SYNC, .inode = d->fds[fd]})) {
		f->unsafe = true;
		sim_resize(&f->dirty, 0);
		return sim_unlock(d, -1);
	}
	if (f->unsafe) {
		for (size_t i = 0; i < f->n_old; i++)
			sim_sync_dirty(f, &f->old[i], d->sector);
	} else {
		sim_forget_old(f);
		sim_remember(f);
	}
	return sim_unlock(d, 0);
}

static inline int sim_sync_dir(const struct log_io *io, int dir)
{
	struct sim_disk *d = sim_lock(io);
	struct sim_inode *f = sim_of(d, dir);
	if (sim_called(d, (struct sim_call){.op = SIM_SYNC_DIR, .inode = d->fds[dir]}))
		return sim_unlock(d, -1);
	free(f->safe);
	f->safe = sim_copy_array(f->entries, f->n_entries, sizeof(*f->entries));
	f->n_safe = f->n_entries;
	f->n_changes = 0;
	return sim_unlock(d, 0);
}

static inline int sim_mkdir(const struct log_io *io, int dir, const char *name)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_MKDIR))
		return sim_unlock(d, -1);
	if (sim_find(sim_of(d, dir), name))
		return sim_unlock(d, sim_fail(EEXIST));
	sim_change(sim_of(d, dir), name, NULL, sim_new_inode(d, true));
	return sim_unlock(d, 0);
}

static inline int sim_rmdir(const struct log_io *io, int dir, const char *name)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_RMDIR))
		return sim_unlock(d, -1);
	struct sim_entry *e = sim_find(sim_of(d, dir), name);
	if (!e)
		return sim_unlock(d, sim_fail(ENOENT));
	if (d->inodes[e->inode].n_entries > 0)
		return sim_unlock(d, sim_fail(ENOTEMPTY));
	sim_change(sim_of(d, dir), name, NULL, -1);
	return sim_unlock(d, 0);
}

static inline int sim_rename(const struct log_io *io, int dir, const char *from, const char *to)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_RENAME))
		return sim_unlock(d, -1);
	struct sim_entry *e = sim_find(sim_of(d, dir), from);
	if (!e)
		return sim_unlock(d, sim_fail(ENOENT));
	sim_change(sim_of(d, dir), from, to, e->inode);
	return sim_unlock(d, 0);
}

static inline int sim_unlink(const struct log_io *io, int dir, const char *name)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_UNLINK))
		return sim_unlock(d, -1);
	if (!sim_find(sim_of(d, dir), name))
		return sim_unlock(d, sim_fail(ENOENT));
	sim_change(sim_of(d, dir), name, NULL, -1);
	return sim_unlock(d, 0);
}

static inline int sim_list(
	const struct log_io *io, int dir, void (*fn)(void *arg, const char *name), void *arg)
{
	struct sim_disk *d = sim_lock(io);
	if (sim_called_op(d, SIM_LOOK))
		return sim_unlock(d, -1);
	struct sim_inode *f = sim_of(d, dir);
	for (size_t i = 0; i < f->n_entries; i++)
		fn(arg, f->entries[i].name);
	return sim_unlock(d, 0);
}

/* The simulated disk has no end: a call that may fail. */
static inline int sim_allocate(const struct log_io *io, int fd, int64_t off, int64_t n)
{
	struct sim_disk *d = sim_lock(io);
	sim_of(d, fd);
	return sim_unlock(d, sim_called_op(d, SIM_LOOK) ? -1 : 0);
}

/* --- making, copying, cutting --------------------------------------------------------------------- */

static inline void sim_make(struct sim_disk *d)
{
	*d = (struct sim_disk){
		.io = {sim_open, sim_open_dir, sim_close, sim_pread, sim_pwritev, sim_size,
			sim_truncate, sim_sync, sim_sync_dir, sim_mkdir, sim_rmdir, sim_rename,
			sim_unlink, sim_list, wait_group_wrap, sim_allocate},
		.sector = 64,
		.fail_at = -1,
		.fail_calls = 1,
		.fail_code = EIO,
	};
	pthread_mutex_init(&d->lock, NULL);
	for (int i = 0; i < SIM_FDS; i++)
		d->fds[i] = -1;
}

/* An empty disk. The root has descriptor 0. */
static inline struct sim_disk *sim_new(void)
{
	struct sim_disk *d = xmalloc(sizeof(*d));
	sim_make(d);
	CHECK(sim_new_inode(d, true) == SIM_ROOT && sim_new_fd(d, SIM_ROOT) == 0);
	return d;
}

/* What another process finds: the same files, with no descriptor but that of the root. */
static inline struct sim_disk *sim_copy(const struct sim_disk *from)
{
	struct sim_disk *d = xmalloc(sizeof(*d));
	sim_make(d);
	d->sector = from->sector;
	d->fds[0] = SIM_ROOT;
	for (int i = 0; i < SIM_FILES; i++) {
		const struct sim_inode *f = &from->inodes[i];
		struct sim_inode *c = &d->inodes[i];
		if (!f->used)
			break;
		*c = *f;
		c->now = sim_copy_bytes(&f->now);
		c->dirty = sim_copy_bytes(&f->dirty);
		c->old = xcalloc(f->n_old, sizeof(*c->old));
		for (size_t k = 0; k < f->n_old; k++)
			c->old[k] = sim_copy_bytes(&f->old[k]);
		c->entries = sim_copy_array(f->entries, f->n_entries, sizeof(*c->entries));
		c->safe = sim_copy_array(f->safe, f->n_safe, sizeof(*c->safe));
		c->changes = sim_copy_array(f->changes, f->n_changes, sizeof(*c->changes));
	}
	return d;
}

static inline void sim_free(struct sim_disk *d)
{
	for (int i = 0; i < SIM_FILES; i++) {
		struct sim_inode *f = &d->inodes[i];
		if (!f->used)
			continue;
		sim_forget_old(f);
		free(f->old);
		free(f->now.data);
		free(f->dirty.data);
		free(f->entries);
		free(f->safe);
		free(f->changes);
	}
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* The file with this path of two parts, such as "t.log" and "x"; NULL: there is none. */
static inline struct sim_inode *sim_file(struct sim_disk *d, const char *dir, const char *name)
{
	struct sim_entry *e = sim_find(&d->inodes[SIM_ROOT], dir);
	struct sim_entry *f = e ? sim_find(&d->inodes[e->inode], name) : NULL;
	return f ? &d->inodes[f->inode] : NULL;
}

static inline uint64_t sim_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

/* How a loss of power chooses among what may be on the disk. */
enum sim_cut {
	SIM_CUT_OLDEST,
	SIM_CUT_NEWEST,
	SIM_CUT_FILES,
	SIM_CUT_SECTORS,
	SIM_CUT_ONE,
	SIM_CUTS
};

static inline void sim_cut_file(
	struct sim_inode *f, enum sim_cut how, size_t sector, uint64_t *seed)
{
	size_t n = f->n_old, one = sim_random(seed) % n, choice = 0;
	size_t lacking = (size_t)sim_random(seed);
	struct sim_bytes cut = {NULL, 0};
	if (how == SIM_CUT_NEWEST || how == SIM_CUT_ONE)
		one = n - 1;
	if (how == SIM_CUT_OLDEST)
		one = 0;
	sim_resize(&cut,
		how == SIM_CUT_SECTORS ? f->old[sim_random(seed) % n].size : f->old[one].size);
	size_t sectors = (cut.size + sector - 1) / sector;
	for (size_t i = 0; i < sectors; i++) {
		choice = how == SIM_CUT_SECTORS ? sim_random(seed) % n : one;
		if (how == SIM_CUT_ONE && i == lacking % sectors)
			choice = sim_random(seed) % n;
		const struct sim_bytes *from = &f->old[choice];
		for (size_t at = i * sector; at < (i + 1) * sector && at < cut.size; at++)
			cut.data[at] = at < from->size ? from->data[at] : 0;
	}
	free(f->now.data);
	f->now = cut;
	sim_resize(&f->dirty, 0);
	f->unsafe = false;
	sim_forget_old(f);
	sim_remember(f);
}

static inline void sim_cut_dir(struct sim_inode *f, enum sim_cut how, uint64_t *seed)
{
	for (size_t i = 0; i < f->n_changes; i++) {
		bool there = sim_random(seed) % 2;
		if (how == SIM_CUT_NEWEST || (how == SIM_CUT_ONE && i > 0))
			there = true;
		if (there && how != SIM_CUT_OLDEST)
			sim_apply(&f->safe, &f->n_safe, &f->changes[i]);
	}
	f->n_changes = 0;
	free(f->entries);
	f->entries = sim_copy_array(f->safe, f->n_safe, sizeof(*f->safe));
	f->n_entries = f->n_safe;
}

/* The power is gone, and back. */
static inline void sim_cut(struct sim_disk *d, enum sim_cut how, uint64_t *seed)
{
	for (int i = 0; i < SIM_FILES; i++) {
		struct sim_inode *f = &d->inodes[i];
		if (f->used && f->dir)
			sim_cut_dir(f, how, seed);
		else if (f->used)
			sim_cut_file(f, how, d->sector, seed);
	}
}

#endif
