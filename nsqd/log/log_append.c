/* SPDX-License-Identifier: MIT */
/*
 * The commit: numbers and places, writing, syncing, and what becomes of a failure. No Go file: stock
 * has no log. Requests are prepared in their publishers' threads; a commit runs in log:TOPIC, with
 * log.lock taken for a moment at its end.
 *
 * After a failure nothing of the commit may be in the log. The file is cut back to its last good
 * end. Where that fails as well, or a sync has failed, the file is left behind for good. After a
 * failed fdatasync nobody knows what is on the disk, and a second one may say that all is well. The
 * next segment begins with the number after the last kept record. So what lies behind that in the
 * old file is no part of the log, whatever it is.
 *
 * Lessons in docs/course/: 23-log.
 */
#include "nsqd/log/log_append.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/compiler.h"
#include "common/crc32c.h"
#include "common/xalloc.h"
#include "nsqd/core/message_count.h"
#include "nsqd/log/log_health.h"
#include "nsqd/log/log_segment.h"

/* A request with more memory is not kept for the next append. */
#define KEPT_BYTES (64 * 1024)
/* log_probe writes no more than this. */
#define PROBE_BYTES_MAX (8 << 20)

/* --- requests ------------------------------------------------------------------------------------ */

struct log_request *log_request_new(void)
{
	struct log_request *r = xcalloc(1, sizeof(*r));
	r->response_chan = chan_new(0, 1);
	return r;
}

void log_request_free(struct log_request *r)
{
	chan_free(r->response_chan);
	free(r->buf);
	free(r->iov);
	free(r);
}

static void reserve(struct log_request *r, size_t bytes, size_t iovs)
{
	if (bytes > r->buf_cap) {
		free(r->buf);
		r->buf = xmalloc(bytes);
		r->buf_cap = bytes;
	}
	if (iovs > r->iov_cap) {
		free(r->iov);
		r->iov = xcalloc(iovs, sizeof(*r->iov));
		r->iov_cap = iovs;
	}
}

bool log_request_is_large(const struct log_request *r)
{
	return r->buf_cap > KEPT_BYTES || r->iov_cap * sizeof(*r->iov) > KEPT_BYTES;
}

struct log_request *log_request_get(struct log *l)
{
	mutex_lock(&l->lock);
	struct log_request *r = l->free_reqs;
	if (r) {
		l->free_reqs = r->next;
		l->n_free_reqs--;
	}
	mutex_unlock(&l->lock);
	return r ? r : log_request_new();
}

void log_request_put(struct log *l, struct log_request *take_r)
{
	mutex_lock(&l->lock);
	if (l->n_free_reqs < LOG_REQS_MAX && !log_request_is_large(take_r)) {
		take_r->next = l->free_reqs;
		l->free_reqs = take_r;
		l->n_free_reqs++;
		take_r = NULL;
	}
	mutex_unlock(&l->lock);
	if (take_r)
		log_request_free(take_r);
}

static int64_t due_of(const struct message *m)
{
	int64_t due;
	if (m->deferred_ns <= 0)
		return 0;
	return __builtin_add_overflow(m->timestamp, m->deferred_ns, &due) ? INT64_MAX : due;
}

/* The head of a message's record, as far as it is known, and the body where it is small. */
static unsigned char *add_record(
	unsigned char *p, const char *channel, const struct message *m, uint8_t flags)
{
	struct log_record rec = {
		.kind = channel ? LOG_KIND_COPY : LOG_KIND_MESSAGE,
		.flags = flags,
		.timestamp = m->timestamp,
		.due = due_of(m),
		.id = m->id,
	};
	size_t body_len = m->body->len, prefix_len = 0;
	unsigned char *body = p + LOG_RECORD_HEAD;
	if (channel) {
		struct log_copy copy = {m->seq, strlen(channel), channel, 0};
		prefix_len = log_copy_encode(&copy, body);
		rec.body_crc = crc32c(0, body, prefix_len);
		rec.attempts = m->attempts;
	}
	rec.size = (uint32_t)(LOG_RECORD_HEAD + prefix_len + body_len);
	rec.body_crc = crc32c(rec.body_crc, m->body->data, body_len);
	log_record_encode(&rec, 0, p);
	body += prefix_len;
	if (body_len > LOG_INLINE_MAX)
		return body;
	memcpy(body, m->body->data, body_len);
	return body + body_len;
}

static size_t prefix_of(const char *channel)
{
	return channel ? LOG_COPY_PREFIX_MAX - LOG_NAME_MAX + strlen(channel) : 0;
}

/* What of a message is in buf. */
static size_t copied(const char *channel, const struct message *m)
{
	return LOG_RECORD_HEAD + prefix_of(channel) +
	       (m->body->len > LOG_INLINE_MAX ? 0 : m->body->len);
}

static int measure(struct log_request *r, const char *channel, struct message *const *msgs,
	size_t n, struct err *err)
{
	size_t bytes = 0, iovs = 1;
	r->bytes = 0;
	if (channel && (!*channel || strlen(channel) > LOG_NAME_MAX))
		return err_set(err, EINVAL, "invalid name of a channel");
	for (size_t i = 0; i < n; i++) {
		bytes += copied(channel, msgs[i]);
		r->bytes += LOG_RECORD_HEAD + prefix_of(channel) + (uint64_t)msgs[i]->body->len;
		iovs += msgs[i]->body->len > LOG_INLINE_MAX ? 2 : 0;
	}
	if (r->bytes > LOG_BYTES_MAX - LOG_HEAD_SIZE - LOG_RECORD_HEAD)
		return err_set(err, EFBIG, "%llu bytes are too many for one append",
			(unsigned long long)r->bytes);
	reserve(r, bytes, iovs);
	return 0;
}

int log_request_prepare(struct log_request *r, const char *channel, struct message *const *msgs,
	size_t n, struct err *err)
{
	CHECK(n > 0);
	if (measure(r, channel, msgs, n, err) != 0)
		return -1;
	unsigned char *p = r->buf, *begin = p;
	r->n = n;
	r->channel = channel;
	r->moved = channel && msgs[0]->seq != 0;
	r->msgs = msgs;
	r->prefix_len = prefix_of(channel);
	r->n_iov = 0;
	for (size_t i = 0; i < n; i++) {
		const struct message_body *body = msgs[i]->body;
		uint8_t flags =
			(uint8_t)((i == 0 ? LOG_FLAG_FIRST : 0) | (i + 1 == n ? LOG_FLAG_LAST : 0));
		p = add_record(p, channel, msgs[i], flags);
		if (body->len <= LOG_INLINE_MAX)
			continue;
		r->iov[r->n_iov++] = (struct iovec){begin, (size_t)(p - begin)};
		r->iov[r->n_iov++] = (struct iovec){(void *)body->data, body->len};
		begin = p;
	}
	if (p > begin)
		r->iov[r->n_iov++] = (struct iovec){begin, (size_t)(p - begin)};
	return 0;
}

/* It is kept: its messages get their numbers and places. */
static void take(const struct log_request *r)
{
	uint64_t offset = r->offset;
	for (size_t i = 0; i < r->n; i++) {
		r->msgs[i]->seq = r->seq + i;
		r->msgs[i]->offset = (uint32_t)offset;
		offset += LOG_RECORD_HEAD + r->prefix_len + (uint64_t)r->msgs[i]->body->len;
	}
}

/* The records of a request get their numbers and places. */
static void stamp(struct log_request *r, uint64_t key, bool commit)
{
	unsigned char *p = r->buf;
	uint64_t offset = r->offset;
	for (size_t i = 0; i < r->n; i++) {
		size_t size = get_be32(p), behind = size - LOG_RECORD_HEAD;
		uint8_t flags = (uint8_t)((i == 0 ? LOG_FLAG_FIRST : 0) |
					  (i + 1 == r->n ? LOG_FLAG_LAST : 0));
		if (commit && i == 0)
			flags |= LOG_FLAG_COMMIT;
		log_record_stamp(p, r->seq + i, flags, log_record_seed(key, (uint32_t)offset));
		if (behind - r->prefix_len > LOG_INLINE_MAX)
			behind = r->prefix_len;
		offset += size;
		p += LOG_RECORD_HEAD + behind;
	}
}

/* --- commits ------------------------------------------------------------------------------------- */

static int cut_tail(struct log *l, uint32_t end, struct err *err)
{
	if (!l->torn)
		return 0;
	if (l->io->truncate(l->io, l->fd, end) != 0)
		return err_errno(err, errno, "truncate");
	l->torn = false;
	return 0;
}

/*
 * With `disk`, before the first commit: the name of the directory and the names in it are on the
 * disk. The process that made them may have died before it saw to that. (Not when the log opens: a
 * new topic is not to wait for the disk, since others wait for it.)
 */
static int sync_names(struct log *l, struct err *err)
{
	if (l->named || !log_syncs(l))
		return 0;
	if (l->io->sync_dir(l->io, l->parent) != 0 || l->io->sync_dir(l->io, l->dir) != 0)
		return err_errno(err, errno, "fsync");
	l->named = true;
	return 0;
}

/* A segment to which so many bytes can be appended is open, and ends where its records do. */
static int make_ready(struct log *l, uint64_t bytes, struct err *err)
{
	if (sync_names(l, err) != 0 || log_segment_reopen(l, err) != 0)
		return -1;
	uint32_t end = l->active.end;
	if (end > LOG_HEAD_SIZE && end + bytes > (uint64_t)l->segment_bytes) {
		log_segment_give_back(l, end);
		return log_segment_begin(l, err);
	}
	if (cut_tail(l, end, err) == 0)
		return 0;
	if (!log_health_is_failing(l))
		log_logf(l, LG_ERROR,
			"LOG(%s): failed to cut off what is torn, going on in a new segment - %s",
			l->topic, err->msg);
	return log_segment_begin(l, err);
}

/* A file system that has its blocks ready needs half of the time for a sync. */
static void ask_for_space(struct log *l, uint64_t bytes)
{
	int64_t end = (int64_t)l->active.end + (int64_t)bytes;
	if (!log_syncs(l) || end <= l->allocated)
		return;
	if (l->allocated < (int64_t)l->active.end)
		l->allocated = l->active.end;
	(void)l->io->allocate(l->io, l->fd, l->allocated, end + LOG_ALLOCATE - l->allocated);
	l->allocated = end + LOG_ALLOCATE;
}

/* All of the requests at the end of the segment. */
static int write_requests(struct log *l, struct log_request *const *reqs, size_t n, struct err *err)
{
	size_t n_iov = 0, at = 0;
	uint32_t end = l->active.end, offset = end;
	uint64_t seq = l->next;
	for (size_t i = 0; i < n; i++)
		n_iov += reqs[i]->n_iov;
	struct iovec *iov = n > 1 ? xcalloc(n_iov, sizeof(*iov)) : reqs[0]->iov;
	for (size_t i = 0; i < n; i++) {
		struct log_request *r = reqs[i];
		r->seq = seq;
		r->offset = offset;
		stamp(r, l->key, i == 0);
		if (n > 1)
			memcpy(iov + at, r->iov, r->n_iov * sizeof(*iov));
		at += r->n_iov;
		seq += r->n;
		offset += (uint32_t)r->bytes;
	}
	int rc = log_io_write_all(l->io, l->fd, iov, (int)n_iov, end, err);
	if (n > 1)
		free(iov);
	return rc;
}

/* The file is not to be written to any more. Its end is that of the last record that is kept. */
static void leave_segment(struct log *l)
{
	struct err err;
	(void)l->io->truncate(l->io, l->fd, l->active.end);
	if (log_segment_begin(l, &err) != 0 && !log_health_is_failing(l))
		log_logf(l, LG_ERROR, "LOG(%s): failed to begin a new segment - %s", l->topic,
			err.msg);
}

/* What was written is synced, with `disk`; where that fails the file is left. */
static int sync_or_leave(struct log *l, struct err *err)
{
	if (!log_syncs(l))
		return 0;
	l->syncs++;
	if (l->io->sync(l->io, l->fd) == 0)
		return 0;
	err_errno(err, errno, "fsync");
	l->failed_syncs++;
	leave_segment(l);
	return -1;
}

/* A write has failed: what it has written goes. */
static void undo_write(struct log *l)
{
	struct err err;
	l->torn = true;
	int rc = cut_tail(l, l->active.end, &err);
	if (rc == 0 && log_syncs(l) && l->io->sync(l->io, l->fd) != 0)
		rc = err_errno(&err, errno, "fsync");
	if (rc == 0)
		return;
	if (!log_health_is_failing(l))
		log_logf(l, LG_ERROR, "LOG(%s): failed to cut off what was not written whole - %s",
			l->topic, err.msg);
	leave_segment(l);
}

static int write_and_sync(
	struct log *l, struct log_request *const *reqs, size_t n, uint64_t bytes, struct err *err)
{
	if (make_ready(l, bytes, err) != 0)
		return -1;
	ask_for_space(l, bytes);
	if (write_requests(l, reqs, n, err) != 0) {
		undo_write(l);
		return -1;
	}
	return sync_or_leave(l, err);
}

/* What was written is known to all from now on. */
static void publish(struct log *l, struct log_request *const *reqs, size_t n, uint64_t bytes)
{
	uint64_t records = 0;
	for (size_t i = 0; i < n; i++)
		records += reqs[i]->n;
	mutex_assert_held(&l->lock);
	log_segment_grow_locked(l, (uint32_t)bytes, records);
	l->stats.batches += n;
	l->stats.records += records;
	l->stats.written_bytes += bytes;
	l->stored += (int64_t)bytes;
	message_count_stored((int64_t)bytes);
	for (struct log_reader *r = l->readers; r; r = r->next) {
		if (r->waits)
			chan_signal(r->more_chan);
		r->waits = false;
	}
}

/* The requests of one write: all are kept, or none. */
static void commit_group(struct log *l, struct log_request *const *reqs, size_t n, uint64_t bytes)
{
	struct err err UNINITIALIZED;
	int64_t start = log_health_begin(l);
	int rc = write_and_sync(l, reqs, n, bytes, &err);
	mutex_lock(&l->lock);
	if (rc == 0)
		publish(l, reqs, n, bytes);
	int news = log_health_note_locked(l, rc, &err, start);
	mutex_unlock(&l->lock);
	if (rc != 0)
		l->failed_bytes = bytes;
	log_health_tell(l, rc, &err, news);
	for (size_t i = 0; i < n; i++) {
		reqs[i]->rc = rc;
		reqs[i]->told = 0;
		if (rc != 0)
			reqs[i]->err = err;
		else
			take(reqs[i]);
		if (rc == 0 && l->kept)
			reqs[i]->told = l->kept(l->kept_arg, reqs[i]->channel, reqs[i]->moved,
				reqs[i]->msgs, reqs[i]->n);
	}
}

void log_commit(struct log *l, struct log_request *const *reqs, size_t n)
{
	for (size_t i = 0; i < n;) {
		uint64_t end = l->closed ? LOG_HEAD_SIZE : l->active.end;
		uint64_t bytes = reqs[i]->bytes;
		size_t k = i + 1;
		/* One that goes into a new segment does so alone with those that fit there, too. */
		if (end > LOG_HEAD_SIZE && end + bytes > (uint64_t)l->segment_bytes)
			end = LOG_HEAD_SIZE;
		/* Copies are told of before anything behind them can be seen. */
		while (k < n && !reqs[i]->channel && !reqs[k]->channel &&
			bytes + reqs[k]->bytes <= LOG_COMMIT_BYTES &&
			end + bytes + reqs[k]->bytes <= (uint64_t)l->segment_bytes)
			bytes += reqs[k++]->bytes;
		commit_group(l, reqs + i, k - i, bytes);
		i = k;
	}
}

/* Zeros behind the end are no records, whatever becomes of them. */
static int write_zeros(struct log *l, uint64_t bytes, struct err *err)
{
	void *zeros = xcalloc(1, bytes);
	struct iovec iov = {zeros, bytes};
	int rc = log_io_write_all(l->io, l->fd, &iov, 1, l->active.end, err);
	free(zeros);
	return rc;
}

/* What write_and_sync does, with nothing to keep. */
static int try_to_write(struct log *l, struct err *err)
{
	uint64_t bytes = l->failed_bytes;
	if (bytes > PROBE_BYTES_MAX)
		bytes = PROBE_BYTES_MAX;
	if (make_ready(l, bytes, err) != 0)
		return -1;
	if (write_zeros(l, bytes, err) != 0) {
		undo_write(l);
		return -1;
	}
	if (sync_or_leave(l, err) != 0)
		return -1;
	undo_write(l);
	return 0;
}

int log_probe(struct log *l)
{
	struct err err UNINITIALIZED;
	int rc = try_to_write(l, &err);
	mutex_lock(&l->lock);
	int news = log_health_note_locked(l, rc, &err, 0);
	mutex_unlock(&l->lock);
	log_health_tell(l, rc, &err, news);
	return rc;
}

void log_rest(struct log *l)
{
	unsigned char head[LOG_RECORD_HEAD];
	struct iovec iov = {head, sizeof(head)};
	struct err err;
	uint32_t end = l->active.end;
	if (l->fd >= 0 && !l->torn && end <= LOG_BYTES_MAX - LOG_RECORD_HEAD) {
		struct log_record rec = {
			.size = LOG_RECORD_HEAD, .kind = LOG_KIND_END, .seq = l->next};
		log_record_encode(&rec, log_record_seed(l->key, end), head);
		if (log_io_write_all(l->io, l->fd, &iov, 1, end, &err) != 0)
			log_logf(l, LG_WARN, "LOG(%s): failed to write where it ends - %s",
				l->topic, err.msg);
		else
			end += LOG_RECORD_HEAD;
		log_segment_give_back(l, end);
	}
	log_segment_close(l);
}
