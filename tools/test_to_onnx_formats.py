"""Tests of what the converter says of formats that are not ONNX. Run with: .venv-model/bin/python -m unittest discover tools"""

import contextlib
import io
import json
import re
import shlex
import unittest
import zipfile

from conversion import formats, launch, tfjs
from conversion.arguments import Source, parse_source, parser
from conversion.formats import BY_ID, FORMATS, Format
from test_to_onnx import Folder

CONVERTED = {"saved-model", "keras", "torchserve", "pytorch"}
TFJS = '{"modelTopology": {"node": []}, "weightsManifest": []}'
# What stands for a user's own in the commands of sentences.
STAND_INS = {"PRESET": "unit", "SIZE": "224", "FILE": "net.keras", "FOLDER": "folder", "MODEL": "owner/name"}
# Commands of other programs, which test_keras.py, test_torch.py and docs/models.md run.
OTHERS = ("python -m tf2onnx.convert ", "paddle2onnx ", "yolo export ", "torch.", "model.save(")


def commands(entry: Format) -> list[str]:
    return re.findall(r"`([^`]+)`", entry.sentence)


class FormatsTest(Folder):
    def names(self, entry: Format, pattern: str) -> list[str]:
        """What a file is called as `pattern` says, and what makes it one of a pair; the one to speak of comes first."""
        name = pattern.replace("*", "net", 1).replace("*", "1")
        return ["net.bin", name] if entry.paired else [name]

    def test_names_say_the_format_as_they_do_in_the_server(self):
        for name, expected in [
            ("Net.PT", "pytorch"),
            ("net.pt2", "torch-export"),
            ("net.weights.h5", "tensorflow-weights"),
            ("group1-shard1of3.bin", "tensorflow-js"),
            ("group1-shard1of3", "tensorflow-js"),
            ("net.weights.bin", "tensorflow-js"),
            ("inference.json", "paddle"),
            ("net.onnx", None),
            ("net.xml", None),
        ]:
            found = formats.of_name(name, lambda _: False)
            self.assertEqual(found and found.id, expected, name)
        for name, other, expected in [
            ("net.bin", "net.xml", "openvino"),
            ("net.xml", "net.bin", "openvino"),
            ("Net.BIN", "Net.param", "device"),
            ("net.bin", "other.xml", "weights"),
        ]:
            found = formats.of_name(name, lambda asked, other=other: asked == other)
            self.assertEqual(found.id, expected, name)

    def test_each_format_is_converted_or_gets_its_sentence(self):
        for entry in FORMATS:
            for index, pattern in enumerate(entry.files):
                names = self.names(entry, pattern)
                place = f"{entry.id}-{index}"
                for name in names:
                    self.write(f"{place}/{name}", TFJS if name == "model.json" else "")
                path = self.folder / place / names[-1]
                with self.subTest(path=path):
                    if entry.id in CONVERTED - {"pytorch"} and pattern != "*.savedmodel":
                        self.assertEqual(parse_source(str(path)).library, entry.id)
                        continue
                    if path.name == "model.json":
                        self.assertEqual(parse_source(str(path)).library, tfjs.GRAPH)
                        continue
                    # An empty file holds no TorchScript.
                    sentence = BY_ID["weights" if entry.id == "pytorch" else entry.id].sentence
                    if entry.id != "saved-model":
                        with self.assertFails(re.escape(f"{path} {sentence}")):
                            parse_source(str(path))
                    with self.assertFails(re.escape(f"{names[0]} {entry.sentence}")):
                        parse_source(str(path.parent))

    def test_folders_that_are_a_format(self):
        self.write("net.mlpackage/Manifest.json", "{}")
        with self.assertFails(re.escape(f"net.mlpackage {BY_ID['core-ml'].sentence}")):
            parse_source(str(self.folder / "net.mlpackage"))
        self.write("saved/saved_model.pb")
        for text in ["saved", "saved/saved_model.pb"]:
            source = parse_source(str(self.folder / text))
            self.assertEqual(source, Source("saved-model", str(self.folder / "saved"), is_path=True))
        self.assertEqual((source.environment, source.short_name), ("keras", "saved"))

    def test_tensorflow_js_models_are_read(self):
        layers = {
            "modelTopology": {"class_name": "Sequential"},
            "weightsManifest": [{"weights": [], "paths": ["./a.bin"]}],
        }
        self.write("net/model.json", json.dumps(layers))
        self.write("net/my.json", json.dumps(layers))
        for text, name in [("net", "net"), ("net/model.json", "net"), ("net/my.json", "my")]:
            source = parse_source(str(self.folder / text))
            self.assertEqual((source.library, source.environment, source.short_name), (tfjs.LAYERS, "keras", name))
        for content, words in [
            ("", "cannot be read as a TensorFlow.js model"),
            ("[]", "is no TensorFlow.js model"),
            ('{"0": "cat"}', "is no TensorFlow.js model .KeyError: 'modelTopology'"),
            (json.dumps(layers).replace("./a.bin", "../a.bin"), "outside of its folder, in '../a.bin'"),
            (json.dumps(layers).replace("./a.bin", "/a.bin"), "outside of its folder, in '/a.bin'"),
        ]:
            self.write("net/my.json", content)
            with self.assertFails(words):
                parse_source(str(self.folder / "net/my.json"))

    def test_torchscript_differs_from_weights_and_programs(self):
        for name, member, expected in [
            ("script.pt", "script/code/__torch__.py", "torchscript"),
            ("script.torchscript", "script/code/__torch__.py", "torchscript"),
            ("weights.pt", "weights/data.pkl", "weights"),
            ("program.pt", "program/archive_format", "torch-export"),
        ]:
            path = self.folder / name
            with zipfile.ZipFile(path, "w") as file:
                file.writestr(member, "")
            if expected == "torchscript":
                self.assertEqual(parse_source(str(path)), Source("torchscript", str(path), is_path=True))
                continue
            with self.assertFails(re.escape(f"{path} {BY_ID[expected].sentence}")):
                parse_source(str(path))
        with self.assertFails("missing.pt does not exist"):
            parse_source(str(self.folder / "missing.pt"))

    def test_commands_of_sentences_exist(self):
        with contextlib.chdir(self.folder):
            for name in ["net.keras", "folder/saved_model.pb", "model.keras"]:
                self.write(name)
            self.write("model.json", TFJS)
            found = 0
            for entry in FORMATS:
                for command in commands(entry):
                    with self.subTest(command):
                        program, *arguments = shlex.split(command)
                        if program != "tools/to_onnx.py":
                            self.assertTrue(command.startswith(OTHERS), command)
                            continue
                        for word, own in STAND_INS.items():
                            arguments = [re.sub(rf"\b{word}\b", own, argument) for argument in arguments]
                        self.assertFalse([argument for argument in arguments if argument.isupper()])
                        parsed = parser().parse_args(arguments)
                        source = parse_source(parsed.source)
                        if entry.id == "pytorch" and parsed.size:
                            source = Source("torchscript", "net.pt", is_path=True)
                        launch.check_options(parsed, source)
                        launch.check_reading(parsed, source)
                        found += 1
            self.assertGreater(found, 10)

    def test_options_that_a_file_cannot_answer_are_asked_for(self):
        self.write("saved/saved_model.pb")
        with zipfile.ZipFile(self.folder / "net.pt", "w") as file:
            file.writestr("net/code/__torch__.py", "")
        for arguments, words in [
            (["net.pt"], ["net.pt does not say how its pixels are prepared", "--preset torchvision"]),
            (["net.pt", "--preset", "unit"], ["the size of its images", "--size 224"]),
            (["net.pt", "--preset", "unit", "--size", "8", "--trust"], ["no code"]),
            (["net.pt", "--preset", "unit", "--size", "8", "--preprocess", "load-img"], ["--preprocess is for Keras"]),
            (["net.pt", "--preset", "unit", "--size", "8", "--weights", "none"], ["of its own"]),
            (["saved"], ["saved does not say how its pixels are prepared"]),
        ]:
            error = io.StringIO()
            with contextlib.chdir(self.folder), contextlib.redirect_stderr(error):
                self.assertEqual(launch.main([*arguments, "--here"]), 2)
            for word in words:
                self.assertIn(word, error.getvalue())


if __name__ == "__main__":
    unittest.main()
