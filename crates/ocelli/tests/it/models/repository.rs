//! Many models in one process: folders of models, and requests during changes.

pub(crate) mod admin;
mod memory;
mod reload;
mod stop;
mod under_load;
pub(crate) mod worker;

use std::fs;
use std::path::Path;

use ocelli::model_manager::{ModelSet, RepositoryConfig, Selection};
use ocelli::models::catalog::{ModelRef, Names};
use serde_json::Value;

use crate::PATIENCE;
use crate::harness::client::Answer;
use crate::harness::photos;
use crate::harness::process::{Process, ocelli, run};
use crate::harness::server::{Server, Setup};

/// A graph of ten classes for the packages of these tests.
const ONNX: &[u8] = include_bytes!("../../data/inputs/ten.onnx");

/// A folder of models of 8 x 8 pixels, with a configurable number of classes.
pub(crate) struct Shelf(tempfile::TempDir);

impl Shelf {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a package into `folder`, whose classes are named `label` and a number.
    pub(crate) fn put(&self, folder: &str, (name, version, label): (&str, &str, &str)) {
        let path = self.path().join(folder);
        fs::create_dir_all(&path).unwrap();
        let toml = format!(
            "schema = 1\nname = \"{name}\"\nversion = \"{version}\"\ntask = \"classification\"\n\
             [input]\nname = \"pixels\"\ndtype = \"uint8\"\nwidth = 8\nheight = 8\nlayout = \"nhwc\"\n\
             channels = \"rgb\"\nresize = {{ policy = \"stretch\" }}\ninterpolation = \"bilinear\"\n\
             [[output]]\nname = \"means\"\nactivation = \"softmax\"\nlabels = \"labels.txt\"\n"
        );
        let labels: String = (0..10).map(|class| format!("{label}-{class}\n")).collect();
        fs::write(path.join("model.toml"), toml).unwrap();
        fs::write(path.join("labels.txt"), labels).unwrap();
        fs::write(path.join("model.onnx"), ONNX).unwrap();
    }

    pub(crate) fn remove(&self, folder: &str) {
        fs::remove_dir_all(self.path().join(folder)).unwrap();
    }

    pub(crate) fn set(&self) -> ModelSet {
        ModelSet {
            repository: Some(RepositoryConfig {
                dir: self.path().to_owned(),
                selection: Selection::All,
                unload_within: PATIENCE,
            }),
            ..ModelSet::default()
        }
    }

    /// A server of this folder, when ready.
    pub(crate) async fn serve(&self) -> Server {
        let setup = Setup {
            models: Some(self.set()),
            ..Setup::default()
        };
        setup.start().await
    }
}

/// Name, version and state of each model of a server.
pub(crate) fn shown(list: &Value) -> Vec<String> {
    let text = |model: &Value, field: &str| model[field].as_str().unwrap_or("?").to_owned();
    let models = list["models"].as_array().unwrap();
    models
        .iter()
        .map(|model| {
            let [name, version, state] = ["name", "version", "state"].map(|field| text(model, field));
            format!("{name}/{version} {state}")
        })
        .collect()
}

/// The label without its number, which identifies the package.
pub(crate) fn maker(answer: &Answer) -> String {
    let best = answer.best();
    best.split_once('-')
        .unwrap_or_else(|| panic!("{best}"))
        .0
        .to_owned()
}

async fn asked(server: &Server, target: &str) -> String {
    let answer = server.post(target).form([("image", photos::DOG)]).send().await;
    maker(&answer)
}

#[tokio::test]
async fn models_and_versions_are_served_side_by_side() {
    let shelf = Shelf::new();
    shelf.put("cats", ("cats", "1", "cat"));
    for version in ["2", "9", "10"] {
        shelf.put(
            &format!("dogs/{version}"),
            ("dogs", version, &format!("dog{version}")),
        );
    }
    let mut set = shelf.set();
    set.names = Names {
        default: Some("pets".to_owned()),
        aliases: [("pets".to_owned(), ModelRef::parse("dogs/2"))].into(),
    };
    let setup = Setup {
        models: Some(set),
        ..Setup::default()
    };
    let server = setup.start().await;
    let list = server.get("/v1/models").send().await.ok();
    let all = ["cats/1 ready", "dogs/2 ready", "dogs/9 ready", "dogs/10 ready"];
    assert_eq!(shown(&list), all);
    assert_eq!(asked(&server, "/predict?model=cats").await, "cat");
    assert_eq!(
        asked(&server, "/predict?model=dogs").await,
        "dog10",
        "the highest"
    );
    assert_eq!(
        asked(&server, "/predict").await,
        "dog2",
        "what the default's alias stands for"
    );
    let unknown = server
        .post("/predict?model=cows")
        .form([("image", photos::DOG)])
        .send()
        .await;
    assert!(unknown.refused(404, "unknown_model").contains("cats, dogs"));
    server.is_empty().await;
}

#[tokio::test]
async fn a_broken_package_is_shown_and_the_rest_serves() {
    let shelf = Shelf::new();
    shelf.put("good", ("good", "1", "good"));
    shelf.put("copied", ("good", "1", "copy"));
    shelf.put("numbered/2", ("numbered", "1", "two"));
    shelf.put("broken", ("broken", "1", "b"));
    fs::write(shelf.path().join("broken/model.toml"), "schema = 1\nnmae = \"x\"").unwrap();
    let server = shelf.serve().await;
    let list = server.get("/v1/models").send().await.ok();
    let mut states = shown(&list);
    states.sort();
    assert_eq!(
        states,
        [
            "broken/? failed",
            "copied/1 ready",
            "good/1 ready",
            "numbered/2 ready"
        ]
    );
    let reasons = list["models"].to_string();
    assert!(reasons.contains("nmae"), "{reasons}");
    assert_eq!(asked(&server, "/predict?model=copied").await, "copy");
    assert_eq!(asked(&server, "/predict?model=numbered").await, "two");
    let asked_for = server
        .post("/predict?model=broken")
        .form([("image", photos::DOG)])
        .send()
        .await;
    assert!(asked_for.refused(503, "not_ready").contains("nmae"));
    assert_eq!(asked(&server, "/predict?model=good").await, "good");
    assert_eq!(server.get("/readyz").send().await.status, 200);
    let failed = "ocelli_model_state{model=\"broken\",version=\"\",state=\"failed\"}";
    assert_eq!(server.metric(failed).await, 1.0);
    assert_eq!(
        server
            .metric("ocelli_model_loads_total{outcome=\"failed\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn the_names_of_folders_take_precedence_with_a_message() {
    let shelf = Shelf::new();
    shelf.put("good", ("good", "1", "good"));
    shelf.put("copied", ("good", "1", "copy"));
    shelf.put("numbered/2", ("numbered", "1", "two"));
    let mut process = Process::fake(&["--model-dir", shelf.path().to_str().unwrap()]).await;
    for (model, inside) in [("copied 1", "good 1"), ("numbered 2", "numbered 1")] {
        let says = format!("named {model} after its folder; model.toml says {inside}");
        let line = process.logs(&says).await;
        assert!(line.contains("INFO"), "{line}");
    }
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, Some(0));
    let named = log.iter().filter(|line| line.contains("after its folder"));
    assert_eq!(
        named.count(),
        2,
        "the one whose names agree is not mentioned: {log:?}"
    );
}

#[tokio::test]
async fn a_single_model_is_served_with_another_option() {
    let shelf = Shelf::new();
    shelf.put("cats", ("cats", "1", "cat"));
    let path = shelf.path().join("cats");
    let path = path.to_str().unwrap();
    let command = ocelli(&[
        "serve",
        "--engine",
        "fake",
        "--listen",
        "127.0.0.1:0",
        "--model-dir",
        path,
    ]);
    let output = run(command, b"").await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.trim_end().ends_with(&format!("use --model {path}")),
        "{said}"
    );
}

#[tokio::test]
async fn a_process_without_a_usable_model_reports_why_and_ends() {
    let shelf = Shelf::new();
    let path = shelf.path().to_str().unwrap().to_owned();
    let ends = async |dir: &str| {
        let arguments = [
            "serve",
            "--engine",
            "fake",
            "--listen",
            "127.0.0.1:0",
            "--model-dir",
            dir,
        ];
        let output = run(ocelli(&arguments), b"").await;
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(ends(&path).await.contains("the folder holds no model"));
    assert!(ends("/nowhere").await.contains("--model-dir /nowhere"));
    shelf.put("a", ("a", "1", "x"));
    fs::write(shelf.path().join("a/model.toml"), "nmae = \"x\"").unwrap();
    let said = ends(&path).await;
    assert!(
        said.contains("none of its 1 models could be loaded") && said.contains("nmae"),
        "{said}"
    );
}

#[tokio::test]
async fn sighup_applies_the_changes_of_the_folder() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let mut process = Process::fake(&[
        "--fake-image-time",
        "0s",
        "--model-dir",
        shelf.path().to_str().unwrap(),
    ])
    .await;
    let models = async || shown(&process.get("/v1/models").send().await.ok());
    assert_eq!(models().await, ["a/1 ready"]);
    shelf.put("a", ("a", "2", "new"));
    shelf.put("b", ("b", "1", "b"));
    process.signal("HUP");
    crate::eventually("both are there", async || {
        models().await == ["a/2 ready", "b/1 ready"]
    })
    .await;
    shelf.remove("a");
    process.signal("HUP");
    crate::eventually("one is gone", async || models().await == ["b/1 ready"]).await;
    process.logs("unloading the model").await;
    process.signal("TERM");
    assert_eq!(process.ended().await.0, Some(0));
}

#[tokio::test]
async fn an_unresolved_name_is_warned_of_at_startup_and_after_a_change() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let directory = shelf.path().to_str().unwrap();
    let names = ["--default-model", "a/2", "--alias", "prod=a/1"];
    let mut process = Process::fake(&[&["--model-dir", directory], &names[..]].concat()).await;
    process.logs("--default-model a/2 leads to no model").await;
    shelf.put("a", ("a", "2", "b"));
    process.signal("HUP");
    process.logs("--alias prod=a/1 leads to no model").await;
    let answer = process
        .post("/predict")
        .form([("image", photos::DOG)])
        .send()
        .await;
    assert_eq!(maker(&answer), "b");
}

#[tokio::test]
async fn a_version_is_selected_by_the_path() {
    let shelf = Shelf::new();
    for version in ["1", "2"] {
        shelf.put(
            &format!("dogs/{version}"),
            ("dogs", version, &format!("dog{version}")),
        );
    }
    let server = shelf.serve().await;
    let predict = async |path: &str| {
        let target = format!("/v1/models/dogs{path}/predict");
        let answer = server
            .post(&target)
            .form([("image", photos::DOG)])
            .send()
            .await
            .ok();
        let best = &answer["results"][0]["predictions"][0]["label"];
        (answer["version"].clone(), best.as_str().unwrap()[..4].to_owned())
    };
    assert_eq!(predict("").await, ("2".into(), "dog2".to_owned()));
    assert_eq!(predict("/versions/1").await, ("1".into(), "dog1".to_owned()));
    let model = server.get("/v1/models/dogs/versions/1").send().await.ok();
    assert_eq!(model["version"], "1");
    let other = server.get("/v1/models/dogs/versions/3").send().await;
    assert!(other.refused(404, "unknown_model").contains("dogs/3"));
}

#[tokio::test]
async fn a_model_is_replaced_without_dropping_a_request() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let server = shelf.serve().await;
    server.engine.hold_loaded();
    let before = server.photo(&photos::grey(1)).spawn();
    server.held(1).await;
    let waiting = server.photo(&photos::grey(2)).spawn();
    server.metric_is("ocelli_admitted_images", 2.0).await;
    shelf.put("a", ("a", "2", "new"));
    let models = server.models.clone();
    let rescan = tokio::spawn(async move { models.rescan().await });
    crate::eventually("the new one is found", async || {
        shown(&server.get("/v1/models").send().await.ok())[0] == "a/2 ready"
    })
    .await;
    assert_eq!(asked(&server, "/predict").await, "new");
    assert!(!rescan.is_finished(), "the old one has not ended what it has");
    server.engine.release();
    rescan.await.unwrap();
    assert_eq!(maker(&before.await.unwrap()), "old");
    assert_eq!(maker(&waiting.await.unwrap()), "old");
    assert_eq!(server.engine.live_instances(), 1);
    server.is_empty().await;
}

#[tokio::test]
async fn a_broken_change_leaves_the_served_package() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let server = shelf.serve().await;
    server.engine.fail_loads(1);
    shelf.put("a", ("a", "2", "new"));
    server.models.rescan().await;
    let list = server.get("/v1/models").send().await.ok();
    assert_eq!(shown(&list), ["a/1 ready", "a/? failed"]);
    assert!(
        list["models"][1]["reason"].as_str().unwrap().contains("scripted"),
        "{list}"
    );
    assert_eq!(asked(&server, "/predict").await, "old");
    server.models.rescan().await;
    assert_eq!(shown(&server.get("/v1/models").send().await.ok()), ["a/2 ready"]);
    assert_eq!(asked(&server, "/predict").await, "new");
}

#[tokio::test]
async fn a_failed_reload_leaves_the_metrics_of_the_served_package() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let server = shelf.serve().await;
    let took = "ocelli_model_load_seconds{model=\"a\",version=\"1\"}";
    let before = server.metric(took).await;
    server.engine.fail_loads(1);
    shelf.put("a", ("a", "1", "longer"));
    server.models.rescan().await;
    let list = server.get("/v1/models").send().await.ok();
    assert_eq!(shown(&list), ["a/1 ready", "a/? failed"]);
    assert_eq!(server.metric(took).await, before);
}

#[tokio::test]
async fn the_model_of_the_model_option_stays() {
    let shelf = Shelf::new();
    let given = photos::PACKAGE.clone();
    let (name, version) = (
        given.card.manifest.name.clone(),
        given.card.manifest.version.clone(),
    );
    shelf.put(&format!("{name}/{version}"), (&name, &version, "usurper"));
    let mut set = shelf.set();
    set.given.push(given);
    let setup = Setup {
        models: Some(set),
        ..Setup::default()
    };
    let server = setup.start().await;
    let own = async || {
        let list = server.get("/v1/models").send().await.ok();
        (shown(&list), list["models"][0]["digest"].clone())
    };
    let (states, digest) = own().await;
    let taken = [
        format!("{name}/{version} ready"),
        format!("{name}/{version} failed"),
    ];
    assert_eq!(states, taken);
    server.models.rescan().await;
    assert_eq!(own().await, (states, digest.clone()));
    shelf.remove(&name);
    server.models.rescan().await;
    assert_eq!(own().await, (vec![taken[0].clone()], digest));
}

#[tokio::test]
async fn a_package_may_move_within_the_repository() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "old"));
    let server = shelf.serve().await;
    let states = async || shown(&server.get("/v1/models").send().await.ok());
    for (to, label) in [("a/1", "old"), ("a", "new"), ("a/1", "newer")] {
        shelf.remove("a");
        shelf.put(to, ("a", "1", label));
        server.models.rescan().await;
        assert_eq!(states().await, ["a/1 ready"], "{to} {label}");
        assert_eq!(asked(&server, "/predict").await, label);
        assert_eq!((server.engine.live_instances(), server.models.queues()), (1, 1));
    }
    shelf.remove("a");
    shelf.put("a", ("a", "1", "broken"));
    server.engine.fail_loads(1);
    server.models.rescan().await;
    assert_eq!(states().await, ["a/1 ready", "a/? failed"]);
    assert_eq!(asked(&server, "/predict").await, "newer", "it stays");
    server.models.rescan().await;
    assert_eq!(states().await, ["a/1 ready"]);
    assert_eq!(asked(&server, "/predict").await, "broken");
    shelf.remove("a");
    shelf.put("b", ("b", "1", "b"));
    server.models.rescan().await;
    assert_eq!(states().await, ["b/1 ready"]);
}

#[tokio::test]
async fn a_hundred_loads_and_unloads_leak_nothing() {
    let shelf = Shelf::new();
    shelf.put("stays", ("stays", "1", "s"));
    let server = shelf.serve().await;
    let series = async || server.get("/metrics").send().await.text().lines().count();
    // A scrape counts once it is answered.
    series().await;
    let mut before = None;
    for round in 0..100 {
        let version = round.to_string();
        shelf.put("comes", ("comes", &version, "c"));
        server.models.rescan().await;
        assert_eq!(server.engine.live_instances(), 2, "round {round}");
        assert_eq!(asked(&server, "/predict?model=comes").await, "c");
        if round % 2 == 1 {
            shelf.remove("comes");
            server.models.rescan().await;
            assert_eq!(server.engine.live_instances(), 1, "round {round}");
            assert_eq!(server.models.queues(), 1, "round {round}");
            let now = series().await;
            assert_eq!(
                *before.get_or_insert(now),
                now,
                "a series is left in round {round}"
            );
        }
    }
    server.metric_is("ocelli_engine_instances", 1.0).await;
    assert_eq!(asked(&server, "/predict?model=stays").await, "s");
    server.is_empty().await;
}
