//! The web side of a process, over Ocelli's own wire or the tutorial's, which does not name models.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::compute::pool::Pool;
use crate::metrics::Metrics;
use crate::models::catalog::{Catalog, Names};
use crate::queue::Broker;
use crate::queue::redis::startup::{blocking, process_link};
use crate::queue::redis::{self, Limits, Link, Needs, RedisUrl, Role, WebConfig, WebTasks};
use crate::queue::tutorial::{self, TutorialWebTask};

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
    pub(crate) broker: Broker,
    pub(crate) catalog: Catalog,
    pub(crate) link: Link,
    pub(crate) limits: Limits,
    /// The rights to check at the start; not for the tutorial's few commands.
    pub(crate) needs: Option<Needs>,
    pub(crate) tasks: SideTasks,
}

#[derive(Debug)]
pub(crate) enum SideTasks {
    Native(Box<WebTasks>),
    Tutorial(TutorialWebTask),
}

impl WebWire {
    /// `decoders` are called when more jobs are wanted.
    pub(crate) fn build(
        self,
        target: &RedisUrl,
        names: Names,
        decoders: Pool,
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
                    "limits of each model in Redis"
                );
                let needs = Needs {
                    role: Role::Web,
                    prefix: config.prefix.clone(),
                };
                let catalog = Catalog::new(Vec::new(), names);
                catalog.settle_default();
                let link = process_link(target, &config.name);
                let links = (link.clone(), blocking(&link, &config.name));
                let (broker, tasks) = redis::web(config, links, catalog.clone(), decoders, metrics);
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
                let (broker, task) = tutorial::web(link.clone(), decoders, metrics);
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
