//! A supervisor with scripted actors that start, run, crash and stop as told, and a record of what
//! they did.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use procession::internals::{Root, RootOptions};
use procession::{
    event::{Event, EventKind, ExitConsequence},
    exit::Exit,
    restart::{Backoff, RestartPolicy},
    state::Strategy,
    supervision::{
        ActorChildRef, ChildCounts, ChildSpec, EventReceiver, RecvError, SupervisorRef, SupervisorSpec,
        TreeStartError,
    },
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const NO_TIME: Duration = Duration::ZERO;
pub(crate) const SEC: Duration = Duration::from_secs(1);
/// "Never" for the purposes of a test.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// How a puppet ends by itself, and what OTP calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// `normal`: it stops itself.
    Normal,
    /// `shutdown`: it says that it was asked to end.
    Shutdown,
    /// `{shutdown, Reason}`: it stops itself and gives a reason.
    ShutdownTerm,
    /// Any other reason: its handler returns an error.
    Abnormal,
    /// The same: its handler panics.
    Panic,
    /// `killed`: it was killed from outside.
    Killed,
}

pub(crate) const SHUTDOWNS: [Death; 2] = [Death::Shutdown, Death::ShutdownTerm];
pub(crate) const CRASHES: [Death; 3] = [Death::Abnormal, Death::Panic, Death::Killed];

/// How a start ends.
#[derive(Clone, Debug)]
pub(crate) enum Birth {
    Well,
    Fails,
    Panics,
    Ignored,
    Exits(Exit),
    Hangs,
}

/// How a puppet behaves. Clones share the births that are still to come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    births: Arc<Mutex<VecDeque<Birth>>>,
    forever: Arc<Mutex<Option<Birth>>>,
    start: Duration,
    stop: Duration,
    last_word: Option<Death>,
}

impl Script {
    pub(crate) fn births(births: impl IntoIterator<Item = Birth>) -> Script {
        let script = Script::default();
        script.next(births);
        script
    }

    pub(crate) fn start_takes(mut self, ms: u64) -> Script {
        self.start = Duration::from_millis(ms);
        self
    }

    pub(crate) fn stop_takes(mut self, ms: u64) -> Script {
        self.stop = Duration::from_millis(ms);
        self
    }

    /// How it ends when it is asked to stop, instead of well.
    pub(crate) fn last_word(mut self, death: Death) -> Script {
        self.last_word = Some(death);
        self
    }

    /// What becomes of its next starts; after those all go well again.
    pub(crate) fn next(&self, births: impl IntoIterator<Item = Birth>) {
        self.births.lock().unwrap().extend(births);
    }

    /// What becomes of all starts from now on.
    pub(crate) fn always(&self, birth: Birth) {
        *self.forever.lock().unwrap() = Some(birth);
    }

    fn birth(&self) -> Birth {
        if let Some(birth) = &*self.forever.lock().unwrap() {
            return birth.clone();
        }
        self.births.lock().unwrap().pop_front().unwrap_or(Birth::Well)
    }
}

#[derive(Debug)]
pub(crate) enum Pull {
    Die(Death),
    /// Sleeps in its handler and hears nothing.
    Sleep(Duration),
    /// Unlinks itself from its supervisor.
    Unlink(ractor::ActorCell),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<String>>>);

impl Record {
    fn push(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    /// What has happened since the last call: `?a` begins to start, `+a` is up, `-a` has ended.
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }
}

pub(crate) struct Puppet {
    name: String,
    script: Script,
    record: Record,
}

pub(crate) struct Strings {
    name: String,
    record: Record,
}

impl Drop for Strings {
    fn drop(&mut self) {
        self.record.push(format!("-{}", self.name));
    }
}

fn die(me: &ActorRef<Pull>, death: Death) -> Result<(), ActorProcessingErr> {
    match death {
        Death::Normal => me.stop(None),
        Death::Shutdown => return Err(Box::new(Exit::Requested)),
        Death::ShutdownTerm => me.stop(Some("shutdown for a reason".into())),
        Death::Abnormal => return Err("abnormal".into()),
        Death::Panic => panic!("part of the play"),
        Death::Killed => me.kill(),
    }
    Ok(())
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Puppet {
    type Msg = Pull;
    type State = Strings;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Pull>, (): ()) -> Result<Strings, ActorProcessingErr> {
        self.record.push(format!("?{}", self.name));
        tokio::time::sleep(self.script.start).await;
        match self.script.birth() {
            Birth::Well => {}
            Birth::Fails => return Err("stillborn".into()),
            Birth::Panics => panic!("part of the play"),
            Birth::Ignored => return Err(Box::new(Exit::Ignored)),
            Birth::Exits(exit) => return Err(Box::new(exit)),
            Birth::Hangs => std::future::pending().await,
        }
        self.record.push(format!("+{}", self.name));
        Ok(Strings { name: self.name.clone(), record: self.record.clone() })
    }

    async fn handle(
        &self,
        me: ActorRef<Pull>,
        pull: Pull,
        _: &mut Strings,
    ) -> Result<(), ActorProcessingErr> {
        match pull {
            Pull::Die(death) => die(&me, death)?,
            Pull::Sleep(time) => tokio::time::sleep(time).await,
            Pull::Unlink(supervisor) => me.unlink(supervisor),
        }
        Ok(())
    }

    async fn post_stop(&self, me: ActorRef<Pull>, _: &mut Strings) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(self.script.stop).await;
        self.script.last_word.map_or(Ok(()), |death| die(&me, death))
    }
}

/// The puppets of one play, and their common record.
pub(crate) struct Cast {
    pub(crate) record: Record,
}

/// The tree under test.
pub(crate) struct Play {
    pub(crate) record: Record,
    pub(crate) root: Root,
    pub(crate) sup: SupervisorRef,
    events: Mutex<EventReceiver>,
}

impl Cast {
    pub(crate) fn new() -> Cast {
        hush();
        Cast { record: Record::default() }
    }

    pub(crate) fn scripted(&self, name: &str, script: &Script) -> ChildSpec {
        let (name, record, script) = (name.to_owned(), self.record.clone(), script.clone());
        ChildSpec::actor(name.clone(), move || {
            (Puppet { name: name.clone(), script: script.clone(), record: record.clone() }, ())
        })
    }

    pub(crate) fn plain(&self, name: &str) -> ChildSpec {
        self.scripted(name, &Script::default())
    }

    /// Puppets without peculiarities.
    pub(crate) fn all(&self, mut spec: SupervisorSpec, names: &[&str]) -> SupervisorSpec {
        for name in names {
            spec = spec.child(self.plain(name));
        }
        spec
    }

    pub(crate) async fn start(&self, spec: SupervisorSpec) -> Play {
        self.try_start(spec).await.unwrap()
    }

    pub(crate) async fn try_start(&self, spec: SupervisorSpec) -> Result<Play, TreeStartError> {
        let root = Root::start(spec, RootOptions::default()).await?;
        let events = Mutex::new(root.events());
        Ok(Play { record: self.record.clone(), sup: root.supervisor(), root, events })
    }
}

impl Play {
    pub(crate) fn child(&self, path: &str) -> ActorChildRef<Pull> {
        self.root.child(path).unwrap()
    }

    /// A child ends by itself; returns when nothing more happens without time passing.
    pub(crate) async fn dies(&self, path: &str, death: Death) {
        self.child(path).cast(Pull::Die(death)).unwrap();
        settle().await;
    }

    /// Several children end at the same moment, in this order.
    pub(crate) async fn die_together(&self, paths: &[&str], death: Death) {
        let children: Vec<_> = paths.iter().map(|path| self.child(path)).collect();
        for child in children {
            child.cast(Pull::Die(death)).unwrap();
        }
        settle().await;
    }

    pub(crate) fn log(&self) -> String {
        self.record.take()
    }

    /// `a:ready#1 b:stopped#0` in start order: OTP's `which_children`.
    pub(crate) async fn which(&self) -> String {
        which(&self.sup).await
    }

    /// `[specs, active, supervisors, workers]`: OTP's `count_children`.
    pub(crate) async fn count(&self) -> [usize; 4] {
        let ChildCounts { specs, active, supervisors, workers } = self.sup.count_children().await.unwrap();
        [specs, active, supervisors, workers]
    }

    /// Restarts that the root has counted in the present period.
    pub(crate) fn used(&self) -> u32 {
        self.root.snapshot().root.supervisor.unwrap().restarts_used
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.root.has_ended()
    }

    /// What was published since the last call.
    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        let mut all = Vec::new();
        let mut events = self.events.lock().unwrap();
        loop {
            match events.try_next() {
                Ok(Some(event)) => all.push(event),
                Ok(None) | Err(RecvError::Closed) => return all,
                Err(lost) => panic!("{lost}"),
            }
        }
    }

    /// How the incarnations of a child have ended since the last call.
    pub(crate) fn exits(&self, path: &str) -> Vec<(Exit, ExitConsequence)> {
        let exit = |event: &Arc<Event>| match &event.kind {
            EventKind::Exited { exit, then } if event.path.as_str() == path => {
                Some((exit.clone(), then.clone()))
            }
            _ => None,
        };
        self.events().iter().filter_map(exit).collect()
    }

    /// How the play ends: all well, and nothing is left.
    pub(crate) async fn over(self) {
        assert_eq!(self.root.shutdown(HOUR).await, Exit::Requested);
    }

    /// How the play ends by itself.
    pub(crate) async fn gives_up(&self) -> Exit {
        let exit = tokio::time::timeout(HOUR, self.root.wait()).await.expect("it gives up");
        assert!(self.has_ended());
        exit
    }
}

pub(crate) async fn which(sup: &SupervisorRef) -> String {
    let children = sup.which_children().await.unwrap();
    let word = |c: &procession::supervision::ChildInfo| {
        let state = c.state.to_string();
        let state = if c.state.is_restarting() { "restarting" } else { &state };
        format!("{}:{state}{}", c.id, c.incarnation)
    };
    children.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Lets everything happen that can happen without time passing, and a little time pass.
pub(crate) async fn settle() {
    tokio::time::sleep(MS).await;
}

pub(crate) async fn time_passes(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Restarted at once, whatever the type.
pub(crate) fn at_once(policy: RestartPolicy) -> RestartPolicy {
    policy.with_backoff(Backoff::None).with_jitter(0.0)
}

pub(crate) fn permanent() -> RestartPolicy {
    at_once(RestartPolicy::permanent())
}

pub(crate) fn transient() -> RestartPolicy {
    at_once(RestartPolicy::transient())
}

pub(crate) fn temporary() -> RestartPolicy {
    at_once(RestartPolicy::temporary())
}

/// Restarted after so many milliseconds, exactly.
pub(crate) fn after(ms: u64) -> RestartPolicy {
    RestartPolicy::permanent().with_backoff(Backoff::fixed(Duration::from_millis(ms))).with_jitter(0.0)
}

pub(crate) const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

/// Every kind of supervisor: the three strategies and the dynamic one.
pub(crate) fn supervisors() -> Vec<SupervisorSpec> {
    let mut all: Vec<_> = STRATEGIES.into_iter().map(SupervisorSpec::new).collect();
    all.push(SupervisorSpec::dynamic());
    all
}

/// Panics of puppets are part of the play.
pub(crate) fn hush() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"part of the play") {
                usual(info);
            }
        }));
    });
}
