//! The responses of the hub, with faults.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION, RANGE,
};
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::{Asked, Faults, Repository, Shared, git_blob, sha256};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Larger files are in large file storage; graphs always are.
const LARGE: usize = 100_000;

/// Bytes per write.
const PIECE: usize = 64 << 10;

pub(super) fn answer(shared: &Shared, of_cdn: bool, request: &Request<Incoming>) -> Response<Body> {
    let header = |name| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let (repositories, faults) = {
        let mut state = shared.state.lock().unwrap();
        state.asked.push(Asked {
            of_cdn,
            method: request.method().to_string(),
            target: request.uri().to_string(),
            authorization: header(AUTHORIZATION),
            range: header(RANGE),
        });
        (state.repositories.clone(), state.faults.clone())
    };
    let path = request.uri().path();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if of_cdn {
        let found = repositories
            .values()
            .flat_map(|repository| repository.commits.values());
        let file = found
            .flat_map(|files| files.values())
            .find(|file| sha256(file) == parts[0]);
        return file.map_or_else(
            || refuse(403, ""),
            |file| large(shared, &faults, file, header(RANGE)),
        );
    }
    if faults.web_page {
        return page();
    }
    if faults.endless {
        return redirect(302, &format!("{path}x"), Response::builder());
    }
    if let Some((status, code)) = faults.refusal {
        return refuse(status, code);
    }
    match parts.as_slice() {
        ["api", "models", owner, name, "revision", revision] => {
            let repository = repositories.get(&format!("{owner}/{name}"));
            repository.map_or_else(
                || refuse(401, "RepoNotFound"),
                |repository| list(repository, &faults, &revision.replace("%2F", "/")),
            )
        }
        ["api", "resolve-cache", owner, name, commit, file @ ..] => {
            let repository = &repositories[&format!("{owner}/{name}")];
            let bytes = &repository.commits[*commit][&file.join("/").replace("%20", " ")];
            small(bytes)
        }
        [owner, name, "resolve", commit, file @ ..] => {
            let repository = repositories.get(&format!("{owner}/{name}"));
            let file = file.join("/").replace("%20", " ");
            let bytes = repository.and_then(|repository| repository.commits.get(*commit)?.get(&file));
            match (bytes, faults.file_refusal) {
                (_, Some((status, code))) => refuse(status, code),
                (None, None) => refuse(404, "EntryNotFound"),
                (Some(bytes), None) => resolve(shared, &faults, path, &file, bytes),
            }
        }
        _ => refuse(404, ""),
    }
}

fn list(repository: &Repository, faults: &Faults, revision: &str) -> Response<Body> {
    let commit = repository.branches.get(revision).map_or(revision, String::as_str);
    let Some(files) = repository.commits.get(commit) else {
        return refuse(404, "RevisionNotFound");
    };
    let sibling = |(name, bytes): (&String, &Bytes)| {
        if faults.bare_lists {
            return json!({"rfilename": name});
        }
        let listed = faults.sized.filter(|(sized, _)| sized == name);
        let size = listed.map_or(bytes.len() as u64, |(_, size)| size);
        let mut sibling = json!({"rfilename": name, "size": size, "blobId": git_blob(bytes)});
        if is_large(name, bytes) {
            sibling["lfs"] = json!({"sha256": sha256(bytes), "size": size, "pointerSize": 134});
        }
        sibling
    };
    let mut siblings: Vec<Value> = files.iter().map(sibling).collect();
    siblings.extend(
        faults
            .listed
            .map(|name| json!({"rfilename": name, "size": 1, "blobId": git_blob(b"x")})),
    );
    let answer = json!({"id": "whatever", "sha": commit, "siblings": siblings, "gated": false});
    let json = Response::builder().header(CONTENT_TYPE, "application/json");
    json.body(full(answer.to_string())).unwrap()
}

fn is_large(name: &str, bytes: &Bytes) -> bool {
    bytes.len() > LARGE || name.ends_with(".onnx")
}

/// Redirects to a file: a large one on the other server, a small one at another path of this server.
fn resolve(shared: &Shared, faults: &Faults, path: &str, file: &str, bytes: &Bytes) -> Response<Body> {
    let parts: Vec<&str> = path.split('/').collect();
    let answer = Response::builder().header("x-repo-commit", parts[4]);
    if is_large(file, bytes) {
        let hash = sha256(bytes);
        let answer = answer
            .header("x-linked-etag", format!("\"{hash}\""))
            .header("x-linked-size", bytes.len());
        let there = format!("{}/{hash}?Signature=secret", shared.cdn);
        return redirect(302, faults.elsewhere.as_ref().unwrap_or(&there), answer);
    }
    let there = path
        .replacen(
            &format!("/{}", parts[1]),
            &format!("/api/resolve-cache/{}", parts[1]),
            1,
        )
        .replacen("/resolve/", "/", 1);
    redirect(307, &there, answer)
}

fn small(bytes: &Bytes) -> Response<Body> {
    Response::builder()
        .header(ETAG, format!("\"{}\"", git_blob(bytes)))
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(full(bytes.clone()))
        .unwrap()
}

/// A large file from the requested offset, as far as the fault allows.
fn large(shared: &Shared, faults: &Faults, file: &Bytes, range: Option<String>) -> Response<Body> {
    let from = range.filter(|_| !faults.no_ranges).map_or(0, |range| {
        let from = range
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-'));
        from.unwrap().parse().unwrap()
    });
    let mut answer = Response::builder().header(ACCEPT_RANGES, "bytes");
    if from > 0 {
        let (last, size) = (file.len() - 1, file.len());
        answer = answer
            .status(206)
            .header(CONTENT_RANGE, format!("bytes {from}-{last}/{size}"));
    }
    let mut bytes = file.slice(from..).to_vec();
    let length = bytes.len();
    if faults.wrong_byte {
        bytes[length / 2] ^= 1;
    }
    let ends = faults.cut_after.or(faults.stall_after).unwrap_or(usize::MAX);
    bytes.truncate(ends);
    let body = full_then(&Bytes::from(bytes), length > ends, ending(shared, faults));
    answer.header(CONTENT_LENGTH, length).body(body).unwrap()
}

/// The end of a broken body: immediately, or when the test requests it.
fn ending(shared: &Shared, faults: &Faults) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let stalls = faults.stall_after.is_some();
    let mut resumed = shared.resumed.subscribe();
    stream::once(async move {
        if stalls {
            let _ = resumed.changed().await;
        }
        Err(io::ErrorKind::ConnectionReset.into())
    })
}

fn full_then(
    bytes: &Bytes,
    is_cut: bool,
    ending: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Body {
    let pieces: Vec<io::Result<Bytes>> = (0..bytes.len())
        .step_by(PIECE)
        .map(|from| Ok(bytes.slice(from..bytes.len().min(from + PIECE))))
        .collect();
    // The connection's task must write its data before the end.
    let pause = stream::once(async {
        tokio::task::yield_now().await;
        Ok(Bytes::new())
    });
    let rest = if is_cut {
        pause.chain(ending).left_stream()
    } else {
        stream::empty().right_stream()
    };
    let frames = stream::iter(pieces)
        .chain(rest)
        .map(|piece| piece.map(Frame::data));
    Body::new(StreamBody::new(frames))
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn redirect(status: u16, location: &str, answer: hyper::http::response::Builder) -> Response<Body> {
    answer
        .status(status)
        .header(LOCATION, location)
        .body(full("moved"))
        .unwrap()
}

fn refuse(status: u16, code: &str) -> Response<Body> {
    let mut answer = Response::builder().status(status);
    if !code.is_empty() {
        answer = answer.header("x-error-code", code);
    }
    answer.body(full("refused")).unwrap()
}

fn page() -> Response<Body> {
    Response::builder()
        .header(CONTENT_TYPE, "text/html; charset=utf-8")
        .body(full("<!doctype html><title>Log in to the network</title>"))
        .unwrap()
}
