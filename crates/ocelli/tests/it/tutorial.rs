//! The wire of the tutorial, between its own processes and ours.

use std::net::SocketAddr;

use hyper::Method;
use ocelli::broker::tutorial::{self, TutorialJob};
use ocelli_vision::{DecodeLimits, Decoder, ImageHeader};

use crate::client::{Answer, Call, Connection};
use crate::photos;
use crate::process;
use crate::support::redis::{Binary, Options, RedisServer};
use crate::support::tutorial::Python;

/// The pixels that the tutorial's web process makes of a photo.
async fn prepared_in_python(python: &Python, photo: &'static [u8]) -> Vec<u8> {
    let output = process::run(python.script("prepare.py"), photo).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let job = TutorialJob::decode(output.stdout.trim_ascii_end()).unwrap();
    assert_eq!(job.id, "golden");
    job.rgb
}

fn prepared(photo: &[u8]) -> Vec<u8> {
    let header = ImageHeader::read(photo, &DecodeLimits::default()).unwrap();
    Decoder::new()
        .unwrap()
        .prepare(photo, &header, tutorial::input())
        .unwrap()
}

/// What the tutorial's web process says of the dog. It is no answer of ours, so that our API says nothing of it.
async fn ask_flask(address: SocketAddr) -> Answer {
    let call = Call::new(address, Method::POST, "/predict").form([("image", photos::DOG)]);
    let mut connection = Connection::http1(address).await;
    call.try_send_on(&mut connection).await.unwrap()
}

/// The same tolerance as of the goldens of `ocelli-vision`.
#[tokio::test]
async fn photos_are_prepared_as_the_tutorials_web_process_does() {
    let Some(python) = Python::find() else { return };
    let python = prepared_in_python(&python, photos::DOG).await;
    let ours = prepared(photos::DOG);
    assert_eq!(ours.len(), python.len());
    for channel in 0..3 {
        let difference = |(ours, python): (&u8, &u8)| f64::from(ours.abs_diff(*python));
        let channel = ours.iter().zip(&python).skip(channel).step_by(3);
        let mean = channel.map(difference).sum::<f64>() / (224.0 * 224.0);
        assert!(mean <= 1.0, "{mean:.3} of 255 off on average");
    }
}

/// That what the other tests are made with is the tutorial.
#[tokio::test]
async fn the_tutorials_processes_answer_each_other() {
    let (Some(python), Some(redis)) = (Python::find(), Binary::redis()) else {
        return;
    };
    let redis = RedisServer::start(&redis, Options::default()).await;
    let _model = python.model_server(redis.address()).await;
    let (_web, address) = python.web_server(redis.address()).await;
    assert_eq!(ask_flask(address).await.best(), "beagle");
    assert!(redis.keys().await.is_empty());
}
