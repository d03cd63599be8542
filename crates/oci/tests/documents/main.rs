//! Documents of others: in the shapes that tools write, and made to do harm.

mod hostile;
mod shapes;
