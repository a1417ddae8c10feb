/* SPDX-License-Identifier: MIT */
/* Files of a topic's log, made of an input. */
#include "test/fuzz/log_files.h"

#include <stdio.h>

#include "common/crc32c.h"
#include "nsqd/log/cursor_events.h"
#include "nsqd/log/cursor_file.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_names.h"

#define KEY UINT64_C(0x1122334455667788)

/* --- segments ------------------------------------------------------------------------------------ */

/* What a segment will hold. */
struct file {
	const char *topic;
	unsigned char data[LOG_FILE_MAX];
	size_t n;
	uint64_t first;
	uint64_t seq; /* the next record's */
	uint64_t top; /* the highest number so far */
	bool lies;    /* as log_files_build says */
};

const char *log_files_segment(const char *topic, uint64_t first)
{
	char name[LOG_SEGMENT_NAME], path[LOG_NAME_MAX + sizeof(LOG_SUFFIX) + sizeof(name)];
	log_segment_name(first, name);
	snprintf(path, sizeof(path), "%.*s" LOG_SUFFIX "/%s", LOG_NAME_MAX, topic, name);
	return fuzz_path(path);
}

static void begin(struct file *f, uint64_t first)
{
	struct log_head head = {.first = first, .key = KEY};
	snprintf(head.name, sizeof(head.name), "%s", f->topic);
	log_head_encode(&head, f->data);
	f->n = LOG_HEAD_SIZE;
	f->first = f->seq = first;
}

static void end(const struct file *f)
{
	fuzz_write_file(log_files_segment(f->topic, f->first), f->data, f->n);
}

static void add_bytes(struct file *f, struct input part)
{
	if (f->n + part.n > sizeof(f->data))
		return;
	if (part.n > 0)
		memcpy(f->data + f->n, part.p, part.n);
	f->n += part.n;
}

static void add_record(struct file *f, struct input *in)
{
	struct log_record rec = {0};
	rec.kind = input_byte(in) % 5;
	rec.flags = input_byte(in);
	rec.seq = f->seq + (uint64_t)(int64_t)(int8_t)input_byte(in);
	rec.attempts = input_byte(in);
	rec.due = (int64_t)((uint64_t)(int8_t)input_byte(in) << 56);
	rec.timestamp = (int64_t)((uint64_t)(int8_t)input_byte(in) << 56);
	int8_t wrong = (int8_t)input_byte(in);
	size_t len = input_byte(in);
	struct input body = input_take(in, len);
	rec.size = (uint32_t)(LOG_RECORD_HEAD + body.n) + (wrong == 1 ? 0 : (uint32_t)wrong);
	rec.body_crc = crc32c(0, body.p, body.n) + (wrong == 1);
	f->lies = f->lies || (wrong != 0 && wrong != 1) || rec.seq <= f->top;
	if (f->n + LOG_RECORD_HEAD + body.n > sizeof(f->data))
		return;
	log_record_encode(&rec, log_record_seed(KEY, (uint32_t)f->n), f->data + f->n);
	f->n += LOG_RECORD_HEAD;
	add_bytes(f, body);
	f->seq = rec.seq + 1;
	f->top = f->top > rec.seq ? f->top : rec.seq;
}

bool log_files_build(const char *topic, struct input in)
{
	static struct file f;
	f.topic = topic;
	f.lies = false;
	f.top = 0;
	begin(&f, 1);
	while (in.n > 0) {
		uint8_t op = input_byte(&in);
		switch (op % 4) {
		case 0:
		case 1:
			add_record(&f, &in);
			break;
		case 2:
			add_bytes(&f, input_take(&in, op / 4));
			break;
		case 3:
			end(&f);
			begin(&f, (f.seq > f.first ? f.seq : f.first + 1) +
					  (op / 4 == 63 ? LOG_FILE_FAR : op / 4));
			break;
		}
	}
	end(&f);
	return f.lies;
}

/* --- cursors ------------------------------------------------------------------------------------- */

static void read_claims(struct input content, struct cursor_claims *claims)
{
	struct events_in in = {.p = content.p, .end = content.p + content.n};
	struct cursor_event ev;
	while (events_next(&in, &ev) > 0)
		for (uint64_t i = 0; i < ev.n && ev.e.seq + i < CURSOR_CLAIMS; i++)
			if (ev.op == CURSOR_FINISHED)
				claims->finished[ev.e.seq + i] = true;
}

void cursor_file_build(int dir, const char *file, const char *topic, const char *channel,
	struct input in, struct cursor_claims *claims)
{
	struct cursor_file f;
	struct err err = {0};
	cursor_file_init(&f, &log_io_real, dir, file, topic, channel);
	CHECK(cursor_file_new(&f, &err) == 0);
	for (int i = 0; i < CURSOR_FRAMES && in.n > 0; i++) {
		size_t n = input_byte(&in);
		struct input content = input_take(&in, n == 255 ? in.n : n);
		if (content.n == 0)
			continue;
		if (claims)
			read_claims(content, claims);
		CHECK(cursor_file_new_add(&f, content.p, content.n, &err) == 0);
	}
	CHECK(cursor_file_new_commit(&f, &err) == 0);
	cursor_file_close(&f);
}
