/* SPDX-License-Identifier: MIT */
/*
 * --inspect-data. Stock has no such thing. Runs in the thread "main" of a process that is no
 * daemon.
 *
 * First come the topics and channels of nsqd.dat, then the queues that have files but are not in it.
 * Then come the logs (inspect_log.c), and the files that belong to no queue. Text and JSON show the
 * same: for each kind of line there are two functions.
 */
#include "nsqd/offline/inspect_data.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "common/dirlock.h"
#include "common/strbuf.h"
#include "common/xalloc.h"
#include "nsqd/disk/backend.h"
#include "nsqd/disk/diskqueue_dir.h"
#include "nsqd/disk/diskqueue_inspect.h"
#include "nsqd/disk/dqname.h"
#include "nsqd/core/data_file.h"
#include "nsqd/log/log_view.h"
#include "nsqd/offline/inspect_log.h"
#include "nsqd/core/settings_store.h"
#include "nsqd/queue/dead_log.h"
#include "nsqd/queue/metadata_file.h"
#include "protocol/names.h"

/*
 * So many queues that nsqd.dat does not know are looked at: each may cost a reading of the
 * directory. And so many strange files are named.
 */
#define STRAY_QUEUES_MAX 1000
#define FILES_MAX 1000
/* Output is written in pieces of about this size. */
#define FLUSH_SIZE (64 * 1024)

/* A queue that was looked at, or is to be. */
struct queue {
	char name[BACKEND_NAME_SIZE];
	bool loaded;
	int64_t read_file, write_file; /* where loaded */
	UT_hash_handle hh;
};

struct totals {
	int64_t topics, channels, stray_queues;
	int64_t depth, bytes, damaged_places, damaged_bytes, unreadable_files, unloaded;
	int64_t bad_files, strange_files, strange_bytes;
	int64_t logs, log_messages, log_bytes, log_damaged_places, log_lost, unreadable_logs;
	int64_t refused_logs; /* of which a start would be refused */
};

struct inspector {
	const struct options *o;
	const char *path;
	int out_fd, err_fd;
	bool json;
	bool write_failed;
	struct strbuf out;
	struct queue *queues;           /* of nsqd.dat, by name; owned */
	struct queue *strays;           /* the others, by name; owned */
	bool more_strays;               /* than STRAY_QUEUES_MAX */
	int dir_fd;                     /* of the path, while logs are shown */
	struct settings_store settings; /* what a start would load; path NULL: it cannot, */
	struct err settings_err;        /* for this reason */
	int64_t shown;                  /* elements of the JSON array that is being written */
	struct totals totals;
};

/* --- output ----------------------------------------------------------------------------------- */

static void flush(struct inspector *in)
{
	for (size_t done = 0; done < in->out.len && !in->write_failed;) {
		ssize_t n = write(in->out_fd, in->out.data + done, in->out.len - done);
		if (n < 0 && errno == EINTR)
			continue;
		in->write_failed = n <= 0;
		done += n > 0 ? (size_t)n : 0;
	}
	strbuf_reset(&in->out);
}

static void flush_if_much(struct inspector *in)
{
	if (in->out.len >= FLUSH_SIZE)
		flush(in);
}

static void add_json(struct inspector *in, const char *key, const char *value)
{
	strbuf_addf(&in->out, "\"%s\":", key);
	strbuf_add_json(&in->out, value, strlen(value));
}

/* The comma between two elements. */
static void begin_element(struct inspector *in)
{
	if (in->shown++ > 0)
		strbuf_addc(&in->out, ',');
}

static void warn(struct inspector *in, const char *what, const struct err *err)
{
	dprintf(in->err_fd, "nsqd: %s%s\n", what, err->msg);
}

/* --- a queue ---------------------------------------------------------------------------------- */

/* What stands in front of a queue's numbers. */
struct subject {
	const char *kind;    /* "topic", "channel", "stray queue" */
	const char *topic;   /* NULL: a stray queue, which has its name in queue */
	const char *channel; /* NULL: a topic */
	const char *queue;
	bool paused;
};

/* fn is called with each line of the notes. */
static void each_note(struct inspector *in, const char *notes,
	void (*fn)(struct inspector *in, const char *line, size_t len))
{
	for (const char *end; (end = strchr(notes, '\n')) != NULL; notes = end + 1)
		fn(in, notes, (size_t)(end - notes));
}

static void note_text(struct inspector *in, const char *line, size_t len)
{
	strbuf_adds(&in->out, "    ");
	strbuf_add(&in->out, line, len);
	strbuf_addc(&in->out, '\n');
}

static void note_json(struct inspector *in, const char *line, size_t len)
{
	begin_element(in);
	strbuf_add_json(&in->out, line, len);
}

static void queue_text(
	struct inspector *in, const struct subject *s, const struct diskqueue_report *r)
{
	struct strbuf *out = &in->out;
	strbuf_addf(out, "%s%s %s%s", s->channel ? "  " : "", s->kind, s->queue,
		s->paused ? " (paused)" : "");
	if (r->loaded) {
		strbuf_addf(out, ": depth %lld, %lld messages in %lld bytes of %lld files",
			(long long)r->depth, (long long)r->records, (long long)r->bytes,
			(long long)r->files);
		if (r->damaged_places > 0)
			strbuf_addf(out, ", damaged: %lld places, %lld bytes",
				(long long)r->damaged_places, (long long)r->damaged_bytes);
		if (r->unreadable_files > 0)
			strbuf_addf(
				out, ", unreadable: %lld files", (long long)r->unreadable_files);
	} else {
		strbuf_addf(out, ": cannot be read, and would be tried again: %s", r->why.msg);
	}
	strbuf_addc(out, '\n');
	each_note(in, r->notes, note_text);
}

static void add_numbers(struct inspector *in, const struct diskqueue_report *r)
{
	strbuf_addf(&in->out,
		",\"depth\":%lld,\"messages\":%lld,\"bytes\":%lld,\"files\":%lld,"
		"\"read_file\":%lld,\"write_file\":%lld,\"damaged_places\":%lld,"
		"\"damaged_bytes\":%lld,\"unreadable_files\":%lld",
		(long long)r->depth, (long long)r->records, (long long)r->bytes,
		(long long)r->files, (long long)r->read_file, (long long)r->write_file,
		(long long)r->damaged_places, (long long)r->damaged_bytes,
		(long long)r->unreadable_files);
}

static void queue_json(
	struct inspector *in, const struct subject *s, const struct diskqueue_report *r)
{
	begin_element(in);
	strbuf_addc(&in->out, '{');
	add_json(in, "queue", s->queue);
	if (s->topic) {
		strbuf_addc(&in->out, ',');
		add_json(in, "topic_name", s->topic);
	}
	if (s->channel) {
		strbuf_addc(&in->out, ',');
		add_json(in, "channel_name", s->channel);
	}
	if (s->topic)
		strbuf_addf(&in->out, ",\"paused\":%s", s->paused ? "true" : "false");
	if (r->loaded) {
		add_numbers(in, r);
	} else {
		strbuf_addc(&in->out, ',');
		add_json(in, "error", r->why.msg);
	}
	strbuf_adds(&in->out, ",\"notes\":[");
	int64_t shown = in->shown;
	in->shown = 0;
	each_note(in, r->notes, note_json);
	in->shown = shown;
	strbuf_adds(&in->out, "]}");
}

static void add_up(struct totals *t, const struct diskqueue_report *r)
{
	t->unloaded += !r->loaded;
	t->depth += r->depth;
	t->bytes += r->bytes;
	t->damaged_places += r->damaged_places;
	t->damaged_bytes += r->damaged_bytes;
	t->unreadable_files += r->unreadable_files;
}

/* Looks at a queue, and shows it. q may be NULL. Ephemeral ones have no files that count. */
static void show_queue(struct inspector *in, const struct subject *s, struct queue *q)
{
	struct diskqueue_opts opts = backend_diskqueue_opts(in->o, s->queue);
	struct diskqueue_report r = {.loaded = true};
	struct err err;
	if (is_ephemeral_name(s->queue)) {
		r.notes = xstrdup("");
	} else if (diskqueue_inspect(&opts, &r, &err) != 0) {
		r = (struct diskqueue_report){.why = err, .notes = xstrdup("")};
	}
	if (q) {
		q->loaded = r.loaded;
		q->read_file = r.read_file;
		q->write_file = r.write_file;
	}
	add_up(&in->totals, &r);
	(in->json ? queue_json : queue_text)(in, s, &r);
	diskqueue_report_free(&r);
	flush_if_much(in);
}

/* --- nsqd.dat --------------------------------------------------------------------------------- */

/* Adds name to set. NULL: it is there already. */
static struct queue *add_queue(struct queue **set, const char *name)
{
	struct queue *q;
	HASH_FIND_STR(*set, name, q);
	if (q)
		return NULL;
	q = xcalloc(1, sizeof(*q));
	snprintf(q->name, sizeof(q->name), "%s", name);
	HASH_ADD_STR(*set, name, q);
	return q;
}

static void free_queues(struct queue **set)
{
	struct queue *q, *next;
	HASH_ITER (hh, *set, q, next) {
		HASH_DEL(*set, q);
		free(q);
	}
}

static void show_invalid(struct inspector *in, const char *kind, const char *name)
{
	struct strbuf quoted = STRBUF_INIT;
	strbuf_addq(&quoted, name, strlen(name));
	dprintf(in->err_fd,
		"nsqd: nsqd.dat names %s %s, which is no valid name: a start skips it\n", kind,
		quoted.data);
	strbuf_free(&quoted);
}

static void show_channels(struct inspector *in, const char *topic, const cJSON *channels)
{
	char buf[BACKEND_NAME_SIZE];
	const cJSON *e;
	cJSON_ArrayForEach(e, channels)
	{
		const char *name = metadata_name(e);
		if (!is_valid_channel_name(name, strlen(name))) {
			show_invalid(in, "a channel", name);
			continue;
		}
		struct subject s = {.kind = "channel",
			.topic = topic,
			.channel = name,
			.queue = get_backend_name(topic, name, buf, sizeof(buf)),
			.paused = metadata_paused(e)};
		struct queue *q = add_queue(&in->queues, s.queue);
		if (!q)
			continue;
		in->totals.channels++;
		show_queue(in, &s, q);
	}
}

static void show_topics(struct inspector *in, const cJSON *topics)
{
	const cJSON *e;
	cJSON_ArrayForEach(e, topics)
	{
		const char *name = metadata_name(e);
		if (!is_valid_topic_name(name, strlen(name))) {
			show_invalid(in, "a topic", name);
			continue;
		}
		struct subject s = {.kind = "topic",
			.topic = name,
			.queue = name,
			.paused = metadata_paused(e)};
		struct queue *q = add_queue(&in->queues, name);
		if (q) {
			in->totals.topics++;
			show_queue(in, &s, q);
		}
		show_channels(in, name, cJSON_GetObjectItem(e, "channels"));
	}
}

/* --- the directory ---------------------------------------------------------------------------- */

static bool is_valid_queue_name(const char *name, size_t len)
{
	const char *colon = memchr(name, ':', len);
	size_t topic = colon ? (size_t)(colon - name) : len;
	return is_valid_topic_name(name, topic) &&
	       (!colon || is_valid_channel_name(colon + 1, len - topic - 1));
}

/* The queue of this file, if it can be one's. kind is DQ_FILE_OTHER if not. */
static enum dq_file_kind queue_of(const char *entry, char name[BACKEND_NAME_SIZE])
{
	size_t len;
	enum dq_file_kind kind = diskqueue_file_kind(entry, &len);
	name[0] = '\0';
	if (kind == DQ_FILE_OTHER || len >= BACKEND_NAME_SIZE || !is_valid_queue_name(entry, len))
		return DQ_FILE_OTHER;
	memcpy(name, entry, len);
	name[len] = '\0';
	return kind;
}

/* A log that was put aside, or is being deleted: T.log:exported and its like. */
static bool is_log_aside(const char *entry)
{
	const char *end = strstr(entry, ".log:");
	return end && is_valid_topic_name(entry, (size_t)(end - entry));
}

/* The log of a topic; or what may be one: inspect_log says why that cannot be told. */
static bool is_log(const char *entry, int dir_fd)
{
	char topic[NAME_SIZE];
	size_t n = strlen(entry), k = strlen(".log");
	struct err err;
	bool has;
	if (n <= k || strcmp(entry + n - k, ".log") != 0 || !is_valid_topic_name(entry, n - k))
		return false;
	snprintf(topic, sizeof(topic), "%.*s", (int)(n - k), entry);
	return log_view_find(dir_fd, topic, NULL, &has, &err) != 0 || has;
}

/* What this file is, if a start would not use it; else NULL. */
static const char *strange(struct inspector *in, const char *entry, int dir_fd)
{
	char name[BACKEND_NAME_SIZE];
	struct queue *q;
	enum dq_file_kind kind = queue_of(entry, name);
	if (strcmp(entry, METADATA_FILE) == 0 || strcmp(entry, SETTINGS_FILE) == 0)
		return NULL;
	if (dead_log_topic(entry) > 0 || is_log(entry, dir_fd))
		return NULL;
	if (is_log_aside(entry))
		return "aside";
	if (strcmp(entry, EXPORT_DIR) == 0)
		return "temporary";
	if (kind == DQ_FILE_TEMPORARY || data_file_is_temporary(entry, METADATA_FILE) ||
		data_file_is_temporary(entry, SETTINGS_FILE))
		return "temporary";
	if (kind == DQ_FILE_BAD)
		return "bad";
	if (kind == DQ_FILE_OTHER)
		return "other";
	HASH_FIND_STR(in->queues, name, q);
	if (!q)
		HASH_FIND_STR(in->strays, name, q);
	if (!q)
		return "stray";
	if (kind == DQ_FILE_META || !q->loaded)
		return NULL;
	int64_t file = dq_file_number(name, entry);
	return file >= q->read_file && file <= q->write_file ? NULL : "stray";
}

static void find_stray(struct inspector *in, const char *entry, int dir_fd)
{
	char name[BACKEND_NAME_SIZE];
	struct queue *q;
	enum dq_file_kind kind = queue_of(entry, name);
	(void)dir_fd;
	if (kind != DQ_FILE_DATA && kind != DQ_FILE_META)
		return;
	HASH_FIND_STR(in->queues, name, q);
	if (q)
		return;
	if (HASH_COUNT(in->strays) < STRAY_QUEUES_MAX)
		add_queue(&in->strays, name);
	else
		in->more_strays = true;
}

static void show_file(struct inspector *in, const char *entry, int dir_fd)
{
	const char *kind = strange(in, entry, dir_fd);
	struct stat st;
	if (!kind || fstatat(dir_fd, entry, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	long long size = S_ISREG(st.st_mode) ? (long long)st.st_size : 0;
	in->totals.bad_files += strcmp(kind, "bad") == 0;
	in->totals.strange_bytes += size;
	if (++in->totals.strange_files > FILES_MAX)
		return;
	if (in->json) {
		begin_element(in);
		strbuf_addc(&in->out, '{');
		add_json(in, "name", entry);
		strbuf_addf(&in->out, ",\"kind\":\"%s\",\"regular\":%s,\"bytes\":%lld}", kind,
			S_ISREG(st.st_mode) ? "true" : "false", size);
	} else {
		strbuf_addf(&in->out, "%s file ", kind);
		strbuf_addq(&in->out, entry, strlen(entry));
		if (S_ISREG(st.st_mode))
			strbuf_addf(&in->out, ": %lld bytes\n", size);
		else
			strbuf_adds(&in->out, ": not a regular file\n");
	}
	flush_if_much(in);
}

/* Calls fn with each entry. -1 with err set. */
static int each_entry(struct inspector *in,
	void (*fn)(struct inspector *in, const char *entry, int dir_fd), struct err *err)
{
	struct dirent *e;
	DIR *dir = opendir(in->path);
	if (!dir)
		return err_errno(err, errno, "open %s", in->path);
	for (errno = 0; (e = readdir(dir)) != NULL; errno = 0) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			fn(in, e->d_name, dirfd(dir));
	}
	int code = errno;
	closedir(dir);
	return code == 0 ? 0 : err_errno(err, code, "read %s", in->path);
}

/* Topic by topic: a channel behind its topic. */
static int by_name(const struct queue *a, const struct queue *b)
{
	return strcmp(a->name, b->name);
}

static void show_strays(struct inspector *in)
{
	struct queue *q, *next;
	HASH_SORT(in->strays, by_name);
	HASH_ITER (hh, in->strays, q, next) {
		struct subject s = {.kind = "stray queue", .queue = q->name};
		in->totals.stray_queues++;
		show_queue(in, &s, q);
	}
}

/* --- logs ------------------------------------------------------------------------------------- */

static void add_up_log(struct inspector *in, const char *topic, const struct log_report *r)
{
	struct totals *t = &in->totals;
	t->logs++;
	t->unreadable_logs += !r->opened || r->read_failed;
	t->log_messages += (int64_t)log_report_messages(r);
	t->log_bytes += r->bytes;
	t->log_damaged_places += (int64_t)r->damaged;
	t->log_lost += (int64_t)r->lost;
	bool none = settings_store_durability(&in->settings, topic) == DURABILITY_NONE;
	t->refused_logs += in->settings.path && none && log_report_messages(r) > 0;
}

static int show_log(void *arg, const char *topic, struct err *err)
{
	struct inspector *in = arg;
	struct log_report r;
	(void)err;
	inspect_log(in->dir_fd, topic, &r);
	add_up_log(in, topic, &r);
	if (in->json)
		begin_element(in);
	(in->json ? log_report_json : log_report_text)(&r, topic, &in->out);
	log_report_free(&r);
	flush_if_much(in);
	return 0;
}

static int show_logs(struct inspector *in, struct err *err)
{
	in->dir_fd = open(in->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (in->dir_fd < 0)
		return err_errno(err, errno, "open %s", in->path);
	int rc = log_view_each_topic(in->dir_fd, NULL, show_log, in, err);
	close(in->dir_fd);
	return rc;
}

/* --- all of it -------------------------------------------------------------------------------- */

static void begin_section(struct inspector *in, const char *name)
{
	in->shown = 0;
	if (in->json)
		strbuf_addf(&in->out, ",\"%s\":[", name);
}

static void end_section(struct inspector *in)
{
	if (in->json)
		strbuf_addc(&in->out, ']');
}

static void show_head(struct inspector *in, bool held)
{
	if (in->json) {
		strbuf_addc(&in->out, '{');
		add_json(in, "data_path", in->path);
		strbuf_addf(&in->out, ",\"in_use\":%s", held ? "true" : "false");
	} else {
		strbuf_addf(&in->out, "data path %s%s\n", in->path,
			held ? ": a daemon holds it. What it has in memory is not shown, and "
			       "numbers may be of different moments"
			     : "");
	}
}

static void show_metadata_state(struct inspector *in, int state, const struct err *why)
{
	static const char *const states[] = {"unusable", "missing", "ok"};
	const char *text = states[state + 1];
	if (in->json) {
		strbuf_addc(&in->out, ',');
		add_json(in, "nsqd_dat", text);
		if (state < 0) {
			strbuf_addc(&in->out, ',');
			add_json(in, "error", why->msg);
		}
	} else if (state < 0) {
		strbuf_addf(&in->out, "nsqd.dat: a start would fail: %s\n", why->msg);
	} else if (state == 0) {
		strbuf_adds(&in->out, "nsqd.dat: missing: a start would know no topics\n");
	}
}

static void show_log_totals(struct inspector *in)
{
	const struct totals *t = &in->totals;
	if (!in->json && t->logs == 0)
		return;
	strbuf_addf(&in->out,
		in->json ? ",\"logs\":%lld,\"log_messages\":%lld,\"log_bytes\":%lld,"
			   "\"log_damaged_places\":%lld,\"log_lost\":%lld,"
			   "\"unreadable_logs\":%lld}}\n"
			 : "in logs: %lld logs, %lld messages, %lld bytes, damaged: %lld places, "
			   "%lld records, unreadable: %lld logs\n",
		(long long)t->logs, (long long)t->log_messages, (long long)t->log_bytes,
		(long long)t->log_damaged_places, (long long)t->log_lost,
		(long long)t->unreadable_logs);
}

static void show_totals(struct inspector *in)
{
	const struct totals *t = &in->totals;
	strbuf_addf(&in->out,
		in->json
			? ",\"totals\":{\"topics\":%lld,\"channels\":%lld,\"stray_queues\":%lld,"
			  "\"depth\":%lld,\"bytes\":%lld,\"damaged_places\":%lld,"
			  "\"damaged_bytes\":%lld,\"unreadable_files\":%lld,\"unreadable_queues\":%"
			  "lld,"
			  "\"bad_files\":%lld,\"strange_files\":%lld,\"strange_bytes\":%lld"
			: "in all: %lld topics, %lld channels, %lld stray queues, depth %lld, %lld "
			  "bytes, damaged: %lld places, %lld bytes, unreadable: %lld files, %lld "
			  "queues, bad: %lld files; files that a start does not use: %lld, %lld "
			  "bytes\n",
		(long long)t->topics, (long long)t->channels, (long long)t->stray_queues,
		(long long)t->depth, (long long)t->bytes, (long long)t->damaged_places,
		(long long)t->damaged_bytes, (long long)t->unreadable_files, (long long)t->unloaded,
		(long long)t->bad_files, (long long)t->strange_files, (long long)t->strange_bytes);
	show_log_totals(in);
}

/* What the lists leave out. */
static void show_left_out(struct inspector *in)
{
	if (in->more_strays)
		dprintf(in->err_fd,
			"nsqd: more than %d stray queues: the files of the others are shown "
			"as stray\n",
			STRAY_QUEUES_MAX);
	if (in->totals.strange_files > FILES_MAX)
		dprintf(in->err_fd, "nsqd: more than %d such files: the others are only counted\n",
			FILES_MAX);
}

/* False: a start would be refused, or not all could be read. */
static bool warn_of_logs(struct inspector *in)
{
	struct err err;
	const struct totals *t = &in->totals;
	bool complete = export_is_complete(in->path, &err) == 0;
	if (!complete)
		warn(in, "a start would fail: ", &err);
	if (!in->settings.path) {
		warn(in, "a start would fail: failed to load settings - ", &in->settings_err);
		complete = false;
	}
	if (t->unreadable_logs > 0)
		dprintf(in->err_fd, "nsqd: logs that cannot be read: %lld\n",
			(long long)t->unreadable_logs);
	if (t->refused_logs > 0)
		dprintf(in->err_fd,
			"nsqd: a start would fail: durability is none where there are logs with "
			"unfinished messages: %lld\n",
			(long long)t->refused_logs);
	return complete && t->unreadable_logs + t->refused_logs == 0;
}

/* 1: all is shown, but not all could be read. */
static int show_all(struct inspector *in, struct err *err)
{
	struct err why = {0};
	cJSON *root;
	int state = metadata_file_read(in->path, &root, &why);
	show_metadata_state(in, state, &why);
	begin_section(in, "queues");
	show_topics(in, cJSON_GetObjectItem(root, "topics"));
	end_section(in);
	cJSON_Delete(root);
	int rc = each_entry(in, find_stray, err);
	begin_section(in, "stray_queues");
	show_strays(in);
	end_section(in);
	begin_section(in, "logs");
	if (rc == 0)
		rc = show_logs(in, err);
	end_section(in);
	begin_section(in, "strange_files");
	if (rc == 0)
		rc = each_entry(in, show_file, err);
	end_section(in);
	show_totals(in);
	show_left_out(in);
	if (state < 0)
		warn(in, "a start would fail: ", &why);
	if (in->totals.unloaded > 0)
		dprintf(in->err_fd, "nsqd: queues that cannot be read: %lld\n",
			(long long)in->totals.unloaded);
	if (in->totals.unreadable_files > 0)
		dprintf(in->err_fd, "nsqd: data files that cannot be read: %lld\n",
			(long long)in->totals.unreadable_files);
	bool all = state >= 0 && in->totals.unloaded + in->totals.unreadable_files == 0;
	all &= warn_of_logs(in);
	return rc == 0 && !all ? 1 : rc;
}

int inspect_data(struct options *o, int out_fd, int err_fd)
{
	struct inspector in = {.o = o,
		.path = options_data_path(o),
		.out_fd = out_fd,
		.err_fd = err_fd,
		.json = o->json_format};
	struct err err;
	int rc = -1, held = -1;
	settings_store_init(&in.settings, o);
	if (options_check(o, &err) == 0)
		held = dirlock_is_held(in.path, &err);
	if (held >= 0) {
		show_head(&in, held > 0);
		(void)settings_store_load(&in.settings, in.path, -1, &in.settings_err);
		rc = show_all(&in, &err);
	}
	if (rc < 0)
		warn(&in, "cannot inspect the data path: ", &err);
	flush(&in);
	if (in.write_failed)
		dprintf(err_fd, "nsqd: cannot write the answer\n");
	settings_store_destroy(&in.settings);
	free_queues(&in.queues);
	free_queues(&in.strays);
	strbuf_free(&in.out);
	return rc == 0 && !in.write_failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
