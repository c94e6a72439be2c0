//! The switch, in its first version. All of it is in the library.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

weir_rt::entry!(main);

fn main(env: weir_rt::Env) -> Result<(), weir_switch::Failure> {
    weir_switch::run(env, 1)
}
