/* SPDX-License-Identifier: MIT */
/*
 * The disk of the model of the log, and other small things that the log uses and that are not its
 * subject. What is written is on the disk: losses of power are for test/unit/test_log_crash.c. A call
 * that other threads can see the effect of is a point: there the disk takes its time.
 */
#include "test/model/log_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/crc32c.h"
#include "common/lg.h"
#include "common/slab.h"
#include "common/xalloc.h"
#include "nsqd/log/log_queue_internal.h"
#include "test/model/mc.h"

MC_GHOST struct disk disk, crashed;
MC_GHOST struct disk_failures disk_failures;

/* Descriptors: of the directory, and of the first file. */
enum { DIR_FD = 3, FILE_FD = 4 };

static struct disk *disk_of(const struct log_io *io)
{
	return io == &crashed_io ? &crashed : &disk;
}

static int fail(int code)
{
	errno = code;
	return -1;
}

/* The calls that may fail, of a kind: does this one? */
static bool fails(int *left)
{
	if (*left == 0 || mc_choose(2) == 0)
		return false;
	--*left;
	return true;
}

static struct disk_file *find(struct disk *d, const char *name)
{
	for (int i = 0; i < DISK_FILES; i++)
		if (d->files[i].there && strcmp(d->files[i].name, name) == 0)
			return &d->files[i];
	return NULL;
}

static struct disk_file *file_of(const struct log_io *io, int fd)
{
	MC_CHECK(fd >= FILE_FD && fd < FILE_FD + DISK_FILES);
	struct disk_file *f = &disk_of(io)->files[fd - FILE_FD];
	MC_CHECK(f->there && f->n_open > 0);
	return f;
}

/* Nobody has it open, and it has no name. */
static void clear(struct disk_file *f)
{
	if (f->n_open == 0 && !f->name[0])
		memset(f, 0, sizeof(*f));
}

static int disk_open(const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	struct disk *d = disk_of(io);
	MC_CHECK(dir == DIR_FD);
	mc_yield();
	struct disk_file *f = find(d, name);
	if (!f && mode != LOG_IO_CREATE)
		return fail(ENOENT);
	if (f && mode == LOG_IO_CREATE)
		return fail(EEXIST);
	for (int i = 0; !f && i < DISK_FILES; i++)
		if (!d->files[i].there)
			f = &d->files[i];
	if (!f || strlen(name) >= sizeof(f->name))
		mc_give_up("the model's disk has no more room for %s", name);
	f->there = true;
	f->n_open++;
	memmove(f->name, name, strlen(name) + 1);
	return FILE_FD + (int)(f - d->files);
}

static int disk_open_dir(const struct log_io *io, int dir, const char *name)
{
	MC_CHECK(dir == AT_FDCWD && strcmp(name, "t.log") == 0);
	return disk_of(io)->has_dir ? DIR_FD : fail(ENOENT);
}

static int disk_close(const struct log_io *io, int fd)
{
	if (fd == DIR_FD)
		return 0;
	struct disk_file *f = file_of(io, fd);
	f->n_open--;
	clear(f);
	return 0;
}

static ssize_t disk_pread(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	const struct disk_file *f = file_of(io, fd);
	mc_yield();
	if (off >= f->size)
		return 0;
	n = n < (size_t)(f->size - off) ? n : (size_t)(f->size - off);
	memcpy(buf, f->bytes + off, n);
	return (ssize_t)n;
}

static void put_bytes(struct disk_file *f, int64_t off, const void *p, size_t n)
{
	if (off + (int64_t)n > DISK_BYTES)
		mc_give_up("the model's disk has no more room in %s", f->name);
	if (n > 0)
		memcpy(f->bytes + off, p, n);
	if (f->size < off + (int64_t)n)
		f->size = (uint32_t)(off + (int64_t)n);
}

static ssize_t disk_pwritev(
	const struct log_io *io, int fd, const struct iovec *iov, int n, int64_t off)
{
	struct disk_file *f = file_of(io, fd);
	ssize_t done = 0;
	mc_yield();
	bool bad = fails(&disk_failures.writes);
	/* Of one part the half; of several the first one, whole. */
	for (int i = 0; i < (bad ? 1 : n); i++) {
		put_bytes(f, off + done, iov[i].iov_base, iov[i].iov_len / (bad && n == 1 ? 2 : 1));
		done += (ssize_t)iov[i].iov_len;
	}
	return bad ? fail(ENOSPC) : done;
}

static int64_t disk_size(const struct log_io *io, int fd)
{
	return file_of(io, fd)->size;
}

static int disk_truncate(const struct log_io *io, int fd, int64_t size)
{
	struct disk_file *f = file_of(io, fd);
	if (fails(&disk_failures.truncates))
		return fail(EIO);
	MC_CHECK(size <= DISK_BYTES);
	if (size < f->size)
		memset(f->bytes + size, 0, (size_t)(f->size - size));
	f->size = (uint32_t)size;
	return 0;
}

static int disk_sync(const struct log_io *io, int fd)
{
	(void)file_of(io, fd);
	mc_yield();
	return fails(&disk_failures.syncs) ? fail(EIO) : 0;
}

static int disk_sync_dir(const struct log_io *io, int dir)
{
	(void)io, (void)dir;
	return 0;
}

static int disk_mkdir(const struct log_io *io, int dir, const char *name)
{
	(void)dir, (void)name;
	disk_of(io)->has_dir = true;
	return 0;
}

static int disk_rmdir(const struct log_io *io, int dir, const char *name)
{
	struct disk *d = disk_of(io);
	(void)dir, (void)name;
	for (int i = 0; i < DISK_FILES; i++)
		MC_CHECK(!d->files[i].name[0]);
	d->has_dir = false;
	return 0;
}

static int disk_unlink(const struct log_io *io, int dir, const char *name)
{
	(void)dir;
	mc_yield();
	struct disk_file *f = find(disk_of(io), name);
	if (!f)
		return fail(ENOENT);
	memset(f->name, 0, sizeof(f->name));
	clear(f);
	return 0;
}

static int disk_rename(const struct log_io *io, int dir, const char *from, const char *to)
{
	/* The directory itself is renamed when it is deleted, and then removed. */
	if (dir == AT_FDCWD)
		return 0;
	mc_yield();
	struct disk_file *f = find(disk_of(io), from), *old = find(disk_of(io), to);
	if (!f)
		return fail(ENOENT);
	if (old) {
		memset(old->name, 0, sizeof(old->name));
		clear(old);
	}
	memset(f->name, 0, sizeof(f->name));
	memmove(f->name, to, strlen(to) + 1);
	return 0;
}

static int disk_list(
	const struct log_io *io, int dir, void (*fn)(void *arg, const char *name), void *arg)
{
	const struct disk *d = disk_of(io);
	(void)dir;
	for (int i = 0; i < DISK_FILES; i++)
		if (d->files[i].name[0])
			fn(arg, d->files[i].name);
	return 0;
}

static int disk_allocate(const struct log_io *io, int fd, int64_t off, int64_t n)
{
	(void)io, (void)fd, (void)off, (void)n;
	return 0;
}

#define DISK_IO                                                                                    \
	{                                                                                          \
		.open = disk_open, .open_dir = disk_open_dir, .close = disk_close,                 \
		.pread = disk_pread, .pwritev = disk_pwritev, .size = disk_size,                   \
		.truncate = disk_truncate, .sync = disk_sync, .sync_dir = disk_sync_dir,           \
		.mkdir = disk_mkdir, .rmdir = disk_rmdir, .rename = disk_rename,                   \
		.unlink = disk_unlink, .list = disk_list, .start = wait_group_wrap,                \
		.allocate = disk_allocate,                                                         \
	}
const struct log_io disk_io = DISK_IO, crashed_io = DISK_IO;

/* --- looking --------------------------------------------------------------------------------- */

void disk_crash(void)
{
	crashed = disk;
	for (int i = 0; i < DISK_FILES; i++) {
		crashed.files[i].n_open = 0;
		clear(&crashed.files[i]);
	}
}

bool disk_has(const struct disk *d, const char *name)
{
	return find((struct disk *)d, name) != NULL;
}

int disk_n_open(const struct disk *d)
{
	int n = 0;
	for (int i = 0; i < DISK_FILES; i++)
		n += d->files[i].n_open;
	return n;
}

/* --- what is not the log ---------------------------------------------------------------------- */

/* The system's own calls, in log_io_real: nobody uses it. */
struct stat;
int mc_close(int fd);
int mc_fstatat(int dir, const char *name, struct stat *st, int flags);

int mc_close(int fd)
{
	mc_fail("close %d: a file of the system", fd);
}

int mc_fstatat(int dir, const char *name, struct stat *st, int flags)
{
	(void)dir, (void)st, (void)flags;
	mc_fail("stat %s: a file of the system", name);
}

/* Any checksum does: nothing is damaged here. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	for (size_t i = 0; i < len; i++)
		crc = (crc ^ p[i]) * 0x01000193 + 1;
	return crc;
}

/* The log of the daemon is for nobody. */
void lg_vlogf(const struct lg *lg, enum lg_level level, const char *fmt, va_list ap)
{
	(void)lg, (void)level, (void)fmt, (void)ap;
}

/* Nobody looks at what is there. */
void lq_see(struct message *take_m, struct message_views *out)
{
	(void)take_m, (void)out;
	mc_fail("lq_see");
}

struct backend_look *lq_look(struct backend_queue *base)
{
	(void)base;
	return NULL;
}

void *slab_alloc(size_t size)
{
	return xmalloc(size);
}

void slab_free(void *p, size_t size)
{
	(void)size;
	free(p);
}
