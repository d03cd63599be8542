//! The encoding of requests to the helper process: fields in order, integers little-endian, byte strings
//! and lists preceded by their length as `u32`. Both ends are the same program, so there are no versions.

use std::ffi::CString;

/// A value that can be sent.
pub(crate) trait Wire: Sized {
    /// Appends the value.
    fn put(&self, to: &mut Vec<u8>);
    /// Takes a value from the front; `None` if the bytes are not one.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

impl Wire for u8 {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(*self);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }
}

impl Wire for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(u8::take(from)? != 0)
    }
}

impl Wire for u32 {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (bytes, rest) = from.split_first_chunk()?;
        *from = rest;
        Some(Self::from_le_bytes(*bytes))
    }
}

impl Wire for u64 {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (bytes, rest) = from.split_first_chunk()?;
        *from = rest;
        Some(Self::from_le_bytes(*bytes))
    }
}

impl Wire for CString {
    fn put(&self, to: &mut Vec<u8>) {
        length(self.as_bytes().len()).put(to);
        to.extend(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = u32::take(from)? as usize;
        let (bytes, rest) = from.split_at_checked(count)?;
        *from = rest;
        Self::new(bytes).ok()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        length(self.len()).put(to);
        for value in self {
            value.put(to);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = u32::take(from)?;
        (0..count).map(|_| T::take(from)).collect()
    }
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("a request is far smaller than 4 GiB")
}

/// Implements [`Wire`] for a struct by naming its fields.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                $($crate::wire::Wire::put(&self.$field, to);)*
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::wire::Wire::take(from)?;)*
                Some(Self { $($field),* })
            }
        }
    };
}
pub(crate) use wire_struct;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Sample {
        names: Vec<CString>,
        size: Option<u32>,
        flag: bool,
    }
    wire_struct!(Sample { names, size, flag });

    #[test]
    fn what_was_put_is_taken() {
        let sample = Sample { names: vec![c"a".into(), c"".into()], size: Some(7), flag: true };
        let mut bytes = Vec::new();
        sample.put(&mut bytes);
        let mut rest = bytes.as_slice();
        assert_eq!(Sample::take(&mut rest), Some(sample));
        assert!(rest.is_empty());
    }

    #[test]
    fn cut_bytes_are_refused() {
        let mut bytes = Vec::new();
        Sample { names: vec![c"name".into()], size: None, flag: false }.put(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Sample::take(&mut &bytes[..end]), None, "cut at {end}");
        }
    }
}
