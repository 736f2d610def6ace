"""Prints the job that the web process would queue for the photo on standard input, under the id "golden"."""

import io
import json
import sys

import helpers
import settings
from PIL import Image
from run_web_server import prepare_image

photo = Image.open(io.BytesIO(sys.stdin.buffer.read()))
image = prepare_image(photo, (settings.IMAGE_WIDTH, settings.IMAGE_HEIGHT)).copy(order="C")
print(json.dumps({"id": "golden", "image": helpers.base64_encode_image(image)}))
