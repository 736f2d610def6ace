"""What `make build` leaves and `make install` installs, with stand-ins for the program that takes minutes to build."""

import shutil
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPLIT = ROOT / "tools" / "split-symbols.sh"
BUILT = ["ocelli", "libonnxruntime.so", "onnxruntime-LICENSE", "onnxruntime-ThirdPartyNotices.txt"]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class InTemporaryFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Install(InTemporaryFolder):
    def make(self, target: str, *variables: str) -> str:
        # As if it were compiled.
        return run(
            "make",
            "--old-file=compile",
            "--old-file=compile-or-built",
            target,
            f"RELEASE={self.folder}/release",
            *variables,
        )

    def setUp(self):
        super().setUp()
        (self.folder / "release").mkdir()
        for name in BUILT:
            (self.folder / "release" / name).write_text(name)

    def installed(self) -> dict[str, str]:
        root = self.folder / "root"
        files = (path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): oct(path.stat().st_mode & 0o777) for path in files}

    def test_binary_library_and_licences_are_installed_and_removed(self):
        expected = {
            "bin/ocelli": "0o755",
            "lib/ocelli/libonnxruntime.so": "0o755",
            "share/doc/ocelli/LICENSE-APACHE": "0o644",
            "share/doc/ocelli/LICENSE-MIT": "0o644",
            "share/doc/ocelli/onnxruntime-LICENSE": "0o644",
            "share/doc/ocelli/onnxruntime-ThirdPartyNotices.txt": "0o644",
        }
        root = self.folder / "root"
        for variables, below in [
            ([f"PREFIX={root}"], ""),
            ([f"DESTDIR={root}"], "usr/local/"),
            ([f"DESTDIR={root}", "PREFIX=/usr"], "usr/"),
        ]:
            with self.subTest(variables=variables):
                said = self.make("install", *variables)
                self.assertIn(f"Installed {root}/{below}bin/ocelli", said)
                self.assertEqual(self.installed(), {below + name: mode for name, mode in expected.items()})
                self.assertEqual((root / below / "bin/ocelli").read_text(), "ocelli")
                # A second time over the first.
                self.make("install", *variables)
                self.make("uninstall", *variables)
                self.assertEqual(self.installed(), {})

    def test_a_user_without_cargo_installs_what_another_has_built(self):
        """As `sudo make install` does where rustup installed cargo for one user."""
        programs = self.folder / "programs"
        programs.mkdir()
        for name in ["bash", "install", "printf", "echo", "rm"]:
            (programs / name).symlink_to(shutil.which(name))
        make = [shutil.which("make"), "install", f"RELEASE={self.folder}/release", f"PREFIX={self.folder}/root"]

        def install() -> subprocess.CompletedProcess:
            environment = {"PATH": str(programs)}
            return subprocess.run(
                make, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
            )

        (self.folder / "release/ocelli").chmod(0o755)
        done = install()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("bin/ocelli", self.installed())
        (self.folder / "release/ocelli").unlink()
        done = install()
        self.assertEqual(done.returncode, 2)
        self.assertIn("run `make build` as the user who has cargo", done.stderr)

    def test_pages_name_the_oldest_rust_that_builds(self):
        oldest = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
        readme = (ROOT / "README.md").read_text()
        self.assertIn(f"Rust {oldest} or later (`rustup toolchain install stable`", readme)
        self.assertRegex(readme, r"The first build takes about \d+ minutes on two cores")
        self.assertIn(f"FROM rust:{oldest}-", (ROOT / "deploy/Dockerfile").read_text())

    def test_build_says_what_to_do_next(self):
        said = self.make("build")
        for text in ["target/release/ocelli serve", "curl -F image=@examples/dog.jpg", "make install PREFIX="]:
            self.assertIn(text, said)
        self.assertTrue((ROOT / "examples/dog.jpg").exists())


class SplitSymbols(InTemporaryFolder):
    def sections(self, path: Path) -> str:
        return run("readelf", "--section-headers", "--wide", path)

    def test_debug_information_moves_and_function_names_stay(self):
        source, program = self.folder / "a.c", self.folder / "program"
        source.write_text("int answer(void) { return 42; }\nint main(void) { return answer() - 42; }\n")
        run("cc", "-g", "-o", program, source)
        whole = self.folder / "whole"
        shutil.copy(program, whole)
        run(SPLIT, program)
        debug = self.folder / "program.debug"
        self.assertIn(".gnu_debuglink", self.sections(program))
        self.assertNotIn(".debug_line", self.sections(program))
        self.assertIn(" answer", run("nm", program))
        self.assertIn(".debug_line", self.sections(debug))
        self.assertEqual(debug.stat().st_mode & 0o111, 0)
        address = next(line.split()[0] for line in run("nm", program).splitlines() if line.endswith(" answer"))
        self.assertIn("a.c:1", run("addr2line", f"--exe={debug}", address))
        run(program)
        before = program.read_bytes()
        run(SPLIT, program)
        self.assertEqual(program.read_bytes(), before, "a second run changes nothing")
        # Cargo may put the whole program back.
        shutil.copy(whole, program)
        run(SPLIT, program)
        self.assertEqual(program.read_bytes(), before)
        self.assertEqual(
            sorted(path.name for path in self.folder.iterdir()), ["a.c", "program", "program.debug", "whole"]
        )

    def test_what_is_no_program_is_left_alone(self):
        script = self.folder / "script"
        script.write_text("#!/bin/sh\n")
        done = subprocess.run([SPLIT, script], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, script.read_text()), (1, "#!/bin/sh\n"))
        self.assertIn("is not a program", done.stderr)


if __name__ == "__main__":
    unittest.main()
