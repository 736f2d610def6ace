//! Libraries that cannot be used: each is one line that says what is wrong and what to do, and none ends the process.
//!
//! One test, because a process has one library: `ort` keeps the first that claims the right version.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use ocelli_engine::onnxruntime::Search;
use ocelli_engine::{EngineError, OnnxRuntime};

/// What ONNX Runtime's library exports, as far as it is looked at before the version is known (onnxruntime_c_api.h).
const STUB: &str = r#"
    static const void *get_api(unsigned version) { (void)version; return 0; }
    static const char *get_version(void) { return VERSION; }
    static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base = { get_api, get_version };
    const void *OrtGetApiBase(void) { return &base; }
"#;

fn stub(folder: &Path, name: &str, code: &str) -> PathBuf {
    let (source, library) = (
        folder.join(format!("{name}.c")),
        folder.join(format!("{name}.so")),
    );
    std::fs::write(&source, code).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status()
        .unwrap();
    assert!(status.success());
    library
}

fn explicit(path: &Path) -> String {
    let error = OnnxRuntime::locate(&Search {
        explicit: Some(path.to_path_buf()),
        ..Search::default()
    })
    .unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(
            error,
            EngineError::LibraryMissing { .. } | EngineError::LibraryUnusable { .. }
        ),
        "{text}"
    );
    assert!(
        text.contains(path.to_str().unwrap()) && text.contains("make build") && !text.contains('\n'),
        "{text}"
    );
    text
}

#[test]
fn unusable_libraries_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);

    assert!(explicit(&at("absent.so")).contains("and there is no such file"));
    assert!(explicit(folder.path()).contains("and there is no such file"));
    std::fs::write(at("text.so"), "#!/bin/sh\n").unwrap();
    assert!(explicit(&at("text.so")).contains("it is not a shared library"));

    let other = stub(folder.path(), "other", "int answer = 42;");
    assert!(explicit(&other).contains("it is not ONNX Runtime"));
    let bytes = std::fs::read(&other).unwrap();
    std::fs::write(at("cut.so"), &bytes[..bytes.len() / 4]).unwrap();
    assert!(explicit(&at("cut.so")).contains("it is cut short after"));

    let old = stub(folder.path(), "old", &STUB.replace("VERSION", "\"1.19.2\""));
    assert!(explicit(&old).contains("it is ONNX Runtime 1.19.2, and 1.20 or newer is needed"));

    // Nothing explicit: unusable libraries are passed over, and the first is the error when no other works.
    std::fs::rename(&old, at("libonnxruntime.so")).unwrap();
    let beside = Search {
        installed: vec![folder.path().to_path_buf()],
        ..Search::default()
    };
    let error = OnnxRuntime::locate(&beside).unwrap_err().to_string();
    assert!(
        error.contains("libonnxruntime.so cannot be used: it is ONNX Runtime 1.19.2"),
        "{error}"
    );
    let error = OnnxRuntime::locate(&Search::default()).unwrap_err();
    assert!(matches!(error, EngineError::LibraryMissing { .. }), "{error}");

    // The right version without the interface: `ort` panics on it and keeps it, so it comes last.
    let liar = stub(folder.path(), "liar", &STUB.replace("VERSION", "\"1.99.0\""));
    assert!(explicit(&liar).contains("it lacks the interface that its version has"));
    let again = OnnxRuntime::locate(&beside).unwrap_err().to_string();
    assert!(
        again.contains("liar.so cannot be used"),
        "what `ort` holds is what is wrong: {again}"
    );
}
