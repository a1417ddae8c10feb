/* SPDX-License-Identifier: MIT */
/*
 * Addresses as texts: "host:port" as Go's package net takes it apart, before it asks a name server.
 * Any thread; no state.
 */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/*
 * net.SplitHostPort into buffers as large as addr ("[::1]:1" has the host "::1"). NULL, or the
 * error in Go's words.
 */
const char *address_split_host_port(const char *addr, char *host, char *port);
/*
 * net.LookupPort of "tcp": a number, or the name of a service (in /etc/services, or one of the few
 * that Go knows by itself). "" is 0. 0, or -1 with err set: "lookup tcp/x: unknown port".
 */
int address_lookup_port(const char *port, uint16_t *number, struct err *err);
/* isDomainName of net: may a name server be asked for it? Digits and dots alone are no name. */
bool address_is_domain_name(const char *name);
/*
 * lookupStaticHost: appends to ips the addresses that the file at path (/etc/hosts) has for name,
 * separated by commas. name may hold any bytes; the case of its letters does not matter. If there
 * are dots in it, one more at its end changes nothing. False: no address. Blocks on the file.
 */
bool address_lookup_hosts_file(const char *path, const char *name, struct strbuf *ips);

#endif
