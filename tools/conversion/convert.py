"""The steps of a conversion: load the original, export it, quantise it, compare, and move the package into place."""

import argparse
import logging
import shlex
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from . import agreement, package, tfjs
from .arguments import Source
from .comparison import Comparison
from .manifest import Manifest, Output
from .ocelli import ROOT, Ocelli
from .original import Original
from .photos import draw_pictures, list_photos

SCORE_PHOTOS = 50
DISAGREES = 1


def convert(arguments: argparse.Namespace, source: Source) -> int:
    """Exit status: 0, or 1 if the package does not agree with its original."""
    _quiet()
    _say(f"loading {arguments.source}")
    original = _load(source, arguments)
    for note in original.notes:
        _say(f"note: {note}")
    manifest = Manifest(
        name=arguments.name,
        version=arguments.version,
        task=original.task,
        source=original.origin,
        input=original.input,
        output=Output(original.output, original.activation, original.labels is not None),
        license=arguments.license or original.license,
    )
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="to_onnx-")))
        _say("exporting")
        float32 = work / "float32.onnx"
        original.export(float32, original.output)
        photos = list_photos(arguments.photos, arguments.limit) if arguments.photos else draw_pictures(work)
        comparison = Comparison(original, manifest, photos[:SCORE_PHOTOS])
        kind = f"photos of {arguments.photos}" if arguments.photos else "drawn pictures (--photos DIR takes yours)"
        print(f"Agreement with {original.title} on {len(comparison.photos)} {kind}")
        print(f"  {comparison.basis}")
        print(f"  package side  {comparison.side}")
        final = float32
        verdict = comparison.report(float32, "float32")
        if arguments.int8:
            from .quantise import quantise

            _say(f"quantising with {len(photos)} photos")
            final = work / "int8.onnx"
            note = quantise(float32, final, original, photos)
            _say(f"note: {note}")
            reduced = comparison.report(final, "int8")
            # The 8-bit graph cannot be better than the float32 graph.
            verdict = reduced if verdict.agrees else verdict
            manifest = replace(manifest, source=f"{manifest.source}, int8 calibrated with {len(photos)} photos")
        with package.staged(arguments.out) as stage:
            package.write(stage, manifest, final, original.labels)
    size = (arguments.out / "model.onnx").stat().st_size
    print(f"Package: {arguments.out} ({size / 1e6:.1f} MB)")
    print(f"Next:    {_command()} serve --model {shlex.quote(str(arguments.out))}")
    return _conclude(verdict, arguments)


def _conclude(verdict: agreement.Verdict, arguments: argparse.Namespace) -> int:
    """Prints the verdict as the last line, and returns the exit status."""
    if verdict.agrees:
        print(verdict.text)
        return 0
    _say(f"{verdict.remedy} (--force: exit with status 0 all the same)")
    print(verdict.text)
    return 0 if arguments.force else DISAGREES


def _load(source: Source, arguments: argparse.Namespace) -> Original:
    # Each module imports a library that the others do not need.
    match source.library:
        case "keras":
            from . import from_keras as library
        case "torchvision":
            from . import from_torchvision as library
        case "timm":
            from . import from_timm as library
        case "transformers":
            from . import from_transformers as library
        case "torchserve":
            from . import from_torchserve as library
        case "torchscript":
            from . import from_torchscript as library
        case "saved-model":
            from . import from_saved_model as library
        case tfjs.LAYERS | tfjs.GRAPH:
            from . import from_tfjs as library
    return library.load(source, arguments)


def _command() -> str:
    """The command for Ocelli on this machine, quoted for a shell."""
    found = Ocelli.find()
    if found is None:
        return "ocelli"
    try:
        return shlex.quote(str(found.binary.relative_to(Path.cwd())))
    except ValueError:
        return "ocelli" if ROOT not in found.binary.parents else shlex.quote(str(found.binary))


def _quiet() -> None:
    """Silences warnings of the libraries, which users cannot act on."""
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    for name in ("tf2onnx", "torch.onnx", "absl", "transformers", "timm"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _say(text: str) -> None:
    print(f"to_onnx: {text}", flush=True)
