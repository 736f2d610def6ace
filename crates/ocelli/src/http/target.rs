//! What a request asks for: a model and a kind of answer, from its path and its query.

use std::sync::Arc;

use axum::extract::Query;
use axum::http::request::Parts;
use serde::Deserialize;

use crate::error::Error;
use crate::inference::json_output::VectorEncoding;
use crate::models::catalog::Catalog;
use crate::models::served_model::ServedModel;
use crate::output::params::OutputParams;
use crate::output::postprocess::OutputRequest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    Classes,
    Vector,
    /// Classes or a vector, as the model's task says.
    ByTask,
}

#[derive(Debug)]
pub(super) struct Target {
    /// The default model where this is `None`.
    model: Option<String>,
    version: Option<String>,
    kind: AnswerKind,
    params: OutputParams,
    pub(super) encoding: VectorEncoding,
}

/// The model of a path: `/v1/models/{model}/..` or `/v1/models/{model}/versions/{version}/..`.
#[derive(Debug, Deserialize)]
pub(super) struct ModelPath {
    model: String,
    version: Option<String>,
}

/// A model, and what the request wants of it.
pub(super) type Found = (Arc<ServedModel>, OutputRequest);

impl AnswerKind {
    /// The query parameters of a route with such answers.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Classes => &["top_k", "threshold", "output"],
            Self::Vector => &["output", "normalize", "encoding"],
            Self::ByTask => &["top_k", "threshold", "output", "normalize"],
        }
    }
}

impl ModelPath {
    pub(super) fn find(&self, catalog: &Catalog) -> Result<Arc<ServedModel>, Error> {
        find(catalog, Some(&self.model), self.version.as_deref())
    }
}

fn find(catalog: &Catalog, model: Option<&str>, version: Option<&str>) -> Result<Arc<ServedModel>, Error> {
    match (model, version) {
        (Some(model), Some(version)) => catalog.find_version(model, version),
        (model, _) => catalog.find(model),
    }
}

impl Target {
    /// The target of a request whose path names a model, or whose query may name one.
    pub(super) fn new(path: Option<ModelPath>, head: &Parts, kind: AnswerKind) -> Result<Self, Error> {
        let in_query = path.is_none();
        let (model, version) = path.map_or((None, None), |path| (Some(path.model), path.version));
        let mut target = Self {
            model,
            version,
            kind,
            params: OutputParams::default(),
            encoding: VectorEncoding::default(),
        };
        target.read_query(head, in_query)?;
        Ok(target)
    }

    pub(super) fn find(&self, catalog: &Catalog) -> Result<Found, Error> {
        let model = find(catalog, self.model.as_deref(), self.version.as_deref())?;
        let want = match self.kind {
            AnswerKind::Classes => self.params.classes(&model),
            AnswerKind::Vector => self.params.vector(&model),
            AnswerKind::ByTask => self.params.by_task(&model),
        }?;
        Ok((model, want))
    }

    /// Finds the model again after an error which says that it may have been replaced since it was found.
    pub(super) fn find_again(&self, catalog: &Catalog, error: Error) -> Result<Found, Error> {
        match error {
            Error::Unloaded | Error::NoWorker(_) => self.find(catalog),
            error => Err(error),
        }
    }

    fn read_query(&mut self, head: &Parts, in_query: bool) -> Result<(), Error> {
        let known = self.kind.parameters();
        let wrong = |what: String| {
            let mut names = known.to_vec();
            names.extend(in_query.then_some("model"));
            let last = names.pop().unwrap_or_default();
            let others = names.join(", ");
            Err(Error::InvalidRequest(format!(
                "{what}; the parameters are {others} and {last}"
            )))
        };
        let pairs = match Query::<Vec<(String, String)>>::try_from_uri(&head.uri) {
            Ok(Query(pairs)) => pairs,
            Err(rejection) => return wrong(rejection.body_text()),
        };
        for (index, (name, value)) in pairs.iter().enumerate() {
            let shown: String = name.chars().take(40).collect();
            if name == "model" && !in_query {
                return wrong("the path names the model; leave out the parameter 'model'".to_owned());
            }
            if name != "model" && !known.contains(&name.as_str()) {
                return wrong(format!("there is no parameter '{shown}' here"));
            }
            if pairs[..index].iter().any(|(other, _)| other == name) {
                return wrong(format!("the parameter '{shown}' is there twice"));
            }
            self.set(name, value.clone())?;
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Error> {
        match name {
            "model" => self.model = Some(value),
            "output" => self.params.output = Some(value),
            "top_k" => self.params.top_k = Some(value),
            "threshold" => self.params.threshold = Some(value),
            "normalize" => self.params.normalize = Some(value),
            _ => {
                self.encoding = match value.as_str() {
                    "float" => VectorEncoding::Float,
                    "base64" => VectorEncoding::Base64,
                    _ => {
                        return Err(Error::InvalidRequest(
                            "encoding must be float or base64 (of little-endian float32)".to_owned(),
                        ));
                    }
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parse(query: &str, in_path: bool, kind: AnswerKind) -> Result<Target, String> {
        let request = Request::get(format!("/x?{query}")).body(()).expect("a request");
        let path = in_path.then(|| ModelPath {
            model: "m".to_owned(),
            version: None,
        });
        Target::new(path, &request.into_parts().0, kind).map_err(|error| error.to_string())
    }

    #[test]
    fn each_route_takes_its_own_parameters_and_each_once() {
        use AnswerKind::{Classes, Vector};
        let target = parse("top_k=3&model=a%20b&threshold=0.5&output=o", false, Classes).expect("all known");
        assert_eq!(target.model.as_deref(), Some("a b"));
        let params = OutputParams {
            output: Some("o".to_owned()),
            top_k: Some("3".to_owned()),
            threshold: Some("0.5".to_owned()),
            normalize: None,
        };
        assert_eq!(target.params, params);
        for (query, in_path, kind, advice) in [
            ("topk=3", false, Classes, "top_k, threshold, output and model"),
            ("top_k=1&top_k=2", true, Classes, "twice"),
            ("model=x", true, Classes, "leave out"),
            ("top_k=1", true, Vector, "output, normalize and encoding"),
            ("encoding=hex", true, Vector, "float or base64"),
        ] {
            let error = parse(query, in_path, kind).expect_err(query);
            assert!(error.contains(advice), "{query}: {error}");
        }
        let encoding = |query| parse(query, true, Vector).expect("known").encoding;
        assert_eq!(encoding("encoding=base64"), VectorEncoding::Base64);
        assert_eq!(encoding("normalize=true"), VectorEncoding::Float);
    }
}
