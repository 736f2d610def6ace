"""Makes the goldens of TensorFlow's, Keras' and OpenCV's own resizing. Run it only to change them; the results are committed.

    make goldens

or, with a virtual environment of one's own:

    pip install -r requirements-libraries.txt && python make_library_goldens.py

`libraries/` holds what the libraries made: PNG files of 16 bits, each sample (value + 256) * 64 of a value in 0 to 255 that
need not be whole, and may lie beyond. `libraries.json` lists what is compared with what. The inputs are lossless.
"""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import cv2
import keras
import numpy as np
import tensorflow as tf
import writers
from PIL import Image, ImageOps

HERE = Path(__file__).parent
INPUTS, EXPECTED = HERE / "inputs", HERE / "libraries"
SHRUNK = "coffee.png"
GROWN = "small.png"
SIZE = (40, 36)
# Photos that EXIF turns, where what is not symmetrical must be so as they are viewed.
TURNED = {f"exif-{value}.png": (20, 17) for value in range(2, 9)}
METHODS = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "area": "area",
    "lanczos3": "lanczos",
    "lanczos5": "lanczos5",
    "gaussian": "gaussian",
    "mitchellcubic": "mitchell",
}
FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
PILLOW_FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
STRETCH = {"policy": "stretch"}
cases = []


def case(name, source, values, size=SIZE, resize=STRETCH, **spec):
    """`values` are what a library made of `source`, in the order of channels that `spec` names."""
    values = np.asarray(values, "f4").reshape(size[1], size[0], -1)
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    samples = np.clip(np.round((values + 256) * 64), 0, 65535).astype("u2")
    name = f"{name}-{source.replace('.', '-')}-{size[0]}x{size[1]}"
    (EXPECTED / f"{name}.png").write_bytes(writers.png(samples, 16, 2))
    spec = {"width": size[0], "height": size[1], "resize": resize, **spec}
    cases.append({"name": name, "input": source, "spec": spec})


def pixels(source):
    return np.asarray(ImageOps.exif_transpose(Image.open(INPUTS / source)).convert("RGB"))


def tensorflow():
    for source in (SHRUNK, GROWN):
        for method, interpolation in METHODS.items():
            for antialias in (False, True):
                values = tf.image.resize(pixels(source), SIZE[::-1], method=method, antialias=antialias)
                spec = {"resampler": "tensorflow", "interpolation": interpolation, "antialias": antialias}
                case(f"tensorflow-{method}-{'antialias' if antialias else 'plain'}", source, values, **spec)
    sizes = {SHRUNK: SIZE, GROWN: SIZE, **TURNED}
    for source, size in sizes.items():
        for coordinates in ("align-corners", "asymmetric"):
            for interpolation in ("bilinear", "nearest"):
                values = legacy(pixels(source), size, interpolation, coordinates)
                spec = {"resampler": "tensorflow", "interpolation": interpolation, "antialias": False}
                case(f"tensorflow-{coordinates}-{interpolation}", source, values, size, coordinates=coordinates, **spec)
    for coordinates in ("align-corners", "asymmetric"):
        # A centre crop: the pixels are counted in the resized photo.
        resized = legacy(pixels(SHRUNK), (72, 48), "bilinear", coordinates)
        spec = {"resampler": "tensorflow", "interpolation": "bilinear", "antialias": False}
        resize = {"policy": "stretch", "size": [72, 48]}
        case(
            f"tensorflow-{coordinates}-cut",
            SHRUNK,
            resized[6:42, 16:56],
            resize=resize,
            coordinates=coordinates,
            **spec,
        )


def legacy(image, size, interpolation, coordinates):
    """What TensorFlow.js and TensorFlow 1 do: the operations that they share with TensorFlow 2, with other coordinates."""
    operations = {
        "bilinear": tf.compat.v1.image.resize_bilinear,
        "nearest": tf.compat.v1.image.resize_nearest_neighbor,
    }
    return operations[interpolation](image[None], size[::-1], align_corners=coordinates == "align-corners")[0].numpy()


def opencv():
    for interpolation, flag in FLAGS.items():
        spec = {"resampler": "opencv", "interpolation": interpolation, "antialias": False, "channels": "bgr"}
        for source in (SHRUNK, GROWN):
            values = cv2.resize(cv2.imread(str(INPUTS / source)), SIZE, interpolation=flag)
            case(f"opencv-{interpolation}", source, values, **spec)
        # One axis shrinks and the other one grows, or both shrink by a whole number.
        for source, size in ((SHRUNK, (40, 120)), (GROWN, (12, 9)), (GROWN, (24, 18))):
            values = cv2.resize(cv2.imread(str(INPUTS / source)), size, interpolation=flag)
            case(f"opencv-{interpolation}", source, values, size, **spec)
        for source, size in TURNED.items():
            values = cv2.resize(pixels(source)[:, :, ::-1], size, interpolation=flag)
            case(f"opencv-{interpolation}", source, values, size, **spec)
        resized = cv2.resize(cv2.imread(str(INPUTS / SHRUNK)), (72, 48), interpolation=flag)
        resize = {"policy": "stretch", "size": [72, 48]}
        case(f"opencv-{interpolation}-cut", SHRUNK, resized[6:42, 16:56], resize=resize, **spec)
    grey = cv2.cvtColor(cv2.imread(str(INPUTS / SHRUNK)), cv2.COLOR_BGR2GRAY)
    spec = {"resampler": "opencv", "interpolation": "bicubic", "antialias": False, "channels": "gray"}
    case("opencv-grey", SHRUNK, cv2.resize(grey, SIZE, interpolation=cv2.INTER_CUBIC), **spec)


def padded():
    """Photos that lie elsewhere than in the middle of what is around them, and grey in three channels, with OpenCV."""
    spec = {"resampler": "opencv", "interpolation": "bilinear", "antialias": False, "channels": "bgr"}
    for source in (SHRUNK, "astronaut.png"):
        image = cv2.imread(str(INPUTS / source))
        height, width = image.shape[:2]
        ratio = max(width / SIZE[0], height / SIZE[1])
        inner = [round(side / ratio) for side in (width, height)]
        resized = cv2.resize(image, inner)
        lack = [want - have for want, have in zip(SIZE, inner, strict=True)]
        for align in ("center", "left", "top", "top-left"):
            left = 0 if "left" in align else lack[0] // 2
            top = 0 if "top" in align else lack[1] // 2
            values = cv2.copyMakeBorder(
                resized, top, lack[1] - top, left, lack[0] - left, cv2.BORDER_CONSTANT, value=(250, 20, 114)
            )
            resize = {"policy": "letterbox", "fill": [114, 20, 250], "align": align}
            case(f"padded-{align}", source, values, resize=resize, **spec)
        for size in ((96, 24), (16, 24)):
            # What PaddleOCR's values of -1 to 1 were made of; the rest is 0, which is between 127 and 128.
            values = resize_norm_img(image, [3, size[1], size[0]]).transpose(1, 2, 0) * 127.5 + 127.5
            resize = {"policy": "fit-height", "fill": [128, 128, 128]}
            case("paddleocr", source, values, size, resize=resize, **spec)
    grey = cv2.cvtColor(
        cv2.resize(cv2.imread(str(INPUTS / "grey.png"), cv2.IMREAD_GRAYSCALE), SIZE), cv2.COLOR_GRAY2BGR
    )
    case("padded-grey", "grey.png", grey, **{**spec, "channels": "gray3"})
    loaded = keras.utils.load_img(
        INPUTS / SHRUNK, target_size=SIZE[::-1], color_mode="grayscale", interpolation="lanczos"
    )
    case(
        "load-img-grey-in-three",
        SHRUNK,
        np.repeat(np.asarray(loaded)[:, :, None], 3, axis=2),
        channels="gray3",
        interpolation="lanczos",
    )


def resize_norm_img(image, shape):
    """PaddleOCR's `tools/infer/predict_cls.py`, whose text directions are of 48 x 192."""
    channels, height, width = shape
    ratio = image.shape[1] / float(image.shape[0])
    resized_width = min(width, math.ceil(height * ratio))
    resized = cv2.resize(image, (resized_width, height)).astype("float32")
    resized = (resized.transpose((2, 0, 1)) / 255 - 0.5) / 0.5
    result = np.zeros((channels, height, width), dtype="float32")
    result[:, :, :resized_width] = resized
    return result


def image_dataset(source, **options):
    """The one image of a folder, as `image_dataset_from_directory` gives it."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(INPUTS / source, folder)
        dataset = keras.utils.image_dataset_from_directory(
            folder, labels=None, image_size=SIZE[::-1], batch_size=1, shuffle=False, verbose=False, **options
        )
        return next(iter(dataset))[0].numpy()


def keras_datasets():
    plain = {"resampler": "tensorflow", "interpolation": "bilinear", "antialias": False}
    for source in (SHRUNK, GROWN, "astronaut.png"):
        case("image-dataset", source, image_dataset(source), **plain)
        cropped = image_dataset(source, crop_to_aspect_ratio=True)
        case("image-dataset-crop", source, cropped, resize={"policy": "crop-aspect"}, **plain)
        padded = image_dataset(source, pad_to_aspect_ratio=True)
        case("image-dataset-pad", source, padded, resize={"policy": "letterbox", "rounding": "down"}, **plain)
    # A grey file: TensorFlow's own conversion of a coloured PNG rounds down.
    case("image-dataset-grey", "grey.png", image_dataset("grey.png", color_mode="grayscale"), channels="gray", **plain)
    spec = {**plain, "interpolation": "lanczos"}
    case("image-dataset-lanczos3", SHRUNK, image_dataset(SHRUNK, interpolation="lanczos3"), **spec)


def generated(source, **options):
    """The one image of a folder of a folder, as `flow_from_directory` gives it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "class").mkdir()
        shutil.copy(INPUTS / source, Path(folder) / "class")
        generator = tf.keras.preprocessing.image.ImageDataGenerator()
        flow = generator.flow_from_directory(folder, target_size=SIZE[::-1], class_mode=None, shuffle=False, **options)
        return next(flow)[0]


def keras_files():
    for source in (SHRUNK, GROWN):
        case("flow-from-directory", source, generated(source), interpolation="nearest")
        for interpolation in PILLOW_FILTERS:
            loaded = keras.utils.load_img(INPUTS / source, target_size=SIZE[::-1], interpolation=interpolation)
            case(f"load-img-{interpolation}", source, loaded, interpolation=interpolation)
            grey = generated(source, color_mode="grayscale", interpolation=interpolation)
            case(f"flow-grey-{interpolation}", source, grey, channels="gray", interpolation=interpolation)
            cut = keras.utils.load_img(
                INPUTS / source, target_size=SIZE[::-1], interpolation=interpolation, keep_aspect_ratio=True
            )
            resize = {"policy": "crop-aspect"}
            case(f"load-img-crop-{interpolation}", source, cut, resize=resize, interpolation=interpolation)


def main():
    shutil.rmtree(EXPECTED, ignore_errors=True)
    EXPECTED.mkdir()
    tensorflow()
    opencv()
    padded()
    keras_datasets()
    keras_files()
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "libraries.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
