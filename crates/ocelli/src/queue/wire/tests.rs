use proptest::prelude::*;

use crate::queue::wire::*;

fn header() -> JobHeader {
    JobHeader {
        id: (1..=16).collect(),
        reply_to: "ocelli:replies:w1".to_owned(),
        timeout_us: 10_000_000,
        priority: 1,
        inputs: vec![TensorHeader {
            name: String::new(),
            kind: ElementKind::U8 as i32,
            shape: vec![224, 224, 3],
        }],
        reply_kind: ReplyKind::Stream as i32,
        part: 0,
        wants: vec![WantMessage {
            output: "scores".to_owned(),
            top_k: 5,
            threshold: Some(0.25),
            normalize: false,
        }],
        request_id: "r-1".to_owned(),
    }
}

fn reply() -> Reply {
    let best = Prediction {
        class: Class::Index(281),
        probability: 0.5,
    };
    Reply {
        result: Ok(vec![Output::Classes(vec![best]), Output::Vector(vec![0.5, -1.0])]),
        cost: JobCost {
            queue: Duration::from_nanos(1),
            fill: Duration::from_micros(2),
            infer: Duration::from_millis(3),
            batch_size: 8,
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is written today must be readable by the next release, so no byte of it may change unnoticed. When this has to
/// change, raise `VERSION`, and `NEEDS` too if the old readers would misunderstand.
#[test]
fn a_job_looks_as_it_always_has() {
    insta::assert_snapshot!(hex(&header().encode_frame()));
}

#[test]
fn a_reply_looks_as_it_always_has() {
    insta::assert_snapshot!(hex(&encode_reply(JobId(1), &reply(), "w1")));
}

#[test]
fn a_job_comes_back_as_it_was() {
    let back = JobHeader::decode_frame(&header().encode_frame()).expect("its own release");
    assert_eq!(back, header());
    assert_eq!(back.job_id(), JobId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
    assert_eq!(back.job_priority(), Priority::Normal);
}

#[test]
fn a_reply_comes_back_as_it_was() {
    let back = decode_reply(&encode_reply(JobId(9), &reply(), "w1")).expect("its own release");
    assert_eq!((back.id, back.worker.as_str()), (JobId(9), "w1"));
    assert_eq!(back.reply.cost, reply().cost);
    assert_eq!(back.reply.result, reply().result);
    for error in [
        JobError::DeadlinePassed,
        JobError::Poisonous,
        JobError::Incompatible,
    ] {
        let failed = Reply {
            result: Err(error.clone()),
            cost: JobCost::default(),
        };
        let back = decode_reply(&encode_reply(JobId(9), &failed, "w1")).expect("its own release");
        assert_eq!(back.reply.result, Err(error));
    }
    let failed = Reply {
        result: Err(JobError::EngineFault(Cause::new("out of memory".repeat(99)))),
        cost: JobCost::default(),
    };
    let back = decode_reply(&encode_reply(JobId(9), &failed, "w1")).expect("its own release");
    let error = back.reply.result.expect_err("a failure").to_string();
    assert!(
        error.starts_with("the engine failed: on worker w1: out of memory"),
        "{error}"
    );
    assert!(error.len() < 300, "{error}");
}

/// The next release adds a field: this one does not see it, and understands the rest.
#[test]
fn a_field_of_a_later_release_is_skipped() {
    let mut bytes = header().encode_frame();
    bytes[1] = VERSION + 1;
    // Field 100, of type bytes, "new".
    bytes.extend([0xa2, 0x06, 3, b'n', b'e', b'w']);
    assert_eq!(JobHeader::decode_frame(&bytes).expect("understood"), header());
}

/// The next release changes a meaning and says so: this one refuses, and still knows whom to tell.
#[test]
fn a_later_form_is_refused_by_name_and_its_sender_is_known() {
    let mut bytes = header().encode_frame();
    bytes[1..3].fill(VERSION + 1);
    let (error, refused) = JobHeader::decode_frame(&bytes).expect_err("a form that it does not know");
    assert_eq!(error, WireError::Newer { version: VERSION + 1 });
    let refused = refused.expect("what a refusal needs");
    assert_eq!(
        (refused.job_id(), refused.reply_to),
        (header().job_id(), header().reply_to)
    );
    let mut bytes = encode_reply(JobId(9), &reply(), "w1");
    bytes[1..3].fill(VERSION + 1);
    let (error, id) = decode_reply(&bytes).expect_err("a form that it does not know");
    assert_eq!(error, WireError::Newer { version: VERSION + 1 });
    assert_eq!(id, Some(JobId(9)), "the request can be answered");
}

#[test]
fn an_output_that_is_neither_classes_nor_a_vector_is_refused() {
    let message = |kind: i32, classes: &[u32], numbers: &[f32]| ReplyMessage {
        id: vec![0; 16],
        outputs: vec![OutputMessage {
            kind,
            classes: classes.to_vec(),
            numbers: numbers.to_vec(),
        }],
        ..ReplyMessage::default()
    };
    let (classes, unknown) = (OutputForm::Classes as i32, 9);
    for bad in [
        message(classes, &[1, 2], &[0.5]),
        message(unknown, &[], &[0.5]),
        message(0, &[], &[0.5]),
    ] {
        let (error, id) = decode_reply(&frame(REPLY, &bad)).expect_err("it is no output");
        assert!(matches!(error, WireError::Garbage(_)), "{error}");
        assert_eq!(id, Some(JobId(0)));
    }
}

proptest! {
    /// Messages that were right once: their lengths and tags still mean something.
    #[test]
    fn damaged_messages_are_errors_or_messages_and_no_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..5),
        cut in any::<proptest::sample::Index>(),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let record = JobRecord {
            model: "m".to_owned(),
            parts: 2,
            bad: vec![BadImage { part: 1, error: "it is empty".to_owned() }],
            want: Some(header().wants[0].clone()),
            ..JobRecord::default()
        };
        for mut bytes in [header().encode_frame(), encode_reply(JobId(1), &reply(), "w1"), record.encode_frame()] {
            // The first three bytes are the frame, which other tests damage.
            for (at, byte) in &changes {
                let at = 3 + at.index(bytes.len() - 3);
                bytes[at] = *byte;
            }
            bytes.truncate(3 + cut.index(bytes.len() - 2));
            bytes.extend(&tail);
            if let Ok(header) = JobHeader::decode_frame(&bytes) {
                prop_assert_eq!(header.id.len(), 16);
                prop_assert!(header.encoded_len() <= bytes.len() + 64);
            }
            let _ = decode_reply(&bytes);
            let _ = JobRecord::decode_frame(&bytes);
        }
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
        let mut bytes = bytes;
        if kind > 0 && bytes.len() > 3 {
            bytes[0] = if kind == 1 { JOB } else { REPLY };
            bytes[2] = NEEDS;
        }
        let _ = JobHeader::decode_frame(&bytes);
        let _ = decode_reply(&bytes);
    }
}
