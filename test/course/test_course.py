#!/usr/bin/env python3
"""Shows that what runs the lessons finds its faults: a twin that is not caught, or for another
fault, or not in the words of the page; programs that differ.
"""
import os
import select
import stat
import sys
import tempfile
import unittest
import unittest.mock

sys.dont_write_bytecode = True
import lessons
import run
import said

REPORT = """==================
WARNING: ThreadSanitizer: data race (pid=4711)
  Read of size 4 at 0x7ffec72d3adc by thread T2:
    #0 greet /tmp/x/test/course/01-one/trap.c:3 (trap+0x33dd) (BuildId: 12ab)

  Previous write of size 4 at 0x7ffec72d3adc by main thread:
    #0 main test/course/01-one/trap.c:5 (trap+0x311c)
"""
PAGE = """# 1. One

<!-- said trap.c -->
```text
WARNING: ThreadSanitizer: data race (pid=N)
  Read of size 4 at 0xN by thread TN:
    #0 greet test/course/01-one/trap.c:3
...
    #0 main test/course/01-one/trap.c:5
```
"""
LESSON = """title One
same lesson.go lesson.c
alone solution.c
    prints 1
twin trap.c thread
    says WARNING: ThreadSanitizer: data race
    says Read of size 4 at ... by thread
    says trap.c:@reads
    says trap.c:@writes
"""
TRAP = "int i;\n\ni; /* @reads */\n\ni++; /* @writes */\n"


class Course(unittest.TestCase):
    """A lesson in a directory of its own. Its programs are shell scripts."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory.name)
        for name, text in (("lesson.go", ""), ("lesson.c", ""), ("solution.c", ""),
                           ("trap.c", TRAP), ("lesson.txt", LESSON)):
            self.write(f"test/course/01-one/{name}", text)
        self.write("docs/course/01-one.md", PAGE)
        self.program("", "lesson.go", "echo hello")
        for variant in ("", "thread/", "address/"):
            self.program(variant, "lesson", "echo hello")
            self.program(variant, "solution", "echo 1")
        self.program("thread/", "trap", f"cat >&2 <<'END'\n{REPORT}END\nexit 66")

    def write(self, path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def program(self, variant, name, script):
        path = f"build/{variant}test/course/01-one/{name}"
        self.write(path, "#!/bin/sh\n" + script + "\n")
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)

    def lesson(self):
        return lessons.Lesson(".", "01-one")

    def assert_fails(self, *words):
        with self.assertRaises((run.Fault, lessons.Mistake)) as caught:
            run.check(self.lesson())
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_a_lesson_passes(self):
        [(twin, output)] = run.check(self.lesson())
        self.assertEqual((twin.source, output), ("trap.c", REPORT))

    def test_what_is_to_be_built(self):
        self.assertEqual(run.targets([self.lesson()], "thread"), [
            "build/thread/test/course/01-one/" + name for name in ("lesson", "solution", "trap")])
        self.assertIn("build/test/course/01-one/lesson.go", run.targets([self.lesson()], "plain"))
        self.assertEqual(run.targets([self.lesson()], "perturb"), [])

    def test_programs_that_differ_are_refused(self):
        self.program("thread/", "lesson", "echo goodbye")
        self.assert_fails("do not say the same", "build thread", "goodbye")

    def test_a_solution_that_prints_another_thing_is_refused(self):
        self.program("address/", "solution", "echo 2")
        self.assert_fails("solution.c, build address")

    def test_a_program_in_go_may_be_alone(self):
        self.write("test/course/01-one/lesson.txt",
                   LESSON + "alone lesson.go\n    prints hello\n")
        run.check(self.lesson())
        self.assertNotIn("lesson.go", " ".join(run.targets([self.lesson()], "thread")))
        self.write("test/course/01-one/more.go", "")
        self.write("test/course/01-one/lesson.txt", LESSON + "alone more.go\n    prints no\n")
        self.assertIn("build/test/course/01-one/more.go", run.targets([self.lesson()], "plain"))
        self.program("", "more.go", "echo yes")
        self.assert_fails("more.go, build plain", "yes")

    def test_a_right_program_with_a_report_is_refused(self):
        self.program("address/", "lesson", "echo hello; echo leak >&2")
        self.assert_fails("lesson.c, build address", "leak")
        self.program("address/", "lesson", "echo hello; exit 1")
        self.assert_fails("status 1")

    def test_a_twin_that_is_not_caught_is_refused(self):
        self.program("thread/", "trap", "echo fine")
        self.assert_fails("has not been caught", "status 0")

    def test_a_twin_that_dies_is_not_caught(self):
        self.program("thread/", "trap", "kill -SEGV $$")
        self.assert_fails("has not been caught", "status -11")

    def test_an_abort_is_known_with_a_sanitizer_and_without(self):
        self.write("test/course/01-one/lesson.txt", "twin trap.c thread aborts\n    says oops\n")
        self.write("docs/course/01-one.md", "<!-- said trap.c -->\n```text\noops\n```\n")
        sanitizer = "==1==ERROR: ThreadSanitizer: ABRT on unknown address 0x1"
        for end in ("kill -ABRT $$", f"echo '{sanitizer}' >&2; exit 66"):
            self.program("thread/", "trap", f"echo oops; {end}")
            run.check(self.lesson())
        for end in ("exit 66", "kill -SEGV $$", f"echo '{sanitizer}' >&2; exit 0"):
            self.program("thread/", "trap", f"echo oops; {end}")
            self.assert_fails("has not been caught")

    def test_a_twin_that_is_caught_elsewhere_is_refused(self):
        self.write("test/course/01-one/trap.c", "\n" + TRAP)
        self.assert_fails("not there", "trap.c:4")

    def test_a_report_that_is_not_the_page_is_refused(self):
        self.write("docs/course/01-one.md", PAGE.replace("main test", "other test"))
        self.assert_fails("docs/course/01-one.md", "#0 other")
        self.write("docs/course/01-one.md", "# 1. One\n")
        self.assert_fails("the page has no block")

    def test_a_tag_that_is_not_there_is_refused(self):
        self.write("test/course/01-one/trap.c", "int i;\n")
        self.assert_fails("0 lines with /* @reads */")

    def test_a_twin_that_hangs_is_shown_and_one_that_runs_is_not(self):
        pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, 9)
        run.wait_hanging(pid)
        busy = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "while :; do :; done")
        self.addCleanup(os.waitpid, busy, 0)
        self.addCleanup(os.kill, busy, 9)
        with self.assertRaises(run.Fault):
            run.wait_hanging(busy, 1.2)

    def test_what_the_search_does_not_find_is_walked(self):
        step = "   3 left         load             0x4080a4 at (nil) (not the last store)"
        with unittest.mock.patch.object(run, "functions_at", return_value={"(nil)": "look"}):
            for script, wanted in (
                    ("echo 'lesson: FAULT: x'; exit 1", "lesson: FAULT: x\n"),
                    (f"[ $2 = trace=1 ] && echo 'lesson: ok: 3' && exit; echo 'walk: FAULT: x\n{step}'"
                     "; exit 1",
                     "lesson: ok: 3\nwalk: FAULT: x\nleft         look: load, not the last store\n")):
                self.program("", "model", script)
                self.assertEqual(run.run_model("build/test/course/01-one/model"), wanted)
        for script in ("echo 'lesson: ok: 3'", "echo 'lesson: ok as far as it went: 3'", "exit 2"):
            self.program("", "model", script)
            with self.assertRaises(run.Fault):
                run.run_model("build/test/course/01-one/model")

    def test_what_is_watched_by_epoll_is_shown(self):
        ends = os.pipe()
        for fd in ends:
            self.addCleanup(os.close, fd)
        with select.epoll() as poll:
            self.assertEqual(run.watched(os.getpid()), "")
            poll.register(ends[0], select.EPOLLIN | select.EPOLLET)
            self.assertRegex(run.watched(os.getpid()),
                             rf"^tfd: +{ends[0]} events: 80000019 .*\n$")

    def test_lines_that_are_not_understood_are_refused(self):
        for line in ("same lesson.go", "same lesson.go none.c", "twin trap.c nowhere",
                     "twin trap.c plain dances", "says x", "title", "nonsense", "alone lesson.txt"):
            self.write("test/course/01-one/lesson.txt", line + "\n")
            with self.assertRaises(lessons.Mistake, msg=line) as caught:
                self.lesson()
            self.assertIn("lesson.txt:1", str(caught.exception))

    def test_a_page_is_written_from_what_is_said_now(self):
        lesson = self.lesson()
        for page in (PAGE, PAGE.replace("greet test/course/01-one/", "greet ...")):
            self.write("docs/course/01-one.md", page.replace(":3", ":77").replace(":5", ":78"))
            said.paste(lesson, lesson.twins[0], REPORT)
            self.assertEqual(said.read_page(lesson), page)
        with self.assertRaises(lessons.Mistake):
            said.paste(lesson, lesson.twins[0], "nothing of it")

    def test_an_empty_block_takes_all(self):
        lesson = self.lesson()
        self.write("docs/course/01-one.md", "<!-- said trap.c -->\n```text\n```\n")
        said.paste(lesson, lesson.twins[0], REPORT)
        self.assertIn("    #0 greet test/course/01-one/trap.c:3\n", said.read_page(lesson))
        self.assertIsNone(said.missing_of_page(lesson, lesson.twins[0], REPORT))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-q"] + sys.argv[1:])
