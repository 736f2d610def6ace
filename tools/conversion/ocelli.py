"""The package side of the comparison: Ocelli's own binary on the very files, through `ocelli predict`.

It answers with the best classes. Asked for as many as there are, of a copy of the package that applies no activation, it
answers with every score; and asked the same of a graph that does nothing, with every value of the input tensor.
"""

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from . import labels
from .failure import Failure
from .manifest import Manifest, Output
from .original import INPUT

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 1800


@dataclass(frozen=True)
class Ocelli:
    binary: Path

    @classmethod
    def find(cls) -> "Ocelli | None":
        """The binary in the variable OCELLI, or the one built here, or the installed one."""
        named = os.environ.get("OCELLI")
        if named and not Path(named).is_file():
            raise Failure(f"OCELLI names {named}, which does not exist: correct or unset it")
        built = ROOT / "target" / "release" / "ocelli"
        found = named or (built if built.is_file() else shutil.which("ocelli"))
        return cls(Path(found).resolve()) if found else None

    def scores(self, manifest: Manifest, onnx_file: Path, photos: list[Path], elements: int) -> np.ndarray:
        """The output of the package's graph for each photo, before any activation: [photos, elements]."""
        with tempfile.TemporaryDirectory(prefix="to_onnx-") as folder:
            package = Path(folder)
            raw = replace(manifest, task="classification", output=Output(manifest.output.name, "none", True))
            (package / "model.toml").write_text(raw.to_toml(), encoding="utf-8")
            (package / "labels.txt").write_text(labels.to_text([str(index) for index in range(elements)]))
            shutil.copyfile(onnx_file, package / "model.onnx")
            return self._predict(package, photos, elements)

    def tensors(self, manifest: Manifest, photos: list[Path]) -> np.ndarray:
        """Ocelli's input tensor for each photo: [photos, *shape]."""
        shape = manifest.input.shape
        elements = int(np.prod(shape))
        element = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[manifest.input.dtype]
        graph = helper.make_graph(
            [
                helper.make_node("Flatten", [INPUT], ["flat"]),
                helper.make_node("Cast", ["flat"], [manifest.output.name], to=TensorProto.FLOAT),
            ],
            "tensor",
            [helper.make_tensor_value_info(INPUT, element, ["batch", *shape])],
            [helper.make_tensor_value_info(manifest.output.name, TensorProto.FLOAT, ["batch", elements])],
        )
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            onnx.save(model, file.name)
            return self.scores(manifest, Path(file.name), photos, elements).reshape(-1, *shape)

    def _predict(self, package: Path, photos: list[Path], elements: int) -> np.ndarray:
        # The user's server settings must not affect the comparison.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OCELLI_")}
        library = os.environ.get("OCELLI_ONNXRUNTIME") or _library_of_python(self.binary)
        if library:
            environment["OCELLI_ONNXRUNTIME"] = library
        command = [self.binary, "predict", "--model", package, "--format", "jsonl", "--top-k", str(elements)]
        command += ["--max-batch", "1", "--instances", "1", "--", *photos]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        rows = [_row(line, elements) for line in done.stdout.splitlines()]
        if len(rows) != len(photos):
            raise Failure(f"{self.binary} cannot run the package: {done.stderr.strip()[-2000:]}")
        return np.stack(rows)


def _row(line: str, elements: int) -> np.ndarray:
    answer = json.loads(line)
    if "error" in answer:
        raise Failure(f"{answer['file']}: ocelli says {answer['error']}: take it out of the folder")
    row = np.full(elements, np.nan)
    for prediction in answer["predictions"]:
        row[prediction["index"]] = prediction["probability"]
    return row


def _library_of_python(binary: Path) -> str | None:
    """ONNX Runtime's library in this environment, for a binary without one beside it."""
    if (binary.parent / "libonnxruntime.so").exists():
        return None
    folder = Path(sysconfig.get_path("purelib"), "onnxruntime", "capi")
    found: Iterable[Path] = sorted(folder.glob("libonnxruntime.*"))
    return str(next(iter(found), "")) or None
