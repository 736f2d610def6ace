//! How a web process submits its jobs: over Ocelli's own wire, or over the tutorial's, which says nothing of models.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::compute::pool::Pool;
use crate::metrics::Metrics;
use crate::models::catalog::{Catalog, Names};
use crate::queue::Broker;
use crate::queue::redis::startup::{blocking, process_link};
use crate::queue::redis::{self, Limits, Link, Needs, RedisUrl, Role, WebConfig, WebTasks};
use crate::queue::tutorial::{self, TutorialWebTask};

/// What a web process speaks.
#[derive(Clone, Debug)]
pub enum WebWire {
    Native(WebConfig),
    Tutorial {
        /// The name of this process, which no other has.
        name: String,
    },
}

/// The web side, built and not running.
pub(crate) struct WebSide {
    /// The way to the workers.
    pub(crate) broker: Broker,
    /// What they serve, as far as is known.
    pub(crate) catalog: Catalog,
    pub(crate) link: Link,
    /// What may be in Redis.
    pub(crate) limits: Limits,
    /// What it has to be allowed to do there; the tutorial's few commands are not tried before they are needed.
    pub(crate) needs: Option<Needs>,
    pub(crate) tasks: SideTasks,
}

/// What has to run for a broker.
#[derive(Debug)]
pub(crate) enum SideTasks {
    Native(Box<WebTasks>),
    Tutorial(TutorialWebTask),
}

impl WebWire {
    /// Puts the side together. `suppliers` are told when more jobs are wanted; `names` are what
    /// clients may call models.
    pub(crate) fn build(
        self,
        target: &RedisUrl,
        names: Names,
        suppliers: Pool,
        metrics: Arc<Metrics>,
    ) -> WebSide {
        match self {
            Self::Native(config) => {
                let limits = Limits {
                    queue_bytes: config.limits.bytes,
                    result_bytes: config.max_result_bytes,
                };
                tracing::info!(
                    queue_jobs = config.limits.jobs,
                    queue_bytes = config.limits.bytes,
                    "each model may hold this much in Redis"
                );
                let needs = Needs {
                    role: Role::Web,
                    prefix: config.prefix.clone(),
                };
                let catalog = Catalog::new(Vec::new(), names);
                catalog.settle_default();
                let link = process_link(target, &config.name);
                let links = (link.clone(), blocking(&link, &config.name));
                let (broker, tasks) = redis::web(config, links, catalog.clone(), suppliers, metrics);
                WebSide {
                    broker: Broker::Redis(broker),
                    catalog,
                    link,
                    limits,
                    needs: Some(needs),
                    tasks: SideTasks::Native(Box::new(tasks)),
                }
            }
            Self::Tutorial { name } => {
                tracing::warn!(
                    list = tutorial::QUEUE,
                    "--wire tutorial: replies are polled, a model process that dies or has another one beside it loses \
                     jobs, and jobs whose clients have left are still computed; use it only until the model side is \
                     Ocelli's too"
                );
                let link = process_link(target, &name);
                let (broker, task) = tutorial::web(link.clone(), suppliers, metrics);
                WebSide {
                    broker: Broker::Tutorial(broker),
                    catalog: Catalog::new(vec![Arc::new(tutorial::model())], names),
                    link,
                    limits: Limits {
                        queue_bytes: tutorial::MOST_BYTES_UNDER_WAY,
                        result_bytes: 0,
                    },
                    needs: None,
                    tasks: SideTasks::Tutorial(task),
                }
            }
        }
    }
}

impl SideTasks {
    /// Runs until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        match self {
            Self::Native(tasks) => Box::pin(tasks.run(stop)).await,
            Self::Tutorial(task) => task.run(stop).await,
        }
    }
}
