"""Creates the Keras files to convert, with random weights, and records Keras' output for an image."""

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import make_tfjs
import numpy as np
import tensorflow
from conversion.labels import imagenet_labels
from conversion.photos import draw_pictures
from keras.applications.imagenet_utils import preprocess_input
from keras.utils import image_dataset_from_directory, img_to_array, load_img
from PIL import Image


@keras.saving.register_keras_serializable("mine")
class Halve(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2


def tutorial(model: keras.Model, picture: Path) -> dict[str, float]:
    """The steps of the tutorial: resize to the model's size, BGR minus means, predict."""
    image = img_to_array(load_img(picture, target_size=(224, 224), interpolation="bicubic"))
    batch = preprocess_input(np.expand_dims(image, axis=0), mode="caffe")
    return {label: float(p) for label, p in zip(imagenet_labels(), model.predict(batch, verbose=0)[0], strict=True)}


def stretched(model: keras.Model, picture: Path) -> dict[str, float]:
    """The preprocessing of the preset image-dataset."""
    image = tensorflow.image.resize(img_to_array(load_img(picture)), (48, 64))
    names = ["cat", "dog", "owl"]
    return {name: float(p) for name, p in zip(names, model.predict(image[None], verbose=0)[0], strict=True)}


def small(*layers, classes: int = 3, activation: str | None = "softmax") -> keras.Sequential:
    end = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes, activation=activation)]
    start = [keras.Input((48, 64, 3)), keras.layers.Rescaling(1 / 255)]
    return keras.Sequential([*start, *layers, keras.layers.Conv2D(8, 3, strides=2, activation="relu"), *end])


def tell_apart(model: keras.Model) -> keras.Model:
    """`model` with logits that differ by whole numbers, as a trained one has them: random weights leave MobileNetV2 with
    hardly more than rounding errors."""
    inner = keras.Model(model.inputs, model.layers[-1].input)
    noise = np.random.default_rng(1).uniform(-1, 1, (4, *model.input_shape[1:])).astype("float32")
    features = inner.predict(noise, verbose=0)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 3 / (features @ kernel).std(), bias])
    return model


def sure(classes: int, activation: str, deviation: float) -> keras.Sequential:
    """A model whose logits are so far apart that its probabilities are exactly 0 and 1."""
    model = small(classes=classes, activation=activation)
    end = model.layers[-1]
    kernel, bias = end.get_weights()
    noise = np.random.default_rng(2).normal(0, deviation, kernel.shape).astype("float32")
    end.set_weights([noise, bias + 12])
    return model


def named_by_people() -> keras.Model:
    """A nested model that ends in a softmax layer, with typical names."""
    inner = sure(10, "linear", 1500)
    inner.add(keras.layers.Softmax(name="Wahrscheinlichkeit für jede"))
    image = keras.Input((48, 64, 3), name="a photo")
    inner.layers[1].name, inner.layers[2].name = "Schicht 1", "layer_Schicht_1"
    return keras.Model(image, keras.Sequential(inner.layers, name="_inner one")(image), name="Transfer Learn")


def guide(folder: Path, picture: Path) -> dict[str, float]:
    """The flow of Keras' guide "Image classification from scratch": `image_dataset_from_directory`, `Rescaling` inside. Writes
    the model, and returns what it answers on a picture."""
    model = small()
    end = model.layers[-1]
    kernel, bias = end.get_weights()
    end.set_weights([kernel * 20, bias])
    model.save(folder / "guide.keras")
    dataset = image_dataset_from_directory(
        picture.parent, labels=None, image_size=(48, 64), batch_size=1, shuffle=False, verbose=False
    )
    position = [Path(path).name for path in dataset.file_paths].index(picture.name)
    probabilities = model.predict(dataset, verbose=0)[position]
    return {f"class {index}": float(p) for index, p in enumerate(probabilities)}


def prepared_inside(size: int, mode: str, *middle) -> keras.Model:
    """A model with `preprocess_input` on its input, as in Keras' transfer learning tutorials."""
    image = keras.Input((size, size, 3))
    x = keras.layers.RandomFlip()(image)
    x = preprocess_input(x, mode=mode)
    for layer in middle:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))


def main(folder: Path) -> None:
    keras.utils.set_random_seed(1)
    (folder / "photos").mkdir()
    pictures = draw_pictures(folder / "photos")
    model = keras.applications.ResNet50(weights=None)
    model.save(folder / "resnet50.keras")
    expected = {"resnet50": tutorial(model, pictures[0]), "guide": guide(folder, pictures[0])}
    (folder / "jpegs").mkdir()
    for picture in pictures:
        with Image.open(picture) as image:
            image.save(folder / "jpegs" / f"{picture.stem}.jpg", quality=80)
    convolution = keras.layers.Conv2D(8, 5, strides=3, activation="relu")
    pool, classes = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")
    keras.Sequential([keras.Input((48, 48, 1)), convolution, pool, classes]).save(folder / "grey.h5")
    cats = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(96, 96, 3), classes=4)
    tell_apart(cats).save(folder / "cats.h5")
    keras.applications.MobileNetV2(
        weights=None, alpha=0.35, input_shape=(None, None, 3), include_top=False, pooling="avg"
    ).save(folder / "features.keras")
    small(classes=2, activation="sigmoid").save(folder / "tags.keras")
    small(activation=None).save(folder / "logits.keras")
    small(classes=1, activation=None).save(folder / "one.keras")
    small(classes=1, activation="sigmoid").save(folder / "probability.keras")
    sure(1, "sigmoid", 400).save(folder / "sure.keras")
    sure(10, "softmax", 1500).save(folder / "sure_of_many.keras")
    named_by_people().save(folder / "Transfer Learn.keras")
    mobile = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(96, 96, 3), include_top=False)
    prepared_inside(96, "tf", mobile).save(folder / "transfer.keras")
    prepared_inside(48, "caffe", keras.layers.Conv2D(4, 3)).save(folder / "means.keras")
    small(Halve()).save(folder / "custom.keras")
    small(keras.layers.Lambda(lambda x: x * 2)).save(folder / "lambda.keras")
    (folder / "broken.keras").write_bytes((folder / "tags.keras").read_bytes()[:1000])
    saved = small()
    saved.export(folder / "saved", verbose=False)
    tensorflow.saved_model.save(small(classes=2, activation=None), folder / "logits")
    writer = tensorflow.Module()
    writer.serve = tensorflow.function(
        lambda image: (tensorflow.io.write_file("ran", "x"), tensorflow.reduce_mean(image, axis=[1, 2]))[1],
        input_signature=[tensorflow.TensorSpec([None, 48, 64, 3], tensorflow.float32)],
    )
    tensorflow.saved_model.save(writer, folder / "writer", signatures={"serving_default": writer.serve})
    (folder / "net.tflite").write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(saved).convert())
    expected["tfjs-layers"] = make_tfjs.copy_layers(folder / "tfjs-layers")
    expected["tfjs-graph"] = make_tfjs.make_graph(folder / "tfjs-graph", pictures[0])
    expected["saved"] = stretched(saved, pictures[0])
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
