"""The part that any Python runs: reads the command line, refuses what is wrong with it at once, and starts the rest in an
environment that has the libraries. Imports nothing that is not in the standard library.
"""

import argparse
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from . import mar, tfjs
from .arguments import Source, package_name, parse_source, parser
from .failure import Failure
from .labels import check_unused, read_labels
from .photos import list_photos

TOOLS = Path(__file__).resolve().parent.parent
ROOT = TOOLS.parent
# Disk space of each environment during installation, including downloads, in bytes.
SPACE = {"keras": 3 << 30, "torch": 12 << 30}
BAD_INPUT = 2
# Sources without preprocessing.
SILENT = ("torchscript", "saved-model", tfjs.GRAPH)
# Sources that are read as Keras models.
KERAS = ("keras", tfjs.LAYERS)
# An architecture that torchvision, timm and transformers all have.
TORCH_FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
# The first bytes of a file of that format.
HDF5 = b"\x89HDF\r\n\x1a\n"


def main(argv: list[str], description: str | None = None) -> int:
    """Exit status: 0, 1 if package and original disagree, 2 for errors that the user can fix."""
    arguments = parser(description).parse_args(argv)
    try:
        source = parse_source(arguments.source)
        check(arguments, source)
        if not arguments.here:
            restart(source, argv)
        # Imported here because it needs the libraries.
        from .convert import convert

        return convert(arguments, source)
    except Failure as failure:
        print(f"to_onnx: {failure}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if not arguments.here:
            raise
        print(
            f"to_onnx: {error.name} is not installed in {sys.executable}: install it, or leave out --here and an "
            "environment is made that has it",
            file=sys.stderr,
        )
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}:
            raise
        path = error.filename or tempfile.gettempdir()
        print(
            f"to_onnx: {path}: {error.strerror}: free some space, or name another folder with TMPDIR", file=sys.stderr
        )
    except KeyboardInterrupt:
        return 130
    return BAD_INPUT


def check(arguments: argparse.Namespace, source: Source) -> None:
    """Checks everything that needs no installation; sets `out` and `name`."""
    if arguments.out is None:
        arguments.out = Path("models") / (arguments.name or source.short_name)
    if arguments.name is None:
        arguments.name = package_name(arguments.out.resolve().name)
    for option, value in [("--name", arguments.name), ("--version", arguments.version)]:
        if package_name(value) != value:
            raise Failure(
                f"{option} {value!r}: use up to 64 of a-z, 0-9, '.', '_' and '-', as in {package_name(value)!r}"
            )
    check_out(arguments.out, arguments.force)
    if arguments.int8 and arguments.photos is None:
        raise Failure(
            "--int8 is calibrated with photos such as the model will see: name a folder of them with --photos"
        )
    if arguments.limit < 1:
        raise Failure(f"--limit {arguments.limit}: use at least one photo")
    if arguments.photos is not None:
        list_photos(arguments.photos, arguments.limit)
    if arguments.labels is not None:
        read_labels(arguments.labels)
    if arguments.task == "embedding":
        check_unused(arguments.labels, source.value)
    if source.library == "torchserve":
        mar.check(mar.read(Path(source.value)), trust=arguments.trust, preset=arguments.preset)
    check_options(arguments, source)
    check_reading(arguments, source)
    weights = arguments.weights
    if weights is not None and source.is_path:
        raise Failure(f"--weights: {source.value} has weights of its own")
    if weights is not None and Path(weights).suffix and "/" in weights and not Path(weights).is_file():
        raise Failure(f"--weights {weights} does not exist: check the path")
    if source.is_path and Path(source.value).suffix == ".keras":
        check_keras(Path(source.value))


def check_options(arguments: argparse.Namespace, source: Source) -> None:
    """Refuses options that `source` does not use, and requires those that it needs."""
    library = source.library
    shown = source.value if source.is_path else f"{library}:{source.value}"
    # The code in a file, or transformers' remote code, is only known after opening it.
    if arguments.trust and (
        library in {"torchvision", "timm", "torchscript", tfjs.LAYERS, tfjs.GRAPH}
        or (library == "keras" and not source.is_path)
    ):
        raise Failure(f"--trust: {shown} brings no code that would need it: leave it out")
    if library in SILENT and arguments.preset is None:
        raise Failure(
            f"{shown} does not say how its pixels are prepared: pass --preset torchvision (as torchvision's classifiers), unit (0 "
            "to 1), raw (0 to 255), or another that docs/models.md lists"
        )
    if library not in {*KERAS, "torchserve", *SILENT} and arguments.preset is not None:
        raise Failure(f"--preset is for models that do not say how they are fed: {library} says it itself")
    if library == "torchscript" and arguments.size is None:
        raise Failure(f"{shown} does not say the size of its images: pass it with --size, as in --size 224")
    if library not in {*KERAS, *SILENT} and arguments.size is not None:
        raise Failure(f"--size is for models that take any size: {library} says itself which its models take")


def check_reading(arguments: argparse.Namespace, source: Source) -> None:
    """Only TensorFlow models leave the loading of photos to the user; other libraries resize with Pillow's filters."""
    if source.environment == "keras":
        return
    for option, value in [("--preprocess", arguments.preprocess), ("--antialias", arguments.antialias)]:
        if value is not None:
            raise Failure(f"{option} is for Keras and SavedModels: photos for {source.library} are read with Pillow")
    if arguments.interpolation not in {None, *TORCH_FILTERS}:
        raise Failure(f"--interpolation {arguments.interpolation}: {source.library} has {', '.join(TORCH_FILTERS)}")


def check_keras(path: Path) -> None:
    """Keras reports a damaged `.keras`, which is a zip archive, as missing."""
    if zipfile.is_zipfile(path):
        return
    with path.open("rb") as file:
        if file.read(len(HDF5)) == HDF5:
            raise Failure(f"{path} is HDF5 inside, as old Keras wrote it: rename it to {path.with_suffix('.h5').name}")
    raise Failure(f"{path} is damaged, or no Keras file: it does not end as one does; copy it or save the model again")


def check_out(out: Path, force: bool) -> None:
    """Existing files are replaced only with --force, and only if they are a package."""
    place = next(parent for parent in [out, *out.absolute().parents] if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise Failure(f"{out} cannot be written, for {place} is no folder that you may write to: choose another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / "model.toml").is_file():
        raise Failure(f"{out} is there and is no package: choose another --out")
    if not force:
        raise Failure(f"{out} is there: replace it with --force, or choose another --out")


def restart(source: Source, argv: list[str]) -> None:
    """Continues in the environment that `source` needs, creating it if necessary. Returns only by raising Failure."""
    folder = ROOT / f".venv-convert-{source.environment}"
    if not (folder / ".complete").is_file():
        free = shutil.disk_usage(ROOT).free
        if free < SPACE[source.environment]:
            raise Failure(
                f"{folder} needs about {SPACE[source.environment] >> 30} GB for {source.environment} and its packages, and "
                f"{free / (1 << 30):.1f} GB are free: free some space, or use a Python that has them with --here"
            )
    requirements = TOOLS / f"requirements-{source.environment}.txt"
    command = [TOOLS / "venv.sh", folder, requirements]
    made = subprocess.run(command, env=os.environ | {"PYTHON": sys.executable}, check=False)
    if made.returncode != 0:
        raise Failure(
            f"{folder} could not be made (see above): mend that, or use a Python that has the packages of "
            f"{requirements.name} with --here"
        )
    python = str(folder / "bin" / "python")
    os.execv(python, [python, str(TOOLS / "to_onnx.py"), "--here", *argv])
