/* SPDX-License-Identifier: MIT */
/*
 * cursor: what a crash leaves. A random run of events, flushes and snapshots goes to a cursor and to
 * a model. That is an array: what has happened to each message, and when. The disk is simulated.
 * Then the disk is taken as a crash may have left it: after each call, after each byte of each
 * write, after a power cut. A cursor that is opened there must know of each message something that
 * was true at some moment, from the last complete flush to the crash.
 */
#include "test/unit/sim_disk.h"

#include "common/rand.h"
#include "nsqd/log/cursor.h"
#include "nsqd/log/cursor_file.h"

enum { MAX = 600 }; /* messages */

#define FILE_NAME "c.cursor"

/* --- chance ------------------------------------------------------------------------------------- */

/* All that is random in a test: SEED=n in the environment replays it. */
static uint64_t seed, chances;

/* A setup of cmocka. */
static int seed_test(void **state)
{
	const char *again = getenv("SEED");
	seed = chances = again ? strtoull(again, NULL, 10) : rand_u64() | 1;
	return 0;
}

/* Uniform in [0, n), about. */
static uint32_t chance(uint32_t n)
{
	chances ^= chances << 13;
	chances ^= chances >> 7;
	chances ^= chances << 17;
	return (uint32_t)((chances >> 32) * n >> 32);
}

/* --- the model --------------------------------------------------------------------------------- */

enum state { NEW, TAKEN, WAITING, POPPED, FINISHED };

/* What is true of a message from a moment on. */
struct fact {
	int when;
	enum state state;
	uint16_t attempts;
	uint32_t offset;
	int64_t due;
};

struct model {
	struct fact *facts[MAX]; /* of each message, in order of time */
	int n[MAX];
	int now;
	uint64_t first, end; /* of the log */
	int64_t clock;       /* what is due by then has been popped, or may be */
};

static const struct fact *latest(const struct model *m, uint64_t seq)
{
	return &m->facts[seq][m->n[seq] - 1];
}

static void add_fact(struct model *m, uint64_t seq, struct fact f)
{
	f.when = m->now;
	m->facts[seq] = xreallocarray(m->facts[seq], (size_t)m->n[seq] + 1, sizeof(f));
	m->facts[seq][m->n[seq]++] = f;
}

static void model_init(struct model *m, uint64_t first, uint64_t end)
{
	*m = (struct model){.first = first, .end = end, .clock = 1000};
	for (uint64_t seq = 0; seq < MAX; seq++)
		add_fact(m, seq, (struct fact){.state = seq < first ? FINISHED : NEW});
}

static void model_free(struct model *m)
{
	for (int i = 0; i < MAX; i++)
		free(m->facts[i]);
}

/* --- what a cursor knows ------------------------------------------------------------------------ */

struct known {
	bool finished, waits;
	uint16_t attempts;
	uint32_t offset;
	int64_t due;
};

static void look(struct cursor *c, uint64_t end, struct known out[MAX])
{
	struct cursor_entry e[MAX];
	size_t at = 0, n = cursor_list_waiting(c, &at, 0, end, e, MAX);
	assert_int_equal(n, cursor_waiting(c));
	memset(out, 0, MAX * sizeof(*out));
	for (size_t i = 0; i < n; i++) {
		assert_false(out[e[i].seq].waits);
		out[e[i].seq] = (struct known){.waits = true,
			.attempts = e[i].attempts,
			.offset = e[i].offset,
			.due = e[i].due};
	}
	for (uint64_t seq = 0; seq < end; seq++) {
		struct known *k = &out[seq];
		k->finished = cursor_is_finished(c, seq);
		if (!k->finished && !k->waits)
			k->attempts = cursor_attempts(c, seq);
		/* The reader hands out just these: after an opening nothing is taken. */
		assert_int_equal(cursor_wants(c, seq), !k->finished && !k->waits);
	}
	assert_true(cursor_floor(c) >= end || !out[cursor_floor(c)].finished);
	for (uint64_t seq = 0; seq < cursor_floor(c) && seq < end; seq++)
		assert_true(out[seq].finished);
}

static bool fits(const struct known *k, const struct fact *f)
{
	bool same = k->waits && k->due == f->due && k->offset == f->offset &&
		    k->attempts == f->attempts;
	switch (f->state) {
	case FINISHED:
		return k->finished;
	case WAITING:
		return !k->finished && same;
	case POPPED:
		return !k->finished && (same || (!k->waits && k->attempts == f->attempts));
	default:
		return !k->finished && !k->waits && k->attempts == f->attempts;
	}
}

/* Is what is known of seq true of a moment between then and now? */
static bool was_true(const struct model *m, uint64_t seq, const struct known *k, int then, int now)
{
	for (int i = m->n[seq] - 1; i >= 0; i--) {
		const struct fact *f = &m->facts[seq][i];
		if (f->when <= now && fits(k, f))
			return true;
		if (f->when <= then)
			break;
	}
	return false;
}

/* --- a run -------------------------------------------------------------------------------------- */

/* When a call was made that changes something. */
struct moment {
	int now, flushed; /* of the model; the latter at the last flush that has completed */
	int synced;       /* the same, of the last file that is whole and in its place for good */
	uint64_t end;     /* of the log */
	struct sim_disk *disk;  /* a copy, from before the call */
	struct sim_bytes bytes; /* that the call writes; owned */
	int inode;              /* to which file */
	int64_t off;            /* and where */
};

struct run {
	struct sim_disk *disk;
	struct model m;
	struct cursor *c;
	struct moment *moments; /* of each call of disk, and of the end */
	size_t n_moments;
	int flushed, synced, flushing;
	uint32_t fault_one_in;   /* 0: none */
	size_t calls, fault_at;  /* the number of the call that fails next */
	bool faults_in_snapshot; /* only calls while one is written have a number */
	uint32_t wants_one_in;   /* flushes: a snapshot is asked for; 0: none */
	bool damaged;            /* the file was, at the beginning */
	bool busy;               /* events happen within calls */
};

static struct cursor_opts opts_of(struct sim_disk *d)
{
	return (struct cursor_opts){.io = &d->io,
		.file = FILE_NAME,
		.topic = "t",
		.channel = "c",
		.snapshot_min = CURSOR_HEAD_SIZE + 200,
		.part = 40,
		.pending_max = chance(2) ? 100 + chance(200) : 100000};
}

static void take(struct run *r, uint64_t seq)
{
	struct fact f = *latest(&r->m, seq);
	f.state = TAKEN;
	f.attempts++;
	cursor_taken(r->c, seq, 1, f.attempts);
	add_fact(&r->m, seq, f);
}

static void finish(struct run *r, uint64_t seq)
{
	bool first = latest(&r->m, seq)->state != FINISHED;
	assert_int_equal(cursor_finished(r->c, seq), first);
	if (first)
		add_fact(&r->m, seq, (struct fact){.state = FINISHED});
}

static void wait_until_due(struct run *r, uint64_t seq)
{
	struct fact f = *latest(&r->m, seq);
	f.state = WAITING;
	f.offset = chance(1000000);
	f.due = chance(4) == 0 ? 0 : r->m.clock + chance(50);
	struct cursor_entry e = {f.due, seq, f.offset, f.attempts};
	assert_true(cursor_wait(r->c, &e));
	add_fact(&r->m, seq, f);
}

static void pop(struct run *r)
{
	struct cursor_entry e[4];
	r->m.clock += chance(20);
	size_t n = cursor_pop_due(r->c, r->m.clock, e, 1 + chance(4));
	for (size_t i = 0; i < n; i++) {
		struct fact f = *latest(&r->m, e[i].seq);
		assert_int_equal(f.state, WAITING);
		assert_true(f.due <= r->m.clock && f.due == e[i].due && f.offset == e[i].offset &&
			    f.attempts == e[i].attempts);
		if (i > 0)
			assert_true(e[i - 1].due <= e[i].due);
		f.state = POPPED;
		add_fact(&r->m, e[i].seq, f);
	}
}

/* One that waits is taken, whenever it is due. */
static void pick(struct run *r, uint64_t seq)
{
	struct cursor_entry e;
	struct fact f = *latest(&r->m, seq);
	size_t at = 0;
	int found;
	do
		found = cursor_take_waiting(r->c, &at, 1 + chance(20), seq, &e);
	while (found == 0);
	assert_int_equal(found, f.state == WAITING ? 1 : -1);
	if (found < 0)
		return;
	assert_true(
		e.seq == seq && e.due == f.due && e.offset == f.offset && e.attempts == f.attempts);
	f.state = POPPED;
	add_fact(&r->m, seq, f);
}

static void finish_range(struct run *r, uint64_t from, uint64_t to)
{
	uint64_t n = 0;
	for (uint64_t seq = from; seq < to; seq++) {
		if (latest(&r->m, seq)->state == FINISHED)
			continue;
		add_fact(&r->m, seq, (struct fact){.state = FINISHED});
		n++;
	}
	assert_int_equal(cursor_finished_range(r->c, from, to), n);
}

static void move(struct run *r)
{
	struct cursor_move moves[8];
	size_t n = 0;
	for (uint64_t seq = cursor_floor(r->c); seq < r->m.end && n < 8 && r->m.end + n < MAX;
		seq += 1 + chance(3))
		moves[n] = (struct cursor_move){seq, r->m.end + n, chance(1000), false}, n++;
	r->m.end += n;
	cursor_moved(r->c, moves, n);
	for (size_t i = 0; i < n; i++) {
		struct fact f = *latest(&r->m, moves[i].from);
		if (f.state == WAITING)
			f.offset = moves[i].offset;
		else if (f.state != FINISHED)
			f.state = TAKEN;
		add_fact(&r->m, moves[i].to, f);
		if (f.state != FINISHED)
			add_fact(&r->m, moves[i].from, (struct fact){.state = FINISHED});
	}
}

static void happen(struct run *r)
{
	r->m.now++;
	uint64_t span = r->m.end - cursor_floor(r->c);
	if (span == 0 || chance(8) == 0) {
		r->m.end += r->m.end < MAX - 40 ? chance(8) : 0;
		return;
	}
	/* Mostly near the front, where consumers are. */
	uint64_t seq =
		cursor_floor(r->c) + chance(chance(3) ? 1 + (uint32_t)span / 8 : (uint32_t)span);
	const struct fact *f = latest(&r->m, seq);
	uint32_t what = chance(100);
	if (what < 2)
		move(r);
	else if (what < 4)
		finish_range(r, seq, seq + chance((uint32_t)(r->m.end - seq) + 1));
	else if (what < 8 || (f->state == WAITING && what < 50))
		pick(r, seq);
	else if (what < 12 || f->state == WAITING)
		pop(r);
	else if (f->state == FINISHED)
		finish(r, seq);
	else if (f->state == TAKEN && what < 60)
		finish(r, seq);
	else if (what < 70)
		wait_until_due(r, seq);
	else
		take(r, seq);
}

static struct sim_entry *find(struct sim_disk *d, const char *name)
{
	return sim_find(&d->inodes[SIM_ROOT], name);
}

/* call: NULL at the end. */
static void take_moment(struct run *r, struct sim_disk *d, const struct sim_call *call)
{
	r->moments = xreallocarray(r->moments, r->n_moments + 1, sizeof(*r->moments));
	struct moment *t = &r->moments[r->n_moments++];
	*t = (struct moment){r->m.now, r->flushed, r->synced, r->m.end, .disk = sim_copy(d)};
	if (!call || call->op != SIM_WRITE)
		return;
	t->bytes = sim_copy_bytes(&(struct sim_bytes){(unsigned char *)call->bytes, call->n});
	t->inode = call->inode;
	t->off = call->off;
}

static void happen_meanwhile(struct run *r, bool in_snapshot)
{
	if (chance(2))
		for (uint32_t n = chance(15) ? chance(6) : 100; n > 0; n--)
			happen(r);
	if (in_snapshot && chance(10) == 0 && cursor_floor(r->c) < r->m.end) {
		uint64_t from =
			cursor_floor(r->c) + chance((uint32_t)(r->m.end - cursor_floor(r->c)));
		r->m.now++;
		finish_range(r, from, from + chance((uint32_t)(r->m.end - from) + 1));
	}
}

static void fail_with(struct sim_disk *d, int code)
{
	d->fail_at = d->calls;
	d->fail_code = code;
}

static void before_change(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	struct run *r = arg;
	bool in_snapshot = find(d, FILE_NAME ".tmp") != NULL;
	if (r->busy)
		happen_meanwhile(r, in_snapshot);
	take_moment(r, d, call);
	bool now = r->calls == r->fault_at;
	r->calls += in_snapshot || !r->faults_in_snapshot;
	if (now)
		r->fault_at += 1 + chance(12);
	if (!now && (r->fault_one_in == 0 || chance(r->fault_one_in) != 0))
		return;
	uint32_t how = chance(3);
	if (how < 2)
		fail_with(d, how == 0 ? EIO : ENOSPC);
	else if (call->op == SIM_WRITE && call->n > 1)
		d->write_most = 1 + chance((uint32_t)call->n - 1);
}

static bool flush(struct run *r)
{
	struct err err = {0};
	uint64_t snapshots = cursor_file_stats(r->c).snapshots;
	int then = r->m.now;
	if (cursor_flush(r->c, NULL, &err) != 0) {
		assert_true(err.msg[0]);
		assert_true(r->fault_one_in > 0 || r->fault_at < SIZE_MAX ||
			    (r->busy && err.code == EBUSY));
		return false;
	}
	r->flushed = then;
	if (cursor_file_stats(r->c).snapshots > snapshots)
		r->synced = then;
	return true;
}

static void run_on(struct run *r, int steps)
{
	for (int i = 0; i < steps; i++) {
		happen(r);
		if (chance(12) == 0) {
			if (r->wants_one_in > 0 && chance(r->wants_one_in) == 0)
				cursor_want_snapshot(r->c);
			flush(r);
		}
	}
}

/* The last moment: after the last call. */
static void end_run(struct run *r)
{
	r->busy = false;
	r->fault_one_in = 0;
	r->fault_at = SIZE_MAX;
	take_moment(r, r->disk, NULL);
}

static void run_free(struct run *r)
{
	cursor_free(r->c);
	sim_free(r->disk);
	model_free(&r->m);
	for (size_t i = 0; i < r->n_moments; i++) {
		sim_free(r->moments[i].disk);
		free(r->moments[i].bytes.data);
	}
	free(r->moments);
}

/* A new cursor on an empty disk. */
static void start(struct run *r, uint32_t fault_one_in, bool busy)
{
	*r = (struct run){
		.fault_one_in = fault_one_in, .fault_at = SIZE_MAX, .wants_one_in = 10 * chance(2)};
	r->disk = sim_new();
	model_init(&r->m, 1 + chance(10), 20);
	struct cursor_opts o = opts_of(r->disk);
	r->c = cursor_new(&o, r->m.first);
	/* There is a file from the beginning. */
	assert_true(flush(r));
	r->disk->before = before_change;
	r->disk->arg = r;
	r->busy = busy;
}

/* --- after a crash ------------------------------------------------------------------------------ */

static void expect_true(
	const struct run *r, const struct known k[MAX], int then, int now, uint64_t end)
{
	for (uint64_t seq = 0; seq < end; seq++) {
		if (was_true(&r->m, seq, &k[seq], then, now))
			continue;
		const struct fact *f = latest(&r->m, seq);
		fail_msg("seed %lu: message %lu at %d to %d: finished %d, waits %d, attempts %u, "
			 "due %ld; "
			 "lately %d: state %d, attempts %u, due %ld",
			(unsigned long)seed, (unsigned long)seq, then, now, k[seq].finished,
			k[seq].waits, k[seq].attempts, (long)k[seq].due, f->when, f->state,
			f->attempts, (long)f->due);
	}
}

static void open_at(struct run *r, struct sim_disk *d, const struct moment *t, bool power_cut)
{
	struct known k[MAX];
	struct cursor_found found;
	struct err err = {0};
	struct cursor_opts o = opts_of(d);
	uint64_t end = t->end;
	struct cursor *c = cursor_open(&o, r->m.first, end, &found, &err);
	if (!c)
		fail_msg("%s", err.msg);
	assert_false(found.missing);
	if (!power_cut && !r->damaged)
		assert_false(found.damaged);
	look(c, end, k);
	expect_true(r, k, power_cut ? t->synced : t->flushed, t->now, end);
	cursor_free(c);
}

/* A second life on that disk, and its end at a moment of its own. */
static void live_again(struct run *r, struct sim_disk *disk, const struct moment *t, int depth);

/* What a kill -9 leaves at that moment, in the middle of the write: the caller's. */
static struct sim_disk *killed(const struct moment *t, size_t bytes)
{
	struct sim_disk *d = sim_copy(t->disk);
	struct sim_inode *f = &d->inodes[t->inode];
	if (bytes > 0) {
		sim_put(&f->now, t->bytes.data, bytes, t->off);
		sim_remember(f);
	}
	return d;
}

static struct sim_disk *without_power(const struct moment *t)
{
	uint64_t random = chance(UINT32_MAX);
	struct sim_disk *d = sim_copy(t->disk);
	sim_cut(d, (enum sim_cut)chance(SIM_CUTS), &random);
	return d;
}

static void crash_somewhere(struct run *r, int depth)
{
	const struct moment *t = &r->moments[chance((uint32_t)r->n_moments)];
	bool power_cut = chance(2);
	struct sim_disk *d = power_cut ? without_power(t) : killed(t, 0);
	open_at(r, d, t, power_cut);
	if (depth > 0)
		live_again(r, d, t, depth - 1);
	sim_free(d);
}

static void live_again(struct run *r, struct sim_disk *disk, const struct moment *t, int depth)
{
	struct run *again = xcalloc(1, sizeof(*again));
	again->fault_at = SIZE_MAX;
	struct known k[MAX];
	struct cursor_found found;
	struct err err = {0};
	again->disk = sim_copy(disk);
	/* The model of this life knows nothing older: that is on the disk for good. */
	sim_cut(again->disk, SIM_CUT_NEWEST, &(uint64_t){0});
	struct cursor_opts o = opts_of(again->disk);
	/* The log may have lost its end. */
	uint64_t end = t->end, lost = chance(3) == 0 ? chance(20) : 0;
	end = end > r->m.first + lost ? end - lost : end;
	again->disk->before = before_change;
	again->disk->arg = again;
	model_init(&again->m, r->m.first, end);
	again->m.clock = r->m.clock;
	again->c = cursor_open(&o, r->m.first, end, &found, &err);
	if (!again->c)
		fail_msg("%s", err.msg);
	again->damaged = found.damaged;
	look(again->c, end, k);
	for (uint64_t seq = r->m.first; seq < end; seq++)
		add_fact(&again->m, seq,
			(struct fact){.state = k[seq].finished ? FINISHED
					       : k[seq].waits  ? WAITING
							       : NEW,
				.attempts = k[seq].attempts,
				.due = k[seq].due,
				.offset = k[seq].offset});
	again->busy = chance(2);
	run_on(again, 150);
	end_run(again);
	crash_somewhere(again, depth);
	run_free(again);
	free(again);
}

/* --- damage ------------------------------------------------------------------------------------- */

/* The file's content is damaged. What is known of a message was true once, but for its attempts. */
static struct cursor *open_damaged(
	const struct run *r, struct sim_disk *d, struct cursor_found *found)
{
	struct known k[MAX];
	struct err err = {0};
	struct cursor_opts o = opts_of(d);
	struct cursor *c = cursor_open(&o, r->m.first, r->m.end, found, &err);
	if (!c)
		fail_msg("seed %lu: %s", (unsigned long)seed, err.msg);
	look(c, r->m.end, k);
	for (uint64_t seq = 0; seq < r->m.end; seq++) {
		bool fine = !k[seq].finished || latest(&r->m, seq)->state == FINISHED;
		if (k[seq].waits)
			fine = was_true(&r->m, seq, &k[seq], 0, r->m.now);
		if (!fine)
			fail_msg("seed %lu: message %lu", (unsigned long)seed, (unsigned long)seq);
	}
	return c;
}

/* Whatever it was, the next flush makes a sound file of what was found. */
static void expect_sound_after_flush(struct run *r, struct sim_disk *d, struct cursor *c)
{
	struct known before[MAX], after[MAX];
	struct cursor_found found;
	struct cursor_opts o = opts_of(d);
	struct err err = {0};
	look(c, r->m.end, before);
	assert_int_equal(cursor_flush(c, NULL, &err), 0);
	cursor_free(c);
	c = cursor_open(&o, r->m.first, r->m.end, &found, &err);
	assert_non_null(c);
	assert_false(found.missing || found.damaged || found.torn_bytes > 0);
	look(c, r->m.end, after);
	assert_memory_equal(before, after, sizeof(before));
	cursor_free(c);
}

static void damage(struct sim_bytes *file)
{
	size_t at = chance((uint32_t)file->size), n = 1 + chance(chance(2) ? 8 : 200);
	n = n < file->size - at ? n : file->size - at;
	size_t from = chance((uint32_t)(file->size - n + 1));
	switch (chance(5)) {
	case 0:
		memset(file->data + at, 0, n);
		break;
	case 1: /* a part stands elsewhere */
		memmove(file->data + at, file->data + from, n);
		break;
	case 2: /* a part is missing */
		memmove(file->data + at, file->data + at + n, file->size - at - n);
		file->size -= n;
		break;
	case 3:
		for (size_t i = 0; i < n; i++)
			file->data[at + i] = (unsigned char)chance(256);
		break;
	default: /* more than there was */
		from = file->size;
		sim_resize(file, from + n);
		for (size_t i = from; i < file->size; i++)
			file->data[i] = (unsigned char)(chance(2) ? 0 : chance(256));
		break;
	}
}

/* The file in such a disk, for the caller to damage. */
static struct sim_bytes *file_of(struct sim_disk *d)
{
	return &d->inodes[find(d, FILE_NAME)->inode].now;
}

static void test_after_damage(void **state)
{
	static struct run r;
	struct cursor_found found;
	int damaged = 0;
	for (int i = 0; i < ROUNDS(20) + 1; i++) {
		start(&r, 0, true);
		run_on(&r, 500);
		flush(&r);
		end_run(&r);
		size_t len = file_of(r.disk)->size;
		for (size_t at = 0; at < len + 500; at++) {
			struct sim_disk *d = sim_copy(r.disk);
			struct sim_bytes *file = file_of(d);
			if (at < len)
				file->data[at] ^= (unsigned char)(1 + chance(255));
			for (uint32_t n = at < len ? 0 : 1 + chance(3); n > 0; n--)
				damage(file);
			struct cursor *c = open_damaged(&r, d, &found);
			/* Of the two copies of the head one is enough. */
			if (at < CURSOR_HEAD_SIZE)
				assert_false(found.damaged);
			damaged += found.damaged;
			if (at % 8 == 0)
				expect_sound_after_flush(&r, d, c);
			else
				cursor_free(c);
			sim_free(d);
		}
		run_free(&r);
	}
	assert_true(damaged > 100);
}

static void test_a_head_that_is_damaged_twice_is_no_head(void **state)
{
	static struct run r;
	struct cursor_found found;
	start(&r, 0, false);
	run_on(&r, 300);
	flush(&r);
	end_run(&r);
	for (size_t at = 0; at < CURSOR_HEAD_COPY; at++) {
		struct sim_disk *d = sim_copy(r.disk);
		struct sim_bytes *file = file_of(d);
		file->data[at] ^= 1;
		file->data[at + CURSOR_HEAD_COPY] ^= 1;
		struct cursor *c = open_damaged(&r, d, &found);
		assert_true(found.damaged && found.damaged_bytes == (int64_t)file->size);
		assert_int_equal(cursor_floor(c), r.m.first);
		expect_sound_after_flush(&r, d, c);
		sim_free(d);
	}
	run_free(&r);
}

/* --- the tests ---------------------------------------------------------------------------------- */

static void try_each_byte(struct run *r)
{
	for (size_t n = 0; n < r->n_moments; n++) {
		const struct moment *t = &r->moments[n];
		for (size_t b = 0; b < (t->bytes.size ? t->bytes.size : 1); b++) {
			struct sim_disk *d = killed(t, b);
			open_at(r, d, t, false);
			if (chance(200) == 0)
				live_again(r, d, t, 1);
			sim_free(d);
		}
	}
}

static void test_after_each_byte_that_was_written(void **state)
{
	static struct run r;
	uint64_t snapshots = 0;
	for (int i = 0; i < ROUNDS(30) + 1; i++) {
		start(&r, 0, i % 2);
		run_on(&r, 500);
		end_run(&r);
		try_each_byte(&r);
		snapshots += cursor_file_stats(r.c).snapshots;
		run_free(&r);
	}
	assert_true(snapshots > 3);
}

static void try_each_call(struct run *r)
{
	end_run(r);
	for (size_t n = 0; n < r->n_moments; n++) {
		struct sim_disk *d = killed(&r->moments[n], 0);
		open_at(r, d, &r->moments[n], false);
		sim_free(d);
	}
}

static void test_between_any_two_calls_where_two_have_failed(void **state)
{
	static struct run r;
	for (int i = 0; i < ROUNDS(2000) + 1; i++) {
		start(&r, 0, true);
		r.wants_one_in = i % 2 ? 0 : 10;
		r.faults_in_snapshot = i % 2;
		r.fault_at = chance(i % 2 ? 30 : 100);
		/* Long enough for a file to become too large. */
		run_on(&r, i % 2 ? 1000 : 200);
		try_each_call(&r);
		run_free(&r);
	}
}

static void test_between_any_two_calls_where_many_fail(void **state)
{
	static struct run r;
	for (int i = 0; i < ROUNDS(200) + 1; i++) {
		start(&r, 2 + chance(i % 2 ? 5 : 20), i % 4 > 0);
		run_on(&r, 300);
		r.fault_one_in = 0;
		r.busy = false;
		/* All is well as soon as the disk is. */
		assert_true(flush(&r) || (flush(&r), flush(&r)));
		try_each_call(&r);
		run_free(&r);
	}
}

/* A snapshot that fails for its size is not tried again with each flush. */
static void no_new_file(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	struct run *r = arg;
	if (call->op != SIM_CREATE)
		return;
	r->calls++;
	fail_with(d, ENOSPC);
}

static void test_snapshots_that_fail_become_rare(void **state)
{
	static struct run r;
	struct known after[MAX];
	struct cursor_found found;
	struct err err = {0};
	start(&r, 0, false);
	r.disk->before = no_new_file;
	int failed = 0;
	for (uint32_t i = 0; i < 2000; i++) {
		cursor_wait(r.c, &(struct cursor_entry){i, 15, i, 1});
		cursor_pop_due(r.c, INT64_MAX, &(struct cursor_entry){0}, 1);
		failed += cursor_flush(r.c, NULL, &err) != 0;
	}
	assert_true(failed > 3 && failed < 20);
	assert_int_equal(r.calls, failed);
	/* All of it is in the old file. */
	cursor_free(r.c);
	struct cursor_opts o = opts_of(r.disk);
	r.c = cursor_open(&o, r.m.first, 20, &found, &err);
	assert_non_null(r.c);
	look(r.c, 20, after);
	assert_int_equal(after[15].offset, 1999);
	run_free(&r);
}

static void test_after_a_power_cut(void **state)
{
	static struct run r;
	for (int i = 0; i < ROUNDS(150) + 1; i++) {
		start(&r, i % 3 ? 0 : 20, i % 2);
		run_on(&r, 500);
		end_run(&r);
		for (size_t n = 0; n < r.n_moments; n++) {
			struct sim_disk *d = without_power(&r.moments[n]);
			open_at(&r, d, &r.moments[n], true);
			if (chance(20) == 0)
				live_again(&r, d, &r.moments[n], 2);
			sim_free(d);
		}
		run_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_after_each_byte_that_was_written, seed_test),
		cmocka_unit_test_setup(test_between_any_two_calls_where_two_have_failed, seed_test),
		cmocka_unit_test_setup(test_between_any_two_calls_where_many_fail, seed_test),
		cmocka_unit_test_setup(test_snapshots_that_fail_become_rare, seed_test),
		cmocka_unit_test_setup(test_after_a_power_cut, seed_test),
		cmocka_unit_test_setup(test_after_damage, seed_test),
		cmocka_unit_test_setup(test_a_head_that_is_damaged_twice_is_no_head, seed_test),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
