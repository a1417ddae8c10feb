/* SPDX-License-Identifier: MIT */
/*
 * The protocols of a service manager: datagrams to NOTIFY_SOCKET, a watchdog, and sockets that the
 * manager has opened. Go has no such thing, and stock neither. The thread "main" reads the
 * environment; any thread notifies.
 *
 * The socket for the datagrams is opened once, since later there may be no descriptor left. It is
 * not connected: a manager that starts anew binds another socket under the same name.
 */
#include "common/sd_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/clock.h"

#define FIRST_SOCKET 3 /* SD_LISTEN_FDS_START */
#define READY_SEC 5    /* for the manager to take READY=1 */

/* --- the environment -------------------------------------------------------------------------- */

static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
	"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"};

/* A whole number without a sign. False: it is none, or out of range. */
static bool parse_number(const char *s, uint64_t *n)
{
	*n = 0;
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(*n, 10, n) ||
			__builtin_add_overflow(*n, (uint64_t)(*s - '0'), n))
			return false;
	}
	return true;
}

/* Does the variable name this process? An environment that came from elsewhere names another. */
static bool is_meant(const char *variable)
{
	const char *text = getenv(variable);
	uint64_t pid;
	return text && parse_number(text, &pid) && pid == (uint64_t)getpid();
}

/* --- notify ----------------------------------------------------------------------------------- */

/* The name of an abstract socket is written with "@" in place of its first byte, which is zero. */
static int set_address(struct sd_daemon *sd, const char *name, struct err *err)
{
	size_t len = strlen(name);
	struct sockaddr_un *a = &sd->notify_addr;
	bool abstract = *name == '@';
	if ((!abstract && *name != '/') || len < 2)
		return err_set(
			err, EINVAL, "NOTIFY_SOCKET=%s: neither a path nor an abstract name", name);
	if (len + !abstract > sizeof(a->sun_path))
		return err_set(err, EINVAL, "NOTIFY_SOCKET=%s: too long", name);
	a->sun_family = AF_UNIX;
	memcpy(a->sun_path, name, len);
	if (abstract)
		a->sun_path[0] = '\0';
	sd->notify_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !abstract);
	return 0;
}

static int open_notify(struct sd_daemon *sd, struct err *err)
{
	const char *name = getenv("NOTIFY_SOCKET");
	const struct timeval limit = {.tv_sec = READY_SEC};
	if (!name || !*name)
		return 0;
	if (set_address(sd, name, err) != 0)
		return -1;
	sd->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sd->notify_fd < 0)
		return err_errno(err, errno, "NOTIFY_SOCKET=%s: socket", name);
	(void)setsockopt(sd->notify_fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return 0;
}

static int send_state(const struct sd_daemon *sd, const char *state, int flags, struct err *err)
{
	ssize_t n;
	if (sd->notify_fd < 0)
		return 0;
	do
		n = sendto(sd->notify_fd, state, strlen(state), flags | MSG_NOSIGNAL,
			(const struct sockaddr *)&sd->notify_addr, sd->notify_len);
	while (n < 0 && errno == EINTR);
	return n >= 0 ? 0 : err_errno(err, errno, "notifying the service manager");
}

int sd_daemon_notify(const struct sd_daemon *sd, const char *state, struct err *err)
{
	return send_state(sd, state, MSG_DONTWAIT, err);
}

int sd_daemon_ready(const struct sd_daemon *sd, const char *status, struct err *err)
{
	char state[512];
	snprintf(state, sizeof(state), "READY=1\nSTATUS=%s", status);
	return send_state(sd, state, 0, err);
}

static int read_watchdog(struct sd_daemon *sd, struct err *err)
{
	const char *text = getenv("WATCHDOG_USEC");
	uint64_t usec;
	if (!text || (getenv("WATCHDOG_PID") && !is_meant("WATCHDOG_PID")))
		return 0;
	if (!parse_number(text, &usec) || usec == 0 || usec > INT64_MAX / NSEC_PER_USEC)
		return err_set(err, EINVAL, "WATCHDOG_USEC=%s: not a number of microseconds", text);
	/* Without a way to tell anybody there is nobody that waits. */
	if (sd->notify_fd >= 0)
		sd->watchdog_ns = (int64_t)usec * NSEC_PER_USEC;
	return 0;
}

/* --- listening sockets ------------------------------------------------------------------------ */

/* The index of the name that starts at s and is len bytes long; n: it is none of them. */
static size_t find_name(const char *const *names, size_t n, const char *s, size_t len)
{
	size_t i = 0;
	while (i < n && (strlen(names[i]) != len || memcmp(names[i], s, len) != 0))
		i++;
	return i;
}

/*
 * Which of the names each of the passed sockets has; n_names: another one, as systemd calls those
 * that it was told no name for. Returns how many have one of the names.
 */
static size_t read_names(const char *const *names, size_t n_names, size_t n_passed, size_t *which)
{
	const char *s = getenv("LISTEN_FDNAMES");
	size_t known = 0;
	for (size_t i = 0; i < n_passed; i++) {
		size_t len = s ? strcspn(s, ":") : 0;
		which[i] = s ? find_name(names, n_names, s, len) : n_names;
		known += which[i] < n_names;
		if (s)
			s = s[len] ? s + len + 1 : NULL;
	}
	return known;
}

static int place(struct sd_daemon *sd, const char *const *names, const size_t *which, size_t n,
	struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int fd = FIRST_SOCKET + (int)i;
		if (sd->sockets[which[i]] >= 0)
			return err_set(err, EINVAL, "LISTEN_FDNAMES: two sockets are called %s",
				names[which[i]]);
		int flags = fcntl(fd, F_GETFD);
		if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0)
			return err_errno(err, errno, "LISTEN_FDS: descriptor %d", fd);
		sd->sockets[which[i]] = fd;
	}
	return 0;
}

static int take_sockets(
	struct sd_daemon *sd, const char *const *names, size_t n_names, struct err *err)
{
	const char *text = getenv("LISTEN_FDS");
	size_t which[SD_SOCKETS];
	uint64_t n;
	if (!text || !is_meant("LISTEN_PID"))
		return 0;
	if (!parse_number(text, &n))
		return err_set(err, EINVAL, "LISTEN_FDS=%s: not a number of sockets", text);
	if (n > n_names)
		return err_set(err, EINVAL, "LISTEN_FDS=%s: at most %zu sockets are of use", text,
			n_names);
	size_t known = read_names(names, n_names, n, which);
	if (known != 0 && known != n)
		return err_set(err, EINVAL,
			"LISTEN_FDNAMES=%s: some of these names are known, and some are not",
			getenv("LISTEN_FDNAMES"));
	for (size_t i = 0; known == 0 && i < n; i++)
		which[i] = i;
	return place(sd, names, which, n, err);
}

/* --- life ------------------------------------------------------------------------------------- */

int sd_daemon_init(struct sd_daemon *sd, const char *const *names, size_t n_names, struct err *err)
{
	*sd = (struct sd_daemon){.notify_fd = -1};
	for (size_t i = 0; i < SD_SOCKETS; i++)
		sd->sockets[i] = -1;
	int rc = take_sockets(sd, names, n_names, err);
	if (rc == 0 && open_notify(sd, &sd->warning) == 0)
		(void)read_watchdog(sd, &sd->warning);
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		(void)unsetenv(variables[i]);
	if (rc != 0)
		sd_daemon_close(sd);
	return rc;
}

void sd_daemon_close(struct sd_daemon *sd)
{
	if (sd->notify_fd >= 0)
		close(sd->notify_fd);
	sd->notify_fd = -1;
	for (size_t i = 0; i < SD_SOCKETS; i++) {
		if (sd->sockets[i] >= 0)
			close(sd->sockets[i]);
		sd->sockets[i] = -1;
	}
}
