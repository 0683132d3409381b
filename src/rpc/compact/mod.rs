//! Writes values as compact JSON, byte for byte what serde_json writes: [`write`].
//!
//! serde_json looks at each byte of a string on its own to find what needs an escape, which is most of what a small call
//! costs to encode. Here a string is looked at in blocks, and copied when nothing in it does; serde_json writes all else,
//! from numbers and keys of maps to strings with escapes, so that there is one opinion on how things are written. Only the
//! brackets and commas around values are this module's own.

mod parts;

use serde::{Serialize, Serializer};
use serde_json::Error;

use self::parts::{Entries, Fields, Items};

/// What serde_json calls its raw values and numbers among themselves; only it knows how they are written.
const PRIVATE: &str = "$serde_json::private::";

/// Appends the value. What has been written when it fails is of no use.
pub(crate) fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    value.serialize(Compact(out))
}

/// Appends a string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    if !is_plain(text.as_bytes()) {
        return serde_json::to_writer(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// Whether nothing in it needs an escape.
fn is_plain(text: &[u8]) -> bool {
    const BLOCK: usize = 16;
    // Without a way out within a block, which the compiler makes vector instructions of.
    let plain = |block: &[u8]| {
        !block.iter().fold(false, |found, &byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
    };
    match text.last_chunk::<BLOCK>() {
        Some(last) => text.as_chunks::<BLOCK>().0.iter().all(|block| plain(block)) && plain(last),
        None => plain(text),
    }
}

struct Compact<'a>(&'a mut Vec<u8>);

/// Begins the object around the content of a variant.
fn variant(out: &mut Vec<u8>, name: &str) -> Result<(), Error> {
    out.push(b'{');
    string(out, name)?;
    out.push(b':');
    Ok(())
}

macro_rules! as_serde_json_does {
    ($($method:ident($type:ty)),* $(,)?) => {$(
        fn $method(self, value: $type) -> Result<(), Error> {
            serde_json::Serializer::new(self.0).$method(value)
        }
    )*};
}

impl<'a> Serializer for Compact<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Items<'a>;

    as_serde_json_does!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_bytes(&[u8]),
    );

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        serde_json::Serializer::new(self.0).collect_str(value)
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        string(self.0, text)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        string(self.0, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        variant(self.0, name)?;
        write(self.0, value)?;
        self.0.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Error> {
        Ok(Items::begin(self.0, b'[', b"]"))
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'a>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items<'a>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Items<'a>, Error> {
        variant(self.0, name)?;
        Ok(Items::begin(self.0, b'[', b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, Error> {
        Ok(Entries::begin(self.0))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a>, Error> {
        if name.starts_with(PRIVATE) {
            return Ok(Fields::Private(self.0, name));
        }
        Ok(Fields::Of(Items::begin(self.0, b'{', b"}")))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Items<'a>, Error> {
        variant(self.0, name)?;
        Ok(Items::begin(self.0, b'{', b"}}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, value::RawValue};

    use super::*;

    #[derive(Debug, Serialize)]
    enum Shape {
        Unit,
        New(Box<All>),
        Tuple(i8, Option<String>),
        Struct { a: u128, b: () },
    }

    #[derive(Debug, Serialize)]
    struct UnitStruct;

    #[derive(Debug, Serialize)]
    struct All {
        text: String,
        letter: char,
        float: f32,
        double: f64,
        wide: i128,
        flag: bool,
        unit: UnitStruct,
        raw: Option<Box<RawValue>>,
        shapes: Vec<Shape>,
        numbers: BTreeMap<i32, (u8, String)>,
        flags: BTreeMap<bool, Vec<()>>,
        #[serde(flatten)]
        more: BTreeMap<String, Value>,
        path: std::net::IpAddr,
    }

    fn same<T: Serialize + ?Sized>(value: &T) {
        let mut out = b"x".to_vec();
        write(&mut out, value).unwrap();
        let expected = serde_json::to_string(value).unwrap();
        assert_eq!(std::str::from_utf8(&out[1..]).unwrap(), expected);
    }

    /// Letters with what needs an escape strewn in.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{0,70}", "[a-z]{0,40}[\"\\\\\u{0}-\u{1f}]?[a-zé\u{7f}\u{2028}]{0,40}", ".*"]
    }

    fn all() -> impl Strategy<Value = All> {
        let shape = (any::<i8>(), proptest::option::of(text()), any::<u128>(), any::<u8>()).prop_map(
            |(small, text, wide, kind)| match kind % 3 {
                0 => Shape::Unit,
                1 => Shape::Tuple(small, text),
                _ => Shape::Struct { a: wide, b: () },
            },
        );
        let numbers = proptest::collection::btree_map(any::<i32>(), (any::<u8>(), text()), 0..4);
        let more = proptest::collection::btree_map("[A-Z]{1,3}\"?", text().prop_map(Value::from), 0..4);
        let plain = (text(), any::<char>(), any::<f32>(), any::<f64>(), any::<i128>(), any::<bool>());
        (plain, proptest::collection::vec(shape, 0..4), numbers, more).prop_map(
            |((text, letter, float, double, wide, flag), shapes, numbers, more)| All {
                raw: flag.then(|| RawValue::from_string("[1.0, {\"a\":  \"\\u2028\"}]".to_owned()).unwrap()),
                flags: BTreeMap::from([(flag, vec![(); shapes.len()])]),
                text,
                letter,
                float,
                double,
                wide,
                flag,
                unit: UnitStruct,
                shapes,
                numbers,
                more,
                path: [127, 0, 0, wide.to_le_bytes()[0]].into(),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn values_are_written_as_serde_json_writes_them(all in all()) {
            same(&all);
            same(&serde_json::to_value(&all.numbers).unwrap());
            same(&[Shape::New(Box::new(all))][..]);
        }
    }

    #[test]
    fn each_byte_is_escaped_wherever_it_stands() {
        for byte in 0..128_u8 {
            for before in 0..35 {
                for after in [0, 1, 15, 16, 17] {
                    same(&format!("{}{}{}", "a".repeat(before), char::from(byte), "b".repeat(after)));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_written_fails_alike() {
        let maps = [BTreeMap::from([(vec![1], 1)]), BTreeMap::from([(vec![], 2)])];
        let error = write(&mut Vec::new(), &maps).unwrap_err();
        assert_eq!(error.to_string(), serde_json::to_string(&maps).unwrap_err().to_string());
        same(&BTreeMap::<String, u8>::new());
    }
}
