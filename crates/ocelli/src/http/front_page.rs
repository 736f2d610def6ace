//! `GET /`: a short text for browsers, load balancers and curl.

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;

use super::{AppState, README};
use crate::error::Error;
use crate::models::served_model::ServedModel;
use crate::process::printable;
use ocelli_vision::Task;

/// Names the default model and how to use it.
pub(super) async fn show(State(state): State<AppState>, request: Request) -> String {
    let (parts, _) = request.into_parts();
    let default = state.infer.catalog.find(None);
    page(default.as_deref(), &host(&parts))
}

fn page(default: Result<&ServedModel, &Error>, host: &str) -> String {
    let (model, route) = match default {
        Ok(model) => {
            let (name, version) = (&model.id.name, &model.id.version);
            let route = match model.card.manifest.task {
                Task::Classification | Task::Multilabel => "predict".to_owned(),
                Task::Embedding => format!("v1/models/{name}/embed"),
            };
            let state = match model.state() {
                "ready" => "",
                "loading" => ", which is being loaded",
                _ => ", which no worker serves now",
            };
            (format!("Its model is {name}, version {version}{state}."), route)
        }
        Err(error) => (format!("It has no model now: {error}."), "predict".to_owned()),
    };
    let text = format!(
        "This is Ocelli, a server for image models. {model} Send it a photo:\n\n    \
         curl -F image=@photo.jpg 'http://{host}/{route}'\n\n\
         /v1/models lists the models, /readyz tells whether the server is ready, /openapi.json describes the API.\n\
         README: {README}\n"
    );
    printable::lines(&text).into_owned()
}

/// The host and port that the client used.
fn host(request: &Parts) -> String {
    let header = || {
        let value = request.headers.get(HOST)?;
        Authority::try_from(value.as_bytes()).ok()
    };
    // The line is meant to be copied into a shell, where other characters could have a meaning.
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    };
    request
        .uri
        .authority()
        .cloned()
        .or_else(header)
        .filter(|host| is_plain(host.as_str()))
        .map_or("HOST:PORT".to_owned(), |host| host.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_of(target: &str, host: &[u8]) -> String {
        let request = axum::http::Request::builder().uri(target).header(HOST, host);
        super::host(&request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn the_host_is_the_clients_own_name_for_the_server() {
        assert_eq!(host_of("/", b"photos.example:8080"), "photos.example:8080");
        assert_eq!(host_of("/", b"[::1]:5000"), "[::1]:5000");
        assert_eq!(host_of("http://a.example:1/", b"b.example"), "a.example:1");
        for strange in [&b"a;id"[..], b"$(id)", b"a'b", b"me@a", b"<a>", b"", b"\xff"] {
            assert_eq!(host_of("/", strange), "HOST:PORT");
        }
    }

    #[test]
    fn a_server_without_a_model_says_so() {
        let error = Error::NotReady("it is loading its models");
        let text = page(Err(&error), "here:5000");
        assert!(text.contains("it is loading its models"), "{text}");
        assert!(
            text.contains("curl -F image=@photo.jpg 'http://here:5000/predict'"),
            "{text}"
        );
    }
}
