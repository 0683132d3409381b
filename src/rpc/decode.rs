//! Reads raw values as types, naming the field that does not fit.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::foreign::tidy;

/// Why a text is not a value of some type.
#[derive(Debug)]
pub(crate) enum Mistake {
    /// It is JSON, and says something else. With the path of the field.
    Data(String),
    /// It is no JSON, or nested too deep, or a number in it is too large.
    Syntax(String),
}

/// Reads JSON. The error names the path of the field and serde's reason; the path is looked for only when reading
/// fails, so that success costs nothing extra.
pub(crate) fn text<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    serde_json::from_str(text).map_err(|error| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let reason = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(traced) => tidy(format!("at `{}`: {}", traced.path(), traced.inner())),
            Ok(_) => tidy(error.to_string()),
        };
        if error.is_data() { Mistake::Data(reason) } else { Mistake::Syntax(reason) }
    })
}

/// Reads params. Absent ones are what the type makes of `null`, else of an empty object or array.
pub(crate) fn params<T: DeserializeOwned>(raw: Option<&RawValue>) -> Result<T, String> {
    match raw {
        Some(raw) => text(raw.get()).map_err(|mistake| match mistake {
            Mistake::Data(reason) | Mistake::Syntax(reason) => reason,
        }),
        None => serde_json::from_str("null")
            .or_else(|_| serde_json::from_str("{}"))
            .or_else(|_| serde_json::from_str("[]"))
            .map_err(|_| "at `.`: there are none".to_owned()),
    }
}
