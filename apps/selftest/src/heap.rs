//! The heap keeps what is put into it, and grows.

use alloc::vec;
use alloc::vec::Vec;

use weir_rt::Env;

use crate::{Numbers, Verdict, ensure};

pub(crate) fn heap(_: &mut Env) -> Result<(), Verdict> {
    let mut numbers = Numbers(1);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for round in 0..2_000u32 {
        let fill = round.to_le_bytes()[0];
        if blocks.len() < 100 || numbers.below(2) == 0 {
            let length = 1 + numbers.below(20_000);
            blocks.push(vec![fill; length]);
        } else {
            let at = numbers.below(blocks.len());
            let block = blocks.swap_remove(at);
            ensure!(block.iter().all(|byte| *byte == block[0]), "a block of {} bytes changed", block.len());
        }
    }
    let mut large: Vec<u64> = Vec::new();
    large.extend(0..1 << 20);
    ensure!(large.iter().copied().eq(0..1 << 20), "8 MiB changed while they grew");
    Ok(())
}
