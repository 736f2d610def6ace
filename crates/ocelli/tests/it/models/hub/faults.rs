//! Interrupted, corrupted and concurrent downloads.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use super::{SPEC, TestHub, fails, graph, outcome};
use crate::eventually;

#[tokio::test]
async fn an_interrupted_download_is_resumed() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.cut_after = Some(1_500_000));
    test_hub.pulls(SPEC).await;
    let asked = test_hub.asked_cdn();
    assert!(asked.len() >= 4, "{asked:?}");
    assert!(asked[1..].iter().all(|asked| asked.range.is_some()), "{asked:?}");
    assert_eq!(fs::read(test_hub.snapshot().join("model.onnx")).unwrap(), graph());
}

#[tokio::test]
async fn an_interrupted_process_leaves_a_part_that_the_next_resumes() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.stall_after = Some(2_000_000));
    let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = test_hub.partial();
    let length = || fs::metadata(&partial).map_or(0, |about| about.len());
    eventually("a part has come", async || length() > 500_000).await;
    // As Ctrl-C does.
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert!(!test_hub.snapshot().join("model.onnx").exists());
    let before = length();
    test_hub.hub.resume();
    test_hub.hub.asked();
    test_hub.pulls(SPEC).await;
    let asked = test_hub.asked_cdn();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].range, Some(format!("bytes={before}-")));
    assert_eq!(fs::read(test_hub.snapshot().join("model.onnx")).unwrap(), graph());
    assert!(!partial.exists());
}

#[tokio::test]
async fn a_hub_without_ranges_sends_the_whole_file_again() {
    let test_hub = TestHub::new().await;
    // An earlier attempt has left other bytes, and too many.
    for left in [1_000, 6_000_000] {
        test_hub.hub.faults(|faults| faults.no_ranges = true);
        fs::create_dir_all(test_hub.partial().parent().unwrap()).unwrap();
        fs::write(test_hub.partial(), vec![7; left]).unwrap();
        test_hub.pulls(SPEC).await;
        assert_eq!(fs::read(test_hub.snapshot().join("model.onnx")).unwrap(), graph());
        fs::remove_dir_all(test_hub.repository()).unwrap();
    }
}

#[tokio::test]
async fn a_part_of_another_file_is_downloaded_again() {
    let test_hub = TestHub::new().await;
    fs::create_dir_all(test_hub.partial().parent().unwrap()).unwrap();
    fs::write(test_hub.partial(), vec![7; 1_000_000]).unwrap();
    test_hub.pulls(SPEC).await;
    let ranges: Vec<_> = test_hub
        .asked_cdn()
        .into_iter()
        .map(|asked| asked.range)
        .collect();
    assert_eq!(ranges, [Some("bytes=1000000-".to_owned()), None]);
    assert_eq!(fs::read(test_hub.snapshot().join("model.onnx")).unwrap(), graph());
}

#[tokio::test]
async fn corrupted_bytes_are_never_used() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.wrong_byte = true);
    let said = test_hub.refuses(SPEC).await;
    assert!(
        said.contains("model.onnx") && said.contains("hash") && said.contains("try again"),
        "{said}"
    );
    assert!(!test_hub.snapshot().join("model.onnx").exists() && !test_hub.partial().exists());
    test_hub.hub.faults(|faults| faults.wrong_byte = false);
    test_hub.pulls(SPEC).await;
}

#[tokio::test]
async fn a_blob_that_was_cut_short_is_replaced() {
    let test_hub = TestHub::new().await;
    test_hub.pulls(SPEC).await;
    let model = test_hub.snapshot().join("model.onnx");
    let blob = fs::canonicalize(&model).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&blob)
        .unwrap()
        .set_len(1000)
        .unwrap();
    test_hub.pulls(SPEC).await;
    assert_eq!(fs::read(&model).unwrap(), graph());
}

#[tokio::test]
async fn two_processes_fetch_a_file_once() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.stall_after = Some(1_000_000));
    let pull = || tokio::spawn(outcome(test_hub.ocelli(&["model", "pull", SPEC])));
    let first = pull();
    eventually("the first one fetches the graph", async || {
        test_hub.partial().exists()
    })
    .await;
    let second = pull();
    let lists = async || {
        let asked = test_hub.hub.count();
        // The first requests the list and three files with two redirects; the second only the list.
        asked >= 8
    };
    eventually("the second one has the list", lists).await;
    test_hub.hub.resume();
    for pulled in [first, second] {
        let (status, printed, said) = pulled.await.unwrap();
        assert_eq!(status, 0, "{said}");
        assert!(printed.contains(&test_hub.commit), "{printed}");
    }
    let whole = test_hub
        .asked_cdn()
        .into_iter()
        .filter(|asked| asked.range.is_none());
    assert_eq!(whole.count(), 1);
    assert_eq!(fs::read(test_hub.snapshot().join("model.onnx")).unwrap(), graph());
}

#[tokio::test]
async fn a_silent_hub_times_out() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.stall_after = Some(0));
    let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
    command.env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    let said = fails(command).await;
    assert!(said.contains("nothing came for 1s"), "{said}");
}

#[tokio::test]
async fn a_mirror_without_hashes_in_lists_is_queried_per_file() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.bare_lists = true);
    test_hub.pulls(SPEC).await;
    assert!(test_hub.hub.asked().iter().any(|asked| asked.method == "HEAD"));
    // Their bytes are checked anyway.
    fs::remove_dir_all(test_hub.repository()).unwrap();
    test_hub.hub.faults(|faults| faults.wrong_byte = true);
    assert!(test_hub.refuses(SPEC).await.contains("hash"));
}

#[tokio::test]
async fn a_limit_of_file_sizes_is_reported_with_the_missing_bytes() {
    let test_hub = TestHub::new().await;
    let pull = test_hub.ocelli(&["model", "pull", SPEC]);
    let mut command = test_hub.ocelli(&[]);
    let envs: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    // By default, the system would end the process here.
    let script = "ulimit -f 2000; exec \"$@\"";
    command = std::process::Command::new("bash");
    command
        .args(["-c", script, "bash"])
        .arg(pull.get_program())
        .args(pull.get_args());
    for (name, value) in envs {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let said = fails(command).await;
    for part in [
        test_hub.partial().to_str().unwrap(),
        "needs",
        "MiB",
        "ulimit -f",
        "HF_HOME",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    // The download is resumed once there is space.
    test_hub.hub.asked();
    test_hub.pulls(SPEC).await;
    assert!(test_hub.asked_cdn()[0].range.is_some());
}

#[tokio::test]
async fn sighup_does_not_end_a_process_that_is_downloading_its_model() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.stall_after = Some(2_000_000));
    let mut command = test_hub.ocelli(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--engine",
        "fake",
        "--model",
        SPEC,
    ]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = test_hub.partial();
    eventually("a part has come", async || {
        fs::metadata(&partial).is_ok_and(|about| about.len() > 500_000)
    })
    .await;
    let process = rustix::process::Pid::from_child(&child);
    // Of two pending signals, the lower number is delivered first.
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::TERM] {
        rustix::process::kill_process(process, signal).unwrap();
    }
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}
