//! A model is updated while it is served.

use std::fs;
use std::path::Path;

use super::workers::no_lease_expired;
use crate::client::Connection;
use crate::counts::Outcome;
use crate::load::Question;
use crate::processes::{Extras, pause};
use crate::setup::{Finished, Run, Setup};
use crate::store::Store;
use crate::support::redis::{Binary, Options};

/// Prefix of the labels of the new version.
const NEW: &str = "new-";

pub(crate) async fn updated(redis: &Binary) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    package(&one, "1", "");
    package(&two, "2", NEW);
    let model = |folder: &Path| Extras {
        worker: vec!["--model".to_owned(), folder.display().to_string()],
        ..Extras::default()
    };
    let questions = Question::usual().into_iter().map(|mut question| {
        let label = question.labels.pop().unwrap().1;
        question.labels = vec![("1", label.clone()), ("2", format!("{NEW}{label}"))];
        question
    });
    let setup = Setup {
        extras: model(&one),
        questions: Some(questions.collect()),
        ..Setup::default()
    };
    let store = Store::one(redis, Options::default()).await;
    let mut run = Run::open_with(
        "A model's workers replaced by those of its next version",
        store,
        setup,
    )
    .await;
    run.processes.extras = model(&two);
    for index in 0..run.processes.workers.len() {
        run.processes.restart_worker(index).await;
    }
    pause(2.0).await;
    let mut question = Question::grey(1);
    let label = format!("{NEW}{}", question.labels[0].1);
    question.labels = vec![("2", label)];
    let web = run.processes.webs[0].address;
    let mut connection = Connection::open(web).await.unwrap();
    let (last, _) = question.ask(web, &mut connection).await;
    drop(connection);
    let mut played = run.finish(&[]).await;
    no_lease_expired(&mut played);
    played.fact(
        last.outcome == Outcome::Right,
        format!("at the end the new version answers: {:?}", last.outcome),
    );
    played
}

/// The built-in model's package with another version and prefixed labels.
fn package(folder: &Path, version: &str, labels_begin: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/efficientnet-lite0");
    fs::create_dir(folder).unwrap();
    fs::copy(from.join("model.onnx"), folder.join("model.onnx")).unwrap();
    let manifest = fs::read_to_string(from.join("model.toml")).unwrap();
    let changed = manifest.replace("version = \"1\"", &format!("version = \"{version}\""));
    fs::write(folder.join("model.toml"), changed).unwrap();
    let labels = fs::read_to_string(from.join("labels.txt")).unwrap();
    let labels: Vec<String> = labels
        .lines()
        .map(|label| format!("{labels_begin}{label}\n"))
        .collect();
    fs::write(folder.join("labels.txt"), labels.concat()).unwrap();
}
