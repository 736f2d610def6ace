//! How model families prepare photos, by name: for models that come without a file that says so.

use std::{fmt, str::FromStr};

use super::recipe::{Arithmetic, Recipe, Resize};
use crate::{Channels, Coordinates, Interpolation, Resampling};

/// `torchvision.transforms` and `timm.data.constants.IMAGENET_DEFAULT_*`, of pixels in 0..1, red first.
pub(super) const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
pub(super) const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
/// `transformers.image_utils.IMAGENET_STANDARD_*`.
pub(super) const HALF: [f64; 3] = [0.5; 3];
/// `transformers.image_utils.OPENAI_CLIP_*`.
pub(super) const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
pub(super) const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
/// `keras.src.applications.imagenet_utils._preprocess_numpy_input`, mode "caffe": of pixels in 0..255, blue first.
const CAFFE_MEAN: [f64; 3] = [103.939, 116.779, 123.68];

/// The share of the resized photo that a centre crop keeps: 224 of 256, which torchvision and timm have in common.
const USUAL_CROP: f64 = 0.875;

/// A way to prepare photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below describes them")]
pub enum Preset {
    KerasCaffe,
    KerasTf,
    KerasTorch,
    Torchvision,
    TorchvisionV2,
    Timm,
    Vit,
    Clip,
    Unit,
    ImageDataset,
    ImageDatasetUnit,
    LoadImg,
    FlowFromDirectory,
    OpenCvLinear,
    OpenCvArea,
    OpenCvCubic,
    OpenCvLanczos4,
    TfjsAlignCorners,
    TfjsAsymmetric,
    YoloCls,
    Raw,
}

/// A preset's name, with others that it is known by, and what it is for.
struct Entry {
    preset: Preset,
    name: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
    recipe: Recipe,
}

/// All of the photo, 0 to 1, as Pillow resizes it.
const STRETCHED: Recipe = Recipe {
    size: None,
    size_from: "the preset",
    resize: Resize::Stretch,
    channels: Channels::Rgb,
    scale: 1.0 / 255.0,
    mean: [0.0; 3],
    std: [1.0; 3],
    interpolation: Interpolation::Bicubic,
    arithmetic: Arithmetic::PILLOW,
};

/// The same, with the mean and deviation of ImageNet.
const IMAGENET: Recipe = Recipe {
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
    ..STRETCHED
};

/// The same as TensorFlow's bilinear filter resizes it.
const fn tensorflow(coordinates: Coordinates) -> Recipe {
    Recipe {
        interpolation: Interpolation::Bilinear,
        arithmetic: Arithmetic {
            resampler: Resampling::TensorFlow,
            antialias: false,
            coordinates,
        },
        ..STRETCHED
    }
}

/// The same as OpenCV reads and resizes it.
const fn opencv(interpolation: Interpolation) -> Recipe {
    Recipe {
        channels: Channels::Bgr,
        interpolation,
        arithmetic: Arithmetic {
            resampler: Resampling::OpenCv,
            antialias: false,
            coordinates: Coordinates::HalfPixel,
        },
        ..STRETCHED
    }
}

/// The table of presets. Sources: keras 3.15 `applications/imagenet_utils.py`, torchvision 0.29
/// `transforms/_presets.py` (`ImageClassification`), timm 1.0 `data/transforms_factory.py` and `data/constants.py`,
/// transformers 5 `models/vit` and `models/clip`;
/// ultralytics 8.4 `data/augment.py` (`classify_transforms`);
/// keras 3.15 `utils/image_dataset_utils.py`, `utils/image_utils.py` and `legacy/preprocessing/image.py`.
const TABLE: [Entry; 21] = [
    Entry {
        preset: Preset::KerasCaffe,
        name: "keras-caffe",
        aliases: &["caffe"],
        about: "Keras' ResNet and VGG: stretched, BGR minus ImageNet's means",
        recipe: Recipe {
            channels: Channels::Bgr,
            scale: 1.0,
            mean: CAFFE_MEAN,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::KerasTf,
        name: "keras-tf",
        aliases: &["tf"],
        about: "Keras' MobileNet, Inception, Xception, NASNet and ResNetV2: stretched, -1 to 1",
        recipe: Recipe {
            scale: 1.0 / 127.5,
            mean: [1.0; 3],
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::KerasTorch,
        name: "keras-torch",
        aliases: &[],
        about: "Keras' DenseNet: stretched, ImageNet's mean and standard deviation",
        recipe: IMAGENET,
    },
    Entry {
        preset: Preset::Torchvision,
        name: "torchvision",
        aliases: &["torch", "imagenet"],
        about: "torchvision's classifiers: shorter edge to 256 for 224, centre, bilinear, ImageNet's mean and \
                standard deviation",
        recipe: Recipe {
            resize: Resize::Centre { share: USUAL_CROP },
            interpolation: Interpolation::Bilinear,
            ..IMAGENET
        },
    },
    Entry {
        preset: Preset::TorchvisionV2,
        name: "torchvision-v2",
        aliases: &[],
        about: "those with weights IMAGENET1K_V2: the same, shorter edge to 232 for 224",
        recipe: Recipe {
            resize: Resize::Centre { share: 224.0 / 232.0 },
            interpolation: Interpolation::Bilinear,
            ..IMAGENET
        },
    },
    Entry {
        preset: Preset::Timm,
        name: "timm",
        aliases: &[],
        about: "timm's default: as torchvision, bicubic",
        recipe: Recipe {
            resize: Resize::Centre { share: USUAL_CROP },
            ..IMAGENET
        },
    },
    Entry {
        preset: Preset::Vit,
        name: "vit",
        aliases: &[],
        about: "Google's ViT: stretched, bilinear, -1 to 1",
        recipe: Recipe {
            mean: HALF,
            std: HALF,
            arithmetic: Arithmetic::TORCH,
            interpolation: Interpolation::Bilinear,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::Clip,
        name: "clip",
        aliases: &[],
        about: "OpenAI's CLIP: shorter edge to the size, centre, bicubic, CLIP's mean and standard deviation",
        recipe: Recipe {
            resize: Resize::Centre { share: 1.0 },
            mean: CLIP_MEAN,
            std: CLIP_STD,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::YoloCls,
        name: "yolo-cls",
        aliases: &["yolo", "ultralytics"],
        about: "Ultralytics' classifiers (YOLO-cls): shorter edge to the size, centre, bilinear, 0 to 1",
        recipe: Recipe {
            resize: Resize::CentreOfSquare,
            interpolation: Interpolation::Bilinear,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::Unit,
        name: "unit",
        aliases: &["rescale"],
        about: "Own models trained with rescale=1/255: stretched, 0 to 1",
        recipe: Recipe {
            interpolation: Interpolation::Bilinear,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::Raw,
        name: "raw",
        aliases: &[],
        about: "Models that normalise by themselves, such as Keras' EfficientNet: stretched, 0 to 255",
        recipe: Recipe {
            scale: 1.0,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::ImageDataset,
        name: "image-dataset",
        aliases: &["image_dataset_from_directory", "tf-image-resize"],
        about: "Keras' image_dataset_from_directory, tf.image.resize: stretched, bilinear without antialiasing, 0 to 255",
        recipe: Recipe {
            scale: 1.0,
            ..tensorflow(Coordinates::HalfPixel)
        },
    },
    Entry {
        preset: Preset::ImageDatasetUnit,
        name: "image-dataset-unit",
        aliases: &[],
        about: "the same with Rescaling(1/255) outside of the model: 0 to 1",
        recipe: tensorflow(Coordinates::HalfPixel),
    },
    Entry {
        preset: Preset::LoadImg,
        name: "load-img",
        aliases: &["load_img"],
        about: "Keras' load_img(target_size=...): stretched, nearest, 0 to 255",
        recipe: Recipe {
            scale: 1.0,
            interpolation: Interpolation::Nearest,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::FlowFromDirectory,
        name: "flow-from-directory",
        aliases: &["flow_from_directory", "image-data-generator"],
        about: "Keras' ImageDataGenerator(rescale=1/255).flow_from_directory: stretched, nearest, 0 to 1",
        recipe: Recipe {
            interpolation: Interpolation::Nearest,
            ..STRETCHED
        },
    },
    Entry {
        preset: Preset::OpenCvLinear,
        name: "opencv-linear",
        aliases: &["opencv", "cv2"],
        about: "cv2.imread and cv2.resize: stretched, INTER_LINEAR, BGR, 0 to 1",
        recipe: opencv(Interpolation::Bilinear),
    },
    Entry {
        preset: Preset::OpenCvArea,
        name: "opencv-area",
        aliases: &[],
        about: "the same with INTER_AREA",
        recipe: opencv(Interpolation::Area),
    },
    Entry {
        preset: Preset::OpenCvCubic,
        name: "opencv-cubic",
        aliases: &[],
        about: "the same with INTER_CUBIC",
        recipe: opencv(Interpolation::Bicubic),
    },
    Entry {
        preset: Preset::OpenCvLanczos4,
        name: "opencv-lanczos4",
        aliases: &[],
        about: "the same with INTER_LANCZOS4",
        recipe: opencv(Interpolation::Lanczos),
    },
    Entry {
        preset: Preset::TfjsAlignCorners,
        name: "tfjs-align-corners",
        aliases: &["tfjs"],
        about: "TensorFlow.js' resizeBilinear with alignCorners: stretched, 0 to 1",
        recipe: tensorflow(Coordinates::AlignCorners),
    },
    Entry {
        preset: Preset::TfjsAsymmetric,
        name: "tfjs-asymmetric",
        aliases: &["tf1"],
        about: "TensorFlow.js' resizeBilinear with its defaults, TensorFlow 1's resize_images: stretched, 0 to 1",
        recipe: tensorflow(Coordinates::Asymmetric),
    },
];

impl Preset {
    /// All of them, in the order in which they are shown.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| entry.preset)
    }

    /// What users call it.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Other names that it is known by.
    pub fn aliases(self) -> &'static [&'static str] {
        self.entry().aliases
    }

    /// What it is for, in a line.
    pub fn about(self) -> &'static str {
        self.entry().about
    }

    fn entry(self) -> &'static Entry {
        // A test sees to it that each has its row.
        TABLE
            .iter()
            .find(|entry| entry.preset == self)
            .unwrap_or(&TABLE[0])
    }

    /// What it does with a photo.
    pub(super) fn recipe(self) -> Recipe {
        self.entry().recipe
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        TABLE
            .iter()
            .find(|entry| entry.name == text || entry.aliases.contains(&text))
            .map(|entry| entry.preset)
            .ok_or_else(|| {
                let names: Vec<&str> = TABLE.iter().map(|entry| entry.name).collect();
                format!("{text:?} is no preset: use one of {}", names.join(", "))
            })
    }
}
