//! The page that shows how the machine is, from the network device it owns (port 80): what the supervisor publishes
//! (`status = true` in the manifest), and a button for the application that `may_start` names.
//!
//! **Invariant: it can ask for that application and for nothing else**, by one byte; whether it is started is the
//! supervisor's decision.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod page;

use alloc::format;
use alloc::rc::Rc;
use core::cell::RefCell;

use weir_rt::{Access, Env, clock};
use weir_service::sockets::Capture;
use weir_service::{Failure, Network};

use crate::page::Page;

weir_rt::entry!(main);

const PORT: u16 = 80;
/// Memory for the last frames.
const CAPTURE_BYTES: usize = 128 << 10;

fn main(mut env: Env) -> Result<(), Failure> {
    let (network, rest) = Network::parse(env.args())?;
    if let Some(word) = rest.first() {
        return Err(Failure::Application(format!("unknown word `{word}`; there are only the network's")));
    }
    let board = env.memory("status")?.map(Access::Read)?;
    // Without it there is no button.
    let request = env.memory("request").ok().map(|memory| memory.map(Access::ReadWrite)).transpose()?;
    weir_service::run(&mut env, &network, move |net, spawner| {
        let capture = Rc::new(RefCell::new(Capture::new(CAPTURE_BYTES)));
        let page = Page::new(board, request, capture.clone());
        net.set_tap(move |frame| capture.borrow_mut().record(clock::now_ns(), frame));
        Ok(weir_http_serve::serve(net, spawner, PORT, &Rc::new(page))?)
    })
}
