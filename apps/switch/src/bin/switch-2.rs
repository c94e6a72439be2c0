//! The switch, in its second version: what takes the first one's place while the system runs (`replace switch switch-2`).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

weir_rt::entry!(main);

fn main(env: weir_rt::Env) -> Result<(), weir_switch::Failure> {
    weir_switch::run(env, 2)
}
