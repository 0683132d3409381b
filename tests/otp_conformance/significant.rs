//! `supervisor_SUITE`, the cases of significant children and `auto_shutdown`.

use procession::{
    exit::Exit,
    restart::RestartPolicy,
    state::Strategy,
    supervision::{
        AutoShutdown, ChildPolicy, ChildSpec, RequestError, Shutdown, SupervisorSpec, TreeStartError,
    },
};

use crate::support::*;

const ENDS: [Death; 3] = [Death::Normal, Death::Shutdown, Death::ShutdownTerm];

fn with(auto_shutdown: AutoShutdown) -> Vec<SupervisorSpec> {
    supervisors().into_iter().map(|spec| spec.auto_shutdown(auto_shutdown)).collect()
}

#[tokio::test(start_paused = true)]
async fn significant_children_must_be_able_to_end() {
    // OTP (S-4): a permanent child cannot be significant, and none can be under `never`.
    for (spec, policy) in [
        (SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AnySignificant), permanent()),
        (SupervisorSpec::one_for_one(), temporary()),
        (SupervisorSpec::one_for_one(), transient()),
    ] {
        let cast = Cast::new();
        let bad = cast.plain("a").restart(policy).significant();
        let refused = cast.try_start(spec.clone().child(bad.clone())).await;
        assert!(matches!(refused, Err(TreeStartError::Invalid(_))));
        let play = cast.start(spec).await;
        assert!(matches!(play.sup.start_child(bad).await, Err(RequestError::Invalid(_))));
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nonsignificant_temporary() {
    // OTP: the end of a child that is not significant shuts nothing down, whatever the flag.
    for auto in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for death in ENDS.into_iter().chain(CRASHES) {
            for spec in with(auto) {
                let cast = Cast::new();
                let play =
                    cast.start(spec.child(cast.plain("a").restart(temporary())).child(cast.plain("b"))).await;
                play.dies("/a", death).await;
                assert_eq!(play.which().await, "b:ready#1");
                play.over().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nonsignificant_transient() {
    // OTP: the same.
    for auto in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for death in ENDS {
            for spec in with(auto) {
                let cast = Cast::new();
                let left = if spec.flags.dynamic { "b:ready#1" } else { "a:ended#1 b:ready#1" };
                let play =
                    cast.start(spec.child(cast.plain("a").restart(transient())).child(cast.plain("b"))).await;
                play.dies("/a", death).await;
                assert_eq!(play.which().await, left);
                play.over().await;
            }
        }
    }
}

/// Three significant children and one that is not; `any`: the first end shuts it all down. `all`: the last.
async fn shuts_down(policy: RestartPolicy, death: Death) {
    for spec in with(AutoShutdown::AnySignificant) {
        let cast = Cast::new();
        let (a, b) = (cast.plain("a").restart(policy.clone()), cast.plain("b").restart(policy.clone()));
        let play =
            cast.start(spec.child(a.significant()).child(b.significant()).child(cast.plain("c"))).await;
        play.log();
        play.dies("/a", death).await;
        assert_eq!(play.gives_up().await, Exit::AutoShutdown { child: "a".into() });
        assert!(["-a -c -b", "-a -b -c"].contains(&play.log().as_str()));
    }
    for spec in with(AutoShutdown::AllSignificant) {
        let cast = Cast::new();
        let (a, b) = (cast.plain("a").restart(policy.clone()), cast.plain("b").restart(policy.clone()));
        let d = cast.plain("d").restart(temporary());
        let spec = spec.child(a.significant()).child(cast.plain("c")).child(b.significant()).child(d);
        let play = cast.start(spec).await;
        play.dies("/a", death).await;
        assert!(!play.has_ended());
        play.dies("/d", death).await;
        assert!(!play.has_ended(), "it is not significant");
        play.log();
        play.dies("/b", death).await;
        assert_eq!(play.gives_up().await, Exit::AutoShutdown { child: "b".into() });
        assert_eq!(play.log(), "-b -c");
    }
}

#[tokio::test(start_paused = true)]
async fn significant_temporary() {
    // OTP: under `any_significant` the end of one of them, under `all_significant` that of the last one, in
    // whatever way, shuts the supervisor down.
    for death in ENDS.into_iter().chain(CRASHES) {
        shuts_down(temporary(), death).await;
    }
}

#[tokio::test(start_paused = true)]
async fn significant_transient() {
    // OTP: the same for ends that do not restart it; a crash that restarts it shuts nothing down.
    for death in ENDS {
        shuts_down(transient(), death).await;
    }
    for auto in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for death in CRASHES {
            for spec in with(auto) {
                let cast = Cast::new();
                let play = cast.start(spec.child(cast.plain("a").restart(transient()).significant())).await;
                play.dies("/a", death).await;
                assert_eq!(play.which().await, "a:ready#2");
                play.over().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn significant_simple() {
    // OTP: under simple-one-for-one the children that come at run time are all significant; the same rules.
    for auto in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        let cast = Cast::new();
        let child = |name: &str| cast.plain(name).restart(temporary()).significant();
        let play = cast.start(SupervisorSpec::dynamic().auto_shutdown(auto)).await;
        assert!(!play.has_ended(), "none yet is not the end of all");
        play.sup.start_child(child("a")).await.unwrap();
        play.sup.start_child(child("b")).await.unwrap();
        play.dies("/a", Death::Normal).await;
        assert_eq!(play.has_ended(), auto == AutoShutdown::AnySignificant);
        if !play.has_ended() {
            play.dies("/b", Death::Abnormal).await;
        }
        assert!(matches!(play.gives_up().await, Exit::AutoShutdown { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn significant_bystander() {
    // OTP: a significant child that the supervisor itself terminates (with its group, or by
    // `terminate_child`) shuts nothing down, not even if it is the last one.
    for auto in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
            let cast = Cast::new();
            let spec = SupervisorSpec::new(strategy)
                .auto_shutdown(auto)
                .child(cast.plain("a"))
                .child(cast.plain("b").restart(temporary()).significant())
                .child(cast.plain("c").restart(transient()).significant());
            let play = cast.start(spec).await;
            play.dies("/a", Death::Abnormal).await;
            assert_eq!(play.which().await, "a:ready#2 c:ready#2");
            play.sup.terminate_child("c").await.unwrap();
            assert_eq!(play.which().await, "a:ready#2 c:stopped#2");
            assert!(!play.has_ended());
            play.over().await;
        }
    }
    // One that was terminated by hand counts as gone for `all`.
    let cast = Cast::new();
    let child = |name: &str| cast.plain(name).restart(transient()).significant();
    let spec = SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AllSignificant);
    let play = cast.start(spec.child(child("a")).child(child("b"))).await;
    play.sup.terminate_child("a").await.unwrap();
    play.dies("/b", Death::Normal).await;
    assert_eq!(play.gives_up().await, Exit::AutoShutdown { child: "b".into() });
}

#[tokio::test(start_paused = true)]
async fn significant_and_restarting() {
    // OTP: a child that is restarting counts as alive for `all_significant`.
    let cast = Cast::new();
    let slow = transient().with_backoff(procession::restart::Backoff::fixed(10 * SEC));
    let spec = SupervisorSpec::one_for_one()
        .auto_shutdown(AutoShutdown::AllSignificant)
        .child(cast.plain("a").restart(slow).significant())
        .child(cast.plain("b").restart(transient()).significant());
    let play = cast.start(spec).await;
    play.dies("/a", Death::Abnormal).await;
    play.dies("/b", Death::Normal).await;
    assert_eq!(play.which().await, "a:restarting#1 b:ended#1");
    time_passes(11_000).await;
    play.dies("/a", Death::Normal).await;
    assert_eq!(play.gives_up().await, Exit::AutoShutdown { child: "a".into() });
}

#[tokio::test(start_paused = true)]
async fn significant_brutal() {
    // OTP: the others are terminated in reverse order, each in its own way, when the supervisor shuts itself
    // down.
    let cast = Cast::new();
    let slow = Script::default().stop_takes(100);
    let spec = SupervisorSpec::one_for_one()
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(cast.scripted("slow", &slow))
        .child(cast.scripted("brutal", &slow).shutdown(Shutdown::BrutalKill))
        .child(cast.plain("a").restart(temporary()).significant());
    let play = cast.start(spec).await;
    play.log();
    play.dies("/a", Death::Normal).await;
    assert_eq!(play.log(), "-a -brutal");
    let _ = play.gives_up().await;
    assert_eq!(play.log(), "-slow");
}

#[tokio::test(start_paused = true)]
async fn significant_escalation() {
    // OTP: a supervisor that shuts itself down ends with `shutdown`: a permanent one is restarted, a
    // transient or temporary one is not, and if that one is significant in its turn, its parent shuts down,
    // too.
    for (policy, which) in [
        (permanent(), Some("low:ready#2 z:ready#1")),
        (transient(), Some("low:ended#1 z:ready#1")),
        (temporary(), Some("z:ready#1")),
    ] {
        let (play, ended) = escalate(policy, false).await;
        assert_eq!(ended, None);
        assert_eq!(Some(play.which().await.as_str()), which);
        play.over().await;
    }
    for policy in [transient(), temporary()] {
        let (_, ended) = escalate(policy, true).await;
        assert_eq!(ended, Some(Exit::AutoShutdown { child: "low".into() }));
    }
}

async fn escalate(policy: RestartPolicy, significant: bool) -> (Play, Option<Exit>) {
    let cast = Cast::new();
    let leaf = cast.plain("leaf").restart(transient()).significant();
    let low = SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AnySignificant).child(leaf);
    let mut low = ChildSpec::supervisor("low", low).restart(policy);
    if significant {
        low = low.significant();
    }
    let top = SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AllSignificant);
    let play = cast.start(top.child(low).child(cast.plain("z"))).await;
    play.dies("/low/leaf", Death::Normal).await;
    let ended = if play.has_ended() { Some(play.root.wait().await) } else { None };
    (play, ended)
}

#[tokio::test(start_paused = true)]
async fn significant_transient_supervisor_that_gives_up() {
    // OTP: giving up is `shutdown` for a transient child: a significant one shuts its parent down.
    let cast = Cast::new();
    let low = cast.all(SupervisorSpec::one_for_one().intensity(0, HOUR), &["leaf"]);
    let low = ChildSpec::supervisor("low", low).restart(transient()).significant();
    let top = SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AnySignificant).child(low);
    let play = cast.start(top).await;
    play.dies("/low/leaf", Death::Abnormal).await;
    assert_eq!(play.gives_up().await, Exit::AutoShutdown { child: "low".into() });
}

#[tokio::test(start_paused = true)]
async fn significant_upgrade_child() {
    // OTP: a code change may make a child significant or take that away; it holds from then on. Ours has no
    // code change; `set_policy` does this while the child runs. The supervisor's own flag cannot be
    // changed.
    let cast = Cast::new();
    let spec = SupervisorSpec::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
    let child = |name: &str| cast.plain(name).restart(transient());
    let play =
        cast.start(spec.child(child("a")).child(child("b").significant()).child(cast.plain("c"))).await;
    let plain = ChildPolicy { restart: transient(), ..ChildPolicy::actor() };
    play.sup.set_policy("b", plain.clone()).await.unwrap();
    play.dies("/b", Death::Normal).await;
    assert!(!play.has_ended());
    play.sup.set_policy("a", ChildPolicy { significant: true, ..plain.clone() }).await.unwrap();
    let refused = ChildPolicy { significant: true, restart: permanent(), ..plain };
    assert!(matches!(play.sup.set_policy("c", refused).await, Err(RequestError::Invalid(_))));
    play.dies("/a", Death::Normal).await;
    assert_eq!(play.gives_up().await, Exit::AutoShutdown { child: "a".into() });
}
