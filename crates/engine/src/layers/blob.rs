//! The blob of a layer that is being made.

use std::io::{self, Write};

use archway_oci::Descriptor;
use archway_registry::{Growing, GrowingBlob};
use archway_store::PrehashedWriter;

use crate::StepError;

/// Writes a blob. Once it is so large that an upload takes its time, others can follow it while it grows.
pub(super) struct LayerBlob<'a> {
    writer: PrehashedWriter,
    written: u64,
    growing: Option<Growing>,
    on_growing: &'a dyn Fn(GrowingBlob),
}

impl<'a> LayerBlob<'a> {
    pub(super) fn new(writer: PrehashedWriter, on_growing: &'a dyn Fn(GrowingBlob)) -> Self {
        Self { writer, written: 0, growing: None, on_growing }
    }

    /// Puts the blob in the store, and tells those who follow it what it is.
    pub(super) fn commit(self, descriptor: Descriptor) -> Result<(), StepError> {
        self.writer.commit(&descriptor.digest)?;
        if let Some(growing) = self.growing {
            growing.complete(descriptor);
        }
        Ok(())
    }

    fn announce(&mut self) -> io::Result<()> {
        match &self.growing {
            Some(growing) => growing.written(self.written),
            None if self.written >= GrowingBlob::WORTHWHILE => {
                let file = self.writer.reader().map_err(io::Error::other)?;
                let (growing, blob) = Growing::start(file, self.written);
                (self.on_growing)(blob);
                self.growing = Some(growing);
            }
            None => {}
        }
        Ok(())
    }
}

impl Write for LayerBlob<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.written += count as u64;
        self.announce()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
