/* SPDX-License-Identifier: MIT */
/*
 * What a service manager such as systemd tells the processes that it starts, and wants to hear from
 * them: sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3), without their library. All of it
 * is in the environment. Without such a manager nothing is done.
 */
#ifndef COMMON_SD_DAEMON_H
#define COMMON_SD_DAEMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/err.h"

/* The most listening sockets that a caller knows names for. */
#define SD_SOCKETS 4

/* Immutable after sd_daemon_init, but for the sockets, which are main's. */
struct sd_daemon {
	int notify_fd; /* owned; -1: nobody wants to hear anything */
	struct sockaddr_un notify_addr;
	socklen_t notify_len;
	int64_t watchdog_ns;     /* within this time a sign of life must come; 0: nobody waits */
	int sockets[SD_SOCKETS]; /* passed ones, closed on exec; -1: none. Owned until taken */
	struct err warning;      /* what of the environment is of no use; code 0: nothing */
};

/*
 * Takes all of it out of the environment, so that a child does not think that it is meant. names
 * has at most SD_SOCKETS names. sockets[i] becomes the socket that is called names[i]. If none of
 * the sockets has one of these names, the first is sockets[0], and so on. -1 with err set: sockets
 * were passed to this process, and it is not clear what for. Whether they listen is for the one
 * that takes them to check. Main thread, before any other, and before it opens anything.
 */
int sd_daemon_init(struct sd_daemon *sd, const char *const *names, size_t n_names, struct err *err);
/* Closes what nobody has taken. After sd_daemon_init; a second call does nothing. Main thread. */
void sd_daemon_close(struct sd_daemon *sd);

/* READY=1, with what `systemctl status` is to show. Blocks for at most 5 s. -1 with err set. */
int sd_daemon_ready(const struct sd_daemon *sd, const char *status, struct err *err);
/*
 * One or more assignments, such as "WATCHDOG=1", with newlines between them. Never blocks. 0 also
 * where nobody listens to this process; -1 with err set: it did not get through. Any thread.
 */
int sd_daemon_notify(const struct sd_daemon *sd, const char *state, struct err *err);

#endif
