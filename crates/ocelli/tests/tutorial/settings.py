"""The constants of the tutorial."""

import os

REDIS_HOST = "localhost"
REDIS_PORT = int(os.environ.get("TUTORIAL_REDIS_PORT", "6379"))
REDIS_DB = 0

IMAGE_WIDTH = 224
IMAGE_HEIGHT = 224
IMAGE_CHANS = 3
IMAGE_DTYPE = "float32"

IMAGE_QUEUE = "image_queue"
BATCH_SIZE = 32
SERVER_SLEEP = 0.25
CLIENT_SLEEP = 0.25
