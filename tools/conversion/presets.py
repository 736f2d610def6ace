"""How photos become numbers, by name: the server's presets, and the functions of Keras, TensorFlow and OpenCV that training code
reads photos with. Pure; the names are those of `ocelli serve --preset`."""

from dataclasses import dataclass, replace

from .failure import Failure
from .manifest import BYTE, IMAGENET_MEAN, IMAGENET_STD, Normalisation

# The filters of each library.
FILTERS = {
    "pillow": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "torch": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "tensorflow": ("nearest", "bilinear", "bicubic", "area", "lanczos", "lanczos5", "gaussian", "mitchell"),
    "opencv": ("nearest", "bilinear", "bicubic", "area", "lanczos"),
}
INTERPOLATIONS = tuple(dict.fromkeys(name for names in FILTERS.values() for name in names))
# The filters of TensorFlow.js and TensorFlow 1 with other coordinates.
COORDINATED = ("nearest", "bilinear")


@dataclass(frozen=True)
class Reading:
    """The resize settings of `[input]` in model.toml."""

    interpolation: str
    resampler: str = "pillow"
    antialias: bool = True
    coordinates: str = "half-pixel"


@dataclass(frozen=True)
class Preset:
    """A way to prepare photos. `grown`: None if they are stretched to the input's size; else the shorter edge gets this many
    pixels for every 224 of it, and the centre is kept; with `only_square`, of square inputs alone. `loader`: the function
    that reads photos so, if the preset is named for one."""

    normalisation: Normalisation
    reading: Reading
    grown: int | None = None
    only_square: bool = False
    loader: str | None = None

    @property
    def interpolation(self) -> str:
        return self.reading.interpolation

    def resize(self, width: int, height: int) -> dict:
        """The `resize` table for an input of this size."""
        if self.grown is None or (self.only_square and width != height):
            return {"policy": "stretch"}
        sides = [side * self.grown // SIDE for side in (width, height)]
        return {"policy": "shortest-edge", "size": sides[0]} if width == height else {"policy": "cover", "size": sides}


# The input size to which the shorter edges of presets refer.
SIDE = 224
_IMAGENET = Normalisation(scale=BYTE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
_CLIP = Normalisation(scale=BYTE, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
_HALF = Normalisation(scale=BYTE, mean=(0.5,) * 3, std=(0.5,) * 3)
_BYTES, _UNIT = Normalisation(), Normalisation(scale=BYTE)
_BICUBIC, _BILINEAR, _NEAREST = Reading("bicubic"), Reading("bilinear"), Reading("nearest")
_TENSORFLOW = Reading("bilinear", "tensorflow", antialias=False)
IMAGE_DATASET = "image_dataset_from_directory"
LOAD_IMG = "load_img"
FLOW = "flow_from_directory"
OPENCV = "cv2.resize"
TFJS = "resizeBilinear"


def _opencv(interpolation: str) -> Preset:
    return Preset(Normalisation("bgr", scale=BYTE), Reading(interpolation, "opencv", antialias=False), loader=OPENCV)


# The table is the server's, in crates/ocelli-vision/src/auto/preset.rs. The first three are the modes of
# `keras.applications.imagenet_utils.preprocess_input`, resized as Pillow's `Image.resize` does by default.
PRESETS = {
    "keras-caffe": Preset(Normalisation("bgr", mean=(103.939, 116.779, 123.68)), _BICUBIC),
    "keras-tf": Preset(Normalisation(scale=1 / 127.5, mean=(1.0, 1.0, 1.0)), _BICUBIC),
    "keras-torch": Preset(_IMAGENET, _BICUBIC),
    "torchvision": Preset(_IMAGENET, _BILINEAR, 256),
    "torchvision-v2": Preset(_IMAGENET, _BILINEAR, 232),
    "timm": Preset(_IMAGENET, _BICUBIC, 256),
    "vit": Preset(_HALF, Reading("bilinear", "torch")),
    "clip": Preset(_CLIP, _BICUBIC, 224),
    "yolo-cls": Preset(_UNIT, _BILINEAR, 224, only_square=True),
    "unit": Preset(_UNIT, _BILINEAR),
    "raw": Preset(_BYTES, _BICUBIC),
    "image-dataset": Preset(_BYTES, _TENSORFLOW, loader=IMAGE_DATASET),
    "image-dataset-unit": Preset(_UNIT, _TENSORFLOW, loader=IMAGE_DATASET),
    "load-img": Preset(_BYTES, _NEAREST, loader=LOAD_IMG),
    "flow-from-directory": Preset(_UNIT, _NEAREST, loader=FLOW),
    "opencv-linear": _opencv("bilinear"),
    "opencv-area": _opencv("area"),
    "opencv-cubic": _opencv("bicubic"),
    "opencv-lanczos4": _opencv("lanczos"),
    "tfjs-align-corners": Preset(_UNIT, replace(_TENSORFLOW, coordinates="align-corners"), loader=TFJS),
    "tfjs-asymmetric": Preset(_UNIT, replace(_TENSORFLOW, coordinates="asymmetric"), loader=TFJS),
}
# Aliases: those of the server, and the former name of "raw" here.
ALIASES = {
    "caffe": "keras-caffe",
    "tf": "keras-tf",
    "torch": "torchvision",
    "imagenet": "torchvision",
    "yolo": "yolo-cls",
    "ultralytics": "yolo-cls",
    "rescale": "unit",
    "image_dataset_from_directory": "image-dataset",
    "tf-image-resize": "image-dataset",
    "load_img": "load-img",
    "flow_from_directory": "flow-from-directory",
    "image-data-generator": "flow-from-directory",
    "opencv": "opencv-linear",
    "cv2": "opencv-linear",
    "tfjs": "tfjs-align-corners",
    "tf1": "tfjs-asymmetric",
    "none": "raw",
}
# The presets that say which function reads photos, for `--preprocess`: what it does to the values is not taken from there.
LOADERS = tuple(name for name, preset in PRESETS.items() if preset.loader and name != "image-dataset-unit")


@dataclass(frozen=True)
class Plan:
    """`package`: how the package resizes. `loader`, `original`: the function that training is taken to have read photos with,
    and how that resizes. `is_known`: whether the user says so; it is an assumption otherwise."""

    package: Reading
    loader: str
    original: Reading
    is_known: bool


def plan(
    preset: str,
    *,
    is_given: bool,
    preprocess: str | None = None,
    interpolation: str | None = None,
    antialias: bool | None = None,
    guess: str = "",
) -> Plan:
    """How photos are read, if values are prepared as in `preset`, which the user has named if `is_given`, and photos are
    read as in the preset `preprocess`. `guess`: the preset whose way of reading is assumed by default; that of `preset`
    if empty.

    Raises Failure for what none of the loaders does.
    """
    values = PRESETS[preset]
    if preprocess is not None:
        if values.grown is not None:
            raise Failure(f"--preset {preset} says itself how photos are read: leave out --preprocess")
        named = PRESETS[preprocess]
        original = _changed(named.loader, named.reading, interpolation, antialias)
        package = original
        if is_given and values.loader is not None:
            package = _changed(values.loader, values.reading, interpolation, antialias)
        return Plan(package, named.loader, original, is_known=True)
    if values.loader is None and antialias is False and values.grown is None:
        # Only TensorFlow's functions shrink photos without antialiasing.
        reading = _changed(IMAGE_DATASET, _TENSORFLOW, interpolation or values.interpolation, antialias)
        return Plan(reading, IMAGE_DATASET, reading, is_known=True)
    assumed = PRESETS[guess] if guess and not is_given else values
    loader = assumed.loader or LOAD_IMG
    reading = _changed(loader, assumed.reading, interpolation, antialias)
    says_itself = values.loader is not None or values.grown is not None
    return Plan(reading, loader, reading, is_known=is_given and says_itself)


def _changed(loader: str, reading: Reading, interpolation: str | None, antialias: bool | None) -> Reading:
    """`reading` with the user's options, if `loader` supports them."""
    known = COORDINATED if loader == TFJS else FILTERS[reading.resampler]
    if interpolation is not None and interpolation not in known:
        raise Failure(
            f"--interpolation {interpolation}: {loader} has {', '.join(known)}; say with --preprocess which function read the "
            "photos"
        )
    if antialias is not None and antialias != reading.antialias and loader != IMAGE_DATASET:
        always = "always" if reading.antialias else "never"
        raise Failure(f"--antialias {'on' if antialias else 'off'}: {loader} {always} antialiases; leave it out")
    return replace(
        reading,
        interpolation=interpolation or reading.interpolation,
        antialias=reading.antialias if antialias is None else antialias,
    )


def describe(loader: str, reading: Reading) -> str:
    """The loading of photos, in the form of the options."""
    if loader == IMAGE_DATASET and reading.antialias:
        loader = "tf.image.resize"
    if loader == TFJS:
        return f"TensorFlow's {reading.interpolation} resizing with {reading.coordinates} coordinates"
    text = f"{loader}, {reading.interpolation}"
    if reading.resampler == "tensorflow" and reading.interpolation not in {"nearest", "area"}:
        text += " with antialiasing" if reading.antialias else " without antialiasing"
    return text
