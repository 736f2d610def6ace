"""`optimum-cli export onnx` with the versions that docs/models.md names, on a small model of transformers, through the real
server's reading of the folder. Run by `make test-optimum`."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from common import LIMIT_S, OCELLI, ROOT

BIN = ROOT / ".venv-optimum" / "bin"
MAKE = """
import transformers
names = {"num_labels": 3, "id2label": {0: "cat", 1: "dog", 2: "bird"}}
config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", **names)
transformers.ResNetForImageClassification(config).save_pretrained("made")
transformers.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875).save_pretrained("made")
"""


class OptimumTest(unittest.TestCase):
    def run_in(self, folder: str, *command: object) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_what_it_exports_is_read_with_its_preprocessing_and_labels(self):
        with tempfile.TemporaryDirectory(prefix="optimum-test-") as folder:
            self.run_in(folder, BIN / "python", "-c", MAKE)
            task = ["--task", "image-classification"]
            self.run_in(folder, BIN / "optimum-cli", "export", "onnx", "--model", "made", *task, "exported")
            self.assertTrue(Path(folder, "exported", "model.onnx").is_file())
            shown = self.run_in(folder, OCELLI, "model", "show", "exported")
        for words in [
            "shorter edge to 256, then the centre of 224 x 224, bilinear",
            "3 labels: cat, dog, bird",
            "preprocessing from preprocessor_config.json",
        ]:
            self.assertIn(words, shown)


if __name__ == "__main__":
    unittest.main()
