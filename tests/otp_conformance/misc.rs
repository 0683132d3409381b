//! `supervisor_SUITE`: `tree`, `do_not_save_child_specs_for_temporary_children`,
//! `simple_one_for_one_scale_many_temporary_children`, and what is special here.

use procession::{
    exit::Exit,
    supervision::{ChildSpec, SupervisorSpec},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn tree() {
    // OTP: a supervisor with workers and a supervisor; children added to the lower one; a crash is dealt with
    // at its own level until that gives up, and then one level up, with everything below it.
    let cast = Cast::new();
    let low = cast.all(SupervisorSpec::one_for_one().intensity(1, HOUR), &["x"]);
    let spec = cast.all(SupervisorSpec::one_for_all().intensity(1, HOUR), &["a"]);
    let play = cast.start(spec.child(ChildSpec::supervisor("low", low)).child(cast.plain("z"))).await;
    assert_eq!(play.count().await, [3, 3, 1, 2]);
    let low = play.root.supervisor_at("/low").unwrap();
    low.start_child(cast.plain("y")).await.unwrap();
    assert_eq!(play.log(), "?a +a ?x +x ?z +z ?y +y");
    play.dies("/low/x", Death::Abnormal).await;
    assert_eq!(play.log(), "-x ?x +x");
    assert_eq!(play.which().await, "a:ready#1 low:ready#1 z:ready#1");
    // One too many: the lower one gives up, the upper one restarts all.
    play.dies("/low/y", Death::Abnormal).await;
    assert_eq!(play.log(), "-y -x -z -a ?a +a ?x +x ?z +z");
    assert_eq!(play.which().await, "a:ready#2 low:ready#2 z:ready#2");
    // And one too many there.
    play.dies("/a", Death::Killed).await;
    assert_eq!(play.log(), "-a -z -x");
    let exit = play.gives_up().await;
    assert_eq!(exit.chain().last(), Some(&Exit::ActorKilled));
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_in_the_middle() {
    // OTP: the children of a killed supervisor die with it because they are linked; its parent restarts it.
    // Here: and its successor starts only when they are gone (S-21).
    for strategy in STRATEGIES {
        let cast = Cast::new();
        let low = cast.all(SupervisorSpec::new(strategy), &["x", "y"]);
        let lowest = ChildSpec::supervisor("lowest", cast.all(SupervisorSpec::new(strategy), &["l"]));
        let slow = cast.scripted("slow", &Script::default().stop_takes(10_000));
        let low = ChildSpec::supervisor("low", low.child(lowest).child(slow));
        let play = cast.start(SupervisorSpec::new(strategy).child(low)).await;
        play.log();
        play.root.find("/low").unwrap().live().as_ref().unwrap().cell.kill();
        settle().await;
        let log = play.log();
        let (ends, starts) = log.split_at(log.find('?').unwrap());
        let mut ends: Vec<_> = ends.split_whitespace().collect();
        ends.sort_unstable();
        assert_eq!(ends, ["-l", "-slow", "-x", "-y"]);
        assert_eq!(starts, "?x +x ?y +y ?l +l ?slow +slow");
        assert_eq!(play.which().await, "low:ready#2");
        assert_eq!(play.used(), 1);
        play.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn do_not_save_child_specs_for_temporary_children() {
    // OTP: the memory of a supervisor does not grow with the temporary children it has had. (And
    // `do_not_save_start_parameters_...`: those are never kept apart from the declaration here.)
    for spec in supervisors() {
        let cast = Cast::new();
        let play = cast.start(spec).await;
        let alive = std::sync::Arc::new(());
        for n in 0..200 {
            let token = alive.clone();
            let name = format!("c{n}");
            let spec = cast.plain(&name).restart(temporary());
            // Something that only this declaration owns.
            let spec = ChildSpec { start: std::sync::Arc::new(Owning(spec.start, token)), ..spec };
            play.sup.start_child(spec).await.unwrap();
            let death = [Death::Normal, Death::Abnormal, Death::Killed, Death::Panic][n % 4];
            if n % 5 == 0 {
                play.sup.terminate_child(name).await.unwrap();
            } else {
                play.child(&format!("/{name}")).cast(Pull::Die(death)).unwrap();
            }
        }
        settle().await;
        assert_eq!(std::sync::Arc::strong_count(&alive), 1, "a declaration is still held");
        assert!(play.root.snapshot().root.children.is_empty());
        assert_eq!(play.count().await, [0, 0, 0, 0]);
        play.over().await;
    }
}

#[derive(Debug)]
struct Owning(std::sync::Arc<dyn procession::supervision::Start>, #[expect(dead_code)] std::sync::Arc<()>);

#[async_trait::async_trait]
impl procession::supervision::Start for Owning {
    async fn start(
        &self,
        cx: procession::supervision::StartContext,
    ) -> Result<procession::supervision::Started, Exit> {
        self.0.start(cx).await
    }
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_scale_many_temporary_children() {
    // OTP: many temporary children that end, one after the other or all at once, take time in proportion.
    let mut took = Vec::new();
    for n in [150, 2400] {
        let cast = Cast::new();
        let play = cast.start(SupervisorSpec::dynamic()).await;
        for i in 0..n {
            play.sup.start_child(cast.plain(&format!("c{i}")).restart(temporary())).await.unwrap();
        }
        let begin = std::time::Instant::now();
        for i in 0..n {
            play.child(&format!("/c{i}")).cast(Pull::Die(Death::Abnormal)).unwrap();
        }
        settle().await;
        assert_eq!(play.count().await, [0, 0, 0, 0]);
        took.push(begin.elapsed());
        play.over().await;
    }
    assert!(took[1] < 100 * took[0] + SEC, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_ends() {
    // OTP: a supervisor ends with the process that it is linked to (`sup_start_link`'s parent). Here: a root
    // may be owned by an actor, and leaves nothing behind when that ends.
    let cast = Cast::new();
    let owner = cast.start(cast.all(SupervisorSpec::one_for_one(), &["owner"])).await;
    let cell = owner.child("/owner").actor().unwrap().1.get_cell();
    let options = procession::internals::RootOptions { owner: Some(cell), ..Default::default() };
    let root =
        procession::internals::Root::start(cast.all(SupervisorSpec::one_for_one(), &["a", "b"]), options)
            .await
            .unwrap();
    owner.log();
    owner.dies("/owner", Death::Abnormal).await;
    let _ = tokio::time::timeout(SEC, root.wait()).await.unwrap();
    let log = owner.log();
    assert!(log.contains("-a") && log.contains("-b"), "{log}");
    owner.over().await;
}
