//! A server and its clients on a simulated wire: connections that stay, answers longer than the connection's memory, clients
//! that are slow, silent, or gone.

#[path = "../../../../netstack/sockets/tests/rig/mod.rs"]
mod rig;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rig::{Faults, SECOND, World, at};
use weir_http::deadline::{IDLE_LIMIT_NS, REQUEST_LIMIT_NS};
use weir_http::{Etag, Request, Response};
use weir_http_serve::{BUFFERS, LINGER_NS, Site, serve};
use weir_sockets::Net;

const PORT: u16 = 80;

/// Serves one long body at any path; counts.
#[derive(Default)]
struct Long {
    served: Cell<u64>,
}

static BODY: [u8; 100_000] = [b'w'; 100_000];

impl Site for Long {
    fn respond(&self, request: &Request<'_>) -> Response<'static> {
        let body = if request.path == "/long" { &BODY[..] } else { b"short" };
        Response::of_version(request, "text/plain", Etag::of(body), body)
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn count(&self, _: u64) {
        self.served.set(self.served.get() + 1);
    }
}

/// A server and as many other hosts.
fn world(others: u8) -> (World, Rc<Long>) {
    let world = World::of(others + 1);
    let site = Rc::new(Long::default());
    let server = &world.hosts[0];
    serve(&server.net, &server.executor.spawner(), PORT, &site).unwrap();
    (world, site)
}

/// What a client has received, and whether the connection has ended.
#[derive(Default)]
struct Heard {
    bytes: RefCell<Vec<u8>>,
    is_over: Cell<bool>,
}

/// Connects, sends the pieces, each so long after the one before, and listens.
fn talk(world: &World, host: usize, pieces: Vec<(u64, Vec<u8>)>) -> Rc<Heard> {
    let heard = Rc::new(Heard::default());
    let (net, result): (Net, _) = (world.hosts[host].net.clone(), heard.clone());
    world.hosts[host].executor.spawner().spawn(async move {
        let mut stream = net.connect(at(1, PORT), BUFFERS).await.unwrap();
        for (pause_ns, piece) in pieces {
            net.sleep_until(net.now_ns() + pause_ns).await;
            if stream.write_all(&piece).await.is_err() {
                break;
            }
        }
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            result.bytes.borrow_mut().extend_from_slice(&bytes[..count]);
        }
        result.is_over.set(true);
    });
    heard
}

fn request(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").into_bytes()
}

const CLOSE: &str = "Connection: close\r\n";

fn text(heard: &Heard) -> String {
    String::from_utf8(heard.bytes.borrow().clone()).unwrap()
}

#[test]
fn a_connection_stays_for_a_thousand_requests() {
    let (mut world, site) = world(1);
    let mut stream = request("/", "").repeat(999);
    stream.extend(request("/", CLOSE));
    let heard = talk(&world, 1, stream.chunks(777).map(|piece| (1000, piece.to_vec())).collect());
    world.run_until(60 * SECOND, |_| heard.is_over.get());
    assert_eq!(text(&heard).matches("HTTP/1.1 200 OK\r\n").count(), 1000);
    assert!(text(&heard).ends_with("Connection: close\r\n\r\nshort"));
    assert_eq!(site.served.get(), 1000);
    world.run_for(90 * SECOND);
    assert_eq!(world.hosts[0].net.connections(), (0, 0));
    world.hosts[0].assert_none_lost();
}

#[test]
fn a_long_answer_is_whole_on_a_bad_wire() {
    let (mut world, _) = world(1);
    world.faults = Faults { lost: 20, repeated: 20, damaged: 20, jitter_ns: 1_000_000 };
    let heard = talk(&world, 1, vec![(0, request("/long", CLOSE))]);
    world.run_until(600 * SECOND, |_| heard.is_over.get());
    let text = text(&heard);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Length: 100000\r\n"), "{head}");
    assert_eq!(body.as_bytes(), BODY);
}

#[test]
fn a_slow_request_is_told_so_and_ended() {
    let (mut world, _) = world(2);
    // A byte each second: the head would be whole after 27 seconds.
    let slow = talk(&world, 1, request("/", "").iter().map(|byte| (SECOND, vec![*byte])).collect());
    let quick = talk(&world, 2, vec![(3 * SECOND, request("/", CLOSE))]);
    world.run_until(5 * SECOND, |_| quick.is_over.get());
    assert!(text(&quick).starts_with("HTTP/1.1 200 OK"), "the slow one holds up nobody");
    let begin_ns = world.now_ns;
    world.run_until(60 * SECOND, |_| slow.is_over.get());
    assert!(text(&slow).starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{}", text(&slow));
    assert!(world.now_ns - begin_ns < 60 * SECOND);
    world.run_for(90 * SECOND);
    assert_eq!(world.hosts[0].net.connections(), (0, 0));
}

#[test]
fn silence_ends_a_connection() {
    let (mut world, _) = world(1);
    let heard = talk(&world, 1, vec![]);
    world.run_for(IDLE_LIMIT_NS - SECOND);
    assert!(!heard.is_over.get());
    world.run_until(SECOND + LINGER_NS, |_| heard.is_over.get());
    assert_eq!(text(&heard), "");
}

#[test]
fn two_hundred_slow_clients_leave_nothing_behind() {
    let (mut world, _) = world(1);
    let slow: Vec<_> = (0..200).map(|_| talk(&world, 1, vec![(0, b"GET / HTT".to_vec())])).collect();
    world.run_for(5 * SECOND);
    let quick = talk(&world, 1, vec![(0, request("/", CLOSE))]);
    world.run_until(SECOND, |_| quick.is_over.get());
    assert!(text(&quick).starts_with("HTTP/1.1 200 OK"));
    // Those that found too many waiting to be accepted came later.
    world.run_until(2 * REQUEST_LIMIT_NS, |_| slow.iter().all(|heard| heard.is_over.get()));
    for heard in &slow {
        assert!(text(heard).starts_with("HTTP/1.1 408"), "{}", text(heard));
    }
    world.run_for(90 * SECOND);
    assert_eq!(world.hosts[0].net.connections(), (0, 0));
    world.hosts[0].assert_none_lost();
}

#[test]
fn what_is_refused_is_told_before_the_connection_ends() {
    let (mut world, _) = world(1);
    let long = vec![b'x'; 60_000];
    let heard = talk(&world, 1, vec![(0, long)]);
    world.run_until(10 * SECOND, |_| heard.is_over.get());
    assert!(text(&heard).starts_with("HTTP/1.1 414 URI Too Long\r\n"), "{}", text(&heard));
}
