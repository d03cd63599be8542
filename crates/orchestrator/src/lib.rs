//! From platforms' results to one published image index.
