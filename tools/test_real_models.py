"""Tests of how `real_models` judges. The packages themselves run in `make test-models`."""

import unittest

import numpy as np
from real_models.judge import PHOTOS, Answers, Unproven, compare, steps_of

STEPS = np.full((1, 1, 1, 1), 1 / 255)


def answers(shift: float = 0.0, moved: float = 0.0) -> Answers:
    tensors = np.linspace(0, 1, PHOTOS * 12).reshape(PHOTOS, 3, 2, 2) + shift / 255
    first = np.linspace(0.6, 0.9, PHOTOS) + moved
    return Answers(tensors, np.stack([first, 1 - first], axis=1))


class JudgeTest(unittest.TestCase):
    def test_limits(self):
        self.assertTrue(compare(answers(), answers(0.9, 0.009), STEPS).agrees)
        self.assertFalse(compare(answers(), answers(1.1), STEPS).agrees)
        self.assertFalse(compare(answers(), answers(moved=0.011), STEPS).agrees)

    def test_one_photo_counts(self):
        ours = answers()
        ours.tensors[3] += 2 / 255
        self.assertFalse(compare(answers(), ours, STEPS).agrees)
        ours = answers()
        ours.probabilities[3] = [0.495, 0.505]
        theirs = answers()
        theirs.probabilities[3] = [0.501, 0.499]
        self.assertEqual(compare(theirs, ours, STEPS).same_first, PHOTOS - 1)
        self.assertFalse(compare(theirs, ours, STEPS).agrees)

    def test_fewer_photos_and_missing_classes_prove_nothing(self):
        few = Answers(answers().tensors[:5], answers().probabilities[:5])
        self.assertFalse(compare(few, few, STEPS).agrees)
        with self.assertRaises(Unproven):
            compare(answers(), few, STEPS)
        ours = answers()
        ours.probabilities[0, 1] = np.nan
        self.assertFalse(compare(answers(), ours, STEPS).agrees)

    def test_models_that_ignore_photos_prove_nothing(self):
        same = Answers(answers().tensors, np.full((PHOTOS, 2), 0.5))
        with self.assertRaises(Unproven):
            compare(same, same, STEPS)
        with self.assertRaises(Unproven):
            steps_of(np.zeros((1, 3, 2, 2)), np.zeros((1, 3, 2, 2)), 1)


if __name__ == "__main__":
    unittest.main()
