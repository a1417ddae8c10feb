/* SPDX-License-Identifier: MIT */
/*
 * The two checksums behind stock's default node id (crypto/md5, hash/crc32). MD5 is our own: a TLS
 * library refuses it where a security policy says so, and the node id must not depend on that. For
 * nothing that has to be secure.
 */
#ifndef COMMON_DIGEST_H
#define COMMON_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* md5.Sum: RFC 1321. */
void digest_md5(const void *data, size_t len, unsigned char out[16]);
/* crc32.ChecksumIEEE. */
uint32_t digest_crc32(const void *data, size_t len);

#endif
