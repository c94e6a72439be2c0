//! Two owners and the memory between them, in one process: an honest neighbour and a hostile one. Also run under Miri.

mod hostile;
mod sides;
mod traffic;
