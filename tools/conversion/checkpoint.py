"""Unwraps the weights that training scripts save. Pure: a tensor is anything that has a `shape`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .failure import Failure

# Keys of a checkpoint under which its weights are, the first that is there. Averaged weights come first, as timm's own
# `load_state_dict` takes them: they are what a training run with averaging is judged by.
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "params_ema", "ema")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights")
# Maximum depth of nested wrappers; no known script needs more than two.
MAX_DEPTH = 4
# Saved beside a model but not part of it: the loss, metrics, and the counter of PyTorch's AveragedModel.
BESIDE = ("criterion", "loss", "loss_fn", "metric", "metrics", "n_averaged")
# A class count that no architecture has for another of its sizes: a prime.
PROBE = 1009


@dataclass(frozen=True)
class Weights:
    """Weights under the names of their architecture; `classes`: None where they have no classifier."""

    tensors: dict
    classes: int | None
    classifier: frozenset[str]
    notes: list[str] = field(default_factory=list)


def is_tensor(value) -> bool:
    return hasattr(value, "shape")


def unwrap(content) -> tuple[dict, list[str]]:
    """The weights of a checkpoint, and messages for the user. Raises Failure if there are none."""
    opened = []
    while len(opened) < MAX_DEPTH and isinstance(content, Mapping):
        key = next((key for key in WRAPPERS if _holds_weights(content.get(key))), None)
        if key is None:
            break
        content = content[key]
        opened.append(key)
    # Weights may include counters, and wrappers settings.
    tensors = {key: value for key, value in content.items() if is_tensor(value)} if isinstance(content, Mapping) else {}
    if not tensors or not (opened or len(tensors) == len(content)):
        raise Failure("is no state dict: save one, torch.save(model.state_dict(), 'weights.pth')")
    if not opened:
        return tensors, []
    averaged = ", the averaged weights" if set(opened) & set(AVERAGED) else ""
    return tensors, [f"the weights are those under {'.'.join(opened)} of the checkpoint{averaged}"]


def _holds_weights(value) -> bool:
    if not isinstance(value, Mapping):
        return False
    return any(is_tensor(item) for item in value.values()) or any(_holds_weights(value.get(key)) for key in WRAPPERS)


def fit(tensors: Mapping, probe: Mapping[str, tuple[int, ...]]) -> Weights:
    """`tensors` under the names of an architecture, which has the shapes `probe` if it is made with `PROBE` classes."""
    prefix = _prefix(tensors, probe)
    named, notes = {}, []
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        if name in named:
            raise Failure(f"have {name} both with and without {prefix!r}: save one model, model.state_dict()")
        named[name] = value
    if prefix:
        notes.append(f"the prefix {prefix!r} is removed from the names of the weights")
    beside = [name for name in named if name not in probe and name.split(".")[0] in BESIDE]
    if beside:
        notes.append(f"left out, for they are no part of the model: {', '.join(beside)}")
    named = {name: value for name, value in named.items() if name not in beside}
    classifier = {name: shape.index(PROBE) for name, shape in probe.items() if PROBE in shape}
    sizes = {
        tuple(named[name].shape)[axis]: name
        for name, axis in classifier.items()
        if name in named and len(named[name].shape) > axis
    }
    if len(sizes) > 1:
        found = " and ".join(f"{size} ({name})" for size, name in sizes.items())
        raise Failure(f"have classifiers of different sizes, {found}: save one model, model.state_dict()")
    return Weights(named, next(iter(sizes), None), frozenset(classifier), notes)


def _prefix(tensors: Mapping, probe: Mapping) -> str:
    """The prefix of most of the architecture's names; the shortest of several."""
    found = Counter({"": 0})
    for key in tensors:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in probe:
                found["".join(f"{part}." for part in parts[:start])] += 1
    return min(found, key=lambda prefix: (-found[prefix], len(prefix)))
