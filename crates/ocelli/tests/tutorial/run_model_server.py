"""The tutorial's model process: looks into the queue again and again, and answers up to 32 photos at a time."""

import json
import time

import helpers
import numpy as np
import redis
import settings
from keras.applications import ResNet50, imagenet_utils

db = redis.StrictRedis(host=settings.REDIS_HOST, port=settings.REDIS_PORT, db=settings.REDIS_DB)


def classify_process():
    print("* Loading model...", flush=True)
    model = ResNet50(weights="imagenet")
    print("* Model loaded", flush=True)

    while True:
        queue = db.lrange(settings.IMAGE_QUEUE, 0, settings.BATCH_SIZE - 1)
        image_ids = []
        batch = None
        for q in queue:
            q = json.loads(q.decode("utf-8"))
            image = helpers.base64_decode_image(
                q["image"],
                settings.IMAGE_DTYPE,
                (1, settings.IMAGE_HEIGHT, settings.IMAGE_WIDTH, settings.IMAGE_CHANS),
            )
            batch = image if batch is None else np.vstack([batch, image])
            image_ids.append(q["id"])

        if len(image_ids) > 0:
            print(f"* Batch size: {batch.shape}", flush=True)
            preds = model.predict(batch)
            results = imagenet_utils.decode_predictions(preds)
            for image_id, result_set in zip(image_ids, results, strict=False):
                output = []
                for _imagenet_id, label, prob in result_set:
                    output.append({"label": label, "probability": float(prob)})
                db.set(image_id, json.dumps(output))
            db.ltrim(settings.IMAGE_QUEUE, len(image_ids), -1)

        time.sleep(settings.SERVER_SLEEP)


if __name__ == "__main__":
    classify_process()
