"""Tests of how `documents` reads pages and compares output. The pages themselves run in end_to_end/test_pages.py."""

import unittest

from documents.output import compare, with_ids
from documents.page import PageError, parse_page
from documents.ports import Ports
from documents.shell import is_server


def block(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


class PageTest(unittest.TestCase):
    def test_a_console_block_has_commands_and_what_they_print(self):
        (read,) = parse_page(block("console", "$ a \\", "    b", "1", "2", "$ c"), "page")
        self.assertEqual(
            [(c.line, c.text, c.output) for c in read.commands], [(2, "a \\\n    b", ["1", "2"]), (6, "c", None)]
        )

    def test_a_script_has_a_command_a_line_unless_one_goes_on(self):
        lines = [
            "# a remark",
            "cd x   # here",
            "for i in 1 2; do",
            "    echo $i",
            "done",
            "cat <<E",
            "x",
            "E",
            "a \\",
            "  b",
        ]
        (read,) = parse_page(block("sh", *lines), "page")
        texts = [command.text for command in read.commands]
        self.assertEqual(texts, ["cd x   # here", "for i in 1 2; do\n    echo $i\ndone", "cat <<E\nx\nE", "a \\\n  b"])

    def test_the_block_after_a_script_is_its_output_unless_a_sentence_stands_between(self):
        (read,) = parse_page(block("sh", "a") + "\n\n" + block("text", "1"), "page")
        self.assertEqual(read.commands[0].output, ["1"])
        (read,) = parse_page(block("sh", "a") + "\nThen:\n" + block("text", "1"), "page")
        self.assertIsNone(read.commands[0].output)

    def test_marks_belong_to_the_next_block_alone(self):
        first, second = parse_page(
            "<!-- not run: needs a GPU -->\n\n" + block("sh", "a") + "\n" + block("sh", "b"), "page"
        )
        self.assertEqual((first.not_run, second.not_run), ("needs a GPU", None))
        (read,) = parse_page("<!-- prepare:\na\nb\n-->\n" + block("sh", "c"), "page")
        self.assertEqual([command.text for command in read.prepare], ["a", "b"])
        (read,) = parse_page("<!-- not run: above -->\nA sentence.\n" + block("sh", "c"), "page")
        self.assertIsNone(read.not_run)

    def test_marks_without_a_text_and_unknown_ones_are_refused(self):
        for mark in ["not run", "not run:", "not run: ", "prepare:", "skip: slow", "skip"]:
            with self.subTest(mark=mark), self.assertRaisesRegex(PageError, r"^page:2: .*mark"):
                parse_page(f"<!-- {mark} -->\n" + block("sh", "a"), "page")

    def test_a_mark_has_to_be_on_a_block_of_commands(self):
        with self.assertRaisesRegex(PageError, "only a block of commands"):
            parse_page("<!-- not run: x -->\n" + block("toml", "a = 1"), "page")

    def test_unknown_languages_and_blocks_without_an_end_are_refused(self):
        with self.assertRaisesRegex(PageError, "unknown language 'shell'"):
            parse_page(block("shell", "a"), "page")
        with self.assertRaisesRegex(PageError, "does not end"):
            parse_page("```sh\na", "page")
        with self.assertRaisesRegex(PageError, "starts with a command"):
            parse_page(block("console", "a"), "page")


class OutputTest(unittest.TestCase):
    def same(self, shown: str, printed: str, more: bool = False) -> bool:
        return compare(shown.splitlines(), printed.splitlines(), more) is not None

    def test_text_has_to_be_the_same(self):
        self.assertTrue(self.same("a  b", "a b\n"))
        self.assertFalse(self.same("a b", "a c"))
        self.assertFalse(self.same("a b", "ab"))
        self.assertFalse(self.same("a.c", "abc"))

    def test_all_lines_are_compared(self):
        self.assertFalse(self.same("a", "a\nb"))
        self.assertFalse(self.same("a\nb", "a"))
        self.assertTrue(self.same("a", "a\nb", more=True))
        self.assertFalse(self.same("b", "a\nb", more=True))

    def test_dots_stand_for_text_and_for_lines(self):
        self.assertTrue(self.same('[{"a":1},...]', '[{"a":1},{"b":2}]'))
        self.assertTrue(self.same("a\n...\nd", "a\nb\nc\nd"))
        self.assertTrue(self.same("...\nd", "d"))
        self.assertFalse(self.same("a\n...\nd", "a\nb\nc"))

    def test_decimals_may_differ_by_a_twentieth(self):
        self.assertTrue(self.same("p=0.438", "p=0.45"))
        self.assertTrue(self.same("p=-0.438", "p=-0.43"))
        self.assertFalse(self.same("p=0.438", "p=0.5"))
        self.assertFalse(self.same("p=0.438", "p=-0.438"))

    def test_whole_numbers_and_versions_are_the_same(self):
        self.assertFalse(self.same("HTTP/1.1 202", "HTTP/1.1 200"))
        self.assertFalse(self.same("onnx 1.31.1", "onnx 1.31.2"))

    def test_times_may_be_others(self):
        self.assertTrue(self.same('"2026-11-22T15:00:00.000Z"', '"2027-01-01T00:00:00Z"'))
        self.assertFalse(self.same('"2026-11-22T15:00:00.000Z"', '"today"'))
        self.assertTrue(self.same("INFO ready", "2026-11-26T23:55:56.559240Z  INFO ready"))

    def test_an_id_stands_for_one_other_id(self):
        a, b, c = "a" * 32, "b" * 32, "c" * 32
        self.assertEqual(compare([f"id {a}", f"again {a}"], [f"id {b}", f"again {b}"]), {a: b})
        self.assertIsNone(compare([f"id {a}", f"again {a}"], [f"id {b}", f"again {c}"]))
        self.assertEqual(with_ids(f"curl /v1/jobs/{a}", {a: b}), f"curl /v1/jobs/{b}")


class PortsTest(unittest.TestCase):
    def test_each_port_of_a_page_has_one_instead(self):
        free = iter([1111, 2222, 3333])
        ports = Ports(lambda: next(free))
        self.assertEqual(ports.command("curl localhost:5000/predict?a=5001"), "curl localhost:1111/predict?a=5001")
        self.assertEqual(ports.shown("listening on http://127.0.0.1:5000"), "listening on http://127.0.0.1:1111")
        self.assertEqual(
            ports.command("ocelli queue status --redis redis://localhost"),
            "ocelli queue status --redis redis://localhost:2222",
        )
        self.assertEqual(ports.command("export A=redis://localhost:6379"), "export A=redis://localhost:2222")
        self.assertEqual(ports.command("redis-server"), "redis-server --port 2222")

    def test_a_server_without_an_address_gets_one(self):
        ports = Ports(lambda: 1111)
        self.assertEqual(ports.command("ocelli serve --model x"), "ocelli serve --listen 127.0.0.1:1111 --model x")
        self.assertEqual(ports.command("ocelli web --listen :5000"), "ocelli web --listen :1111")


class ServerTest(unittest.TestCase):
    def test_servers_are_known(self):
        for text in ["ocelli serve", "target/release/ocelli worker &", "make serve", "redis-server --save ''"]:
            self.assertTrue(is_server(text), text)
        for text in ["ocelli serve --help", "ocelli predict a.jpg", "make server", "echo ocelli serve"]:
            self.assertFalse(is_server(text), text)


if __name__ == "__main__":
    unittest.main()
