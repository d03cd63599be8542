//! What a process that could not be set up reports: a step, an object by number, an error.

use rustix::io::Errno;

use crate::Step;

/// A failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    /// Which mount or file, from 0, where the step has several; [`Fault::LOADER`] for the program's.
    pub(crate) index: u32,
    pub(crate) errno: Errno,
}

impl Fault {
    /// Bytes of a report.
    pub(crate) const SIZE: usize = 9;
    /// At [`Step::Execute`]: the program is there, what it needs to start is not.
    pub(crate) const LOADER: u32 = 1;

    /// As it is sent.
    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0] = self.step as u8;
        bytes[1..5].copy_from_slice(&self.index.to_le_bytes());
        bytes[5..].copy_from_slice(&self.errno.raw_os_error().to_le_bytes());
        bytes
    }

    /// As it was sent.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&step, rest) = bytes.split_first()?;
        let (index, rest) = rest.split_first_chunk()?;
        Some(Self {
            step: *Step::ALL.get(usize::from(step))?,
            index: u32::from_le_bytes(*index),
            errno: Errno::from_raw_os_error(i32::from_le_bytes(rest.try_into().ok()?)),
        })
    }
}

/// Names the step of which an error is.
pub(crate) trait At<T> {
    /// At a step.
    fn at(self, step: Step) -> Result<T, Fault>;
    /// At the object number `index` of a step.
    fn at_index(self, step: Step, index: usize) -> Result<T, Fault>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.at_index(step, 0)
    }

    fn at_index(self, step: Step, index: usize) -> Result<T, Fault> {
        self.map_err(|errno| Fault { step, index: index as u32, errno })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_their_encoding() {
        for step in Step::ALL {
            let fault = Fault { step, index: 70_000, errno: Errno::NOENT };
            assert_eq!(Fault::from_bytes(&fault.to_bytes()), Some(fault));
        }
        assert_eq!(Fault::from_bytes(&[255, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Fault::from_bytes(b"short"), None);
    }
}
