//! The role `serve`: HTTP and engines in one process.

use std::future::Future;

use tokio::net::TcpListener;

use super::http_listener::{HttpListener, PART, ServeConfig, ServeEnd, end_part};
use super::pipeline::Pipeline;

/// Serves on `listener` until `stop` names a reason; then drains.
pub async fn serve(
    listener: TcpListener,
    pipeline: Pipeline,
    config: ServeConfig,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<ServeEnd> {
    let front = HttpListener::open(listener, &pipeline.infer, config)?;
    tokio::pin!(stop);
    let running = tokio::select! {
        running = pipeline.start() => running?,
        signal = &mut stop => {
            tracing::info!(signal, "stopped before the model was loaded");
            return Ok(ServeEnd::Drained);
        }
    };
    front.ready();
    let signal = stop.await;
    running.stop_changing();
    let rest = async {
        end_part("the compute pool", PART, running.stop()).await;
    };
    front.close(signal, rest).await
}
