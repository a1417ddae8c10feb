/* SPDX-License-Identifier: MIT */
/*
 * Routing. Mirrors julienschmidt/httprouter 1.3.0 (router.go, tree.go), for a table of fixed paths
 * and paths with one parameter at the end. Runs in the threads of HTTP connections; keeps no state.
 * A table of thirty paths needs no radix tree.
 */
#include "nsqd/http/http_router.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/url.h"

static const struct {
	const char *name;
	enum http_method method;
} methods[] = {
	/* in the order of the Allow header */
	{"GET", HTTP_GET},
	{"OPTIONS", HTTP_OPTIONS},
	{"POST", HTTP_POST},
	{"PUT", HTTP_PUT},
};

#define N_METHODS (sizeof(methods) / sizeof(*methods))

enum http_method http_method_parse(const char *method)
{
	for (size_t i = 0; i < N_METHODS; i++) {
		if (strcmp(method, methods[i].name) == 0)
			return methods[i].method;
	}
	return HTTP_OTHER;
}

/* The length of the route's path in front of its parameter; of all of it if it has none. */
static size_t fixed_len(const struct http_route *r, bool *has_param)
{
	const char *colon = strchr(r->path, ':');
	*has_param = colon != NULL;
	return colon ? (size_t)(colon - r->path) : strlen(r->path);
}

typedef int (*compare_fn)(const char *, const char *, size_t);

/* memcmp would do for the exact case; both compare bytes that are there. */
static int exactly(const char *a, const char *b, size_t n)
{
	return memcmp(a, b, n);
}

static bool matches(const struct http_route *r, const char *path, size_t len, compare_fn compare,
	const char **param, size_t *param_len)
{
	bool has_param;
	size_t fixed = fixed_len(r, &has_param);
	*param = NULL;
	*param_len = 0;
	if (len < fixed || compare(path, r->path, fixed) != 0)
		return false;
	if (!has_param)
		return len == fixed;
	*param = path + fixed;
	*param_len = len - fixed;
	return *param_len > 0 && !memchr(*param, '/', *param_len);
}

/* strncasecmp stops at a 0 byte, which no route has: then it differs. */
static int ignoring_case(const char *a, const char *b, size_t n)
{
	return strncasecmp(a, b, n);
}

/* The first route of that method; with methods_mask several methods are asked for at once. */
static const struct http_route *find(const struct http_route *routes, size_t n, int methods_mask,
	const char *path, size_t len, compare_fn compare, const char **param, size_t *param_len)
{
	for (size_t i = 0; i < n; i++) {
		if ((routes[i].method & methods_mask) &&
			matches(&routes[i], path, len, compare, param, param_len))
			return &routes[i];
	}
	return NULL;
}

/* The route's own spelling of its fixed part, and the parameter as it came. */
static void add_path(struct strbuf *out, const struct http_route *r, const char *param, size_t len)
{
	bool has_param;
	size_t fixed = fixed_len(r, &has_param);
	strbuf_add(out, r->path, fixed);
	if (has_param)
		strbuf_add(out, param, len);
}

/* An empty parameter does not count, except (as in httprouter) when a slash follows. */
static bool is_empty_param_and_slash(const struct http_route *r, const char *path, size_t len)
{
	bool has_param;
	size_t fixed = fixed_len(r, &has_param);
	return has_param && len == fixed + 1 && path[fixed] == '/' &&
	       memcmp(path, r->path, fixed) == 0;
}

/* A route with a slash more or less than path: httprouter's tsr. path is longer than "/". */
static bool find_other_slash(const struct http_route *routes, size_t n, enum http_method method,
	const char *path, size_t len, compare_fn compare, struct strbuf *out)
{
	const char *param;
	size_t param_len;
	const struct http_route *r;
	if (path[len - 1] == '/') {
		r = find(routes, n, method, path, len - 1, compare, &param, &param_len);
		if (r) {
			add_path(out, r, param, param_len);
			return true;
		}
		for (size_t i = 0; i < n; i++) {
			if (routes[i].method == method &&
				is_empty_param_and_slash(&routes[i], path, len)) {
				strbuf_add(out, path, len - 1);
				return true;
			}
		}
		return false;
	}
	struct strbuf longer = STRBUF_INIT;
	strbuf_add(&longer, path, len);
	strbuf_addc(&longer, '/');
	r = find(routes, n, method, longer.data, longer.len, compare, &param, &param_len);
	if (r)
		add_path(out, r, param, param_len);
	strbuf_free(&longer);
	return r != NULL;
}

/* RedirectFixedPath: superfluous elements removed, and then any case. */
static bool find_fixed_path(const struct http_route *routes, size_t n, enum http_method method,
	const char *path, size_t len, struct strbuf *out)
{
	struct strbuf clean = STRBUF_INIT;
	const char *param;
	size_t param_len;
	url_clean_path(&clean, path, len);
	const struct http_route *r =
		find(routes, n, method, clean.data, clean.len, ignoring_case, &param, &param_len);
	if (r)
		add_path(out, r, param, param_len);
	bool found = r || (clean.len > 1 && find_other_slash(routes, n, method, clean.data,
						    clean.len, ignoring_case, out));
	strbuf_free(&clean);
	return found;
}

/* Router.allowed: false if no other method serves the path. */
static bool find_allowed(const struct http_route *routes, size_t n, enum http_method method,
	const char *path, size_t len, char *allow, size_t size)
{
	int mask = 0;
	bool any = len == 1 && *path == '*';
	for (size_t i = 0; i < n; i++) {
		const char *param;
		size_t param_len;
		if (any || (routes[i].method != method &&
				   matches(&routes[i], path, len, exactly, &param, &param_len)))
			mask |= routes[i].method;
	}
	if (!mask)
		return false;
	mask |= HTTP_OPTIONS;
	size_t used = 0;
	for (size_t i = 0; i < N_METHODS; i++) {
		if (mask & methods[i].method)
			used += (size_t)snprintf(allow + used, size - used, "%s%s",
				used ? ", " : "", methods[i].name);
	}
	return true;
}

enum http_route_result http_route_find(const struct http_route *routes, size_t n_routes,
	enum http_method method, const char *path, size_t path_len, struct http_match *out)
{
	*out = (struct http_match){0};
	out->route = find(
		routes, n_routes, method, path, path_len, exactly, &out->param, &out->param_len);
	if (out->route)
		return HTTP_ROUTE_FOUND;
	bool has_tree = method == HTTP_GET || method == HTTP_POST || method == HTTP_PUT;
	if (has_tree && path_len > 1 &&
		(find_other_slash(
			 routes, n_routes, method, path, path_len, exactly, &out->redirect_path) ||
			find_fixed_path(
				routes, n_routes, method, path, path_len, &out->redirect_path)))
		return HTTP_ROUTE_REDIRECT;
	if (!find_allowed(routes, n_routes, method, path, path_len, out->allow, sizeof(out->allow)))
		return HTTP_ROUTE_NOT_FOUND;
	return method == HTTP_OPTIONS ? HTTP_ROUTE_ALLOW : HTTP_ROUTE_METHOD_NOT_ALLOWED;
}
