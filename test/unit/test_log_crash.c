/* SPDX-License-Identifier: MIT */
/*
 * A log whose process dies, or whose computer loses power, at any moment. A run of commits is made
 * on a simulated disk. Before each change of the disk, and after each byte of a write, the test
 * looks at what the next process would find. It opens that, and holds it against what was promised.
 * Opening is cut short at each of its own changes as well.
 */
#include "test/unit/log_test.h"
#include "test/unit/sim_disk.h"

#define SEGMENT 1500

/* There is one thread: ThreadSanitizer has little to find. Both take many times as long. */
#if SANITIZE_THREAD
#define STEP 11
#elif SANITIZE_ADDRESS
#define STEP 3
#else
#define STEP 1
#endif

struct run {
	struct sim_disk *disk;
	struct log *log;
	struct account account;
	bool power;  /* losses of power, else the death of the process */
	bool lax;    /* what was refused may be there after a crash: several calls have failed */
	bool faulty; /* a call has failed */
	uint64_t seed;
	long looks; /* how many states were tried */
	char where[128];
};

static const struct batch after[] = {{0, 1, 20, OFFERED}, {0, 3, 5, OFFERED}};

static struct log *open_run(struct run *r, struct sim_disk *d)
{
	return open_log(&d->io, 0, r->power, SEGMENT);
}

/* What another process finds on this disk is what was promised. */
static void find_all(struct run *r, struct sim_disk *d, uint64_t least)
{
	struct log *l = open_run(r, d);
	struct content c = read_log(l, 1);
	check_content(&r->account, &c, r->lax, r->where);
	assert_true(c.seqs[c.n - 1] >= least);
	free_content(&c);
	log_close(l);
}

/*
 * The next process: opens the log, finds what it must, and goes on. The account is put back
 * afterwards.
 */
static void look(struct run *r, struct sim_disk *d)
{
	struct account *a = &r->account;
	size_t n = a->n;
	uint64_t next = a->next;
	struct log_stats stats;
	struct log *l = open_run(r, d);
	struct content c = read_log(l, 1);
	check_content(a, &c, r->lax, r->where);
	if (!r->power)
		assert_true(c.gaps == 0 || a->batches[0].state == FORGOTTEN);
	log_get_stats(l, &stats);
	/* No number was skipped. */
	assert_true(r->faulty || stats.next <= next);
	free_content(&c);
	commit(l, a, after, COUNT(after));
	assert_true(a->batches[n].state == KEPT && a->batches[n + 1].state == KEPT);
	if (r->power) {
		struct sim_disk *copy = sim_copy(d);
		sim_cut(copy, (enum sim_cut)(sim_random(&r->seed) % SIM_CUTS), &r->seed);
		find_all(r, copy, stats.next + 3);
		sim_free(copy);
	}
	log_close(l);
	find_all(r, d, stats.next + 3);
	a->n = n;
	a->next = next;
	r->looks++;
}

/* A crash during recovery: a copy of the disk as it is then, opened without further crashes. */
static void before_repair(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	struct run *r = arg;
	struct sim_disk *copy = sim_copy(d);
	if (call->op == SIM_WRITE)
		sim_put(&copy->inodes[call->inode].now, call->bytes, call->n / 2, call->off);
	if (r->power)
		sim_cut(copy, (enum sim_cut)(sim_random(&r->seed) % SIM_CUTS), &r->seed);
	look(r, copy);
	sim_free(copy);
}

/* Recovers once with a crash at each change, then as it is. */
static void look_twice(struct run *r, struct sim_disk *d)
{
	struct sim_disk *copy = sim_copy(d);
	copy->before = before_repair;
	copy->arg = r;
	log_close(open_run(r, copy));
	sim_free(copy);
	look(r, d);
}

static void die(struct run *r, const struct sim_call *call, size_t bytes)
{
	struct sim_disk *copy = sim_copy(r->disk);
	snprintf(r->where, sizeof(r->where), "call %ld (%d), behind %zu bytes", r->disk->calls,
		call->op, bytes);
	if (bytes > 0) {
		sim_put(&copy->inodes[call->inode].now, call->bytes, bytes, call->off);
		sim_remember(&copy->inodes[call->inode]);
	}
	look_twice(r, copy);
	sim_free(copy);
}

/* With the power goes what was not synced. The call that is under way is one of that. */
static void lose_power(struct run *r, const struct sim_call *call)
{
	for (int i = 0; i < ROUNDS(40); i++) {
		struct sim_disk *copy = sim_copy(r->disk);
		enum sim_cut how = (enum sim_cut)(i % SIM_CUTS);
		snprintf(r->where, sizeof(r->where), "call %ld (%d), cut %d, round %d",
			r->disk->calls, call->op, how, i);
		if (call->op == SIM_WRITE && i % 2) {
			sim_put(&copy->inodes[call->inode].now, call->bytes, call->n, call->off);
			sim_remember(&copy->inodes[call->inode]);
		}
		/* First the process dies, and the power fails later. */
		if (i > 0)
			sim_cut(copy, how, &r->seed);
		look_twice(r, copy);
		sim_free(copy);
	}
}

static void before_change(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	struct run *r = arg;
	if (r->power) {
		lose_power(r, call);
		return;
	}
	die(r, call, 0);
	/* Not behind each byte of what is large, but at both ends of that. */
	for (size_t n = 1; call->op == SIM_WRITE && n < call->n; n += STEP)
		if (n < 600 || call->n - n < 600 || n % 97 < STEP)
			die(r, call, n);
}

/* --- the run --------------------------------------------------------------------------------------- */

static void forget_below(struct run *r, uint64_t floor)
{
	struct err err;
	struct content c = read_log(r->log, 1);
	/* Numbers of messages and of records are the same here, but for what was refused. */
	for (size_t i = 0; i < c.n && c.seqs[i] < floor; i++)
		for (size_t k = 0; k < r->account.n; k++)
			if (r->account.batches[k].first <= c.numbers[i] &&
				c.numbers[i] <
					r->account.batches[k].first + r->account.batches[k].n)
				r->account.batches[k].state = FORGOTTEN;
	free_content(&c);
	/* What could not be removed is still there. */
	(void)log_forget(r->log, floor, &err);
}

static void reopen(struct run *r)
{
	log_close(r->log);
	r->log = open_run(r, r->disk);
}

/* Several publishers at once, one at a time, batches, all sizes up to more than a segment. */
static void work(struct run *r)
{
	static const struct batch first[] = {{0, 1, 1, OFFERED}};
	static const struct batch three[] = {
		{0, 1, 100, OFFERED}, {0, 4, 30, OFFERED}, {0, 1, 17, OFFERED}};
	static const struct batch two[] = {{0, 9, 40, OFFERED}, {0, 1, 3, OFFERED}};
	static const struct batch big[] = {
		{0, 1, 300, OFFERED}, {0, 2, SEGMENT + 5000, OFFERED}, {0, 1, 8, OFFERED}};
	commit(r->log, &r->account, first, 1);
	commit(r->log, &r->account, three, 3);
	log_rest(r->log);
	commit(r->log, &r->account, first, 1);
	commit(r->log, &r->account, two, 2);
	commit(r->log, &r->account, three, 3);
	reopen(r);
	commit(r->log, &r->account, three, 3);
	commit(r->log, &r->account, big, 3);
	forget_below(r, 12);
	commit(r->log, &r->account, two, 2);
	commit(r->log, &r->account, first, 1);
}

static void begin(struct run *r, bool power)
{
	static uint64_t seed = 17;
	*r = (struct run){.disk = sim_new(), .power = power, .seed = seed++};
	r->account.next = 1;
}

static void end(struct run *r)
{
	log_close(r->log);
	sim_free(r->disk);
}

static void crash_anywhere(bool power)
{
	static struct run r;
	begin(&r, power);
	r.disk->before = before_change;
	r.disk->arg = &r;
	r.log = open_run(&r, r.disk);
	work(&r);
	r.disk->before = NULL;
	for (size_t i = 0; i < r.account.n; i++)
		assert_true(r.account.batches[i].state != REFUSED);
	end(&r);
	print_message("%ld states\n", r.looks);
}

static void test_process_dies_anywhere(void **state)
{
	crash_anywhere(false);
}

static void test_power_fails_anywhere(void **state)
{
	crash_anywhere(true);
}

/* --- many publishers, with the log's thread --------------------------------------------------------- */

#define PUBLISHERS 4
#define BATCHES 60
#define PER_PUBLISHER 100000
#define SNAPSHOTS 60

/* A publisher's batches end before these of its messages. */
struct publisher {
	struct log *l;
	uint32_t who;
	uint32_t ends[BATCHES + 1];
	_Atomic uint32_t kept;    /* so many batches */
	_Atomic uint32_t offered; /* so many at most */
};

static struct crowd {
	struct publisher publishers[PUBLISHERS];
	/* The disk at some moments, and what each publisher knew then. */
	struct sim_disk *snapshots[SNAPSHOTS];
	uint32_t kept[SNAPSHOTS][PUBLISHERS], offered[SNAPSHOTS][PUBLISHERS];
	size_t n;
	uint64_t seed;
} crowd;

static void publish(void *arg)
{
	struct publisher *p = arg;
	uint64_t seed = p->who;
	for (uint32_t b = 0; b < BATCHES; b++) {
		struct message *msgs[8];
		struct err err = {0};
		uint32_t first = p->ends[b], n = 1 + (uint32_t)(sim_random(&seed) % COUNT(msgs));
		for (uint32_t i = 0; i < n; i++)
			msgs[i] = make_message(
				p->who * PER_PUBLISHER + first + i, sim_random(&seed) % 200);
		p->ends[b + 1] = first + n;
		atomic_store(&p->offered, b + 1);
		if (log_append(p->l, msgs, n, &err) != 0)
			fail_msg("%s", err.msg);
		atomic_store(&p->kept, b + 1);
		message_unref_all(msgs, n);
	}
}

/* Some moments of the run. The disk is locked: no batch becomes whole meanwhile. */
static void take_snapshot(struct sim_disk *d, const struct sim_call *call, void *arg)
{
	if (crowd.n == SNAPSHOTS || sim_random(&crowd.seed) % 4 != 0)
		return;
	size_t k = crowd.n++;
	for (int i = 0; i < PUBLISHERS; i++)
		crowd.kept[k][i] = atomic_load(&crowd.publishers[i].kept);
	crowd.snapshots[k] = sim_copy(d);
	for (int i = 0; i < PUBLISHERS; i++)
		crowd.offered[k][i] = atomic_load(&crowd.publishers[i].offered);
}

/* Each publisher's messages are there in order, and up to the end of a batch that may be. */
static void check_snapshot(size_t k, struct sim_disk *d, bool power)
{
	uint32_t next[PUBLISHERS] = {0};
	struct log *l = open_log(&d->io, 0, power, 20000);
	struct content c = read_log(l, 1);
	for (size_t i = 0; i < c.n; i++) {
		uint64_t who = c.numbers[i] / PER_PUBLISHER;
		assert_true(who < PUBLISHERS && c.numbers[i] % PER_PUBLISHER == next[who]++);
	}
	free_content(&c);
	log_close(l);
	for (int i = 0; i < PUBLISHERS; i++) {
		const struct publisher *p = &crowd.publishers[i];
		uint32_t b = crowd.kept[k][i];
		while (b < crowd.offered[k][i] && p->ends[b] != next[i])
			b++;
		if (p->ends[b] != next[i])
			fail_msg("moment %zu: publisher %d has %u messages, of batches %u to %u", k,
				i, next[i], crowd.kept[k][i], crowd.offered[k][i]);
	}
}

static void crash_with_many_publishers(bool power)
{
	struct wait_group wg;
	struct sim_disk *d = sim_new();
	struct log *l = open_log(&d->io, 0, power, 20000);
	memset(&crowd, 0, sizeof(crowd));
	d->before = take_snapshot;
	wait_group_init(&wg);
	for (uint32_t i = 0; i < PUBLISHERS; i++) {
		crowd.publishers[i].l = l;
		crowd.publishers[i].who = i;
		go(&wg, publish, &crowd.publishers[i]);
	}
	join(&wg);
	/* The log's thread may be at work still: it falls idle. */
	pthread_mutex_lock(&d->lock);
	d->before = NULL;
	pthread_mutex_unlock(&d->lock);
	assert_true(crowd.n > 5);
	for (size_t k = 0; k < crowd.n; k++) {
		for (int how = 0; how < (power ? SIM_CUTS : 1); how++) {
			struct sim_disk *copy = sim_copy(crowd.snapshots[k]);
			if (power)
				sim_cut(copy, (enum sim_cut)how, &crowd.seed);
			check_snapshot(k, copy, power);
			sim_free(copy);
		}
		sim_free(crowd.snapshots[k]);
	}
	log_close(l);
	sim_free(d);
}

static void test_many_publishers_and_a_death(void **state)
{
	crash_with_many_publishers(false);
}

static void test_many_publishers_and_a_loss_of_power(void **state)
{
	crash_with_many_publishers(true);
}

/* --- faults ---------------------------------------------------------------------------------------- */

/* The process dies now, or the power fails. */
static void look_after_faults(struct run *r, bool power)
{
	for (int i = 0; i < (power ? 20 : 1); i++) {
		struct sim_disk *copy = sim_copy(r->disk);
		if (i > 0)
			sim_cut(copy, (enum sim_cut)(i % SIM_CUTS), &r->seed);
		look(r, copy);
		sim_free(copy);
	}
}

/*
 * Call number k fails, and some after it: appends are refused or kept, never both. Then the process
 * goes on, and dies, or the power fails. False: the run has fewer calls.
 */
static bool fail_at(long k, long calls, int code, bool partly, bool power)
{
	static struct run r;
	begin(&r, power);
	r.log = open_run(&r, r.disk);
	r.disk->calls = 0;
	r.disk->fail_at = k;
	r.disk->fail_calls = calls;
	r.disk->fail_code = code;
	r.disk->fail_partly = partly;
	static const struct batch some[] = {{0, 2, 60, OFFERED}, {0, 1, 200, OFFERED}};
	for (int i = 0; i < 14; i++) {
		commit(r.log, &r.account, some, 1 + i % 2);
		if (i % 5 == 4)
			log_rest(r.log);
	}
	bool reached = r.disk->calls > k;
	snprintf(
		r.where, sizeof(r.where), "call %ld and %ld more fail with %d", k, calls - 1, code);
	r.disk->fail_at = -1;
	/* A reader of this process finds exactly what was kept. */
	struct content c = read_log(r.log, 1);
	check_content(&r.account, &c, false, r.where);
	assert_true(c.gaps == 0);
	free_content(&c);
	/* With one failure alone nothing of what was refused may come back; with more it may, whole. */
	r.faulty = true;
	r.lax = calls > 1;
	look_after_faults(&r, power);
	/* And all is well again. */
	commit(r.log, &r.account, some, 2);
	assert_true(r.account.batches[r.account.n - 1].state == KEPT);
	struct log_stats stats;
	log_get_stats(r.log, &stats);
	assert_int_equal(stats.last_failure.code, 0);
	uint64_t first, last = 0;
	int64_t bytes;
	for (size_t i = 0; log_get_segment(r.log, i, &first, &bytes); i++) {
		assert_true(first > last);
		last = first;
	}
	look_after_faults(&r, power);
	end(&r);
	return reached;
}

static void test_any_call_fails(void **state)
{
	static const int codes[] = {EIO, ENOSPC};
	for (int how = 0; how < 8; how += STEP)
		for (int calls = 1; calls < 6; calls++)
			for (long k = 0; fail_at(k, calls, codes[how & 1], how & 2, how & 4); k++)
				;
}

static struct log_reader *eager;

/* The reader reads before what has failed is cut off. */
static int read_and_truncate(const struct log_io *io, int fd, int64_t size)
{
	struct log_item item;
	struct err err;
	assert_int_equal(log_reader_next(eager, &item, &err), LOG_READ_MESSAGE);
	assert_int_equal(number_of(item.msg), 1);
	message_unref(item.msg);
	return sim_truncate(io, fd, size);
}

/* What a failed commit has written was on the disk for a moment: no reader has it in its memory. */
static void test_a_reader_sees_nothing_of_a_failed_commit(void **state)
{
	static struct run r;
	static const struct batch same[] = {{0, 1, 50, OFFERED}},
				  two[] = {{0, 1, 50, OFFERED}, {0, 1, 400, OFFERED}};
	begin(&r, false);
	r.log = open_run(&r, r.disk);
	for (int i = 0; i < 3; i++)
		commit(r.log, &r.account, same, 1);
	eager = log_reader_open(r.log, 1, 0);
	r.disk->io.truncate = read_and_truncate;
	r.disk->fail_at = r.disk->calls;
	r.disk->fail_partly = true;
	commit(r.log, &r.account, two, 2);
	assert_int_equal(r.account.batches[3].state, REFUSED);
	r.disk->io.truncate = sim_truncate;
	commit(r.log, &r.account, same, 1);
	static const uint64_t numbers[] = {2, 3, 6};
	for (int i = 0; i < 3; i++) {
		struct log_item item;
		struct err err;
		assert_int_equal(log_reader_next(eager, &item, &err), LOG_READ_MESSAGE);
		assert_int_equal(number_of(item.msg), numbers[i]);
		message_unref(item.msg);
	}
	log_reader_close(eager);
	end(&r);
}

/* A write, or a sync, has failed, and right after that the process dies, or the power fails. */
static void test_what_was_refused_does_not_come_back(void **state)
{
	static const struct batch one[] = {{0, 1, 50, OFFERED}};
	static const struct batch two[] = {{0, 2, 50, OFFERED}, {0, 1, 400, OFFERED}};
	for (int how = 0; how < 4; how++) {
		/* 0: a write, of the process; 1: a write; 3: a sync. Without syncs there is no 2. */
		if (how == 2)
			continue;
		static struct run r;
		begin(&r, how & 1);
		r.log = open_run(&r, r.disk);
		commit(r.log, &r.account, one, 1);
		r.disk->fail_at = r.disk->calls;
		r.disk->fail_partly = !(how & 2);
		if (how & 2)
			r.disk->fail_at++;
		commit(r.log, &r.account, two, 2);
		assert_int_equal(r.account.batches[1].state, REFUSED);
		assert_int_equal(r.account.batches[2].state, REFUSED);
		r.disk->fail_at = -1;
		r.faulty = true;
		snprintf(r.where, sizeof(r.where), "way %d", how);
		for (int i = 0; i < 10; i++)
			look_after_faults(&r, r.power);
		end(&r);
	}
}

/* Recovery meets errors: it says so, and the next try succeeds. */
static void test_recovery_fails(void **state)
{
	static struct run r;
	bool reached = true;
	for (int power = 0; power < 2; power++) {
		begin(&r, power);
		r.log = open_run(&r, r.disk);
		work(&r);
		struct sim_inode *dir = sim_file(r.disk, "t.log", "");
		assert_null(dir);
		for (long k = 0; reached && k < 200; k++) {
			struct sim_disk *copy = sim_copy(r.disk);
			struct log *l = NULL;
			struct err err = {0};
			struct log_opts opts = {.topic = "t",
				.disk = power,
				.segment_bytes = SEGMENT,
				.lg = &test_lg,
				.io = &copy->io};
			copy->fail_at = k;
			if (log_open(&opts, &l, &err) != 0)
				assert_true(*err.msg);
			else
				log_close(l);
			reached = copy->calls > k;
			for (int i = 0; i < SIM_FDS; i++)
				assert_true(copy->fds[i] < 0 || i == 0);
			copy->fail_at = -1;
			snprintf(r.where, sizeof(r.where), "call %ld of the recovery fails", k);
			look(&r, copy);
			sim_free(copy);
		}
		assert_false(reached);
		reached = true;
		end(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process_dies_anywhere),
		cmocka_unit_test(test_power_fails_anywhere),
		cmocka_unit_test(test_many_publishers_and_a_death),
		cmocka_unit_test(test_many_publishers_and_a_loss_of_power),
		cmocka_unit_test(test_any_call_fails),
		cmocka_unit_test(test_a_reader_sees_nothing_of_a_failed_commit),
		cmocka_unit_test(test_what_was_refused_does_not_come_back),
		cmocka_unit_test(test_recovery_fails),
	};
	return cmocka_run_group_tests(tests, log_setup, log_teardown);
}
