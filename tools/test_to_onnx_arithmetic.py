"""Tests of what `to_onnx` computes and maps, without a framework. Run with: .venv-model/bin/python -m unittest discover tools"""

import contextlib
import io
import os
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import onnx
import onnxruntime
from conversion import agreement, convert, processors, quantise
from conversion.arguments import Source, parser
from conversion.failure import Failure
from conversion.manifest import Input, Manifest, Normalisation, Output
from conversion.ocelli import Ocelli
from conversion.original import Original
from conversion.photos import draw_pictures
from onnx import TensorProto, helper, numpy_helper
from PIL import Image


class ProcessorsTest(unittest.TestCase):
    """The expected geometry is read off the processors' own `resize` and `center_crop`."""

    SQUARE = ("crop_size", {"height": 224, "width": 224})

    def test_geometry(self):
        crop = dict([self.SQUARE], do_center_crop=True)
        for kind, settings, expected in [
            ("ViTImageProcessor", {"size": {"height": 192, "width": 256}}, (256, 192, {"policy": "stretch"})),
            (
                "DeiTImageProcessor",
                {"size": {"height": 256, "width": 288}} | crop,
                (224, 224, {"policy": "stretch", "size": [288, 256], "rounding": "down"}),
            ),
            (
                "BitImageProcessor",
                {"size": {"shortest_edge": 248}} | crop,
                (224, 224, {"policy": "shortest-edge", "size": 248, "rounding": "down"}),
            ),
            (
                "ConvNextImageProcessor",
                {"size": {"shortest_edge": 224}, "crop_pct": 0.95},
                (224, 224, {"policy": "shortest-edge", "size": 235, "rounding": "down"}),
            ),
            (
                "ConvNextImageProcessor",
                {"size": {"shortest_edge": 384}, "crop_pct": 0.95},
                (384, 384, {"policy": "stretch"}),
            ),
            (
                "LevitImageProcessor",
                {"size": {"shortest_edge": 224}} | crop,
                (224, 224, {"policy": "shortest-edge", "size": 256, "rounding": "down"}),
            ),
            (
                "PoolFormerImageProcessor",
                {"size": {"height": 224, "width": 224}, "crop_pct": 0.9} | crop,
                (224, 224, {"policy": "shortest-edge", "size": 248, "rounding": "down"}),
            ),
        ]:
            with self.subTest(kind, size=settings["size"]):
                self.assertEqual(processors.geometry(kind, settings), expected)

    def test_what_has_no_fixed_shape_is_refused(self):
        for settings in [
            {"size": {"shortest_edge": 224}},
            {"size": {"shortest_edge": 224, "longest_edge": 400}},
            {"size": {"height": 224, "width": 224}, "do_resize": False},
        ]:
            with self.subTest(settings=settings), self.assertRaises(Failure):
                processors.geometry("ViTImageProcessor", settings)

    def processor(self, kind: str, **settings):
        defaults = {"size": {"height": 8, "width": 8}, "resample": 3, "do_rescale": True, "rescale_factor": 0.5}
        defaults |= {"do_normalize": True, "image_mean": [1.0, 2.0, 3.0], "image_std": [2.0, 4.0, 8.0]}
        return type(kind, (), {"to_dict": lambda self: defaults | settings})()

    def test_normalisation(self):
        found = processors.describe(self.processor("ViTImageProcessorPil"), None)
        self.assertEqual(found.normalisation, Normalisation("rgb", 0.5, (1, 2, 3), (2, 4, 8)))
        self.assertEqual(found.interpolation, "bicubic")
        twice = self.processor("EfficientNetImageProcessor", rescale_offset=True, include_top=True)
        # ((x * scale - 1 - mean) / std - 0) / std
        self.assertEqual(
            processors.describe(twice, "nearest").normalisation, Normalisation("rgb", 0.5, (2, 3, 4), (4, 16, 64))
        )
        flipped = processors.describe(self.processor("MobileViTImageProcessorFast", do_flip_channel_order=True), None)
        self.assertEqual(flipped.normalisation, Normalisation("bgr", 0.5))
        plain = self.processor("ViTImageProcessor", do_rescale=False, do_normalize=False)
        self.assertEqual(processors.describe(plain, None).normalisation, Normalisation())

    def test_other_processors_are_refused(self):
        for processor in [
            self.processor("NougatImageProcessor"),
            self.processor("ViTImageProcessor", do_pad=True),
            self.processor("ViTImageProcessor", resample=4),
        ]:
            with self.assertRaises(Failure):
                processors.describe(processor, None)
        with self.assertRaisesRegex(Failure, "--interpolation.*timm:NAME"):
            processors.describe(self.processor("TimmWrapperImageProcessor"), "nearest")


def network() -> onnx.ModelProto:
    """A 1x1 convolution with a bias, a 3x3 one, and classes."""
    random = np.random.default_rng(1)
    constants = {
        "w1": random.normal(size=(16, 3, 1, 1)),
        "b1": random.normal(size=16),
        "w2": random.normal(size=(16, 16, 3, 3)),
        "b2": random.normal(size=16),
        "w3": random.normal(size=(16, 10)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


class QuantiseTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def test_extremes_are_noted_photo_by_photo(self):
        tensors = np.zeros((2, 3, 8, 8), np.float32)
        tensors[0, 0, 0, 0], tensors[1, 1, 1, 1] = 4.0, -2.0
        found = quantise.measure(network(), tensors)
        image = found.names.index("image")
        self.assertEqual((found.low[:, image].tolist(), found.high[:, image].tolist()), ([0, -2], [4, 0]))
        self.assertEqual(found.ranges(1.0)["image"], (-2.0, 4.0))
        self.assertEqual(found.ranges(0.0)["image"], (-1.0, 2.0))
        # Only the 1x1 convolution's bias can be corrected from the means of its channels.
        self.assertEqual(list(found.means), ["w1"])
        np.testing.assert_allclose(found.means["w1"], [4 / 64 / 2, -2 / 64 / 2, 0])

    def test_int8_is_near_and_small_and_has_float_logits(self):
        random = np.random.default_rng(2)
        photos = []
        for index in range(8):
            photos.append(self.folder / f"{index}.png")
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(photos[-1])
        original = SimpleNamespace(
            prepare=lambda photo: np.asarray(Image.open(photo), np.float32).transpose(2, 0, 1) / 255,
            output="logits",
            activation="softmax",
        )
        onnx.save(network(), self.folder / "float32.onnx")
        note = quantise.quantise(self.folder / "float32.onnx", self.folder / "int8.onnx", original, photos)
        self.assertIn("2 photos that did not calibrate", note)
        self.assertLess(float(note.split("(")[1].split("%")[0]), 2.0)
        quantised = onnx.load(self.folder / "int8.onnx")
        self.assertIn(TensorProto.INT8, [item.data_type for item in quantised.graph.initializer])
        last = next(node for node in quantised.graph.node if "logits" in node.output)
        self.assertEqual(last.op_type, "MatMul")
        tensors = np.stack([original.prepare(photo) for photo in photos])
        session = onnxruntime.InferenceSession(self.folder / "int8.onnx", providers=["CPUExecutionProvider"])
        self.assertEqual(session.run(None, {"image": tensors})[0].shape, (8, 10))


def exchanged(share: float) -> onnx.ModelProto:
    """`network()` with its classes turned round by `share`."""
    model = network()
    weight = next(item for item in model.graph.initializer if item.name == "w3")
    values = numpy_helper.to_array(weight)
    mixed = (1 - share) * values + share * values[:, ::-1]
    weight.CopyFrom(numpy_helper.from_array(mixed.astype(np.float32), "w3"))
    return model


def last_line(printed: str) -> str:
    return printed.splitlines()[-1]


class ConvertTest(unittest.TestCase):
    """`convert` of a model that is a graph, compared in Python."""

    def convert(self, spoil: float, *options: str, swap: float = 0.0) -> tuple[int, str, bool]:
        """The status, what is printed, and whether there is a package, if 8 bits multiply the logits by `spoil`, and the
        exported graph has `swap` of the difference added that exchanges the best class for another."""
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        folder = Path(holder.name)
        draw_pictures(folder)

        def prepare(photo):
            return np.asarray(Image.open(photo).resize((8, 8)), np.float32).transpose(2, 0, 1) / 255

        def scores(batch):
            return quantise._run(network(), batch)

        def spoiled(float32, int8, original, photos):
            model = onnx.load(float32)
            weight = next(item for item in model.graph.initializer if item.name == "w3")
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(spoil), "w3"))
            onnx.save(model, int8)
            return "spoiled"

        spec = Input("image", 8, 8, "nchw", Normalisation(scale=1 / 255), {"policy": "stretch"}, "bicubic")
        original = Original(
            title="a graph",
            origin="here",
            input=spec,
            task="classification",
            activation="softmax",
            pipeline="load_img, bicubic",
            prepare=prepare,
            scores=scores,
            export=lambda path, output: onnx.save(exchanged(swap), path),
        )
        out = folder / "out"
        how = ["--photos", str(folder), "--out", str(out), "--name", "net", *options]
        arguments = parser().parse_args(["net", *how])
        printed = io.StringIO()
        with (
            mock.patch.object(convert, "_load", lambda source, arguments: original),
            mock.patch.object(quantise, "quantise", spoiled),
            mock.patch.object(Ocelli, "find", lambda: None),
            contextlib.redirect_stdout(printed),
        ):
            status = convert.convert(arguments, Source("torchvision", "net"))
        return status, printed.getvalue(), (out / "model.onnx").is_file()

    def test_8_bits_that_are_of_no_use_are_written_and_said_to_be_so(self):
        for spoil, expected in [(1.0, 0), (1.05, 0), (-1.0, 1), (3.0, 1)]:
            with self.subTest(spoil):
                status, printed, written = self.convert(spoil, "--int8")
                self.assertEqual((status, written), (expected, True), printed)
                self.assertEqual("leave out --int8" in printed, expected == 1)
                self.assertRegex(last_line(printed), r"^(does not agree|agrees): .*8 bits: scores .* \(limit 10%\)")
                self.assertEqual(last_line(printed).startswith("agrees"), expected == 0)

    def test_the_last_line_is_a_verdict_with_its_limits(self):
        status, printed, _ = self.convert(1.0)
        self.assertEqual(status, 0)
        self.assertRegex(last_line(printed), r"^agrees: scores 0\.000% of their spread \(limit 1%\), ")
        self.assertRegex(last_line(printed), r"another first class on 0 of 6 photos \(limit 0\)")
        self.assertIn("the preprocessing was not compared", last_line(printed))

    def test_what_does_not_agree_has_status_1_unless_forced(self):
        for options, expected in [((), 1), (("--force",), 0)]:
            with self.subTest(options):
                status, printed, written = self.convert(1.0, *options, swap=0.5)
                self.assertEqual((status, written), (expected, True), printed)
                self.assertRegex(last_line(printed), r"^does not agree: ")
                self.assertIn("correct [input]", printed)

    def test_another_best_class_counts_unless_two_are_equally_good(self):
        scores = np.array([[10.0, 9.0, 0.0], [10.0, 9.999, 0.0]])
        changed = agreement.compare_scores(scores, np.array([[9.96, 10.0, 0.0], [9.998, 10.001, 0.0]]), "none")
        self.assertEqual((changed.first, changed.changed), (0, 1))
        # 0.6 % of the spread and 7 of 8 photos is no exact conversion, and 0.003 % is.
        seven = agreement.ScoreDifference(photos=8, mean=0.006, worst=0.01, first=7, five=7, changed=1)
        self.assertRegex(
            agreement.judge(None, seven, "classification").text, "^does not agree: another first class on 1 of 8 photos"
        )
        self.assertTrue(agreement.judge(None, seven, "embedding").agrees)
        exact = agreement.ScoreDifference(photos=8, mean=0.00003, worst=0.0001, first=8, five=8)
        self.assertTrue(agreement.judge(None, exact, "classification").agrees)
        apart = agreement.TensorDifference(photos=8, mean=0.6, worst=1.0)
        self.assertRegex(
            agreement.judge(apart, exact, "classification").text,
            r"^does not agree: input tensor 0\.600 of 255 \(limit 0\.5\), scores 0\.003%",
        )
        nothing = agreement.TensorDifference(photos=8, mean=float("nan"), worst=float("nan"))
        self.assertFalse(agreement.judge(nothing, exact, "classification").agrees)

    def test_the_best_class_and_the_scores_count(self):
        def difference(mean: float, first: int):
            return agreement.ScoreDifference(photos=10, mean=mean, worst=mean, first=first, five=0)

        self.assertTrue(agreement.judge_int8(difference(0.1, 5), "classification").agrees)
        self.assertFalse(agreement.judge_int8(difference(0.1, 4), "classification").agrees)
        self.assertFalse(agreement.judge_int8(difference(0.11, 10), "classification").agrees)
        self.assertTrue(agreement.judge_int8(difference(0.1, 0), "embedding").agrees)


class OcelliTest(unittest.TestCase):
    """The binary as a script that notes how it was called."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        spec = Input("image", 2, 2, "nhwc", Normalisation(), {"policy": "stretch"}, "bicubic")
        output = Output("logits", "softmax", labelled=True)
        self.manifest = Manifest("net", "1", "multilabel", "here", spec, output)
        (self.folder / "net.onnx").write_bytes(b"graph")

    def ocelli(self, script: str) -> Ocelli:
        path = self.folder / "ocelli"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return Ocelli(path)

    def test_scores_are_raw_and_in_their_places(self):
        ocelli = self.ocelli(
            f'env > {self.folder}/env; cp "$3/model.toml" "$3/labels.txt" {self.folder}; echo "$@" > {self.folder}/args\n'
            """echo '{"file":"a","predictions":[{"index":2,"probability":7.5},{"index":0,"probability":1},"""
            """{"index":1,"probability":-3}]}'"""
        )
        with mock.patch.dict(os.environ, {"OCELLI_MODEL": "/elsewhere"}):
            found = ocelli.scores(self.manifest, self.folder / "net.onnx", [Path("a.png")], 3)
        self.assertEqual(found.tolist(), [[1.0, -3.0, 7.5]])
        self.assertNotIn("OCELLI_MODEL", (self.folder / "env").read_text())
        text = (self.folder / "model.toml").read_text()
        self.assertIn('task = "classification"', text)
        self.assertIn('activation = "none"', text)
        self.assertEqual((self.folder / "labels.txt").read_text().split(), ["0", "1", "2"])
        self.assertIn("--top-k 3", (self.folder / "args").read_text())

    def test_what_ocelli_says_is_passed_on(self):
        with self.assertRaisesRegex(Failure, "no such policy"):
            self.ocelli("echo no such policy >&2; exit 2").scores(
                self.manifest, self.folder / "net.onnx", [Path("a.png")], 3
            )
        broken = self.ocelli("""echo '{"file":"a.png","error":"no image"}'""")
        with self.assertRaisesRegex(Failure, r"a\.png.*no image"):
            broken.scores(self.manifest, self.folder / "net.onnx", [Path("a.png")], 3)

    def test_a_binary_that_is_named_must_be_there(self):
        with (
            mock.patch.dict(os.environ, {"OCELLI": "/nowhere/ocelli"}),
            self.assertRaisesRegex(Failure, "/nowhere/ocelli"),
        ):
            Ocelli.find()


if __name__ == "__main__":
    unittest.main()
