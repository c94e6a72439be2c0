//! Serves files over HTTP (port 80) from the network device it owns: those of a folder that the manifest names (`files`),
//! which lie in its memory, read-only.
//!
//! **Invariant: a name that is no file's name is answered with 404, whatever it is**: there is no file system to walk.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod files;

use alloc::format;
use alloc::rc::Rc;

use weir_rt::{Env, log};
use weir_service::{Failure, Network};

use crate::files::Files;

weir_rt::entry!(main);

const PORT: u16 = 80;

fn main(mut env: Env) -> Result<(), Failure> {
    let (network, rest) = Network::parse(env.args())?;
    if let Some(word) = rest.first() {
        return Err(Failure::Application(format!("unknown word `{word}`; there are only the network's")));
    }
    let bundle = env.files()?;
    let files = Files::of(bundle).ok_or_else(|| Failure::Application("the files are no bundle".into()))?;
    log!("serving {} files, {} bytes", files.count(), bundle.len());
    weir_service::run_on_each_core(&mut env, &network, move |net, spawner| {
        Ok(weir_http_serve::serve(net, spawner, PORT, &Rc::new(files.clone()))?)
    })
}
