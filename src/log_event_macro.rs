//! The one form of an event of this crate's log: `log_event!`.

/// `log_event!(warn, path, incarnation, fields…, "text")`: an event of target `procession`, or of another
/// target if one is named behind the level.
///
/// The child that it is about is in fields of the event itself, which remain when a filter switches spans
/// off. It has no parent: a span around it would be one of ractor's, with the id of an actor, before each
/// line. Ids may come from strangers, so the path is put on one line; further fields and the text are the
/// caller's to put there.
macro_rules! log_event {
    ($level:ident, target: $target:literal, $path:expr, $incarnation:expr, $($rest:tt)+) => {
        tracing::$level!(
            target: $target, parent: None,
            path = $crate::untrusted::one_line_cow($path.as_str()).as_ref(), incarnation = $incarnation.0,
            $($rest)+
        )
    };
    ($level:ident, $path:expr, $incarnation:expr, $($rest:tt)+) => {
        log_event!($level, target: "procession", $path, $incarnation, $($rest)+)
    };
}
pub(crate) use log_event;
