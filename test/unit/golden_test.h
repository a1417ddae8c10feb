/* SPDX-License-Identifier: MIT */
/*
 * For tests with files of a format, as they were when it was new: test/unit/golden has them as
 * hexadecimal digits, with comments behind "#".
 */
#ifndef TEST_UNIT_GOLDEN_TEST_H
#define TEST_UNIT_GOLDEN_TEST_H

#include "test/unit/helper.h"

#include <libgen.h>

#include "common/strbuf.h"

static inline void add_hex_line(struct strbuf *b, const char *name, const char *line)
{
	for (const char *p = line; *p && *p != '#' && *p != '\n';) {
		unsigned byte;
		if (*p == ' ') {
			p++;
			continue;
		}
		if (sscanf(p, "%2x", &byte) != 1)
			fail_msg("%s: not a digit: %s", name, p);
		strbuf_addc(b, (char)byte);
		p += 2;
	}
}

/* The bytes of such a file, which is found from where this program was built. The caller's to free. */
static inline struct strbuf read_golden(const char *name)
{
	struct strbuf b = STRBUF_INIT;
	char path[4096] = {0}, file[8192], line[512];
	FILE *f = NULL;
	assert_true(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	while (!f && strlen(path) > 1) {
		dirname(path);
		snprintf(file, sizeof(file), "%s/test/unit/golden/%s", path, name);
		f = fopen(file, "r");
	}
	if (!f)
		fail_msg("there is no test/unit/golden/%s above this program", name);
	while (fgets(line, sizeof(line), f))
		add_hex_line(&b, name, line);
	fclose(f);
	return b;
}

#endif
