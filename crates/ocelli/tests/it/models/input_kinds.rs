//! Models with every kind of input, on the real engine: the graph receives the photo as its package specifies.

use std::fs;
use std::path::Path;

use crate::harness::photos;
use crate::harness::process::{Process, ocelli, onnxruntime, run};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/inputs");

const COLOUR: [u8; 3] = [200, 10, 130];

/// A package of one of the models in `tests/data/inputs`.
struct Package {
    model: &'static str,
    input: &'static str,
    /// The expected output for a photo of one colour.
    means: Vec<f64>,
}

impl Package {
    fn write(&self, folder: &Path) {
        let onnx = Path::new(MODELS).join(format!("{}.onnx", self.model));
        fs::copy(onnx, folder.join("model.onnx")).unwrap();
        let input = self.input;
        let toml = format!(
            r#"
schema = 1
name = "m"
version = "1"
task = "embedding"
[input]
name = "pixels"
width = 10
height = 6
resize = {{ policy = "stretch" }}
interpolation = "bilinear"
{input}
[[output]]
name = "means"
activation = "none"
"#
        );
        fs::write(folder.join("model.toml"), toml).unwrap();
    }
}

async fn embed(folder: &Path, engine: &Path) -> Vec<Vec<f64>> {
    let (folder, engine) = (folder.to_str().unwrap(), engine.to_str().unwrap());
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--model",
        folder,
        "--onnxruntime",
        engine,
    ];
    let serve = Process::start(ocelli(&arguments)).await;
    let photo = photos::coloured(COLOUR);
    // Several images in one request, so that batches can have more than one.
    let images = [("image", &photo.bytes[..]); 3];
    let answer = serve.post("/v1/models/m/embed").form(images).send().await.ok();
    let results = answer["results"].as_array().unwrap();
    let vector = |result: &serde_json::Value| {
        let numbers = result["embedding"].as_array().unwrap();
        numbers.iter().map(|number| number.as_f64().unwrap()).collect()
    };
    results.iter().map(vector).collect()
}

#[tokio::test]
async fn every_kind_of_input_gets_the_photo() {
    let Some(engine) = onnxruntime() else { return };
    let [red, green, blue] = COLOUR.map(f64::from);
    let packages = [
        Package {
            model: "float16",
            input: "dtype = 'float16'\nlayout = 'nchw'\nchannels = 'rgb'\nscale = 0.5",
            means: vec![red / 2.0, green / 2.0, blue / 2.0],
        },
        Package {
            model: "grey",
            input: "dtype = 'uint8'\nlayout = 'nchw'\nchannels = 'gray'",
            // ITU-R 601 of the three: 80.49.
            means: vec![80.0],
        },
        Package {
            model: "open",
            input: "dtype = 'float32'\nlayout = 'nhwc'\nchannels = 'bgr'\nmean = [1.0, 2.0, 3.0]\nstd = [2.0, 2.0, 2.0]",
            means: vec![(blue - 1.0) / 2.0, (green - 2.0) / 2.0, (red - 3.0) / 2.0],
        },
    ];
    for package in packages {
        let folder = tempfile::tempdir().unwrap();
        package.write(folder.path());
        let vectors = embed(folder.path(), &engine).await;
        assert_eq!(vectors, vec![package.means; 3], "{}", package.model);
    }
}

#[tokio::test]
async fn external_weights_are_used_and_their_absence_is_reported() {
    let Some(engine) = onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let package = Package {
        model: "one",
        input: "dtype = 'float32'\nlayout = 'nchw'\nchannels = 'rgb'",
        means: [2.0, 4.0, 8.0]
            .into_iter()
            .zip(COLOUR)
            .map(|(factor, value)| factor * f64::from(value))
            .collect(),
    };
    package.write(folder.path());
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    command.arg("--model").arg(folder.path());
    let refused = run(command, b"").await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("weights/factors.bin") && said.contains("is missing"),
        "{said}"
    );

    fs::create_dir(folder.path().join("weights")).unwrap();
    let weights = Path::new(MODELS).join("weights/factors.bin");
    fs::copy(weights, folder.path().join("weights/factors.bin")).unwrap();
    let vectors = embed(folder.path(), &engine).await;
    assert_eq!(vectors, vec![package.means; 3]);
}
