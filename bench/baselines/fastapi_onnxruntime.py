#!/usr/bin/env python3
"""The image classifier that people write in Python: FastAPI, uvicorn, ONNX Runtime and Pillow, tuned as well as it goes.

`POST /predict` takes a multipart field `image` and answers as the tutorial's server does. Each request is decoded,
prepared and classified in one thread of a small pool: Pillow, NumPy and ONNX Runtime let go of the interpreter's lock
while they compute, and the event loop stays free to parse requests. README.md says what was tried.
"""

import argparse
import asyncio
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, UploadFile
from fastapi.responses import JSONResponse
from PIL import Image, UnidentifiedImageError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "models" / "efficientnet-lite0"
FLOAT32_MODEL = ROOT / "target" / "models" / "efficientnet-lite0-fp32.onnx"
SIZE = 224
CROP_RATIO = SIZE / (SIZE + 32)
TOP_K = 5


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--model", type=Path, help="ONNX file (default: the float32 model)")
    parser.add_argument("--int8", action="store_true", help="serve the built-in int8 model instead")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--pool", type=int, default=cores, help="photos in work at once (default: one for each core)")
    parser.add_argument("--threads", type=int, default=1, help="ONNX Runtime's threads for one photo")
    arguments = parser.parse_args()
    if arguments.model is None:
        arguments.model = PACKAGE / "model.onnx" if arguments.int8 else FLOAT32_MODEL
    if not arguments.model.is_file():
        parser.error(f"{arguments.model} is missing: make it with tools/make-builtin-model.sh --float32-only")
    return arguments


class Classifier:
    """Photo bytes in, the tutorial's predictions out. Called by several threads at once."""

    def __init__(self, model: Path, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (image,) = self.session.get_inputs()
        self.takes_pixels = image.type == "tensor(uint8)"
        self.labels = (PACKAGE / "labels.txt").read_text(encoding="utf-8").splitlines()

    def __call__(self, photo: bytes) -> list[dict]:
        pixels = prepare(photo)[None]
        batch = pixels if self.takes_pixels else normalise(pixels)
        logits = self.session.run(None, {"image": batch})[0][0]
        scores = np.exp(logits - logits.max())
        best = np.argpartition(-logits, TOP_K)[:TOP_K]
        best = best[np.argsort(-logits[best])]
        probabilities = scores[best] / scores.sum()
        return [{"label": self.labels[i], "probability": float(p)} for i, p in zip(best, probabilities, strict=True)]


def prepare(photo: bytes) -> np.ndarray:
    """The centre square, resized: uint8 RGB [224, 224, 3]. Large JPEGs are decoded at the smallest scale that covers it."""
    image = Image.open(io.BytesIO(photo))
    image.draft("RGB", tuple(int(extent * SIZE / (min(image.size) * CROP_RATIO)) + 1 for extent in image.size))
    side = int(min(image.size) * CROP_RATIO)
    left, top = ((extent - side + 1) // 2 for extent in image.size)
    crop = image.crop((left, top, left + side, top + side))
    if crop.mode != "RGB":
        crop = crop.convert("RGB")
    return np.asarray(crop.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def normalise(pixels: np.ndarray) -> np.ndarray:
    """(x - 127) / 128, channels first: float32 [1, 3, 224, 224]."""
    batch = np.empty((1, 3, SIZE, SIZE), np.float32)
    np.subtract(pixels.transpose(0, 3, 1, 2), np.float32(127), out=batch)
    batch *= np.float32(1 / 128)
    return batch


def build_app(classifier: Classifier, pool: ThreadPoolExecutor) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    async def predict(image: UploadFile) -> JSONResponse:
        photo = await image.read()
        try:
            predictions = await asyncio.get_running_loop().run_in_executor(pool, classifier, photo)
        except (UnidentifiedImageError, OSError) as error:
            return JSONResponse({"success": False, "error": str(error)}, status_code=400)
        return JSONResponse({"success": True, "predictions": predictions})

    return app


def main() -> None:
    arguments = parse_arguments()
    classifier = Classifier(arguments.model, arguments.threads)
    with ThreadPoolExecutor(arguments.pool, thread_name_prefix="classify") as pool:
        app = build_app(classifier, pool)
        uvicorn.run(
            app,
            host=arguments.host,
            port=arguments.port,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_level="warning",
        )


if __name__ == "__main__":
    main()
