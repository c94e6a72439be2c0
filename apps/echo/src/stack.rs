//! With the word `tcp`: echo over TCP as well (RFC 862), and an address by DHCP, by the whole network stack.

use alloc::string::String;

use weir_rt::Env;
use weir_service::sockets::{Buffers, Listener, Net, Reply, TcpStream};
use weir_service::{Network, Spawner};

use crate::Failure;
use crate::words::BadWord;

/// The echo service's port.
const PORT: u16 = 7;
/// Who waits to be accepted at most.
const BACKLOG: usize = 128;
const BUFFERS: Buffers = Buffers { rx_bytes: 16 << 10, tx_bytes: 16 << 10 };

/// Serves as `words` say, which are the network's.
pub(crate) fn serve(env: &mut Env, words: &[String]) -> Result<(), Failure> {
    let (network, rest) = Network::parse(words).map_err(weir_service::Failure::from)?;
    if let Some(word) = rest.first() {
        return Err(BadWord::Unknown(word.clone()).into());
    }
    Ok(weir_service::run_on_each_core(env, &network, begin)?)
}

fn begin(net: &Net, spawner: &Spawner) -> Result<(), weir_service::Failure> {
    // A datagram from an echo port would go to and fro for ever.
    net.serve_udp(PORT, |datagram| match datagram.from.port {
        PORT => Reply::Nothing,
        _ => Reply::InPlace(datagram.data.len()),
    })?;
    let listener = net.listen(PORT, BUFFERS, BACKLOG)?;
    spawner.spawn(accept(listener, spawner.clone()));
    Ok(())
}

async fn accept(listener: Listener, spawner: Spawner) {
    loop {
        spawner.spawn(echo(listener.accept().await));
    }
}

/// Sends everything back, until the peer has sent its last.
async fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
