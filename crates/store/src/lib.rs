//! Content-addressed store: blobs, snapshots, build cache, images.
