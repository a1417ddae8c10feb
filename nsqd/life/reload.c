/* SPDX-License-Identifier: MIT */
/*
 * SIGHUP. Mirrors no Go file: stock dies of it. Runs in the thread "main".
 *
 * Only what the file has changed since it was last read is taken from it. A value that an operator
 * has set by PUT /config stays, so that new certificates do not undo it.
 *
 * All is read and checked before anything changes. New options are a new copy (nsqd_swap_opts): a
 * thread that reads the old one goes on with it. Connections keep the certificate with which their
 * handshake began.
 */
#include "nsqd/life/reload.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/regfile.h"
#include "common/xalloc.h"
#include "nsqd/client/auth.h"
#include "nsqd/core/nsqd_flags.h"
#include "nsqd/core/policies.h"
#include "nsqd/queue/settings_change.h"

/*
 * What can change at run time. Each of these is read where it is needed, once for each command. The
 * sizes of messages and bodies are not: a request may be half read, by the old limit. The log level
 * and the addresses of the nsqlookupds have places of their own.
 */
enum kind { VALUE, STRING, ELSEWHERE };
static const struct {
	const char *key;
	enum kind kind;
	size_t offset, size;
} reloadable[] = {
#define A_VALUE(field)                                                                             \
	{                                                                                          \
#field, VALUE, offsetof(struct options, field),                                    \
			sizeof(((struct options *)NULL)->field)                                    \
	}
#define A_STRING(field)                                                                            \
	{                                                                                          \
#field, STRING, offsetof(struct options, field), 0                                 \
	}
	{"log_level", ELSEWHERE, 0, 0},
	{"nsqlookupd_tcp_addresses", ELSEWHERE, 0, 0},
	A_VALUE(log_quiet_probes),
	A_VALUE(drain_timeout),
	A_VALUE(max_disk_bytes),
	A_VALUE(max_memory_bytes),
	A_STRING(min_free_disk),
	A_VALUE(http_client_connect_timeout),
	A_VALUE(http_client_request_timeout),
	A_VALUE(msg_timeout),
	A_VALUE(max_msg_timeout),
	A_VALUE(max_req_timeout),
	A_VALUE(max_defer_timeout),
	A_VALUE(max_heartbeat_interval),
	A_VALUE(max_rdy_count),
	A_VALUE(max_output_buffer_size),
	A_VALUE(max_output_buffer_timeout),
	A_VALUE(min_output_buffer_timeout),
	A_VALUE(output_buffer_timeout),
	A_VALUE(max_channel_consumers),
	A_STRING(tls_cert),
	A_STRING(tls_key),
	A_STRING(tls_root_ca_file),
	A_STRING(http_auth_file),
};
#define N_RELOADABLE (sizeof(reloadable) / sizeof(*reloadable))

/* A reload under way. */
struct attempt {
	struct reload *r;
	struct options *fresh; /* owned; as the file says now */
	struct options
		*merged; /* owned, until it is in use; the present ones, with what may change */
	struct tls_config *tls;             /* a reference; NULL: no certificate */
	struct http_token_list *tokens;     /* owned, until it is in use; NULL: everybody may */
	size_t n_in_options;                /* so many changes are in merged */
	bool log_level, lookupds, policies; /* these have changed */
};

void reload_init(struct reload *r, const struct options *as_read, int argc, char **argv)
{
	struct err ignored; /* the start finds it as well */
	*r = (struct reload){.argc = argc, .argv = argv, .as_read = options_copy(as_read)};
	(void)options_check(r->as_read, &ignored);
}

void reload_destroy(struct reload *r)
{
	options_free(r->as_read);
}

/* --- one option ------------------------------------------------------------------------------- */

/* Its row, or N_RELOADABLE: it cannot change, or not in this way. */
static size_t find(const struct attempt *a, const char *key)
{
	size_t i = 0;
	while (i < N_RELOADABLE && strcmp(reloadable[i].key, key) != 0)
		i++;
	/* TLS cannot be switched on or off. */
	bool is_pair = strcmp(key, "tls_cert") == 0 || strcmp(key, "tls_key") == 0;
	if (is_pair && (!a->r->tls || !*a->fresh->tls_cert || !*a->fresh->tls_key))
		return N_RELOADABLE;
	/* A line that is lost must not open what was closed: tokens can only be switched on. */
	if (strcmp(key, "http_auth_file") == 0 && !*a->fresh->http_auth_file)
		return N_RELOADABLE;
	return i;
}

static void take_value(struct options *to, const struct options *from, size_t i)
{
	char *dst = (char *)to + reloadable[i].offset;
	const char *src = (const char *)from + reloadable[i].offset;
	if (reloadable[i].kind == VALUE) {
		memcpy(dst, src, reloadable[i].size);
	} else if (reloadable[i].kind == STRING) {
		free(*(char **)dst);
		*(char **)dst = xstrdup(*(char *const *)src);
	}
}

/* nsqd_flags_each_difference's fn, before anything is known to be good. */
static void merge_one(void *arg, const char *key, const char *from, const char *to)
{
	struct attempt *a = arg;
	size_t i = find(a, key);
	(void)from;
	(void)to;
	if (i == N_RELOADABLE)
		return;
	take_value(a->merged, a->fresh, i);
	a->n_in_options += reloadable[i].kind != ELSEWHERE;
	a->log_level = a->log_level || strcmp(key, "log_level") == 0;
	a->lookupds = a->lookupds || strcmp(key, "nsqlookupd_tcp_addresses") == 0;
}

/* The same, when all is in use. */
static void tell_one(void *arg, const char *key, const char *from, const char *to)
{
	struct attempt *a = arg;
	if (find(a, key) < N_RELOADABLE)
		nsqd_logf(
			a->r->ctx, LG_INFO, "NSQ: %s is \"%s\" now, and was \"%s\"", key, to, from);
	else
		nsqd_logf(a->r->ctx, LG_WARN,
			"NSQ: %s cannot change at run time: it stays \"%s\", and is \"%s\" after a "
			"restart",
			key, from, to);
}

/* The [[policy]] tables, as a whole. */
static void merge_policies(struct attempt *a)
{
	a->policies = !policies_equal(a->r->as_read->policies, a->fresh->policies);
	if (!a->policies)
		return;
	policies_unref(a->merged->policies);
	a->merged->policies = policies_ref(a->fresh->policies);
	a->n_in_options++;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* A FIFO would hold up main, and with it the daemon's end. */
static int check_files(const struct options *o, struct err *err)
{
	const char *const files[] = {o->tls_cert, o->tls_key, o->tls_root_ca_file};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (*files[i] && regfile_check(files[i], err) != 0)
			return -1;
	}
	return 0;
}

/* Reads and checks; nothing has changed yet. */
static int prepare(struct attempt *a, struct err *err)
{
	struct reload *r = a->r;
	a->fresh = options_new();
	if (nsqd_flags_reparse(a->fresh, r->argc, r->argv, &r->ctx->lg, err) != 0 ||
		options_check(a->fresh, err) != 0)
		return -1;
	a->merged = options_copy(nsqd_get_opts(r->ctx));
	nsqd_flags_each_difference(r->as_read, a->fresh, merge_one, a);
	merge_policies(a);
	if (options_check(a->merged, err) != 0 || check_files(a->merged, err) != 0)
		return -1;
	if (r->tls && tls_config_new(a->merged, &a->tls, err) != 0)
		return err_wrap(err, "failed to build TLS config - ");
	if (auth_check_root_ca(a->merged, err) != 0)
		return err_wrap(err, "failed to build client TLS config - ");
	return http_token_list_load(a->merged, &a->tokens, err);
}

/* http_token_list_check's warn */
static void warn_of_tokens(void *arg, const char *text)
{
	struct context *ctx = arg;
	nsqd_logf(ctx, LG_WARN, "NSQ: --http-auth-file: %s", text);
}

static void use_tokens(struct attempt *a)
{
	struct context *ctx = a->r->ctx;
	if (!a->tokens)
		return;
	nsqd_logf(ctx, LG_INFO, "NSQ: tokens have been read again: %zu", a->tokens->n);
	http_token_list_check(a->tokens, nsqd_get_opts(ctx), warn_of_tokens, ctx);
	http_tokens_replace(a->r->tokens, a->tokens);
	a->tokens = NULL;
}

static int use(struct attempt *a, struct err *err)
{
	struct context *ctx = a->r->ctx;
	/* Nobody looks at the tokens yet: they must be there when the options ask for them. */
	if (!*nsqd_get_opts(ctx)->http_auth_file)
		use_tokens(a);
	if (a->n_in_options > 0) {
		struct options *merged = a->merged;
		if (host_limits_use(ctx, merged, err) != 0)
			return -1;
		a->merged = NULL;
		if (!nsqd_swap_opts(ctx, merged))
			return err_set(err, 0,
				"the options have changed %d times, and the next time needs a "
				"restart",
				OPTIONS_SWAPS_MAX);
		/* The flags are the defaults of what can be set for topics and channels. */
		nsqd_reload_settings(a->r->topics, merged);
	}
	if (a->policies)
		nsqd_logf(ctx, LG_INFO, "NSQ: there are %zu policies now", a->fresh->policies->n);
	use_tokens(a);
	if (a->tls) {
		tls_current_replace(a->r->tls, a->tls);
		a->tls = NULL;
		nsqd_logf(ctx, LG_INFO, "NSQ: certificate and key have been read again");
	}
	if (a->log_level)
		atomic_store(&ctx->lg.level, (int)a->fresh->log_level);
	if (a->lookupds) {
		struct options *copy = options_copy(a->fresh);
		nsqd_config_take_lookupd(&ctx->config, &copy->nsqlookupd_tcp_addresses);
		options_free(copy);
	}
	return 0;
}

/* What could change has: the next reload compares with the file as it is now. */
static void remember(struct attempt *a)
{
	struct options *o = a->r->as_read;
	for (size_t i = 0; i < N_RELOADABLE; i++) {
		if (find(a, reloadable[i].key) == i)
			take_value(o, a->fresh, i);
	}
	o->log_level = a->fresh->log_level;
	policies_unref(o->policies);
	o->policies = policies_ref(a->fresh->policies);
	struct strarray addresses = o->nsqlookupd_tcp_addresses;
	o->nsqlookupd_tcp_addresses = a->fresh->nsqlookupd_tcp_addresses;
	a->fresh->nsqlookupd_tcp_addresses = addresses;
}

void reload_now(struct reload *r)
{
	struct attempt a = {.r = r};
	struct err err;
	nsqd_logf(r->ctx, LG_INFO, "NSQ: reloading upon SIGHUP");
	if (prepare(&a, &err) == 0 && use(&a, &err) == 0) {
		nsqd_flags_each_difference(r->as_read, a.fresh, tell_one, &a);
		remember(&a);
		nsqd_logf(r->ctx, LG_INFO, "NSQ: reloaded");
	} else {
		nsqd_logf(r->ctx, LG_ERROR, "NSQ: failed to reload, nothing has changed - %s",
			err.msg);
	}
	tls_config_unref(a.tls);
	http_token_list_free(a.tokens);
	options_free(a.merged);
	options_free(a.fresh);
}
