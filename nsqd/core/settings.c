/* SPDX-License-Identifier: MIT */
/*
 * The table of settings, and how a value gets into them and out of them. Mirrors no Go file. Runs in
 * main (config file), and in the threads of HTTP connections. It keeps no state.
 */
#include "nsqd/core/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"

/* --- types ------------------------------------------------------------------------------------ */

/* The most that makes sense: a flag of the same kind takes as much. */
#define DURATION_MAX (INT64_MAX / 2)

struct row;

/* Immutable. */
struct setting_type {
	/* -1 with err set: what is wanted instead. */
	int (*set)(void *value, const struct row *r, const struct toml_value *in, struct err *err);
	void (*add_json)(struct strbuf *sb, const struct row *r, const void *value);
	size_t size;
};

struct row {
	const char *name;
	const struct setting_type *type;
	size_t offset; /* in struct setting_values */
	int scope;     /* of enum setting_scope */
	int64_t min, max;
	const char *const *words; /* of a choice, up to NULL */
};

static int set_integer(
	void *value, const struct row *r, const struct toml_value *in, struct err *err)
{
	if (in->type != TOML_INTEGER || in->integer < r->min || in->integer > r->max)
		return err_set(err, EINVAL,
			"%s: an integer from %" PRId64 " to %" PRId64 " is wanted", r->name, r->min,
			r->max);
	*(int64_t *)value = in->integer;
	return 0;
}

static void add_integer(struct strbuf *sb, const struct row *r, const void *value)
{
	(void)r;
	strbuf_addf(sb, "%" PRId64, *(const int64_t *)value);
}

static bool in_range(const struct row *r, int64_t v)
{
	return v >= r->min && v <= r->max;
}

static int wants_duration(const struct row *r, const char *what, struct err *err)
{
	char min[32], max[32];
	return err_set(err, EINVAL, "%s: %s from %s to %s is wanted, such as \"30s\"", r->name,
		what, duration_format(r->min, min, sizeof(min)),
		duration_format(r->max, max, sizeof(max)));
}

static int set_duration(
	void *value, const struct row *r, const struct toml_value *in, struct err *err)
{
	int64_t ns;
	if (in->type != TOML_STRING || !duration_parse(in->string, &ns) || !in_range(r, ns))
		return wants_duration(r, "a duration", err);
	*(int64_t *)value = ns;
	return 0;
}

static void add_one_duration(struct strbuf *sb, int64_t ns)
{
	char text[32];
	strbuf_addf(sb, "\"%s\"", duration_format(ns, text, sizeof(text)));
}

static void add_duration(struct strbuf *sb, const struct row *r, const void *value)
{
	(void)r;
	add_one_duration(sb, *(const int64_t *)value);
}

static int set_durations(
	void *value, const struct row *r, const struct toml_value *in, struct err *err)
{
	struct backoff b = {0};
	if (in->type != TOML_ARRAY || in->array.n > BACKOFF_MAX)
		return err_set(err, EINVAL, "%s: a list of at most %d durations is wanted", r->name,
			BACKOFF_MAX);
	for (; b.n < in->array.n; b.n++) {
		const struct toml_value *e = &in->array.v[b.n];
		if (e->type != TOML_STRING || !duration_parse(e->string, &b.delay_ns[b.n]) ||
			!in_range(r, b.delay_ns[b.n]))
			return wants_duration(r, "a list of durations", err);
	}
	*(struct backoff *)value = b;
	return 0;
}

static void add_durations(struct strbuf *sb, const struct row *r, const void *value)
{
	const struct backoff *b = value;
	(void)r;
	strbuf_addc(sb, '[');
	for (size_t i = 0; i < b->n; i++) {
		if (i > 0)
			strbuf_addc(sb, ',');
		add_one_duration(sb, b->delay_ns[i]);
	}
	strbuf_addc(sb, ']');
}

static int set_bool(void *value, const struct row *r, const struct toml_value *in, struct err *err)
{
	if (in->type != TOML_BOOLEAN)
		return err_set(err, EINVAL, "%s: true or false is wanted", r->name);
	*(bool *)value = in->boolean;
	return 0;
}

static void add_bool(struct strbuf *sb, const struct row *r, const void *value)
{
	(void)r;
	strbuf_adds(sb, *(const bool *)value ? "true" : "false");
}

static int set_choice(
	void *value, const struct row *r, const struct toml_value *in, struct err *err)
{
	struct strbuf wanted = STRBUF_INIT;
	for (int i = 0; r->words[i]; i++) {
		if (in->type == TOML_STRING && strcmp(in->string, r->words[i]) == 0) {
			*(int *)value = i;
			strbuf_free(&wanted);
			return 0;
		}
		strbuf_addf(&wanted, "%s\"%s\"", i ? ", " : "", r->words[i]);
	}
	err_set(err, EINVAL, "%s: one of %s is wanted", r->name, wanted.data);
	strbuf_free(&wanted);
	return -1;
}

static void add_choice(struct strbuf *sb, const struct row *r, const void *value)
{
	strbuf_addf(sb, "\"%s\"", r->words[*(const int *)value]);
}

static int set_pattern(
	void *value, const struct row *r, const struct toml_value *in, struct err *err)
{
	if (in->type != TOML_STRING ||
		(in->string[0] != '\0' && !dead_letter_pattern_ok(in->string)))
		return err_set(err, EINVAL,
			"%s: the name of a topic is wanted, in which {topic} and {channel} may "
			"stand, "
			"shorter than %d bytes",
			r->name, PATTERN_SIZE);
	memset(value, 0, PATTERN_SIZE);
	memcpy(value, in->string, strlen(in->string));
	return 0;
}

static void add_pattern(struct strbuf *sb, const struct row *r, const void *value)
{
	const char *s = value;
	(void)r;
	strbuf_add_json(sb, s, strlen(s));
}

static const struct setting_type an_integer = {set_integer, add_integer, sizeof(int64_t)};
static const struct setting_type a_duration = {set_duration, add_duration, sizeof(int64_t)};
static const struct setting_type durations = {set_durations, add_durations, sizeof(struct backoff)};
static const struct setting_type a_bool = {set_bool, add_bool, sizeof(bool)};
static const struct setting_type a_choice = {set_choice, add_choice, sizeof(int)};
static const struct setting_type a_pattern = {set_pattern, add_pattern, PATTERN_SIZE};

/* --- the table -------------------------------------------------------------------------------- */

static const char *const overflow_words[] = {"reject", "drop-head", NULL};
static const char *const no_channel_words[] = {"buffer", "drop", "reject", NULL};
static const char *const durability_words[] = {"none", "process", "disk", NULL};

#define ROW(name, type, scope, ...)                                                                \
	{                                                                                          \
#name, &type, offsetof(struct setting_values, name), scope, __VA_ARGS__            \
	}
#define BOTH (SETTING_TOPIC | SETTING_CHANNEL)

static const struct row rows[] = {
	/* clang-format off */
	ROW(max_depth,                   an_integer, BOTH,            0, INT64_MAX / 2, NULL),
	ROW(max_bytes,                   an_integer, BOTH,            0, INT64_MAX / 2, NULL),
	ROW(overflow,                    a_choice,   BOTH,            0, 0, overflow_words),
	ROW(message_ttl,                 a_duration, BOTH,            0, DURATION_MAX, NULL),
	ROW(max_attempts,                an_integer, SETTING_CHANNEL, 0, UINT16_MAX, NULL),
	ROW(dead_letter_topic,           a_pattern,  SETTING_CHANNEL, 0, 0, NULL),
	ROW(dead_letter_envelope,        a_bool,     SETTING_CHANNEL, 0, 0, NULL),
	ROW(requeue_on_disconnect,       a_bool,     SETTING_CHANNEL, 0, 0, NULL),
	ROW(count_disconnect_as_attempt, a_bool,     SETTING_CHANNEL, 0, 0, NULL),
	ROW(backoff,                     durations,  SETTING_CHANNEL, 0, DURATION_MAX, NULL),
	ROW(msg_timeout,                 a_duration, SETTING_CHANNEL, NSEC_PER_MSEC, DURATION_MAX, NULL),
	ROW(max_msg_timeout,             a_duration, SETTING_CHANNEL, NSEC_PER_MSEC, DURATION_MAX, NULL),
	ROW(max_req_timeout,             a_duration, SETTING_CHANNEL, 0, DURATION_MAX, NULL),
	ROW(max_in_flight,               an_integer, SETTING_CHANNEL, 0, INT32_MAX, NULL),
	ROW(rate,                        an_integer, SETTING_CHANNEL, 0, 1000000000, NULL),
	ROW(channel_expire,              a_duration, BOTH,            0, DURATION_MAX, NULL),
	ROW(no_channel,                  a_choice,   SETTING_TOPIC,   0, 0, no_channel_words),
	ROW(durability,                  a_choice,   SETTING_TOPIC,   0, 0, durability_words),
	/* clang-format on */
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))
_Static_assert(N_ROWS <= 32, "settings_patch.set has a bit for each");

const char *durability_name(int durability)
{
	return durability_words[durability];
}

static const char *const scope_names[] = {
	[SETTING_TOPIC] = "a topic", [SETTING_CHANNEL] = "a channel"};

size_t settings_count(void)
{
	return N_ROWS;
}

const char *settings_name(size_t row)
{
	return rows[row].name;
}

int settings_scope(size_t row)
{
	return rows[row].scope;
}

static void *value_of(struct setting_values *v, const struct row *r)
{
	return (char *)v + r->offset;
}

static const void *const_value_of(const struct setting_values *v, const struct row *r)
{
	return (const char *)v + r->offset;
}

/* --- snapshots -------------------------------------------------------------------------------- */

struct settings *settings_new(const struct setting_values *v)
{
	struct settings *s = xcalloc(1, sizeof(*s));
	atomic_init(&s->refs, 1);
	s->v = *v;
	return s;
}

struct settings *settings_ref(struct settings *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void settings_unref(struct settings *s)
{
	if (s && atomic_fetch_sub(&s->refs, 1) == 1)
		free(s);
}

/* --- patches ---------------------------------------------------------------------------------- */

static void copy_rows(struct setting_values *to, const struct setting_values *from, uint32_t wanted)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		if (wanted & (1u << i))
			memcpy(value_of(to, &rows[i]), const_value_of(from, &rows[i]),
				rows[i].type->size);
	}
}

void settings_apply(struct setting_values *v, const struct settings_patch *p)
{
	copy_rows(v, &p->v, p->set);
}

static int find(const char *name, size_t *row, struct err *err)
{
	for (*row = 0; *row < N_ROWS; ++*row) {
		if (strcmp(rows[*row].name, name) == 0)
			return 0;
	}
	return err_set(err, EINVAL, "there is no setting %.64s", name);
}

/* What a topic has, its channels inherit; so it may have any. */
static int check_scope(size_t row, int scope, struct err *err)
{
	if ((rows[row].scope & scope) || scope == SETTING_TOPIC)
		return 0;
	return err_set(err, EINVAL, "%s: not of %s", rows[row].name, scope_names[scope]);
}

int settings_patch_check_scope(const struct settings_patch *p, int scope, struct err *err)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		if ((p->set & (1u << i)) && check_scope(i, scope, err) != 0)
			return -1;
	}
	return 0;
}

int settings_patch_set(
	struct settings_patch *p, const char *name, const struct toml_value *value, struct err *err)
{
	size_t i;
	if (find(name, &i, err) != 0 ||
		rows[i].type->set(value_of(&p->v, &rows[i]), &rows[i], value, err) != 0)
		return -1;
	p->set |= 1u << i;
	return 0;
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* A scalar as the config file would have it; false: there is no such value there. */
static bool scalar_of_json(struct json_value in, struct toml_value *out)
{
	switch (in.type) {
	case JSON_STRING:
		*out = (struct toml_value){.type = TOML_STRING, .string = json_string(in)};
		return true;
	case JSON_BOOL:
		*out = (struct toml_value){.type = TOML_BOOLEAN, .boolean = in.len == 4};
		return true;
	case JSON_NUMBER:
		out->type = TOML_INTEGER;
		return json_int(in, INT64_MIN, INT64_MAX, &out->integer);
	default:
		return false;
	}
}

static void free_value(struct toml_value *v)
{
	if (v->type == TOML_STRING)
		free(v->string);
	for (size_t i = 0; v->type == TOML_ARRAY && i < v->array.n; i++)
		free_value(&v->array.v[i]);
	if (v->type == TOML_ARRAY)
		free(v->array.v);
}

/* Likewise a list. More elements than any setting takes are not looked at. */
static bool list_of_json(struct json_value in, struct toml_value *out)
{
	struct json_value e;
	size_t pos = 0;
	*out = (struct toml_value){.type = TOML_ARRAY};
	out->array.v = xcalloc(BACKOFF_MAX + 1, sizeof(*out->array.v));
	while (out->array.n <= BACKOFF_MAX && json_next_element(in, &pos, &e)) {
		if (!scalar_of_json(e, &out->array.v[out->array.n])) {
			free_value(out);
			return false;
		}
		out->array.n++;
	}
	return true;
}

/* One that a row refuses, whatever its type. */
static const struct toml_value no_value = {.type = TOML_FLOAT};

/* *seen: the rows that this object has named already; which of two values is meant, nobody knows. */
static int set_member(struct settings_patch *p, const char *name, struct json_value in, int scope,
	uint32_t *seen, struct err *err)
{
	struct toml_value value;
	size_t i;
	if (find(name, &i, err) != 0 || check_scope(i, scope, err) != 0)
		return -1;
	if (*seen & (1u << i))
		return err_set(err, EINVAL, "%s: it comes twice", name);
	*seen |= 1u << i;
	if (in.type == JSON_NULL) {
		p->set &= ~(1u << i);
		memset(value_of(&p->v, &rows[i]), 0, rows[i].type->size);
		return 0;
	}
	bool ok = in.type == JSON_ARRAY ? list_of_json(in, &value) : scalar_of_json(in, &value);
	int rc = settings_patch_set(p, name, ok ? &value : &no_value, err);
	if (ok)
		free_value(&value);
	return rc;
}

int settings_patch_set_json(
	struct settings_patch *p, struct json_value object, int scope, struct err *err)
{
	struct settings_patch changed = *p;
	struct json_value key, value;
	uint32_t seen = 0;
	size_t pos = 0;
	if (object.type != JSON_OBJECT)
		return err_set(err, EINVAL, "a JSON object of settings is wanted");
	while (json_next_member(object, &pos, &key, &value)) {
		char *name = json_string(key);
		int rc = set_member(&changed, name, value, scope, &seen, err);
		free(name);
		if (rc != 0)
			return -1;
	}
	*p = changed;
	return 0;
}

int settings_check(const struct setting_values *v, struct err *err)
{
	char have[32], max[32];
	if (v->msg_timeout > v->max_msg_timeout)
		return err_set(err, EINVAL, "msg_timeout: %s is more than max_msg_timeout, %s",
			duration_format(v->msg_timeout, have, sizeof(have)),
			duration_format(v->max_msg_timeout, max, sizeof(max)));
	return 0;
}

void settings_bound(struct setting_values *v)
{
	if (v->msg_timeout > v->max_msg_timeout)
		v->msg_timeout = v->max_msg_timeout;
}

void settings_add_json(struct strbuf *sb, size_t row, const struct setting_values *v)
{
	CHECK(row < N_ROWS);
	rows[row].type->add_json(sb, &rows[row], const_value_of(v, &rows[row]));
}

void settings_patch_add_json(struct strbuf *sb, const struct settings_patch *p)
{
	bool first = true;
	for (size_t i = 0; i < N_ROWS; i++) {
		if (!(p->set & (1u << i)))
			continue;
		strbuf_addf(sb, "%s\"%s\":", first ? "" : ",", rows[i].name);
		settings_add_json(sb, i, &p->v);
		first = false;
	}
}
