/* SPDX-License-Identifier: MIT */
/*
 * Addresses as texts. Mirrors SplitHostPort of net/ipsock.go, net/port.go, lookupPort of
 * net/lookup.go, isDomainName of net/dnsclient.go, and net/hosts.go. Any thread.
 */
#include "common/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/ascii.h"
#include "common/xalloc.h"

const char *address_split_host_port(const char *addr, char *host, char *port)
{
	static const char missing_port[] = "missing port in address";
	static const char too_many_colons[] = "too many colons in address";
	const char *colon = strrchr(addr, ':');
	const char *begin = addr, *end = colon, *rest = addr;
	if (!colon)
		return missing_port;
	if (*addr == '[') {
		begin = addr + 1;
		end = strchr(addr, ']');
		if (!end)
			return "missing ']' in address";
		if (end + 1 != colon)
			return end[1] == ':' ? too_many_colons : missing_port;
		rest = colon;
	} else if (memchr(addr, ':', (size_t)(colon - addr))) {
		return too_many_colons; /* a bare v6 address */
	}
	if (strchr(begin, '['))
		return "unexpected '[' in address";
	if (strchr(rest, ']'))
		return "unexpected ']' in address";
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = '\0';
	strcpy(port, colon + 1);
	return NULL;
}

/* --- ports ------------------------------------------------------------------------------------ */

/* The services that Go knows without /etc/services, as in small containers; -1: not one of them. */
static long builtin_port(const char *name)
{
	static const struct {
		const char *name;
		long port;
	} services[] = {{"ftp", 21}, {"ftps", 990}, {"gopher", 70}, {"http", 80}, {"https", 443},
		{"imap2", 143}, {"imap3", 220}, {"imaps", 993}, {"pop3", 110}, {"pop3s", 995},
		{"smtp", 25}, {"ssh", 22}, {"submissions", 465}, {"telnet", 23}};
	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++) {
		if (strcmp(name, services[i].name) == 0)
			return services[i].port;
	}
	return -1;
}

/* The port of a service, in any case of its letters; -1: unknown. */
static long service_port(const char *name)
{
	struct servent entry, *found = NULL;
	char lower[64], buf[2048];
	if (strlen(name) >= sizeof(lower))
		return -1;
	for (size_t i = 0; i == 0 || name[i - 1]; i++)
		lower[i] = ascii_to_lower(name[i]);
	if (getservbyname_r(lower, "tcp", &entry, buf, sizeof(buf), &found) != 0 || !found)
		return builtin_port(lower);
	return ntohs((uint16_t)found->s_port);
}

/* parsePort: a sign and digits, perhaps none. False: it is a name. */
static bool parse_port(const char *port, long *number)
{
	bool negative = *port == '-';
	const char *p = port + (*port == '-' || *port == '+');
	if (p[strspn(p, "0123456789")] != '\0')
		return false;
	for (*number = 0; *p && *number <= UINT16_MAX; p++)
		*number = *number * 10 + (*p - '0');
	if (negative)
		*number = -*number;
	return true;
}

int address_lookup_port(const char *port, uint16_t *number, struct err *err)
{
	long n;
	if (!parse_port(port, &n)) {
		n = service_port(port);
		if (n < 0)
			return err_set(err, 0, "lookup tcp/%s: unknown port", port);
	}
	if (n < 0 || n > UINT16_MAX)
		return err_set(err, 0, "address %s: invalid port", port);
	*number = (uint16_t)n;
	return 0;
}

/* --- names ------------------------------------------------------------------------------------ */

bool address_is_domain_name(const char *name)
{
	enum { MAX_LABEL = 63, MAX_NAME = 254 };
	size_t len = strlen(name), label = 0;
	bool letters = false; /* or anything else but digits */
	char last = '.';
	if (len == 0 || len > MAX_NAME || (len == MAX_NAME && name[len - 1] != '.'))
		return false;
	for (const char *p = name; *p; last = *p++) {
		if (*p == '.') {
			if (last == '.' || last == '-' || label > MAX_LABEL)
				return false;
			label = 0;
			continue;
		}
		if (!ascii_is_alnum(*p) && *p != '_' && (*p != '-' || last == '.'))
			return false;
		letters = letters || *p < '0' || *p > '9';
		label++;
	}
	return last != '-' && label <= MAX_LABEL && letters;
}

/* absDomainName: a name with dots in it is the same with a dot at its end. Returns its length. */
static size_t absolute_length(const char *name, size_t len)
{
	bool dotted = len > 1 && name[len - 1] == '.' && memchr(name, '.', len - 1);
	return dotted ? len - 1 : len;
}

static bool is_same_name(const char *a, const char *b)
{
	size_t n = absolute_length(a, strlen(a)), m = absolute_length(b, strlen(b));
	return n == m && strncasecmp(a, b, n) == 0;
}

/* Takes a line of the file apart: an address, and names for it. True: it names the host. */
static bool names_host(char *line, const char *name, const char **ip)
{
	static const char blanks[] = " \t\r\n";
	unsigned char address[sizeof(struct in6_addr)];
	char *rest;
	line[strcspn(line, "#")] = '\0';
	*ip = strtok_r(line, blanks, &rest);
	if (!*ip ||
		(inet_pton(AF_INET, *ip, address) != 1 && inet_pton(AF_INET6, *ip, address) != 1))
		return false;
	for (char *s; (s = strtok_r(NULL, blanks, &rest)) != NULL;) {
		if (is_same_name(s, name))
			return true;
	}
	return false;
}

bool address_lookup_hosts_file(const char *path, const char *name, struct strbuf *ips)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t size = 0, start = ips->len;
	if (!f)
		return false;
	while (getline(&line, &size, f) >= 0) {
		const char *ip;
		if (names_host(line, name, &ip))
			strbuf_addf(ips, "%s%s", ips->len > start ? "," : "", ip);
	}
	free(line);
	fclose(f);
	return ips->len > start;
}
