//! `ocelli predict`.

use std::fs::{self, File};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::photos;
use crate::harness::process::{ocelli, onnxruntime, run, run_unread};
use crate::harness::terminal::{CLEAR, Terminal};

/// A folder with two photos, and a subfolder with a photo and an invalid one.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    fs::create_dir(folder.path().join("deep")).unwrap();
    write("a.jpg", photos::DOG);
    write("b.png", &photos::grey(2).bytes);
    write("deep/bad.jpg", b"this is no photo");
    write("deep/c.PNG", &photos::grey(3).bytes);
    write("notes.txt", b"not looked at");
    folder
}

/// Runs it with the fake engine in `folder`; returns its exit status and output.
async fn predict(folder: &TempDir, arguments: &[&str], input: &'static [u8]) -> (i32, String) {
    let mut command = ocelli(&["predict", "--engine", "fake", "--fake-image-time", "0s"]);
    command.args(arguments).current_dir(folder);
    let Output { status, stdout, .. } = run(command, input).await;
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

fn json_lines(text: &str) -> Vec<(String, Value)> {
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["file"].as_str().unwrap().to_owned(), line))
        .collect()
}

#[tokio::test]
async fn files_that_may_be_images_are_named_when_they_are_skipped() {
    let folder = folder();
    fs::write(folder.path().join("camera"), photos::DOG).unwrap();
    fs::write(folder.path().join("phone.heic"), b"\0\0\0\x18ftypheic\0\0\0\0").unwrap();
    fs::write(folder.path().join(".hidden.jpg"), photos::DOG).unwrap();
    let said = async |arguments: &[&str]| {
        let mut command = ocelli(&["predict", "--engine", "fake", "--fake-image-time", "0s", "."]);
        command
            .args(["--format", "csv"])
            .args(arguments)
            .current_dir(&folder);
        let output = run(command, b"").await;
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(
            printed.contains("./camera,1,"),
            "a photo without an extension is one: {printed}"
        );
        assert!(!printed.contains("hidden"), "{printed}");
        String::from_utf8(output.stderr).unwrap()
    };
    let usual = said(&[]).await;
    assert!(
        usual.contains("skipped 1 file (not JPEG") && usual.contains(": ./phone.heic"),
        "{usual}"
    );
    assert!(!usual.contains("notes.txt") && !usual.contains("text"), "{usual}");
    let all = said(&["--log-level", "info"]).await;
    assert!(all.contains("skipped hidden files and text files=2"), "{all}");
}

#[tokio::test]
async fn the_examples_are_predicted_without_a_warning() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let mut command = ocelli(&["predict", "--engine", "fake", "--fake-image-time", "0s", examples]);
    command.args(["--format", "jsonl"]);
    let output = run(command, b"").await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json_lines(str::from_utf8(&output.stdout).unwrap()).len(), 3);
    assert_eq!(said(&output), "");
}

#[tokio::test]
async fn a_file_with_several_names_is_processed_once() {
    let folder = folder();
    std::os::unix::fs::symlink("a.jpg", folder.path().join("link.jpg")).unwrap();
    let arguments = ["link.jpg", "b.png", ".", "a.jpg", "*.png", "--format", "jsonl"];
    let (_, printed) = predict(&folder, &arguments, b"").await;
    let files: Vec<String> = json_lines(&printed).into_iter().map(|(file, _)| file).collect();
    assert_eq!(files, ["link.jpg", "b.png", "./deep/bad.jpg", "./deep/c.PNG"]);
}

/// Starts it with the fake engine in `folder` on photos that end with `pipe.jpg`, which the test has to write, and waits for the
/// progress bar.
async fn predict_on(terminal: &Terminal, folder: &TempDir, photos: &[&str], stdout: Stdio) -> Child {
    let made = Command::new("mkfifo")
        .arg(folder.path().join("pipe.jpg"))
        .status();
    assert!(made.unwrap().success());
    let mut command = ocelli(&["predict", "--engine", "fake", "--fake-image-time", "0s"]);
    command.args(["--format", "jsonl"]).args(photos).arg("pipe.jpg");
    command
        .current_dir(folder)
        .stdout(stdout)
        .stderr(terminal.stdio());
    let child = command.spawn().unwrap();
    let done = format!("{}/{} photos", photos.len(), photos.len() + 1);
    terminal.shows(&done).await;
    child
}

/// Writes the photo that the command waits for; returns its output and whether it succeeded.
fn finish(child: Child, folder: &TempDir) -> (bool, String) {
    fs::write(folder.path().join("pipe.jpg"), photos::DOG).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn a_terminal_shows_progress_while_photos_take_their_time() {
    let (folder, terminal) = (folder(), Terminal::open());
    let child = predict_on(&terminal, &folder, &["a.jpg", "b.png"], Stdio::piped()).await;
    let text = terminal.text();
    let bar = &text[text.find("2/3 photos").unwrap()..];
    assert!(bar.contains("/s, ") && bar.contains(" left"), "{bar:?}");
    let (succeeded, printed) = finish(child, &folder);
    assert!(succeeded, "{printed}");
    assert_eq!(json_lines(&printed).len(), 3, "the bar is no part of the output");
    let text = terminal.end();
    let rest = text.rsplit("photos").next().unwrap();
    assert!(rest.ends_with(CLEAR), "{rest:?}");
}

#[tokio::test]
async fn results_and_errors_do_not_mix_with_the_progress_bar() {
    let (folder, terminal) = (folder(), Terminal::open());
    let child = predict_on(&terminal, &folder, &["a.jpg"], terminal.stdio()).await;
    assert!(finish(child, &folder).0);
    let text = terminal.end();
    let (before, _) = text.split_once("{\"file\":\"pipe.jpg\"").unwrap();
    assert!(before.ends_with(CLEAR), "{text:?}");
    // The same for the error of a full disk.
    let (folder, terminal) = (self::folder(), Terminal::open());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let child = predict_on(&terminal, &folder, &[], full.into()).await;
    assert!(!finish(child, &folder).0);
    let text = terminal.end();
    let (before, error) = text.split_once("ocelli: ").unwrap();
    assert!(before.ends_with(CLEAR) && error.contains("space"), "{text:?}");
}

#[tokio::test]
async fn escape_codes_of_names_and_labels_are_not_printed() {
    let folder = folder();
    let hostile = "\u{1b}]0;owned\u{7}.jpg";
    fs::rename(folder.path().join("a.jpg"), folder.path().join(hostile)).unwrap();
    for format in ["table", "csv"] {
        let (status, printed) =
            predict(&folder, &[hostile, "missing\u{9b}2J", "--format", format], b"").await;
        assert_eq!(status, 1, "{printed}");
        let raw = |character: char| character.is_control() && character != '\n';
        assert!(!printed.contains(raw), "{printed:?}");
        assert!(printed.contains("\\u001b]0;owned\\u0007.jpg"), "{printed:?}");
    }
}

#[tokio::test]
async fn a_table_has_aligned_columns() {
    let folder = folder();
    let (status, printed) = predict(&folder, &["a.jpg", "-k", "2"], b"").await;
    assert_eq!(status, 0, "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "a.jpg");
    assert_eq!(lines[1], format!("   86.47 %  {}", photos::dog().label()));
    assert_eq!(lines.len(), 3, "{printed}");
}

#[tokio::test]
async fn files_folders_patterns_and_standard_input_keep_their_order() {
    let folder = folder();
    let arguments = ["b.png", "-", "deep/c*", "a.jpg", "--format", "jsonl"];
    let (status, printed) = predict(&folder, &arguments, photos::DOG).await;
    assert_eq!(status, 0, "{printed}");
    let lines = json_lines(&printed);
    let files: Vec<&str> = lines.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(files, ["b.png", "-", "deep/c.PNG", "a.jpg"]);
    let (dog, two, three) = (photos::dog(), photos::grey(2), photos::grey(3));
    for ((_, line), photo) in lines.iter().zip([two, dog.clone(), three, dog]) {
        assert_eq!(line["predictions"][0]["label"], photo.label());
        assert_eq!(line["predictions"].as_array().unwrap().len(), 5);
    }
}

#[tokio::test]
async fn a_bad_file_is_reported_and_the_others_are_processed() {
    let folder = folder();
    let arguments = [".", "missing.jpg", "*.gif", "a.jpg", "--format", "jsonl"];
    let (status, printed) = predict(&folder, &arguments, b"").await;
    assert_eq!(status, 1, "not all succeeded: {printed}");
    let lines = json_lines(&printed);
    let failed: Vec<(&str, bool)> = lines
        .iter()
        .map(|(file, line)| (file.trim_start_matches("./"), line.get("error").is_some()))
        .collect();
    assert_eq!(
        failed,
        [
            ("a.jpg", false),
            ("b.png", false),
            ("deep/bad.jpg", true),
            ("deep/c.PNG", false),
            ("missing.jpg", true),
            ("*.gif", true),
        ]
    );
}

#[tokio::test]
async fn csv_has_one_row_per_prediction() {
    let folder = folder();
    let arguments = ["deep", "--format", "csv", "--top-k", "1"];
    let (status, printed) = predict(&folder, &arguments, b"").await;
    assert_eq!(status, 1, "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "file,rank,label,index,probability,error");
    assert!(lines[1].starts_with("deep/bad.jpg,,,,,"), "{printed}");
    assert!(lines[2].starts_with("deep/c.PNG,1,"), "{printed}");
    assert_eq!(lines.len(), 3, "{printed}");
}

#[tokio::test]
async fn invalid_arguments_end_with_status_2() {
    let folder = folder();
    for arguments in [
        &["a.jpg", "-k", "0"][..],
        &["a.jpg", "-k", "1001"],
        &["a.jpg", "--model", "missing"],
    ] {
        let (status, printed) = predict(&folder, arguments, b"").await;
        assert_eq!((status, printed.as_str()), (2, ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn more_photos_than_are_read_ahead_are_all_printed() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..200 {
        let photo = photos::grey(index % 100 + 1);
        fs::write(folder.path().join(format!("{index:03}.png")), &photo.bytes).unwrap();
    }
    let (status, printed) = predict(&folder, &[".", "--format", "jsonl", "-k", "1"], b"").await;
    assert_eq!(status, 0, "{printed}");
    let lines = json_lines(&printed);
    assert_eq!(lines.len(), 200);
    for (index, (file, line)) in lines.iter().enumerate() {
        assert_eq!(file.trim_start_matches("./"), format!("{index:03}.png"));
        let photo = photos::grey(u8::try_from(index % 100).unwrap() + 1);
        assert_eq!(line["predictions"][0]["label"], photo.label());
    }
}

#[tokio::test]
async fn the_dog_is_a_beagle() {
    let Some(library) = onnxruntime() else { return };
    let folder = folder();
    let mut command = ocelli(&["predict", "a.jpg", "--format", "jsonl"]);
    command.current_dir(&folder).env("OCELLI_ONNXRUNTIME", library);
    let output = run(command, b"").await;
    assert!(output.status.success(), "{output:?}");
    let lines = json_lines(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!(lines[0].1["predictions"][0]["label"], "beagle");
}

/// Its standard error without the warning of the fake engine.
fn said(output: &Output) -> String {
    let lines = str::from_utf8(&output.stderr).unwrap().lines();
    lines.filter(|line| !line.contains("--engine fake")).collect()
}

#[tokio::test]
async fn predict_logs_only_warnings_by_default() {
    let folder = folder();
    let quiet = ["predict", "--engine", "fake", "--fake-image-time", "0s", "a.jpg"];
    let mut command = ocelli(&quiet);
    command.current_dir(&folder);
    assert_eq!(said(&run(command, b"").await), "");
    let mut command = ocelli(&quiet);
    command.args(["--log-level", "info"]).current_dir(&folder);
    let output = run(command, b"").await;
    assert!(output.status.success() && !said(&output).is_empty());
}

#[tokio::test]
async fn missing_files_are_reported_before_the_model_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["predict", "--model", "no-such-model", "missing.jpg"][..],
        &["model", "check", "no-such-model", "missing.jpg"],
    ] {
        let mut command = ocelli(arguments);
        command.current_dir(&folder);
        let output = run(command, b"").await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("missing.jpg") && !said.contains("no-such-model"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn nothing_is_computed_after_standard_output_is_closed() {
    let folder = folder();
    // Reading it would block forever.
    let pipe = folder.path().join("pipe.jpg");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for format in ["table", "jsonl", "csv"] {
        let mut command = ocelli(&["predict", "--engine", "fake", "--fake-image-time", "0s"]);
        let photos = ["--format", format, "a.jpg", "pipe.jpg"];
        command.args(photos).current_dir(&folder);
        let output = run_unread(command).await;
        let ended = (output.status.code(), said(&output));
        assert_eq!(ended, (Some(0), String::new()), "{format}");
    }
}
