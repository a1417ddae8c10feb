/* SPDX-License-Identifier: MIT */
/* May the client of an HTTP connection have what it asks for? */
#ifndef NSQD_HTTP_ACCESS_H
#define NSQD_HTTP_ACCESS_H

#include "nsqd/http/http_internal.h"

/*
 * For the request that c is at, whose route has been found. HTTP_UNAUTHORIZED: it shows no token that
 * is known. HTTP_FORBIDDEN: that does not have the route's scope, or the listener does not serve the
 * route. Does not block; takes a leaf lock.
 */
enum http_access http_access_check(const struct http_conn *c);

#endif
