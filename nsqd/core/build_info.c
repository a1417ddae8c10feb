/* SPDX-License-Identifier: MIT */
/*
 * --version=long. Go has runtime/debug.ReadBuildInfo instead; stock does not print it. Runs in the
 * thread "main"; no state.
 */
#include "nsqd/core/build_info.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <gnutls/gnutls.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <sys/utsname.h>
#include <zlib.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "common/version.h"

/* The makefile says it: what packagers have set, and what the build has added. */
#ifndef BUILD_FLAGS
#define BUILD_FLAGS "unknown"
#endif

/* What the loader has found may be newer than what the compiler has seen. */
static void add_library(struct strbuf *out, const char *name, const char *built, const char *now)
{
	strbuf_addf(out, "%s: %s (built with %s)\n", name, now, built);
}

static void add_libc(struct strbuf *out)
{
#ifdef __GLIBC__
	add_library(out, "glibc", VERSION_STR(__GLIBC__) "." VERSION_STR(__GLIBC_MINOR__),
		gnu_get_libc_version());
#else
	strbuf_adds(out, "libc: not glibc\n");
#endif
}

static void add_pcre2(struct strbuf *out)
{
	char version[64] = "";
	if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) <= (int)sizeof(version))
		pcre2_config(PCRE2_CONFIG_VERSION, version);
	add_library(out, "pcre2", VERSION_STR(PCRE2_MAJOR) "." VERSION_STR(PCRE2_MINOR), version);
}

static const char *machine(struct utsname *uts)
{
	return uname(uts) == 0 ? uts->machine : "unknown";
}

void build_info_print(struct strbuf *out)
{
	struct utsname uts;
	strbuf_adds(out, PRODUCT_STRING "\n");
	strbuf_adds(out, "compiler: " VERSION_COMPILER " (" __VERSION__ ")\n");
	strbuf_adds(out, "flags: " BUILD_FLAGS "\n");
	strbuf_addf(out, "machine: %s\n", machine(&uts));
	add_libc(out);
	add_library(out, "gnutls", GNUTLS_VERSION, gnutls_check_version(NULL));
	add_library(out, "curl", LIBCURL_VERSION, curl_version());
	add_library(out, "zlib", ZLIB_VERSION, zlibVersion());
	add_pcre2(out);
	add_library(out, "cjson",
		VERSION_STR(CJSON_VERSION_MAJOR) "." VERSION_STR(
			CJSON_VERSION_MINOR) "." VERSION_STR(CJSON_VERSION_PATCH),
		cJSON_Version());
}
