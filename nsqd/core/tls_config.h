/* SPDX-License-Identifier: MIT */
/*
 * The server's side of --tls-*: certificate, key, client policy, versions (buildTLSConfig of
 * nsqd/nsqd.go). Both the TCP side and HTTPS use it.
 */
#ifndef NSQD_TLS_CONFIG_H
#define NSQD_TLS_CONFIG_H

#include <stdatomic.h>

#include "common/err.h"
#include "common/lock.h"
#include "nsqd/core/options.h"
#include "protocol/stream_tls.h"

/* Counted: the daemon holds one reference of the present one, each connection one of its own. */
struct tls_config {
	_Atomic int refs;
	struct tls_server server; /* immutable; owned, with all that it holds */
};

/* The one for new handshakes: a reload puts another one here. */
struct tls_current;

/*
 * buildTLSConfig. Reads the files. 0: *c is set, to NULL if there is neither a certificate nor a
 * key; the caller gets a reference. -1: err names the wrong file or flag.
 */
int tls_config_new(const struct options *opts, struct tls_config **c, struct err *err);
/* NULL is fine. Any thread. */
void tls_config_unref(struct tls_config *c);

/* Takes over the caller's reference. Main thread. */
struct tls_current *tls_current_new(struct tls_config *take_c);
/* When no connection is left. NULL is fine. Main thread. */
void tls_current_free(struct tls_current *t);
/* A reference to the present one, for a handshake. Any thread; takes a leaf lock. */
struct tls_config *tls_current_get(struct tls_current *t);
/* Later handshakes get this one. Takes over the caller's reference. Any thread; a leaf lock. */
void tls_current_replace(struct tls_current *t, struct tls_config *take_c);

#endif
