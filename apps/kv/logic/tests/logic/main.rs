//! What clients see, and what memory it takes.

mod changes;
mod memcached;
mod memory;
mod model;
mod resp;
mod talk;
