//! The parts of the Weir kernel that need no machine: tested on the host, linked into the kernel.
#![cfg_attr(not(test), no_std)]
