#!/usr/bin/env python3
"""How fast Python's ONNX Runtime alone runs a model: random batches, no photos, no server. Prints one line of JSON."""

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime

WARM_UP_RUNS = 3
# An instance that fails before the start would leave the others waiting for it.
START_LIMIT_S = 60


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1, help="ONNX Runtime's threads of one instance")
    parser.add_argument("--instances", type=int, default=1, help="instances, each in a thread of its own")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    if min(arguments.threads, arguments.instances, arguments.batch) < 1 or arguments.seconds <= 0:
        parser.error("--threads, --instances and --batch are at least 1, --seconds is above 0")
    return arguments


def open_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def random_batch(session: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    """A batch for the model's only input, whose first dimension is the batch: uint8 pixels or normal float32."""
    (tensor,) = session.get_inputs()
    shape = (batch, *tensor.shape[1:])
    generator = np.random.default_rng(0)
    if tensor.type == "tensor(uint8)":
        return {tensor.name: generator.integers(0, 256, shape, np.uint8)}
    return {tensor.name: generator.standard_normal(shape, np.float32)}


def count_runs(
    session: onnxruntime.InferenceSession, feeds: dict, start: threading.Barrier, seconds: float
) -> tuple[int, float]:
    """Runs until `seconds` have passed, after every other instance is warm: (runs, seconds they took)."""
    for _ in range(WARM_UP_RUNS):
        session.run(None, feeds)
    start.wait()
    runs, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        session.run(None, feeds)
        runs += 1
    return runs, elapsed


def main() -> None:
    arguments = parse_arguments()
    start = threading.Barrier(arguments.instances, timeout=START_LIMIT_S)
    rates = []

    def work() -> None:
        session = open_session(arguments.model, arguments.threads)
        runs, elapsed = count_runs(session, random_batch(session, arguments.batch), start, arguments.seconds)
        rates.append(runs * arguments.batch / elapsed)

    workers = [threading.Thread(target=work) for _ in range(arguments.instances)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(rates) != arguments.instances:
        raise SystemExit("an instance failed: its error stands above")
    print(json.dumps({"images_per_s": round(sum(rates), 1)}))


if __name__ == "__main__":
    main()
