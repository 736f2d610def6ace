"""Keras files through `to_onnx.py` and the real server. Run by `make test-convert-keras`."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import unittest

from common import LIMIT_S, OCELLI, ROOT, Conversions

sys.path.insert(0, str(ROOT / "tools"))

from conversion.formats import BY_ID
from conversion.manifest import Input, Manifest, Output
from conversion.presets import PRESETS


class KerasTest(Conversions):
    LIBRARY = "keras"

    def labels(self) -> str:
        (self.folder / "labels.txt").write_text("tabby\nsiamese\npersian\nmanx\n")
        return "labels.txt"

    def test_the_tutorials_model(self):
        text = self.convert("resnet50.keras", "--out", "models/resnet50")
        self.assertRegex(text, r"input tensor +mean difference 0\.[01]")
        self.assertIn("same first class on 6 of 6", text)
        self.assertRegex(text, r"serve --model models/resnet50\n")
        read = self.manifest("models/resnet50")
        spec = read["input"]
        self.assertEqual((spec["layout"], spec["channels"], spec["resize"]), ("nhwc", "bgr", {"policy": "stretch"}))
        self.assertEqual((spec["mean"], spec["interpolation"]), ([103.939, 116.779, 123.68], "bicubic"))
        # Keras has the softmax in the model; the package has it in the server.
        self.assertEqual((read["task"], read["output"][0]["activation"]), ("classification", "softmax"))
        self.assert_served("models/resnet50", "resnet50")

    def test_a_file_does_not_say_how_photos_were_read(self):
        text = self.convert("guide.keras", "--photos", "jpegs", photos=False)
        self.assertIn("note: warning: the model does not say how photos were read in training", text)
        self.assertIn("--preprocess (image-dataset, load-img, ", text)
        loader = "image_dataset_from_directory, bilinear without antialiasing"
        self.assertRegex(text, rf"Assumed: {loader}\. (?s:.*)compared with {loader} \(assumed\)")
        for other in ["load_img, nearest", "load_img, bicubic"]:
            self.assertRegex(text, rf"otherwise +does not agree with {other}: mean difference [1-9]")
        self.assertRegex(text, rf"\nagrees, if photos were read as assumed: .*; compared with {loader}\n")

    def test_the_flow_of_keras_own_guide(self):
        loader = ["--preprocess", "image_dataset_from_directory"]
        text = self.convert("guide.keras", *loader, "--out", "guide")
        self.assertRegex(
            text, r"\nagrees: input tensor 0\.[0-4].*; compared with image_dataset_from_directory, bilinear"
        )
        self.assertNotIn("INTEGER_FAST", text)
        spec = self.manifest("guide")["input"]
        self.assertEqual(
            (spec["resampler"], spec["interpolation"], spec["antialias"], spec["scale"]),
            ("tensorflow", "bilinear", False, 1.0),
        )
        self.assert_served("guide", "guide")
        # TensorFlow's own decoder is compared with as well.
        text = self.convert("guide.keras", *loader, "--out", "guide-jpegs", "--photos", "jpegs", photos=False)
        self.assertRegex(text, r"\nagrees: .* of 255 where TensorFlow decodes JPEG with INTEGER_FAST \(limit 2\.5\)")

    def test_another_loader_than_in_training_does_not_agree(self):
        wrong = ["guide.keras", "--preset", "load-img", "--preprocess", "image_dataset_from_directory"]
        text = self.convert(*wrong, "--out", "wrong-loader", status=1)
        self.assertRegex(text, r"does not agree: input tensor [1-9].*; compared with image_dataset_from_directory")
        self.convert(*wrong, "--out", "wrong-loader", "--force")

    def test_every_loader_is_keras_own(self):
        for source, options, pipeline in [
            ("guide.keras", ["--preprocess", "load_img"], "load_img, nearest"),
            (
                "guide.keras",
                ["--preprocess", "flow_from_directory", "--interpolation", "box"],
                "flow_from_directory, box",
            ),
            ("guide.keras", ["--preprocess", "tfjs"], "TensorFlow's bilinear resizing with align-corners coordinates"),
            (
                "cats.h5",
                ["--preprocess", "image-dataset"],
                "image_dataset_from_directory, bilinear without antialiasing",
            ),
            (
                "cats.h5",
                ["--preprocess", "tf-image-resize", "--interpolation", "lanczos", "--antialias", "on"],
                "tf.image.resize, lanczos with antialiasing",
            ),
            ("grey.h5", ["--preset", "flow-from-directory"], "flow_from_directory, nearest"),
            (
                "grey.h5",
                ["--preset", "unit", "--preprocess", "load_img", "--interpolation", "bicubic"],
                "load_img, bicubic",
            ),
            (
                "grey.h5",
                ["--preset", "image-dataset-unit"],
                "image_dataset_from_directory, bilinear without antialiasing",
            ),
        ]:
            with self.subTest(source, options=options):
                text = self.convert(source, *options, "--out", "read", "--force", "--photos", "jpegs", photos=False)
                self.assertRegex(text, rf"\nagrees: input tensor 0\.[0-4].*; compared with {pipeline}\n")
                self.assertNotIn("warning", text)

    def test_a_loader_that_is_not_installed(self):
        text = self.convert("guide.keras", "--preprocess", "opencv-area", "--out", "opencv")
        self.assertIn("not compared with cv2.resize, area: that needs opencv-python-headless", text)
        self.assertRegex(text, r"\nagrees: .*the preprocessing was not compared; not compared with cv2\.resize, area")
        spec = self.manifest("opencv")["input"]
        self.assertEqual((spec["resampler"], spec["interpolation"], spec["channels"]), ("opencv", "area", "bgr"))

    def test_presets_are_the_servers(self):
        """What the converter writes for each preset is what the server makes of its name."""
        self.convert("guide.keras", "--out", "for-presets", photos=False)
        # Beside a model.toml a preset is not asked for.
        graph = self.folder / "alone" / "model.onnx"
        graph.parent.mkdir()
        (self.folder / "for-presets" / "model.onnx").rename(graph)
        for name, preset in PRESETS.items():
            with self.subTest(name):
                out = self.folder / "of-server" / name
                command = [OCELLI, "model", "init", graph, "--preset", name, "--out", out]
                done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                server = tomllib.loads((out / "model.toml").read_text())["input"]
                spec = Input(
                    "image", 64, 48, "nhwc", preset.normalisation, preset.resize(64, 48), **vars(preset.reading)
                )
                text = Manifest("x", "1", "classification", "x", spec, Output("logits", "softmax", False)).to_toml()
                ours = tomllib.loads(text)["input"]
                self.assertEqual(server.pop("exif"), True)
                server.setdefault("resampler", "pillow")
                for key in ("scale", "mean", "std"):
                    numbers = [table.pop(key) for table in (server, ours)]
                    pairs = zip(*[value if isinstance(value, list) else [value] for value in numbers], strict=True)
                    for one, other in pairs:
                        self.assertAlmostEqual(one, other, delta=1e-6 * abs(other))
                self.assertEqual(ours, server)

    def test_an_old_file_with_classes_of_its_own(self):
        text = self.convert("cats.h5", "--labels", self.labels(), "--interpolation", "nearest")
        self.assertIn("preset keras-tf", text)
        spec = self.manifest("models/cats")["input"]
        self.assertEqual((spec["width"], spec["scale"], spec["interpolation"]), (96, 1 / 127.5, "nearest"))
        self.assertEqual((self.folder / "models/cats/labels.txt").read_text().split()[1], "siamese")
        wrong = self.folder / "two.txt"
        wrong.write_text("a\nb\n")
        self.assertIn("2 labels", self.convert("cats.h5", "--labels", "two.txt", "--out", "wrong", status=2))
        self.assertFalse((self.folder / "wrong").exists())

    def test_features(self):
        text = self.convert("features.keras", status=2)
        self.assertIn("--size", text)
        self.convert("features.keras", "--size", "96x64", "--out", "features")
        read = self.manifest("features")
        self.assertEqual((read["task"], read["output"][0]["name"]), ("embedding", "features"))
        self.assertEqual((read["input"]["width"], read["input"]["height"]), (96, 64))

    def test_logits(self):
        (self.folder / "three.json").write_text('{"cat": 0, "dog": 1, "owl": 2}')
        text = self.convert("logits.keras", "--labels", "three.json")
        self.assertIn("note: no activation at the end, and --labels names its outputs", text)
        read = self.manifest("models/logits")
        self.assertEqual((read["task"], read["output"][0]["activation"]), ("classification", "softmax"))
        self.assertEqual((self.folder / "models/logits/labels.txt").read_text().split(), ["cat", "dog", "owl"])
        text = self.convert("logits.keras", "--out", "plain", photos=False)
        self.assertIn("the last layer is Dense", text)
        self.assertEqual(self.manifest("plain")["task"], "classification")
        self.convert("logits.keras", "--out", "vectors", "--task", "embedding", photos=False)
        self.assertEqual(self.manifest("vectors")["output"], [{"name": "features", "activation": "none"}])
        wrong = ["features.keras", "--size", "64", "--task", "embedding", "--labels", "three.json", "--out", "wrong"]
        self.assertIn("leave out --labels", self.convert(*wrong, status=2))

    def test_presets_of_others(self):
        for preset, resize in [("timm", {"policy": "shortest-edge", "size": 109}), ("unit", {"policy": "stretch"})]:
            text = self.convert("cats.h5", "--preset", preset, "--out", preset, "--labels", self.labels())
            self.assertRegex(text, r"input tensor +mean difference 0\.[0-4]")
            self.assertEqual(self.manifest(preset)["input"]["resize"], resize)

    def test_one_output(self):
        (self.folder / "two.json").write_text('{"cat": 0, "dog": 1}')
        for name in ["one", "probability"]:
            text = self.convert(f"{name}.keras", "--labels", "two.json")
            self.assertIn("note: one output: ", text)
            self.assertIn("the probability of 'dog'", text)
            read = self.manifest(f"models/{name}")
            self.assertEqual((read["task"], read["output"][0]["activation"]), ("multilabel", "sigmoid"))

    def test_a_model_that_is_sure(self):
        for name in ["sure", "sure_of_many"]:
            text = self.convert(f"{name}.keras")
            self.assertRegex(text, r"float32 +mean difference 0\.[0-4]\d*% .* same first class on 6 of 6")
            self.assertIn("note: " + f"{name}.keras has no names for its classes: classes are called class 0", text)
        text = self.convert("sure_of_many.keras", "--int8", "--out", "sure-int8")
        self.assertIn("same first class on 6 of 6", text.split("  int8", 1)[1])

    def test_names_that_people_give(self):
        text = self.convert("Transfer Learn.keras")
        self.assertRegex(text, r"float32 +mean difference 0\.[0-4]\d*% ")
        self.assertEqual(self.manifest("models/transfer-learn")["output"][0]["activation"], "softmax")

    def test_a_model_that_prepares_its_pixels_itself(self):
        text = self.convert("transfer.keras", status=2)
        self.assertIn("has the layer true_divide, which prepares pixels itself: say which with --preset raw", text)
        self.assertNotIn("prepares the pixels, and", self.convert("transfer.keras", "--preset", "raw"))
        for name, layer in [("transfer", "true_divide"), ("tags", "rescaling")]:
            text = self.convert(f"{name}.keras", "--preset", "keras-tf", "--out", f"twice/{name}")
            self.assertRegex(
                text, f"note: warning: the layer {layer}\\w* prepares the pixels, and --preset keras-tf does"
            )
        self.assertIn("preset raw, for the layer add", self.convert("means.keras"))

    def test_many_labels_and_pixels_that_the_model_prepares(self):
        text = self.convert("tags.keras", "--out", "tags")
        self.assertIn("preset raw", text)
        read = self.manifest("tags")
        self.assertEqual((read["task"], read["output"][0]["activation"]), ("multilabel", "sigmoid"))
        self.assertEqual((read["input"]["width"], read["input"]["height"], read["input"]["scale"]), (64, 48, 1.0))
        self.assertIn("--force", self.convert("tags.keras", "--out", "tags", status=2))
        self.convert("tags.keras", "--out", "tags", "--force", photos=False)

    def test_8_bits(self):
        self.convert("cats.h5", "--out", "float32", "--labels", self.labels(), photos=False)
        text = self.convert("cats.h5", "--int8", "--out", "int8", "--labels", self.labels())
        self.assertRegex(text, r"int8 +mean difference [0-9.]+% of their spread")
        self.assertIn("int8 calibrated with 6 photos", self.manifest("int8")["source"])
        sizes = [(self.folder / name / "model.onnx").stat().st_size for name in ("int8", "float32")]
        self.assertLess(sizes[0], sizes[1] / 2)

    def test_code_is_refused(self):
        text = self.convert("custom.keras", status=2)
        self.assertIn("custom.keras", text)
        self.assertIn("layers of your own", text)
        self.assertIn("--trust", self.convert("lambda.keras", status=2))
        self.convert("lambda.keras", "--trust")
        for name in ["tags.keras", "cats.h5"]:
            self.assertIn("leave it out", self.convert(name, "--trust", "--out", "trusted", status=2))

    def test_saved_models(self):
        (self.folder / "pets.txt").write_text("cat\ndog\nowl\n")
        text = self.convert("saved", "--preset", "image-dataset", "--labels", "pets.txt")
        self.assertRegex(text, r"input tensor +mean difference 0\.[0-4]")
        self.assertIn("\nagrees: ", text)
        self.assertIn("compared with image_dataset_from_directory", text)
        read = self.manifest("models/saved")
        # The graph ends in a softmax.
        self.assertEqual((read["task"], read["output"][0]["activation"]), ("classification", "none"))
        self.assertEqual((read["input"]["width"], read["input"]["height"]), (64, 48))
        self.assert_served("models/saved", "saved")
        text = self.convert("logits/saved_model.pb", "--preset", "raw", "--out", "saved-logits", photos=False)
        self.assertIn("taken for logits", text)
        self.assertEqual(self.manifest("saved-logits")["output"][0]["activation"], "softmax")

    def test_a_saved_model_that_writes_files_needs_trust(self):
        text = self.convert("writer", "--preset", "raw", status=2)
        self.assertIn("writer reads or writes files, or runs Python (WriteFile)", text)
        self.assertFalse((self.folder / "ran").exists())
        self.assertIn("leave it out", self.convert("saved", "--preset", "raw", "--trust", "--out", "no", status=2))

    def test_tensorflow_js(self):
        for kind in ["tfjs-layers", "tfjs-graph"]:
            text = self.convert(f"{kind}/model.json", "--preset", "tfjs")
            self.assertRegex(text, r"input tensor +mean difference 0\.[0-4]")
            self.assertIn("compared with TensorFlow's bilinear resizing with align-corners coordinates", text)
            self.assertIn("\nagrees: ", text)
            self.assert_served(f"models/{kind}", kind)
        # Without a preset nothing says how pixels are prepared.
        for kind in ["tfjs-layers", "tfjs-graph/model.json"]:
            text = self.convert(kind, "--out", "none", status=2)
            self.assertIn("does not say how its pixels are prepared", text)
        self.assertIn(
            "leave it out", self.convert("tfjs-graph", "--preset", "tfjs", "--trust", "--out", "no", status=2)
        )

    def test_damaged_tensorflow_js_models(self):
        def write(folder, change):
            shutil.copytree(self.folder / "tfjs-layers", self.folder / folder)
            path = self.folder / folder / "model.json"
            model = json.loads(path.read_text())
            change(model)
            path.write_text(json.dumps(model))

        def weight(model):
            return model["weightsManifest"][0]["weights"][0]

        for folder, change, words in [
            ("shape", lambda model: weight(model).update(shape=[3, 3, 3, 7]), "bytes of weights"),
            (
                "turned",
                lambda model: weight(model).update(shape=[3, 3, 8, 3]),
                "has weights of the shape (3, 3, 8, 3) for",
            ),
            ("called", lambda model: weight(model).update(name="a/b"), "has no weights for conv2d_Conv2D1/kernel"),
            ("kind", lambda model: weight(model).update(dtype="string"), "a weight cannot be read"),
            ("layer", lambda model: model["modelTopology"].update(class_name="Mine"), "cannot be built by Keras"),
            ("files", lambda model: model["weightsManifest"][0].update(paths=["none"]), "none, which cannot be read"),
        ]:
            write(folder, change)
            text = self.convert(folder, "--preset", "tfjs", "--out", "damaged", status=2, photos=False)
            self.assertIn(words, text)

    def test_the_command_for_tensorflow_lite(self):
        commands = re.findall(r"`([^`]+)`", BY_ID["tflite"].sentence)
        [command] = [command for command in commands if "tf2onnx" in command]
        words = shlex.split(command.replace("FILE", "net.tflite"))
        # Labels that another test has left would be read as the model's.
        folder = self.folder / "tflite"
        folder.mkdir()
        shutil.copy(self.folder / "net.tflite", folder)
        python = ROOT / ".venv-convert-keras" / "bin" / "python"
        for line in [[python, *words[1:]], [OCELLI, "model", "show", "model.onnx", "--preset", "raw"]]:
            done = subprocess.run(line, cwd=folder, check=False, timeout=LIMIT_S, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("[batch, 48, 64, 3]", done.stdout)

    def test_options_of_other_commands_exist(self):
        python = ROOT / ".venv-convert-keras" / "bin" / "python"
        done = subprocess.run(
            [python, "-m", "tf2onnx.convert", "--help"], check=True, timeout=LIMIT_S, capture_output=True, text=True
        )
        for entry in BY_ID.values():
            for command in re.findall(r"`(python -m tf2onnx[^`]+)`", entry.sentence):
                for option in re.findall(r"--[a-z-]+", command):
                    self.assertIn(option, done.stdout, command)

    def test_broken_files(self):
        self.assertIn("broken.keras is damaged", self.convert("broken.keras", status=2))

    def test_weights_that_cannot_be_fetched(self):
        self.assertIn("has no ResNet5", self.convert("keras:ResNet5", status=2))

    def test_it_leaves_nothing_behind(self):
        self.assertEqual([path.name for path in ROOT.glob("models/.*")], [])


if __name__ == "__main__":
    unittest.main()
