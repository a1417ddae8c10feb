/* SPDX-License-Identifier: MIT */
/* address: what Go's net makes of an address. The expectations are Go's answers. */
#include "test/unit/helper.h"

#include "common/address.h"

static void test_ports_are_numbers_or_services(void **state)
{
	static const struct {
		const char *port;
		int number; /* -1: an error, which is text */
		const char *text;
	} cases[] = {
		{"", 0, NULL},
		{"0", 0, NULL},
		{"4160", 4160, NULL},
		{"+1", 1, NULL},
		{"-", 0, NULL},
		{"00065535", 65535, NULL},
		{"http", 80, NULL},
		{"HTTPS", 443, NULL},
		{"65536", -1, "address 65536: invalid port"},
		{"-1", -1, "address -1: invalid port"},
		{"99999999999999999999", -1, "address 99999999999999999999: invalid port"},
		{"nosuch", -1, "lookup tcp/nosuch: unknown port"},
		{"1/x", -1, "lookup tcp/1/x: unknown port"},
		{"1?x", -1, "lookup tcp/1?x: unknown port"},
		{"1#x", -1, "lookup tcp/1#x: unknown port"},
		{" 1", -1, "lookup tcp/ 1: unknown port"},
		{"1 ", -1, "lookup tcp/1 : unknown port"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct err err;
		uint16_t number = 7;
		int rc = address_lookup_port(cases[i].port, &number, &err);
		if (cases[i].number < 0) {
			assert_int_equal(rc, -1);
			assert_string_equal(err.msg, cases[i].text);
		} else if (rc != 0 || number != cases[i].number) {
			fail_msg("%s: %d %d", cases[i].port, rc, number);
		}
	}
	char *huge = malloc(1 << 20);
	uint16_t number;
	memset(huge, 'x', (1 << 20) - 1);
	huge[(1 << 20) - 1] = '\0';
	assert_int_equal(address_lookup_port(huge, &number, NULL), -1);
	free(huge);
}

static void test_names_are_what_a_name_server_may_be_asked_for(void **state)
{
	static const char *const good[] = {"a", "localhost", "a.b", "a.b.", "a_b", "x-y", "1a",
		"0x7f.1", "_x._y.z", "a.1", NULL};
	static const char *const bad[] = {"", ".", "..", "10.0.10", "10.0.10.", "2130706433",
		"user@host", "a b", "-x", "x-", "x-.y", ".x", "a..b",
		"b\xc3\xbc"
		"cher",
		"a/b", "a:b", "a%b", NULL};
	char label[66];
	for (size_t i = 0; good[i]; i++) {
		if (!address_is_domain_name(good[i]))
			fail_msg("%s is refused", good[i]);
	}
	for (size_t i = 0; bad[i]; i++) {
		if (address_is_domain_name(bad[i]))
			fail_msg("%s is accepted", bad[i]);
	}
	memset(label, 'x', 65);
	label[63] = '\0';
	assert_true(address_is_domain_name(label));
	label[63] = 'x';
	label[64] = '\0';
	assert_false(address_is_domain_name(label));
	char name[300] = "";
	while (strlen(name) < 253)
		strcat(name, "a.");
	assert_int_equal(strlen(name), 254);
	assert_true(address_is_domain_name(name));
	strcat(name, "b");
	assert_false(address_is_domain_name(name));
}

static void test_the_hosts_file_has_any_name(void **state)
{
	static const char content[] = "# 10.0.0.9 commented\n"
				      "127.0.0.1 localhost\n"
				      "10.0.0.1\tNode.Example node # last.example\n"
				      "\n"
				      "::1 node.example. b\xc3\xbc"
				      "cher.test\r\n"
				      "10.0.0 broken\n"
				      "10.0.0.2";
	static const struct {
		const char *name, *ips;
	} cases[] = {{"node.example", "10.0.0.1,::1"}, {"node.example.", "10.0.0.1,::1"},
		{"NODE", "10.0.0.1"}, {"node.", ""},
		{"b\xc3\xbc"
		 "cher.test",
			"::1"},
		{"b\xc3\xbc"
		 "cher.test.",
			"::1"},
		{"last.example", ""}, {"commented", ""}, {"broken", ""}, {"", ""},
		{"10.0.0.2", ""}};
	FILE *f = fopen("hosts", "w");
	fputs(content, f);
	fclose(f);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct strbuf ips = STRBUF_INIT;
		bool found = address_lookup_hosts_file("hosts", cases[i].name, &ips);
		assert_string_equal(ips.data ? ips.data : "", cases[i].ips);
		assert_int_equal(found, *cases[i].ips != '\0');
		strbuf_free(&ips);
	}
	struct strbuf ips = STRBUF_INIT;
	assert_false(address_lookup_hosts_file("nosuch", "node", &ips));
	assert_false(address_lookup_hosts_file(".", "node", &ips));
	strbuf_free(&ips);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports_are_numbers_or_services),
		cmocka_unit_test(test_names_are_what_a_name_server_may_be_asked_for),
		cmocka_unit_test(test_the_hosts_file_has_any_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
