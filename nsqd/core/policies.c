/* SPDX-License-Identifier: MIT */
/*
 * The [[policy]] tables. Mirrors no Go file. main reads them; topics and channels are matched in the
 * threads that make them.
 */
#include "nsqd/core/policies.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "common/ascii.h"
#include "common/xalloc.h"

/* toml.h: each table of the list has its line in the keys. */
static const char table[] = "policy[";
#define TABLE_LENGTH (sizeof(table) - 1)

bool policies_is_entry(const struct toml_entry *e)
{
	return strncmp(e->key, table, TABLE_LENGTH) == 0;
}

/* The key within its table; *line is the table's. */
static const char *key_of(const struct toml_entry *e, int *line)
{
	char *end;
	*line = (int)strtol(e->key + TABLE_LENGTH, &end, 10);
	return end + strlen("].");
}

/* The index behind the set that begins at s[i], a '['; 0: it has no end. */
static size_t set_end(const char *s, size_t len, size_t i)
{
	i++;
	if (i < len && (s[i] == '!' || s[i] == '^'))
		i++;
	/* The first one is of the set: "[]a]". */
	for (size_t begin = i; i < len; i++) {
		if (s[i] == ']' && i > begin)
			return i + 1;
	}
	return 0;
}

/* Of one name: what names have, *, ?, and sets in brackets. */
static bool is_glob(const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		if (s[i] == '[')
			i = set_end(s, len, i);
		else if (ascii_is_alnum(s[i]) || strchr("._-#*?", s[i]))
			i++;
		else
			i = 0;
		if (i == 0)
			return false;
	}
	return len > 0;
}

/* "TOPIC" or "TOPIC/CHANNEL". */
static int set_match(struct policy *p, const struct toml_value *v, struct err *err)
{
	const char *slash = v->type == TOML_STRING ? strchr(v->string, '/') : NULL;
	if (v->type != TOML_STRING ||
		!is_glob(v->string, slash ? (size_t)(slash - v->string) : strlen(v->string)) ||
		(slash && !is_glob(slash + 1, strlen(slash + 1))))
		return err_set(err, EINVAL,
			"match: a pattern for topics is wanted, or for \"topic/channel\", such as "
			"\"orders.*\"");
	p->match = xstrdup(v->string);
	p->topic = slash ? xstrndup(v->string, (size_t)(slash - v->string)) : xstrdup(v->string);
	p->channel = slash ? xstrdup(slash + 1) : NULL;
	return 0;
}

static int set_key(struct policy *p, const char *key, const struct toml_entry *e, struct err *err)
{
	int rc = strcmp(key, "match") == 0 ? set_match(p, &e->value, err)
					   : settings_patch_set(&p->patch, key, &e->value, err);
	return rc == 0 ? 0 : err_wrap(err, "line %d: ", e->line);
}

/* The last one is complete now. */
static int check_last(const struct policies *p, struct err *err)
{
	const struct policy *last = p->n > 0 ? &p->v[p->n - 1] : NULL;
	if (!last)
		return 0;
	if (!last->match)
		return err_set(err, EINVAL, "line %d: a policy without match", last->line);
	if (last->channel && settings_patch_check_scope(&last->patch, SETTING_CHANNEL, err) != 0)
		return err_wrap(err, "line %d: policy %s: ", last->line, last->match);
	return 0;
}

static int read_entries(struct policies *p, const struct toml *t, struct err *err)
{
	for (size_t i = 0; i < t->n; i++) {
		int line;
		if (!policies_is_entry(&t->entries[i]))
			continue;
		const char *key = key_of(&t->entries[i], &line);
		if (p->n == 0 || p->v[p->n - 1].line != line) {
			if (check_last(p, err) != 0)
				return -1;
			p->v = xreallocarray(p->v, p->n + 1, sizeof(*p->v));
			p->v[p->n++] = (struct policy){.line = line};
		}
		if (set_key(&p->v[p->n - 1], key, &t->entries[i], err) != 0)
			return -1;
	}
	return check_last(p, err);
}

int policies_parse(const struct toml *t, struct policies **out, struct err *err)
{
	struct policies *p = policies_none();
	*out = NULL;
	if (read_entries(p, t, err) != 0) {
		policies_unref(p);
		return -1;
	}
	*out = p;
	return 0;
}

int policies_check(const struct policies *p, const struct setting_values *defaults, struct err *err)
{
	struct setting_values most = *defaults;
	for (size_t i = 0; i < p->n; i++) {
		struct setting_values v = *defaults;
		settings_apply(&v, &p->v[i].patch);
		if (v.max_msg_timeout > most.max_msg_timeout)
			most.max_msg_timeout = v.max_msg_timeout;
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct policy *one = &p->v[i];
		struct setting_values v = {.max_msg_timeout = most.max_msg_timeout};
		settings_apply(&v, &one->patch);
		if (settings_check(&v, err) != 0)
			return err_wrap(err, "line %d: policy %s: ", one->line, one->match);
	}
	return 0;
}

struct policies *policies_none(void)
{
	struct policies *p = xcalloc(1, sizeof(*p));
	atomic_init(&p->refs, 1);
	return p;
}

struct policies *policies_ref(struct policies *p)
{
	atomic_fetch_add(&p->refs, 1);
	return p;
}

void policies_unref(struct policies *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	for (size_t i = 0; i < p->n; i++) {
		free(p->v[i].match);
		free(p->v[i].topic);
		free(p->v[i].channel);
	}
	free(p->v);
	free(p);
}

static bool equal(const struct policy *a, const struct policy *b)
{
	struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;
	settings_patch_add_json(&x, &a->patch);
	settings_patch_add_json(&y, &b->patch);
	bool same = strcmp(a->match, b->match) == 0 && x.len == y.len &&
		    (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
	strbuf_free(&x);
	strbuf_free(&y);
	return same;
}

bool policies_equal(const struct policies *a, const struct policies *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (!equal(&a->v[i], &b->v[i]))
			return false;
	}
	return true;
}

bool policy_matches(const struct policy *p, const char *topic, const char *channel)
{
	if (p->channel && (!channel || fnmatch(p->channel, channel, 0) != 0))
		return false;
	return fnmatch(p->topic, topic, 0) == 0;
}
