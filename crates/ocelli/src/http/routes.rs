//! The table of routes: it builds the router, names requests in metrics, lists the methods for browsers, and holds how each
//! protocol writes errors.

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use axum::routing::{MethodFilter, on};

use crate::error::Error;

/// Writes an error, with the id of its request, as the clients of a protocol expect it.
pub(super) type RenderError = fn(&Error, &HeaderValue) -> Response;

#[derive(Clone, Debug)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    render: RenderError,
}

/// The routes of one or more protocols. Each protocol adds its own with [`Routes::new`], and [`Routes::merge`] joins them.
pub(super) struct Routes<S> {
    pub(super) router: Router<S>,
    pub(super) table: RouteTable,
}

/// The routes, for metrics and errors.
#[derive(Clone, Debug)]
pub(super) struct RouteTable {
    routes: Vec<Route>,
    /// How errors are written where no route matches, by the beginning of the path.
    prefixes: Vec<(&'static str, RenderError)>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet. Every error below `prefix` is written by `render`, also where no route matches.
    pub(super) fn new(prefix: &'static str, render: RenderError) -> Self {
        Self {
            router: Router::new(),
            table: RouteTable {
                routes: Vec::new(),
                prefixes: vec![(prefix, render)],
            },
        }
    }

    pub(super) fn get<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(Method::GET, MethodFilter::GET, path, handler)
    }

    pub(super) fn post<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(Method::POST, MethodFilter::POST, path, handler)
    }

    pub(super) fn delete<T: 'static>(self, path: &'static str, handler: impl Handler<T, S>) -> Self {
        self.add(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    fn add<T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        handler: impl Handler<T, S>,
    ) -> Self {
        let (_, render) = self.table.prefixes[0];
        self.router = self.router.route(path, on(filter, handler));
        self.table.routes.push(Route { method, path, render });
        self
    }

    pub(super) fn with_state(self, state: S) -> Routes<()> {
        Routes {
            router: self.router.with_state(state),
            table: self.table,
        }
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.routes.extend(other.table.routes);
        self.table.prefixes.extend(other.table.prefixes);
        self
    }
}

impl RouteTable {
    pub(super) fn into_routes(self) -> Vec<Route> {
        self.routes
    }

    /// The route that a request matched as metrics name it, and how its errors are written. Paths that clients invent share
    /// one name, so that they cannot add metrics.
    pub(super) fn find<B>(
        &self,
        matched: Option<&str>,
        request: &axum::http::Request<B>,
    ) -> (&'static str, RenderError) {
        let mut of_path = self.routes.iter().filter(|route| Some(route.path) == matched);
        let Some(first) = of_path.next() else {
            return ("other", self.render_below(request.uri().path()));
        };
        let own = |route: &&Route| route.method == *request.method();
        let route = Some(first).filter(own).or_else(|| of_path.find(own));
        (first.path, route.unwrap_or(first).render)
    }

    /// The longest prefix decides.
    fn render_below(&self, path: &str) -> RenderError {
        let below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        self.prefixes
            .iter()
            .filter(|(prefix, _)| below(prefix))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(super::response::native_error, |(_, render)| *render)
    }

    /// The methods of all routes, as a header lists them.
    pub(super) fn methods(&self) -> HeaderValue {
        let mut methods: Vec<&str> = Vec::new();
        for route in &self.routes {
            let head = (route.method == Method::GET).then_some("HEAD");
            for method in [Some(route.method.as_str()), head].into_iter().flatten() {
                if !methods.contains(&method) {
                    methods.push(method);
                }
            }
        }
        HeaderValue::try_from(methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The beginning of a request's path, for an error text.
pub(super) fn shown_path(request: &Request) -> String {
    request.uri().path().chars().take(100).collect()
}
