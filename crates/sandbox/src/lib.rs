//! Run one process in an isolated root filesystem.
