"""TensorFlow.js models: `model.json`, which describes the network, and the files of weights that it names. Imports nothing that
is not in the standard library."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .failure import Failure

MAX_TEXT_BYTES = 256 << 20
MAX_WEIGHT_BYTES = 2 << 30
LAYERS, GRAPH = "tfjs-layers", "tfjs-graph"


@dataclass(frozen=True)
class Model:
    """`library`: `LAYERS`, whose `topology` is Keras' description of a model, or `GRAPH`, whose topology is TensorFlow's of a
    graph. `groups`: descriptions of weights, and the files that hold each of these lists. `ends`: the names of inputs and
    outputs, where the file says them."""

    path: Path
    library: str
    topology: dict
    groups: list[tuple[list[dict], list[Path]]]
    ends: tuple[list[str], list[str]]

    def content(self) -> list[tuple[list[dict], bytes]]:
        """The groups with the bytes of their weights."""
        files = [file for _, paths in self.groups for file in paths]
        try:
            if sum(file.stat().st_size for file in files) > MAX_WEIGHT_BYTES:
                raise Failure(f"the weights of {self.path} are larger than 2 GiB, which no ONNX file can be")
            return [(weights, b"".join(file.read_bytes() for file in paths)) for weights, paths in self.groups]
        except OSError as error:
            raise Failure(
                f"{self.path} keeps its weights in {error.filename}, which cannot be read ({error.strerror}): copy it, too"
            ) from None


def read(path: Path) -> Model:
    """The model that `path` describes, without its weights."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise Failure(f"{path} is larger than {MAX_TEXT_BYTES >> 20} MiB: is it a TensorFlow.js model?")
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Failure(f"{path} cannot be read as a TensorFlow.js model ({error}): copy or save it again") from None
    try:
        topology = whole["modelTopology"]
        is_graph = "node" in topology
        groups = [(group["weights"], _files(group["paths"], path)) for group in whole["weightsManifest"]]
        signature = whole.get("signature") or (whole.get("userDefinedMetadata") or {}).get("signature") or {}
        ends = tuple([end["name"] for end in signature.get(side, {}).values()] for side in ("inputs", "outputs"))
        return Model(path, GRAPH if is_graph else LAYERS, topology, groups, ends)
    except (AttributeError, KeyError, TypeError) as error:
        raise Failure(
            f"{path} is no TensorFlow.js model ({type(error).__name__}: {error}): it needs modelTopology and weightsManifest, "
            "as tf.LayersModel.save and tensorflowjs_converter write them"
        ) from None


def _files(names: list[str], path: Path) -> list[Path]:
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise Failure(f"{path} keeps its weights outside of its folder, in {name!r}: do not use this model")
    return [path.parent / name for name in names]
