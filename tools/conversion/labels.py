"""Reads class names in common formats, and writes them as in a package (one per line)."""

import json
from pathlib import Path

from .failure import Failure

# ImageNet's class names, in the common order and in Keras' spelling.
IMAGENET = Path(__file__).resolve().parents[2] / "models" / "efficientnet-lite0" / "labels.txt"
IMAGENET_CLASSES = 1000
MAX_BYTES = 16 << 20


def imagenet_labels() -> list[str]:
    return IMAGENET.read_text(encoding="utf-8").splitlines()


def read_labels(path: Path) -> list[str]:
    """The labels in `path`: text with one per line, or JSON in one of the forms of `from_json`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Failure(f"{path} is larger than {MAX_BYTES >> 20} MiB: is it a file of labels?")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read as labels ({error}): write UTF-8 text with one label a line") from None
    if path.suffix.lower() == ".json":
        return from_json(text, str(path))
    labels = [line.strip() for line in text.splitlines()]
    while labels and not labels[-1]:
        labels.pop()
    if not labels:
        raise Failure(f"{path} is empty: write one label a line")
    return labels


def from_json(text: str, name: str) -> list[str]:
    """A list of names; an object of index to name or to [id, name], as TorchServe and Keras have it; one of name to index, as
    `class_indices` of Keras' generators; an object with such a thing under "id2label" (transformers) or "object_type_names"
    (old TorchServe)."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failure(f"{name} is no JSON ({error})") from None
    if isinstance(value, dict):
        value = value.get("id2label", value.get("object_type_names", value))
    if isinstance(value, dict):
        # Names are not numbers, so numbers are indices.
        if value and all(type(entry) is int for entry in value.values()):
            value = _turned(value, name)
        value = _in_order(value, name)
    if not isinstance(value, list) or not value:
        raise Failure(f'{name} holds no labels: write a list of names, or an object {{"0": "cat", "1": "dog"}}')
    # If an id comes first, as in ["n01440764", "tench"], use the readable name.
    labels = [entry[-1] if isinstance(entry, list) and entry else entry for entry in value]
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise Failure(f"{name}: the label of class {index} is {label!r}, which is no text")
    return labels


def _turned(value: dict[str, int], name: str) -> dict[int, str]:
    """Inverts a mapping of name to index."""
    by_index = {}
    for label, index in value.items():
        if index in by_index:
            raise Failure(f"{name} gives class {index} to both {by_index[index]!r} and {label!r}: give each its own")
        by_index[index] = label
    return by_index


def _in_order(value: dict, name: str) -> list:
    try:
        by_index = {int(key): entry for key, entry in value.items()}
    except ValueError:
        raise Failure(f'{name}: the keys must be class indices, as in {{"0": "cat", "1": "dog"}}') from None
    missing = next((index for index in range(len(value)) if index not in by_index), None)
    if missing is not None:
        raise Failure(f"{name} has {len(value)} labels and none for class {missing}: number them from 0")
    return [by_index[index] for index in range(len(value))]


def to_text(labels: list[str]) -> str:
    """The text of `labels.txt`. Line breaks inside a label are replaced, since lines are indices."""
    return "".join(" ".join(label.split()) + "\n" for label in labels)


def choose(
    task: str, given: Path | None, classes: int, own: list[str] | None, origin: str
) -> tuple[list[str] | None, list[str]]:
    """The labels of `classes` classes: those of the file `given`, or `own`, which `origin` came with; and what to tell the
    user. What a user names has to fit; what a library says of a model whose head was changed may not. Features have none."""
    if task == "embedding":
        check_unused(given, origin)
        return None, []
    if given is not None:
        labels = read_labels(given)
        if classes == 1 and len(labels) == 2:
            other, labels = labels[0], labels[1:]
            return labels, [f"one output for two labels: the probability of {labels[0]!r}, else it is {other!r}"]
        check_count(labels, classes, str(given))
        return labels, []
    if own is not None and len(own) == classes:
        return own, []
    return None, [
        f"{origin} has no names for its classes: classes are called class 0, class 1, ...; --labels FILE names them"
    ]


def choose_or_imagenet(task: str, given: Path | None, classes: int, origin: str) -> tuple[list[str] | None, list[str]]:
    """As `choose`, for models without names: a thousand classes are ImageNet's."""
    own = imagenet_labels() if classes == IMAGENET_CLASSES else None
    names, notes = choose(task, given, classes, own, origin)
    if names is not None and given is None:
        notes = ["1,000 classes: taken for ImageNet's, in their usual order (--labels names others)"]
    return names, notes


def check_unused(given: Path | None, origin: str) -> None:
    if given is not None:
        raise Failure(
            f"--labels {given} names classes, and {origin} is converted for its features: leave out --labels, or pass "
            "--task classification if its outputs are classes"
        )


def check_count(labels: list[str], classes: int, origin: str) -> None:
    if len(labels) != classes:
        raise Failure(f"{origin} has {len(labels)} labels and the model {classes} classes: pass the right --labels")
