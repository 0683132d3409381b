//! Parses raw values as types; errors name the field that does not fit.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::untrusted::{BoundedErrorDeserializer, into_one_line};

/// Up to this size, errors about the text are small enough without a bound of their own.
const SMALL_BYTES: usize = 16 * 1024;

/// Why a text is not a value of the expected type.
#[derive(Debug)]
pub(crate) enum DecodeValueError {
    /// It is JSON of another shape; with the path of the field.
    Data(String),
    /// It is not JSON, is nested too deep, or has a number that is too large.
    Syntax(String),
}

/// Parses JSON. The error names the path of the field and serde's reason, in a line of some 2 KiB.
/// The path is determined only after parsing has failed, so that success costs nothing extra.
pub(crate) fn text<T: DeserializeOwned>(text: &str) -> Result<T, DecodeValueError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = if text.len() <= SMALL_BYTES {
        T::deserialize(&mut deserializer)
    } else {
        T::deserialize(BoundedErrorDeserializer::<_>(&mut deserializer))
    };
    read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let reason = match serde_path_to_error::deserialize::<_, T>(BoundedErrorDeserializer::<_>(
            &mut deserializer,
        )) {
            Err(traced) => into_one_line(format!("at `{}`: {}", traced.path(), traced.inner())),
            Ok(_) => into_one_line(error.to_string()),
        };
        if error.is_data() { DecodeValueError::Data(reason) } else { DecodeValueError::Syntax(reason) }
    })
}

/// Parses params. Absent ones are parsed as `null`, or else as an empty object or array.
pub(crate) fn params<T: DeserializeOwned>(raw: Option<&RawValue>) -> Result<T, String> {
    match raw {
        Some(raw) => text(raw.get()).map_err(|mistake| match mistake {
            DecodeValueError::Data(reason) | DecodeValueError::Syntax(reason) => reason,
        }),
        None => serde_json::from_str("null")
            .or_else(|_| serde_json::from_str("{}"))
            .or_else(|_| serde_json::from_str("[]"))
            .map_err(|_| "at `.`: the params are missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    enum Kind {
        Unit,
        New(Option<u8>),
        Tuple(u8, String),
        Struct { a: f64, b: Vec<()> },
    }

    #[derive(Debug, Deserialize)]
    struct Everything {
        kinds: Vec<Kind>,
        map: BTreeMap<String, (i64, char)>,
        raw: Box<RawValue>,
        any: Value,
        #[serde(default)]
        padding: String,
    }

    fn everything() -> Value {
        json!({
            "kinds": ["Unit", {"New": 3}, {"New": null}, {"Tuple": [1, "x"]}, {"Struct": {"a": 1.5, "b": [null]}}],
            "map": {"x": [-1, "é"]},
            "raw": {"as": "it is"},
            "any": [1, {"a": null}],
        })
    }

    #[test]
    fn large_texts_are_read_as_small_ones() {
        let mut json = everything();
        let small: Everything = text(&json.to_string()).unwrap();
        json["padding"] = "x".repeat(2 * SMALL_BYTES).into();
        let large: Everything = text(&json.to_string()).unwrap();
        assert_eq!(large.padding.len(), 2 * SMALL_BYTES);
        assert_eq!((&small.kinds, &small.map, &small.any), (&large.kinds, &large.map, &large.any));
        assert_eq!((small.raw.get(), large.raw.get()), (r#"{"as":"it is"}"#, r#"{"as":"it is"}"#));
        assert_eq!(small.kinds[1], Kind::New(Some(3)));
        assert!(
            matches!(text::<Everything>(&format!("{json} x")), Err(DecodeValueError::Syntax(reason)) if reason.contains("trailing"))
        );
    }

    #[test]
    fn a_complaint_is_no_longer_than_a_line_whatever_it_is_about() {
        let long = Value::from("\u{e000}\n".repeat(SMALL_BYTES));
        for place in [&["kinds", "1", "New"][..], &["map", "x"], &["kinds"], &["map"]] {
            let mut json = everything();
            let at = place.iter().fold(&mut json, |value, name| match name.parse::<usize>() {
                Ok(at) => &mut value[at],
                Err(_) => &mut value[*name],
            });
            *at = long.clone();
            let Err(DecodeValueError::Data(complaint)) = text::<Everything>(&json.to_string()) else {
                panic!("{place:?}")
            };
            assert!(
                complaint.starts_with("at `") && complaint.contains("invalid type: string"),
                "{complaint}"
            );
            assert!(complaint.len() < 6000 && !complaint.contains('\n'), "{}", complaint.len());
        }
        let mut json = everything();
        json["kinds"][0] = long.clone();
        let Err(DecodeValueError::Data(complaint)) = text::<Everything>(&json.to_string()) else { panic!() };
        assert!(complaint.contains("unknown variant"), "{complaint}");
    }
}
