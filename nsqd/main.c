/* SPDX-License-Identifier: MIT */
/*
 * main: options -> nsqd_new -> nsqd_load_metadata -> nsqd_persist_metadata ->
 * nsqd_main -> wait for a signal -> nsqd_exit. Mirrors apps/nsqd/main.go and
 * what go-svc does around it.
 *
 * Signals are blocked in every thread and waited for in this one, so that no
 * handler ever runs. SIGTERM and SIGINT stop the daemon, a second one ends it
 * at once. SIGHUP does nothing (stock dies of it); SIGPIPE cannot happen.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/gothread.h"
#include "common/lg.h"
#include "common/rlimit.h"
#include "nsqd/flags.h"
#include "nsqd/metadata.h"
#include "nsqd/nsqd.h"
#include "nsqd/options.h"

/* lg.LogFatal, after what the daemon has logged so far (n: NULL where there is none yet). */
static _Noreturn void log_fatal(struct nsqd *n, const char *what, const struct err *err)
{
	if (n)
		lg_stop_writer(&n->lg);
	lg_fatalf("[nsqd] ", "%s - %s", what, err->msg);
}

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	PT_OK(pthread_sigmask(SIG_BLOCK, set, NULL));
	CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
}

static void wait_for_stop(struct nsqd *n, const sigset_t *set)
{
	for (;;) {
		int sig = 0;
		PT_OK(sigwait(set, &sig));
		if (sig != SIGHUP)
			return;
		nsqd_logf(n, LG_INFO, "NSQ: ignoring SIGHUP");
	}
}

/*
 * From here on a signal has its default effect: whoever does not want to wait for the exit need
 * not.
 */
static void unblock_signals(const sigset_t *set)
{
	signal(SIGHUP, SIG_IGN);
	PT_OK(pthread_sigmask(SIG_UNBLOCK, set, NULL));
}

int main(int argc, char **argv)
{
	struct err err;
	sigset_t signals;
	int exit_code = EXIT_FAILURE;
	gothread_adopt("main");
	rlimit_raise_nofile();
	block_signals(&signals);

	struct options *opts = options_new();
	if (nsqd_flags_parse(opts, argc, argv, STDOUT_FILENO, STDERR_FILENO, &exit_code) != 0) {
		options_free(opts);
		return exit_code;
	}
	struct nsqd *nsqd = nsqd_new(opts, &err);
	if (!nsqd)
		log_fatal(NULL, "failed to instantiate nsqd", &err);
	if (nsqd_load_metadata(nsqd, &err) != 0)
		log_fatal(nsqd, "failed to load metadata", &err);
	if (nsqd_persist_metadata(nsqd, &err) != 0)
		log_fatal(nsqd, "failed to persist metadata", &err);
	if (nsqd_main(nsqd, &err) != 0)
		log_fatal(nsqd, "failed to start nsqd", &err);

	wait_for_stop(nsqd, &signals);
	unblock_signals(&signals);
	nsqd_exit(nsqd);
	exit_code = atomic_load(&nsqd->main_failed) ? EXIT_FAILURE : EXIT_SUCCESS;
	nsqd_free(nsqd);
	return exit_code;
}
