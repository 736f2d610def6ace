use proptest::prelude::*;

use Priority::{High, Low, Normal};

use crate::models::admission::*;

#[test]
fn either_limit_refuses_and_a_refusal_takes_nothing() {
    let admission = Admission::new(AdmissionLimits { jobs: 2, bytes: 100 });
    let first = admission.admit(1, 60, High).expect("room");
    assert_eq!(
        admission.admit(1, 41, High).unwrap_err(),
        Full {
            load: Load { jobs: 1, bytes: 60 },
            closed: false
        }
    );
    assert_eq!(admission.admit(2, 1, High).unwrap_err().load.jobs, 1);
    let second = admission.admit(1, 40, High).expect("exactly full is allowed");
    assert_eq!(admission.load(), Load { jobs: 2, bytes: 100 });
    drop(first);
    drop(second);
    assert_eq!(admission.load(), Load::default());
}

#[test]
fn a_check_says_what_admission_would_and_takes_nothing() {
    for models in [1, 2] {
        let global = Admission::new(AdmissionLimits { jobs: 8, bytes: 800 });
        let model = Admission::new(AdmissionLimits {
            jobs: 6,
            bytes: u64::MAX,
        });
        let mut inside = Vec::new();
        loop {
            let checked = check(&global, &model, models, Load { jobs: 1, bytes: 10 }, High);
            let load = global.load();
            let admitted = global
                .admit(1, 10, High)
                .and_then(|permit| permit.with(&model, models));
            assert_eq!(checked.is_ok(), admitted.is_ok(), "{models} models, {load:?}");
            match admitted {
                Ok(permit) => inside.push(permit),
                Err(_) => break,
            }
        }
        assert_eq!(inside.len(), if models == 1 { 6 } else { 4 });
        assert!(check(&global, &model, models, Load { jobs: 0, bytes: 801 }, High).is_err());
        model.close();
        assert!(
            check(&global, &model, models, Load::default(), High)
                .unwrap_err()
                .closed
        );
    }
}

#[test]
fn what_an_empty_house_cannot_hold_never_fits() {
    let global = AdmissionLimits { jobs: 8, bytes: 80 };
    let model = AdmissionLimits { jobs: 6, bytes: 800 };
    let fits = |models, jobs, bytes| fits_empty(global, model, models, Load { jobs, bytes }, High);
    assert!(fits(1, 6, 80) && fits(2, 4, 40));
    assert!(!fits(1, 7, 1) && !fits(1, 1, 81), "of either limit");
    assert!(
        !fits(2, 5, 1) && !fits(2, 1, 41),
        "half of the limit is for other models"
    );
}

#[test]
fn absurd_sizes_do_not_wrap_around() {
    let admission = Admission::new(AdmissionLimits { jobs: 1, bytes: 1 });
    assert!(admission.admit(usize::MAX, u64::MAX, High).is_err());
}

#[test]
fn a_model_s_limit_is_kept_beside_the_house_s_and_a_refusal_takes_nothing_of_either() {
    let global = Admission::new(AdmissionLimits { jobs: 9, bytes: 900 });
    let bytes = u64::MAX;
    let model = Admission::new(AdmissionLimits { jobs: 3, bytes });
    let enter = |jobs| global.admit(jobs, 10, High)?.with(&model, 1);
    let permit = enter(2).expect("room");
    assert_eq!(enter(2).unwrap_err().load.jobs, 2, "the model is full");
    assert_eq!(global.load(), model.load());
    assert_eq!(global.load(), Load { jobs: 2, bytes: 10 });
    drop(permit);
    assert_eq!((global.load(), model.load()), Default::default());
}

fn model_admissions(count: usize) -> Vec<Arc<Admission>> {
    (0..count)
        .map(|_| Admission::new(AdmissionLimits::NONE))
        .collect()
}

#[test]
fn one_of_several_models_gets_half_of_the_house_and_a_single_one_all_of_it() {
    for (models, room) in [(1, 12), (2, 6), (3, 6)] {
        let global = Admission::new(AdmissionLimits { jobs: 12, bytes: 12 });
        let admission = &model_admissions(1)[0];
        let enter = || global.admit(1, 1, High)?.with(admission, models);
        let inside: Vec<Permit> = std::iter::from_fn(|| enter().ok()).collect();
        assert_eq!(inside.len(), room, "{models} models");
        assert_eq!(admission.load().jobs, room);
        assert_eq!(global.load(), admission.load());
    }
}

#[test]
fn lower_priorities_leave_a_part_free_and_small_queues_are_open_to_all() {
    let open = |limit| [High, Normal, Low].map(|priority| open_to(limit, priority));
    assert_eq!(open(1024), [1024, 922, 820]);
    assert_eq!(open(u64::MAX)[0], u64::MAX);
    for small in 0..=4 {
        assert_eq!(open(small), [small; 3]);
    }
    assert_eq!((open(5), open(10)), ([5, 5, 4], [10, 9, 8]));
}

#[test]
fn a_house_full_of_low_takes_normal_and_one_full_of_both_takes_high() {
    for (jobs, bytes) in [(20, u64::MAX), (usize::MAX, 20)] {
        for models in [1, 2] {
            let global = Admission::new(AdmissionLimits { jobs, bytes });
            let admission = &model_admissions(1)[0];
            let mut inside = Vec::new();
            let counts = [Low, Normal, High].map(|priority| {
                let before = inside.len();
                inside.extend(std::iter::from_fn(|| {
                    let checked = check(&global, admission, models, Load { jobs: 1, bytes: 1 }, priority);
                    let entered = global
                        .admit(1, 1, priority)
                        .and_then(|permit| permit.with(admission, models));
                    assert_eq!(checked.is_ok(), entered.is_ok());
                    entered.ok()
                }));
                inside.len() - before
            });
            // One of two models gets half of what is open to each priority.
            assert_eq!(counts, [16, 2, 2].map(|count| count / models));
        }
    }
}

#[test]
fn an_empty_house_is_open_to_the_slots_of_a_priority_and_to_all_bytes() {
    let global = AdmissionLimits { jobs: 10, bytes: 100 };
    let fits =
        |jobs, bytes, priority| fits_empty(global, AdmissionLimits::NONE, 1, Load { jobs, bytes }, priority);
    assert!(fits(10, 100, High) && fits(9, 100, Normal) && fits(8, 100, Low));
    assert!(!fits(10, 1, Normal) && !fits(9, 1, Low));
    assert!(!fits(1, 101, High) && !fits(1, 101, Low));
    let global = Admission::new(global);
    drop(
        global
            .admit(1, 100, Low)
            .expect("an empty queue takes an image of any size that it can hold"),
    );
    let _one = global.admit(1, 10, Low).expect("room");
    assert!(global.admit(1, 80, Low).is_err() && global.admit(1, 80, Normal).is_ok());
}

proptest! {
    #[test]
    fn no_model_s_high_requests_are_kept_out_of_its_share(
        limit in 1_usize..60,
        models in 2_usize..5,
        visits in prop::collection::vec((0_usize..5, any::<bool>(), 0_usize..60, 0_usize..3), 1..300),
    ) {
        let bytes = limit as u64;
        let global = Admission::new(AdmissionLimits { jobs: limit, bytes });
        let model_admissions = model_admissions(models);
        let mut inside: Vec<Vec<Permit>> = model_admissions.iter().map(|_| Vec::new()).collect();
        for (model, comes, which, priority) in visits {
            let priority = Priority::ALL[priority];
            let (admission, own) = (&model_admissions[model % models], &mut inside[model % models]);
            if !comes {
                let many = own.len().max(1);
                drop((which % many < own.len()).then(|| own.swap_remove(which % many)));
                continue;
            }
            // Lower priorities may find what is open to them taken by higher ones.
            let within = priority == High && own.len() < limit / 2 / models;
            match global.admit(1, 1, priority).and_then(|permit| permit.with(admission, models)) {
                Ok(permit) => own.push(permit),
                Err(full) => prop_assert!(!within, "{full:?} {:?}", global.load()),
            }
        }
    }
}

#[test]
fn a_closed_queue_admits_nothing_and_empties() {
    let model = Admission::new(AdmissionLimits { jobs: 9, bytes: 900 });
    let permit = model.admit(1, 1, High).expect("it is open");
    model.close();
    assert!(model.admit(1, 1, High).unwrap_err().closed);
    assert!(!model.wait_until_empty(Duration::ZERO));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| model.wait_until_empty(Duration::from_secs(3600)));
        drop(permit);
        assert!(waiting.join().expect("no panic"));
    });
}
