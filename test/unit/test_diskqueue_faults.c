/* SPDX-License-Identifier: MIT */
/*
 * System calls that fail: short writes, full disks, errors of reading, syncing, renaming, missing
 * descriptors, directories and threads. The publisher gets the error, no record is torn, nothing is
 * condemned, and it all works again when the cause is gone.
 */
#include "test/unit/dq_test.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/rand.h"

#define META "q.diskqueue.meta.dat"

/* What goes wrong, until it is set back to 0. */
static struct {
	_Atomic int64_t disk_left; /* bytes that may still be written to data files; -1: no limit */
	_Atomic int short_writes;  /* each write takes at most this many bytes */
	_Atomic int eintr;         /* so many calls are interrupted first */
	_Atomic int open_errno;    /* for data files that are read */
	_Atomic int open_meta_errno;
	_Atomic int create_errno;
	_Atomic int read_errno;
	_Atomic int zero_reads;
	_Atomic int write_errno;
	_Atomic int sync_errno;
	_Atomic int dir_sync_errno;
	_Atomic int truncate_errno;
	_Atomic int rename_errno;
	_Atomic int unlink_errno;
	_Atomic int start_errno;
	_Atomic int file_errno;     /* for opening data file 1 to read, while the others are well */
	_Atomic int64_t bytes_read; /* counter */
	_Atomic int syncs, writes;  /* counters */
	_Atomic int dir_syncs;      /* likewise */
} fault;

static int fails(_Atomic int *e)
{
	errno = atomic_load(e);
	return errno != 0;
}

static bool interrupted(void)
{
	if (atomic_load(&fault.eintr) <= 0)
		return false;
	atomic_fetch_sub(&fault.eintr, 1);
	errno = EINTR;
	return true;
}

static int f_open(const char *path, int flags, mode_t mode)
{
	bool meta = strstr(path, ".meta.dat") != NULL;
	if (fails(meta ? &fault.open_meta_errno
		       : ((flags & O_CREAT) != 0 ? &fault.create_errno : &fault.open_errno)))
		return -1;
	if (strstr(path, ".000001.dat") && (flags & O_CREAT) == 0 && fails(&fault.file_errno))
		return -1;
	return open(path, flags, mode);
}

/* What the calling thread has read. */
static _Thread_local int64_t bytes_read_here;

static ssize_t f_pread(int fd, void *buf, size_t n, off_t off)
{
	if (interrupted() || fails(&fault.read_errno))
		return -1;
	if (atomic_load(&fault.zero_reads))
		return 0;
	/* Short reads are always possible. */
	ssize_t r = pread(fd, buf, n > 1000 ? n / 2 : n, off);
	if (r > 0) {
		atomic_fetch_add(&fault.bytes_read, r);
		bytes_read_here += r;
	}
	return r;
}

static ssize_t f_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	int limit = atomic_load(&fault.short_writes);
	int64_t left = atomic_load(&fault.disk_left);
	size_t total = 0, max;
	atomic_fetch_add(&fault.writes, 1);
	if (interrupted() || fails(&fault.write_errno))
		return -1;
	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	max = limit > 0 && (size_t)limit < total ? (size_t)limit : total;
	if (left >= 0 && (size_t)left < max)
		max = (size_t)left;
	if (max == 0 && total > 0) {
		errno = ENOSPC;
		return -1;
	}
	char *buf = xmalloc(total + 1);
	total = 0;
	for (int i = 0; i < n; i++) {
		memcpy(buf + total, iov[i].iov_base, iov[i].iov_len);
		total += iov[i].iov_len;
	}
	ssize_t w = pwrite(fd, buf, max, off);
	free(buf);
	if (left >= 0)
		atomic_fetch_sub(&fault.disk_left, w);
	return w;
}

static int f_fdatasync(int fd)
{
	atomic_fetch_add(&fault.syncs, 1);
	return fails(&fault.sync_errno) ? -1 : fdatasync(fd);
}

static int f_fsync(int fd)
{
	atomic_fetch_add(&fault.dir_syncs, 1);
	return fails(&fault.dir_sync_errno) ? -1 : fsync(fd);
}

static int f_ftruncate(int fd, off_t len)
{
	return interrupted() || fails(&fault.truncate_errno) ? -1 : ftruncate(fd, len);
}

static int f_rename(const char *from, const char *to)
{
	return fails(&fault.rename_errno) ? -1 : rename(from, to);
}

static int f_unlink(const char *path)
{
	return fails(&fault.unlink_errno) ? -1 : unlink(path);
}

static int f_start(
	struct wait_group *wg, const char *name, void (*fn)(void *), void *arg, struct err *err)
{
	if (fails(&fault.start_errno))
		return err_errno(err, errno, "pthread_create");
	return wait_group_wrap(wg, name, fn, arg, err);
}

static const struct dq_io faulty = {
	f_open, f_pread, f_pwritev, f_fdatasync, f_fsync, f_ftruncate, f_rename, f_unlink, f_start};

static struct dq_patience patience; /* what the daemon has */

static int setup(void **state)
{
	memset(&fault, 0, sizeof(fault));
	dq_patience = patience;
	atomic_store(&fault.disk_left, -1);
	return test_setup(state);
}

#define fault_test(f) cmocka_unit_test_setup_teardown(f, setup, test_teardown)

static struct backend_queue *open_faulty(const struct diskqueue_opts *o)
{
	struct err err = {0};
	struct backend_queue *q = diskqueue_new_with_io(o, &faulty, &err);
	if (!q)
		fail_msg("diskqueue_new: %s", err.msg);
	return q;
}

static int64_t size_of(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? st.st_size : -1;
}

static void test_short_writes_and_interrupts_do_no_harm(void **state)
{
	struct diskqueue_opts o = test_opts(1000);
	struct backend_queue *q = open_faulty(&o);
	for (int limit = 1; limit < 200; limit += 11) {
		atomic_store(&fault.short_writes, limit);
		atomic_store(&fault.eintr, 3);
		put(q, limit * 100, 20, 40);
	}
	for (int limit = 1; limit < 200; limit += 11) {
		atomic_store(&fault.eintr, 3);
		expect(q, limit * 100, 20);
	}
	expect_drained(q);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
}

/*
 * A batch of 10 on a disk with room for less: what is stored is whole, and everything works later.
 */
static void test_a_full_disk_tears_no_record(void **state)
{
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(4 * len);
	int64_t left;
	for (left = 0; left < 10 * len; left += 17) {
		struct backend_queue *q = open_faulty(&o);
		struct err err = {0};
		put(q, 0, 2, 40);
		atomic_store(&fault.disk_left, left);
		size_t n = try_put(q, 2, 10, 40, &err);
		assert_int_equal(n, left / len);
		assert_int_equal(err.code, ENOSPC);
		assert_string_equal(err.msg, "write: no space left on device");
		assert_int_equal(q->ops->depth(q), 2 + (int64_t)n);
		assert_int_equal(try_put(q, 2, 10, 400, &err), 0);
		assert_int_equal(q->ops->depth(q), 2 + (int64_t)n);
		/* Space comes back, perhaps after a restart. */
		if (left % 2 != 0) {
			atomic_store(&fault.disk_left, -1);
			close_queue(q);
			q = open_faulty(&o);
		}
		atomic_store(&fault.disk_left, -1);
		put(q, 2 + (int64_t)n, 10, 40);
		expect(q, 0, 12 + (int64_t)n);
		expect_drained(q);
		assert_int_equal(q->ops->delete (q, &err), 0);
	}
	assert_int_equal(files_ending(".bad"), 0);
	assert_int_equal(logged("data loss"), 0);
}

/* The torn record cannot be cut off at once: it is later, and nobody reads it. */
static void test_a_torn_record_that_cannot_be_cut_off_fails_the_next_put(void **state)
{
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(100 * len);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};
	put(q, 0, 2, 40);
	atomic_store(&fault.disk_left, 50);
	atomic_store(&fault.truncate_errno, EIO);
	assert_int_equal(try_put(q, 2, 1, 40, &err), 0);
	expect(q, 0, 2);
	atomic_store(&fault.disk_left, -1);
	assert_int_equal(try_put(q, 2, 1, 4, &err), 0);
	assert_string_equal(err.msg, "truncate: input/output error");
	atomic_store(&fault.truncate_errno, 0);
	put(q, 2, 3, 4);
	expect(q, 2, 3);
	expect_drained(q);
	assert_int_equal(size_of("q.diskqueue.000000.dat"), 2 * len + 3 * (DQ_RECORD_HEADER + 4));
	close_queue(q);
}

static void test_a_data_file_that_cannot_be_created_fails_the_put(void **state)
{
	struct diskqueue_opts o = test_opts(200);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};
	atomic_store(&fault.create_errno, EROFS);
	assert_int_equal(try_put(q, 0, 3, 40, &err), 0);
	assert_string_equal(err.msg, "open q.diskqueue.000000.dat: read-only file system");
	atomic_store(&fault.create_errno, 0);
	put(q, 0, 2, 40);
	atomic_store(&fault.create_errno, EMFILE);
	assert_int_equal(try_put(q, 2, 5, 40, &err), 0);
	atomic_store(&fault.create_errno, 0);
	put(q, 2, 5, 40);
	expect(q, 0, 7);
	expect_drained(q);
	close_queue(q);
}

/* With sync_every 1 a put that could not be synced has not happened. */
static void test_a_failed_sync_fails_the_put(void **state)
{
	struct diskqueue_opts o = test_opts(300);
	struct err err = {0};
	o.sync_every = 1;
	struct backend_queue *q = open_faulty(&o);
	int before = atomic_load(&fault.syncs);
	put(q, 0, 1, 40);
	assert_true(atomic_load(&fault.syncs) > before);
	for (int64_t i = 1; i < 20; i++) {
		atomic_store(i % 2 ? &fault.sync_errno : &fault.dir_sync_errno, EIO);
		if (i % 2 != 0) {
			assert_int_equal(try_put(q, i, 9, 40, &err), 0);
			assert_int_equal(err.code, EIO);
			assert_int_equal(q->ops->depth(q), i);
		}
		atomic_store(&fault.sync_errno, 0);
		atomic_store(&fault.dir_sync_errno, 0);
		put(q, i, 1, 40);
	}
	assert_true(logged("ERROR: DISKQUEUE(q) failed to sync - fsync: input/output error") > 0);
	close_queue(q);
	q = open_faulty(&o);
	expect(q, 0, 20);
	expect_drained(q);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
}

/*
 * A batch that fills many files syncs each of them, and the directory once; with sync_every 1 each
 * time, so that what is in a file that was left behind is safe, its name included.
 */
static void test_the_directory_is_synced_once_for_all_files_of_a_batch(void **state)
{
	struct diskqueue_opts o = test_opts(50);
	struct backend_queue *q = open_faulty(&o);
	int before = atomic_load(&fault.dir_syncs);
	put(q, 0, 20, 40);
	diskqueue_barrier(q);
	assert_true(atomic_load(&fault.syncs) >= 19);
	assert_in_range(atomic_load(&fault.dir_syncs) - before, 1, 6);
	expect(q, 0, 20);
	close_queue(q);

	o.sync_every = 1;
	q = open_faulty(&o);
	before = atomic_load(&fault.dir_syncs);
	put(q, 0, 20, 40);
	assert_true(atomic_load(&fault.dir_syncs) - before >= 20);
	expect(q, 0, 20);
	close_queue(q);
}

/* The metadata are only a hint: a put does not fail for them, and a restart finds everything. */
static void test_metadata_that_cannot_be_written_lose_nothing(void **state)
{
	struct diskqueue_opts o = test_opts(300);
	struct err err = {0};
	o.sync_every = 1;
	struct backend_queue *q = open_faulty(&o);
	put(q, 0, 10, 40);
	atomic_store(&fault.rename_errno, ENOSPC);
	put(q, 10, 10, 40);
	expect(q, 0, 7);
	assert_int_equal(q->ops->close(q, &err), -1);
	atomic_store(&fault.rename_errno, 0);
	assert_int_equal(files_ending(".tmp"), 0);
	q = open_faulty(&o);
	for (int64_t i = -1;;) {
		int64_t seq = get_seq_within(q, PATIENCE);
		assert_true(i < 0 ? seq <= 7 : seq == i + 1);
		i = seq;
		if (i == 19)
			break;
	}
	expect_drained(q);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
}

/* Stock: 1000 messages in 13 files, out of descriptors: 86 received, 11 good files condemned. */
static void test_read_errors_condemn_nothing(void **state)
{
	const int errors[] = {EMFILE, EIO, EACCES, ENOMEM, EINTR};
	struct diskqueue_opts o = test_opts(500);
	_Atomic int *const faults[] = {&fault.open_errno, &fault.read_errno, &fault.zero_reads};
	for (size_t f = 0; f < 3; f++) {
		for (size_t e = 0; e < (f == 2 ? 1 : 4); e++) {
			struct backend_queue *q = open_faulty(&o);
			put(q, 0, 100, 40);
			expect(q, 0, 10);
			atomic_store(faults[f], errors[e]);
			int64_t i = 10;
			/* What was read before comes; then nothing. */
			for (int64_t seq; (seq = get_seq_within(q, 30 * NSEC_PER_MSEC)) >= 0; i++)
				assert_int_equal(seq, i);
			assert_true(i < 100);
			assert_int_equal(depth(q), 100 - i);
			put(q, 100, 5, 40);
			assert_int_equal(files_ending(".bad"), 0);
			atomic_store(faults[f], 0);
			expect(q, i, 105 - i);
			expect_drained(q);
			close_queue(q);
		}
	}
	assert_int_equal(files_ending(".bad"), 0);
	assert_true(logged("reading at") < 50);
}

static void test_a_put_that_gets_no_thread_fails_and_the_next_works(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};
	atomic_store(&fault.start_errno, EAGAIN);
	assert_int_equal(try_put(q, 0, 3, 40, &err), 0);
	assert_int_equal(err.code, EAGAIN);
	assert_int_equal(q->ops->depth(q), 0);
	atomic_store(&fault.start_errno, 0);
	put(q, 0, 3, 40);
	close_queue(q);

	atomic_store(&fault.start_errno, EAGAIN);
	assert_null(diskqueue_new_with_io(&o, &faulty, &err));
	atomic_store(&fault.start_errno, 0);
	q = open_faulty(&o);
	expect(q, 0, 3);
	close_queue(q);
}

/* Metadata that cannot be read say nothing: no file is touched until they can. */
static void test_a_directory_that_cannot_be_read_at_start_is_tried_again(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};
	put(q, 0, 30, 40);
	expect(q, 0, 10);
	close_queue(q);
	atomic_store(&fault.open_meta_errno, EMFILE);
	q = open_faulty(&o);
	assert_int_equal(try_put(q, 30, 1, 40, &err), 0);
	assert_string_equal(err.msg, "failed to retrieveMetaData: open q.diskqueue.meta.dat: too "
				     "many open files");
	assert_int_equal(q->ops->empty(q, &err), -1);
	close_queue(q);
	q = open_faulty(&o);
	atomic_store(&fault.open_meta_errno, 0);
	/* Found without any put, after a while. */
	expect(q, 10, 20);
	expect_drained(q);
	put(q, 30, 5, 40);
	expect(q, 30, 5);
	close_queue(q);

	atomic_store(&fault.open_meta_errno, EACCES);
	q = open_faulty(&o);
	assert_int_equal(q->ops->delete (q, &err), 0);
	assert_int_equal(files_ending(".dat"), 0);
}

static void test_files_that_cannot_be_removed_do_not_stop_the_queue(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};
	put(q, 0, 100, 40);
	atomic_store(&fault.unlink_errno, EACCES);
	expect(q, 0, 50);
	assert_int_equal(depth(q), 50);
	assert_int_equal(q->ops->empty(q, &err), -1);
	assert_int_equal(depth(q), 0);
	put(q, 100, 50, 40);
	expect(q, 100, 50);
	expect_drained(q);
	atomic_store(&fault.unlink_errno, 0);
	assert_int_equal(q->ops->delete (q, &err), 0);
}

static void test_what_was_deleted_does_not_come_back_from_files_that_cannot_be_removed(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct err err = {0};
	/* Emptied, and never used again. */
	struct backend_queue *q = open_faulty(&o);
	put(q, 0, 100, 40);
	atomic_store(&fault.unlink_errno, EACCES);
	assert_int_equal(q->ops->empty(q, &err), -1);
	close_queue(q);
	q = open_faulty(&o);
	assert_int_equal(depth(q), 0);
	expect_drained(q);

	/* Deleted, and made anew: the metadata that stay say nothing that is true. */
	put(q, 200, 100, 40);
	assert_int_equal(q->ops->delete (q, &err), -1);
	assert_true(files_ending(".dat") > 0);
	q = open_faulty(&o);
	assert_int_equal(depth(q), 0);
	put(q, 100, 50, 40);
	expect(q, 100, 50);
	expect_drained(q);
	atomic_store(&fault.unlink_errno, 0);
	assert_int_equal(q->ops->delete (q, &err), 0);
}

/* For real: a process without descriptors. */
static void test_without_descriptors_nothing_is_condemned(void **state)
{
	struct diskqueue_opts o = test_opts(5000);
	struct rlimit old;
	int64_t seq, i = 0;
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 1000, 40);
	close_queue(q);
	q = open_queue(&o);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	struct rlimit none = old;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (; (seq = get_seq_within(q, 100 * NSEC_PER_MSEC)) >= 0; i++)
		assert_int_equal(seq, i);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(i < 1000);
	expect(q, i, 1000 - i);
	expect_drained(q);
	close_queue(q);
	assert_int_equal(files_ending(".bad"), 0);
}

/* Errors that last: of one file, it is set aside; of the process, nothing ever is. */
static void test_a_file_that_can_never_be_read_is_set_aside(void **state)
{
	const int errors[] = {EIO, EACCES, ELOOP, EMFILE};
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(5 * len);
	dq_patience.error_tries = dq_patience.odd_tries = 2;
	for (size_t e = 0; e < 4; e++) {
		struct err err;
		struct backend_queue *q = open_faulty(&o);
		put(q, 0, 20, 40);
		close_queue(q);
		atomic_store(&fault.file_errno, errors[e]);
		q = open_faulty(&o);
		expect(q, 0, 5);
		if (errors[e] == EMFILE) {
			/* Twice as long as the patience of this test. */
			assert_int_equal(get_seq_within(q, 1500 * NSEC_PER_MSEC), -2);
			atomic_store(&fault.file_errno, 0);
			expect(q, 5, 15);
		} else {
			expect(q, 10, 10);
			assert_int_equal(size_of("q.diskqueue.000001.dat.bad"), 5 * len);
			assert_int_equal(unlink("q.diskqueue.000001.dat.bad"), 0);
		}
		put(q, 20, 3, 40);
		expect(q, 20, 3);
		expect_drained(q);
		atomic_store(&fault.file_errno, 0);
		assert_int_equal(q->ops->delete (q, &err), 0);
		assert_int_equal(files_ending(".bad"), 0);
	}
}

/* A directory that is gone says nothing about its files. */
static void test_a_directory_that_comes_back_has_lost_nothing(void **state)
{
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(5 * len);
	struct err err;
	o.data_path = "data";
	assert_int_equal(mkdir("data", 0700), 0);
	dq_patience.error_tries = dq_patience.odd_tries = 1;
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 20, 40);
	expect(q, 0, 1);
	assert_int_equal(rename("data", "away"), 0);
	int64_t i = 1, seq;
	while ((seq = get_seq_within(q, 1000 * NSEC_PER_MSEC)) >= 0)
		assert_int_equal(seq, i++);
	assert_true(i < 20);
	assert_int_equal(rename("away", "data"), 0);
	expect(q, i, 20 - i);
	assert_int_equal(q->ops->delete (q, &err), 0);
	assert_int_equal(rmdir("data"), 0);
}

enum odd { DIRECTORY, FIFO, LOOP, DANGLING, SOCKET, N_ODD };

static void make_odd(enum odd what, const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd;
	switch (what) {
	case DIRECTORY:
		assert_int_equal(mkdir(path, 0700), 0);
		break;
	case FIFO:
		assert_int_equal(mkfifo(path, 0600), 0);
		break;
	case LOOP:
		assert_int_equal(symlink(path, path), 0);
		break;
	case DANGLING:
		assert_int_equal(symlink("nowhere", path), 0);
		break;
	default:
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
		assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		close(fd);
	}
}

static void remove_odd(const char *path)
{
	struct stat st;
	if (lstat(path, &st) == 0)
		assert_int_equal(S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path), 0);
}

/* In the place of the first, a middle and the last file that is read; with metadata and without. */
static void test_what_is_no_file_is_set_aside_by_the_reader(void **state)
{
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(5 * len);
	dq_patience.odd_tries = 0;
	for (int round = 0; round < N_ODD * 3 * 2; round++) {
		int what = round % N_ODD, file = round / N_ODD % 3;
		struct backend_queue *q = open_queue(&o);
		struct err err;
		char path[64], bad[80];
		put(q, 0, 15, 40);
		close_queue(q);
		snprintf(path, sizeof(path), "q.diskqueue.%06d.dat", file);
		snprintf(bad, sizeof(bad), "%s.bad", path);
		assert_int_equal(unlink(path), 0);
		make_odd(what, path);
		if (round >= N_ODD * 3)
			assert_int_equal(unlink(META), 0);
		q = open_queue(&o);
		for (int f = 0; f < 3; f++)
			if (f != file)
				expect(q, f * 5, 5);
		put(q, 15, 7, 40);
		expect(q, 15, 7);
		expect_drained(q);
		assert_int_equal(q->ops->delete (q, &err), 0);
		assert_true(dq_anything_at(bad));
		assert_false(dq_anything_at(path));
		remove_odd(bad);
	}
}

/* In the place of the next file to be written. */
static void test_what_is_no_file_makes_room_for_the_writer(void **state)
{
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(5 * len);
	struct err err = {0};
	for (int what = 0; what < N_ODD; what++) {
		struct backend_queue *q = open_queue(&o);
		put(q, 0, 5, 40);
		make_odd(what, "q.diskqueue.000001.dat");
		if (what == DIRECTORY) {
			/* A mistake, perhaps: it may be gone in a moment. */
			assert_int_equal(try_put(q, 5, 1, 40, &err), 0);
			assert_string_equal(err.msg, "open q.diskqueue.000001.dat: is a directory");
			assert_int_equal(rmdir("q.diskqueue.000001.dat"), 0);
			put(q, 5, 5, 40);
			make_odd(what, "q.diskqueue.000002.dat");
			assert_int_equal(try_put(q, 10, 1, 40, &err), 0);
			/* Only dq_io_loop looks at it, and it does so when it serves a put. */
			dq_patience.obstacle_ns = 0;
			put(q, 10, 5, 40);
			expect(q, 0, 15);
		} else {
			put(q, 5, 5, 40);
			expect(q, 0, 10);
		}
		expect_drained(q);
		assert_int_equal(files_ending(".bad"), 1);
		assert_int_equal(q->ops->delete (q, &err), 0);
		remove_odd("q.diskqueue.000001.dat.bad");
		remove_odd("q.diskqueue.000002.dat.bad");
	}
}

static const char precious[] = "precious";

/* A link to somebody's file, of the size that ours would have. */
static void make_victim(bool symbolic, const char *path, size_t size)
{
	char text[1000] = "";
	memset(text, 'v', size);
	memcpy(text, precious, size < 8 ? size : 8);
	write_text("victim", text);
	assert_int_equal(symbolic ? symlink("victim", path) : link("victim", path), 0);
}

static void check_victim(size_t size)
{
	assert_int_equal(size_of("victim"), size);
	assert_int_equal(unlink("victim"), 0);
}

/* Through a link, symbolic or not, nothing is written into another's file; nor cut off. */
static void test_nothing_is_written_through_a_link(void **state)
{
	const char *names[] = {
		"q.diskqueue.000000.dat", "q.diskqueue.000001.dat", META ".0.tmp", META};
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(5 * len);
	o.sync_every = 1;
	for (int i = 0; i < 8; i++) {
		const char *name = names[i / 2];
		struct err err;
		make_victim(i % 2, name, 30);
		struct backend_queue *q = open_queue(&o);
		put(q, 0, 7, 40);
		expect(q, 0, 6);
		close_queue(q);
		q = open_queue(&o);
		expect(q, 6, 1);
		assert_int_equal(q->ops->delete (q, &err), 0);
		check_victim(30);
		for (int n = 0; n < 4; n++) {
			char bad[64];
			snprintf(bad, sizeof(bad), "%s.bad", names[n]);
			remove_odd(bad);
		}
		assert_int_equal(files_ending(".tmp"), 0);
	}
	/* The file that was written last, at its end: it became a link meanwhile. */
	for (int i = 0; i < 2; i++) {
		struct backend_queue *q = open_queue(&o);
		struct err err;
		put(q, 0, 2, 40);
		close_queue(q);
		assert_int_equal(unlink(names[0]), 0);
		make_victim(i, names[0], (size_t)(2 * len));
		q = open_queue(&o);
		put(q, 2, 2, 40);
		assert_int_equal(q->ops->delete (q, &err), 0);
		check_victim((size_t)(2 * len));
		remove_odd("q.diskqueue.000000.dat.bad");
	}
}

/* Where the temporary file would be, or the metadata themselves, at start and later. */
static void test_what_is_no_file_in_the_place_of_metadata_loses_nothing(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct err err;
	dq_patience.odd_loads = 0;
	for (int what = 0; what < N_ODD; what++) {
		struct backend_queue *q = open_queue(&o);
		put(q, 0, 20, 40);
		close_queue(q);
		assert_int_equal(unlink(META), 0);
		make_odd(what, META);
		make_odd(what, META ".0.tmp");
		q = open_queue(&o);
		expect(q, 0, 15);
		close_queue(q);
		q = open_queue(&o);
		expect(q, 15, 5);
		/* And in the middle of its life. */
		remove_odd(META);
		make_odd(what, META);
		put(q, 20, 5, 40);
		close_queue(q);
		q = open_queue(&o);
		expect(q, 20, 5);
		expect_drained(q);
		make_odd(what, "q.diskqueue.000099.dat");
		assert_int_equal(q->ops->delete (q, &err), 0);
		remove_odd("q.diskqueue.000099.dat");
		remove_odd(META ".0.tmp");
		remove_odd(META ".bad");
		remove_odd(META ".1.bad");
	}
}

static void put_head(unsigned char *p, int64_t len, int i)
{
	for (int k = 0; k < 4; k++)
		p[k] = (unsigned char)(len >> (24 - 8 * k));
	for (int k = 0; k < 8; k++)
		p[4 + k] = (unsigned char)((uint64_t)BASE_TS >> (56 - 8 * k));
	p[12] = 0;
	p[13] = 1;
	char id[MSG_ID_LENGTH + 1];
	snprintf(id, sizeof(id), "%016x", (unsigned)i);
	memcpy(p + 14, id, MSG_ID_LENGTH);
}

/* Heads of records that are none, each as good as the next: n bytes of them. */
static void write_heads(const char *path, int kind, int64_t n)
{
	unsigned char *buf = xcalloc(1, (size_t)n + DQ_RECORD_HEADER);
	int64_t most = 1024 * 1024 + MSG_HEADER_LENGTH;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600), i = 0;
	for (int64_t at = 0; at < n; at += DQ_RECORD_HEADER, i++) {
		int64_t rest = n - at - DQ_PREFIX;
		const int64_t lens[] = {1000, 1000000, rest, rest - 1 - i % 40, 27,
			26 + 30 * (i % 1000) + i % 2, most,
			26 + (int64_t)(rand_u64() % (uint64_t)(most - 26))};
		int64_t len = lens[kind] > most ? most : lens[kind];
		put_head(buf + at, len < 26 ? 26 : len, i);
	}
	assert_true(write(fd, buf, (size_t)n) == n);
	close(fd);
	free(buf);
}

/* Reads all that comes, whatever it is. */
static void drain_all(struct backend_queue *q)
{
	for (;;) {
		diskqueue_barrier(q);
		if (inside(q)->batch_n == 0)
			break;
		message_unref(get_within(q, PATIENCE));
	}
}

/* Each byte of a file is looked at a bounded number of times, by the counter and by the reader. */
static void test_hostile_files_are_read_in_linear_time(void **state)
{
	const int64_t n = 1 << 20;
	struct diskqueue_opts o = test_opts(100 << 20);
	atomic_store(&test_lg.level, LG_FATAL);
	for (int kind = 0; kind < 8; kind++) {
		struct err err;
		write_heads("q.diskqueue.000000.dat", kind, n);
		atomic_store(&fault.bytes_read, 0);
		struct backend_queue *q = open_faulty(&o);
		drain_all(q);
		put(q, 0, 3, 40);
		expect(q, 0, 3);
		expect_drained(q);
		if (atomic_load(&fault.bytes_read) > 20 * n)
			fail_msg("kind %d: %lld bytes read for %lld", kind,
				(long long)atomic_load(&fault.bytes_read), (long long)n);
		assert_int_equal(q->ops->delete (q, &err), 0);
		remove_odd("q.diskqueue.000000.dat.bad");
	}
}

/* 4 GB of nothing, and a record behind it. */
static void test_holes_are_not_read(void **state)
{
	struct diskqueue_opts o = test_opts(8LL << 30);
	unsigned char rec[DQ_RECORD_HEADER];
	struct err err;
	int fd = open("q.diskqueue.000000.dat", O_RDWR | O_CREAT, 0600);
	put_head(rec, MSG_HEADER_LENGTH, 7);
	assert_true(pwrite(fd, rec, sizeof(rec), 4LL << 30) == sizeof(rec));
	close(fd);
	struct backend_queue *q = open_faulty(&o);
	assert_int_equal(depth(q), 1);
	struct message *m = get_within(q, PATIENCE);
	assert_memory_equal(m->id.hex, "0000000000000007", MSG_ID_LENGTH);
	message_unref(m);
	expect_drained(q);
	assert_true(atomic_load(&fault.bytes_read) < 16 << 20);
	assert_int_equal(q->ops->delete (q, &err), 0);
}

/* A backlog without metadata: the start reads little of it, and puts and the reader go on. */
static void test_nobody_waits_while_messages_are_counted(void **state)
{
	const size_t body = 50000, n = 600;
	struct diskqueue_opts o = test_opts(10 << 20);
	struct backend_queue *q = open_queue(&o);
	struct err err;
	put(q, 0, n, body);
	close_queue(q);
	assert_int_equal(unlink(META), 0);
	bytes_read_here = 0;
	q = open_faulty(&o);
	/* 4 MB are counted at once; the rest is for dq_io_loop, which has its turns meanwhile. */
	assert_true(bytes_read_here < 8 << 20);
	put(q, (int64_t)n, 5, body);
	expect(q, 0, 10);
	assert_int_equal(depth(q), n - 5);
	put(q, (int64_t)n + 5, 5, body);
	expect(q, 10, (int64_t)n);
	expect_drained(q);
	assert_int_equal(logged("ERROR"), 0);
	/* A stop in the middle: the next start counts again. */
	assert_int_equal(q->ops->delete (q, &err), 0);
	q = open_queue(&o);
	put(q, 0, n, body);
	close_queue(q);
	assert_int_equal(unlink(META), 0);
	q = open_queue(&o);
	close_queue(q);
	q = open_queue(&o);
	assert_int_equal(depth(q), n);
	assert_int_equal(q->ops->delete (q, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fault_test(test_short_writes_and_interrupts_do_no_harm),
		fault_test(test_a_full_disk_tears_no_record),
		fault_test(test_a_torn_record_that_cannot_be_cut_off_fails_the_next_put),
		fault_test(test_a_data_file_that_cannot_be_created_fails_the_put),
		fault_test(test_a_failed_sync_fails_the_put),
		fault_test(test_the_directory_is_synced_once_for_all_files_of_a_batch),
		fault_test(test_metadata_that_cannot_be_written_lose_nothing),
		fault_test(test_read_errors_condemn_nothing),
		fault_test(test_a_put_that_gets_no_thread_fails_and_the_next_works),
		fault_test(test_a_directory_that_cannot_be_read_at_start_is_tried_again),
		fault_test(test_files_that_cannot_be_removed_do_not_stop_the_queue),
		fault_test(
			test_what_was_deleted_does_not_come_back_from_files_that_cannot_be_removed),
		fault_test(test_without_descriptors_nothing_is_condemned),
		fault_test(test_a_file_that_can_never_be_read_is_set_aside),
		fault_test(test_a_directory_that_comes_back_has_lost_nothing),
		fault_test(test_what_is_no_file_is_set_aside_by_the_reader),
		fault_test(test_what_is_no_file_makes_room_for_the_writer),
		fault_test(test_nothing_is_written_through_a_link),
		fault_test(test_what_is_no_file_in_the_place_of_metadata_loses_nothing),
		fault_test(test_hostile_files_are_read_in_linear_time),
		fault_test(test_holes_are_not_read),
		fault_test(test_nobody_waits_while_messages_are_counted),
	};
	patience = dq_patience;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
