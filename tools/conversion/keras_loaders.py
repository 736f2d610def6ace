"""Runs the functions with which Keras training code loads photos, to compare a package with them."""

import contextlib
import importlib.util
import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow
from keras.applications.imagenet_utils import preprocess_input
from PIL import Image

from . import photos
from .failure import Failure
from .manifest import Input
from .presets import FLOW, IMAGE_DATASET, OPENCV, TFJS, Reading, describe

# The modes of `preprocess_input`.
MODES = {"keras-caffe": "caffe", "keras-tf": "tf", "keras-torch": "torch"}
# TensorFlow's names of filters that differ from model.toml.
METHODS = {"lanczos": "lanczos3", "mitchell": "mitchellcubic"}
FLAGS = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "area": "INTER_AREA",
    "lanczos": "INTER_LANCZOS4",
}
# The formats that every loader opens, by file extension.
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp"}
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Pipeline:
    """`loader` and `reading` make pixels of a photo for the input `spec`, whose values are prepared as in `preset`."""

    spec: Input
    preset: str
    loader: str
    reading: Reading

    @property
    def name(self) -> str:
        if self.spec.resize["policy"] != "stretch":
            return f"Pillow's resize and centre crop, {self.reading.interpolation}"
        return describe(self.loader, self.reading)

    @property
    def missing(self) -> str | None:
        """The package that the loader needs and that is not installed."""
        needs_opencv = self.loader == OPENCV and self.spec.resize["policy"] == "stretch"
        return "opencv-python-headless" if needs_opencv and importlib.util.find_spec("cv2") is None else None

    @property
    def has_own_decoder(self) -> bool:
        """Whether the loader makes other pixels of a file than Pillow does: TensorFlow decodes JPEG with INTEGER_FAST, and
        rounds down where it makes grey of colours."""
        return self.loader == IMAGE_DATASET and self.spec.resize["policy"] == "stretch"

    @property
    def is_bgr(self) -> bool:
        """Whether photos come blue first to what is done to their values: `preprocess_input` turns them round itself."""
        return self.spec.normalisation.channels == "bgr" and self.preset not in MODES

    def prepare(self, photo: Path) -> np.ndarray:
        """The tensor of a photo decoded by Pillow."""
        return self._tensor(photo, is_lossless=self.has_own_decoder)

    def decode_and_prepare(self, photo: Path) -> np.ndarray:
        """The tensor of a photo decoded by the loader."""
        return self._tensor(photo, is_lossless=False)

    def _tensor(self, photo: Path, *, is_lossless: bool) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="to_onnx-") as folder:
            # `flow_from_directory` needs one folder per class.
            place = Path(folder, "class")
            place.mkdir()
            file = self._put(photo, place, is_lossless=is_lossless)
            try:
                pixels = self._pixels(file)
            except (OSError, tensorflow.errors.InvalidArgumentError) as error:
                text = " ".join(str(error).split())[:300]
                raise Failure(f"{photo} cannot be read by {self.loader} ({text}): take it out of the folder") from None
        tensor = self._values(np.array(pixels, np.float32))
        return tensor if self.spec.layout == "nhwc" else tensor.transpose(2, 0, 1)

    @property
    def _is_gray(self) -> bool:
        return self.spec.normalisation.channels == "gray"

    def _put(self, photo: Path, folder: Path, *, is_lossless: bool) -> Path:
        """Copies the photo into `folder`, as a PNG if it must be rotated or no loader opens its format."""
        with contextlib.suppress(OSError, Image.DecompressionBombError), Image.open(photo) as image:
            suffix = SUFFIXES.get(image.format)
            is_upright = image.getexif().get(ORIENTATION, 1) == 1
            if suffix and is_upright and not is_lossless and self.spec.resize["policy"] == "stretch":
                return Path(shutil.copyfile(photo, folder / f"photo{suffix}"))
        image = photos.open_upright(photo)
        if self._is_gray:
            image = image.convert("L")
        if self.spec.resize["policy"] != "stretch":
            image = photos.centre(image, self.spec)
        path = folder / "photo.png"
        image.save(path)
        return path

    def _pixels(self, file: Path) -> np.ndarray:
        """[height, width, channels] of 0 to 255."""
        if self.spec.resize["policy"] != "stretch":
            return self._load_img(file)
        if self.loader == IMAGE_DATASET:
            return self._tensorflow(file)
        if self.loader == FLOW:
            return self._flow(file)
        if self.loader == TFJS:
            return self._coordinates(file)
        if self.loader == OPENCV and self.missing is None:
            return self._opencv(file)
        return self._load_img(file)

    @property
    def _size(self) -> tuple[int, int]:
        return self.spec.height, self.spec.width

    @property
    def _mode(self) -> str:
        return "grayscale" if self._is_gray else "rgb"

    def _load_img(self, file: Path) -> np.ndarray:
        # Without OpenCV, Pillow may not have the filter; then these pixels are not compared.
        interpolation = "bilinear" if self.missing else self.reading.interpolation
        image = keras.utils.load_img(file, color_mode=self._mode, target_size=self._size, interpolation=interpolation)
        return keras.utils.img_to_array(image, data_format="channels_last")

    def _flow(self, file: Path) -> np.ndarray:
        generator = tensorflow.keras.preprocessing.image.ImageDataGenerator(data_format="channels_last")
        # It prints the number of images.
        with contextlib.redirect_stdout(io.StringIO()):
            flow = generator.flow_from_directory(
                file.parent.parent,
                target_size=self._size,
                color_mode=self._mode,
                class_mode=None,
                batch_size=1,
                shuffle=False,
                interpolation=self.reading.interpolation,
            )
        return next(flow)[0]

    def _tensorflow(self, file: Path) -> np.ndarray:
        method = METHODS.get(self.reading.interpolation, self.reading.interpolation)
        if self.reading.antialias:
            content = tensorflow.io.read_file(str(file))
            channels = 1 if self._is_gray else 3
            image = tensorflow.io.decode_image(content, channels=channels, expand_animations=False)
            return tensorflow.image.resize(image, self._size, method=method, antialias=True).numpy()
        dataset = keras.utils.image_dataset_from_directory(
            file.parent,
            labels=None,
            color_mode=self._mode,
            batch_size=1,
            image_size=self._size,
            shuffle=False,
            interpolation=method,
            data_format="channels_last",
            verbose=False,
        )
        return next(iter(dataset))[0].numpy()

    def _coordinates(self, file: Path) -> np.ndarray:
        """The operation that TensorFlow.js and TensorFlow share, on pixels decoded as in browsers."""
        image = keras.utils.img_to_array(keras.utils.load_img(file, color_mode=self._mode), data_format="channels_last")
        operations = {
            "bilinear": tensorflow.compat.v1.image.resize_bilinear,
            "nearest": tensorflow.compat.v1.image.resize_nearest_neighbor,
        }
        align = self.reading.coordinates == "align-corners"
        return operations[self.reading.interpolation](image[None], self._size, align_corners=align)[0].numpy()

    def _opencv(self, file: Path) -> np.ndarray:
        import cv2

        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE if self._is_gray else cv2.IMREAD_COLOR)
        if image is None:
            raise OSError("cv2.imread returns None")
        flag = getattr(cv2, FLAGS[self.reading.interpolation])
        image = cv2.resize(image, (self.spec.width, self.spec.height), interpolation=flag)
        if self._is_gray:
            return image[:, :, None]
        return image if self.is_bgr else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def _values(self, pixels: np.ndarray) -> np.ndarray:
        """`preprocess_input`, as Keras users call it, or the arithmetic of the preset if there is no such mode."""
        rule = self.spec.normalisation
        if self._is_gray:
            # `preprocess_input` supports only three channels.
            return (pixels * rule.scale - rule.mean[0]) / rule.std[0]
        if self.preset in MODES:
            return preprocess_input(pixels, data_format="channels_last", mode=MODES[self.preset])
        return (pixels * rule.scale - np.array(rule.mean)) / np.array(rule.std)
