//! The window of restarts slides: a restart counts as long as its age is at most the period (S-2).

use std::time::Duration;

use procession::internals::Window;
use procession::{clock::TreeInstant, restart::Intensity};
use proptest::prelude::*;

/// What OTP does: keep all restarts and walk the list each time.
#[derive(Default)]
struct Reference(Vec<TreeInstant>);

impl Reference {
    fn used(&self, now: TreeInstant, period: Duration) -> u32 {
        self.0.iter().filter(|at| now.since(**at) <= period).count() as u32
    }

    fn try_restart(&mut self, now: TreeInstant, intensity: &Intensity) -> bool {
        let within = self.used(now, intensity.period) < intensity.max_restarts;
        if within {
            self.0.push(now);
        }
        within
    }
}

proptest! {
    // S-2
    #[test]
    fn a_window_agrees_with_walking_the_list(
        max_restarts in prop_oneof![0u32..6, Just(100), Just(u32::MAX)],
        period in 1u64..20,
        steps in prop::collection::vec((prop_oneof![4 => 0u64..4, 1 => 4u64..60], any::<bool>()), 0..300),
    ) {
        let intensity = Intensity::new(max_restarts, Duration::from_nanos(period));
        let (mut window, mut reference) = (Window::new(), Reference::default());
        let mut now = TreeInstant::EPOCH;
        for (step, look) in steps {
            now = now.after(Duration::from_nanos(step));
            prop_assert_eq!(window.try_restart(now, &intensity), reference.try_restart(now, &intensity));
            if look {
                prop_assert_eq!(window.used(now, &intensity), reference.used(now, intensity.period));
            }
        }
    }

    // S-2: memory is given back in between, and nothing is lost by it.
    #[test]
    fn storms_and_quiet_agree_with_walking_the_list(
        storms in prop::collection::vec((1usize..400, 0u64..3, 0u64..30), 1..12),
    ) {
        let intensity = Intensity::new(u32::MAX, Duration::from_nanos(10));
        let (mut window, mut reference) = (Window::new(), Reference::default());
        let mut now = TreeInstant::EPOCH;
        for (size, step, quiet) in storms {
            for _ in 0..size {
                now = now.after(Duration::from_nanos(step));
                prop_assert!(window.try_restart(now, &intensity));
                prop_assert!(reference.try_restart(now, &intensity));
            }
            now = now.after(Duration::from_nanos(quiet));
            prop_assert_eq!(window.used(now, &intensity), reference.used(now, intensity.period));
        }
    }
}
