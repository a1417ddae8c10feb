/* SPDX-License-Identifier: MIT */
/* How a message gets into a dead-letter topic: the functions of dead_letter.h. (No Go file.) */
#ifndef NSQD_DEAD_LETTERS_H
#define NSQD_DEAD_LETTERS_H

struct topics;

/* From now on the channels of these topics have dead letters. Main thread, before there are topics. */
void dead_letters_init(struct topics *ts);

#endif
