"""A new folder for a page: the files of the checkout, the built programs in their usual places, and a home."""

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
    # Stubs of other programs.
    stubs: Path
    # The commands and their output.
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
    # The programs are built already; an optimised build would take minutes and test nothing new.
    stub(made.stubs / "cargo", "exit 0")
    for name in OUTSIDE:
        stub(made.stubs / name, f"echo '{name} changes more than this folder: mark the block as not run' >&2; exit 1")
    return made


def stub(path: Path, script: str):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def copy_files(source: Path, root: Path):
    """The files of a clone, and the untracked ones that are not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (source / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, root / name)


def place(file: Path, to: Path):
    """Hard-links the file, because a program searches its library beside itself; copies it on another disk."""
    try:
        to.hardlink_to(file)
    except OSError:
        shutil.copy2(file, to)
