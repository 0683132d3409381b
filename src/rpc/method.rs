//! Typed names of what can be called: [`Method`] and [`Notification`].

use serde::{Serialize, de::DeserializeOwned};

use crate::rpc::config::Timeout;

/// A method by its name, with the types of its parameters and its output (C-2).
///
/// ```
/// use procession::rpc::Method;
///
/// struct Add;
/// impl Method for Add {
///     const NAME: &'static str = "add";
///     type Params = (i64, i64);
///     type Output = i64;
/// }
/// ```
pub trait Method: Send + Sync + 'static {
    /// The name on the wire.
    const NAME: &'static str;
    /// How long a call may take, unless the call itself sets a timeout (C-3: call > method > peer).
    const TIMEOUT: Timeout = Timeout::Default;
    /// Whether sending the request twice has the effect of sending it once. If its worker ends before it
    /// has answered, such a call is sent again, and while its worker starts or backs off, it waits (C-9).
    const IDEMPOTENT: bool = false;
    /// The parameters. `()`, like everything else that serialises to `null`, sends none.
    type Params: Serialize + Send + Sync;
    /// The result.
    type Output: DeserializeOwned + Send;
}

/// A notification by its name, with the type of its parameters.
pub trait Notification: Send + Sync + 'static {
    /// The name on the wire.
    const NAME: &'static str;
    /// The parameters. `()` and everything else that is written as `null` sends none.
    type Params: Serialize + Send + Sync;
}
