/* SPDX-License-Identifier: MIT */
/* A certificate that signs itself, for the daemon of a fuzz target. */
#ifndef TEST_FUZZ_CERTIFICATE_H
#define TEST_FUZZ_CERTIFICATE_H

#include <stdbool.h>

/* Makes it and its key (RSA of 2048 bits, or P-256), and writes both as PEM files. */
void certificate_write(const char *cert_path, const char *key_path, bool rsa);

#endif
