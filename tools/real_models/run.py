"""Compares every case and prints a table. Exits with 1 where a limit is broken, with 2 where nothing can be compared.

    .venv-real-models/bin/python -m real_models.run [WORD..]

With words: only the packages whose names contain one of them.
"""

import sys
import tempfile
import traceback
from pathlib import Path

from PIL import Image

from . import judge, ocelli
from .case import Case, Refusal, referred
from .photos import PHOTOS, chosen

COLUMNS = ("package", "graph", "input, of 255", "probability", "same first class", "verdict")


def main(words: list[str]) -> int:
    if not PHOTOS.is_dir():
        print("real_models: skipped, for there are no photos: ../shared/data/evaluation is missing")
        return 0
    wanted = [case for case in all_cases() if not words or any(word in case.package for word in words)]
    if not wanted:
        print(f"real_models: no package is called {' or '.join(words)}", file=sys.stderr)
        return 2
    rows, broken = [], 0
    for case in wanted:
        print(f"real_models: {case.package}, {case.graph}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="real_models-") as folder:
            try:
                row, good = refused(case, Path(folder)) if isinstance(case, Refusal) else compared(case, Path(folder))
            except Exception as error:
                traceback.print_exc()
                row, good = ("-", "-", "-", f"failed: {error}".splitlines()[0]), False
        rows.append((case.package, case.graph, *row))
        broken += not good
    print_table(rows)
    print(f"{ocelli.version()}: {len(rows) - broken} passed, {broken} failed")
    return 1 if broken else 0


def all_cases() -> list[Case | Refusal]:
    from . import keras_packages, onnx_packages, tfjs_packages, zoo

    return [*onnx_packages.cases(), *keras_packages.cases(), *tfjs_packages.cases(), *zoo.cases()]


def compared(case: Case, folder: Path) -> tuple[tuple, bool]:
    photos = written(case, folder, chosen())
    model, reference = case.model(folder), case.reference(folder)
    theirs = referred(reference, photos)
    ours = ocelli.answers(model, photos, theirs.probabilities.shape[1], folder)
    found = judge.compare(theirs, ours, judge.steps_of(*solid(case, reference, folder), case.channel_axis))
    row = (
        f"{found.input:.3f}",
        f"{found.probability:.5f}",
        f"{found.same_first} of {found.photos}",
        "agrees" if found.agrees else "DOES NOT AGREE",
    )
    return row, found.agrees


def refused(case: Refusal, folder: Path) -> tuple[tuple, bool]:
    text = ocelli.refusal(case.model(folder), chosen()[0])
    good = bool(text) and all(word in text for word in case.words)
    print(f"real_models: {text or 'not refused'}", file=sys.stderr)
    return ("-", "-", "-", "refused" if good else "NOT REFUSED" if not text else "REFUSED IN OTHER WORDS"), good


def written(case: Case, folder: Path, photos: list[Path]) -> list[Path]:
    """The images for both: the photos, or the parts that the case cuts out."""
    paths = []
    for photo in photos:
        original = Image.open(photo)
        picture = case.photo(original)
        path = folder / f"{photo.stem}.png"
        if picture is not original:
            picture.convert("RGB").save(path)
        paths.append(photo if picture is original else path)
    return paths


def solid(case: Case, reference, folder: Path):
    """The tensors of a black and of a white photo."""
    for name, level in (("black", 0), ("white", 255)):
        path = folder / f"{name}.png"
        case.photo(Image.new("RGB", (400, 400), (level,) * 3)).save(path)
        yield reference(path)[0]


def print_table(rows: list[tuple]):
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
