/* SPDX-License-Identifier: MIT */
/*
 * Signals. Mirrors os/signal (the goroutine that hands them on), the table of
 * runtime/sigtab_linux_generic.go, and go-svc's handling of SIGTERM and SIGINT.
 *
 * All signals that mean something are blocked in every thread. The thread "signals" waits for them,
 * from the start to the very end. So no handler runs, a signal during the start waits, and a second
 * one during the exit is taken, too. The thread logs, and sends to stop_chan. It waits for nothing
 * else, so SIGQUIT works whatever the other threads are stuck in.
 */
#include "nsqd/core/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/stacks.h"
#include "common/xalloc.h"

#define EXIT_QUIT 2                    /* what the Go runtime ends with */
#define QUIT_LOG_NS (1 * NSEC_PER_SEC) /* for the log's reader to take the last lines */
#define QUIT_NS (10 * NSEC_PER_SEC)    /* what the stacks may take in all */

struct signals {
	sigset_t waited_for;      /* immutable */
	bool drains;              /* immutable */
	struct chan *stop_chan;   /* immutable; of int, capacity 2: SIGTERM or SIGINT has come */
	struct chan *reload_chan; /* immutable; capacity 1: SIGHUP has come */
	_Atomic bool deaf;        /* main does not look at either any more */
	const struct lg *_Atomic log; /* NULL: there is none yet */
	_Atomic bool ended;
	struct wait_group wait_group;
};

/*
 * The signals with _SigNotify, but without _SigKill, _SigThrow or _SigDefault, in Go's table. Those
 * that the default ignores are left alone, STACKS_SIGNAL among them.
 */
static const int ignored[] = {
	SIGUSR1,
	SIGUSR2,
	SIGALRM,
	SIGXCPU,
	SIGXFSZ, /* the write says EFBIG */
	SIGVTALRM,
	SIGPROF,
	SIGIO,
	SIGPWR,
};

static void ignore(int signum)
{
	CHECK(signal(signum, SIG_IGN) != SIG_ERR);
}

static void waited_for(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGQUIT);
}

void signals_block(void)
{
	sigset_t set;
	waited_for(&set);
	PT_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	/* The parent process may have left it blocked or ignored. */
	sigset_t stacks;
	sigemptyset(&stacks);
	sigaddset(&stacks, STACKS_SIGNAL);
	PT_OK(pthread_sigmask(SIG_UNBLOCK, &stacks, NULL));
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		ignore(ignored[i]);
	for (int signum = SIGRTMIN; signum <= SIGRTMAX; signum++)
		ignore(signum);
}

void signals_unblock(void)
{
	sigset_t set;
	waited_for(&set);
	PT_OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
}

/* Ends the process as Go does: no flush, no exit handlers, not even a sanitizer's. */
static _Noreturn void quit(const struct signals *s)
{
	int64_t now = clock_mono_ns();
	const struct lg *lg = atomic_load(&s->log);
	if (lg)
		lg_drain(lg, now + QUIT_LOG_NS);
	stacks_print(STDERR_FILENO, "SIGQUIT: quit", now + QUIT_NS);
	syscall(SYS_exit_group, EXIT_QUIT);
	_exit(EXIT_QUIT);
}

static void stop(struct signals *s, int signum)
{
	const struct lg *lg = atomic_load(&s->log);
	static bool asked, stopping; /* the thread's own */
	if (!stopping && !atomic_load(&s->deaf))
		CHECK(chan_try_send_n(s->stop_chan, &signum, 1) == 1);
	else if (lg)
		lg_logf(lg, LG_INFO, "NSQ: ignoring %s, already stopping",
			signum == SIGTERM ? "SIGTERM" : "SIGINT");
	/* The first one may begin a drain, and then a second one ends it. */
	stopping = stopping || asked || !s->drains || signum != SIGTERM;
	asked = true;
}

static void reload(struct signals *s)
{
	const struct lg *lg = atomic_load(&s->log);
	if (!atomic_load(&s->deaf))
		chan_signal(s->reload_chan);
	else if (lg)
		lg_logf(lg, LG_INFO, "NSQ: ignoring SIGHUP, already stopping");
}

/* The thread "signals". */
static void signals_loop(void *arg)
{
	struct signals *s = arg;
	for (;;) {
		int signum = 0;
		PT_OK(sigwait(&s->waited_for, &signum));
		if (atomic_load(&s->ended))
			return;
		if (signum == SIGQUIT)
			quit(s);
		if (signum == SIGHUP)
			reload(s);
		if (signum == SIGTERM || signum == SIGINT)
			stop(s, signum);
	}
}

static void signals_free(struct signals *s)
{
	chan_free(s->stop_chan);
	chan_free(s->reload_chan);
	wait_group_destroy(&s->wait_group);
	free(s);
}

struct signals *signals_start(bool drains, struct err *err)
{
	struct signals *s = xcalloc(1, sizeof(*s));
	ignore(SIGPIPE);
	waited_for(&s->waited_for);
	s->drains = drains;
	s->stop_chan = chan_new(sizeof(int), 2);
	s->reload_chan = chan_new(0, 1);
	wait_group_init(&s->wait_group);
	if (wait_group_wrap(&s->wait_group, "signals", signals_loop, s, err) == 0)
		return s;
	signals_free(s);
	return NULL;
}

void signals_log_to(struct signals *s, const struct lg *lg)
{
	atomic_store(&s->log, lg);
}

struct chan *signals_stop_chan(struct signals *s)
{
	return s->stop_chan;
}

struct chan *signals_reload_chan(struct signals *s)
{
	return s->reload_chan;
}

void signals_stopping(struct signals *s)
{
	atomic_store(&s->deaf, true);
}

void signals_stop(struct signals *s)
{
	atomic_store(&s->ended, true);
	kill(getpid(), SIGTERM); /* wakes the thread, which has nothing else to look at */
	wait_group_wait(&s->wait_group);
	signals_free(s);
}
