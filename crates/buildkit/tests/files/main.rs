//! What a real BuildKit daemon makes of the files that it gets from here, next to what it makes of those that
//! BuildKit's own client sends.

mod changes;
mod images;
mod scene;
mod speed;
mod trees;
