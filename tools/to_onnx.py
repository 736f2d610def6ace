#!/usr/bin/env python3
"""Turns a trained image model into an Ocelli package: a folder of model.toml, model.onnx and labels.txt.

    tools/to_onnx.py resnet50.keras                      a Keras file (.keras, .h5)
    tools/to_onnx.py keras:ResNet50                      a name of keras.applications
    tools/to_onnx.py torchvision:resnet50                a name of torchvision, with its weights' own preprocessing
    tools/to_onnx.py timm:resnet50.a1_in1k               a name of timm
    tools/to_onnx.py transformers:microsoft/resnet-50    a name or a folder of transformers
    tools/to_onnx.py resnet18.mar                        a TorchServe archive
    tools/to_onnx.py net.pt --preset unit --size 224     a TorchScript file
    tools/to_onnx.py FOLDER --preset unit                a SavedModel of TensorFlow
    tools/to_onnx.py model.json --preset tfjs            a model of TensorFlow.js, layers or graph

Runs with any Python from 3.11 on: it installs what the source needs into an environment of its own, at the first use.
"""

import sys

# The user's default Python may be too old for Ocelli's tools.
if sys.version_info < (3, 11):  # noqa: UP036
    print("to_onnx: needs Python 3.11 or newer: run it with that, as in python3.11 tools/to_onnx.py", file=sys.stderr)
    sys.exit(2)

from conversion.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__))
