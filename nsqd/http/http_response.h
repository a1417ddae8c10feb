/* SPDX-License-Identifier: MIT */
/*
 * The answers (internal/http_api/api_response.go, and net/http below it). Each is for the request
 * that c is at.
 */
#ifndef NSQD_HTTP_RESPONSE_H
#define NSQD_HTTP_RESPONSE_H

#include <stdbool.h>

#include "protocol/http_head.h"

struct http_conn;

/* --- make c->answer --- */

/* http_api.V1 and PlainText: of what the handler has said. */
void http_answer_v1(struct http_conn *c);
void http_answer_plain(struct http_conn *c);
/* 403, with the HTTPS server's port. */
void http_answer_tls_required(struct http_conn *c);
/* 401 or 403, as c->access says. Sets the request's status. */
void http_answer_denied(struct http_conn *c);
/* The router's answers: http.Redirect, OPTIONS, 405. */
void http_answer_redirect(struct http_conn *c);
void http_answer_allow(struct http_conn *c);
void http_answer_method_not_allowed(struct http_conn *c);
/* OPTIONS of the server as a whole. */
void http_answer_global_options(struct http_conn *c);
/* 417: Expect names something that we do not know. */
void http_answer_expectation_failed(struct http_conn *c);

/* --- send it --- */

/*
 * May the connection go on after the answer, so that the rest of the request's body has to be read?
 * Sets c->close if it may not.
 */
bool http_answer_keeps_body(struct http_conn *c);
/* Sends c->answer; sets c->close and c->linger. */
void http_answer_send(struct http_conn *c);
/* The request is malformed: says how, at once. */
void http_answer_refusal(struct http_conn *c, const struct http_refusal *why);

#endif
