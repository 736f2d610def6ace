"""Runs Ocelli as a user does: the command, with options or with a package that has a `model.toml`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from .judge import Answers

ROOT = Path(__file__).resolve().parents[2]
OCELLI = Path(os.environ.get("OCELLI", ROOT / "target" / "release" / "ocelli")).resolve()
LIMIT_S = 600


def answers(model: list, photos: list[Path], classes: int, folder: Path) -> Answers:
    """Ocelli's results for photos; `model` is a SPEC and its options."""
    spec, *options = model
    tensors = folder / "input.npy"
    done(_run("model", "check", spec, *photos, *options, "--save-input", tensors, "--json"))
    text = done(_run("predict", "--model", spec, *options, "--format", "jsonl", "--top-k", classes, *photos))
    rows = [json.loads(line)["predictions"] for line in text.splitlines()]
    probabilities = np.full((len(rows), classes), np.nan)
    for row, predictions in zip(probabilities, rows, strict=True):
        for prediction in predictions:
            row[prediction["index"]] = prediction["probability"]
    return Answers(np.load(tensors), probabilities)


def refusal(model: list, photo: Path) -> str:
    """Ocelli's error for a model; empty if there is none."""
    spec, *options = model
    ran = _run("predict", "--model", spec, *options, photo)
    return ran.stderr.strip() if ran.returncode else ""


def package(folder: Path, onnx: Path, manifest: str, labels: list[str]) -> list:
    """A model package with this `model.toml`."""
    folder.mkdir()
    shutil.copyfile(onnx, folder / "model.onnx")
    (folder / "model.toml").write_text(manifest)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    return [folder]


def converted(source: Path, options: list[str], labels: list[str], folder: Path) -> list:
    """What the converter makes of a file that is not ONNX."""
    names, out = folder / "labels.txt", folder / "model"
    names.write_text("".join(f"{label}\n" for label in labels))
    command = [sys.executable, ROOT / "tools" / "to_onnx.py", source, *options, "--labels", names, "--out", out]
    environment = os.environ | {"OCELLI": str(OCELLI)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment)
    print(done(ran).splitlines()[-1], file=sys.stderr)
    return [out]


def version() -> str:
    return done(_run("--version")).strip()


def done(ran: subprocess.CompletedProcess) -> str:
    if ran.returncode:
        command = " ".join(map(str, ran.args[:4]))
        raise RuntimeError(f"{command} .. failed with status {ran.returncode}:\n{ran.stderr}")
    return ran.stdout


def _run(*arguments) -> subprocess.CompletedProcess:
    command = [str(argument) for argument in (OCELLI, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
