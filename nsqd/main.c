/* SPDX-License-Identifier: MIT */
/*
 * main: options -> nsqd_new -> nsqd_load_metadata -> nsqd_persist_metadata -> nsqd_main -> wait for
 * a stop signal -> nsqd_exit. Mirrors apps/nsqd/main.go, and the work of go-svc and the Go runtime
 * around it. --check-config, --inspect-data and --export-stock (Go has none of them) end after the
 * options. Runs in the thread "main".
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/gothread.h"
#include "common/lg.h"
#include "common/rlimit.h"
#include "common/sd_daemon.h"
#include "common/xalloc.h"
#include "nsqd/nsqd.h"
#include "nsqd/core/log_fields.h"
#include "nsqd/core/nsqd_flags.h"
#include "nsqd/core/options.h"
#include "nsqd/core/signals.h"
#include "nsqd/http/http_server.h"
#include "nsqd/life/reload.h"
#include "nsqd/life/wait.h"
#include "nsqd/offline/check_config.h"
#include "nsqd/offline/export_stock.h"
#include "nsqd/offline/inspect_data.h"
#include "nsqd/queue/metadata_file.h"

/*
 * checkfds of runtime/fds_unix.go. The first file that we open would get the number of a standard
 * descriptor that is closed at the start, and the log would go into it. Without /dev/null, anything
 * that cannot be written to takes the number.
 */
static void open_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		/* The lowest that is free is fd: those below are open by now. */
		if (open("/dev/null", O_RDWR) < 0 && open("/", O_PATH) < 0)
			_exit(EXIT_FAILURE);
	}
}

/* The format of the log, while there is no daemon yet. */
static lg_describe_fn *describe_early;

/* lg.LogFatal, after what the daemon has logged so far (n: NULL where there is none yet). */
static _Noreturn void log_fatal(struct nsqd *n, const char *what, const struct err *err)
{
	lg_describe_fn *describe = n ? n->ctx.lg.describe : describe_early;
	if (n)
		lg_stop_writer(&n->ctx.lg);
	gothread_drain();
	lg_fatalf("[nsqd] ", describe, "%s - %s", what, err->msg);
}

/* Topics may have been loaded, and their pumps hold messages: stock's end here loses those. */
static _Noreturn void give_up(struct nsqd *n, const char *what, const struct err *err)
{
	nsqd_give_up(n);
	log_fatal(n, what, err);
}

/* Where nothing in the data path can be read, that is said of nsqd.dat, as in stock. */
static void load_settings(struct nsqd *n)
{
	const char *path = nsqd_data_path(&n->ctx);
	struct err err, metadata_err;
	cJSON *root = NULL;
	if (settings_store_load(&n->ctx.settings, path, n->ctx.data_dir_fd, &err) == 0)
		return;
	if (metadata_file_read(path, &root, &metadata_err) < 0)
		give_up(n, "failed to load metadata", &metadata_err);
	cJSON_Delete(root);
	give_up(n, "failed to load settings", &err);
}

static void start(struct nsqd *n)
{
	struct err err;
	load_settings(n);
	dead_targets_load(&n->topics.dead_targets, nsqd_data_path(&n->ctx));
	if (nsqd_load_metadata(&n->metadata, &err) != 0)
		give_up(n, "failed to load metadata", &err);
	if (nsqd_persist_metadata(&n->metadata, &err) != 0)
		give_up(n, "failed to persist metadata", &err);
	if (nsqd_main(n, &err) != 0)
		give_up(n, "failed to start nsqd", &err);
}

/* dieFromSignal: so that the parent sees why. Returns as the first process of a container. */
static void die_of(int signum)
{
	signal(signum, SIG_DFL);
	raise(signum);
}

/* No daemon is wanted, but an answer. Returns the exit code. */
static int run_offline(struct options *opts)
{
	signals_unblock();
	if (opts->run_mode == RUN_CHECK_CONFIG)
		return check_config(opts, STDOUT_FILENO, STDERR_FILENO);
	if (opts->run_mode == RUN_EXPORT_STOCK)
		return export_stock(opts, STDOUT_FILENO, STDERR_FILENO);
	return inspect_data(opts, STDOUT_FILENO, STDERR_FILENO);
}

/*
 * Takes what a service manager has put into the environment. Only now: --version and --help are
 * answered whatever is there.
 */
static void init_sd_daemon(struct sd_daemon *sd)
{
	struct err err;
	if (sd_daemon_init(sd, nsqd_socket_names, SD_SOCKETS, &err) != 0)
		log_fatal(NULL, "failed to instantiate nsqd", &err);
}

/* Tells the service manager that it all works. Without it the manager gives up in the end. */
static void tell_ready(struct nsqd *n, const struct sd_daemon *sd)
{
	struct err err;
	char status[256];
	const struct http_daemon *d = &n->http_daemon;
	if (sd->warning.code != 0)
		nsqd_logf(&n->ctx, LG_WARN, "%s", sd->warning.msg);
	int len = snprintf(status, sizeof(status), "TCP port %d, HTTP port %d, HTTPS port %d",
		d->tcp_port, d->http_port, d->https_port);
	if (d->readonly_server)
		snprintf(status + len, sizeof(status) - (size_t)len, ", read-only HTTP port %d",
			http_server_port(d->readonly_server));
	if (sd_daemon_ready(sd, status, &err) != 0)
		nsqd_logf(&n->ctx, LG_WARN, "%s", err.msg);
}

int main(int argc, char **argv)
{
	struct err err;
	struct sd_daemon sd;
	int exit_code = EXIT_FAILURE;
	open_standard_descriptors();
	xalloc_init();
	gothread_adopt("main");
	rlimit_raise_nofile();
	gothread_expect_thousands();
	signals_block();

	struct options *opts = options_new();
	if (nsqd_flags_parse(opts, argc, argv, STDOUT_FILENO, STDERR_FILENO, &exit_code) != 0) {
		options_free(opts);
		return exit_code;
	}
	if (opts->run_mode != RUN_DAEMON) {
		exit_code = run_offline(opts);
		gothread_drain();
		options_free(opts);
		return exit_code;
	}
	describe_early = log_describe(opts);
	init_sd_daemon(&sd);
	struct reload reload;
	reload_init(&reload, opts, argc, argv);
	struct signals *signals = signals_start(strcmp(opts->sigterm, "drain") == 0, &err);
	if (!signals)
		log_fatal(NULL, "failed to instantiate nsqd", &err);
	struct nsqd *nsqd = nsqd_new(opts, &sd, &err);
	if (!nsqd)
		log_fatal(NULL, "failed to instantiate nsqd", &err);
	signals_log_to(signals, &nsqd->ctx.lg);
	reload.ctx = &nsqd->ctx;
	reload.topics = &nsqd->topics;
	reload.tls = nsqd->tls;
	reload.tokens = nsqd->tokens;
	start(nsqd);
	tell_ready(nsqd, &sd);

	nsqd_wait(&nsqd->ctx, &nsqd->topics, signals, &reload);
	(void)sd_daemon_notify(&sd, "STOPPING=1", &err);
	nsqd_exit(nsqd);
	signals_stop(signals);
	lg_tell_repeated(&nsqd->ctx.lg);
	nsqd_logf(&nsqd->ctx, LG_INFO, "NSQ: bye"); /* the last line, which Exit logs in Go */
	bool nobody_reads = lg_is_broken(&nsqd->ctx.lg);
	exit_code = atomic_load(&nsqd->ctx.main_failed) ? EXIT_FAILURE : EXIT_SUCCESS;
	nsqd_free(nsqd);
	reload_destroy(&reload);
	sd_daemon_close(&sd);
	gothread_drain();
	if (nobody_reads)
		die_of(SIGPIPE);
	return exit_code;
}
