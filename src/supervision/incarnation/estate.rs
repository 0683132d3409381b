//! What is left of an incarnation when its engine is gone: [`Estate`].

use super::Born;
use crate::{
    id::Incarnation,
    supervision::{
        place::Place,
        remains::{Gone, Remains},
        start::Scope,
    },
    vocabulary::{Down, State},
};

/// Everything that it takes to make an end of an incarnation without an engine.
pub(crate) struct Estate {
    pub(crate) incarnation: Incarnation,
    pub(crate) place: Place,
    pub(crate) scope: Scope,
    pub(crate) gone: Gone,
    /// The supervisor's token: its successor must not begin before this end is on the board.
    pub(crate) supervisor: Remains,
}

impl Estate {
    /// Kills the actor now, and sees to the rest in a task of its own.
    pub(crate) fn abandon(self, born: Option<Born>) {
        if let Some(born) = &born {
            born.kill();
        }
        // Without a runtime nothing runs any more that could be awaited.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.settle(born));
        }
    }

    /// Returns when nothing of the incarnation is left and the board says so.
    pub(crate) async fn settle(self, born: Option<Born>) {
        let Estate { incarnation, place, scope, gone, supervisor } = self;
        if let Some(mut born) = born {
            born.kill();
            born.join().await;
        }
        place.retract(incarnation);
        gone.wait().await;
        place.record(&scope, incarnation, State::down(Down::Ended));
        drop(supervisor);
    }
}
