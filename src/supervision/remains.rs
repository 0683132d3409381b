//! What an incarnation leaves behind: [`Remains`], a token that is open as long as anything of it is left.
//!
//! A killed actor's join handle completes while its process is still there. So everything that an incarnation starts
//! (reaper, group sweep, background kill, child incarnations) holds a clone of its token, and an incarnation counts as
//! gone when its actor is joined *and* its token is closed. Only then is a child down, does a stop return, does a
//! successor start.

use std::sync::Arc;

use tokio::sync::oneshot;

/// Held by whatever belongs to an incarnation; the incarnation is not gone before the last clone is dropped.
///
/// Tokens nest: a child's token holds its supervisor's, so that a supervisor is not gone before its children are.
#[derive(Clone, Debug)]
pub struct Remains(#[expect(dead_code, reason = "held for its drop")] Arc<Open>);

#[derive(Debug)]
struct Open {
    // Dropped in this order: first whoever waits for this incarnation learns of its end, then the supervisor's token
    // goes.
    _gone: oneshot::Sender<std::convert::Infallible>,
    _supervisor: Option<Remains>,
}

/// Resolves when every clone of a [`Remains`] is dropped.
#[derive(Debug)]
pub struct Gone(oneshot::Receiver<std::convert::Infallible>);

impl Remains {
    /// A token, and the one place where its end is awaited.
    pub fn new(supervisor: Option<Remains>) -> (Remains, Gone) {
        let (tx, rx) = oneshot::channel();
        (Remains(Arc::new(Open { _gone: tx, _supervisor: supervisor })), Gone(rx))
    }
}

impl Gone {
    /// Returns when every clone of the token has been dropped.
    pub async fn wait(self) {
        // Nothing is ever sent: the error *is* the end.
        let _ = self.0.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_is_not_gone_before_its_children_are() {
        // S-21
        let (parent, parent_gone) = Remains::new(None);
        let (child, child_gone) = Remains::new(Some(parent.clone()));
        let extra = child.clone();
        drop((parent, child));
        let mut parent_gone = std::pin::pin!(parent_gone.wait());
        tokio::select! { biased; () = &mut parent_gone => panic!("gone too early"), () = std::future::ready(()) => {} }
        drop(extra);
        child_gone.wait().await;
        parent_gone.await;
    }
}
