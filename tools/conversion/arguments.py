"""Parses the command line. Knows the kinds of sources, but opens none."""

import argparse
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from . import formats, mar, tfjs
from .failure import Failure
from .presets import ALIASES, INTERPOLATIONS, LOADERS, PRESETS

LIBRARIES = ("keras", "torchvision", "timm", "transformers")
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
SAVED_MODEL = "saved_model.pb"
TFJS_MODEL = "model.json"
TASKS = ("classification", "multilabel", "embedding")
MAX_NAME_LENGTH = 64


@dataclass(frozen=True)
class Source:
    """`library`: one of `LIBRARIES`, "torchserve", "torchscript", "saved-model", `tfjs.LAYERS` or `tfjs.GRAPH`. `value`: a name
    that the library knows, or a path if `is_path`."""

    library: str
    value: str
    is_path: bool = False

    @property
    def environment(self) -> str:
        """The environment that this source needs."""
        return "keras" if self.library in {"keras", "saved-model", tfjs.LAYERS, tfjs.GRAPH} else "torch"

    @property
    def short_name(self) -> str:
        """The default name of the package."""
        tail = self.value.rstrip("/").rsplit("/", 1)[-1]
        if self.is_path:
            path = Path(self.value).resolve()
            tail = path.name if path.is_dir() else path.stem
            if path.name == TFJS_MODEL:
                # All are called so.
                tail = path.parent.name
        return package_name(tail)


def package_name(text: str) -> str:
    """`text` in the characters that the name of a package may contain."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).lstrip("._-")[:MAX_NAME_LENGTH]
    return name or "model"


def _source_of_folder(path: Path) -> Source:
    if (path / SAVED_MODEL).is_file():
        return Source("saved-model", str(path), is_path=True)
    if (path / TFJS_MODEL).is_file():
        return _source_of_tfjs(path / TFJS_MODEL)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _no_source(path) from None
    except (OSError, ValueError) as error:
        raise Failure(f"{path / 'config.json'} cannot be read ({error}): save the model again") from None
    # timm names one architecture, transformers lists the classes of the model.
    library = "timm" if isinstance(config, dict) and "architecture" in config else "transformers"
    return Source(library, str(path), is_path=True)


def _source_of_tfjs(path: Path) -> Source:
    return Source(tfjs.read(path).library, str(path), is_path=True)


def _no_source(folder: Path) -> Failure:
    """The kind of a folder without a description."""
    own, inside = formats.of_path(folder.resolve()), formats.among(folder)
    if own is not None:
        return Failure(f"{folder} {own.sentence}")
    if inside is not None:
        return Failure(f"{folder} has no config.json, and {inside[0]} {inside[1].sentence}")
    return Failure(f"{folder} has no config.json: name a folder that transformers or timm has saved, or a SavedModel")


def _source_of_file(path: Path, found: formats.Format) -> Source:
    """Raises Failure for formats that cannot be converted here, with an alternative."""
    library = {"keras": "keras", "torchserve": "torchserve", "saved-model": "saved-model"}.get(found.id)
    if library is None and found.id != "pytorch":
        raise Failure(f"{path} {found.sentence}")
    if not path.is_file():
        raise Failure(f"{path} does not exist: check the path")
    if found.id == "pytorch":
        inside = mar.format_of(path)
        if inside != "pytorch":
            raise Failure(f"{path} {formats.BY_ID[inside].sentence}")
        library = "torchscript"
    return Source(library, str(path.parent if found.id == "saved-model" else path), is_path=True)


def parse_source(text: str) -> Source:
    """Which library's business `text` is.

    Raises Failure for what none of them converts, or for a name that does not say whose it is.
    """
    library, colon, value = text.partition(":")
    if colon and library in LIBRARIES:
        if not value:
            raise Failure(f"{text!r} names no model: write {library}:NAME")
        if library in {"timm", "transformers"} and Path(value).is_dir():
            return Source(library, value, is_path=True)
        if library == "keras" and value.endswith(KERAS_SUFFIXES):
            return parse_source(value)
        return Source(library, value)
    path, suffix = Path(text), Path(text).suffix.lower()
    if path.is_dir():
        return _source_of_folder(path)
    if suffix == ".onnx":
        raise Failure(f"{text} is ONNX already: run ocelli serve --model {shlex.quote(text)}")
    found = formats.of_path(path)
    # What TensorFlow.js saves is called as its user says.
    if suffix == ".json" and path.is_file() and (found is None or found.id == "tensorflow-js"):
        return _source_of_tfjs(path)
    if found is not None:
        return _source_of_file(path, found)
    if path.exists():
        raise Failure(
            f"{text} is none of .keras, .h5, .pt, .mar, a SavedModel, a TensorFlow.js model, or a folder of transformers or timm"
        )
    choices = ", ".join(f"{library}:{text}" for library in LIBRARIES)
    raise Failure(f"{text!r} is no file here; if it is a model's name, say whose: {choices}")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 224 or WIDTHxHEIGHT, as in 320x240")
    width, height = (int(side) for side in (match[1], match[2] or match[1]))
    if not (0 < width <= 4096 and 0 < height <= 4096):
        raise argparse.ArgumentTypeError(f"{text!r}: a side is 1 to 4096 pixels")
    return width, height


def _loader(text: str) -> str:
    name = ALIASES.get(text, text)
    if name not in LOADERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} reads no photos: use one of {', '.join(LOADERS)}, or --preset for what is done to their values"
        )
    return name


def parser(description: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="to_onnx.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a file, a folder or LIBRARY:NAME, see above")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the package's folder [default: models/NAME]")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the package that is there, and exit with status 0 even if the package does not agree with its original",
    )
    parser.add_argument("--name", help="the model's name in addresses and metrics [default: the folder's name]")
    parser.add_argument("--version", default="1", help="the package's version (default: %(default)s)")
    parser.add_argument("--license", metavar="SPDX", help="the weights' licence, if the source does not say")

    given = parser.add_argument_group("what the source does not say, or says wrong")
    given.add_argument(
        "--weights",
        metavar="WHICH",
        help="a file of weights (.pth, .safetensors), the name that the library has for them, or none: random ones, to try things out [default: the library's best]",
    )
    given.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="class names: one a line, or JSON as TorchServe's index_to_name.json or Keras' class_indices",
    )
    given.add_argument(
        "--preset",
        type=lambda text: ALIASES.get(text, text),
        choices=tuple(PRESETS),
        help="how photos become numbers, for Keras, SavedModels, TensorFlow.js, TorchScript and TorchServe; the names are those of ocelli serve --preset",
    )
    given.add_argument(
        "--preprocess",
        metavar="NAME",
        type=_loader,
        help="the function that read the photos in training, for Keras: "
        + ", ".join(LOADERS)
        + "; the package is compared "
        "with that function",
    )
    given.add_argument("--interpolation", choices=INTERPOLATIONS, help="the resampling filter of training")
    given.add_argument(
        "--antialias",
        choices=("on", "off"),
        help="whether that filter widened where photos were made smaller, for Keras and TensorFlow",
    )
    given.add_argument(
        "--size",
        type=_size,
        metavar="WxH",
        help="the input's size, where the model takes any: Keras, SavedModels, TorchScript",
    )
    given.add_argument("--task", choices=TASKS, help="what the output is for")

    photos = parser.add_argument_group("photos of your own")
    photos.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="compare the package with the original on these [default: drawn pictures]",
    )
    photos.add_argument(
        "--int8",
        action="store_true",
        help="quantise to 8 bits, calibrated with --photos: smaller, and about three times as fast",
    )
    photos.add_argument(
        "--limit", type=int, default=200, metavar="N", help="use no more photos than this (default: %(default)s)"
    )

    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--trust",
        action="store_true",
        help="run code that comes with the source: a .mar's model file, a Keras file's lambdas, transformers' remote code",
    )
    how.add_argument(
        "--here", action="store_true", help="use the packages of the Python that runs this, and install nothing"
    )
    return parser
