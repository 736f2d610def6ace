"""The tutorial's web process: prepares a photo, queues it, and asks Redis for the answer until it is there."""

import io
import json
import os
import time
import uuid

import flask
import helpers
import numpy as np
import redis
import settings
from keras.applications import imagenet_utils
from keras.preprocessing.image import img_to_array
from PIL import Image

app = flask.Flask(__name__)
db = redis.StrictRedis(host=settings.REDIS_HOST, port=settings.REDIS_PORT, db=settings.REDIS_DB)


def prepare_image(image, target):
    if image.mode != "RGB":
        image = image.convert("RGB")
    image = image.resize(target)
    image = img_to_array(image)
    image = np.expand_dims(image, axis=0)
    return imagenet_utils.preprocess_input(image)


@app.route("/predict", methods=["POST"])
def predict():
    data = {"success": False}
    if flask.request.method == "POST" and flask.request.files.get("image"):
        image = flask.request.files["image"].read()
        image = Image.open(io.BytesIO(image))
        image = prepare_image(image, (settings.IMAGE_WIDTH, settings.IMAGE_HEIGHT))
        # Base64 takes no array whose channels run backwards in memory, as Keras leaves them.
        image = image.copy(order="C")
        k = str(uuid.uuid4())
        d = {"id": k, "image": helpers.base64_encode_image(image)}
        db.rpush(settings.IMAGE_QUEUE, json.dumps(d))
        while True:
            output = db.get(k)
            if output is not None:
                data["predictions"] = json.loads(output.decode("utf-8"))
                db.delete(k)
                break
            time.sleep(settings.CLIENT_SLEEP)
        data["success"] = True
    return flask.jsonify(data)


if __name__ == "__main__":
    print("* Starting web service...")
    app.run(port=int(os.environ.get("TUTORIAL_PORT", "5000")))
