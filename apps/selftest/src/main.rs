//! Tests of Weir from inside.
#![no_std]
#![no_main]
use weir_rt::{Env, log};
weir_rt::entry!(main);
fn main(env: Env) -> u64 {
    log!("hello from {}", env.name());
    0
}
