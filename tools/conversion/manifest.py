"""Writes a readable `model.toml`, schema 1. Pure; the names are those of Ocelli's documentation."""

import json
from dataclasses import dataclass

# ImageNet's mean and standard deviation in 0..1, as in torchvision, timm and Keras' "torch" mode.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BYTE = 1 / 255


@dataclass(frozen=True)
class Normalisation:
    """`y = (x * scale - mean) / std` per channel of the tensor, x in 0..255."""

    channels: str = "rgb"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Input:
    """The `[input]` table. `resize` is its inline table, `policy` and what belongs to it."""

    name: str
    width: int
    height: int
    layout: str
    normalisation: Normalisation
    resize: dict
    interpolation: str
    antialias: bool = True
    dtype: str = "float32"
    resampler: str = "pillow"
    coordinates: str = "half-pixel"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's tensor."""
        channels = 1 if self.normalisation.channels == "gray" else 3
        if self.layout == "nchw":
            return (channels, self.height, self.width)
        return (self.height, self.width, channels)


@dataclass(frozen=True)
class Output:
    """The `[[output]]` table."""

    name: str
    activation: str
    labelled: bool


@dataclass(frozen=True)
class Manifest:
    name: str
    version: str
    task: str
    source: str
    input: Input
    output: Output
    license: str | None = None

    def to_toml(self) -> str:
        """The text of `model.toml`."""
        head = {"schema": 1, "name": self.name, "version": self.version, "task": self.task}
        if self.license:
            head["license"] = self.license
        head["source"] = self.source
        return "\n".join(
            [
                *_lines(head),
                "",
                "[input]",
                *_lines(_input_table(self.input)),
                "",
                "[[output]]",
                *_lines(_output_table(self.output)),
                "",
            ]
        )


def _input_table(spec: Input) -> dict:
    table = {
        "name": spec.name,
        "dtype": spec.dtype,
        "width": spec.width,
        "height": spec.height,
        "layout": spec.layout,
        "channels": spec.normalisation.channels,
    }
    # A uint8 tensor is the pixels, without normalisation.
    if spec.dtype != "uint8":
        table |= {
            "scale": spec.normalisation.scale,
            "mean": list(spec.normalisation.mean),
            "std": list(spec.normalisation.std),
        }
    table |= {
        "resize": spec.resize,
        "interpolation": spec.interpolation,
        "resampler": spec.resampler,
        "antialias": spec.antialias,
    }
    return table if spec.coordinates == "half-pixel" else table | {"coordinates": spec.coordinates}


def _output_table(spec: Output) -> dict:
    labels = {"labels": "labels.txt"} if spec.labelled else {}
    return {"name": spec.name, "activation": spec.activation} | labels


def _lines(table: dict) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value) -> str:
    """TOML's basic strings, numbers and booleans are JSON's, except that JSON leaves the delete character as it is."""
    if isinstance(value, dict):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return json.dumps(value)
