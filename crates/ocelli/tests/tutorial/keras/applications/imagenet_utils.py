"""`keras.applications.imagenet_utils`: the default mode of preparation, and classes by name."""

from pathlib import Path

# The built-in model, whose classes have the names that Keras gives them.
PACKAGE = Path(__file__).resolve().parents[6] / "models" / "efficientnet-lite0"
# Of ImageNet's blue, green and red.
CAFFE_MEAN = (103.939, 116.779, 123.68)


def preprocess_input(x):
    """RGB in 0..255 as float32 [.., 3] to BGR less the means, in the place of `x`: Keras' mode "caffe", its default."""
    x = x[..., ::-1]
    for channel, mean in enumerate(CAFFE_MEAN):
        x[..., channel] -= mean
    return x


def decode_predictions(preds, top=5):
    """For each row the `top` classes as (WordNet id, name, probability), best first; the ids are made up."""
    names = (PACKAGE / "labels.txt").read_text(encoding="utf-8").splitlines()
    best = (pred.argsort()[-top:][::-1] for pred in preds)
    return [[(f"n{i:08}", names[i], pred[i]) for i in order] for pred, order in zip(preds, best, strict=True)]
