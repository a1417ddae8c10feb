/* SPDX-License-Identifier: MIT */
/*
 * /debug, in place of the debugging pages. Mirrors the routes below /debug in nsqd/http.go. Runs in
 * the threads of HTTP connections.
 *
 * Different from Go: GET /debug/, which stock does not have, shows threads, descriptors and the
 * allocator (nsqd/stats/debug_print.c). Requests to the Go runtime (net/http/pprof, the block
 * profile) are answered with 501, so that a tool says why it fails.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/slab.h"
#include "common/libc.h"
#include "nsqd/http/http.h"
#include "nsqd/http/http_request.h"
#include "nsqd/stats/debug_print.h"

#define BAD_REQUEST 400
#define NOT_IMPLEMENTED 501

void http_do_debug(struct http_request *req)
{
	debug_print(&req->out);
	http_respond_out(req, false);
}

/* --- what stock has --------------------------------------------------------------------------- */

/* strconv.Atoi: its error, or NULL. */
static const char *check_int(const char *s)
{
	const char *p = *s == '+' || *s == '-' ? s + 1 : s;
	if (!*p || strspn(p, "0123456789") != strlen(p))
		return "invalid syntax";
	errno = 0;
	(void)strtoll(s, NULL, 10);
	return errno ? "value out of range" : NULL;
}

/* setBlockRateHandler */
void http_do_set_block_rate(struct http_request *req)
{
	(void)http_parse_query(req); /* malformed parts are left out, as FormValue does */
	const struct url_value *v = url_values_get(&req->query, "rate");
	const char *rate = v ? v->value : "";
	const char *problem = check_int(rate);
	if (!problem) {
		http_respond_error(req, NOT_IMPLEMENTED, "block profiles belong to the Go runtime");
		return;
	}
	struct strbuf text = STRBUF_INIT;
	strbuf_adds(&text, "invalid block rate : strconv.Atoi: parsing ");
	strbuf_addq(&text, rate, strlen(rate));
	strbuf_addf(&text, ": %s", problem);
	http_respond_error(req, BAD_REQUEST, text.data);
	strbuf_free(&text);
}

/* freeMemory. (Stock frees memory, too, and then answers 500.) */
void http_do_free_memory(struct http_request *req)
{
	slab_trim_all(); /* messages lie there */
	libc_trim();
	http_respond_empty(req);
}

void http_do_pprof(struct http_request *req)
{
	http_respond_error(req, NOT_IMPLEMENTED,
		"pprof belongs to the Go runtime; see GET /debug/ for threads, descriptors and "
		"memory");
}
