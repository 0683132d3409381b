//! [`BoundedErrorDeserializer`]: reads a type from JSON without error messages that are longer than
//! their cause.
//!
//! Serde's message about a text that does not fit contains the whole text, escaped, which may be
//! several times as long as what a process has sent. This type stands between a deserializer and the
//! type that reads it, at every level, and cuts such messages while they are made. It changes nothing
//! else.
//!
//! serde_json also makes such messages by itself, when it is asked for a number or an object and finds
//! a text. So it is asked for any value, and the type that is read reports the mismatch.

use std::{
    fmt::{self, Write as _},
    sync::LazyLock,
};

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::sanitize::SHOWN_BYTES;

/// A deserializer, or something that it hands out, with bounded error messages. The key of a member is
/// read as it is requested: it is always a text, whatever it stands for.
pub(crate) struct BoundedErrorDeserializer<T, const KEY: bool = false>(pub(crate) T);

/// Whether a number that is requested as any value arrives as a number: with serde_json's
/// `arbitrary_precision`, which any crate of the program may turn on, it does not.
static NUMBERS_ARE_NUMBERS: LazyLock<bool> = LazyLock::new(|| {
    struct AnyNumber;
    impl Visitor<'_> for AnyNumber {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }
        fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
    }
    serde_json::Deserializer::from_str("1").deserialize_any(AnyNumber).is_ok()
});

/// An error of a deserializer: keeps only the beginning of its message.
#[derive(Debug)]
struct TruncatedDeError(String);

impl fmt::Display for TruncatedDeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TruncatedDeError {}

impl de::Error for TruncatedDeError {
    fn custom<T: fmt::Display>(message: T) -> TruncatedDeError {
        struct Begin(String);
        impl fmt::Write for Begin {
            fn write_str(&mut self, more: &str) -> fmt::Result {
                let room = SHOWN_BYTES - self.0.len();
                self.0.push_str(&more[..super::borrowed_json::floor_char_boundary(more, room)]);
                if more.len() > room { Err(fmt::Error) } else { Ok(()) }
            }
        }
        let mut begin = Begin(String::new());
        if write!(begin, "{message}").is_err() {
            begin.0.push('…');
        }
        TruncatedDeError(begin.0)
    }
}

/// As asked for.
macro_rules! deserialize {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(BoundedErrorDeserializer::<V>(visitor))
        })*
    };
}

/// As what is there, unless it is a key.
macro_rules! deserialize_any {
    (if $any:expr; $($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            if !KEY && $any {
                self.0.deserialize_any(BoundedErrorDeserializer::<V>(visitor))
            } else {
                self.0.$method($($name,)* BoundedErrorDeserializer::<V>(visitor))
            }
        })*
    };
}

impl<'de, D: Deserializer<'de>, const KEY: bool> Deserializer<'de> for BoundedErrorDeserializer<D, KEY> {
    type Error = D::Error;

    deserialize! {
        deserialize_any deserialize_i128 deserialize_u128 deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_identifier deserialize_ignored_any
    }

    deserialize_any! {
        if true;
        deserialize_bool() deserialize_char() deserialize_str() deserialize_string() deserialize_unit()
        deserialize_seq() deserialize_map()
        deserialize_unit_struct(_name: &'static str)
        deserialize_tuple(_len: usize)
        deserialize_tuple_struct(_name: &'static str, _len: usize)
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str])
    }

    deserialize_any! {
        if *NUMBERS_ARE_NUMBERS;
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
        deserialize_f32() deserialize_f64()
    }

    // How a raw value is asked for, among others.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, BoundedErrorDeserializer::<V>(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, BoundedErrorDeserializer::<V>(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

/// Those whose value a message would hold.
macro_rules! visit_long {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method::<TruncatedDeError>(value).map_err(E::custom)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for BoundedErrorDeserializer<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128,
        visit_f32: f32, visit_f64: f64, visit_char: char
    }

    visit_long! {
        visit_str: &str, visit_borrowed_str: &'de str, visit_string: String,
        visit_bytes: &[u8], visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(BoundedErrorDeserializer::<D>(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(BoundedErrorDeserializer::<D>(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(BoundedErrorDeserializer::<A>(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(BoundedErrorDeserializer::<A>(members))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(BoundedErrorDeserializer::<A>(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>, const KEY: bool> DeserializeSeed<'de>
    for BoundedErrorDeserializer<S, KEY>
{
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(BoundedErrorDeserializer::<D, KEY>(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for BoundedErrorDeserializer<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(BoundedErrorDeserializer::<S>(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for BoundedErrorDeserializer<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(BoundedErrorDeserializer::<S, true>(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(BoundedErrorDeserializer::<S>(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for BoundedErrorDeserializer<A> {
    type Error = A::Error;
    type Variant = BoundedErrorDeserializer<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        self.0
            .variant_seed(BoundedErrorDeserializer::<S>(seed))
            .map(|(value, variant)| (value, BoundedErrorDeserializer(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for BoundedErrorDeserializer<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(BoundedErrorDeserializer::<S>(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, BoundedErrorDeserializer::<V>(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, BoundedErrorDeserializer::<V>(visitor))
    }
}
