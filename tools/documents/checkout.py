"""A fresh folder for a page: the files of the checkout, the built programs where the page expects them, and a home."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LIBRARY = ["libonnxruntime.so", "onnxruntime-LICENSE", "onnxruntime-ThirdPartyNotices.txt"]
# Programs that a test must not run.
OUTSIDE = ["sudo", "docker", "kubectl", "systemctl", "apt-get", "pip", "helm"]
# An HTTP error fails the command, and every request has a time limit.
CURLRC = "fail-with-body\nsilent\nshow-error\nmax-time = 60\n"


@dataclass
class Checkout:
    root: Path
    home: Path
    # Names of programs that stand in for others.
    stubs: Path
    # What the commands print, and the commands themselves.
    logs: Path

    def environment(self, source: Path) -> dict[str, str]:
        """The environment, without the user's settings except PATH."""
        release, servers = self.root / "target" / "release", source / "target" / "test-servers"
        return {
            "PATH": os.pathsep.join(map(str, [self.stubs, release, servers, os.environ["PATH"]])),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
        }


def make_checkout(source: Path, binary: Path, folder: Path) -> Checkout:
    made = Checkout(folder / "ocelli", folder / "home", folder / "stubs", folder / "logs")
    for path in [made.root, made.home, made.stubs, made.logs]:
        path.mkdir(parents=True)
    copy_files(source, made.root)
    release = made.root / "target" / "release"
    release.mkdir(parents=True)
    place(binary, release / "ocelli")
    for name in LIBRARY:
        place(source / "target" / "release" / name, release / name)
    (made.home / ".curlrc").write_text(CURLRC)
    # The programs are built; building them once more, optimised, takes minutes and shows nothing new.
    stub(made.stubs / "cargo", "exit 0")
    for name in OUTSIDE:
        stub(made.stubs / name, f"echo '{name} changes more than this folder: mark the block as not run' >&2; exit 1")
    return made


def stub(path: Path, script: str):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def copy_files(source: Path, root: Path):
    """What a clone has, and what a commit of everything would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (source / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, root / name)


def place(file: Path, to: Path):
    """A link to the file itself, for a program looks for its library beside where it is; a copy on another disk."""
    try:
        to.hardlink_to(file)
    except OSError:
        shutil.copy2(file, to)
