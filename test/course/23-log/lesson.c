/* SPDX-License-Identifier: MIT */
/* A log that one thread writes, and two channels with a cursor each, before and after a crash. */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/chan.h"

#include "test/course/23-log/record.h"
#include "test/course/go.h"

enum { AT_ONCE = 64, FILE_SIZE = 1024 };

/* It is the asker's, which lends it to the writer until the answer. */
struct request {
	const char *text;
	int rc;                 /* out: 0, or -1: nothing of it is kept */
	struct chan *done_chan; /* carries nothing, and has room for one */
};

/* Each message once, in order. Message n is the n-th record of the file. */
struct log {
	int fd;
	struct chan *append_chan; /* of struct request * */
	struct chan *turn_chan;   /* has one value, of size 0: a receiver of it may write */
	int syncs;                /* guarded by the turn */
};

/* Writes all of them in one go. They are kept (0), or none is (-1). */
static int commit(struct log *l, struct request **reqs, size_t n)
{
	static char records[AT_ONCE * (RECORD_HEAD + TEXT_SIZE)]; /* guarded by the turn */
	size_t size = 0;

	for (size_t i = 0; i < n; i++)
		size += put_record(records + size, reqs[i]->text);
	if (write(l->fd, records, size) != (ssize_t)size)
		return -1;
	l->syncs++;
	return fdatasync(l->fd);
}

/* Takes all requests that wait, and answers them when they are on the disk. */
static void writer(void *arg)
{
	struct log *l = arg;
	struct request *reqs[AT_ONCE];

	while (chan_recv(l->append_chan, &reqs[0])) {
		size_t n = 1;
		int rc;

		chan_recv(l->turn_chan, NULL);
		n += chan_try_recv_n(l->append_chan, reqs + 1, AT_ONCE - 1, NULL);
		rc = commit(l, reqs, n);
		chan_send(l->turn_chan, NULL);
		for (size_t i = 0; i < n; i++) {
			reqs[i]->rc = rc;
			chan_send(reqs[i]->done_chan, NULL); /* the asker may be gone now */
		}
	}
}

static void ask(struct log *l, struct request *r, const char *text)
{
	*r = (struct request){text, -1, chan_new(0, 1)};
	chan_send(l->append_chan, &r);
}

static void await(struct request *r)
{
	chan_recv(r->done_chan, NULL);
	chan_free(r->done_chan);
	if (r->rc != 0)
		errx(1, "\"%s\" is not kept", r->text);
}

/* Cuts off what a crash has left at the end. *texts: those before it. */
static void log_open(struct log *l, const char *path, struct texts *texts)
{
	char data[FILE_SIZE];
	ssize_t size;
	size_t end;

	l->fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (l->fd < 0 || (size = read(l->fd, data, sizeof(data))) < 0)
		err(1, "%s", path);
	end = recover(data, (size_t)size, texts);
	if (ftruncate(l->fd, (off_t)end) != 0 || lseek(l->fd, (off_t)end, SEEK_SET) < 0)
		err(1, "%s", path);
	l->append_chan = chan_new(sizeof(struct request *), AT_ONCE);
	l->turn_chan = chan_new(0, 1);
	l->syncs = 0;
	chan_send(l->turn_chan, NULL);
}

static void log_close(struct log *l)
{
	chan_free(l->append_chan);
	chan_free(l->turn_chan);
	if (close(l->fd) != 0)
		err(1, "close");
}

/* What a channel knows of the log. All messages before floor are finished. */
struct cursor {
	int floor;
	bool finished[TEXTS + 1]; /* behind it; one more than there can be messages: false */
};

static void cursor_finish(struct cursor *c, int n)
{
	c->finished[n] = true;
	while (c->finished[c->floor])
		c->floor++;
}

/* Replaces the file: a program that opens it finds the old cursor or the new one. */
static void cursor_save(const struct cursor *c, const char *path)
{
	FILE *file = fopen("cursor.tmp", "w");

	if (!file)
		err(1, "cursor.tmp");
	fprintf(file, "%d\n", c->floor);
	for (int n = c->floor; n < TEXTS; n++)
		if (c->finished[n])
			fprintf(file, "%d\n", n);
	if (fclose(file) != 0 || rename("cursor.tmp", path) != 0)
		err(1, "%s", path);
}

/* Has finished nothing if there is no file. */
static struct cursor cursor_load(const char *path)
{
	struct cursor c = {0};
	FILE *file = fopen(path, "r");
	int n;

	if (!file)
		return c;
	if (fscanf(file, "%d", &n) == 1 && n >= 0 && n <= TEXTS)
		c.floor = n;
	while (fscanf(file, "%d", &n) == 1)
		if (n >= c.floor && n < TEXTS)
			c.finished[n] = true;
	fclose(file);
	return c;
}

/* Prints which messages of the log the channel still has to deliver. */
static void print_wanted(const char *channel, const char *path, int end)
{
	struct cursor c = cursor_load(path);

	printf("%s gets", channel);
	for (int n = c.floor; n < end; n++)
		if (!c.finished[n])
			printf(" %d", n);
	printf("\n");
}

struct publisher {
	struct log *log;
	struct wait_group *asked;
};

static void publish_one(void *arg)
{
	struct publisher *p = arg;
	struct request r;

	ask(p->log, &r, "one of five");
	wait_group_done(p->asked);
	await(&r);
}

/* Five threads ask while nobody may write. Returns how many syncs that took. */
static int publish_at_once(struct log *l)
{
	struct wait_group asked, answered;
	struct publisher p = {l, &asked};
	int before;

	wait_group_init(&asked);
	wait_group_init(&answered);
	chan_recv(l->turn_chan, NULL); /* the disk is slow today */
	before = l->syncs;
	for (int i = 0; i < 5; i++) {
		wait_group_add(&asked);
		go(&answered, "publisher", publish_one, &p);
	}
	wait_group_wait(&asked);
	chan_send(l->turn_chan, NULL);
	wait_group_wait(&answered);
	wait_group_destroy(&asked);
	wait_group_destroy(&answered);
	return l->syncs - before;
}

static void publish(void)
{
	struct wait_group loop;
	struct texts texts;
	struct log l;

	log_open(&l, "log", &texts);
	wait_group_init(&loop);
	go(&loop, "writer", writer, &l);
	for (int i = 0; i < 3; i++) {
		struct request r;

		ask(&l, &r, "one of three");
		await(&r);
	}
	printf("3 one after the other: %d syncs\n", l.syncs);
	printf("5 at the same moment: %d sync\n", publish_at_once(&l));
	chan_close(l.append_chan);
	wait_group_wait(&loop);
	wait_group_destroy(&loop);
	log_close(&l);
	gothread_drain();
}

/* What was in memory is gone, and a record is at the log's end in part. */
static void crash(void)
{
	char torn[RECORD_HEAD + TEXT_SIZE];
	size_t size = put_record(torn, "nobody was told of this") - 1;
	int fd = open("log", O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0 || write(fd, torn, size) != (ssize_t)size || close(fd) != 0)
		err(1, "log");
}

int main(void)
{
	static const int finished[] = {0, 1, 2, 4, 6};
	struct cursor mail, orders;
	struct texts texts;
	struct log l;

	publish();
	mail = cursor_load("mail.cursor");
	orders = cursor_load("orders.cursor");
	for (size_t i = 0; i < sizeof(finished) / sizeof(finished[0]); i++)
		cursor_finish(&mail, finished[i]);
	cursor_save(&mail, "mail.cursor");
	cursor_finish(&orders, 0);
	cursor_save(&orders, "orders.cursor");
	cursor_finish(&orders, 1); /* nobody saves that */
	crash();
	log_open(&l, "log", &texts);
	log_close(&l);
	printf("after the crash: %d messages in the log\n", texts.n);
	print_wanted("mail", "mail.cursor", texts.n);
	print_wanted("orders", "orders.cursor", texts.n);
	print_wanted("news", "news.cursor", texts.n);
	return 0;
}
