//! UDP echo (RFC 862 "Echo Protocol", port 7) by the sockets of Linux: one datagram per system call. What Weir's echo
//! application is compared with.
#![forbid(unsafe_code)]

use std::io;
use std::net::UdpSocket;

const PORT: u16 = 7;

fn main() -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", PORT))?;
    println!("udp-echo: answering");
    let mut datagram = [0; 2048];
    loop {
        let (bytes, from) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..bytes], from)?;
    }
}
