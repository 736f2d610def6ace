"""Tests of what `builtin_model` computes itself. Run with: .venv-model/bin/python -m unittest discover tools"""

import collections
import hashlib
import pickle
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from builtin_model import layout
from builtin_model.checkpoint import MAGIC_NUMBER, PROTOCOL_VERSION, read_checkpoint
from builtin_model.graph import same_padding
from builtin_model.photos import crop_and_resize
from builtin_model.rounding import bias_correction, channel_scales, round_to_grid
from onnx import TensorProto, helper, numpy_helper
from PIL import Image


class RoundingTest(unittest.TestCase):
    def setUp(self):
        self.random = np.random.default_rng(1)

    def test_kernels_keep_their_sum_to_half_a_step(self):
        weight = self.random.normal(size=(64, 3, 5, 5))
        steps = channel_scales(weight)[:, None]
        error = (round_to_grid(weight) - weight).sum(axis=(2, 3))
        self.assertLessEqual(np.abs(error / steps).max(), 0.5 + 1e-9)

    def test_weights_stay_within_a_step_and_on_the_grid(self):
        for shape in [(32, 1, 3, 3), (32, 16, 1, 1), (10, 32)]:
            weight = self.random.normal(size=shape)
            scales = channel_scales(weight).reshape(-1, *[1] * (len(shape) - 1))
            rounded = round_to_grid(weight)
            self.assertLess(np.abs((rounded - weight) / scales).max(), 1.0)
            np.testing.assert_allclose(rounded / scales, np.round(rounded / scales), atol=1e-9)
            np.testing.assert_allclose(channel_scales(rounded), channel_scales(weight), rtol=1e-12)

    def test_a_dead_channel_stays_dead(self):
        self.assertFalse(round_to_grid(np.zeros((2, 1, 3, 3))).any())

    def test_the_corrected_bias_removes_the_mean_error(self):
        weight, means = self.random.normal(size=(8, 16, 1, 1)), self.random.uniform(0, 6, 16)
        exact = weight.reshape(8, 16) @ means
        rounded = round_to_grid(weight).reshape(8, 16) @ means
        np.testing.assert_allclose(rounded + bias_correction(weight, means), exact)


class GeometryTest(unittest.TestCase):
    def test_same_padding_puts_the_odd_pixel_after(self):
        self.assertEqual(same_padding(224, 3, 2), (0, 1))
        self.assertEqual(same_padding(56, 5, 2), (1, 2))
        self.assertEqual(same_padding(14, 5, 1), (2, 2))
        self.assertEqual(same_padding(7, 1, 1), (0, 0))

    def test_the_crop_is_floored_and_its_odd_pixel_is_before(self):
        # A 500x375 photo: side floor(328.125), left (500 - 328 + 1) // 2 = 86, top (375 - 328 + 1) // 2 = 24.
        image = Image.effect_noise((500, 375), 80).convert("RGB")
        expected = image.crop((86, 24, 86 + 328, 24 + 328)).resize((224, 224), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(crop_and_resize(image), np.asarray(expected))


class PackedStemTest(unittest.TestCase):
    def quantised_stem(self) -> onnx.ModelProto:
        """The stem alone, as the quantiser leaves it, with random weights."""
        random = np.random.default_rng(2)
        constants = {
            "scale": np.float32(1 / 128),
            "zero": np.uint8(127),
            "w": random.integers(-127, 128, (32, 3, 3, 3), np.int8),
            "w_scale": random.uniform(0.001, 0.01, 32).astype(np.float32),
            "w_zero": np.zeros(32, np.int8),
            "b": random.integers(-9999, 9999, 32).astype(np.int32),
            "b_scale": random.uniform(1e-5, 1e-4, 32).astype(np.float32),
            "b_zero": np.zeros(32, np.int32),
            "out_scale": np.float32(6 / 255),
            "out_zero": np.uint8(0),
        }
        node = helper.make_node
        nodes = [
            node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
            node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], axis=0),
            node("DequantizeLinear", ["b", "b_scale", "b_zero"], ["b_dq"], axis=0),
            node(
                "Conv",
                ["dq", "w_dq", "b_dq"],
                ["y"],
                name=layout.STEM,
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[0, 0, 1, 1],
            ),
            node("QuantizeLinear", ["y", "out_scale", "out_zero"], ["y_q"]),
            node("DequantizeLinear", ["y_q", "out_scale", "out_zero"], ["y_dq"]),
            # Something that reads the result, as the next layer does.
            node("Identity", ["y_dq"], ["result"]),
        ]
        graph = helper.make_graph(
            nodes,
            "stem",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])],
            [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 32, 112, 112])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    def test_it_computes_the_same_from_pixels_as_the_plain_stem_from_floats(self):
        model = self.quantised_stem()
        packed = onnx.ModelProto()
        packed.CopyFrom(model)
        layout.pack_stem(packed.graph)
        layout.take_pixels(packed.graph)
        pixels = np.random.default_rng(3).integers(0, 256, (2, 224, 224, 3), np.uint8)
        floats = ((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)

        def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"image": image})[0]

        expected = run(model, floats)
        self.assertGreater(len(np.unique(expected)), 100)
        # Floats are summed in another order: a value in the middle between two steps may go either way.
        self.assertLessEqual(np.abs(run(packed, pixels) - expected).max(), 6 / 255 * 1.001)
        self.assertLess((run(packed, pixels) != expected).mean(), 1e-4)


class CheckpointTest(unittest.TestCase):
    def write(self, folder: str, state: bytes) -> tuple[Path, str]:
        path = Path(folder, "weights.pth")
        path.write_bytes(b"".join(pickle.dumps(x, 2) for x in (MAGIC_NUMBER, PROTOCOL_VERSION, {})) + state)
        return path, hashlib.sha256(path.read_bytes()).hexdigest()

    def test_a_checkpoint_that_would_run_code_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(pickle.UnpicklingError, "print"):
            read_checkpoint(*self.write(folder, pickle.dumps(print, 2)))

    def test_another_file_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(SystemExit, "SHA-256"):
            path, _ = self.write(folder, pickle.dumps(collections.OrderedDict(), 2))
            read_checkpoint(path, "0" * 64)


if __name__ == "__main__":
    unittest.main()
