#!/usr/bin/env python3
"""Measures many models in one process, and the effect of loading a model on the others.

Each round measures both sides of a comparison in turn, and the result is the median of the rounds: the speed of a shared
machine varies from minute to minute, and both sides vary with it.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy
import onnx
from measure import ROOT, free_port, load, machine, ocelli
from onnx import TensorProto, helper, numpy_helper

BUILT_IN = ROOT / "models" / "efficientnet-lite0"
MODELS = 10
# Enough to keep all engines busy, and the same as in `run.py`.
CONNECTIONS = 32
# Maximum share of the machine that other programs may use in a calm round.
CALM = 0.1
# Load while a model is being loaded, as a share of the maximum throughput.
STEADY = 0.8
# Connections of the closed loop while a model is being loaded: enough to keep two cores busy at times.
FEW = 2
LARGE = "large"
LARGE_TOML = f"""schema = 1
name = "{LARGE}"
version = "1"
task = "classification"
[input]
name = "image"
dtype = "float32"
width = 224
height = 224
layout = "nchw"
channels = "rgb"
resize = {{ policy = "stretch" }}
interpolation = "bilinear"
[[output]]
name = "scores"
activation = "softmax"
labels = "labels.txt"
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    return parser.parse_args()


def put_built_in(shelf: Path, name: str) -> None:
    """Copies the built-in model under another name."""
    folder = shelf / name
    folder.mkdir(parents=True)
    for file in ("model.onnx", "labels.txt"):
        (folder / file).write_bytes((BUILT_IN / file).read_bytes())
    toml = (BUILT_IN / "model.toml").read_text()
    (folder / "model.toml").write_text(toml.replace('name = "efficientnet-lite0"', f'name = "{name}"', 1))


def put_large(shelf: Path) -> float:
    """Creates a model with 100 MB of weights and little computation; returns its size in megabytes."""
    random = numpy.random.default_rng(0)
    weights = {
        "kernel": random.standard_normal((64, 3, 7, 7)),
        "hidden": random.standard_normal((64 * 7 * 7, 8192)) / 56,
        "last": random.standard_normal((8192, 10)) / 90,
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["patches"], strides=[32, 32]),
        helper.make_node("Flatten", ["patches"], ["flat"]),
        helper.make_node("MatMul", ["flat", "hidden"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["positive"]),
        helper.make_node("MatMul", ["positive", "last"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        LARGE,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(values.astype(numpy.float32), name) for name, values in weights.items()],
    )
    folder = shelf / LARGE
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "model.toml").write_text(LARGE_TOML)
    (folder / "labels.txt").write_text("".join(f"class {number}\n" for number in range(10)))
    return (folder / "model.onnx").stat().st_size / 1e6


def one_of_many(alone, many, photos: list, seconds: float) -> dict:
    """Images per second of a single model, and of one among many loaded models."""
    order = [("alone", alone), ("many", many), ("many", many), ("alone", alone)]
    runs = [(name, load(server, photos, seconds, "-c", str(CONNECTIONS))) for name, server in order]
    rates = {
        side: statistics.mean(run["images_per_s"] for name, run in runs if name == side) for side in ("alone", "many")
    }
    return {**rates, "others": max(run["others_share"] for _, run in runs)}


def calm(rounds: list) -> list:
    """The rounds in which other programs used little of the machine, or all rounds if there are none."""
    quiet = [round_ for round_ in rounds if round_["others"] <= CALM]
    print(f"{len(quiet)} of {len(rounds)} rounds were calm{'' if quiet else ': the following results are unreliable'}")
    return quiet or rounds


class Loads:
    """Loads and unloads the large model repeatedly while the context is active."""

    def __init__(self, admin: str) -> None:
        self.admin = admin
        self.seconds = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> "Loads":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        self.thread.join()

    def run(self) -> None:
        while not self.stop.is_set():
            began = time.perf_counter()
            self.post("load")
            self.seconds.append(time.perf_counter() - began)
            self.post("unload")
            self.stop.wait(0.5)

    def post(self, what: str) -> None:
        url = f"{self.admin}/v2/repository/models/{LARGE}/{what}"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, method="POST", headers=headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            response.read()


def batch_ms(server, name: str) -> float:
    """Expected time of the model's largest batch."""
    with urllib.request.urlopen(f"{server.url}/v1/models/{name}") as response:
        engine = json.loads(response.read())["engine"]
    costs = {cost["batch"]: cost["ms"] for cost in engine["batch_cost_ms"]}
    return costs[max(size for size in costs if size <= engine["max_batch"])]


def beside_a_load(server, admin: str, photos: list, seconds: float, options: list[str]) -> dict:
    """p99 in milliseconds under a steady load, without and with a large model being loaded beside it."""
    quiet = load(server, photos, seconds, *options)
    with Loads(admin) as loads:
        busy = load(server, photos, seconds, *options)
    return {
        "quiet": quiet["latency_ms"]["p99"],
        "busy": busy["latency_ms"]["p99"],
        "p50": (quiet["latency_ms"]["p50"], busy["latency_ms"]["p50"]),
        "failed": quiet["failed"] + busy["failed"],
        "others": max(quiet["others_share"], busy["others_share"]),
        "loads": loads.seconds,
    }


def verdict(label: str, values: list, want: str, good: bool) -> None:
    spread = " ".join(f"{value:.2f}" for value in values)
    print(f"{'ok  ' if good else 'MISS'} {label}: {statistics.median(values):.2f} (rounds: {spread}; wanted {want})")


def compare_many(arguments: argparse.Namespace, folder: Path) -> None:
    few, shelf = folder / "few", folder / "many"
    put_built_in(few, "model-0")
    for number in range(MODELS):
        put_built_in(shelf, f"model-{number}")
    quiet = ["--log-level", "warn", "--default-model", "model-0", "--model-dir"]
    with ExitStack() as stack:
        alone = stack.enter_context(ocelli(*quiet, str(few)))
        many = stack.enter_context(ocelli(*quiet, str(shelf)))
        print(f"memory: {alone.resident_mb():.0f} MB with one model, {many.resident_mb():.0f} MB with {MODELS}")
        rounds = [one_of_many(alone, many, arguments.photos, arguments.seconds) for _ in range(arguments.rounds)]
    rounds = calm(rounds)
    for name in ("alone", "many"):
        print(f"{name}: {statistics.median(round_[name] for round_ in rounds):.1f} images/s")
    ratios = [round_["many"] / round_["alone"] for round_ in rounds]
    label = f"one of {MODELS} models in use, of that model alone"
    verdict(label, ratios, ">= 0.95", statistics.median(ratios) >= 0.95)


def compare_loading(arguments: argparse.Namespace, folder: Path) -> None:
    shelf = folder / "shelf"
    put_built_in(shelf, "model-0")
    megabytes = put_large(shelf)
    port = free_port()
    explicit = ["--model-control", "explicit", "--load-model", "model-0", "--admin-listen", f"127.0.0.1:{port}"]
    with ocelli("--log-level", "warn", "--default-model", "model-0", "--model-dir", str(shelf), *explicit) as server:
        admin = f"http://127.0.0.1:{port}"
        rows = {"open loop": [], "closed loop": []}
        batches = []
        for _ in range(arguments.rounds):
            full = load(server, arguments.photos, 2.0, "-c", str(CONNECTIONS))["images_per_s"]
            loops = {"open loop": ["-r", f"{full * STEADY:.1f}"], "closed loop": ["-c", str(FEW)]}
            for name, options in loops.items():
                rows[name].append(beside_a_load(server, admin, arguments.photos, arguments.seconds, options))
            batches.append(batch_ms(server, "model-0"))
        batch = statistics.median(batches)
    loads = [seconds for row in rows.values() for round_ in row for seconds in round_["loads"]]
    print(f"a model of {megabytes:.0f} MB, loaded {len(loads)} times, {statistics.median(loads):.2f} s each")
    for name, rounds in rows.items():
        row = calm(rounds)
        for side in ("quiet", "busy"):
            values = " ".join(f"{round_[side]:.2f}" for round_ in row)
            print(f"{name}, p99 in ms, {'while it is loaded' if side == 'busy' else 'otherwise'}: {values}")
        grown = [round_["busy"] - round_["quiet"] for round_ in row]
        label = f"{name}: growth of p99 while a model is loaded, in ms"
        verdict(label, grown, f"< {batch:.2f}, a batch", statistics.median(grown) < batch)
        failed = sum(round_["failed"] for round_ in row)
        if failed:
            print(f"MISS {name}: {failed} requests failed")


def main() -> None:
    arguments = parse_arguments()
    print(f"machine: {machine()}, photos: {' '.join(map(str, arguments.photos))}")
    with tempfile.TemporaryDirectory() as folder:
        compare_many(arguments, Path(folder))
        compare_loading(arguments, Path(folder))


if __name__ == "__main__":
    main()
