#!/usr/bin/env python3
"""Shows that each check of the documentation finds what it is for.

Each test makes a small tree that is right, sees that it passes, puts one fault into it, and sees
that the check names it.
"""
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import includes


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
        complaints = self.check()
        self.assertIn(
            "nsqd/queue/channel.c:3: nsqd/queue/ includes upwards, from nsqd/http/: "
            "nsqd/http/http.h",
            complaints,
        )

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
        self.write("nsqd/queue/channel_internal.h")
        self.room("nsqd/queue/kept", "nsqd/queue/channel_internal.h")
        way = "nsqd/queue/channel -> nsqd/queue/kept -> nsqd/queue/channel"
        self.assert_refused(self.check(), way)

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
        self.room("nsqd/signals")
        self.assertEqual(self.check(), [])
        self.write("nsqd/guid.c")
        self.assert_refused(self.check(), "nsqd/guid.c", "in a folder")

    def test_unknown_folder_is_refused(self):
        self.write("nsqd/misc/guid.c")
        self.assert_refused(self.check(), "nsqd/misc/guid.c", "none of the folders")

    def test_flat_nsqd_is_left_alone(self):
        for path in list(includes.sources(self.root)):
            if path.startswith("nsqd/"):
                os.remove(os.path.join(self.root, path))
        self.room("nsqd/topic", "nsqd/channel.h")
        self.room("nsqd/channel", "nsqd/topic.h")
        self.assertEqual(self.check(), [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-q"] + sys.argv[1:])
