/* SPDX-License-Identifier: MIT */
/*
 * The server's side of --tls-*: certificate, key, client policy, versions (buildTLSConfig of
 * nsqd/nsqd.go). Both the TCP side and HTTPS use it.
 */
#ifndef NSQD_TLS_CONFIG_H
#define NSQD_TLS_CONFIG_H

#include "common/err.h"
#include "nsqd/core/options.h"
#include "protocol/stream_tls.h"

/* Immutable. */
struct tls_config {
	struct tls_server server; /* owned, with all that it holds */
};

/*
 * buildTLSConfig. Reads the files. 0: *c is set, to NULL if there is neither a certificate nor a
 * key; the caller frees it. -1: err names the wrong file or flag.
 */
int tls_config_new(const struct options *opts, struct tls_config **c, struct err *err);
/* No connection may use it any more. NULL is fine. */
void tls_config_free(struct tls_config *c);

#endif
