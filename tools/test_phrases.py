"""The check of phrases finds them wherever they are written."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "ci"))

import phrases

PHRASE_LIST = Path(phrases.__file__).with_suffix(".txt")
PHRASES = phrases.read_list("# A comment\n\nfree lunch|free lunches: costs\nblue moon: rarely\n")


def found(text: str) -> list[tuple[int, str, str]]:
    return [tuple(hit) for hit in phrases.find(PHRASES, text)]


class PhrasesTest(unittest.TestCase):
    def test_phrases_are_found_with_their_line_and_their_plainer_form(self) -> None:
        text = "One.\nA free lunch, once in a Blue Moon; free lunches.\n"
        expected = [(2, "Blue Moon", "rarely"), (2, "free lunch", "costs"), (2, "free lunches", "costs")]
        self.assertEqual(found(text), expected)

    def test_line_breaks_and_underscores_count_as_spaces(self) -> None:
        for text in (
            "a free\nlunch",
            "/// a free\n    /// lunch",
            "//! a free\n//! lunch",
            "# a free\n# lunch",
            "-- a free\n-- lunch",
            '"a free \\\n     lunch"',
            "fn a_free_lunch() {}",
        ):
            self.assertEqual(found(text), [(1, "free lunch", "costs")], text)

    def test_other_words_are_not_found(self) -> None:
        for text in ("carefree lunch", "free lunchbox", "free, lunch", "free.\n\n- lunch", "freelunch"):
            self.assertEqual(found(text), [], text)

    def test_an_entry_without_a_plainer_form_is_refused(self) -> None:
        for entry in ("free lunch", "free lunch:"):
            with self.assertRaises(SystemExit):
                phrases.read_list(entry)

    def test_a_file_with_a_phrase_fails_the_check(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            phrase_list = Path(folder) / "list.txt"
            phrase_list.write_text("free lunch: costs\n")
            for name, status in (("a.rs", 1), ("Makefile", 1), ("photo.jpg", 0)):
                file = Path(folder) / name
                file.write_text("a free lunch\n")
                with contextlib.redirect_stderr(io.StringIO()) as printed:
                    self.assertEqual(phrases.main(str(phrase_list), str(file)), status, name)
                self.assertEqual("costs" in printed.getvalue(), status == 1, name)
            self.assertEqual(phrases.main(str(phrase_list), str(Path(folder) / "deleted.rs")), 0)

    def test_the_list_is_valid(self) -> None:
        self.assertGreater(len(phrases.read_list(PHRASE_LIST.read_text())), 15)


if __name__ == "__main__":
    unittest.main()
