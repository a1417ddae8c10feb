/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of a model: epoll, eventfd, timerfd, and sockets whose peers are scenarios. See
 * mc_net.c.
 */
#ifndef TEST_MODEL_MC_NET_H
#define TEST_MODEL_MC_NET_H

#include <stdbool.h>
#include <stddef.h>

/* A socket. Its peer is a thread that calls the two below. */
int mc_socket(void);
void mc_peer_sends(int fd, int n);
void mc_peer_ends(int fd);
/* What has come; 0: nothing more. */
int mc_receive(int fd);
bool mc_has_ended(int fd);
/* So many times epoll may refuse a descriptor. */
extern int mc_epoll_refusals;
/* Timers may run out from now on: a thread, which waits for ever. From setup. */
void mc_go_timers(void);
/* Are all descriptors closed but so many? */
int mc_n_files(void);

#endif
