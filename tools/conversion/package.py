"""Writes a package completely or not at all: in a temporary folder, which is then moved into place."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .failure import Failure
from .labels import to_text
from .manifest import Manifest


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to fill that becomes `out` if the block succeeds, in place of what is there.

    Raises Failure where that cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as holder:
            # Usual permissions, because those of a temporary folder are restricted.
            stage = Path(holder, "package")
            stage.mkdir()
            yield stage
            if out.exists():
                out.rename(Path(holder, "replaced"))
            stage.rename(out)
    except OSError as error:
        raise Failure(f"{out} cannot be written ({error.strerror}): free some space, or choose another --out") from None


def write(folder: Path, manifest: Manifest, onnx: Path, labels: list[str] | None) -> None:
    (folder / "model.toml").write_text(manifest.to_toml(), encoding="utf-8")
    if labels is not None:
        (folder / "labels.txt").write_text(to_text(labels), encoding="utf-8")
    shutil.copyfile(onnx, folder / "model.onnx")
