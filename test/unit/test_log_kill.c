/* SPDX-License-Identifier: MIT */
/*
 * kill -9 at random moments. A child has several publishers, which tell through a pipe what they are
 * about to append, and what was kept. The parent kills it, opens the log and counts. All that was
 * kept is there, in order and once; of what was not, whole batches or nothing.
 */
#include "test/unit/dir_test.h"
#include "test/unit/log_test.h"

#include <signal.h>
#include <sys/wait.h>

#include "common/rand.h"

#define KILLS 40
#define BUDGET (4 * NSEC_PER_SEC)
#define PUBLISHERS 3
#define PER_PUBLISHER 10000000

/* What a publisher says: its messages below kept are kept; those below offered may be. */
struct report {
	uint32_t who, kept, offered;
};

static struct publisher {
	struct log *l;
	uint32_t who, next;
	int fd;
} publishers[PUBLISHERS];

static void say(const struct publisher *p, uint32_t offered)
{
	struct report r = {p->who, p->next, offered};
	if (write(p->fd, &r, sizeof(r)) != sizeof(r))
		_exit(2);
}

static void publish(void *arg)
{
	struct publisher *p = arg;
	for (;;) {
		struct message *msgs[20];
		struct err err;
		uint32_t n = 1 + rand_below(COUNT(msgs));
		for (uint32_t i = 0; i < n; i++)
			msgs[i] =
				make_message(p->who * PER_PUBLISHER + p->next + i, rand_below(400));
		say(p, p->next + n);
		if (log_append(p->l, msgs, n, &err) != 0)
			_exit(1);
		p->next += n;
		say(p, p->next);
		message_unref_all(msgs, n);
	}
}

static int64_t segment_of(int round)
{
	return round % 3 == 0 ? 3000 : 100000;
}

static _Noreturn void child(int round, const uint32_t *next, int fd)
{
	struct wait_group wg;
	struct log *l = open_log(NULL, AT_FDCWD, false, segment_of(round));
	wait_group_init(&wg);
	for (uint32_t i = 0; i < PUBLISHERS; i++) {
		publishers[i] = (struct publisher){l, i, next[i], fd};
		go(&wg, publish, &publishers[i]);
	}
	wait_group_wait(&wg);
	_exit(3);
}

/* Lets a child work for a moment, and kills it; reports has what each publisher said last. */
static void run_child(int round, const uint32_t *next, struct report *reports)
{
	int fds[2], status;
	struct report r;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fflush(NULL);
	pid_t pid = fork_alone();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		child(round, next, fds[1]);
	}
	close(fds[1]);
	int64_t end = clock_mono_ns() + (int64_t)rand_below(60) * NSEC_PER_MSEC;
	bool killed = false;
	while (read(fds[0], &r, sizeof(r)) == sizeof(r)) {
		reports[r.who] = r;
		if (!killed && clock_mono_ns() >= end) {
			kill(pid, SIGKILL);
			killed = true;
		}
	}
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Reads all; next gets how many messages of each publisher are there. */
static void count(struct log *l, uint32_t *next)
{
	struct content c = read_log(l, 1);
	memset(next, 0, PUBLISHERS * sizeof(*next));
	assert_int_equal(c.gaps, 0);
	for (size_t i = 0; i < c.n; i++) {
		uint64_t who = c.numbers[i] / PER_PUBLISHER;
		assert_true(who < PUBLISHERS);
		assert_true(c.numbers[i] % PER_PUBLISHER == next[who]++);
	}
	free_content(&c);
}

static int setup(void **state)
{
	return enter_test_dir(state) != 0 ? -1 : log_setup(state);
}

static int teardown(void **state)
{
	struct err err;
	assert_int_equal(log_delete(open_log(NULL, AT_FDCWD, false, 0), AT_FDCWD, &err), 0);
	log_teardown(state);
	return leave_test_dir(state);
}

static void test_killed_at_any_moment(void **state)
{
	uint32_t next[PUBLISHERS] = {0};
	int64_t end = clock_mono_ns() + BUDGET;
	int round = 0;
	for (; round < KILLS && (round < 3 || clock_mono_ns() < end); round++) {
		struct report reports[PUBLISHERS];
		for (uint32_t i = 0; i < PUBLISHERS; i++)
			reports[i] = (struct report){i, next[i], next[i]};
		run_child(round, next, reports);
		struct log *l = open_log(NULL, AT_FDCWD, false, 0);
		count(l, next);
		for (int i = 0; i < PUBLISHERS; i++)
			if (next[i] != reports[i].kept && next[i] != reports[i].offered)
				fail_msg("round %d: publisher %d has %u, kept %u, offered %u",
					round, i, next[i], reports[i].kept, reports[i].offered);
		log_close(l);
	}
	assert_true(next[0] + next[1] + next[2] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed_at_any_moment, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
