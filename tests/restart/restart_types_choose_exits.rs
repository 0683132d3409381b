//! The restart type decides which exits lead to a restart, and which exits are counted (S-10).

use procession::internals::{Decision, ExitClass};
use procession::restart::RestartType;

use crate::common::{Child, immediate, secs};

const ALL: [RestartType; 5] = [
    RestartType::Permanent,
    RestartType::Transient,
    RestartType::Temporary,
    RestartType::OnSuccess,
    RestartType::UnlessStopped,
];

// S-5
#[test]
fn each_type_brings_back_what_its_row_says() {
    // clean, failure, permanent, requested
    let rows = [
        (RestartType::Permanent, [true, true, true, true]),
        (RestartType::UnlessStopped, [true, true, true, true]),
        (RestartType::Transient, [false, true, true, false]),
        (RestartType::OnSuccess, [true, false, false, false]),
        (RestartType::Temporary, [false, false, false, false]),
    ];
    for (restart, wanted) in rows {
        let verdicts = [ExitClass::Clean, ExitClass::Failure, ExitClass::Permanent, ExitClass::Requested];
        assert_eq!(verdicts.map(|verdict| restart.wants_restart(verdict)), wanted, "{restart}");
    }
}

// R-0 (2)
#[test]
fn the_restart_type_is_asked_before_every_limit() {
    for restart in ALL {
        for verdict in [ExitClass::Clean, ExitClass::Failure, ExitClass::Permanent, ExitClass::Requested] {
            let mut child = Child::new(immediate().with_restart(restart).with_max_total_restarts(0));
            let left = child.lives(secs(1), verdict) == Decision::Leave;
            assert_eq!(left, !restart.wants_restart(verdict), "{restart} {verdict:?}");
        }
    }
}

// clean exits are not failures; a failure is one even if it leads to no restart.
#[test]
fn exits_that_bring_nothing_back_are_counted_by_their_kind() {
    let mut child = Child::new(immediate().with_restart(RestartType::Temporary));
    let _ = child.lives(secs(1), ExitClass::Clean);
    let _ = child.lives(secs(1), ExitClass::Requested);
    assert_eq!((child.tracker.failures(), child.tracker.total_failures()), (0, 0));
    let _ = child.lives(secs(1), ExitClass::Failure);
    let _ = child.lives(secs(1), ExitClass::Permanent);
    assert_eq!((child.tracker.failures(), child.tracker.total_failures()), (2, 2));
    assert_eq!(child.tracker.total_restarts(), 0);
}
