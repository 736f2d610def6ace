"""Makes the models of torchvision, timm, transformers and TorchServe that are converted, with random weights, and notes what
their libraries answer on a picture."""

import json
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import timm
import torch
import torchvision
import transformers
from conversion.photos import draw_pictures
from PIL import Image
from safetensors.torch import save_file

NAMES = {0: "cat", 1: "dog", 2: "bird"}
MODEL_FILE = """
from torchvision.models.resnet import BasicBlock, ResNet


class Net(ResNet):
    def __init__(self):
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=3)
"""


class Halve:
    """A pickle that would run code, which creates a path."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def archive(folder: Path, name: str, files: list[str], **model: str) -> None:
    """A .mar in the format of torch-model-archiver."""
    manifest = {"runtime": "python", "model": {"modelName": "pets", "modelVersion": "1.0", **model}}
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        for path in files:
            file.write(folder / path, path)


def answers(scores: torch.Tensor, names: dict[int, str]) -> dict[str, float]:
    return {names[index]: p for index, p in enumerate(scores.softmax(0).tolist())}


def torchserve(folder: Path, picture: Image.Image) -> dict[str, float]:
    network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3).eval()
    torch.save(network.state_dict(), folder / "net.pth")
    torch.jit.script(network).save(folder / "net.pt")
    torch.save({"state_dict": network.state_dict(), "evil": Halve()}, folder / "evil.pth")
    (folder / "net.py").write_text(MODEL_FILE)
    labels = {str(index): [f"n{index}", name] for index, name in NAMES.items()}
    (folder / "index_to_name.json").write_text(json.dumps(labels))
    labels_file, handler = "index_to_name.json", "image_classifier"
    archive(folder, "script.mar", ["net.pt", labels_file], handler=handler, serializedFile="net.pt")
    eager = {"handler": handler, "serializedFile": "net.pth", "modelFile": "net.py"}
    archive(folder, "eager.mar", ["net.pth", "net.py", labels_file], **eager)
    parallel = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": parallel}, folder / "parallel.pth")
    archive(
        folder, "parallel.mar", ["parallel.pth", "net.py", labels_file], **eager | {"serializedFile": "parallel.pth"}
    )
    probabilities = torch.nn.Sequential(network, torch.nn.Softmax(dim=1))
    torch.jit.trace(probabilities.eval(), torch.zeros(1, 3, 224, 224)).save(folder / "probabilities.pt")
    evil = eager | {"serializedFile": "evil.pth"}
    archive(folder, "evil.mar", ["evil.pth", "net.py", labels_file], **evil)
    # TorchServe's own handler.
    steps = torchvision.transforms
    pipeline = steps.Compose(
        [
            steps.Resize(256),
            steps.CenterCrop(224),
            steps.ToTensor(),
            steps.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return answers(network(pipeline(picture)[None])[0], NAMES)


def of_transformers(folder: Path, picture: Image.Image) -> dict[str, float]:
    names = {"num_labels": 3, "id2label": NAMES}
    vit = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 64}
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**vit, **names)).eval()
    model.save_pretrained(folder / "vit")
    processor = transformers.ViTImageProcessor()
    processor.save_pretrained(folder / "vit")
    small = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    resnet = transformers.ResNetConfig(**small, **names, problem_type="multi_label_classification")
    transformers.ResNetForImageClassification(resnet).save_pretrained(folder / "tags")
    transformers.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875).save_pretrained(folder / "tags")
    transformers.ViTModel(transformers.ViTConfig(**vit)).save_pretrained(folder / "backbone")
    transformers.DeiTImageProcessor().save_pretrained(folder / "backbone")
    return answers(model(**processor(picture, return_tensors="pt")).logits[0], NAMES)


def main(folder: Path) -> None:
    torch.manual_seed(1)
    (folder / "photos").mkdir()
    with Image.open(draw_pictures(folder / "photos")[0]) as image:
        picture = image.convert("RGB")
    with torch.inference_mode():
        expected = {"torchserve": torchserve(folder, picture), "vit": of_transformers(folder, picture)}
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), folder / "tuned.pth")
    for library, prefix, network in [
        ("torchvision", "model.", torchvision.models.mobilenet_v3_small(num_classes=3)),
        ("timm", "backbone.", timm.create_model("resnet18", num_classes=3)),
    ]:
        tensors = {f"{prefix}{name}": value.contiguous() for name, value in network.state_dict().items()}
        save_file(tensors, folder / f"{library}.safetensors")
    program = torch.export.export(
        torchvision.models.resnet18(num_classes=3).eval(),
        (torch.zeros(2, 3, 224, 224),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, folder / "program.pt2")
    network = timm.create_model("resnet18", num_classes=3)
    timm.models.save_for_hf(network, folder / "timm", model_args={"num_classes": 3})
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
