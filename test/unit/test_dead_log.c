/* SPDX-License-Identifier: MIT */
/* dead_log: what is found, what is torn, damaged or refused, the two files, and memory. */
#include "test/unit/dir_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nsqd/queue/dead_log.h"

#define FILE_NAME "t" DEAD_LOG_SUFFIX
#define OLD_NAME "t" DEAD_LOG_OLD_SUFFIX

static struct dead_entry entry(unsigned i)
{
	struct dead_entry e = {0};
	char hex[MSG_ID_LENGTH + 1];
	snprintf(hex, sizeof(hex), "%016x", i);
	memcpy(e.id.hex, hex, MSG_ID_LENGTH);
	snprintf(hex, sizeof(hex), "f%015x", i);
	memcpy(e.from.id.hex, hex, MSG_ID_LENGTH);
	snprintf(e.from.topic, NAME_SIZE, "topic%u", i);
	memset(e.from.channel, 'c', NAME_MAX_LENGTH); /* as long as may be */
	e.from.timestamp = INT64_C(1700000000000000000) + i;
	e.from.time = e.from.timestamp + 1;
	e.from.attempts = (uint16_t)(60000 + i);
	e.from.reason = (int)(i % N_DEAD_REASONS);
	e.from.envelope = i % 2 == 1;
	return e;
}

static void append(struct dead_log *l, unsigned first, unsigned n)
{
	struct err err;
	struct dead_entry *e = calloc(n, sizeof(*e));
	for (unsigned i = 0; i < n; i++)
		e[i] = entry(first + i);
	assert_int_equal(dead_log_append(l, e, n, true, &err), 0);
	free(e);
}

static void assert_same(const struct dead_letter *a, const struct dead_letter *b)
{
	assert_string_equal(a->topic, b->topic);
	assert_string_equal(a->channel, b->channel);
	assert_memory_equal(a->id.hex, b->id.hex, MSG_ID_LENGTH);
	assert_true(a->timestamp == b->timestamp && a->time == b->time);
	assert_int_equal(a->attempts, b->attempts);
	assert_int_equal(a->reason, b->reason);
	assert_int_equal(a->envelope, b->envelope);
}

static int find(
	struct dead_log *l, struct dead_entry *entries, bool *found, size_t n, struct err *err)
{
	struct dead_log_files files;
	memset(found, 0, n * sizeof(*found));
	if (dead_log_snapshot(l, &files, err) != 0)
		return -1;
	int rc = dead_log_find(&files, entries, found, n, err);
	dead_log_close(&files);
	return rc;
}

static bool knows(struct dead_log *l, unsigned i)
{
	struct err err;
	bool found;
	struct dead_entry wanted = entry(i), e = {.id = wanted.id};
	assert_int_equal(find(l, &e, &found, 1, &err), 0);
	if (found)
		assert_same(&e.from, &wanted.from);
	return found;
}

static int64_t size_of(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static void test_what_was_appended_is_found(void **state)
{
	struct err err;
	struct dead_log *l = dead_log_new(".", "t", false);
	assert_false(knows(l, 0));
	append(l, 0, 300);
	append(l, 300, 7);
	/* Many at once, in any order, among them some that are not there, and one twice. */
	unsigned ids[] = {306, 0, 999, 255, 256, 0, 257};
	struct dead_entry e[COUNT(ids)];
	bool found[COUNT(ids)];
	for (size_t i = 0; i < COUNT(ids); i++)
		e[i] = (struct dead_entry){.id = entry(ids[i]).id};
	assert_int_equal(find(l, e, found, COUNT(ids), &err), 0);
	for (size_t i = 0; i < COUNT(ids); i++) {
		struct dead_entry wanted = entry(ids[i]);
		if (i == 5)
			continue; /* the same id is asked for twice: one of the two is answered */
		if (i == 1 && !found[1])
			assert_true(found[5]);
		else if (found[i])
			assert_same(&e[i].from, &wanted.from);
		else
			assert_int_equal(ids[i], 999);
	}
	dead_log_free(l);
	l = dead_log_new(".", "t", false);
	assert_true(knows(l, 306));
	append(l, 307, 1);
	assert_true(knows(l, 307) && knows(l, 0));
	assert_int_equal(dead_log_remove(l, &(struct err){0}), 0);
	assert_int_equal(size_of(FILE_NAME), -1);
	assert_false(knows(l, 0));
	dead_log_free(l);
}

static void test_the_bytes_are_those_of_the_documentation(void **state)
{
	struct dead_log *l = dead_log_new(".", "t", false);
	unsigned char r[DEAD_RECORD_SIZE + 1];
	append(l, 1, 1);
	int fd = open(FILE_NAME, O_RDONLY);
	assert_int_equal(read(fd, r, sizeof(r)), DEAD_RECORD_SIZE);
	close(fd);
	assert_int_equal(r[4], 1);
	assert_int_equal(r[5], DEAD_EXPIRED);
	assert_int_equal(r[6], 1);
	assert_memory_equal(r + 8, "0000000000000001f000000000000001", 32);
	assert_memory_equal(r + 56, "\xea\x61", 2); /* 60001 */
	assert_string_equal((char *)r + 64, "topic1");
	assert_memory_equal(r + 128 + 63, "c\0", 2);
	dead_log_free(l);
}

static void test_what_is_torn_is_cut_and_what_is_damaged_skipped(void **state)
{
	struct dead_log *l = dead_log_new(".", "t", false);
	append(l, 0, 3);
	dead_log_free(l);
	int fd = open(FILE_NAME, O_RDWR);
	assert_int_equal(pwrite(fd, "x", 1, DEAD_RECORD_SIZE + 70), 1);
	assert_int_equal(ftruncate(fd, 2 * DEAD_RECORD_SIZE + 100), 0);
	close(fd);
	l = dead_log_new(".", "t", false);
	assert_true(knows(l, 0));
	assert_false(knows(l, 1));
	assert_false(knows(l, 2));
	assert_int_equal(size_of(FILE_NAME), 2 * DEAD_RECORD_SIZE);
	append(l, 3, 1);
	assert_true(knows(l, 3));
	dead_log_free(l);
}

static void test_what_is_taken_back_is_gone(void **state)
{
	struct dead_log *l = dead_log_new(".", "t", false);
	append(l, 0, 5);
	assert_int_equal(dead_log_take_back(l, 2, &(struct err){0}), 0);
	assert_true(knows(l, 2));
	assert_false(knows(l, 3));
	assert_int_equal(size_of(FILE_NAME), 3 * DEAD_RECORD_SIZE);
	assert_int_equal(
		dead_log_take_back(l, 4, &(struct err){0}), 0); /* more than there are: nothing */
	assert_true(knows(l, 0));
	dead_log_free(l);
}

static void test_a_full_file_becomes_the_old_one(void **state)
{
	struct dead_log *l = dead_log_new(".", "t", false);
	const unsigned n = DEAD_LOG_RECORDS / 4;
	for (unsigned i = 0; i < 4; i++)
		append(l, i * n, n);
	assert_int_equal(size_of(OLD_NAME), -1);
	append(l, 4 * n, 1);
	assert_int_equal(size_of(OLD_NAME), (int64_t)DEAD_LOG_RECORDS * DEAD_RECORD_SIZE);
	assert_int_equal(size_of(FILE_NAME), DEAD_RECORD_SIZE);
	assert_true(knows(l, 0) && knows(l, 4 * n));
	assert_int_equal(dead_log_remove(l, &(struct err){0}), 0);
	assert_int_equal(size_of(OLD_NAME), -1);
	dead_log_free(l);
}

static void test_in_memory_there_is_no_file(void **state)
{
	struct dead_log *l = dead_log_new(".", "t", true);
	for (unsigned i = 0; i < 2 * DEAD_LOG_MEMORY_RECORDS + 1; i += 256)
		append(l, i, 256);
	assert_false(knows(l, 0)); /* older than the old one */
	assert_true(knows(l, 2 * DEAD_LOG_MEMORY_RECORDS));
	assert_true(knows(l, DEAD_LOG_MEMORY_RECORDS));
	assert_int_equal(count_files("", ".dat"), 0);
	dead_log_free(l);
}

/* Those who read have what there was, whatever becomes of the files. */
static void test_a_snapshot_outlives_its_files(void **state)
{
	struct err err;
	bool found[2];
	struct dead_entry e[2] = {{.id = entry(0).id}, {.id = entry(256).id}};
	struct dead_log_files files;
	for (int in_memory = 0; in_memory <= 1; in_memory++) {
		struct dead_log *l = dead_log_new(".", "t", in_memory);
		append(l, 0, 256);
		assert_int_equal(dead_log_snapshot(l, &files, &err), 0);
		append(l, 256, 256);
		assert_int_equal(dead_log_take_back(l, 256, &(struct err){0}), 0);
		for (unsigned i = 0; i < 2 * DEAD_LOG_MEMORY_RECORDS + 256; i += 256)
			append(l, 512 + i, 256);
		assert_int_equal(dead_log_remove(l, &(struct err){0}), 0);
		assert_int_equal(dead_log_find(&files, e, found, 2, &err), 0);
		assert_true(found[0] && !found[1]);
		dead_log_close(&files);
		dead_log_free(l);
	}
}

static void test_what_cannot_be_opened_is_an_error(void **state)
{
	struct err err;
	struct dead_entry e = entry(0);
	bool found;
	struct dead_log *l = dead_log_new(".", "t", false);
	assert_int_equal(mkdir(FILE_NAME, 0700), 0);
	assert_int_equal(dead_log_append(l, &e, 1, false, &err), -1);
	assert_int_equal(find(l, &e, &found, 1, &err), -1);
	assert_false(found);
	assert_int_equal(rmdir(FILE_NAME), 0);
	assert_int_equal(symlink("elsewhere", FILE_NAME), 0);
	assert_int_equal(dead_log_append(l, &e, 1, false, &err), -1);
	assert_int_equal(size_of("elsewhere"), -1);
	unlink(FILE_NAME);
	append(l, 0, 1);
	dead_log_free(l);
}

static void test_whose_file_it_is(void **state)
{
	assert_int_equal(dead_log_topic("t.dead-letters.dat"), 1);
	assert_int_equal(dead_log_topic("a.b.dead-letters.old.dat"), 3);
	assert_int_equal(dead_log_topic(".dead-letters.dat"), 0);
	assert_int_equal(dead_log_topic("t.diskqueue.meta.dat"), 0);
	assert_int_equal(dead_log_topic("t.dead-letters.dat.tmp"), 0);
	assert_int_equal(dead_log_topic("a b.dead-letters.dat"), 0);
}

int main(void)
{
#define IN_DIR(fn) cmocka_unit_test_setup_teardown(fn, enter_test_dir, leave_test_dir)
	const struct CMUnitTest tests[] = {
		IN_DIR(test_what_was_appended_is_found),
		IN_DIR(test_the_bytes_are_those_of_the_documentation),
		IN_DIR(test_what_is_torn_is_cut_and_what_is_damaged_skipped),
		IN_DIR(test_what_is_taken_back_is_gone),
		IN_DIR(test_a_full_file_becomes_the_old_one),
		IN_DIR(test_in_memory_there_is_no_file),
		IN_DIR(test_a_snapshot_outlives_its_files),
		IN_DIR(test_what_cannot_be_opened_is_an_error),
		cmocka_unit_test(test_whose_file_it_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
