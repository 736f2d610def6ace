"""What a golden is, and how it is written down. Knows no library.

A case is a folder of `cases/`: `model/` is what a user has, `expected.json` and the pictures beside it are what the
library's own pipeline makes of each photo. A picture holds the model's input tensor, turned back into pixels; how is
not read from any configuration, but measured by sending black, white and coloured pictures through the pipeline.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
CASES = HERE / "cases"
PHOTOS = {
    "dog": HERE.parent / "data" / "dog.jpg",
    "chelsea": HERE / "photos" / "chelsea.jpg",
    "rocket": HERE / "photos" / "rocket.jpg",
    "turned": HERE / "photos" / "turned.jpg",
    "small": HERE / "photos" / "small.jpg",
}
# Of large inputs, whose pictures are large.
FEW = ("dog", "rocket")
LABELS = (HERE.parents[3] / "models" / "efficientnet-lite0" / "labels.txt").read_text().splitlines()
TOP = 5
# How far the answers to two photos must be apart, as a share of their spread: a model that ignores its input proves
# nothing.
SENSITIVITY = 0.05


@dataclass
class Case:
    """One golden. `prepare` takes a file and gives the batch of one that the library feeds the model."""

    name: str
    library: str
    pipeline: str
    prepare: object
    # Tensor of a batch of one -> the output's values, by the library's own model.
    compute: object
    labels: list[str] | None = None
    # Softmax, sigmoid or none, as the one who trained the model would apply to the output.
    activation: str = "softmax"
    output: str = "logits"
    # Softmax or sigmoid, where the model ends in one: its answers are compared as what went in there.
    ending: str | None = None
    # Whether the model computes in 8 bits, where one pixel that is off by one may change a rounding.
    quantised: bool = False
    # Whether the pipeline turns photos as their EXIF note says.
    exif: bool = False
    # Options that a user adds on the command line, because no file says it.
    options: dict = field(default_factory=dict)
    photos: tuple = tuple(PHOTOS)

    @property
    def folder(self):
        return CASES / self.name

    def write(self):
        """Writes everything except `model/`, which the case has filled."""
        for old in [*self.folder.glob("*.png"), *self.folder.glob("*.json")]:
            old.unlink()
        form = Form.measured(self.prepare)
        golden = {
            "library": self.library,
            "pipeline": self.pipeline,
            "options": self.options,
            "exif": self.exif,
            "input": form.described(),
            "output": {
                "name": self.output,
                "activation": self.activation,
                "ending": self.ending,
                "quantised": self.quantised,
            },
            "photos": [],
        }
        outputs = []
        for photo, path in PHOTOS.items():
            tensor = np.asarray(self.prepare(path))
            values = np.asarray(self.compute(tensor), dtype="f8").reshape(-1)
            outputs.append(values)
            if photo not in self.photos:
                continue
            picture = form.picture(tensor)
            picture.save(self.folder / f"{photo}.png", optimize=True)
            golden["photos"].append(self.described(photo, form.channels_of(tensor), values, picture))
        check_sensitivity(self.name, outputs)
        (self.folder / "expected.json").write_text(dump(golden))
        size = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        print(f"{self.name:32} {size / 1024:7.0f} KiB")

    def described(self, photo, channels, values, picture):
        described = {
            "photo": str(PHOTOS[photo].relative_to(HERE.parent)),
            "pixels": f"{photo}.png",
            "bits": 16 if picture.mode.startswith("I") else 8,
        }
        for name, measure in (("mean", np.mean), ("std", np.std), ("min", np.min), ("max", np.max)):
            described[name] = short([measure(channel.astype("f8")) for channel in channels])
        described["values"] = short(values)
        if self.labels:
            scores = ACTIVATIONS[self.activation](values)
            best = np.argsort(-scores, kind="stable")[:TOP]
            described["top"] = [[int(index), self.labels[index], float(f"{scores[index]:.6g}")] for index in best]
        return described


@dataclass
class Form:
    """How a pipeline writes pixels into a tensor: axes, channels, and the value of a black and of a white pixel."""

    layout: str
    channels: str
    dtype: str
    black: np.ndarray
    white: np.ndarray

    @classmethod
    def measured(cls, prepare):
        with tempfile.TemporaryDirectory() as folder:

            def solid(name, colour):
                path = Path(folder) / f"{name}.png"
                Image.new("RGB", (320, 320), colour).save(path)
                return np.asarray(prepare(path))

            black, white, red = solid("black", 0), solid("white", (255,) * 3), solid("red", (255, 0, 0))
        layout = "nchw" if black.shape[1] in (1, 3) else "nhwc"
        middle = next(value.shape[2] // 2 for value in (black,))

        def pixel(tensor):
            return tensor[0, :, middle, middle] if layout == "nchw" else tensor[0, middle, middle, :]

        channels = "gray" if len(pixel(black)) == 1 else "rgb" if pixel(red)[0] == pixel(white)[0] else "bgr"
        return cls(layout, channels, str(black.dtype), pixel(black).astype("f8"), pixel(white).astype("f8"))

    def described(self):
        return {
            "layout": self.layout,
            "channels": self.channels,
            "dtype": self.dtype,
            "black": short(self.black),
            "white": short(self.white),
        }

    def channels_of(self, tensor):
        return tensor[0] if self.layout == "nchw" else np.moveaxis(tensor[0], -1, 0)

    def picture(self, tensor):
        """The tensor as the pixels that it was made from: 8 bits where the pipeline rounds to them, else 16."""
        black, white = self.black[:, None, None], self.white[:, None, None]
        pixels = (self.channels_of(tensor).astype("f8") - black) / (white - black) * 255
        if self.channels == "bgr":
            pixels = pixels[::-1]
        whole = np.round(pixels)
        # float16 tensors are exact to a few hundredths of a pixel.
        if np.abs(pixels - whole).max() < 0.1:
            assert whole.min() >= 0 and whole.max() <= 255
            whole = whole.astype("u1")
            return Image.fromarray(whole[0] if len(whole) == 1 else np.moveaxis(whole, 0, -1))
        # Pillow writes no 16-bit colour: the channels one below the other, in 256ths of a pixel.
        assert pixels.min() > -0.001 and pixels.max() < 255.001
        return Image.fromarray(np.clip(np.round(pixels * 256), 0, 65535).astype("u2").reshape(-1, pixels.shape[-1]))


def softmax(values):
    scores = np.exp(values - values.max())
    return scores / scores.sum()


ACTIVATIONS = {"softmax": softmax, "sigmoid": lambda values: 1 / (1 + np.exp(-values)), "none": lambda values: values}


def check_sensitivity(name, outputs):
    spread = max(values.max() - values.min() for values in outputs)
    apart = min(np.abs(a - b).max() for i, a in enumerate(outputs) for b in outputs[:i])
    assert apart > SENSITIVITY * spread, f"{name}: photos are {apart / spread:.3f} of the spread apart"


def model_folder(name):
    """The empty `model/` of a case."""
    folder = CASES / name / "model"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_labels(folder, labels, name="labels.txt"):
    (folder / name).write_text("".join(f"{label}\n" for label in labels))


def short(values):
    """Seven digits, which is what float32 holds."""
    return [float(f"{float(value):.7g}") for value in values]


def dump(golden):
    """JSON with a line for each key and each photo's key: what changes shows in a diff."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items() if key != "photos"]
    photos = [
        "    {\n"
        + ",\n".join(f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in photo.items())
        + "\n    }"
        for photo in golden["photos"]
    ]
    lines.append('  "photos": [\n' + ",\n".join(photos) + "\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"
