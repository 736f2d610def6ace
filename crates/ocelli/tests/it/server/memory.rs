//! Waiting photos take little memory.

use futures_util::future::join_all;

use crate::harness::client::Raw;
use crate::harness::photos;
use crate::harness::process::Process;
use crate::riff::webp;
use crate::webp_bomb::lossless_bomb;

/// Bytes that one waiting photo may add to the process.
const PER_PHOTO: u64 = 200_000;

/// How many photos wait.
const PHOTOS: usize = 1000;

/// The process that tests needs a connection for each photo, and so does the server.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn allows_connections() -> bool {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| {
        let soft = line.strip_prefix("Max open files")?.split_whitespace().next()?;
        soft.parse::<usize>().ok()
    });
    let enough = files.is_some_and(|files| files > PHOTOS + 500);
    if !enough {
        eprintln!("SKIPPED: needs Linux and `ulimit -n {}` or more", PHOTOS + 500);
    }
    enough
}

#[tokio::test]
async fn a_thousand_waiting_photos_take_200_kb_each_at_most() {
    if !allows_connections() {
        return;
    }
    // Each batch takes so long that next to nothing is done while the others arrive, and the deadline is long enough for all.
    let process = Process::fake(&[
        "--fake-batch-time",
        "5s",
        "--fake-image-time",
        "0s",
        "--max-batch",
        "1",
        "--deadline",
        "24h",
        "--max-deadline",
        "24h",
        "--queue-jobs",
        "3000",
        "--queue-bytes",
        "1GiB",
    ])
    .await;
    // Beside each photo a tiny one: that a request has two images is known only when its body has arrived.
    let both = [("image", photos::DOG), ("image", &photos::grey(1).bytes[..])];
    let call = process.post("/v1/models/efficientnet-lite0/predict");
    let wire = call.form(both).wire();
    let idle = process.memory("VmRSS");
    let waiting = (0..PHOTOS).map(async |_| {
        let mut client = Raw::connect(process.address).await;
        client.write(&wire).await;
        client
    });
    let clients = join_all(waiting).await;
    let most = 2.0 * PHOTOS as f64;
    process
        .metric("ocelli_admitted_images", |images| images >= most - 40.0)
        .await;
    let full = process.memory("VmRSS");
    let peak = process.memory("VmHWM");
    let each = |bytes: u64| (bytes.saturating_sub(idle)) / PHOTOS as u64;
    assert!(
        each(peak) <= PER_PHOTO,
        "{} bytes each at the peak, {} waiting; idle {idle}, full {full}, peak {peak}",
        each(peak),
        each(full)
    );
    drop(clients);
}

#[tokio::test]
async fn a_bomb_does_not_go_off() {
    let process = Process::fake(&["--fake-image-time", "1ms"]).await;
    let idle = process.memory("VmRSS");
    let bomb = photos::bomb();
    for _ in 0..5 {
        let answer = process
            .post("/predict")
            .form([("image", &bomb.bytes[..])])
            .send()
            .await;
        answer.refused(400, "invalid_image");
    }
    let peak = process.memory("VmHWM");
    assert!(peak - idle < 32 << 20, "it grew from {idle} to {peak} bytes");
}

/// Two files of 4 x 4 pixels: one whose decoder needs more than the budget, and one of which some fit it at a time.
#[tokio::test]
async fn the_tables_of_a_webp_stay_within_the_budget() {
    const BUDGET: u64 = 128 << 20;
    let process = Process::fake(&["--fake-image-time", "1ms", "--max-decoding-bytes", "128MiB"]).await;
    let idle = process.memory("VmRSS");
    let grown = || process.memory("VmHWM") - idle;
    let post = |groups| {
        let file = webp(&[&lossless_bomb(groups, 10)]);
        process.post("/predict").form([("image", &file[..])])
    };
    let answer = post(8000).send().await.refused(400, "invalid_image");
    assert!(answer.contains("--max-decoding-bytes"), "{answer}");
    assert!(grown() < 32 << 20, "refusing it took {} bytes", grown());

    let answers = join_all((0..8).map(|_| post(3000).send())).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert!(grown() > 40 << 20, "{} bytes are no bomb", grown());
    assert!(grown() < BUDGET + (32 << 20), "decoding took {} bytes", grown());
}

#[tokio::test]
async fn a_large_body_takes_little_more_memory_than_its_size() {
    const SIZE: usize = (32 << 20) - 1024;
    let process = Process::fake(&["--fake-image-time", "1ms"]).await;
    let idle = process.memory("VmRSS");
    let many = "/v1/models/efficientnet-lite0/predict";
    let repeat = |head: &str, piece: &str, tail: &str| {
        let pieces = piece.repeat((SIZE - head.len() - tail.len()) / piece.len());
        format!("{head}{pieces}{tail}")
    };
    let json = "application/json";
    let form = "multipart/form-data; boundary=b";
    let part = "--b\r\nContent-Disposition:form-data;name=x\r\n\r\n\r\n";
    for (kind, body, status, code) in [
        (json, repeat("{\"images\":[\"\"", ",\"\"", "]}"), 413, "too_large"),
        (json, repeat("{\"images\":", "[", ""), 400, "invalid_request"),
        (
            json,
            repeat("{\"image\":\"", "AAAA\\n", "\"}"),
            400,
            "invalid_image",
        ),
        (form, repeat("", part, "--b--\r\n"), 413, "too_large"),
    ] {
        let answer = process.post(many).body(kind, body).send().await;
        answer.refused(status, code);
    }
    let peak = process.memory("VmHWM");
    let grown = (peak - idle) / SIZE as u64;
    assert!(
        grown < 3,
        "it grew from {idle} to {peak} bytes, {grown} times the body"
    );
}
