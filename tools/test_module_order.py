"""The check of the order of folders fails where it should."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "ci"))

from module_order import violations


def found(name: str, code: str) -> list[str]:
    return list(violations(Path(name), code))


class ModuleOrderTest(unittest.TestCase):
    def test_an_import_downwards_is_fine(self) -> None:
        self.assertEqual(found("http/body.rs", "use crate::error::Error;\nuse crate::http::conn::Conn;\n"), [])

    def test_an_import_upwards_is_found_wherever_it_stands(self) -> None:
        expected = ["queue/job.rs: uses crate::http, which is above queue"]
        for code in (
            "use crate::http::body;\n",
            "fn f() { crate::http::body::read() }\n",
            "pub(in crate::http) struct A;\n",
        ):
            self.assertEqual(found("queue/job.rs", code), expected, code)
        self.assertEqual(len(found("queue.rs", "use crate::http::body;\n")), 1)

    def test_comments_and_tests_may_name_anything(self) -> None:
        code = "// crate::http\n#[cfg(test)]\nmod tests {\n    use crate::http::body;\n}\n"
        self.assertEqual(found("queue/job.rs", code), [])
        self.assertEqual(found("queue/job/tests.rs", "use crate::http::body;\n"), [])

    def test_a_folder_without_a_place_is_found(self) -> None:
        self.assertEqual(len(found("utils/text.rs", "")), 1)
        self.assertEqual(len(found("queue/job.rs", "use crate::utils::text;\n")), 1)


if __name__ == "__main__":
    unittest.main()
