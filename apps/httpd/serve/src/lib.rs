//! Serves HTTP: what lies between [`weir_http`] (bytes) and [`weir_sockets`] (connections).
//!
//! **Invariant: every wait for a client ends at a [`Deadline`]**, so that clients that send slowly, or receive nothing, hold
//! a connection for a bounded time; how many there are is the stack's limit. A connection that ends is read for a moment
//! longer ([`LINGER_NS`]): else the client's last bytes would break it off before its answer arrived.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;

use weir_executor::Spawner;
use weir_http::{Deadline, Inbox, Method, Refusal, Request, Response};
use weir_sockets::{Buffers, Error, Net, TcpStream};

/// Memory of a connection: heads are short, answers are not.
pub const BUFFERS: Buffers = Buffers { rx_bytes: 8 << 10, tx_bytes: 32 << 10 };
/// Connections that wait to be accepted.
const BACKLOG: usize = 64;
/// How long a connection is read after its last answer.
pub const LINGER_NS: u64 = 1_000_000_000;

/// What is served.
pub trait Site {
    /// The answer to a request. It waits for nothing.
    fn respond(&self, request: &Request<'_>) -> Response<'static>;

    /// The time now. For [`Site::count`] only: deadlines follow the network's clock.
    fn now_ns(&self) -> u64;

    /// An answer is in the connection's memory, so long after the last bytes of its request were read.
    fn count(&self, duration_ns: u64);
}

/// Serves `site` at `port`, for ever.
///
/// # Errors
/// `PortTaken`.
pub fn serve(net: &Net, spawner: &Spawner, port: u16, site: &Rc<impl Site + 'static>) -> Result<(), Error> {
    let listener = net.listen(port, BUFFERS, BACKLOG)?;
    let (net, tasks, site) = (net.clone(), spawner.clone(), site.clone());
    spawner.spawn(async move {
        loop {
            let stream = listener.accept().await;
            let connection = Connection { net: net.clone(), stream, site: site.clone() };
            tasks.spawn(connection.run());
        }
    });
    Ok(())
}

/// A connection with a client.
struct Connection<S> {
    net: Net,
    stream: TcpStream,
    site: Rc<S>,
}

/// Why a conversation ends.
enum End {
    /// Everything was said.
    Over,
    /// The client is gone, or takes nothing.
    Gone,
    /// It broke a rule.
    Refused(Refusal),
}

impl<S: Site> Connection<S> {
    async fn run(mut self) {
        let mut inbox = Inbox::default();
        match self.converse(&mut inbox).await {
            End::Gone => return self.stream.abort(),
            End::Over => {}
            End::Refused(refusal) => {
                let until_ns = self.net.now_ns().saturating_add(LINGER_NS);
                // Where it takes nothing, it is not told.
                let _ = self.send(until_ns, &Response::refused(refusal), Method::Get, false).await;
            }
        }
        self.stream.close();
        self.linger(&mut inbox).await;
    }

    /// Answers requests until there are no more.
    async fn converse(&mut self, inbox: &mut Inbox) -> End {
        let mut deadline = Deadline::new(self.net.now_ns());
        loop {
            let read_ns = self.site.now_ns();
            loop {
                let request = match inbox.request() {
                    Ok(Some(request)) => request,
                    Ok(None) => break,
                    Err(refusal) => return End::Refused(refusal),
                };
                deadline.answer(self.net.now_ns());
                let response = self.site.respond(&request);
                let (method, is_kept_alive) = (request.method, request.is_kept_alive);
                if !self.send(deadline.at_ns(), &response, method, is_kept_alive).await {
                    return End::Gone;
                }
                self.site.count(self.site.now_ns().saturating_sub(read_ns));
                if !is_kept_alive {
                    return End::Over;
                }
                deadline.wait(self.net.now_ns());
            }
            if !inbox.is_empty() {
                deadline.see_part(self.net.now_ns());
            }
            let read = self.stream.read(inbox.space());
            match self.net.within(deadline.at_ns(), read).await {
                Some(Ok(bytes @ 1..)) => inbox.fill(bytes),
                Some(Ok(0)) => return End::Over,
                Some(Err(_)) => return End::Gone,
                None if deadline.is_in_request() => return End::Refused(Refusal::Late),
                None => return End::Over,
            }
        }
    }

    /// Sends an answer; says whether all of it went in time.
    async fn send(
        &mut self,
        until_ns: u64,
        response: &Response<'_>,
        method: Method,
        is_kept_alive: bool,
    ) -> bool {
        let stream = &mut self.stream;
        let send = async {
            stream.write_all(response.head(is_kept_alive).as_bytes()).await?;
            stream.write_all(response.body_of(method)).await
        };
        matches!(self.net.within(until_ns, send).await, Some(Ok(())))
    }

    /// Reads until the client ends, too, but not for long.
    async fn linger(&mut self, inbox: &mut Inbox) {
        let until_ns = self.net.now_ns().saturating_add(LINGER_NS);
        // What is read is not looked at: the same memory is read to again and again.
        while let Some(Ok(1..)) = self.net.within(until_ns, self.stream.read(inbox.scrap())).await {}
    }
}
