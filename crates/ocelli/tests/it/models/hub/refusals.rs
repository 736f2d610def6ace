//! Hubs that refuse or lie, and servers that are not a hub.

use bytes::Bytes;

use super::{REPOSITORY, SPEC, TestHub, fails, names, outcome, package};
use crate::jobs::webhooks::acceptor;
use crate::support::hub::Hub;
use crate::support::redis::certificates;

#[tokio::test]
async fn a_file_outside_the_repository_condemns_it_before_anything_is_written() {
    let test_hub = TestHub::new().await;
    for name in [
        "../../../../evil",
        "/tmp/evil",
        "a\\..\\evil",
        "a/../../evil",
        "evil\0.txt",
    ] {
        test_hub.hub.faults(|faults| faults.listed = Some(name));
        let said = test_hub.refuses(SPEC).await;
        assert!(said.contains("evil") && said.contains("someone/lite0"), "{said}");
        assert_eq!(names(test_hub.home.path()), [] as [&str; 0], "{name}");
    }
}

#[tokio::test]
async fn refusals_of_the_hub_have_different_messages() {
    let test_hub = TestHub::new().await;
    for (spec, parts) in [
        (
            "hf:someone/nothing",
            ["someone/nothing", "check the name", "HF_TOKEN"],
        ),
        ("hf:someone/lite0@v9", ["someone/lite0", "'v9'", "branch"]),
        (
            "hf:someone/lite0#other.onnx",
            ["'other.onnx'", "model.onnx", "someone/lite0"],
        ),
        ("hf:lite0", ["'hf:lite0'", "owner/name", "@revision"]),
    ] {
        let said = test_hub.refuses(spec).await;
        for part in parts {
            assert!(said.contains(part), "no {part} in {said}");
        }
    }
    test_hub
        .hub
        .faults(|faults| faults.file_refusal = Some((401, "GatedRepo")));
    let said = test_hub.refuses(SPEC).await;
    let page = format!("{}/someone/lite0", test_hub.hub.endpoint());
    assert!(
        said.contains("gated") && said.contains(&page) && said.contains("HF_TOKEN"),
        "{said}"
    );
    test_hub.hub.faults(|faults| faults.file_refusal = None);
    test_hub.hub.faults(|faults| faults.refusal = Some((403, "")));
    let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
    command.env("HF_TOKEN", "hf_wrong");
    let said = fails(command).await;
    assert!(
        said.contains("refuses the token") && !said.contains("hf_wrong"),
        "{said}"
    );
    test_hub.hub.faults(|faults| faults.refusal = Some((500, "")));
    let said = test_hub.refuses(SPEC).await;
    assert!(said.contains("500") && said.contains("try again later"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_not_a_hub_is_reported() {
    let test_hub = TestHub::new().await;
    test_hub.hub.faults(|faults| faults.web_page = true);
    let said = test_hub.refuses(SPEC).await;
    assert!(
        said.contains("HF_ENDPOINT") && said.contains("login page"),
        "{said}"
    );
    test_hub
        .hub
        .faults(|faults| (faults.web_page, faults.endless) = (false, true));
    let said = test_hub.refuses(SPEC).await;
    assert!(said.contains("on and on"), "{said}");
    assert_eq!(names(test_hub.home.path()), [] as [&str; 0]);
    let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
    let gone = Hub::start().await.endpoint().to_owned();
    command.env("HF_ENDPOINT", &gone);
    let said = fails(command).await;
    assert!(said.contains(&gone) && said.contains("HF_HUB_OFFLINE"), "{said}");
}

#[tokio::test]
async fn the_token_is_sent_only_to_the_hub_and_never_written() {
    let test_hub = TestHub::new().await;
    let mut command = test_hub.ocelli(&["model", "pull", SPEC, "--log-level", "debug"]);
    command.env("HF_TOKEN", "hf_secret");
    let (status, printed, said) = outcome(command).await;
    assert_eq!(status, 0, "{said}");
    assert!(
        !printed.contains("hf_secret") && !said.contains("hf_secret"),
        "{printed}{said}"
    );
    // Nor is the signature in the URL of a file.
    assert!(!said.contains("Signature"), "{said}");
    let asked = test_hub.hub.asked();
    assert!(asked.iter().any(|asked| asked.of_cdn));
    for asked in asked {
        let wanted = (!asked.of_cdn).then(|| "Bearer hf_secret".to_owned());
        assert_eq!(asked.authorization, wanted, "{}", asked.target);
    }
    // A redirect to another hub is a redirect to another host.
    let other = Hub::start().await;
    let test_hub = TestHub::new().await;
    test_hub
        .hub
        .faults(|faults| faults.elsewhere = Some(format!("{}/a/b/resolve/c/d", other.endpoint())));
    let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
    command.env("HF_TOKEN", "hf_secret");
    fails(command).await;
    let asked = other.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.authorization.is_none()));
}

#[tokio::test]
async fn too_large_files_and_other_files_are_not_downloaded() {
    let test_hub = TestHub::new().await;
    test_hub
        .hub
        .faults(|faults| faults.sized = Some(("model.onnx", 3 << 30)));
    let said = test_hub.refuses(SPEC).await;
    assert!(
        said.contains("model.onnx") && said.contains("3.0 GiB") && said.contains("2.0 GiB"),
        "{said}"
    );
    assert!(test_hub.asked_cdn().is_empty());
    let weights = Bytes::from_static(b"these are no weights");
    test_hub.hub.commit(
        "someone/torch",
        [
            ("config.json", Bytes::from_static(b"{}")),
            ("model.safetensors", weights),
        ],
    );
    let said = test_hub.refuses("hf:someone/torch").await;
    assert!(
        said.contains("tools/to_onnx.py") && said.contains("model.safetensors"),
        "{said}"
    );
}

#[tokio::test]
async fn an_https_hub_needs_a_valid_certificate_and_https_files() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificates(folder.path());
    let hub = Hub::start_with(Some(acceptor(&trusted.certificate, &trusted.key))).await;
    let test_hub = TestHub::at(hub);
    let pull = |authority: &std::path::Path| {
        let mut command = test_hub.ocelli(&["model", "pull", SPEC]);
        command.env("SSL_CERT_FILE", authority).env_remove("SSL_CERT_DIR");
        command
    };
    let strangers = tempfile::tempdir().unwrap();
    let said = fails(pull(&certificates(strangers.path()).authority)).await;
    assert!(
        said.contains("certificate") && said.contains(test_hub.hub.endpoint()),
        "{said}"
    );
    assert_eq!(test_hub.hub.count(), 0);
    let plain = Hub::start().await;
    plain.commit(REPOSITORY, package());
    test_hub
        .hub
        .faults(|faults| faults.elsewhere = Some(format!("{}/x", plain.endpoint())));
    let said = fails(pull(&trusted.authority)).await;
    assert!(said.contains("cannot be followed"), "{said}");
    assert_eq!(plain.count(), 0);
    test_hub.hub.faults(|faults| faults.elsewhere = None);
    let (status, _, said) = outcome(pull(&trusted.authority)).await;
    assert_eq!(status, 0, "{said}");
}
