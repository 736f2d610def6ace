"""Tests of `to_onnx` that need no framework. Run with: .venv-model/bin/python -m unittest discover tools"""

import contextlib
import errno
import io
import json
import os
import stat
import tempfile
import tomllib
import unittest
import zipfile
from pathlib import Path
from types import MappingProxyType

from conversion import labels, launch, mar, package
from conversion.arguments import Source, package_name, parse_source, parser
from conversion.failure import Failure
from conversion.manifest import Input, Manifest, Normalisation, Output
from conversion.original import settle
from conversion.photos import draw_pictures, list_photos, open_upright
from conversion.presets import PRESETS
from PIL import Image


def manifest(**changes) -> Manifest:
    spec = Input("image", 224, 192, "nhwc", PRESETS["keras-caffe"].normalisation, {"policy": "stretch"}, "bicubic")
    fields = {"name": "net", "version": "1", "task": "classification", "source": "here", "input": spec}
    return Manifest(**(fields | {"output": Output("logits", "softmax", True)} | changes))


class Folder(unittest.TestCase):
    """A test with a folder of its own, in `self.folder`."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def write(self, name: str, content: str | bytes = "") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def assertFails(self, *words: str):
        """A context in which a Failure is raised whose message has all `words`."""
        return self.assertRaisesRegex(Failure, "(?s)" + "".join(f"(?=.*{word})" for word in words))


class ManifestTest(unittest.TestCase):
    def test_it_is_toml_that_says_the_same(self):
        text = manifest(license="Apache-2.0", source='a "quoted" \\ name\n\x7f').to_toml()
        read = tomllib.loads(text)
        self.assertEqual(read["source"], 'a "quoted" \\ name\n\x7f')
        self.assertEqual((read["schema"], read["license"]), (1, "Apache-2.0"))
        self.assertEqual(read["input"]["mean"], [103.939, 116.779, 123.68])
        self.assertEqual((read["input"]["channels"], read["input"]["layout"]), ("bgr", "nhwc"))
        self.assertEqual((read["input"]["width"], read["input"]["height"]), (224, 192))
        self.assertEqual(read["input"]["resize"], {"policy": "stretch"})
        self.assertIs(read["input"]["antialias"], True)
        self.assertEqual(read["input"]["resampler"], "pillow")
        self.assertNotIn("coordinates", read["input"])
        self.assertEqual(read["output"], [{"name": "logits", "activation": "softmax", "labels": "labels.txt"}])

    def test_scales_survive_the_text(self):
        spec = Input(
            "image", 8, 8, "nchw", PRESETS["keras-tf"].normalisation, {"policy": "shortest-edge", "size": 9}, "bilinear"
        )
        read = tomllib.loads(manifest(input=spec).to_toml())
        self.assertEqual(read["input"]["scale"], 1 / 127.5)
        self.assertEqual(read["input"]["resize"], {"policy": "shortest-edge", "size": 9})

    def test_it_says_whose_arithmetic_resizes(self):
        reading = PRESETS["tfjs-align-corners"].reading
        spec = Input("image", 8, 8, "nhwc", Normalisation(), {"policy": "stretch"}, **vars(reading))
        read = tomllib.loads(manifest(input=spec).to_toml())["input"]
        self.assertEqual(
            (read["resampler"], read["antialias"], read["coordinates"]), ("tensorflow", False, "align-corners")
        )

    def test_pixels_as_they_are_have_no_normalisation(self):
        spec = Input("image", 8, 8, "nhwc", Normalisation(), {"policy": "stretch"}, "bilinear", dtype="uint8")
        self.assertNotIn("scale", tomllib.loads(manifest(input=spec).to_toml())["input"])

    def test_an_output_without_names_names_no_file(self):
        read = tomllib.loads(manifest(output=Output("features", "none", False)).to_toml())
        self.assertEqual(read["output"], [{"name": "features", "activation": "none"}])

    def test_shapes_follow_the_layout_and_the_channels(self):
        grey = Normalisation("gray")
        self.assertEqual(Input("i", 4, 3, "nchw", Normalisation(), {}, "bicubic").shape, (3, 3, 4))
        self.assertEqual(Input("i", 4, 3, "nhwc", grey, {}, "bicubic").shape, (3, 4, 1))


class LabelsTest(Folder):
    def test_every_form(self):
        names = ["tench", "great white shark"]
        for name, content in {
            "plain.txt": "tench\r\ngreat white shark\n\n",
            "list.json": json.dumps(names),
            "keras.json": json.dumps({"1": ["n01484850", "great white shark"], "0": ["n01440764", "tench"]}),
            "class_indices.json": json.dumps({"great white shark": 1, "tench": 0}),
            "torchserve.json": json.dumps({"object_type_names": names}),
            "config.json": json.dumps({"id2label": {"0": "tench", "1": "great white shark"}, "model_type": "vit"}),
        }.items():
            self.assertEqual(labels.read_labels(self.write(name, content)), names, name)

    def test_what_is_wrong_is_named(self):
        for name, content, words in [
            ("empty.txt", "", ["empty.txt", "one label a line"]),
            ("latin.txt", b"caf\xe9", ["latin.txt", "UTF-8"]),
            ("gap.json", '{"0": "cat", "2": "dog"}', ["class 1"]),
            ("names.json", '{"cat": "0"}', ["class indices"]),
            ("both.json", '{"cat": 0, "dog": 0}', ["class 0", "cat", "dog"]),
            ("from_one.json", '{"cat": 1, "dog": 2}', ["class 0", "number them from 0"]),
            ("number.json", '["cat", 1]', ["class 1", "no text"]),
            ("nothing.json", "{}", ["no labels"]),
            ("broken.json", "{", ["no JSON"]),
        ]:
            with self.subTest(name), self.assertFails(*words):
                labels.read_labels(self.write(name, content))
        with self.assertFails("missing.txt"):
            labels.read_labels(self.folder / "missing.txt")

    def test_one_line_for_each_label(self):
        self.assertEqual(labels.to_text(["a\nb", " c "]), "a b\nc\n")

    def test_the_number_must_be_the_models(self):
        with self.assertFails("2 labels", "3 classes", "--labels"):
            labels.check_count(["a", "b"], 3, "x")

    def test_classes_without_names_are_called_as_the_server_calls_them(self):
        names, notes = labels.choose("classification", None, 3, None, "net.keras")
        self.assertIsNone(names)
        self.assertIn("classes are called class 0, class 1, ...", notes[0])
        self.assertEqual(labels.choose("classification", None, 2, ["a", "b"], "x"), (["a", "b"], []))

    def test_features_have_none(self):
        self.assertEqual(labels.choose("embedding", None, 2, ["a", "b"], "x"), (None, []))
        with self.assertFails("--labels", "--task classification"):
            labels.choose("embedding", self.write("labels.txt", "a\nb\n"), 2, None, "x")

    def test_one_output_is_the_second_of_two(self):
        given = self.write("labels.txt", "cat\ndog\n")
        names, notes = labels.choose("multilabel", given, 1, None, "x")
        self.assertEqual(names, ["dog"])
        self.assertRegex(notes[0], "'dog', else it is 'cat'")
        self.assertEqual(labels.choose("classification", given, 2, None, "x"), (["cat", "dog"], []))

    def test_one_output_has_no_softmax(self):
        for task, classes, expected in [
            ("classification", 1, "multilabel"),
            ("multilabel", 1, "multilabel"),
            ("embedding", 1, "embedding"),
            ("classification", 2, "classification"),
            ("multilabel", 2, "multilabel"),
        ]:
            with self.subTest(task, classes=classes):
                found, notes = settle(task, classes)
                self.assertEqual(found, expected)
                self.assertEqual(len(notes), int(expected == "multilabel" and classes == 1))

    def test_imagenet_is_there(self):
        names = labels.imagenet_labels()
        self.assertEqual((len(names), names[0], names[-1]), (1000, "tench", "toilet_tissue"))


class ArchiveTest(Folder):
    MODEL = MappingProxyType({"modelName": "cats", "serializedFile": "net.pt", "handler": "image_classifier"})

    def archive(self, model: dict | None = None, **members: bytes) -> Path:
        path = self.folder / "net.mar"
        described = {"model": {**self.MODEL, **(model or {})}}
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(mar.MANIFEST, json.dumps(described))
            file.writestr("net.pt", members.pop("pt", self.torchscript()))
            for name, content in members.items():
                file.writestr(name.replace("__", "."), content)
        return path

    @staticmethod
    def torchscript() -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:
            file.writestr("net/code/__torch__.py", "")
        return content.getvalue()

    def test_torchscript_with_its_labels(self):
        read = mar.read(self.archive(index_to_name__json=b'{"0": ["n1", "cat"], "1": ["n2", "dog"]}'))
        self.assertEqual((read.name, read.is_torchscript, read.labels), ("cats", True, ["cat", "dog"]))
        mar.check(read, trust=False, preset=None)
        with self.assertFails("--trust", "TorchScript"):
            mar.check(read, trust=True, preset=None)

    def test_pickles_and_code_need_trust(self):
        read = mar.read(self.archive({"modelFile": "net.py"}, pt=b"\x80\x02}q\x00.", net__py=b"raise SystemExit"))
        with self.assertFails("net.py", "pickle", "--trust"):
            mar.check(read, trust=False, preset=None)
        mar.check(read, trust=True, preset=None)

    def test_a_pickled_model_without_its_class_is_refused_even_then(self):
        with self.assertFails("net.pt", "--model-file"):
            mar.check(mar.read(self.archive(pt=b"\x80\x02}q\x00.")), trust=True, preset=None)

    def test_handlers_that_prepare_in_their_own_way(self):
        read = mar.read(self.archive({"handler": "mine.py"}))
        with self.assertFails("mine.py", "--preset torchvision"):
            mar.check(read, trust=False, preset=None)
        mar.check(read, trust=False, preset="torchvision")
        with self.assertFails("keras-tf", "torchvision"):
            mar.check(read, trust=False, preset="keras-tf")

    def test_members_that_lead_out(self):
        for name in ["../evil.py", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:/evil"]:
            path = self.archive()
            with zipfile.ZipFile(path, "a") as file:
                file.writestr(name, b"")
            with self.subTest(name), self.assertFails("leads out"):
                mar.read(path)

    def test_links(self):
        path = self.archive()
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(link, "/etc/passwd")
        with self.assertFails("leads out", "link"):
            mar.read(path)

    def test_archives_that_are_none(self):
        for content, words in [
            (b"\x1f\x8b tar", ["no zip archive", "torch-model-archiver"]),
            (b"", ["no zip archive"]),
        ]:
            with self.assertFails(*words):
                mar.read(self.write("other.mar", content))
        empty = self.folder / "empty.mar"
        zipfile.ZipFile(empty, "w").close()
        with self.assertFails("MANIFEST.json"):
            mar.read(empty)

    def test_archives_without_a_model(self):
        with self.assertFails("no model", "--serialized-file"):
            mar.read(self.archive({"serializedFile": None}))
        with self.assertFails("lacks", "other.pt"):
            mar.read(self.archive({"serializedFile": "other.pt"}))
        with self.assertFails("modelFile", "no text"):
            mar.read(self.archive({"modelFile": 3}))

    def test_sizes_that_no_model_has(self):
        limit, mar.MAX_BYTES = mar.MAX_BYTES, 100
        self.addCleanup(setattr, mar, "MAX_BYTES", limit)
        with self.assertFails("unpacks to more"):
            mar.read(self.archive(big__bin=bytes(101)))


class SourceTest(Folder):
    def test_names_say_whose_they_are(self):
        self.assertEqual(parse_source("timm:resnet18.a1_in1k"), Source("timm", "resnet18.a1_in1k"))
        self.assertEqual(parse_source("transformers:google/vit").short_name, "vit")
        self.assertEqual(parse_source("keras:ResNet50").environment, "keras")
        with self.assertFails("resnet50", "torchvision:resnet50"):
            parse_source("resnet50")
        with self.assertFails("names no model"):
            parse_source("timm:")

    def test_files(self):
        keras = parse_source(str(self.write("My Net.keras")))
        self.assertEqual((keras.library, keras.is_path, keras.short_name), ("keras", True, "my-net"))
        self.assertEqual(parse_source(str(self.write("x.mar"))).library, "torchserve")
        for name, words in [
            ("missing.h5", ["missing.h5", "does not exist"]),
            ("net.onnx", ["ONNX already", "ocelli serve --model"]),
            ("my net.onnx", ["--model '[^']*/my net.onnx'"]),
            ("net.pth", ["net.pth does not exist"]),
            ("net.safetensors", ["--weights"]),
        ]:
            with self.subTest(name), self.assertFails(*words):
                parse_source(str(self.folder / name))
        with self.assertFails("notes.txt", "none of"):
            parse_source(str(self.write("notes.txt")))

    def test_folders(self):
        self.write("vit/config.json", '{"architectures": ["ViT"]}')
        self.write("timm/config.json", '{"architecture": "resnet18"}')
        self.assertEqual(parse_source(str(self.folder / "vit")).library, "transformers")
        self.assertEqual(parse_source(str(self.folder / "timm")).library, "timm")
        self.write("broken/config.json", "{")
        for name, words in [("broken", ["config.json"]), (".", ["config.json"])]:
            with self.subTest(name), self.assertFails(*words):
                parse_source(str(self.folder / name))

    def test_package_names(self):
        self.assertEqual(package_name("ResNet 50 (mine)"), "resnet-50-mine-")
        self.assertEqual(package_name("../.x"), "x")
        self.assertEqual(package_name("é"), "model")


class CommandTest(Folder):
    """`main` on what is wrong before any library is needed: the message, and status 2."""

    def run_main(self, *arguments: str) -> str:
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            self.assertEqual(launch.main([*arguments, "--here"]), 2)
        return error.getvalue()

    def test_messages(self):
        model, taken = str(self.write("net.keras")), self.write("taken/notes.txt").parent
        out = ["--out", str(self.folder / "out")]
        (self.folder / "empty").mkdir()
        for arguments, words in [
            ([str(self.folder / "no.keras")], ["no.keras does not exist"]),
            ([model, "--out", str(taken)], ["is no package", "--out"]),
            ([model, *out, "--int8"], ["--photos"]),
            ([model, *out, "--photos", str(self.folder / "empty")], ["empty", "no photos"]),
            ([model, *out, "--photos", str(self.folder / "nowhere")], ["nowhere", "no folder"]),
            ([model, *out, "--labels", str(self.folder / "no.txt")], ["no.txt"]),
            ([model, *out, "--labels", str(self.write("l.txt", "a")), "--task", "embedding"], ["l.txt", "features"]),
            ([model, *out, "--name", "Net"], ["--name", "'net'"]),
            ([model, *out, "--weights", "none"], ["--weights", "of its own"]),
            (["timm:x", *out, "--preset", "none"], ["--preset"]),
            (["torchvision:x", *out, "--preset", "keras-tf"], ["--preset"]),
            (["timm:x", *out, "--size", "224"], ["--size", "timm"]),
            (["torchvision:x", *out, "--size", "224"], ["--size", "torchvision"]),
            (["transformers:x", *out, "--size", "224"], ["--size", "transformers"]),
            (["timm:x", *out, "--preprocess", "load_img"], ["--preprocess is for Keras", "timm"]),
            (["torchvision:x", *out, "--antialias", "off"], ["--antialias is for Keras", "torchvision"]),
            (["transformers:x", *out, "--interpolation", "area"], ["--interpolation area", "bilinear"]),
            (["timm:x", *out, "--weights", "no/such.pth"], ["no/such.pth does not exist"]),
            (["timm:x", *out, "--trust"], ["--trust", "timm:x", "no code"]),
            (["torchvision:x", *out, "--trust"], ["--trust", "no code"]),
            (["keras:X", *out, "--trust"], ["--trust", "no code"]),
            ([str(self.write("x.mar", b"x")), *out], ["no zip archive"]),
            ([str(self.write("half.keras", b"PK\x03\x04")), *out], ["half.keras is damaged"]),
            ([str(self.write("old.keras", b"\x89HDF\r\n\x1a\n")), *out], ["rename it to old.h5"]),
        ]:
            message = self.run_main(*arguments)
            for word in words:
                self.assertIn(word, message)
            self.assertNotIn("Traceback", message)

    def test_only_packages_are_replaced_and_only_when_asked(self):
        there = self.write("there/model.toml").parent
        with self.assertFails("--force"):
            launch.check_out(there, force=False)
        launch.check_out(there, force=True)
        with self.assertFails("no package"):
            launch.check_out(self.write("home/notes.txt").parent, force=True)
        for wrong in [self.write("file"), self.folder / "file" / "below"]:
            with self.assertFails("--out", "file is no folder"):
                launch.check_out(wrong, force=True)

    def test_the_folder_names_the_package(self):
        arguments = parser().parse_args([str(self.write("a.h5")), "--out", str(self.folder / "My Cats")])
        launch.check(arguments, Source("keras", str(self.folder / "a.h5"), is_path=True))
        self.assertEqual(arguments.name, "my-cats")

    def test_sizes(self):
        self.assertEqual(parser().parse_args(["x", "--size", "320x240"]).size, (320, 240))
        self.assertEqual(parser().parse_args(["x", "--size", "224"]).size, (224, 224))
        for wrong in ["0", "4097", "3x", "big"]:
            with self.subTest(wrong), contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit):
                parser().parse_args(["x", "--size", wrong])


class RequirementsTest(unittest.TestCase):
    def test_what_converts_is_what_the_goldens_are_made_with(self):
        def pins(name: str) -> dict[str, str]:
            lines = Path(__file__).with_name(name).read_text().splitlines()
            pairs = [line.split(";")[0].split("==") for line in lines if not line.startswith("#")]
            return {package.replace("_", "-").lower(): version for package, version in pairs}

        frameworks = pins("requirements-frameworks.txt")
        for name in ["requirements-keras.txt", "requirements-torch.txt"]:
            for requirement, version in pins(name).items():
                # Where there is no build for processors alone, the whole has the same version.
                known = "tensorflow-cpu" if requirement == "tensorflow" else requirement
                self.assertEqual(frameworks.get(known), version, f"{name}: {requirement}")


class PackageTest(Folder):
    def test_it_appears_whole_or_not_at_all(self):
        out = self.folder / "models" / "net"
        with self.assertRaises(RuntimeError), package.staged(out) as stage:
            (stage / "model.toml").write_text("half")
            raise RuntimeError
        with self.assertFails("models/net cannot be written", "No space left"), package.staged(out):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.assertEqual(list(out.parent.iterdir()), [])
        graph_file = self.write("graph.onnx", "graph")
        for content in ["first", "second"]:
            with package.staged(out) as stage:
                package.write(stage, manifest(source=content), graph_file, ["cat"])
            self.assertIn(content, (out / "model.toml").read_text())
        self.assertEqual(sorted(path.name for path in out.iterdir()), ["labels.txt", "model.onnx", "model.toml"])
        self.assertEqual([path.name for path in out.parent.iterdir()], ["net"])


class PhotosTest(Folder):
    def test_as_many_as_asked_spread_over_the_folder(self):
        for index in range(10):
            self.write(f"{index // 5}/{index}.JPG")
        self.write("notes.txt")
        self.assertEqual([path.stem for path in list_photos(self.folder, 3)], ["0", "3", "6"])
        self.assertEqual(len(list_photos(self.folder, 100)), 10)

    def test_photos_are_turned_upright(self):
        image = Image.new("RGB", (4, 2))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(self.folder / "turned.jpg", exif=exif)
        self.assertEqual(open_upright(self.folder / "turned.jpg").size, (2, 4))
        with self.assertFails("broken.jpg", "decoded"):
            open_upright(self.write("broken.jpg", b"\xff\xd8\xff"))

    def test_drawn_pictures_are_the_same_every_time(self):
        first = [path.read_bytes() for path in draw_pictures(self.folder)]
        self.assertEqual(first, [path.read_bytes() for path in draw_pictures(self.folder)])
        self.assertEqual(len(set(first)), len(first))


if __name__ == "__main__":
    unittest.main()
