/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a topic's log and its cursors, looked at without --durability, by --inspect-data and by
 * --export-stock. Whatever the files hold, the view opens, or says why not. It gives what a plain
 * reading of log and cursors says, a second time as well, and changes no file. Then the log is put
 * aside.
 *
 * Flags:
 *    1  the topic is "orders"; else "t"
 *    2  the view goes through the channels before the topic
 *   12  the log is: a directory (0), a file (4), a link to itself (8), not there (12)
 *   16  another log was put aside before
 *   32  the disk cannot read a place of each segment; the next byte says where
 *
 * Then parts, with 0xff 0xfe between them: what it is, a name, a line feed, the rest.
 *    r  segments of records (log_files_build); without a name
 *    c  the cursor of the channel of that name, ":topic" is the topic's: frames (cursor_file_build)
 *    f  a file of that name: its bytes
 *    d  a directory of that name
 *    x  the file of that name goes again
 *    T  another log, of the topic of that name: with a segment, if there is a rest
 */
#include "test/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/xalloc.h"
#include "nsqd/log/cursor_file.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_names.h"
#include "nsqd/log/log_read.h"
#include "nsqd/log/log_remove.h"
#include "nsqd/log/log_view.h"
#include "protocol/names.h"
#include "test/fuzz/log_files.h"

#define ORDERS 1
#define CHANNELS_FIRST 2
#define LOG_IS 12
#define LOG_DIR 0
#define LOG_FILE 4
#define LOG_LINK 8
#define AGAIN 16
#define BAD 32

/* Names are cut to that. */
#define PART_NAME 200
/* Bytes that cannot be read. */
#define BAD_BYTES 300
/* With more lost numbers than that it takes too long to count them one by one. */
#define COUNTED_MAX 10000

static const char *topic;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	return 0;
}

/* --- files ---------------------------------------------------------------------------------------- */

/* The path of a name in the log's directory. */
static const char *in_log(const char *name)
{
	char path[PART_NAME + 50];
	snprintf(path, sizeof(path), "%s" LOG_SUFFIX "/%s", topic, name);
	return fuzz_path(path);
}

static void write_cursor(const char *name, struct input in)
{
	char channel[CURSOR_NAME_MAX + 1], file[PART_NAME + sizeof(CURSOR_TMP_SUFFIX)];
	int dir = open(in_log(""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0);
	snprintf(file, sizeof(file), "%s" CURSOR_TMP_SUFFIX, name);
	(void)rmdir(in_log(file));
	file[strlen(file) - strlen(".tmp")] = '\0';
	(void)rmdir(in_log(file));
	/* A longer name stands in no head. */
	snprintf(channel, sizeof(channel), "%s", strcmp(file, TOPIC_CURSOR) == 0 ? "" : name);
	cursor_file_build(dir, file, topic, channel, in, NULL);
	close(dir);
}

static void write_other(const char *name, struct input in)
{
	char path[PART_NAME + 50];
	if (strcmp(name, topic) == 0)
		return;
	snprintf(path, sizeof(path), "%s" LOG_SUFFIX, name);
	(void)mkdir(fuzz_path(path), 0700);
	if (in.n > 0)
		fuzz_write_file(log_files_segment(name, 1), in.p, in.n);
}

static void write_part(uint8_t what, const char *name, struct input in)
{
	bool is_name = *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
	switch (what) {
	case 'r':
		(void)log_files_build(topic, in);
		break;
	case 'c':
		write_cursor(name, in);
		break;
	case 'f':
		if (is_name)
			fuzz_write_file(in_log(name), in.p, in.n);
		break;
	case 'd':
		if (is_name)
			(void)mkdir(in_log(name), 0700);
		break;
	case 'x':
		(void)unlink(in_log(name));
		break;
	case 'T':
		if (strlen(name) <= NAME_MAX_LENGTH)
			write_other(name, in);
		break;
	}
}

static void write_parts(struct input in)
{
	static const char mark[] = "\xff\xfe";
	while (in.n > 0) {
		const uint8_t *end = memmem(in.p, in.n, mark, 2);
		struct input part = input_take(&in, end ? (size_t)(end - in.p) : in.n);
		(void)input_take(&in, 2);
		uint8_t what = input_byte(&part);
		struct input name = input_until(&part, '\n');
		char *text = input_string(input_take(&name, PART_NAME));
		for (char *p = text; *p; p++)
			*p = *p == '/' ? '_' : *p;
		write_part(what, text, part);
		free(text);
	}
}

static void make_log(uint8_t flags, struct input in)
{
	char path[PART_NAME];
	snprintf(path, sizeof(path), "%s" LOG_SUFFIX, topic);
	if ((flags & LOG_IS) == LOG_DIR) {
		CHECK(mkdir(fuzz_path(path), 0700) == 0);
		write_parts(in);
	} else if ((flags & LOG_IS) == LOG_FILE) {
		fuzz_write_file(fuzz_path(path), in.p, in.n);
	} else if ((flags & LOG_IS) == LOG_LINK) {
		CHECK(symlink(path, fuzz_path(path)) == 0);
	}
}

/* --- a bad place of the disk ----------------------------------------------------------------------- */

static int64_t bad_at;
static int bad_fd = -1; /* a segment that is open; only one is at a time */

static int bad_open(const struct log_io *io, int dir, const char *name, enum log_io_mode mode)
{
	uint64_t first;
	int fd = log_io_real.open(io, dir, name, mode);
	if (fd >= 0 && log_segment_number(name, &first))
		bad_fd = fd;
	else if (fd == bad_fd)
		bad_fd = -1;
	return fd;
}

static ssize_t bad_pread(const struct log_io *io, int fd, void *buf, size_t n, int64_t off)
{
	if (fd == bad_fd && off >= bad_at && off < bad_at + BAD_BYTES) {
		errno = EIO;
		return -1;
	}
	if (fd == bad_fd && off < bad_at && off + (int64_t)n > bad_at)
		n = (size_t)(bad_at - off);
	return log_io_real.pread(io, fd, buf, n, off);
}

static const struct log_io *disk_of(uint8_t flags, uint8_t place)
{
	static struct log_io bad;
	if (!(flags & BAD))
		return NULL;
	bad = log_io_real;
	bad.open = bad_open;
	bad.pread = bad_pread;
	bad_at = LOG_HEAD_SIZE + 16 * (int64_t)place;
	return &bad;
}

/* --- what is in the directory --------------------------------------------------------------------- */

/* Of names and contents of the files, in no order; and how many channels and segments there are. */
struct listed {
	uint32_t sum;
	size_t channels, segments;
};

static uint32_t sum_file(int dir, const char *name)
{
	static char buf[LOG_FILE_MAX];
	uint32_t sum = crc32c(0, name, strlen(name));
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	for (ssize_t n; (n = read(fd, buf, sizeof(buf))) > 0;)
		sum = crc32c(sum, buf, (size_t)n);
	close(fd);
	return sum;
}

static struct listed list_files(void)
{
	struct listed out = {0};
	struct dirent *e;
	uint64_t first;
	DIR *d = opendir(in_log(""));
	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name), suffix = strlen(CURSOR_SUFFIX);
		out.sum += sum_file(dirfd(d), e->d_name);
		out.segments += log_segment_number(e->d_name, &first);
		out.channels += len > suffix &&
				strcmp(e->d_name + len - suffix, CURSOR_SUFFIX) == 0 &&
				is_valid_channel_name(e->d_name, len - suffix);
	}
	if (d)
		closedir(d);
	return out;
}

/* --- the plain reading ---------------------------------------------------------------------------- */

/* A record, or numbers that are lost. */
struct item {
	uint64_t seq, n, origin;
	char channel[LOG_NAME_MAX + 1]; /* of a copy */
	bool copy, gap;
};

static struct reading {
	struct log_view *v;
	struct cursor *handed;
	struct cursor **cursors; /* of the channels, opened a second time */
	struct item *items;
	size_t n;
	uint64_t lost;
	bool whole;    /* all could be read */
	uint64_t left; /* what the view has given of all, and said to be lost */
} r;

static struct cursor *open_cursor(const char *channel)
{
	struct cursor_found found;
	struct err err;
	char *file =
		*channel ? xasprintf("%s" CURSOR_SUFFIX, channel) : xasprintf("%s", TOPIC_CURSOR);
	struct cursor_opts o = {.io = &log_io_real,
		.dir = log_dir(r.v->log),
		.file = file,
		.topic = topic,
		.channel = channel,
		.read_only = true};
	struct cursor *c = cursor_open(&o, r.v->stats.first, r.v->stats.next, &found, &err);
	free(file);
	CHECK(c != NULL);
	return c;
}

static void add_item(const struct log_item *item, bool gap)
{
	r.items = xreallocarray(r.items, r.n + 1, sizeof(*r.items));
	struct item *it = &r.items[r.n++];
	*it = (struct item){.seq = item->seq,
		.n = item->n,
		.origin = item->origin,
		.copy = !gap && item->channel,
		.gap = gap};
	if (it->copy)
		snprintf(it->channel, sizeof(it->channel), "%s", item->channel);
	r.lost += gap ? item->n : 0;
}

static void read_log(void)
{
	struct log_item item;
	struct err err;
	enum log_read what;
	struct log_reader *reader = log_reader_open(r.v->log, r.v->stats.first, 0);
	while ((what = log_reader_next(reader, &item, &err)) != LOG_READ_END) {
		if (what == LOG_READ_ERROR && err.code != EIO)
			break;
		if (what == LOG_READ_ERROR) {
			log_reader_skip(reader);
			continue;
		}
		add_item(&item, what == LOG_READ_GAP);
		if (what == LOG_READ_MESSAGE)
			message_unref(item.msg);
	}
	r.whole = what == LOG_READ_END;
	log_reader_close(reader);
}

static void read_all(struct log_view *v)
{
	r = (struct reading){.v = v};
	r.handed = open_cursor("");
	r.cursors = xcalloc(v->n_channels + 1, sizeof(*r.cursors));
	for (size_t i = 0; i < v->n_channels; i++)
		r.cursors[i] = open_cursor(v->channels[i].name);
	read_log();
}

static void forget_all(void)
{
	for (size_t i = 0; i < r.v->n_channels; i++)
		cursor_free(r.cursors[i]);
	cursor_free(r.handed);
	free(r.cursors);
	free(r.items);
}

static bool knows(const struct cursor *c, uint64_t seq)
{
	return cursor_next_seen(c, seq) == seq;
}

/* All messages that a channel knows are dealt out, and no more than the topic or a channel says. */
static void check_dealt(void)
{
	uint64_t dealt = r.v->dealt, floor = cursor_floor(r.handed);
	bool known = dealt == floor;
	CHECK(dealt >= floor && dealt <= r.v->stats.next);
	for (size_t i = 0; i < r.n; i++) {
		const struct item *it = &r.items[i];
		for (size_t k = 0; k < r.v->n_channels && !it->gap && !it->copy; k++) {
			bool knows_it = knows(r.cursors[k], it->seq);
			CHECK(!knows_it || it->seq < dealt);
			known = known || (knows_it && it->seq + 1 == dealt);
		}
	}
	CHECK(known || !r.whole);
}

/* --- what the view gives -------------------------------------------------------------------------- */

struct walk {
	const struct log_view_channel *c; /* NULL: the topic */
	const struct cursor *cursor;
	size_t at;        /* in r.items */
	uint64_t n, stop; /* fails at that one; 0: at none */
};

static bool is_expected(const struct walk *w, const struct item *it)
{
	if (it->gap)
		return false;
	if (!w->c)
		return !it->copy && it->seq >= r.v->dealt;
	if (cursor_is_finished(w->cursor, it->seq))
		return false;
	if (!it->copy)
		return it->seq < r.v->dealt;
	return strcmp(it->channel, w->c->name) == 0 &&
	       (knows(w->cursor, it->seq) || it->origin < r.v->stats.first);
}

static const struct item *next_expected(struct walk *w)
{
	while (w->at < r.n) {
		const struct item *it = &r.items[w->at++];
		if (is_expected(w, it))
			return it;
	}
	return NULL;
}

/* If it waits it goes on waiting, and has had as many attempts. */
static void check_waiting(const struct cursor *c, const struct log_view_message *m)
{
	struct cursor_entry e;
	uint64_t seq = m->msg->seq;
	size_t at = 0;
	if (cursor_list_waiting(c, &at, seq, seq + 1, &e, 1) == 1)
		CHECK(m->due == e.due && m->msg->attempts >= e.attempts);
}

static int see(void *arg, const struct log_view_message *m, struct err *err)
{
	struct walk *w = arg;
	const struct item *it = next_expected(w);
	CHECK((it && it->seq == m->msg->seq) || !r.whole);
	if (w->c)
		check_waiting(w->cursor, m);
	message_unref(m->msg);
	return ++w->n == w->stop ? err_set(err, ECANCELED, "enough") : 0;
}

static uint64_t expected_lost(const struct walk *w)
{
	uint64_t n = 0;
	for (size_t i = 0; i < r.n; i++) {
		const struct item *it = &r.items[i];
		for (uint64_t seq = it->seq; it->gap && seq < it->seq + it->n; seq++)
			n += w->c ? !cursor_is_finished(w->cursor, seq) &&
					     (seq < r.v->dealt || knows(w->cursor, seq))
				  : seq >= r.v->dealt;
	}
	return n;
}

/* c NULL: the topic */
static void walk_queue(const struct log_view_channel *c)
{
	struct walk w = {.c = c, .cursor = c ? r.cursors[c - r.v->channels] : NULL};
	struct err err = {0};
	uint64_t lost;
	if (log_view_each(r.v, c, see, &w, &lost, &err) != 0) {
		CHECK(!r.whole && *err.msg);
		return;
	}
	r.left += w.n + lost;
	CHECK(c || w.n + lost <= r.v->unfinished);
	if (!r.whole)
		return;
	CHECK(next_expected(&w) == NULL);
	CHECK(r.lost > COUNTED_MAX || lost == expected_lost(&w));
	if (w.n == 0)
		return;
	struct walk stopped = {.c = c, .cursor = w.cursor, .stop = w.n};
	CHECK(log_view_each(r.v, c, see, &stopped, &lost, &err) == -1);
	CHECK(err.code == ECANCELED && stopped.n == w.n);
}

static void walk_all(bool channels_first)
{
	r.left = 0;
	if (!channels_first)
		walk_queue(NULL);
	for (size_t i = 0; i < r.v->n_channels; i++) {
		const struct log_view_channel *c = &r.v->channels[i];
		CHECK(is_valid_channel_name(c->name, strlen(c->name)));
		CHECK(i == 0 || strcmp(r.v->channels[i - 1].name, c->name) < 0);
		walk_queue(c);
	}
	if (channels_first)
		walk_queue(NULL);
	CHECK(r.left <= log_view_unfinished(r.v));
}

static void look(int dir, uint8_t flags, const struct log_io *io)
{
	struct log_view *v = NULL;
	struct err err = {0}, left = {0};
	struct listed before = list_files();
	int rc = log_view_open(dir, topic, io, &v, &err);
	CHECK(rc == 0 || *err.msg);
	int left_rc = log_view_check_left(dir, topic, "/data", flags & CHANNELS_FIRST, &left);
	CHECK(left_rc == 0 || *left.msg);
	if (rc != 0) {
		CHECK(io || (left_rc == -1 && strcmp(left.msg, err.msg) == 0));
		return;
	}
	CHECK(io || (left_rc == 0) == (log_view_unfinished(v) == 0));
	CHECK(v->n_channels == before.channels);
	read_all(v);
	check_dealt();
	for (int i = 0; i < 2; i++)
		walk_all(flags & CHANNELS_FIRST);
	forget_all();
	log_view_close(v);
	CHECK(list_files().sum == before.sum);
}

/* --- the data path -------------------------------------------------------------------------------- */

struct topics {
	int dir;
	size_t n;
	bool ours;
	char last[NAME_SIZE];
};

static int see_topic(void *arg, const char *name, struct err *err)
{
	struct topics *t = arg;
	bool has;
	CHECK(is_valid_topic_name(name, strlen(name)) && strcmp(t->last, name) < 0);
	CHECK(log_view_find(t->dir, name, NULL, &has, err) == 0 && has);
	snprintf(t->last, sizeof(t->last), "%s", name);
	t->ours = t->ours || strcmp(name, topic) == 0;
	return ++t->n == 4 ? err_set(err, ECANCELED, "enough") : 0;
}

static void look_at_all(int dir, bool has)
{
	struct topics t = {.dir = dir};
	struct err err = {0};
	int rc = log_view_each_topic(dir, NULL, see_topic, &t, &err);
	CHECK((rc == -1) == (t.n == 4) && (rc == 0 || err.code == ECANCELED));
	CHECK(t.ours == has || rc != 0);
}

static void put_aside(int dir, uint8_t flags)
{
	struct err err = {0};
	bool has;
	char as[PART_NAME];
	snprintf(as, sizeof(as), "%s" LOG_SUFFIX ":finished", topic);
	if (flags & AGAIN) {
		char file[PART_NAME + 10];
		snprintf(file, sizeof(file), "%s/a.cursor", as);
		CHECK(mkdir(fuzz_path(as), 0700) == 0);
		fuzz_write_file(fuzz_path(file), "x", 1);
	}
	bool there = (flags & LOG_IS) != LOG_IS;
	CHECK((log_put_aside(dir, topic, as, &err) == 0) == there);
	CHECK((access(fuzz_path(as), F_OK) == 0) == (there && (flags & LOG_IS) != LOG_LINK));
	CHECK(log_view_find(dir, topic, NULL, &has, &err) == 0 && !has);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct err err = {0};
	uint8_t flags = input_byte(&in);
	const struct log_io *io = disk_of(flags, flags & BAD ? input_byte(&in) : 0);
	bool has;
	topic = flags & ORDERS ? "orders" : "t";
	make_log(flags, in);
	int dir = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir >= 0);
	CHECK(log_view_find(dir, topic, NULL, &has, &err) == 0);
	CHECK(has == (list_files().segments > 0));
	look(dir, flags, io);
	look_at_all(dir, has);
	put_aside(dir, flags);
	close(dir);
	fuzz_empty_dir(fuzz_dir());
	fuzz_check_resources();
	return 0;
}
