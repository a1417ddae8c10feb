/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the small parsers that all others use. The first byte says which: 0 JSON, 1 a URL, 2
 * an address and a hosts file, 3 numbers and names, 4 a file of tokens.
 */
#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include <cjson/cJSON.h>

#include "common/address.h"
#include "common/flags.h"
#include "common/json.h"
#include "common/url.h"
#include "nsqd/http/http_tokens.h"
#include "protocol/byte_base10.h"
#include "protocol/listener.h"
#include "protocol/names.h"

#define N_KINDS 5
/* JSON is walked through no deeper than that: the walk is a function that calls itself. */
#define MAX_DEPTH 100

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_process_init();
	return 0;
}

/* --- JSON --------------------------------------------------------------------------------------- */

/* Written as JSON, a string is valid, and reads back as the same. */
static void check_string(struct json_value v)
{
	struct strbuf text = STRBUF_INIT, json = STRBUF_INIT, again = STRBUF_INIT;
	json_add_string(&text, v);
	strbuf_add_json(&json, text.data ? text.data : "", text.len);
	CHECK(json_valid(json.data, json.len));
	json_add_string(&again, json_root(json.data, json.len));
	CHECK(again.len == text.len && (text.len == 0 || !memcmp(again.data, text.data, text.len)));
	char *s = json_string(v);
	CHECK(strlen(s) >= text.len);
	free(s);
	strbuf_free(&text);
	strbuf_free(&json);
	strbuf_free(&again);
}

static void walk(struct json_value v, int depth)
{
	struct json_value key, value;
	size_t pos = 0;
	int64_t number;
	CHECK(*json_type_name(v.type));
	if (depth == MAX_DEPTH)
		return;
	if (v.type == JSON_STRING)
		check_string(v);
	else if (v.type == JSON_NUMBER && json_int(v, -10, 1000, &number))
		CHECK(number >= -10 && number <= 1000);
	while (v.type == JSON_OBJECT && json_next_member(v, &pos, &key, &value)) {
		(void)json_key_is(key, "channels");
		check_string(key);
		walk(value, depth + 1);
	}
	while (v.type == JSON_ARRAY && json_next_element(v, &pos, &value))
		walk(value, depth + 1);
}

/* nsqd.dat is read by cJSON, once json_valid has said yes. */
static void try_json(struct input in)
{
	const char *text = (const char *)in.p;
	if (!json_valid(text, in.n))
		return;
	walk(json_root(text, in.n), 0);
	cJSON_Delete(cJSON_ParseWithLength(text, in.n));
}

/* --- the others --------------------------------------------------------------------------------- */

static void try_url(struct input in)
{
	struct url_target t;
	struct url_values values = {0};
	struct strbuf path = STRBUF_INIT, escaped = STRBUF_INIT;
	if (url_parse_target(&t, (const char *)in.p, in.n, &path)) {
		if (t.raw_query)
			(void)url_parse_query(&values, t.raw_query, t.raw_query_len);
		(void)url_values_get(&values, "topic");
		url_add_escaped_path(&escaped, &t);
		for (size_t i = 0; i < escaped.len; i++)
			CHECK((unsigned char)escaped.data[i] > ' ');
		strbuf_reset(&escaped);
		url_clean_path(&escaped, t.path, t.path_len);
		CHECK(escaped.data[0] == '/');
	}
	url_values_reset(&values);
	(void)url_parse_query(&values, (const char *)in.p, in.n);
	CHECK(values.n <= in.n + 1);
	url_values_free(&values);
	strbuf_free(&path);
	strbuf_free(&escaped);
}

/* As the kernel gives them: any bytes of any family. */
static void format_address(struct input in)
{
	static const sa_family_t families[] = {AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC};
	union address a = {0};
	char text[128];
	memcpy(&a, in.p, in.n < sizeof(a) ? in.n : sizeof(a));
	a.sa.sa_family = families[in.n % 4];
	address_format(&a, text, sizeof(text));
	CHECK(strlen(text) < sizeof(text));
}

static void try_address(struct input in)
{
	if (in.n > 0)
		format_address(in);
	struct strbuf ips = STRBUF_INIT;
	struct err err;
	uint16_t number;
	char *addr = input_string(input_until(&in, '\n'));
	char *host = calloc(1, strlen(addr) + 1), *port = calloc(1, strlen(addr) + 1);
	const char *problem = address_split_host_port(addr, host, port);
	if (!problem) {
		CHECK(strlen(host) + strlen(port) < strlen(addr));
		(void)address_lookup_port(port, &number, &err);
		(void)address_is_domain_name(host);
		fuzz_write_file(fuzz_path("hosts"), in.p, in.n);
		CHECK(address_lookup_hosts_file(fuzz_path("hosts"), host, &ips) == (ips.len > 0));
	}
	strbuf_free(&ips);
	free(host);
	free(port);
	free(addr);
	fuzz_check_resources();
}

static void try_numbers(struct input in)
{
	struct strbuf quoted = STRBUF_INIT;
	int base = input_byte(&in) & 1 ? 10 : 0, bits = input_byte(&in) & 1 ? 64 : 32;
	char *text = input_string(in);
	int64_t v;
	double d;
	bool b;
	if (flags_parse_int(text, base, bits, &v) == 0)
		CHECK(bits == 64 || (v >= INT32_MIN && v <= INT32_MAX));
	(void)flags_parse_bool(text, &b);
	if (flags_parse_float(text, &d) && d == d && d < 1e300 && d > -1e300)
		strbuf_add_json_double(&quoted, d);
	strbuf_reset(&quoted);
	strbuf_addq(&quoted, (const char *)in.p, in.n);
	CHECK(quoted.len >= in.n + 2);
	uint64_t u;
	(void)byte_to_base10((const char *)in.p, in.n, &u);
	(void)is_valid_topic_name((const char *)in.p, in.n);
	if (is_valid_channel_name((const char *)in.p, in.n))
		CHECK(in.n <= 64);
	strbuf_free(&quoted);
	free(text);
}

/* The file's first word is a token then, or behind it is one; what the file says of it is sane. */
static void try_tokens(struct input in)
{
	static const unsigned all = HTTP_READ | HTTP_PUBLISH | HTTP_ADMIN;
	struct err err;
	struct http_token_list *list = http_token_list_parse((const char *)in.p, in.n, &err);
	if (!list)
		return;
	CHECK(list->n > 0 && list->n <= in.n);
	struct http_tokens *t = http_tokens_new(NULL);
	CHECK(http_tokens_find(t, "0123456789abcdef", 16) == 0);
	http_tokens_replace(t, list);
	struct input word = input_until(&in, ' ');
	unsigned scopes = http_tokens_find(t, (const char *)word.p, word.n);
	CHECK((scopes & ~all) == 0 && (!(scopes & HTTP_ADMIN) || scopes == all));
	char *name = input_string(word);
	(void)http_tokens_find_certificate(t, name);
	free(name);
	http_tokens_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[N_KINDS])(struct input) = {
		try_json, try_url, try_address, try_numbers, try_tokens};
	struct input in = {data, size};
	kinds[input_byte(&in) % N_KINDS](in);
	return 0;
}
