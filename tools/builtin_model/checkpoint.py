"""Reads the tensors of a PyTorch checkpoint in the format used before PyTorch 1.6, without PyTorch.

Such a file is four pickles (magic number, version, machine facts, the state dict with references to storages), a
pickled list of storage keys, and then each storage: its element count as a little-endian int64, and its bytes.
The format is that of `torch.serialization._legacy_save`. Unpickling is limited to the five names below, so that a
checkpoint can hold arrays and nothing that runs.
"""

import collections
import hashlib
import pickle
from pathlib import Path

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
STORAGE_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage:
    """A flat array whose elements stand at the end of the file, after everything that refers to it."""

    def __init__(self, dtype: np.dtype, count: int):
        self.elements = np.zeros(count, dtype)


class _Tensor:
    """A strided view of a storage, materialised once the storage has been read."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *_autograd):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def to_numpy(self) -> np.ndarray:
        flat = self.storage.elements[self.offset :]
        strides = [stride * flat.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        return np.ascontiguousarray(view).reshape(self.shape)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"the checkpoint refers to {module}.{name}, which weights do not need")

    def persistent_load(self, reference) -> _Storage:
        kind, dtype, key, _device, count, _view = reference
        if kind != "storage":
            raise pickle.UnpicklingError(f"the checkpoint holds an unknown reference: {kind}")
        return self.storages.setdefault(key, _Storage(dtype, count))


def read_checkpoint(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """The state dict of the checkpoint at `path`, whose SHA-256 must be `sha256`: name -> array."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path} has SHA-256 {found}, not {sha256}: reinstall the pinned requirements")
    with path.open("rb") as file:
        if _Unpickler(file).load() != MAGIC_NUMBER or _Unpickler(file).load() != PROTOCOL_VERSION:
            raise SystemExit(f"{path} is not a PyTorch checkpoint of before version 1.6")
        _Unpickler(file).load()
        unpickler = _Unpickler(file)
        state = unpickler.load()
        for key in _Unpickler(file).load():
            elements = unpickler.storages[key].elements
            count = int.from_bytes(file.read(8), "little")
            if count != elements.size:
                raise SystemExit(f"{path}: storage {key} has {count} elements where {elements.size} were announced")
            elements[:] = np.frombuffer(file.read(elements.nbytes), elements.dtype)
    return {name: tensor.to_numpy() for name, tensor in state.items()}
