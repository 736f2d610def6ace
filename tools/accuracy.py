#!/usr/bin/env python3
"""Compares a running server's answers with the float32 model's in Python, on photos whose names state their class.

Exits with 1 if the server is right on fewer photos than the float32 model by more than one in 100. Run by `tools/accuracy.sh`.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from builtin_model import evaluate
from builtin_model.photos import list_photos

MODEL = "efficientnet-lite0"
TOP_K = 5
TIMEOUT_S = 60
# One photo in 100: rounding of 8-bit weights may decide between two nearly equal classes.
ALLOWED_LOSS = 0.01
# The server is local: proxies from the environment must not be used.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="where the server listens, as in http://127.0.0.1:5000")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos named by their WordNet id")
    parser.add_argument("--classes", type=Path, required=True, help="table of index, WordNet id and name")
    parser.add_argument("--float32", type=Path, required=True, help="the float32 model")
    return parser.parse_args()


def ask_server(url: str, photo: Path) -> list[int]:
    """The `TOP_K` likeliest class indices of `photo` according to the server, best first."""
    request = urllib.request.Request(
        f"{url.rstrip('/')}/v1/models/{MODEL}/predict?top_k={TOP_K}",
        data=photo.read_bytes(),
        headers={"Content-Type": "image/jpeg"},
    )
    try:
        with OPENER.open(request, timeout=TIMEOUT_S) as response:
            result = json.load(response)["results"][0]
    except urllib.error.HTTPError as error:
        sys.exit(f"{photo.name}: the server answered {error.code}: {error.read().decode(errors='replace')}")
    except urllib.error.URLError as error:
        sys.exit(f"{url} cannot be reached ({error.reason}): start the server, or correct --url")
    if "predictions" not in result:
        sys.exit(f"{photo.name}: the server answered {result}")
    return [prediction["index"] for prediction in result["predictions"]]


def main() -> int:
    arguments = parse_arguments()
    photos = list_photos(arguments.photos)
    index_of, _ = evaluate.read_classes(arguments.classes)
    truth = evaluate.true_classes(photos, index_of)
    server = np.array([ask_server(arguments.url, photo) for photo in photos])
    float32 = evaluate.rank_classes(arguments.float32.read_bytes(), photos)

    scores = {"Ocelli over HTTP": evaluate.score(server, truth), "float32, Pillow": evaluate.score(float32, truth)}
    print(f"{len(photos)} photos        top-1   top-5")
    for name, accuracy in scores.items():
        print(f"{name:<18}{accuracy.top1:>5} {accuracy.top5:>7}")
    print(f"first class agrees on {int((server[:, 0] == float32[:, 0]).sum())} of {len(photos)} photos")

    server_score, float32_score = scores.values()
    loss = (float32_score.top1 - server_score.top1) / len(photos)
    if loss > ALLOWED_LOSS:
        print(
            f"the server loses {loss:.1%} of top-1 to the float32 model; {ALLOWED_LOSS:.0%} is allowed", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
