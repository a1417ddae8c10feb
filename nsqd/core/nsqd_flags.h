/* SPDX-License-Identifier: MIT */
/*
 * The command line and the config file (apps/nsqd/options.go and the first half of main.go,
 * go-options). One table of all flags serves the parser, --help, the config file and GET
 * /config/:opt; docs/configuration.md lists it.
 */
#ifndef NSQD_NSQD_FLAGS_H
#define NSQD_NSQD_FLAGS_H

#include <stdbool.h>

#include "common/err.h"
#include "common/lg.h"
#include "common/strbuf.h"
#include "nsqd/core/options.h"

/*
 * Fills in *o, which comes from options_new: the command line beats the config file (--config)
 * beats the default. Returns 0 to go on. Returns -1 when the process is to exit with *exit_code,
 * and has said all there is to say then:
 *   0  --version (to out_fd), --help (usage to err_fd)
 *   1  a config file, or a value in it, that cannot be used (FATAL line to err_fd; with
 *      --check-config a line for each such value)
 *   2  a bad command line (Go's message and the usage to err_fd)
 * Warnings (unknown keys and the like) go to err_fd as log lines. Values are checked one by one
 * here, and against each other by options_check. --check-config and --inspect-data are the caller's
 * to obey: o->run_mode. Blocks on the config file. Main thread.
 */
int nsqd_flags_parse(
	struct options *o, int argc, char **argv, int out_fd, int err_fd, int *exit_code);

/*
 * The same for a daemon that runs, upon SIGHUP: reads the command line that it was started with, and
 * the config file as it is now. -1 with err set: it cannot be used, and *o is to be dropped.
 * Warnings go to log. A config file that is no regular one is not read a second time: a pipe would be
 * empty. Blocks on the config file. Main thread.
 */
int nsqd_flags_reparse(
	struct options *o, int argc, char **argv, const struct lg *log, struct err *err);

/* Calls fn for each option that differs: with its key in the config file, and both values as text. */
void nsqd_flags_each_difference(const struct options *a, const struct options *b,
	void (*fn)(void *arg, const char *key, const char *in_a, const char *in_b), void *arg);

/*
 * getOptByCfgName: appends the value of the option with this config key, as GET /config/:opt
 * answers it. A string is appended as it is (*json is false), the rest as JSON. False: there is no
 * such option.
 */
bool nsqd_flags_config_value(
	const struct options *o, const char *key, struct strbuf *out, bool *json);

#endif
