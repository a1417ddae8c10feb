/* SPDX-License-Identifier: MIT */
/*
 * The events of a cursor as bytes. No Go file: stock has no log. Any thread, under the lock of the
 * cursor's owner.
 *
 * An event is a row of numbers. The first one is op + 8 * x, where x is n - 1 or the attempts. Then
 * comes the number of the message, less that behind the message before. An event WAITING goes on
 * with the offset, and with the due time less that before. All are varints of seven bits a byte,
 * least first (encoding/binary's Uvarint). The differences may be negative (Varint).
 */
#include "nsqd/log/cursor_events.h"

#include <string.h>

#define OP_BITS 3
#define VARINT_MAX 10
#define RUN_MAX (64 * CURSOR_TAKEN_MAX)

/* --- numbers ----------------------------------------------------------------------------------- */

static size_t put_uvarint(unsigned char *p, uint64_t v)
{
	size_t n = 0;
	while (v >= 0x80) {
		p[n++] = (unsigned char)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (unsigned char)v;
	return n;
}

/* The difference of two numbers, as one that is small where that is. It may wrap. */
static uint64_t zigzag(uint64_t difference)
{
	return (difference << 1) ^ (difference >> 63 ? UINT64_MAX : 0);
}

static uint64_t unzigzag(uint64_t v)
{
	return (v >> 1) ^ (v & 1 ? UINT64_MAX : 0);
}

static bool get_uvarint(struct events_in *in, uint64_t *v)
{
	*v = 0;
	for (unsigned shift = 0; shift < 64 && in->p < in->end; shift += 7) {
		uint64_t byte = *in->p++;
		if (shift == 63 && byte > 1)
			return false;
		*v |= (byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return false;
}

/* --- writing ----------------------------------------------------------------------------------- */

static void write_event(struct events_out *o, enum cursor_op op, uint64_t x, uint64_t n,
	const struct cursor_entry *e)
{
	unsigned char buf[4 * VARINT_MAX];
	size_t len = put_uvarint(buf, (x << OP_BITS) | op);
	len += put_uvarint(buf + len, zigzag(e->seq - o->seq));
	o->seq = e->seq + n;
	if (op == CURSOR_WAITING) {
		len += put_uvarint(buf + len, e->offset);
		len += put_uvarint(buf + len, zigzag((uint64_t)e->due - (uint64_t)o->due));
		o->due = e->due;
	}
	strbuf_add(&o->bytes, buf, len);
}

static void write_range(struct events_out *o, enum cursor_op op, struct seq_range r)
{
	uint64_t max = op == CURSOR_TAKEN ? CURSOR_TAKEN_MAX : SEQ_END;
	while (r.from < r.to) {
		uint64_t n = r.to - r.from < max ? r.to - r.from : max;
		write_event(o, op, n - 1, n, &(struct cursor_entry){.seq = r.from});
		r.from += n;
	}
}

static void close_run(struct events_out *o, enum cursor_op op, struct seq_range *run)
{
	write_range(o, op, *run);
	*run = (struct seq_range){0};
}

/*
 * In the order in which they are written, TAKEN may come before what happened before it to other
 * messages. That changes nothing. To a message that is finished nothing happens any more.
 */
void events_end(struct events_out *o)
{
	close_run(o, CURSOR_TAKEN, &o->taken);
	close_run(o, CURSOR_FINISHED, &o->finished);
}

void events_add_range(struct events_out *o, enum cursor_op op, uint64_t seq, uint64_t n)
{
	if (op == CURSOR_SEEN) {
		write_range(o, op, (struct seq_range){seq, seq + n});
		return;
	}
	/* The bytes of a long run of TAKEN are to be counted. */
	if (o->taken.to - o->taken.from >= RUN_MAX)
		close_run(o, CURSOR_TAKEN, &o->taken);
	struct seq_range *run = op == CURSOR_TAKEN ? &o->taken : &o->finished;
	if (run->from != run->to && run->to == seq) {
		run->to += n;
	} else if (run->from != run->to && run->from == seq + n) {
		run->from = seq;
	} else {
		close_run(o, op, run);
		*run = (struct seq_range){seq, seq + n};
	}
}

void events_add(struct events_out *o, enum cursor_op op, const struct cursor_entry *e)
{
	events_end(o);
	write_event(o, op, e->attempts, 1, e);
}

void events_reset(struct events_out *o)
{
	struct strbuf bytes = o->bytes;
	strbuf_reset(&bytes);
	*o = (struct events_out){.bytes = bytes};
}

void events_free(struct events_out *o)
{
	strbuf_free(&o->bytes);
	*o = (struct events_out){0};
}

/* --- reading ----------------------------------------------------------------------------------- */

static bool read_waiting(struct events_in *in, struct cursor_event *ev)
{
	uint64_t offset, difference;
	if (!get_uvarint(in, &offset) || offset > UINT32_MAX || !get_uvarint(in, &difference))
		return false;
	ev->e.offset = (uint32_t)offset;
	ev->e.due = in->due = (int64_t)((uint64_t)in->due + unzigzag(difference));
	return true;
}

int events_next(struct events_in *in, struct cursor_event *ev)
{
	uint64_t first, difference;
	if (in->p == in->end)
		return 0;
	if (!get_uvarint(in, &first) || !get_uvarint(in, &difference))
		return -1;
	uint64_t x = first >> OP_BITS;
	*ev = (struct cursor_event){.op = (enum cursor_op)(first & ((1 << OP_BITS) - 1)), .n = 1};
	ev->e.seq = in->seq + unzigzag(difference);
	switch (ev->op) {
	case CURSOR_FINISHED:
	case CURSOR_SEEN:
	case CURSOR_TAKEN:
		if (x >= (ev->op == CURSOR_TAKEN ? CURSOR_TAKEN_MAX : SEQ_END))
			return -1;
		ev->n = x + 1;
		break;
	case CURSOR_TRIED:
	case CURSOR_WAITING:
		if (x > UINT16_MAX || (ev->op == CURSOR_WAITING && !read_waiting(in, ev)))
			return -1;
		ev->e.attempts = (uint16_t)x;
		break;
	default:
		return -1;
	}
	if (ev->e.seq >= SEQ_END || ev->n > SEQ_END - ev->e.seq)
		return -1;
	in->seq = ev->e.seq + ev->n;
	return 1;
}
