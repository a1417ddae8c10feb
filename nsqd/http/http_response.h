/* SPDX-License-Identifier: MIT */
/*
 * The answers (internal/http_api/api_response.go, and net/http below it). Each is sent to the
 * request that c is at.
 */
#ifndef NSQD_HTTP_RESPONSE_H
#define NSQD_HTTP_RESPONSE_H

#include "protocol/http_head.h"

struct http_conn;

/* http_api.V1 and PlainText: send the handler's answer. */
void http_answer_v1(struct http_conn *c);
void http_answer_plain(struct http_conn *c);
/* 403, with the HTTPS server's port. */
void http_answer_tls_required(struct http_conn *c);
/* The router's answers: http.Redirect, OPTIONS, 405. */
void http_answer_redirect(struct http_conn *c);
void http_answer_allow(struct http_conn *c);
void http_answer_method_not_allowed(struct http_conn *c);
/* OPTIONS of the server as a whole. */
void http_answer_global_options(struct http_conn *c);
/* 417: Expect names something that we do not know. */
void http_answer_expectation_failed(struct http_conn *c);
/* The request is malformed: says how. */
void http_answer_refusal(struct http_conn *c, const struct http_refusal *why);

#endif
