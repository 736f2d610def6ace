"""A model that was exported as a graph, and the `Original` that it makes with the pipeline of its photos."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from . import graph, labels
from .manifest import Input
from .original import Original, Prepare


class Pipeline(Protocol):
    """How the photos of `spec` are read: a `Pipeline` of keras_loaders or of from_torchscript."""

    spec: Input
    name: str
    missing: str | None
    prepare: Prepare


@dataclass(frozen=True)
class Exported:
    """`scores`: what `proto` computes, in the model's own library."""

    proto: onnx.ModelProto
    classes: int
    scores: Callable[[np.ndarray], np.ndarray]

    def write(self, path: Path, output: str) -> None:
        graph.tidy(self.proto, output, self.classes)
        graph.write(self.proto, path)

    def original(
        self,
        pipeline: Pipeline,
        ending: tuple[str, str, list[str]],
        arguments: argparse.Namespace,
        *,
        name: str,
        title: str,
        origin: str,
        **reading,
    ) -> Original:
        """`ending`: task, activation and notes. `name`: what the user calls the model. `reading`: what else `Original` says of
        the pipeline."""
        task, activation, notes = ending
        names, said = labels.choose_or_imagenet(task, arguments.labels, self.classes, name)
        return Original(
            title=title,
            origin=origin,
            input=pipeline.spec,
            task=task,
            activation=activation,
            pipeline=pipeline.name,
            prepare=pipeline.prepare,
            scores=self.scores,
            export=self.write,
            labels=names,
            notes=notes + said,
            lacks=pipeline.missing,
            **reading,
        )
