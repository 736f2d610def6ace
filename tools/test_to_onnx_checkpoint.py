"""Tests of what `to_onnx` makes of checkpoints, without a framework. Run with: .venv-model/bin/python -m unittest discover tools"""

import unittest

import numpy as np
from conversion import checkpoint
from conversion.failure import Failure

PROBE = {
    "conv1.weight": (8, 3, 3, 3),
    "bn1.weight": (8,),
    "fc.weight": (checkpoint.PROBE, 8),
    "fc.bias": (checkpoint.PROBE,),
}


def weights(prefix: str = "") -> dict:
    shapes = {"conv1.weight": (8, 3, 3, 3), "fc.weight": (5, 8), "fc.bias": (5,), "bn1.weight": (8,)}
    return {prefix + name: np.zeros(shape) for name, shape in shapes.items()}


class CheckpointTest(unittest.TestCase):
    def test_the_classifiers_own_key_gives_the_class_count_in_any_order(self):
        for order in [sorted(weights()), sorted(weights(), reverse=True)]:
            found = checkpoint.fit({name: weights()[name] for name in order}, PROBE)
            self.assertEqual((found.classes, found.notes), (5, []))

    def test_prefixes_are_removed_and_said(self):
        for prefix in ["model.", "module.", "backbone.", "module.model.", "_orig_mod."]:
            found = checkpoint.fit(weights(prefix), PROBE)
            self.assertEqual((set(found.tensors), found.classes), (set(PROBE), 5))
            self.assertIn(repr(prefix), found.notes[0])

    def test_what_lies_beside_the_model_is_left_out_and_said(self):
        found = checkpoint.fit(weights("model.") | {"criterion.weight": np.zeros(5)}, PROBE)
        self.assertEqual(set(found.tensors), set(PROBE))
        self.assertIn("criterion.weight", found.notes[1])
        # A head beside the model is no loss: it must not vanish.
        self.assertIn(
            "head.weight", checkpoint.fit(weights("model.") | {"head.weight": np.zeros((5, 5))}, PROBE).tensors
        )

    def test_weights_without_a_classifier_have_no_classes(self):
        found = checkpoint.fit({"conv1.weight": np.zeros((8, 3, 3, 3))}, PROBE)
        self.assertIsNone(found.classes)

    def test_wrappers_are_opened_and_said(self):
        for key in ["state_dict", "model", "state_dict_ema", "model_ema", "ema"]:
            found, notes = checkpoint.unwrap({"epoch": 3, key: weights()})
            self.assertEqual(set(found), set(PROBE))
            self.assertIn(f"under {key} of", notes[0])
        twice, notes = checkpoint.unwrap(
            {"ema": {"decay": 0.9, "state_dict": weights()}, "state_dict": {"x": np.ones(1)}}
        )
        self.assertEqual(set(twice), set(PROBE))
        self.assertIn("ema.state_dict of the checkpoint, the averaged weights", notes[0])
        self.assertEqual(checkpoint.unwrap(weights())[1], [])
        for wrong in [[1], {}, {"a": 1}]:
            with self.assertRaisesRegex(Failure, "no state dict"):
                checkpoint.unwrap(wrong)


if __name__ == "__main__":
    unittest.main()
