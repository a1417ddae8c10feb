/* SPDX-License-Identifier: MIT */
/*
 * SIGHUP: the config file and the certificates are read again, and what can change at run time does.
 * All functions are main's.
 */
#ifndef NSQD_RELOAD_H
#define NSQD_RELOAD_H

#include "nsqd/core/context.h"
#include "nsqd/core/options.h"
#include "nsqd/core/tls_config.h"
#include "nsqd/http/http_tokens.h"
#include "nsqd/queue/topics.h"

struct reload {
	struct context *ctx; /* borrowed, as are the next five */
	struct topics *topics;
	struct tls_current *tls; /* NULL: no certificate */
	struct http_tokens *tokens;
	int argc;
	char **argv;
	struct options *as_read; /* owned; what the file and the command line said last */
};

/*
 * Call it with the options as they were read, before the start changes them. tls and tokens are set later, when
 * there are any. All but as_read is borrowed.
 */
void reload_init(struct reload *r, const struct options *as_read, int argc, char **argv);
void reload_destroy(struct reload *r);
/*
 * Reads all again. A file or certificate that cannot be used changes nothing, and the log says why.
 * The log names what has changed, and what would need a restart. Blocks on the files.
 */
void reload_now(struct reload *r);

#endif
