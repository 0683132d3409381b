//! A child actor that does what it is told, and a record of what it did.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use procession::{
    event::Event,
    supervision::{ChildSpec, EventReceiver, RecvError},
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<String>>>);

impl Record {
    pub(crate) fn push(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// What has happened since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// How a [`Puppet`] behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// How long its `pre_start` takes.
    pub(crate) start: Duration,
    /// How long its `post_stop` takes.
    pub(crate) stop: Duration,
    /// Starts fail while this is above zero; each failed start takes one.
    pub(crate) fail_starts: Arc<Mutex<u32>>,
}

impl Script {
    pub(crate) fn slow_start(ms: u64) -> Script {
        Script { start: Duration::from_millis(ms), ..Script::default() }
    }

    pub(crate) fn slow_stop(ms: u64) -> Script {
        Script { stop: Duration::from_millis(ms), ..Script::default() }
    }

    pub(crate) fn failing(times: u32) -> Script {
        Script { fail_starts: Arc::new(Mutex::new(times)), ..Script::default() }
    }
}

/// The actor.
pub(crate) struct Puppet {
    name: String,
    script: Script,
    record: Record,
}

/// Told of its end by its drop.
pub(crate) struct Strings {
    name: String,
    record: Record,
}

impl Drop for Strings {
    fn drop(&mut self) {
        self.record.push(format!("-{}", self.name));
    }
}

#[derive(Debug)]
pub(crate) enum Pull {
    Fail(&'static str),
    Panic,
    StopYourself,
    Name(RpcReplyPort<String>),
    /// Sleeps in the handler.
    Sleep(Duration),
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Puppet {
    type Msg = Pull;
    type State = Strings;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Pull>, (): ()) -> Result<Strings, ActorProcessingErr> {
        self.record.push(format!("?{}", self.name));
        tokio::time::sleep(self.script.start).await;
        {
            let mut left = self.script.fail_starts.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return Err("no luck".into());
            }
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
            Pull::Fail(why) => return Err(why.into()),
            Pull::Panic => panic!("pulled too hard"),
            Pull::StopYourself => me.stop(None),
            Pull::Name(reply) => {
                let _ = reply.send(self.name.clone());
            }
            Pull::Sleep(time) => tokio::time::sleep(time).await,
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Pull>, _: &mut Strings) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(self.script.stop).await;
        Ok(())
    }
}

/// A child that behaves as scripted and records `?name` when it begins to start, `+name` when it is up,
/// `-name` when its state is dropped.
pub(crate) fn puppet(name: &str, script: Script, record: &Record) -> ChildSpec {
    let (name, record) = (name.to_owned(), record.clone());
    ChildSpec::actor(name.clone(), move || {
        (Puppet { name: name.clone(), script: script.clone(), record: record.clone() }, ())
    })
}

pub(crate) fn plain(name: &str, record: &Record) -> ChildSpec {
    puppet(name, Script::default(), record)
}

/// Everything that has been published so far.
pub(crate) fn drain(events: &mut EventReceiver) -> Vec<Arc<Event>> {
    let mut all = Vec::new();
    loop {
        match events.try_next() {
            Ok(Some(event)) => all.push(event),
            Ok(None) | Err(RecvError::Closed) => return all,
            Err(lost) => panic!("{lost}"),
        }
    }
}

/// Lets everything happen that can happen without time passing, and a little time pass.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// Panics of puppets are part of the play.
pub(crate) fn hush() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<&str>().copied();
        let text = text.or(info.payload().downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        if text != "pulled too hard" && !text.starts_with("panics /") {
            eprintln!("{info}");
        }
    }));
}
