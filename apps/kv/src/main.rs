//! Keys and values over Redis' protocol (TCP) and memcached's (UDP), on a network device of its own; kept on a disk of its
//! own, if it is given one.
//!
//! **Invariant: with a disk, nothing is answered before all that the answer depends on is on the disk.** Without one the contents
//! end with the program.
//!
//! Reading order: [`words`] (what it is told) · this file (set-up) · [`contents`] (what connections share) · [`serve`] ·
//! [`disk`] (opening and replaying the log) · [`keep`] (writing it).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod contents;
mod disk;
mod keep;
mod serve;
mod words;

use alloc::format;
use alloc::rc::Rc;

use weir_rt::hal::Function;
use weir_rt::{Env, log};
use weir_service::sockets::Net;
use weir_service::{Failure, Network, Spawner};

use crate::contents::Contents;
use crate::words::Words;

weir_rt::entry!(main);

fn main(mut env: Env) -> Result<(), Failure> {
    let (network, rest) = Network::parse(env.args())?;
    let words = Words::parse(&rest).map_err(|bad| Failure::Application(format!("{bad}")))?;
    let disk = if words.log { Some(Function::new(env.device("disk")?)?) } else { None };
    weir_service::run(&mut env, &network, move |net, spawner| begin(net, spawner, &words, disk))
}

/// Fills the contents from the disk, then serves.
fn begin(net: &Net, spawner: &Spawner, words: &Words, disk: Option<Function>) -> Result<(), Failure> {
    let contents = Rc::new(Contents::new(words.maxmemory_bytes, disk.is_some()));
    if let Some(function) = disk {
        disk::open(function, &contents, words, spawner)?;
    }
    let listener = net.listen(serve::REDIS_PORT, serve::BUFFERS, serve::BACKLOG)?;
    spawner.spawn(serve::accept(listener, contents.clone(), spawner.clone()));
    if words.memcached {
        serve::datagrams(net, contents)?;
    }
    log!("serving Redis' protocol, at most {} bytes of contents", words.maxmemory_bytes);
    Ok(())
}
