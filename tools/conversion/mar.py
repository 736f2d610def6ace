"""TorchServe archives (.mar): what is in them, read without running or unpickling anything.

An archive is a zip file with `MAR-INF/MANIFEST.json`. It comes from elsewhere: names that lead out of it, links and sizes
that no model has are refused before anything is unpacked.
"""

import json
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .failure import Failure
from .labels import from_json

MANIFEST = "MAR-INF/MANIFEST.json"
LABELS = "index_to_name.json"
# TorchServe's built-in handler for image classifiers.
HANDLER = "image_classifier"
MAX_MEMBERS = 10_000
MAX_BYTES = 8 << 30
MAX_TEXT_BYTES = 16 << 20


@dataclass(frozen=True)
class Archive:
    """`serialized`: the file of weights or the TorchScript. `model_file`: the Python file that defines the model, without
    which `serialized` has to be TorchScript."""

    path: Path
    name: str
    handler: str
    serialized: str
    model_file: str | None
    is_torchscript: bool
    labels: list[str] | None

    def unpack(self, folder: Path) -> None:
        """Extracts the members that `read` has accepted into `folder`."""
        with zipfile.ZipFile(self.path) as archive:
            archive.extractall(folder)


def read(path: Path) -> Archive:
    """Raises Failure for a file that is not an archive, is malicious, or has no model."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            return _read(archive, path)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise Failure(
            f"{path} is no zip archive ({error}): make it again with torch-model-archiver --archive-format default"
        ) from None


def check(archive: Archive, *, trust: bool, preset: str | None) -> None:
    """The code in `archive` that needs --trust."""
    if archive.handler != HANDLER and preset is None:
        raise Failure(
            f"{archive.path} has the handler {archive.handler}, and only {HANDLER} says how pixels are prepared: if it "
            "prepares them as that one does, pass --preset torchvision"
        )
    if preset not in {None, "torchvision"}:
        raise Failure(f"--preset {preset} is for Keras: a TorchServe archive takes torchvision")
    if trust and archive.is_torchscript:
        raise Failure(f"--trust: {archive.path} holds TorchScript, and no Python of it is run: leave it out")
    if not archive.is_torchscript and archive.model_file is None:
        raise Failure(
            f"{archive.path}: {archive.serialized} is a pickle of a whole model, and no Python file defines it: make the "
            "archive with --model-file, or save TorchScript"
        )
    if not archive.is_torchscript and not trust:
        raise Failure(
            f"{archive.path} defines its model in {archive.model_file}, which is code, and {archive.serialized} is a pickle: "
            "if you trust who made it, convert it with --trust"
        )


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise Failure(f"{path} has {len(members)} members, {MAX_MEMBERS} at most: is it a model archive?")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise Failure(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB: is it a model archive?")
    for member in members:
        parts = PurePosixPath(member.filename).parts
        outside = not parts or member.filename.startswith("/") or ".." in parts or ":" in parts[0]
        if outside or "\\" in member.filename or stat.S_ISLNK(member.external_attr >> 16):
            raise Failure(f"{path} has a member that leads out of it, {member.filename!r}: do not use this archive")


def _read(archive: zipfile.ZipFile, path: Path) -> Archive:
    try:
        manifest = json.loads(_text(archive, MANIFEST, path))
    except KeyError:
        raise Failure(f"{path} has no {MANIFEST}: make it with torch-model-archiver") from None
    except ValueError as error:
        raise Failure(f"{path}: {MANIFEST} is no JSON ({error}): make the archive again") from None
    model = manifest.get("model") if isinstance(manifest, dict) else None
    if not isinstance(model, dict):
        raise Failure(f"{path}: {MANIFEST} describes no model: make the archive again")
    fields = {key: model.get(key) for key in ("modelName", "handler", "serializedFile", "modelFile")}
    for key, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise Failure(f"{path}: {key} in {MANIFEST} is {value!r}, which is no text: make the archive again")
    serialized = fields["serializedFile"]
    if not serialized:
        raise Failure(f"{path} has no model in it: make it with torch-model-archiver --serialized-file")
    # Old archivers store the original path; the file itself is at the top of the archive.
    serialized = PurePosixPath(serialized).name
    names = set(archive.namelist())
    for name in filter(None, [serialized, fields["modelFile"]]):
        if name not in names:
            raise Failure(f"{path} lacks {name}, which its manifest names: make the archive again")
    labels = None
    if LABELS in names:
        labels = from_json(_text(archive, LABELS, path), f"{path}: {LABELS}")
    return Archive(
        path=path,
        name=fields["modelName"] or path.stem,
        handler=fields["handler"] or HANDLER,
        serialized=serialized,
        model_file=fields["modelFile"] or None,
        is_torchscript=_is_torchscript(archive, serialized),
        labels=labels,
    )


def _text(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    if archive.getinfo(name).file_size > MAX_TEXT_BYTES:
        raise Failure(f"{path}: {name} is larger than {MAX_TEXT_BYTES >> 20} MiB: is it a model archive?")
    try:
        return archive.read(name).decode()
    except UnicodeDecodeError:
        raise Failure(f"{path}: {name} is not UTF-8: make the archive again") from None


def _is_torchscript(archive: zipfile.ZipFile, name: str) -> bool:
    """TorchScript is a zip archive with a folder of code; files of `torch.save` only have pickles."""
    with archive.open(name) as file:
        try:
            with zipfile.ZipFile(file) as inner:
                return _has_code(inner)
        except zipfile.BadZipFile:
            return False


def _has_code(archive: zipfile.ZipFile) -> bool:
    return any("/code/" in member for member in archive.namelist())


def format_of(path: Path) -> str:
    """What the file of PyTorch at `path` is, as the table of formats calls it: "pytorch" for TorchScript, "torch-export" or
    "weights"."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(PurePosixPath(member).name == "archive_format" for member in archive.namelist()):
                return "torch-export"
            return "pytorch" if _has_code(archive) else "weights"
    except (zipfile.BadZipFile, NotImplementedError, EOFError):
        # The format of `torch.save` before PyTorch 1.6.
        return "weights"
