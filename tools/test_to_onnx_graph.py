"""Tests of how `to_onnx` tidies graphs and measures agreement. Run with: .venv-model/bin/python -m unittest discover tools"""

import unittest

import numpy as np
import onnx
import onnxruntime
from conversion import agreement, graph
from conversion.manifest import Input, Normalisation
from onnx import TensorProto, helper


class AgreementTest(unittest.TestCase):
    def test_tensors_are_measured_in_pixels(self):
        spec = Input("i", 2, 2, "nchw", Normalisation("rgb", 1 / 255, (0, 0, 0), (0.5, 0.25, 1.0)), {}, "bicubic")
        original = np.zeros((2, 3, 2, 2))
        package = original.copy()
        # One step of 255 in each channel of the second photo.
        package[1] += (1 / 255 / np.array([0.5, 0.25, 1.0])).reshape(3, 1, 1)
        found = agreement.compare_tensors(spec, original, package)
        self.assertAlmostEqual(found.mean, 0.5)
        self.assertAlmostEqual(found.worst, 1.0)

    def test_scores_are_measured_by_their_spread(self):
        original = np.array([[0.0, 10.0, 1, 2, 3, 4, 5]])
        found = agreement.compare_scores(original, original + np.array([0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.0]), "none")
        self.assertAlmostEqual(found.mean, 0.6 / 7 / 10)
        self.assertEqual((found.first, found.five), (1, 1))
        swapped = original[:, ::-1].copy()
        found = agreement.compare_scores(original, swapped, "none")
        self.assertEqual((found.first, found.five), (0, 0))

    def test_one_class_is_measured_by_its_size_on_all_photos(self):
        original = np.array([[4.0], [-4.0], [1e-6]])
        found = agreement.compare_scores(original, original + 0.01, "sigmoid")
        self.assertAlmostEqual(found.mean, 0.01 / (8 / 3), places=6)
        self.assertGreater(agreement.compare_scores(original, -original, "sigmoid").mean, 1)

    def test_a_softmax_sees_no_constant_but_others_do(self):
        original = np.array([[1.0, 2.0, 4.0]])
        self.assertLess(agreement.compare_scores(original, original + 7, "softmax").mean, 1e-12)
        self.assertGreater(agreement.compare_scores(original, original + 7, "sigmoid").mean, 1)


class GraphTest(unittest.TestCase):
    def model(self, last: str, *, identity: bool = False) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Flatten", ["x"], ["image"], doc_string="/home/someone/net.py"),
            helper.make_node(last, ["image"], ["p"]),
        ]
        if identity:
            nodes.append(helper.make_node("Identity", ["p"], ["q"]))
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2]),
            helper.make_tensor_value_info("q" if identity else "p", TensorProto.FLOAT, [1, 4]),
        ]
        made = helper.make_graph(nodes, "g", ends[:1], ends[1:])
        return helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    def test_the_last_softmax_is_dropped_and_the_ends_get_their_names(self):
        x = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
        for identity in [False, True]:
            model = self.model("Softmax", identity=identity)
            self.assertTrue(graph.drop_last(model, "Softmax"))
            graph.tidy(model, "logits", 4)
            content = model.SerializeToString()
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            (found,) = session.run(["logits"], {"image": x})
            np.testing.assert_array_equal(found, x.reshape(2, 4))
            self.assertNotIn(b"someone", content)

    def test_another_end_stays(self):
        model = self.model("Relu")
        before = model.SerializeToString()
        self.assertFalse(graph.drop_last(model, "Softmax"))
        self.assertEqual(model.SerializeToString(), before)

    def test_numbers_that_were_taken_for_inputs(self):
        model = self.model("Relu")
        model.graph.node[0].input[0] = "sum"
        model.graph.node.insert(0, helper.make_node("Add", ["x", "mean:0"], ["sum"]))
        model.graph.input.append(helper.make_tensor_value_info("mean:0", TensorProto.FLOAT, [1, 1, 2]))
        graph.fill(model, {"mean:0": np.array([[[1, -9]]], np.float32), "unused": np.zeros(1, np.float32)})
        graph.tidy(model, "logits", 4)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        self.assertEqual([item.name for item in session.get_inputs()], ["image"])
        (found,) = session.run(["logits"], {"image": np.ones((1, 2, 2), np.float32)})
        self.assertEqual(found.tolist(), [[2, 0, 2, 0]])

    def test_a_softmax_that_something_else_reads_stays(self):
        model = self.model("Softmax", identity=True)
        model.graph.node.append(helper.make_node("Relu", ["p"], ["r"]))
        self.assertFalse(graph.drop_last(model, "Softmax"))


if __name__ == "__main__":
    unittest.main()
