#!/usr/bin/env python3
"""Shows that each check of the documentation finds what it is for.

Each test makes a small tree that is right, sees that it passes, puts one fault into it, and sees
that the check names it.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import access
import bounds
import chan_svg
import client_svg
import course
import dashboard_svg
import go_map
import heads
import includes
import locks
import log_page
import locks_svg
import memory_order
import metrics
import names
import pages
import select_svg
import settings
import threads
import threads_svg
import top
import tree
import troubles
import version
import way_svg


class Tree(unittest.TestCase):
    """A tree of files in a directory of the test's own."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name

    def write(self, path, text=""):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def room(self, name, *included, header=()):
        """name.h, which includes header, and name.c, which includes name.h and the others."""
        self.write(name + ".h", "".join(f'#include "{other}"\n' for other in header))
        self.write(
            name + ".c", "".join(f'#include "{other}"\n' for other in (name + ".h",) + included)
        )

    def assert_refused(self, complaints, *words):
        """One complaint, which says all of that."""
        self.assertEqual(len(complaints), 1, complaints)
        for word in words:
            self.assertIn(word, complaints[0])


class Access(Tree):
    ROWS = ('\t{HTTP_GET, "/ping", HTTP_OPEN, ping, HTTP_PUBLIC | HTTP_QUICK, NULL},\n'
            '\t{HTTP_PUT, "/x/:opt", HTTP_ADMIN, put_x,\n\t\tHTTP_LOGGED, NULL},\n')
    TABLE = ("| route | scope | read-only listener |\n|---|---|---|\n"
             "| `GET /ping` | none | yes |\n| `PUT /x/:opt` | admin |  |\n")

    def put(self, rows, table):
        self.write(access.SOURCE, "const struct http_route http_routes[] = {\n" + rows + "};\n")
        self.write(access.PAGE, access.BEGIN + "\n" + table + "\n" + access.END)
        return access.check(self.root)

    def test_right(self):
        self.assertEqual(self.put(self.ROWS, self.TABLE), [])

    def test_stale(self):
        self.assert_refused(self.put(self.ROWS.replace("ADMIN", "READ"), self.TABLE), "stale")

    def test_no_scope(self):
        complaints = self.put(self.ROWS.replace("HTTP_ADMIN, ", ""), self.TABLE.replace("admin", "?"))
        self.assert_refused(complaints, "PUT /x/:opt", "no scope, but put_x")

    def test_public_for_no_reader(self):
        complaints = self.put(self.ROWS.replace("OPEN", "ADMIN"), self.TABLE.replace("none", "admin"))
        self.assert_refused(complaints, "GET /ping is admin, and public")

    def test_rows_in_another_form(self):
        self.assert_refused(self.put(self.ROWS + "\t{HTTP_GET, path, HTTP_READ},\n", self.TABLE), "rows")


class Top(Tree):
    def setUp(self):
        super().setUp()
        for path in ("Makefile", "nsqd/main.c", "docs/testing.md", ".ci/run", "build/nsqd"):
            self.write(path)

    def git(self, *words):
        subprocess.run(["git", "-C", self.root, *words], check=True, stdout=subprocess.DEVNULL)

    def test_without_git(self):
        self.assertEqual(top.check(self.root), [])
        self.write("nsqd.cfg")
        self.assert_refused(top.check(self.root), "nsqd.cfg")

    def test_what_git_would_add_and_what_it_has(self):
        self.git("init", "-q")
        self.write(".gitignore", "/build/\n")
        self.assertEqual(top.check(self.root), [])
        self.write("q.d/log")
        self.assert_refused(top.check(self.root), "q.d")
        self.git("add", "-A")
        self.assert_refused(top.check(self.root), "q.d")


class Includes(Tree):
    def setUp(self):
        super().setUp()
        self.room("nsqd/nsqd", "nsqd/http/http.h", "nsqd/client/tcp.h", "nsqd/cluster/lookup.h")
        self.room("nsqd/http/http", "nsqd/queue/topic.h", "common/chan.h")
        self.room("nsqd/client/tcp", "nsqd/queue/topic.h", "protocol/names.h")
        self.room("nsqd/cluster/lookup", "nsqd/queue/topic.h")
        self.room("nsqd/queue/topic", "nsqd/queue/channel.h")
        self.room("nsqd/queue/channel", "common/chan.h")
        self.room("protocol/names", "common/chan.h")
        self.room("common/chan", "common/chan_internal.h")
        self.write("common/chan_internal.h", '#include "common/chan.h"\n')

    def check(self, known=()):
        return includes.check(self.root, known)

    def test_good_tree_passes(self):
        self.assertEqual(self.check(), [])

    def test_include_upwards_is_refused(self):
        self.room("nsqd/queue/channel", "common/chan.h", "nsqd/http/http.h")
        words = "nsqd/queue/channel.c:3: nsqd/queue/ includes upwards, from nsqd/http/: nsqd/http/"
        self.assert_refused(self.check(), words)

    def test_common_that_includes_protocol_is_refused(self):
        self.write("common/text.h", '#include "protocol/names.h"\n')
        self.assert_refused(self.check(), "common/text.h:1", "common/", "protocol/")

    def test_client_that_includes_cluster_is_refused(self):
        self.room("nsqd/client/tcp", "nsqd/cluster/lookup.h")
        self.assert_refused(self.check(), "tcp.c:2", "nsqd/client/ must not know nsqd/cluster/")

    def test_cluster_that_includes_client_is_refused(self):
        self.room("nsqd/cluster/lookup", "nsqd/client/tcp.h")
        self.assert_refused(self.check(), "lookup.c:2", "nsqd/cluster/ must not know nsqd/client/")

    def test_include_without_a_folder_is_refused(self):
        self.write("nsqd/queue/kept.h", '#include "channel.h"\n')
        self.assert_refused(self.check(), "kept.h:1", "none of the folders")

    def test_circle_is_refused(self):
        self.room("common/a", "common/b.h")
        self.room("common/b", header=("common/c.h",))
        self.room("common/c", "common/a.h")
        self.assert_refused(self.check(), "common/a -> common/b -> common/c -> common/a")

    def test_circle_through_an_internal_header_is_refused(self):
        self.room("nsqd/queue/channel", "nsqd/queue/kept.h", "nsqd/queue/channel_internal.h")
        self.write("nsqd/queue/channel_internal.h", "size_t put(\n\tstruct channel *c, int n);\n")
        self.room("nsqd/queue/kept", "nsqd/queue/channel_internal.h")
        way = "nsqd/queue/channel -> nsqd/queue/kept -> nsqd/queue/channel"
        self.assert_refused(self.check(), way)

    def test_internal_header_of_types_is_a_room_of_its_own(self):
        self.room("nsqd/queue/channel", "nsqd/queue/kept.h", "nsqd/queue/channel_internal.h")
        self.room("nsqd/queue/kept", "nsqd/queue/channel_internal.h")
        types = """/* No void f(void); here. */
#define CALL(f) \\
	f(1);
struct ops {
	struct part { int (*open)(void); } part;
};
typedef void (*callback)(int);
extern const struct ops ops;
static inline int one(void)
{
	return two(1);
}
"""
        self.write("nsqd/queue/channel_internal.h", types)
        self.assertEqual(self.check(), [])
        for function in ("void three(void);\n", "extern int *three(int, struct ops *)\n\t;\n"):
            self.write("nsqd/queue/channel_internal.h", types + function)
            self.assert_refused(self.check(), "channel -> nsqd/queue/kept -> nsqd/queue/channel")

    def test_function_in_an_internal_header_is_its_owners(self):
        self.room("nsqd/queue/channel", "nsqd/queue/kept.h")
        self.room("nsqd/queue/kept", "nsqd/queue/channel_internal.h")
        self.write("nsqd/queue/channel_internal.h")
        self.assertEqual(self.check(), [])
        self.write("nsqd/queue/channel_internal.h", "void channel_put(int n);\n")
        self.assert_refused(self.check(), "channel -> nsqd/queue/kept -> nsqd/queue/channel")

    def test_internal_header_of_many_is_a_room_of_its_own(self):
        self.room("nsqd/http/http", "nsqd/http/http_conn.h")
        self.room("nsqd/http/http_conn", "nsqd/http/http_internal.h")
        self.write("nsqd/http/http_internal.h")
        self.assertEqual(self.check(), [])

    def test_known_circle_passes_until_it_is_none(self):
        self.room("common/a", "common/b.h")
        self.room("common/b", "common/a.h")
        known = {("common/a", "common/b"): "a reason"}
        self.assertEqual(self.check(known), [])
        self.room("common/b")
        self.assert_refused(self.check(known), "common/a -> common/b", "no circle")

    def test_file_directly_in_nsqd_is_refused(self):
        self.write("nsqd/guid.c")
        self.assert_refused(self.check(), "nsqd/guid.c", "in a folder")

    def test_unknown_folder_is_refused(self):
        self.write("nsqd/misc/guid.c")
        self.assert_refused(self.check(), "nsqd/misc/guid.c", "none of the folders")


class Heads(Tree):
    GOOD = """/* SPDX-License-Identifier: MIT */
/*
 * A topic. Mirrors nsqd/topic.go. Runs
 * in the callers' threads.
 */
"""

    def check(self, text, path="nsqd/queue/topic.c", lacking=()):
        self.write(path, text)
        return heads.check(self.root, lacking)

    def test_good_head_passes(self):
        self.assertEqual(self.check(self.GOOD), [])

    def test_head_without_licence_is_refused(self):
        self.assert_refused(self.check("/* A topic. */\n"), "topic.c", "SPDX")

    def test_source_without_head_is_refused(self):
        text = self.GOOD.split("\n", 1)[0] + "\nint x;\n"
        self.assert_refused(self.check(text, "common/a.h"), "common/a.h", "what it is")

    def test_head_without_go_file_is_refused(self):
        text = self.GOOD.replace("Mirrors nsqd/topic.go. ", "")
        self.assert_refused(self.check(text), "topic.c", "which Go file")
        self.assertEqual(self.check(text.replace("A topic.", "A topic. No Go file.")), [])

    def test_head_without_threads_is_refused(self):
        text = self.GOOD.replace("Runs\n * in the callers' threads.", "")
        self.assert_refused(self.check(text), "topic.c", "which threads")

    def test_heads_of_common_and_protocol_count_too(self):
        text = self.GOOD.replace("Runs\n * in the callers' threads.", "")
        for path in "common/a.c", "protocol/a.c":
            self.assert_refused(self.check(text, path), path, "which threads")
            self.check(self.GOOD, path)

    def test_exception_that_is_none_is_refused(self):
        self.assert_refused(self.check(self.GOOD, lacking=["topic.c"]), "topic.c", "LACKING")
        text = self.GOOD.replace("Mirrors nsqd/topic.go. ", "")
        self.assertEqual(self.check(text, lacking=["topic.c"]), [])


class Threads(Tree):
    CODE = """/* wait_group_wrap(&wg, "comment", f, a) is not code. */
int start(struct server *s)
{
	char name[160];
	const char *reserve = s->tls ? "https-reserve" : "http-reserve";
	snprintf(name, sizeof(name), "%s:%s", s->tls ? "https" : "http", s->addr);
	wait_group_wrap(&wg, name, f, s, err);
	wait_group_wrap(&wg, reserve, f, s, err);
	wait_group_wrap(&s->workers, "scan-worker", f, s, err);
}

static const struct io io = {.start = wait_group_wrap};

int start_queue(struct queue *q)
{
	char name[160];
	snprintf(name, sizeof(name), "dq:%s/%s", q->topic, q->name);
	return io->start(&q->wait_group, name, f, q, err);
}
"""
    TABLE = """
| thread | one per |
|---|---|
| `http:ADDR`, `https:ADDR` | connection |
| `http-reserve`, `https-reserve` | process |
| `scan-worker` (to the kernel: `scan`) | 1 to 4 |
| `dq:TOPIC/NAME` | queue |
"""

    def check(self, code, table):
        self.write("nsqd/queue/a.c", code)
        self.write("docs/architecture.md", table)
        return threads.check(self.root)

    def test_table_with_all_names_passes(self):
        self.assertEqual(self.check(self.CODE, self.TABLE), [])

    def test_wrong_name_is_refused(self):
        complaints = self.check(self.CODE, self.TABLE.replace("`dq:", "`d:"))
        self.assertEqual(len(complaints), 2)
        self.assertIn("nsqd/queue/a.c:18: thread dq:*/* is not in", complaints[0])
        self.assertIn("no thread of the code is called d:*/*", complaints[1])

    def test_thread_that_the_table_lacks_is_refused(self):
        table = self.TABLE.replace("| `scan-worker` (to the kernel: `scan`) | 1 to 4 |\n", "")
        self.assert_refused(self.check(self.CODE, table), "a.c:9", "scan-worker")

    def test_thread_that_the_code_lacks_is_refused(self):
        code = self.CODE.replace('"scan-worker"', 'reserve')
        self.assert_refused(self.check(code, self.TABLE), "architecture.md", "scan-worker")

    def test_name_that_is_not_clear_is_refused(self):
        code = self.CODE + "void g(void)\n{\n\twait_group_wrap(&wg, name_of(s), f, s, err);\n}\n"
        self.assert_refused(self.check(code, self.TABLE), "not clear")

    def test_thread_past_wait_group_wrap_is_refused(self):
        code = self.CODE + "int g(void)\n{\n\treturn pthread_create(&id, NULL, f, s);\n}\n"
        self.assert_refused(self.check(code, self.TABLE), "nsqd/queue/a.c", "pthread_create")


class Locks(Tree):
    HEADER = """#define LOCK_RANKS(X) \\
	/* topic_map */ \\
	X(RANK_NSQD, "nsqd.lock") \\
	/* lists that a thread changes \\
	 * in a moment */ \\
	X(RANK_LEAF, "leaf lock")
"""
    TABLE = """
| rank | lock | guards |
|---|---|---|
| 1 | `nsqd.lock` | `topic_map` |
| 2 | leaf lock | lists that a thread changes in a moment |
"""

    def check(self, header, table):
        self.write("common/lock_rank.h", header)
        self.write("docs/architecture.md", table)
        return locks.check(self.root)

    def test_same_words_pass(self):
        self.assertEqual(self.check(self.HEADER, self.TABLE), [])

    def test_wrong_meaning_is_refused(self):
        table = self.TABLE.replace("`topic_map`", "`channel_map`")
        self.assert_refused(self.check(self.HEADER, table), "nsqd.lock", "topic_map", "channel_map")

    def test_lock_without_meaning_is_refused(self):
        header = self.HEADER.replace("	/* topic_map */ \\\n", "")
        self.assert_refused(self.check(header, self.TABLE), "nsqd.lock")

    def test_wrong_order_is_refused(self):
        table = self.TABLE.replace("nsqd.lock", "x").replace("leaf", "nsqd.").replace("`x`", "leaf")
        self.assert_refused(self.check(self.HEADER, table), "lock order")

    def test_wrong_number_is_refused(self):
        table = self.TABLE.replace("| 2 |", "| 3 |")
        self.assert_refused(self.check(self.HEADER, table), "numbered")


class MemoryOrder(Tree):
    CODE = """struct thing {
	_Atomic bool stopping; /* atomic_store(&comment) */
	_Atomic(struct thing *) other;
	int n;
};

static inline bool is_stopping(const struct thing *t)
{
	return atomic_load(&t->stopping);
}

void stop(struct thing *t,
	int n)
{
	if (n)
		atomic_store_explicit(
			&t->stopping, true, memory_order_release);
	atomic_store_explicit(&t->stopping, true, memory_order_release);
	while (!atomic_compare_exchange_weak_explicit(&t->other, &t, f(t, n),
		memory_order_acq_rel, memory_order_relaxed))
		t->n++;
}
"""
    TABLE = """
| variable | operation | order | in | pairs with | why |
|---|---|---|---|---|---|
| `thing.stopping` | load | seq_cst | `a.c`: `is_stopping` | the store | x |
| | store | release | `a.c`: `stop` twice | the load | x |
| `thing.other` | compare_exchange_weak | acq_rel, relaxed | `a.c`: `stop` | itself | x |
"""

    def check(self, code=CODE, table=TABLE):
        self.write("common/a.c", code)
        self.write("docs/memory-order.md", table)
        return memory_order.check(self.root)

    def test_good_table_passes(self):
        self.assertEqual(self.check(), [])

    def test_new_access_is_refused(self):
        code = self.CODE.replace("if (n)", "if (atomic_load(&t->stopping))")
        self.assert_refused(self.check(code), "common/a.c: stop: load of stopping, seq_cst", "1 in")

    def test_one_more_of_the_same_is_refused(self):
        code = self.CODE.replace("return ", "return atomic_load(&t->stopping) && ")
        self.assert_refused(self.check(code), "is_stopping: load of stopping", "2 in the code, 1 in")

    def test_access_that_is_gone_is_refused(self):
        code = self.CODE.replace("atomic_load(&t->stopping)", "false")
        self.assert_refused(self.check(code), "is_stopping: load", "0 in the code, 1 in")

    def test_other_order_is_refused(self):
        code = self.CODE.replace("memory_order_acq_rel", "memory_order_release")
        complaints = self.check(code)
        self.assertEqual(len(complaints), 2)
        self.assertIn("acq_rel, relaxed: 0 in the code", complaints[0])
        self.assertIn("release, relaxed: 1 in the code, 0 in", complaints[1])

    def test_other_function_is_refused(self):
        self.assertEqual(len(self.check(self.CODE.replace("void stop", "void halt"))), 4)

    def test_builtins_count_too(self):
        code = self.CODE.replace("t->n++;", "__atomic_fetch_add(&t->n, 1, __ATOMIC_RELAXED);")
        self.assert_refused(self.check(code), "stop: fetch_add of n, relaxed", "1 in the code")

    def test_access_without_a_call_is_refused(self):
        for use in ("t->stopping = true;", "t->n = t->stopping;", "(*t).stopping |= 1;"):
            code = self.CODE.replace("t->n++;", use)
            self.assert_refused(self.check(code), "common/a.c:21", "stopping is atomic, and used")

    def test_address_and_initializer_are_no_access(self):
        code = self.CODE + "int n = g(&t->stopping);\nstruct thing u = {.n = 1, .stopping = true};\n"
        self.assertEqual(self.check(code), [])

    def test_atomic_without_a_row_is_refused(self):
        code = self.CODE.replace("int n;", "_Atomic int n_idle;", 1).replace("t->n++", "")
        self.assert_refused(self.check(code), "no row for the _Atomic n_idle")

    def test_row_that_is_none_is_refused(self):
        table = self.TABLE + "| `thing.other` | load | relaxed | elsewhere | none | x |\n"
        self.assert_refused(self.check(table=table), "a row of six cells")


class Bounds(Tree):
    CODE = "#define PUB_BATCH 64 /* PUBs */\n#define SIZE_MAX ((size_t)2 * 1024)\n"
    TABLE = """
| bound | value | in | why |
|---|---|---|---|
| `PUB_BATCH`, `FIN_BATCH` | 64 | `a.c`, `b.h` | memory |
| `SIZE_MAX` | 2 KiB | `a.c` | memory |
"""

    def check(self, code=CODE, table=TABLE):
        self.write("nsqd/queue/a.c", code)
        self.write("nsqd/queue/b.h", "#define FIN_BATCH PUB_BATCH\n")
        self.write("docs/architecture.md", table)
        return bounds.check(self.root)

    def test_bound_of_common_is_compared_and_needs_no_row(self):
        self.write("common/c.c", "#define KEPT_MAX 16\n#define SLAB_BATCH 3\n")
        row = "| `KEPT_MAX` | {} | `c.c` | memory |\n"
        self.assertEqual(self.check(table=self.TABLE + row.format(16)), [])
        self.assert_refused(self.check(table=self.TABLE + row.format(17)), "KEPT_MAX is not 17")

    def test_limit_in_time_is_compared(self):
        code = self.CODE + "#define WAIT_NS (250 * NSEC_PER_MSEC)\n"
        limits = "\n| limit | value | in | of what |\n|---|---|---|---|\n| `WAIT_NS` | {} | `a.c` | x |\n"
        self.assertEqual(self.check(code, self.TABLE + limits.format("250 ms")), [])
        for wrong in ("250 us", "1 s", "250"):
            table = self.TABLE + limits.format(wrong)
            self.assert_refused(self.check(code, table), "WAIT_NS is not " + wrong)

    def test_good_table_passes(self):
        self.assertEqual(self.check(), [])

    def test_wrong_value_is_refused(self):
        table = self.TABLE.replace("2 KiB", "3 KiB")
        self.assert_refused(self.check(table=table), "SIZE_MAX", "3 KiB")

    def test_bound_that_is_gone_is_refused(self):
        code = self.CODE.replace("SIZE_MAX", "MAX_SIZE")
        self.assert_refused(self.check(code), "SIZE_MAX", "not defined in a.c")

    def test_bound_without_a_row_is_refused(self):
        self.assert_refused(self.check(self.CODE + "#define NEW_BATCH 8\n"), "NEW_BATCH", "no row")


class Way(Tree):
    def test_picture_of_the_script_passes(self):
        self.write("docs/way.svg", way_svg.picture())
        self.assertEqual(way_svg.check(self.root), [])

    def test_stale_picture_is_refused(self):
        self.write("docs/way.svg", way_svg.picture().replace("consumer", "client"))
        self.assert_refused(way_svg.check(self.root), "docs/way.svg is stale")


class Client(Tree):
    def setUp(self):
        super().setUp()
        self.write("docs/client.svg", client_svg.picture())
        self.write("nsqd/a.c", "\n".join(sorted(client_svg.FUNCTIONS)))
        self.write_stages(client_svg.STAGES)

    def write_stages(self, stages):
        lines = "".join(f"\tSTAGE_{stage}, /* what */\n" for stage in stages)
        self.write(client_svg.HEADER, "enum client_stage {\n" + lines + "};\n")

    def test_picture_of_the_script_passes(self):
        self.assertEqual(client_svg.check(self.root), [])

    def test_stale_picture_is_refused(self):
        self.write("docs/client.svg", client_svg.picture().replace("LEAVING", "GOING"))
        self.assert_refused(client_svg.check(self.root), "docs/client.svg is stale")

    def test_transition_that_is_no_function_is_refused(self):
        self.write("nsqd/a.c", "\n".join(sorted(client_svg.FUNCTIONS - {"read_magic"})))
        self.assert_refused(client_svg.check(self.root), "nothing in the sources", "read_magic")

    def test_stage_that_the_picture_lacks_is_refused(self):
        self.write_stages(client_svg.STAGES + ["LIMBO"])
        self.assert_refused(client_svg.check(self.root), "stages", "LIMBO")


class Pictures(Tree):
    def setUp(self):
        super().setUp()
        chan_svg.picture()  # notes the names
        for name in chan_svg.NAMES | select_svg.FUNCTIONS | threads_svg.CHANS:
            self.write(f"common/{name}.h", name)

    def test_pictures_of_the_scripts_pass(self):
        for script in (chan_svg, select_svg):
            self.write(script.PICTURE, script.picture())
            self.assertEqual(script.check(self.root), [])

    def test_stale_picture_is_refused(self):
        self.write(chan_svg.PICTURE, chan_svg.picture().replace("recvq", "receivers"))
        self.assert_refused(chan_svg.check(self.root), "docs/chan.svg is stale")

    def test_name_that_the_sources_lack_is_refused(self):
        self.write(select_svg.PICTURE, select_svg.picture())
        self.write("common/park_claim.h", "")
        self.assert_refused(select_svg.check(self.root), "nothing in the sources", "park_claim")

    def test_lock_that_the_picture_lacks_is_refused(self):
        ranks = '#define LOCK_RANKS(X) /* a */ X(RANK_A, "a.lock")'
        self.write(locks.HEADER, ranks)
        self.write(locks_svg.PICTURE, locks_svg.picture(self.root))
        self.assertEqual(locks_svg.check(self.root), [])
        self.write(locks.HEADER, ranks + ' /* b */ X(RANK_B, "b.lock")')
        self.assert_refused(locks_svg.check(self.root), "docs/locks.svg is stale")

    def write_threads(self, *names):
        rows = "".join(f"| `{name}` | one |\n" for name in names)
        self.write(threads_svg.PICTURE, threads_svg.picture())
        self.write("docs/architecture.md", "| thread | one per |\n|---|---|\n" + rows)

    def test_thread_that_the_map_has_passes(self):
        self.write_threads("t:TOPIC", "http:ADDR", "log")
        self.assertEqual(threads_svg.check(self.root), [])

    def test_thread_that_the_map_lacks_is_refused(self):
        self.write_threads("log", "new:NAME")
        self.assert_refused(threads_svg.check(self.root), "new:*")


class Metrics(Tree):
    SOURCE = (
        "/* Labels: topic. */\nstatic const struct queue_metric queue_metrics[] = {\n"
        '\t{{"nsq_a", METRIC_GAUGE, "A, "\n\t\t"and more."}, f},\n};\n'
        "/* Labels: le. */\nstatic const struct latency_metric latency_metrics[] = {\n"
        '\t{{"nsq_b_seconds", METRIC_HISTOGRAM, "B."}, g},\n};\n'
    )

    def check(self, rule="rate(nsq_a{x=\"y\"}[5m]) > 1", panel="sum by (z) (nsq_b_seconds_sum)",
              variable="label_values(nsq_a, instance)", source=SOURCE):
        self.write(metrics.SOURCES[0], source)
        self.write(metrics.SOURCES[1], "")
        self.write(metrics.PAGE, metrics.BEGIN + metrics.made(self.SOURCE) + metrics.END)
        self.write("docs/monitoring/alerts.yml", f"        expr: '{rule}'\n")
        self.write("docs/monitoring/dashboard.json", json.dumps({
            "panels": [{"targets": [{"expr": panel}]}],
            "templating": {"list": [{"type": "query", "query": {"query": variable}}]}}))
        return metrics.check(self.root)

    def test_what_is_served_and_listed_passes(self):
        self.assertEqual(self.check(), [])
        self.assertIn("| `nsq_a` | gauge | A, and more. |", metrics.made(self.SOURCE))

    def test_metric_that_is_not_listed_is_refused(self):
        self.assert_refused(self.check(source=self.SOURCE.replace("more", "less")), "stale")

    def test_rule_about_nothing_is_refused(self):
        self.assert_refused(self.check(rule="nsq_a > on (x) nsq_c"), "alerts.yml", "nsq_c")

    def test_panel_about_nothing_is_refused(self):
        self.assert_refused(self.check(panel="nsq_b_seconds"), "dashboard.json", "nsq_b_seconds")

    def test_variable_about_nothing_is_refused(self):
        self.assert_refused(self.check(variable="label_values(nsq_d, a)"), "nsq_d")


class Settings(Tree):
    ROWS = (
        "\tROW(max_a,     an_integer, BOTH, 0, INT64_MAX / 2, NULL),\n"
        "\tROW(time_b,    a_duration, SETTING_CHANNEL, NSEC_PER_MSEC, DURATION_MAX, NULL),\n"
        "\tROW(choice_c,  a_choice,   SETTING_TOPIC, 0, 0, c_words),\n")
    PAGE = (
        "| `max_a` | topic, channel | 0 to 2^62 - 1 | 0 | A |\n"
        "| `time_b` | channel | duration from 1ms | 1s | B |\n"
        "| `choice_c` | topic | `x`, `y-z` | `x` | C |\n")

    def check(self, rows=ROWS, page=PAGE, header="int64_t max_a, x;\nint choice_c;\n"):
        self.write(settings.SOURCE, 'static const char *const c_words[] = {"x", "y-z", NULL};\n'
                   "static const struct row rows[] = {\n" + rows + "};\n")
        self.write(settings.HEADER, "int64_t max_a;\nint64_t time_b;\n" + header)
        self.write(settings.PAGE, "| setting | of | value | default | meaning |\n|---|---|---|---|---|\n"
                   + page)
        return settings.check(self.root)

    def test_what_is_the_same_passes(self):
        self.assertEqual(self.check(), [])

    def test_other_rows_are_refused(self):
        for other in (self.PAGE.replace("max_a", "max_d"), self.PAGE + self.PAGE,
                      "".join(reversed(self.PAGE.splitlines(True))), ""):
            self.assert_refused(self.check(page=other), "are not those of")
        self.assert_refused(self.check(rows=""), "no table of settings")

    def test_another_scope_or_range_is_refused(self):
        self.assert_refused(self.check(page=self.PAGE.replace("| topic, channel", "| topic")), "of is")
        self.assert_refused(self.check(page=self.PAGE.replace("2^62", "2^63")), "value is")
        self.assert_refused(self.check(page=self.PAGE.replace("from 1ms ", "")), "time_b")
        self.assert_refused(self.check(page=self.PAGE.replace("y-z", "y")), "choice_c")

    def test_an_empty_cell_is_refused(self):
        self.assert_refused(self.check(page=self.PAGE.replace("| B |", "| |")), "five cells")

    def test_no_field_is_refused(self):
        self.assert_refused(self.check(header=""), "no field choice_c")


class Dashboard(Tree):
    DATA = [{"title": "T", "unit": "s", "series": [
        {"legend": "a", "values": [[0, 1], [0.5, None], [1, 0.002]]}, {"legend": "b", "values": []}]}]

    def setUp(self):
        super().setUp()
        self.write(dashboard_svg.DATA, json.dumps(self.DATA))
        self.write_dashboard("T")
        self.write(dashboard_svg.PICTURE, dashboard_svg.picture(self.DATA))

    def write_dashboard(self, title):
        self.write(dashboard_svg.DASHBOARD, json.dumps({"panels": [
            {"title": title, "fieldConfig": {"defaults": {"unit": "s"}}}]}))

    def test_picture_of_the_data_passes(self):
        self.assertEqual(dashboard_svg.check(self.root), [])

    def test_stale_picture_is_refused(self):
        self.write(dashboard_svg.PICTURE, dashboard_svg.picture(self.DATA * 2))
        self.assert_refused(dashboard_svg.check(self.root), "dashboard.svg is stale")

    def test_data_of_another_dashboard_are_refused(self):
        self.write_dashboard("U")
        self.assert_refused(dashboard_svg.check(self.root), "another dashboard")


class Names(Tree):
    def check(self, page):
        self.write("Makefile")
        self.write("nsqd/queue/topic.c", "t->exit_chan; void topic_put_messages(void);\n")
        self.write("README.md", page)
        self.write("docs/go-map.md", "`go_only`\n")
        return names.check(self.root)

    def test_names_of_the_code_pass(self):
        self.assertEqual(self.check("`topic_put_messages()`, `topic.exit_chan`, `other`\n"), [])

    def test_name_that_is_gone_is_refused(self):
        self.assert_refused(self.check("`topic_put`\n"), "README.md", "topic_put")

    def test_member_that_is_gone_is_refused(self):
        self.assert_refused(self.check("`topic.gone_chan`\n"), "README.md", "topic.gone_chan")


class Pages(Tree):
    PAGE = """
# A title, `code` and (more)
[here](#a-title-code-and-more) [there](docs/b.md#a-part) [away](https://nsq.io/x.md#y)
`nsqd/queue/topic.c`, `topic.c`, nsqd/queue/topic.c, `common/*.c`, `nsqd/nsqd.go`
"""

    def check(self, page):
        self.write("nsqd/queue/topic.c")
        self.write("docs/b.md", "## A part\n")
        self.write("README.md", page)
        return pages.check(self.root)

    def test_good_page_passes(self):
        self.assertEqual(self.check(self.PAGE), [])

    def test_link_to_no_page_is_refused(self):
        self.assert_refused(self.check(self.PAGE.replace("b.md", "c.md")), "README.md", "docs/c.md")

    def test_link_to_no_heading_is_refused(self):
        self.assert_refused(self.check(self.PAGE.replace("#a-part", "#apart")), "b.md#apart")
        self.assert_refused(self.check(self.PAGE.replace("#a-title", "#title")), "#title")

    def test_file_that_is_not_there_is_refused(self):
        page = self.PAGE.replace("`nsqd/queue/topic.c`", "`nsqd/topic.c`")
        self.assert_refused(self.check(page), "nsqd/topic.c")

    def test_file_without_folder_that_is_not_there_is_refused(self):
        self.assert_refused(self.check(self.PAGE.replace("`topic.c`", "`pump.c`")), "pump.c")


class GoMap(Tree):
    HEAD = "/* SPDX-License-Identifier: MIT */\n/* Mirrors nsqd/topic.go. */\n"
    LIST = """# A comment.
nsqd/topic.go - NewTopic
nsqd/topic.go Topic UnPause
nsqd/topic.go Topic put
nsqd/topic.go Topic GenerateID guid_reserve,guid_hex Two steps.
nsqd/topic.go Topic Context - There is none.
"""

    def setUp(self):
        super().setUp()
        functions = "struct topic *topic_new(\n\tint a)\n{\n}\nvoid topic_unpause(void)\n{\n}\n"
        self.write("nsqd/queue/topic.c", self.HEAD + functions + "static void put(int a)\n{\n}\n")
        self.write("nsqd/queue/channel.c", "static void put(int a)\n{\n}\n")
        self.guid = "int guid_reserve(void)\n{\n}\n\nstatic inline int guid_hex(void)\n{\n}\n"
        self.write("nsqd/core/guid.h", self.guid)
        self.write(go_map.LIST, self.LIST)
        page, complaints = go_map.build(self.root)
        self.assertEqual(complaints, [])
        self.write(go_map.PAGE, page)

    def check(self):
        return go_map.check(self.root)

    def test_fresh_map_passes(self):
        self.assertEqual(self.check(), [])
        page = tree.read(self.root, go_map.PAGE)
        self.assertIn("| `Topic.put` | `put` | `nsqd/queue/topic.c` | |", page)
        self.assertIn("`guid_reserve`, `guid_hex` | `nsqd/core/guid.h` | Two steps. |", page)

    def test_stale_map_is_refused(self):
        os.rename(
            os.path.join(self.root, "nsqd/core/guid.h"), os.path.join(self.root, "nsqd/guid.h")
        )
        self.assert_refused(self.check(), go_map.PAGE, "stale")

    def test_function_that_is_gone_is_refused(self):
        self.write("nsqd/core/guid.h", self.guid.replace("guid_hex", "guid_text"))
        self.assert_refused(self.check(), "Topic.GenerateID", "guid_hex")
        self.write("nsqd/core/guid.h", self.guid)
        self.write("nsqd/queue/topic.c", self.HEAD + "struct topic *topic_new(void)\n{\n}\n")
        self.assertEqual(len(self.check()), 2)

    def test_go_function_without_a_line_is_refused(self):
        self.write(go_map.LIST, self.LIST + "nsqd/topic.go Topic Start\n")
        self.assert_refused(self.check(), "Topic.Start")

    def test_missing_reason_is_refused(self):
        self.write(go_map.LIST, self.LIST.replace(" There is none.", ""))
        self.assert_refused(self.check(), "Topic.Context", "no reason")

    def test_two_functions_of_that_name_are_refused(self):
        self.write("nsqd/queue/topics.c", self.HEAD + "void topic_new(void)\n{\n}\n")
        self.write("nsqd/queue/topic_new.c", self.HEAD + "void topic_unpause(void)\n{\n}\n")
        os.remove(os.path.join(self.root, "nsqd/queue/topic.c"))
        self.write("nsqd/queue/topic_put.c", self.HEAD + "void put(void)\n{\n}\n")
        self.write("nsqd/queue/pump.c", self.HEAD + "void put(void)\n{\n}\n")
        self.assert_refused(self.check(), "Topic.put", "more than one")

    def test_list_is_compared_with_the_go_source(self):
        source = "func NewTopic(a int) {\nfunc (t *Topic) UnPause() {\nfunc (t Topic) put() {\n"
        source += "func (t *Topic) GenerateID() {\nfunc (t *Topic) Start() {\n"
        self.write("topic.go", source)
        complaints = go_map.compare(self.root, [os.path.join(self.root, "topic.go")])
        self.assertEqual(len(complaints), 2)
        self.assertIn("lacks topic.go Topic Start", complaints[0])
        self.assertIn("no topic.go Topic Context", complaints[1])


class Course(Tree):
    PAGE = "docs/course/01-one.md"
    C = "/* SPDX-License-Identifier: MIT */\n/* One. */\n\n/* It adds. */\nint add(int a)\n{\n\treturn a;\n}\n"
    GO = "package main\n\n// main adds.\nfunc main() {\n\tadd()\n}\n"
    TEXT = """# 1. One

It is one thing.

## In Go

<!-- cut lesson.go -->
```go
```

## What Go's runtime does for you

## In C

<!-- cut lesson.c add -->
```c
```

## What is yours to do

## The trap

## The tool that catches it

```text
It says so.
```

## In nsqd

[`topic_new`](../../nsqd/topic.c) is [NewTopic](../go-map.md#topicgo).

## Exercise
"""

    def setUp(self):
        super().setUp()
        self.write("test/course/01-one/lesson.c", self.C)
        self.write("test/course/01-one/lesson.go", self.GO)
        self.write("nsqd/topic.c", self.C.replace("add", "topic_new"))
        self.write("docs/course/README.md", "<!-- lessons -->\n<!-- end of the lessons -->\n")
        self.write(self.PAGE, self.TEXT)
        self.rewrite()

    def rewrite(self):
        """As `make course-pages` does."""
        self.assertEqual(course.write(self.root), [])

    def change(self, path, old, new):
        text = tree.read(self.root, path)
        self.assertIn(old, text)
        self.write(path, text.replace(old, new, 1))

    def assert_course_refused(self, *words):
        self.assert_refused(course.check(self.root), *words)

    def test_a_lesson_passes(self):
        self.assertEqual(course.check(self.root), [])
        page = tree.read(self.root, self.PAGE)
        self.assertIn("```go\n" + self.GO + "```\n", page)
        self.assertIn("```c\n/* It adds. */\nint add(int a)\n{\n\treturn a;\n}\n```\n", page)
        self.assertIn(
            "1. [One](01-one.md). It is one thing.\n", tree.read(self.root, "docs/course/README.md")
        )
        self.assertIn(
            "/*\n * One.\n *\n * Lessons in docs/course/: 01-one.\n */\n",
            tree.read(self.root, "nsqd/topic.c"),
        )

    def test_lines_of_a_function_are_cut(self):
        self.change(self.PAGE, "lesson.c add", 'lesson.c add from="{" to="return"')
        self.rewrite()
        self.assertIn("```c\n{\n\treturn a;\n```\n", tree.read(self.root, self.PAGE))
        self.change(self.PAGE, 'to="return"', 'to="goto"')
        self.assert_course_refused("no line with goto")

    def test_stale_code_is_refused(self):
        self.write("test/course/01-one/lesson.c", self.C.replace("return a", "return 1"))
        self.assert_course_refused(self.PAGE, "stale")

    def test_code_that_is_typed_is_refused(self):
        self.change(self.PAGE, "## The trap\n", "## The trap\n\n```c\nint x;\n```\n")
        self.assert_course_refused("not cut from a program", "int x;")

    def test_a_function_that_is_gone_is_refused(self):
        self.write("test/course/01-one/lesson.c", self.C.replace("add", "sub"))
        self.assert_course_refused("0 definitions of add")

    def test_a_link_to_a_function_of_another_file_is_refused(self):
        self.write("nsqd/topic.c", tree.read(self.root, "nsqd/topic.c").replace("topic_new", "x"))
        self.assert_course_refused("nsqd/topic.c does not define topic_new")

    def test_a_source_that_does_not_lead_back_is_refused(self):
        self.write("nsqd/topic.c", self.C.replace("add", "topic_new"))
        self.assert_course_refused("nsqd/topic.c", "does not name", "01-one")

    def test_a_source_that_leads_nowhere_is_refused(self):
        text = course.with_lessons(self.C, ["01-one", "02-two"])
        self.write("nsqd/channel.c", text)
        complaints = course.check(self.root)
        self.assertEqual(len(complaints), 2, complaints)
        self.assertIn("nsqd/channel.c: the lesson 01-one does not lead here", complaints)
        self.assertEqual(course.with_lessons(text, []).count("Lessons"), 0)

    def test_a_program_that_is_not_shown_is_refused(self):
        self.write("test/course/01-one/trap_x.c", self.C)
        self.assert_course_refused("does not show", "trap_x.c")

    def test_a_missing_section_is_refused(self):
        self.change(self.PAGE, "## The trap\n", "")
        self.assert_course_refused("its sections are not")

    def test_a_page_without_folder_and_a_folder_without_page_are_refused(self):
        self.write("docs/course/02-two.md", "# 2. Two\n\nTwo.\n")
        complaints = course.check(self.root)
        self.assertTrue(any("no folder test/course/02-two" in line for line in complaints))
        os.remove(os.path.join(self.root, "docs/course/02-two.md"))
        self.write("test/course/02-two/lesson.c", self.C)
        complaints = course.check(self.root)
        self.assertTrue(any("no page docs/course/02-two.md" in line for line in complaints))
        self.assertTrue(any("no link to the next lesson" in line for line in complaints))

    def test_a_list_of_lessons_that_lacks_one_is_refused(self):
        self.change("docs/course/README.md", "1. [One]", "1. [Two]")
        self.assert_course_refused("docs/course/README.md", "stale")

    def test_a_long_sentence_is_refused(self):
        self.change(self.PAGE, "## Exercise\n", "## Exercise\n\n" + "word " * 26 + "end.\n")
        self.assert_course_refused("more than 25 words")

    def test_an_arrow_of_go_is_no_tag(self):
        words = "from <- c " + "word " * 26 + "-> end.\n"
        self.change(self.PAGE, "## Exercise\n", "## Exercise\n\n" + words)
        self.assert_course_refused("more than 25 words")

    def test_definitions_are_found(self):
        lines = """#define SIZE 4
static struct gate gate;
static int told; /* of one thing */
static int seen; /* of another */
/*
 * Three.
 */
static const char *const names[] = {
\t"a", "};",
};
struct pair {
\tint a;
};
static int first(struct pair p);
static int first(
\tstruct pair p)
{
\treturn second(p);
}
static __attribute__((noinline)) int third(struct pair p)
{
\treturn 3;
}
func (t *Topic) put() {
}
type pair struct {
\ta int
}
var n = 3
""".split("\n")
        for name, count in (
            ("SIZE", 1), ("gate", 1), ("seen", 1), ("names", 6), ("first", 5), ("third", 4),
            ("put", 2), ("n", 1),
        ):
            self.assertEqual(len(course.definition(lines, name, "x")), count, name)
        for name in ("second", "Topic", "nothing"):
            with self.assertRaises(course.Mistake):
                course.definition(lines, name, "x")
        with self.assertRaises(course.Mistake):  # two: the struct of C, and the type of Go
            course.definition(lines, "pair", "x")


class Troubles(Tree):
    ROW = "| symptom | cause |\n|---|---|\n| `%s` | `never looked at` |\n"

    def setUp(self):
        super().setUp()
        for folder in troubles.FOLDERS:
            self.write(f"{folder}/x.h")
        self.write("nsqd/say.c", 'log("closing client(%s), "\n\t"no \\"thread\\" - %s", a);\n'
                   'f("E_%s_FAILED"); c->timeout_count++; /* "only a comment" */\n')

    def said(self, text):
        self.write(troubles.PAGE, self.ROW % text)
        return troubles.check(self.root)

    def test_what_the_code_says_passes(self):
        for text in ('closing client(...), no "thread" - ...', "E_FIN_FAILED", "timeout_count"):
            self.assertEqual(self.said(text), [], text)

    def test_what_it_never_says_is_refused(self):
        self.assert_refused(self.said("closing client(...), no memory"), ":3", "no memory")
        self.assert_refused(self.said("only a comment"), "only a comment")
        self.assert_refused(self.said("E_fin_FAILED"), "E_fin_FAILED")


class Version(Tree):
    def check(self, header, page):
        self.write(version.HEADER, f'#define PRODUCT_VERSION "{header}"\n')
        self.write(version.PAGE, page)
        return version.check(self.root)

    def test_first_entry_is_the_version(self):
        self.assertEqual(self.check("1.2.3", "# Changes\n\n## 1.2.3\n\n## 1.2.2\n"), [])
        self.assertEqual(self.check("1.2.3", "# Changes\n\n## Unreleased\n\n## 1.2.3\n"), [])

    def test_version_without_an_entry_is_refused(self):
        self.assert_refused(self.check("1.2.4", "## 1.2.3\n"), "1.2.4")
        self.assert_refused(self.check("1.2.2", "## 1.2.3\n## 1.2.2\n"), "1.2.2")
        self.assert_refused(self.check("1.2.3", "## 1.2.3\n## 1.2.3\n"), "two entries")
        self.assert_refused(self.check("1.2", "## 1.2\n"), "like 1.2.3")


class LogPage(Tree):
    READER = "```python\ndef read(segment):\n    return %s\n```\n"
    CURSOR = "```python\ndef read_cursor(file):\n    return %s\n```\n"

    def check(self, page, cursor=None):
        self.write(log_page.GOLDEN, "00 # a byte\n")
        self.write(log_page.CURSOR, "00 # a byte\n")
        self.write(log_page.PAGE, page + self.CURSOR % (cursor or repr(log_page.IN_CURSOR)))
        return log_page.check(self.root)

    def test_readers_that_find_all_pass(self):
        self.assertEqual(self.check(self.READER % repr(log_page.EXPECTED)), [])

    def test_other_readers_of_cursors_are_refused(self):
        reader = self.READER % repr(log_page.EXPECTED)
        self.assert_refused(self.check(reader, '"x", []'), "read_cursor finds ('x', [])")
        self.assert_refused(self.check(reader, "file[7]"), "cannot read", "IndexError")

    def test_other_readers_are_refused(self):
        self.assert_refused(self.check(self.READER % '"x", []'), "finds ('x', [])")
        self.assert_refused(self.check(self.READER % "segment[7]"), "cannot read", "IndexError")
        self.assert_refused(self.check("no reader"), "has 0")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-q"] + sys.argv[1:])
