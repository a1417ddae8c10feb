/* SPDX-License-Identifier: MIT */
/*
 * diskqueue_inspect: what it says is what a start then does, whatever the files hold, and no file is
 * touched.
 */
#include "test/unit/dq_test.h"

#include "common/bytes.h"
#include "common/digest.h"
#include "common/strbuf.h"
#include "nsqd/disk/diskqueue_inspect.h"

#define META "q.diskqueue.meta.dat"

/* A generator of its own, so that a seed gives the same run again. */
static uint64_t state_of_random;

static uint64_t any(void)
{
	state_of_random = state_of_random * 6364136223846793005u + 1442695040888963407u;
	return state_of_random >> 33;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_file(struct strbuf *sb, const char *name)
{
	struct stat st;
	unsigned char sum[16] = {0};
	assert_int_equal(lstat(name, &st), 0);
	strbuf_addf(sb, "%s %o %lld %lld.%09ld %lld.%09ld ", name, st.st_mode,
		(long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		(long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	if (S_ISREG(st.st_mode) && st.st_size < 10 << 20) {
		int fd = open(name, O_RDONLY);
		char *buf = xmalloc((size_t)st.st_size + 1);
		assert_true(pread(fd, buf, (size_t)st.st_size, 0) == st.st_size);
		digest_md5(buf, (size_t)st.st_size, sum);
		free(buf);
		close(fd);
	}
	for (size_t i = 0; i < sizeof(sum); i++)
		strbuf_addf(sb, "%02x", sum[i]);
	strbuf_addc(sb, '\n');
}

/* All that can be seen of the directory, but for the times of access. The caller frees it. */
static char *snapshot(void)
{
	struct strbuf sb = STRBUF_INIT;
	char *names[256];
	size_t n = 0;
	struct stat st;
	struct dirent *e;
	DIR *dir = opendir(".");
	while ((e = readdir(dir)) && n < COUNT(names))
		if (strncmp(e->d_name, "q.", 2) == 0)
			names[n++] = xstrdup(e->d_name);
	closedir(dir);
	qsort(names, n, sizeof(*names), compare_strings);
	for (size_t i = 0; i < n; i++) {
		add_file(&sb, names[i]);
		free(names[i]);
	}
	assert_int_equal(stat(".", &st), 0);
	strbuf_addf(&sb, "%lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return strbuf_detach(&sb);
}

/* The report is the caller's to free. */
static struct diskqueue_report inspect(const struct diskqueue_opts *o)
{
	struct diskqueue_report r;
	struct err err = {0};
	int descriptors = count_descriptors();
	char *before = snapshot();
	if (diskqueue_inspect(o, &r, &err) != 0)
		fail_msg("%s", err.msg);
	char *after = snapshot();
	assert_string_equal(before, after);
	free(before);
	free(after);
	assert_int_equal(count_descriptors(), descriptors);
	return r;
}

/* How many messages a reader gets. */
static int64_t drain(struct backend_queue *q)
{
	int64_t n = 0;
	for (;; n++) {
		diskqueue_barrier(q);
		if (inside(q)->batch_n == 0)
			return n;
		struct message *m = get_within(q, PATIENCE);
		assert_non_null(m);
		message_unref(m);
	}
}

/* Inspects, then starts for real, and compares. */
static void compare_with_a_start(const struct diskqueue_opts *o, const char *what, uint64_t seed)
{
	struct diskqueue_report r = inspect(o);
	struct backend_queue *q = open_queue(o);
	int64_t d = depth(q), got = drain(q);
	assert_true(r.loaded);
	/* The reader may have come by the damage already, and have put the depth right. */
	bool same_depth = d == r.depth || (r.damaged_places > 0 && d == got);
	if (!same_depth || got != r.records)
		fail_msg("%s %llu: depth %lld (start: %lld), records %lld (read: %lld)\n%s", what,
			(unsigned long long)seed, (long long)r.depth, (long long)d,
			(long long)r.records, (long long)got, r.notes);
	/* Damage shows: a file with some is kept as .bad. */
	if (r.damaged_places > 0)
		assert_true(files_ending(".bad") > 0);
	diskqueue_report_free(&r);
	close_queue(q);
	assert_int_equal(system("rm -rf q.diskqueue.*"), 0);
}

/* --- damage ----------------------------------------------------------------------------------- */

static int some_data_file(void)
{
	char name[64];
	for (int tries = 0; tries < 20; tries++) {
		snprintf(name, sizeof(name), "q.diskqueue.%06d.dat", (int)(any() % 6));
		int fd = open(name, O_RDWR);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

static void flip_bytes(int fd, int64_t size)
{
	for (int n = (int)(any() % 4) + 1; n > 0 && size > 0; n--) {
		unsigned char c = (unsigned char)any();
		assert_true(pwrite(fd, &c, 1, (off_t)(any() % (uint64_t)size)) == 1);
	}
}

static void overwrite(int fd, int64_t size)
{
	static unsigned char junk[400];
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (unsigned char)any();
	if (any() % 2 == 0)
		memset(junk, any() % 2 ? 0 : 0xff, sizeof(junk));
	size_t n = any() % sizeof(junk);
	assert_true(pwrite(fd, junk, n, (off_t)(any() % (uint64_t)(size + 1))) == (ssize_t)n);
}

static void damage_a_data_file(void)
{
	struct stat st;
	int fd = some_data_file();
	if (fd < 0)
		return;
	assert_int_equal(fstat(fd, &st), 0);
	switch (any() % 3) {
	case 0:
		flip_bytes(fd, st.st_size);
		break;
	case 1:
		overwrite(fd, st.st_size);
		break;
	default:
		assert_int_equal(ftruncate(fd, (off_t)(any() % (uint64_t)(st.st_size + 100))), 0);
	}
	close(fd);
}

static void damage_the_metadata(void)
{
	char text[160];
	FILE *f;
	switch (any() % 5) {
	case 0:
		unlink(META);
		return;
	case 1: /* cut off */
		assert_true(truncate(META, (off_t)(any() % 12)) == 0 || errno == ENOENT);
		return;
	case 2: /* other numbers */
		snprintf(text, sizeof(text), "%d\n%d,%d\n%d,%d\n", (int)(any() % 60),
			(int)(any() % 6), (int)(any() % 900), (int)(any() % 6), (int)(any() % 900));
		break;
	case 3: /* impossible ones */
		snprintf(text, sizeof(text), "%d\n-1,99999999999999999999\n%lld,3\n", (int)any(),
			(long long)DQ_SANE_MAX);
		break;
	default:
		for (size_t i = 0; i < sizeof(text) - 1; i++)
			text[i] = (char)(any() % 255 + 1);
		text[sizeof(text) - 1] = '\0';
	}
	f = fopen(META, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_it_says_what_a_start_does_whatever_the_files_hold(void **state)
{
	struct diskqueue_opts o = test_opts(600);
	for (uint64_t seed = 0; seed < ROUNDS(60); seed++) {
		state_of_random = seed * 977 + 1;
		struct backend_queue *q = open_queue(&o);
		put(q, 0, any() % 40, any() % 60);
		int64_t depth_before = depth(q);
		for (uint64_t n = any() % 30; n > 0 && depth_before > 0; n--, depth_before--)
			message_unref(get_within(q, PATIENCE));
		close_queue(q);
		for (uint64_t n = any() % 4; n > 0; n--)
			damage_a_data_file();
		if (any() % 2 == 0)
			damage_the_metadata();
		if (any() % 4 == 0) {
			char name[64];
			snprintf(name, sizeof(name), "q.diskqueue.%06d.dat", (int)(any() % 6));
			unlink(name);
		}
		compare_with_a_start(&o, "seed", seed);
	}
}

/* --- what it says ----------------------------------------------------------------------------- */

static void assert_noted(const struct diskqueue_report *r, const char *text)
{
	if (!strstr(r->notes, text))
		fail_msg("no \"%s\" in:\n%s", text, r->notes);
}

static void test_a_queue_that_is_not_there_is_empty(void **state)
{
	struct diskqueue_opts o = test_opts(1000);
	struct diskqueue_report r = inspect(&o);
	assert_true(r.loaded);
	assert_int_equal(r.depth + r.files + r.records + r.bytes, 0);
	assert_string_equal(r.notes, "");
	diskqueue_report_free(&r);
}

static void test_a_sound_queue_by_its_numbers(void **state)
{
	struct diskqueue_opts o = test_opts(600);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 20, 70); /* of 100 bytes each: six in a file */
	expect(q, 0, 7);
	close_queue(q);
	struct diskqueue_report r = inspect(&o);
	assert_int_equal(r.depth, 13);
	assert_int_equal(r.records, 13);
	assert_int_equal(r.bytes, 1300);
	assert_int_equal(r.damaged_places + r.unreadable_files, 0);
	assert_string_equal(r.notes, "");
	assert_true(r.read_file <= r.write_file && r.files == r.write_file - r.read_file + 1);
	diskqueue_report_free(&r);
}

static void test_damage_is_named_by_file_and_place(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 10, 70);
	close_queue(q);
	int fd = open("q.diskqueue.000000.dat", O_WRONLY);
	assert_true(pwrite(fd, "\x7f\xff\xff\xff", 4, 300) == 4); /* the length of the fourth */
	close(fd);
	struct diskqueue_report r = inspect(&o);
	assert_int_equal(r.depth, 10); /* as the metadata say */
	assert_int_equal(r.records, 9);
	assert_int_equal(r.damaged_places, 1);
	assert_int_equal(r.damaged_bytes, 100);
	assert_noted(
		&r, "WARNING: q.diskqueue.000000.dat has 100 damaged bytes at 300, which would");
	diskqueue_report_free(&r);
}

static void test_a_thousand_damaged_places_are_few_lines(void **state)
{
	struct diskqueue_opts o = test_opts(1 << 20);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 3000, 70);
	close_queue(q);
	int fd = open("q.diskqueue.000000.dat", O_WRONLY);
	/* Behind damage two sound ones in a row are needed. */
	for (int i = 0; i < 3000; i += 3)
		assert_true(pwrite(fd, "\x7f\xff\xff\xff", 4, 100 * i) == 4);
	close(fd);
	struct diskqueue_report r = inspect(&o);
	assert_int_equal(r.damaged_places, 1000);
	assert_int_equal(r.damaged_bytes, 100000);
	assert_int_equal(r.records, 2000);
	assert_true(strlen(r.notes) < 4000);
	diskqueue_report_free(&r);
}

/* Each of these files is a line of the log; the process must not keep them all. */
static void test_a_thousand_lines_are_cut(void **state)
{
	struct diskqueue_opts o = test_opts(1000);
	char name[64];
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "q.diskqueue.%06d.dat", i);
		assert_int_equal(mkdir(name, 0700), 0);
	}
	struct diskqueue_report r = inspect(&o);
	assert_int_equal(r.unreadable_files, 1000);
	assert_noted(&r, "cannot count the messages of q.diskqueue.000000.dat");
	assert_noted(&r, "\n(more lines are left out)\n");
	assert_in_range(strlen(r.notes), 8 * 1024, 20 * 1024);
	diskqueue_report_free(&r);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "q.diskqueue.%06d.dat", i);
		assert_int_equal(rmdir(name), 0);
	}
}

static void test_what_a_start_would_move_and_remove_is_noted_and_stays(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	struct backend_queue *q = open_queue(&o);
	put(q, 0, 5, 70);
	close_queue(q);
	write_text(META, "no metadata");
	struct diskqueue_report r = inspect(&o);
	assert_noted(&r, "ERROR: DISKQUEUE(q) failed to retrieveMetaData - ");
	assert_noted(&r, "saving bad file as " META ".bad");
	assert_noted(&r, "found 5 messages in data files without metadata");
	assert_int_equal(r.depth, 5);
	assert_true(exists(META));
	diskqueue_report_free(&r);
	/* Stock may stop at the end of a finished file. */
	assert_int_equal(rename("q.diskqueue.000000.dat", "q.diskqueue.000007.dat"), 0);
	write_text(META, "0\n7,500\n8,0\n");
	r = inspect(&o);
	assert_noted(&r, "removing q.diskqueue.000007.dat, which was read to its end");
	assert_int_equal(r.depth, 0);
	assert_true(exists("q.diskqueue.000007.dat"));
	diskqueue_report_free(&r);
}

/* None of these may block, or be read for ever. */
static void test_what_is_no_file_is_not_read(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	assert_int_equal(mkfifo("q.diskqueue.000000.dat", 0600), 0);
	assert_int_equal(symlink("/dev/zero", "q.diskqueue.000001.dat"), 0);
	assert_int_equal(symlink("q.diskqueue.000002.dat", "q.diskqueue.000002.dat"), 0);
	assert_int_equal(mkdir("q.diskqueue.000003.dat", 0700), 0);
	write_text(META, "3\n0,0\n3,10\n");
	struct diskqueue_report r = inspect(&o);
	assert_int_equal(r.records, 0);
	assert_true(r.unreadable_files >= 3);
	diskqueue_report_free(&r);
	assert_int_equal(unlink(META), 0);
	assert_int_equal(mkfifo(META, 0600), 0);
	r = inspect(&o);
	assert_false(r.loaded);
	assert_non_null(strstr(r.why.msg, "not a regular file"));
	diskqueue_report_free(&r);
	assert_int_equal(rmdir("q.diskqueue.000003.dat"), 0);
}

static void test_a_file_of_nothing_is_leapt_over(void **state)
{
	struct diskqueue_opts o = test_opts(100000);
	int fd = open("q.diskqueue.000000.dat", O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, (off_t)1 << 36), 0);
	close(fd);
	struct diskqueue_report r = inspect(&o);
	assert_int_equal(r.records, 0);
	assert_int_equal(r.depth, 0);
	assert_true(r.damaged_bytes == (int64_t)1 << 36);
	diskqueue_report_free(&r);
}

static void test_files_are_told_by_their_names(void **state)
{
	static const struct {
		const char *entry;
		enum dq_file_kind kind;
		size_t name_len;
	} cases[] = {
		{"t.diskqueue.000000.dat", DQ_FILE_DATA, 1},
		{"t:c.diskqueue.123456789.dat", DQ_FILE_DATA, 3},
		{"a.diskqueue.b.diskqueue.000000.dat", DQ_FILE_DATA, 13},
		{"t.diskqueue.meta.dat", DQ_FILE_META, 1},
		{"t.diskqueue.meta.dat.0.tmp", DQ_FILE_TEMPORARY, 1},
		{"t.diskqueue.meta.dat.12345678901234567890.tmp", DQ_FILE_TEMPORARY, 1},
		{"t.diskqueue.meta.dat.123456789012345678901.tmp", DQ_FILE_OTHER, 0},
		{"t.diskqueue.meta.dat..tmp", DQ_FILE_OTHER, 0},
		{"t.diskqueue.000000.dat.bad", DQ_FILE_BAD, 1},
		{"t.diskqueue.000000.dat.7.bad", DQ_FILE_BAD, 1},
		{"t.diskqueue.meta.dat.bad", DQ_FILE_BAD, 1},
		{"t.diskqueue.00000.dat", DQ_FILE_OTHER, 0},
		{"t.diskqueue.0000000.dat", DQ_FILE_OTHER, 0},
		{"t.diskqueue.00000x.dat", DQ_FILE_OTHER, 0},
		{".diskqueue.000000.dat", DQ_FILE_OTHER, 0},
		{"t.diskqueue.", DQ_FILE_OTHER, 0},
		{"nsqd.dat", DQ_FILE_OTHER, 0},
		{"", DQ_FILE_OTHER, 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t len = 99;
		enum dq_file_kind kind = diskqueue_file_kind(cases[i].entry, &len);
		if (kind != cases[i].kind || len != cases[i].name_len)
			fail_msg("%s: %d, %zu", cases[i].entry, (int)kind, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		dq_test(test_a_queue_that_is_not_there_is_empty),
		dq_test(test_a_sound_queue_by_its_numbers),
		dq_test(test_damage_is_named_by_file_and_place),
		dq_test(test_a_thousand_damaged_places_are_few_lines),
		dq_test(test_a_thousand_lines_are_cut),
		dq_test(test_what_a_start_would_move_and_remove_is_noted_and_stays),
		dq_test(test_what_is_no_file_is_not_read),
		dq_test(test_a_file_of_nothing_is_leapt_over),
		cmocka_unit_test(test_files_are_told_by_their_names),
		dq_test(test_it_says_what_a_start_does_whatever_the_files_hold),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
