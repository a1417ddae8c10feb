/* SPDX-License-Identifier: MIT */
/* GET /health/ready: what keeps a daemon from being ready, and that each reason is named. */
#include "test/unit/nsqd_test.h"

#include "nsqd/http/http.h"
#include "nsqd/http/http_request.h"

static void assert_ready(struct fixture *f, int status, const char *json)
{
	struct http_request req = {.daemon = &f->nsqd->http_daemon, .ctx = &f->nsqd->ctx};
	http_do_health_ready(&req);
	assert_int_equal(req.status, status);
	assert_true(req.is_json);
	assert_string_equal(req.out.data, json);
	strbuf_free(&req.out);
}

static void test_ready(struct fixture *f)
{
	assert_ready(f, 200, "{\"status\":\"ready\",\"reasons\":[]}");
}

static void test_each_reason_is_named(struct fixture *f)
{
	struct err err;
	atomic_store(&f->nsqd->ctx.phase, PHASE_LOADING);
	assert_ready(f, 503,
		"{\"status\":\"not ready\",\"reasons\":[\"the metadata are being loaded\"]}");
	atomic_store(&f->nsqd->ctx.phase, PHASE_EXITING);
	assert_ready(f, 503, "{\"status\":\"not ready\",\"reasons\":[\"the daemon exits\"]}");
	err_set(&err, 0, "disk \"a\" is full");
	nsqd_set_health(&f->nsqd->ctx, &err);
	assert_ready(f, 503,
		"{\"status\":\"not ready\",\"reasons\":[\"the daemon exits\","
		"\"NOK - disk \\\"a\\\" is full\"]}");
	atomic_store(&f->nsqd->ctx.phase, PHASE_RUNNING);
	assert_ready(f, 503,
		"{\"status\":\"not ready\",\"reasons\":[\"NOK - disk \\\"a\\\" is full\"]}");
	nsqd_set_health(&f->nsqd->ctx, NULL);
	assert_ready(f, 200, "{\"status\":\"ready\",\"reasons\":[]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		nsqd_test(test_ready),
		nsqd_test(test_each_reason_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
