//! Measures the cost of the warm path. Ignored by default:
//! `cargo test --release -- --ignored --nocapture warm_path`.

use super::*;
use std::time::Instant;

#[test]
#[ignore = "measures real time"]
fn the_warm_path_costs_well_below_a_microsecond_with_one_key_and_with_ten_thousand() {
    for (kind, keys) in [("keyed", 1_usize), ("keyed", 10_000), ("anonymous", 1), ("anonymous", 10_000)] {
        let base = if kind == "keyed" { LedgerConfig::keyed(keys) } else { LedgerConfig::anonymous(keys) };
        let config = LedgerConfig {
            idle_ttl: Some(Duration::from_secs(3600)),
            start_concurrency: keys,
            max_waiting: keys,
            ..base
        };
        let mut ledger = Ledger::new(config).unwrap();
        let mut out = Vec::new();
        let names: Vec<ChildId> = (1..=keys).map(|n| ChildId::from(format!("w{n}"))).collect();
        for (n, name) in names.iter().enumerate() {
            let key = (kind == "keyed").then(|| name.clone());
            ledger.handle(
                TreeInstant::EPOCH,
                LedgerInput::Acquire { ticket: Ticket(n as u64), key },
                &mut out,
            );
        }
        for key in names.clone() {
            let ready = LedgerInput::Child { key, incarnation: Incarnation(1), state: ChildState::Ready };
            ledger.handle(TreeInstant::EPOCH, ready, &mut out);
        }
        for action in std::mem::take(&mut out) {
            if let LedgerAction::Grant { granted, .. } = action {
                ledger.handle(TreeInstant::EPOCH, LedgerInput::Release { lease: granted.lease }, &mut out);
            }
        }
        let rounds = 2_000_000_u64;
        let begun = Instant::now();
        let mut pick = 7_usize;
        for n in 0..rounds {
            out.clear();
            pick = pick.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (kind == "keyed").then(|| names[(pick >> 33) % keys].clone());
            let now = TreeInstant::new(Duration::from_nanos(n));
            ledger.handle(now, LedgerInput::Acquire { ticket: Ticket(n), key }, &mut out);
            let Some(LedgerAction::Grant { granted, .. }) = out.pop() else { panic!("cold") };
            ledger.handle(now, LedgerInput::Release { lease: granted.lease }, &mut out);
        }
        let each = begun.elapsed() / u32::try_from(rounds).unwrap();
        println!("{kind} pool, {keys} workers: acquire + release {each:?}");
        assert!(each < Duration::from_micros(1), "{each:?}");
    }
}
