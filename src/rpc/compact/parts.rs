//! What a value is made of, with the commas between: elements, entries of maps, fields.

use serde::{
    Serialize, Serializer,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::Error;

use super::{string, write};

/// What stands between brackets.
pub(super) struct Items<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
    end: &'static [u8],
}

/// A map. Its opening bracket is written with its first key.
pub(super) struct Entries<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

pub(super) enum Fields<'a> {
    Of(Items<'a>),
    /// One field that serde_json has to write, in a struct of this name.
    Private(&'a mut Vec<u8>, &'static str),
}

impl<'a> Items<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, bracket: u8, end: &'static [u8]) -> Items<'a> {
        out.push(bracket);
        Items { out, first: true, end }
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.separate();
        write(self.out, value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Error> {
        self.separate();
        string(self.out, key)?;
        self.out.push(b':');
        write(self.out, value)
    }

    fn finish(self) {
        self.out.extend_from_slice(self.end);
    }
}

impl<'a> Entries<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Entries<'a> {
        Entries { out, first: true }
    }
}

macro_rules! items {
    ($($kind:ident::$method:ident),*) => {$(
        impl $kind for Items<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish();
                Ok(())
            }
        }
    )*};
}

items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

impl SerializeStructVariant for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.field(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        match self {
            Fields::Of(items) => items.field(key, value),
            Fields::Private(out, name) => serde_json::to_writer(&mut **out, &Private { name, key, value }),
        }
    }

    fn end(self) -> Result<(), Error> {
        if let Fields::Of(items) = self {
            items.finish();
        }
        Ok(())
    }
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        const REST: &[u8] = b"null}";
        let begin = self.out.len();
        serde_json::to_writer(&mut *self.out, &Lone(key))?;
        self.out.truncate(self.out.len() - REST.len());
        if !std::mem::take(&mut self.first) {
            self.out[begin] = b',';
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        write(self.out, value)
    }

    fn end(self) -> Result<(), Error> {
        self.out.extend_from_slice(if self.first { b"{}" } else { b"}" });
        Ok(())
    }
}

/// A key with `null`: not every value can be a key, and those that can are not all strings.
struct Lone<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for Lone<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &())?;
        map.end()
    }
}

struct Private<'a, T: ?Sized> {
    name: &'static str,
    key: &'static str,
    value: &'a T,
}

impl<T: Serialize + ?Sized> Serialize for Private<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct(self.name, 1)?;
        fields.serialize_field(self.key, self.value)?;
        fields.end()
    }
}
