/* SPDX-License-Identifier: MIT */
/*
 * Routing. Mirrors julienschmidt/httprouter 1.3.0 (router.go, tree.go), for a table of fixed paths
 * and paths with one parameter at the end. Runs in the pollers, and keeps no state. A table of
 * thirty paths needs no radix tree.
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

typedef int (*compare_fn)(const char *, const char *, size_t);

/* memcmp would do; both compare bytes that are there. */
static int exactly(const char *a, const char *b, size_t n)
{
	return memcmp(a, b, n);
}

/* strncasecmp stops at a 0 byte, which no route has: then it differs. */
static int ignoring_case(const char *a, const char *b, size_t n)
{
	return strncasecmp(a, b, n);
}

/* Where to look for a path. */
struct search {
	const struct http_route *routes;
	size_t n;
	enum http_method method;
	compare_fn compare;
};

/* The length of the route's path in front of its parameter; of all of it if it has none. */
static size_t fixed_len(const struct http_route *r)
{
	return strcspn(r->path, ":");
}

static bool has_param(const struct http_route *r)
{
	return r->path[fixed_len(r)] == ':';
}

static bool matches(const struct http_route *r, const char *path, size_t len, compare_fn compare,
	struct http_match *m)
{
	size_t fixed = fixed_len(r);
	if (len < fixed || compare(path, r->path, fixed) != 0)
		return false;
	m->route = r;
	m->param = has_param(r) ? path + fixed : NULL;
	m->param_len = len - fixed;
	return m->param ? m->param_len > 0 && !memchr(m->param, '/', m->param_len) : len == fixed;
}

static bool find(const struct search *s, const char *path, size_t len, struct http_match *m)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->routes[i].method == s->method &&
			matches(&s->routes[i], path, len, s->compare, m))
			return true;
	}
	return false;
}

/* The route's own spelling of its fixed part, and the parameter as it came. False: no route. */
static bool find_path(const struct search *s, const char *path, size_t len, struct strbuf *out)
{
	struct http_match m;
	if (!find(s, path, len, &m))
		return false;
	strbuf_add(out, m.route->path, fixed_len(m.route));
	strbuf_add(out, m.param, m.param_len);
	return true;
}

/* An empty parameter does not count, except (as in httprouter) when a slash follows. */
static bool is_empty_param_and_slash(const struct http_route *r, const char *path, size_t len)
{
	size_t fixed = fixed_len(r);
	return has_param(r) && len == fixed + 1 && path[fixed] == '/' &&
	       memcmp(path, r->path, fixed) == 0;
}

/* A route with a slash more or less than path: httprouter's tsr. path is longer than "/". */
static bool find_other_slash(
	const struct search *s, const char *path, size_t len, struct strbuf *out)
{
	if (path[len - 1] != '/') {
		struct strbuf longer = STRBUF_INIT;
		strbuf_add(&longer, path, len);
		strbuf_addc(&longer, '/');
		bool found = find_path(s, longer.data, longer.len, out);
		strbuf_free(&longer);
		return found;
	}
	if (find_path(s, path, len - 1, out))
		return true;
	for (size_t i = 0; i < s->n; i++) {
		if (s->routes[i].method == s->method &&
			is_empty_param_and_slash(&s->routes[i], path, len)) {
			strbuf_add(out, path, len - 1);
			return true;
		}
	}
	return false;
}

/* RedirectFixedPath: superfluous elements removed, and then any case. */
static bool find_fixed_path(
	const struct search *exact, const char *path, size_t len, struct strbuf *out)
{
	struct strbuf clean = STRBUF_INIT;
	struct search s = *exact;
	s.compare = ignoring_case;
	url_clean_path(&clean, path, len);
	bool found = find_path(&s, clean.data, clean.len, out) ||
		     (clean.len > 1 && find_other_slash(&s, clean.data, clean.len, out));
	strbuf_free(&clean);
	return found;
}

/* Router.allowed: false if no other method serves the path. */
static bool find_allowed(
	const struct search *s, const char *path, size_t len, char *allow, size_t size)
{
	int mask = 0;
	bool any = len == 1 && *path == '*';
	struct http_match m;
	for (size_t i = 0; i < s->n; i++) {
		if (any || (s->routes[i].method != s->method &&
				   matches(&s->routes[i], path, len, exactly, &m)))
			mask |= s->routes[i].method;
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
	const struct search s = {routes, n_routes, method, exactly};
	*out = (struct http_match){0};
	if (find(&s, path, path_len, out))
		return HTTP_ROUTE_FOUND;
	*out = (struct http_match){0};
	bool has_tree = method == HTTP_GET || method == HTTP_POST || method == HTTP_PUT;
	if (has_tree && path_len > 1 &&
		(find_other_slash(&s, path, path_len, &out->redirect_path) ||
			find_fixed_path(&s, path, path_len, &out->redirect_path)))
		return HTTP_ROUTE_REDIRECT;
	if (!find_allowed(&s, path, path_len, out->allow, sizeof(out->allow)))
		return HTTP_ROUTE_NOT_FOUND;
	return method == HTTP_OPTIONS ? HTTP_ROUTE_ALLOW : HTTP_ROUTE_METHOD_NOT_ALLOWED;
}
