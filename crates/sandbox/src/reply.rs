//! What the helper tells about one process.

use crate::{Exit, fault::Fault};

/// What the helper tells about one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Its program is executing.
    Started,
    /// It could not be set up. Nothing follows.
    Failed(Fault),
    /// It has ended, after it was started. Nothing follows.
    Ended(Exit),
}

impl Reply {
    /// Bytes of the longest reply.
    pub(crate) const MAX_SIZE: usize = 1 + Fault::SIZE;

    /// As it is sent.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Started => (0, vec![]),
            Self::Failed(fault) => (1, fault.to_bytes().to_vec()),
            Self::Ended(Exit::Code(code)) => (2, code.to_le_bytes().to_vec()),
            Self::Ended(Exit::Signal(signal)) => (3, signal.to_le_bytes().to_vec()),
        };
        [vec![kind], body].concat()
    }

    /// As it was sent.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, body) = bytes.split_first()?;
        let number = || Some(i32::from_le_bytes(body.try_into().ok()?));
        match kind {
            0 => Some(Self::Started),
            1 => Fault::from_bytes(body).map(Self::Failed),
            2 => Some(Self::Ended(Exit::Code(number()?))),
            3 => Some(Self::Ended(Exit::Signal(number()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::Step;

    #[test]
    fn replies_survive_their_encoding() {
        let fault = Fault { step: Step::Mount, index: 3, errno: Errno::PERM };
        let replies = [
            Reply::Started,
            Reply::Failed(fault),
            Reply::Ended(Exit::Code(-1)),
            Reply::Ended(Exit::Signal(9)),
        ];
        for reply in replies {
            let bytes = reply.to_bytes();
            assert!(bytes.len() <= Reply::MAX_SIZE);
            assert_eq!(Reply::from_bytes(&bytes), Some(reply));
        }
        assert_eq!(Reply::from_bytes(&[]), None);
        assert_eq!(Reply::from_bytes(&[2, 0]), None);
    }
}
