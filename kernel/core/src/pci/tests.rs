//! Tests of the PCI modules on machines whose functions are scripted.

mod bars;
mod bay;
mod capabilities;
mod enumeration;
mod fake;
mod groups;
mod hostile;
mod interrupts;
mod mapping;
mod plugging;
mod resets;
mod slots;
mod sriov;
