/* SPDX-License-Identifier: MIT */
/*
 * Versions (internal/version). Clients, nsqadmin and dashboards compare NSQ_VERSION, so it is
 * exactly that of stock's release. PRODUCT_* names this daemon; it goes into additional fields and
 * lines only.
 */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

#define NSQ_VERSION "1.3.0"

#define PRODUCT_NAME "nsqd-c"
#define PRODUCT_VERSION "0.1.0"

#define VERSION_STR_(x) #x
#define VERSION_STR(x) VERSION_STR_(x)
#ifdef __clang__
#define VERSION_COMPILER                                                                           \
	"clang" VERSION_STR(__clang_major__) "." VERSION_STR(__clang_minor__) "." VERSION_STR(     \
		__clang_patchlevel__)
#else
#define VERSION_COMPILER                                                                           \
	"gcc" VERSION_STR(__GNUC__) "." VERSION_STR(__GNUC_MINOR__) "." VERSION_STR(               \
		__GNUC_PATCHLEVEL__)
#endif

/*
 * version.String("nsqd"), in the shape of "nsqd v1.3.0 (built w/go1.21.5)": for --version and the
 * log.
 */
#define VERSION_STRING "nsqd v" NSQ_VERSION " (built w/" VERSION_COMPILER ")"
/* The line after it. */
#define PRODUCT_STRING PRODUCT_NAME " v" PRODUCT_VERSION

#endif
