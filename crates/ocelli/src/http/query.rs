//! The parameters of a query, and which route takes which.

use axum::extract::Query;
use axum::http::request::Parts;

use crate::error::Error;
use crate::inference::json_output::VectorEncoding;
use crate::output::params::OutputParams;

/// What a query may say.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// The model, where the path does not name it.
    pub(super) model: Option<String>,
    /// What is wanted of it.
    pub(super) params: OutputParams,
    pub(super) encoding: VectorEncoding,
}

/// The names that a route takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepts(&'static [&'static str]);

impl Accepts {
    /// `POST /predict`.
    pub(super) const PREDICT: Self = Self(&["top_k", "threshold", "output", "model"]);
    /// Classes, on a route whose path names the model.
    pub(super) const CLASSES: Self = Self(&["top_k", "threshold", "output"]);
    /// Vectors, on a route whose path names the model.
    pub(super) const VECTORS: Self = Self(&["output", "normalize", "encoding"]);
    /// `POST /v1/jobs`.
    pub(super) const JOB: Self = Self(&["top_k", "threshold", "output", "normalize", "model"]);

    fn list(self) -> String {
        match self.0 {
            [others @ .., last] => format!("{} and {last}", others.join(", ")),
            [] => String::new(),
        }
    }
}

impl Parameters {
    /// The parameters of a request to a route that takes `accepts`.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a parameter that there is not, or that is there twice.
    pub(super) fn of(parts: &Parts, accepts: Accepts) -> Result<Self, Error> {
        let wrong = |what: String| {
            let known = accepts.list();
            Err(Error::InvalidRequest(format!(
                "{what}; the parameters are {known}"
            )))
        };
        let pairs = match Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => pairs,
            Err(rejection) => return wrong(rejection.body_text()),
        };
        let mut parameters = Self::default();
        for (index, (name, value)) in pairs.iter().enumerate() {
            let shown: String = name.chars().take(40).collect();
            if name == "model" && !accepts.0.contains(&"model") {
                return wrong("the path names the model; leave out the parameter 'model'".to_owned());
            }
            if !accepts.0.contains(&name.as_str()) {
                return wrong(format!("there is no parameter '{shown}' here"));
            }
            if pairs[..index].iter().any(|(other, _)| other == name) {
                return wrong(format!("the parameter '{shown}' is there twice"));
            }
            parameters.set(name, value.clone())?;
        }
        Ok(parameters)
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

    fn parse(query: &str, accepts: Accepts) -> Result<Parameters, String> {
        let request = Request::get(format!("/x?{query}")).body(()).expect("a request");
        Parameters::of(&request.into_parts().0, accepts).map_err(|error| error.to_string())
    }

    #[test]
    fn each_route_takes_its_own_and_each_once() {
        let parameters =
            parse("top_k=3&model=a%20b&threshold=0.5&output=o", Accepts::PREDICT).expect("all known");
        assert_eq!(parameters.model.as_deref(), Some("a b"));
        let params = OutputParams {
            output: Some("o".to_owned()),
            top_k: Some("3".to_owned()),
            threshold: Some("0.5".to_owned()),
            normalize: None,
        };
        assert_eq!(parameters.params, params);
        for (query, accepts, advice) in [
            ("topk=3", Accepts::PREDICT, "top_k, threshold, output and model"),
            ("top_k=1&top_k=2", Accepts::CLASSES, "twice"),
            ("model=x", Accepts::CLASSES, "leave out"),
            ("top_k=1", Accepts::VECTORS, "output, normalize and encoding"),
            ("encoding=hex", Accepts::VECTORS, "float or base64"),
        ] {
            let error = parse(query, accepts).expect_err(query);
            assert!(error.contains(advice), "{query}: {error}");
        }
        let encoding = |query| parse(query, Accepts::VECTORS).expect("known").encoding;
        assert_eq!(encoding("encoding=base64"), VectorEncoding::Base64);
        assert_eq!(encoding("normalize=true"), VectorEncoding::Float);
    }
}
