"""Makes the built-in model package, EfficientNet-Lite0: checkpoint -> float32 ONNX -> int8 ONNX.

Run by `tools/export_builtin.py`. PyTorch is not needed: the checkpoint is read and the graph is written directly.
"""
