/* SPDX-License-Identifier: MIT */
/*
 * System calls that fail: short writes, full disks, errors of reading, syncing,
 * renaming, missing descriptors, directories and threads. The publisher gets the
 * error, no record is torn, nothing is condemned, and it all works again when
 * the cause is gone.
 */
#include "test/unit/dq_test.h"

#include <sys/resource.h>

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
	_Atomic int syncs, writes; /* counters */
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
		       : (flags & O_CREAT ? &fault.create_errno : &fault.open_errno)))
		return -1;
	return open(path, flags, mode);
}

static ssize_t f_pread(int fd, void *buf, size_t n, off_t off)
{
	if (interrupted() || fails(&fault.read_errno))
		return -1;
	if (atomic_load(&fault.zero_reads))
		return 0;
	/* Short reads are always possible. */
	return pread(fd, buf, n > 1000 ? n / 2 : n, off);
}

static ssize_t f_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	int limit = atomic_load(&fault.short_writes);
	int64_t left = atomic_load(&fault.disk_left);
	size_t total = 0, max;
	ssize_t w;
	char *buf;

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
	buf = xmalloc(total + 1);
	total = 0;
	for (int i = 0; i < n; i++) {
		memcpy(buf + total, iov[i].iov_base, iov[i].iov_len);
		total += iov[i].iov_len;
	}
	w = pwrite(fd, buf, max, off);
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

static int setup(void **state)
{
	memset(&fault, 0, sizeof(fault));
	atomic_store(&fault.disk_left, -1);
	return test_setup(state);
}

#define fault_test(f) cmocka_unit_test_setup_teardown(f, setup, test_teardown)

static struct backend_queue *open_faulty(const struct diskqueue_opts *o)
{
	struct err err = {0};
	struct backend_queue *q = diskqueue_new_with_io(o, &faulty, &err);

	if (q == NULL)
		fail_msg("diskqueue_new: %s", err.msg);
	return q;
}

static int64_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : -1;
}

static void test_short_writes_and_interrupts(void **state)
{
	struct diskqueue_opts o = test_opts(1000);
	struct backend_queue *q = open_faulty(&o);

	(void)state;
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

	(void)state;
	for (left = 0; left < 10 * len; left += 17) {
		struct backend_queue *q = open_faulty(&o);
		struct err err = {0};
		size_t n;

		put(q, 0, 2, 40);
		atomic_store(&fault.disk_left, left);
		n = try_put(q, 2, 10, 40, &err);
		assert_int_equal(n, left / len);
		assert_int_equal(err.code, ENOSPC);
		assert_string_equal(err.msg, "write: no space left on device");
		assert_int_equal(q->ops->depth(q), 2 + (int64_t)n);
		assert_int_equal(try_put(q, 2, 10, 400, &err), 0);
		assert_int_equal(q->ops->depth(q), 2 + (int64_t)n);
		/* Space comes back, perhaps after a restart. */
		if (left % 2) {
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
static void test_a_torn_record_that_cannot_be_cut_off(void **state)
{
	const int64_t len = DQ_RECORD_HEADER + 40;
	struct diskqueue_opts o = test_opts(100 * len);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};

	(void)state;
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

static void test_a_data_file_that_cannot_be_created(void **state)
{
	struct diskqueue_opts o = test_opts(200);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};

	(void)state;
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
	struct backend_queue *q;
	struct err err = {0};
	int before;

	(void)state;
	o.sync_every = 1;
	q = open_faulty(&o);
	before = atomic_load(&fault.syncs);
	put(q, 0, 1, 40);
	assert_true(atomic_load(&fault.syncs) > before);
	for (int64_t i = 1; i < 20; i++) {
		atomic_store(i % 2 ? &fault.sync_errno : &fault.dir_sync_errno, EIO);
		if (i % 2) {
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

/* The metadata are only a hint: a put does not fail for them, and a restart finds everything. */
static void test_metadata_that_cannot_be_written(void **state)
{
	struct diskqueue_opts o = test_opts(300);
	struct backend_queue *q;
	struct err err = {0};

	(void)state;
	o.sync_every = 1;
	q = open_faulty(&o);
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

	(void)state;
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

static void test_no_thread_at_the_first_put(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};

	(void)state;
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
static void test_a_directory_that_cannot_be_read_at_start(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};

	(void)state;
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

static void test_files_that_cannot_be_removed(void **state)
{
	struct diskqueue_opts o = test_opts(500);
	struct backend_queue *q = open_faulty(&o);
	struct err err = {0};

	(void)state;
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

	(void)state;
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
static void test_out_of_descriptors(void **state)
{
	struct diskqueue_opts o = test_opts(5000);
	struct backend_queue *q;
	struct rlimit old, none;
	int64_t seq, i = 0;

	(void)state;
	q = open_queue(&o);
	put(q, 0, 1000, 40);
	close_queue(q);
	q = open_queue(&o);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		fault_test(test_short_writes_and_interrupts),
		fault_test(test_a_full_disk_tears_no_record),
		fault_test(test_a_torn_record_that_cannot_be_cut_off),
		fault_test(test_a_data_file_that_cannot_be_created),
		fault_test(test_a_failed_sync_fails_the_put),
		fault_test(test_metadata_that_cannot_be_written),
		fault_test(test_read_errors_condemn_nothing),
		fault_test(test_no_thread_at_the_first_put),
		fault_test(test_a_directory_that_cannot_be_read_at_start),
		fault_test(test_files_that_cannot_be_removed),
		fault_test(
			test_what_was_deleted_does_not_come_back_from_files_that_cannot_be_removed),
		fault_test(test_out_of_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
