/* SPDX-License-Identifier: MIT */
/* The loop that requeues what has timed out, and its workers (queueScanLoop of nsqd/nsqd.go). */
#ifndef NSQD_QUEUE_SCAN_H
#define NSQD_QUEUE_SCAN_H

/*
 * The thread "scan"; arg is the struct topics. It starts its workers itself, and ends them when
 * exit_chan is closed.
 */
void nsqd_queue_scan_loop(void *arg);

#endif
