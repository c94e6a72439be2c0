//! Clients: connections that speak Redis' protocol, datagrams that speak memcached's.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;

use weir_kv_logic::{Limits, Session, memcached};
use weir_service::Spawner;
use weir_service::sockets::{Buffers, Error, Listener, Net, Reply, TcpStream};

use crate::contents::Contents;

/// Redis' port.
pub(crate) const REDIS_PORT: u16 = 6379;
/// memcached's port.
const MEMCACHED_PORT: u16 = 11211;
/// Who waits to be accepted at most.
pub(crate) const BACKLOG: usize = 128;
pub(crate) const BUFFERS: Buffers = Buffers { rx_bytes: 16 << 10, tx_bytes: 32 << 10 };
/// Bytes taken from a connection at once.
const INPUT_BYTES: usize = 16 << 10;
/// A connection keeps no more than twice a command and an answer: many clients must fit.
const LIMITS: Limits = Limits {
    args_max: 4096,
    bulk_max_bytes: 256 << 10,
    command_max_bytes: 512 << 10,
    output_max_bytes: 32 << 10,
};

/// Gives each connection a task.
pub(crate) async fn accept(listener: Listener, contents: Rc<Contents>, spawner: Spawner) {
    loop {
        let stream = listener.accept().await;
        spawner.spawn(serve(stream, contents.clone()));
    }
}

/// Serves a connection to its end. When it breaks, there is nobody to be told.
async fn serve(mut stream: TcpStream, contents: Rc<Contents>) {
    let mut input = vec![0; INPUT_BYTES];
    let (mut session, mut output) = (Session::new(LIMITS), Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut input).await {
        let is_over = answer(&mut stream, &contents, &mut session, &input[..count], &mut output).await;
        if is_over.unwrap_or(true) {
            break;
        }
    }
    stream.close();
}

/// Answers what is in `input`; `true`: the connection is to be closed.
async fn answer(
    stream: &mut TcpStream,
    contents: &Contents,
    session: &mut Session,
    mut input: &[u8],
    output: &mut Vec<u8>,
) -> Result<bool, Error> {
    while !input.is_empty() {
        contents.may_change().await;
        let now_ms = contents.now_ms();
        let fed = session.feed(&mut contents.store.borrow_mut(), now_ms, input, output);
        contents.are_kept().await;
        stream.write_all(output).await?;
        output.clear();
        output.shrink_to(LIMITS.output_max_bytes);
        let Ok(used) = fed else { return Ok(true) };
        input = &input[used..];
    }
    Ok(false)
}

/// Answers datagrams where they lie.
pub(crate) fn datagrams(net: &Net, contents: Rc<Contents>) -> Result<(), Error> {
    net.serve_udp(MEMCACHED_PORT, move |datagram| {
        let now_ms = contents.now_ms();
        let store = &mut contents.store.borrow_mut();
        memcached::answer(store, now_ms, datagram.data, datagram.room).map_or(Reply::Nothing, Reply::InRoom)
    })
}
