/* SPDX-License-Identifier: MIT */
/* Clocks and Go durations (package time). All times are int64_t nanoseconds. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NSEC_PER_USEC 1000LL
#define NSEC_PER_MSEC 1000000LL
#define NSEC_PER_SEC 1000000000LL

/* time.Now().UnixNano(): the wall clock; it may step. */
int64_t clock_wall_ns(void);
/* Monotonic, unaffected by steps; for deadlines. Never 0. */
int64_t clock_mono_ns(void);
/*
 * The wall clock minus the monotonic one: it changes only where the wall clock is set. False: it is
 * not known so well, since the thread was held up between the two looks; *ns is the best guess.
 */
bool clock_offset_ns(int64_t *ns);
/* For poll: the ms until deadline_ns (monotonic), rounded up; 0 if it is over, at most INT_MAX. */
int clock_msec_until(int64_t deadline_ns);

/*
 * time.ParseDuration: "1h2m3.5s", "250ms", "-1s", "0"; all of Go's units. False: not a duration or
 * out of range.
 */
bool duration_parse(const char *s, int64_t *ns);
/* Duration.String(): "1m0s", "250ms", "1.5µs", "0s". Returns buf. 32 bytes suffice. */
char *duration_format(int64_t ns, char *buf, size_t size);

#endif
