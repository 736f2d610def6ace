"""torchvision, timm, transformers and TorchServe through `to_onnx.py` and the real server. Run by `make test-convert`."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

from common import LIMIT_S, OCELLI, ROOT, Conversions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conversion.formats import BY_ID

AGREES = r"(?s)input tensor +mean difference 0\.[0-4].*same first class on 6 of 6"


class TorchTest(Conversions):
    LIBRARY = "torch"

    def test_torchserve_with_torchscript(self):
        self.assertRegex(self.convert("script.mar"), AGREES)
        self.assertEqual(self.manifest("models/script")["input"]["resize"], {"policy": "shortest-edge", "size": 256})
        self.assert_served("models/script", "torchserve")

    def test_torchserve_with_code_needs_trust(self):
        self.assertIn("--trust", self.convert("eager.mar", status=2))
        self.assertRegex(self.convert("eager.mar", "--trust"), AGREES)
        self.assert_served("models/eager", "torchserve")

    def test_torchserve_says_which_prefixes_it_removed(self):
        text = self.convert("parallel.mar", "--trust")
        self.assertRegex(text, AGREES)
        self.assertIn("note: the weights are those under state_dict of the checkpoint", text)
        self.assertIn("note: the prefix 'module.' is removed from the names of the weights", text)
        self.assert_served("models/parallel", "torchserve")

    def test_torchscript(self):
        told = ["--preset", "torchvision", "--size", "224", "--labels", "index_to_name.json"]
        text = self.convert("net.pt", *told)
        self.assertRegex(text, AGREES)
        self.assertIn("taken for logits", text)
        self.assertIn("agrees: ", text)
        self.assert_served("models/net", "torchserve")
        # A softmax in the graph is not applied twice.
        self.assertRegex(self.convert("probabilities.pt", *told), AGREES)
        self.assertEqual(self.manifest("models/probabilities")["output"][0]["activation"], "none")
        self.assert_served("models/probabilities", "torchserve")
        self.assertIn(
            "--preset image-dataset reads photos",
            self.convert("net.pt", "--preset", "image-dataset", "--size", "224", "--out", "wrong", status=2),
        )

    def test_weights_in_safetensors_with_a_prefix(self):
        for source, prefix in [("torchvision:mobilenet_v3_small", "model."), ("timm:resnet18", "backbone.")]:
            library = source.split(":")[0]
            text = self.convert(source, "--weights", f"{library}.safetensors", "--out", f"safe/{library}")
            self.assertRegex(text, AGREES)
            self.assertIn(f"note: the prefix '{prefix}' is removed from the names of the weights", text)
            outputs = (self.folder / f"safe/{library}/model.toml").read_text()
            self.assertIn('activation = "softmax"', outputs)

    def test_the_command_for_programs_of_torch_export(self):
        [command] = re.findall(r"`([^`]+)`", BY_ID["torch-export"].sentence)
        python = ROOT / ".venv-convert-torch" / "bin" / "python"
        code = "import torch; " + command.replace("FILE", "program.pt2")
        subprocess.run([python, "-c", code], cwd=self.folder, check=True, timeout=LIMIT_S, capture_output=True)
        shown = subprocess.run(
            [OCELLI, "model", "show", "model.onnx", "--preset", "torchvision"],
            cwd=self.folder,
            check=True,
            timeout=LIMIT_S,
            capture_output=True,
            text=True,
        )
        self.assertIn("[batch, 3, 224, 224]", shown.stdout)

    def test_pickles_run_nothing_even_then(self):
        self.assertIn("evil.pth", self.convert("evil.mar", "--trust", status=2))
        self.assertIn("evil.pth", self.convert("torchvision:resnet18", "--weights", "evil.pth", status=2))
        self.assertFalse((self.folder / "ran").exists())

    def test_a_folder_of_transformers(self):
        self.assertRegex(self.convert("vit"), AGREES)
        self.assertEqual((self.folder / "models/vit/labels.txt").read_text().split(), ["cat", "dog", "bird"])
        self.assert_served("models/vit", "vit")

    def test_many_labels_of_transformers(self):
        self.assertRegex(self.convert("tags"), AGREES)
        read = self.manifest("models/tags")
        self.assertEqual((read["task"], read["output"][0]["activation"]), ("multilabel", "sigmoid"))
        self.assertEqual(read["input"]["resize"], {"policy": "shortest-edge", "size": 256, "rounding": "down"})

    def test_features_of_transformers(self):
        text = self.convert("backbone", "--task", "classification", status=2)
        self.assertIn("no weights for classifier", text)
        self.assertRegex(self.convert("backbone"), r"input tensor +mean difference 0\.[0-4]")
        read = self.manifest("models/backbone")
        self.assertEqual((read["task"], read["output"][0]["name"]), ("embedding", "features"))
        self.assertEqual(read["input"]["resize"], {"policy": "stretch", "size": [256, 256], "rounding": "down"})

    def test_names_of_torchvision(self):
        tuned = ["torchvision:resnet18", "--weights", "tuned.pth", "--labels", "index_to_name.json", "--out", "tuned"]
        text = self.convert(*tuned)
        self.assertRegex(text, AGREES)
        self.assertIn("note: photos are prepared as for IMAGENET1K_V1: shorter edge to 256", text)
        self.assertEqual((self.folder / "tuned/labels.txt").read_text().split(), ["cat", "dog", "bird"])
        self.assertRegex(self.convert("torchvision:mobilenet_v3_small", "--weights", "none", "--out", "tv"), "Next:")
        self.assertEqual(len((self.folder / "tv/labels.txt").read_text().splitlines()), 1000)
        self.assertIn("resnet50", self.convert("torchvision:resnet51", status=2))
        wrong = self.convert("torchvision:resnet50", "--weights", "tuned.pth", "--out", "wrong", status=2)
        self.assertIn("tuned.pth are not those of a resnet50", wrong)

    def test_names_and_folders_of_timm(self):
        self.assertRegex(self.convert("timm:resnet18", "--weights", "none", "--out", "timm-none"), AGREES)
        self.assertEqual(self.manifest("timm-none")["input"]["resize"], {"policy": "shortest-edge", "size": 235})
        self.assertRegex(self.convert("timm"), AGREES)
        features = ["timm:resnet18", "--weights", "none", "--task", "embedding", "--out", "features"]
        self.convert(*features, photos=False)
        self.assertEqual(self.manifest("features")["task"], "embedding")
        self.assertIn("resnet18", self.convert("timm:resnet18x", status=2))

    def test_weights_that_cannot_be_fetched(self):
        text = self.convert("timm:resnet18.a1_in1k", status=2)
        self.assertIn("--weights none", text)
        self.assertIn("save_pretrained", self.convert("transformers:someone/nothing", status=2))

    def test_8_bits(self):
        text = self.convert("torchvision:resnet18", "--weights", "tuned.pth", "--int8", "--out", "int8")
        self.assertRegex(text, r"int8 +mean difference [0-9.]+% of their spread")
        self.assertLess((self.folder / "int8/model.onnx").stat().st_size, 12_000_000)
        self.assertRegex(self.convert("vit", "--int8", "--out", "vit8"), "int8 +mean difference")


if __name__ == "__main__":
    unittest.main()
