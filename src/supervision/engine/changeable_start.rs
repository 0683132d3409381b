//! How a child is started now, with the changes that wait for its next start (G-13):
//! [`ChangeableStart`]. When they are taken, confirmed or taken back is the machine's decision.

use std::sync::Arc;

use crate::supervision::start::{Start, StartModification};

/// A change of how a child is started, from its next start on.
#[derive(Clone, Debug)]
pub(crate) enum NextStartChange {
    /// It is started by this from now on.
    Replace(Arc<dyn Start>),
    /// Its start is changed in part, if it is of a kind that knows such changes.
    Modify(Arc<dyn StartModification>),
}

impl NextStartChange {
    /// The start after the change; `None` if it cannot be changed like this.
    fn apply(&self, before: &Arc<dyn Start>) -> Option<Arc<dyn Start>> {
        match self {
            NextStartChange::Replace(start) => Some(start.clone()),
            NextStartChange::Modify(change) => before.changed(&**change),
        }
    }
}

/// How a child is started, and the changes of that which wait or are unconfirmed.
pub(super) struct ChangeableStart {
    start: Arc<dyn Start>,
    /// `None` while nothing waits and nothing is unconfirmed.
    changes: Option<Box<NextStartChanges>>,
}

#[derive(Default)]
struct NextStartChanges {
    /// One at most, except while a start is unconfirmed: they may have to be applied to the one before it.
    waiting: Vec<NextStartChange>,
    /// The last confirmed start, while a newer one is unconfirmed.
    confirmed: Option<Arc<dyn Start>>,
}

impl ChangeableStart {
    pub(super) fn new(start: Arc<dyn Start>) -> ChangeableStart {
        ChangeableStart { start, changes: None }
    }

    /// What starts the next incarnation, unless changes are taken before.
    pub(super) fn start(&self) -> &Arc<dyn Start> {
        &self.start
    }

    /// The start as it will be with all changes that wait and this one; `None` if it cannot be changed like
    /// this.
    pub(super) fn preview(&self, change: &NextStartChange) -> Option<Arc<dyn Start>> {
        change.apply(&self.coming())
    }

    /// The start as it will be with all changes that wait. What cannot be applied now was possible when it
    /// was requested, on a definition that was taken back.
    fn coming(&self) -> Arc<dyn Start> {
        let waiting = self.changes.iter().flat_map(|changes| &changes.waiting);
        waiting.fold(self.start.clone(), |start, change| change.apply(&start).unwrap_or(start))
    }

    /// Adds a change that waits for the next start.
    pub(super) fn change(&mut self, change: NextStartChange) {
        self.changes.get_or_insert_default().waiting.push(change);
        self.merge_changes();
    }

    /// Makes one change of all that wait, however many were requested for a start that may be far away.
    fn merge_changes(&mut self) {
        let coming = self.coming();
        if let Some(changes) = &mut self.changes
            && changes.confirmed.is_none()
            && changes.waiting.len() > 1
        {
            changes.waiting = vec![NextStartChange::Replace(coming)];
        }
    }

    /// Takes all changes that wait, in the order in which they were requested.
    pub(super) fn take_changes(&mut self) {
        let coming = self.coming();
        let Some(changes) = &mut self.changes else { return };
        changes.waiting.clear();
        let before = std::mem::replace(&mut self.start, coming);
        changes.confirmed.get_or_insert(before);
    }

    /// The newest start is good.
    pub(super) fn confirm(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.confirmed = None;
            if changes.waiting.is_empty() {
                self.changes = None;
            }
        }
        self.merge_changes();
    }

    /// The last confirmed start returns. Changes that wait are kept.
    pub(super) fn restore(&mut self) {
        if let Some(confirmed) = self.changes.as_mut().and_then(|changes| changes.confirmed.take()) {
            self.start = confirmed;
        }
        self.confirm();
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use async_trait::async_trait;

    use super::*;
    use crate::{
        exit::Exit,
        supervision::start::{StartContext, Started},
    };

    /// A start that has been changed by these numbers.
    #[derive(Clone, Debug, PartialEq)]
    struct Numbers(Vec<u32>);

    #[derive(Debug)]
    struct Push(u32);

    impl StartModification for Push {
        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    #[async_trait]
    impl Start for Numbers {
        fn changed(&self, change: &dyn StartModification) -> Option<Arc<dyn Start>> {
            let pushed = change.as_any().downcast_ref::<Push>()?.0;
            Some(Arc::new(Numbers(self.0.iter().copied().chain([pushed]).collect())))
        }

        async fn start(&self, _: StartContext) -> Result<Started, Exit> {
            Err(Exit::Ignored)
        }
    }

    fn push(number: u32) -> NextStartChange {
        NextStartChange::Modify(Arc::new(Push(number)))
    }

    fn waiting(definition: &ChangeableStart) -> usize {
        definition.changes.as_ref().map_or(0, |changes| changes.waiting.len())
    }

    fn starts_as(definition: &ChangeableStart) -> String {
        format!("{:?}", definition.start())
    }

    // G-13: changes for the next start of a child that runs for a year are one change.
    #[test]
    fn changes_that_wait_are_one() {
        let mut definition = ChangeableStart::new(Arc::new(Numbers(vec![])));
        for number in 1..=3 {
            definition.change(push(number));
            assert_eq!(waiting(&definition), 1);
        }
        definition.take_changes();
        assert_eq!(starts_as(&definition), "Numbers([1, 2, 3])");
        definition.change(NextStartChange::Replace(Arc::new(Numbers(vec![9]))));
        definition.confirm();
        definition.change(push(1));
        assert_eq!(waiting(&definition), 1);
        definition.take_changes();
        assert_eq!(starts_as(&definition), "Numbers([9, 1])");
    }

    // G-13: what comes while a start is unconfirmed is applied to whatever is good in the end.
    #[test]
    fn changes_that_come_during_a_bad_start_are_kept_without_it() {
        let mut definition = ChangeableStart::new(Arc::new(Numbers(vec![])));
        definition.change(push(1));
        definition.take_changes();
        definition.change(push(2));
        definition.change(push(3));
        assert_eq!(starts_as(&definition), "Numbers([1])");
        definition.restore();
        assert_eq!(waiting(&definition), 1);
        definition.take_changes();
        assert_eq!(starts_as(&definition), "Numbers([2, 3])");
        definition.confirm();
        assert!(definition.changes.is_none());
    }
}
