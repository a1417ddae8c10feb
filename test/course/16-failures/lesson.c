/* SPDX-License-Identifier: MIT */
/*
 * Two clients. What a client does wrong it is told. What the disk does wrong is an error value, which
 * goes up to the caller. A CHECK is for what neither of them can bring about.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/chan.h"
#include "common/check.h"
#include "common/err.h"

#include "test/course/go.h"

/* It is told to the client. After a fatal one the connection is closed. */
struct client_err {
	bool fatal;
	char text[600];
};

static int refuse(struct client_err *e, bool fatal, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct client_err *e, bool fatal, const char *fmt, ...)
{
	va_list ap;

	e->fatal = fatal;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return -1;
}

static bool is_valid(const char *topic)
{
	size_t len = strlen(topic);

	return len > 0 && len <= 64 && strspn(topic, "abcdefghijklmnopqrstuvwxyz") == len;
}

/* Fails for reasons of the disk: -1 with err set. */
static int put(const char *topic, struct err *err)
{
	char path[80];
	int fd;

	CHECK(is_valid(topic));
	snprintf(path, sizeof path, "disk/%s", topic);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "open %s", path);
	return close(fd) == 0 ? 0 : err_errno(err, errno, "close %s", path);
}

static int publish(const char *topic, struct client_err *e)
{
	struct err err;

	if (!is_valid(topic))
		return refuse(e, true, "E_BAD_TOPIC PUB topic name \"%s\" is not valid", topic);
	if (put(topic, &err) < 0)
		return refuse(e, true, "E_PUB_FAILED PUB failed %s", err.msg);
	return 0;
}

static int exec(const char *command, struct client_err *e)
{
	if (strcmp(command, "NOP") == 0)
		return 0;
	if (strncmp(command, "FIN ", 4) == 0)
		return refuse(e, false, "E_FIN_FAILED FIN %s failed ID not in flight", command + 4);
	if (strncmp(command, "PUB ", 4) == 0)
		return publish(command + 4, e);
	return refuse(e, true, "E_INVALID invalid command %s", command);
}

struct client {
	const char *commands[6]; /* NULL is the end */
	struct chan *answers;    /* of struct client_err */
};

static void serve(void *arg)
{
	struct client *c = arg;

	for (int i = 0; c->commands[i]; i++) {
		struct client_err e = {.text = "OK"};

		if (exec(c->commands[i], &e) < 0)
			CHECK(strcmp(e.text, "OK") != 0);
		chan_send(c->answers, &e);
		if (e.fatal)
			break;
	}
	chan_close(c->answers);
}

int main(void)
{
	struct client clients[] = {
		{{"NOP", "FIN 7", "NOP", "PUB ord?rs", "NOP"}, NULL},
		{{"NOP", "PUB orders", "NOP"}, NULL},
	};
	struct client_err answer;
	struct wait_group wg;

	wait_group_init(&wg);
	for (int i = 0; i < 2; i++) {
		clients[i].answers = chan_new(sizeof(struct client_err), 0);
		go(&wg, "serve", serve, &clients[i]);
		while (chan_recv(clients[i].answers, &answer))
			printf("client %d: %s\n", i, answer.text);
	}
	wait_group_wait(&wg);
	wait_group_destroy(&wg);
	gothread_drain();
	for (int i = 0; i < 2; i++)
		chan_free(clients[i].answers);
	return 0;
}
