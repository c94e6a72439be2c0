//! The application `kv`, as its clients see it: Redis' own, memcached's text over UDP, and one that counts what it was told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use super::Case;
use super::tap::{LINK, NEAR, boot_near, inside};
use weir_runner::guest::{Guest, Setup};
use weir_runner::tools::{Redis, redis};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tap::kv::clients_of_redis_and_memcached", || {
        // Fetched here: inside there is no other network.
        redis()?;
        inside("tap::kv::clients_of_redis_and_memcached", LINK, clients_of_redis_and_memcached)
    }),
    ("kv::contents_end_with_the_program", contents_end_with_the_program),
    ("kv::what_was_acknowledged_survives", what_was_acknowledged_survives),
];

const REDIS: u16 = 6379;
const MEMCACHED: u16 = 11211;
/// How long the guest's next sign may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a client waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A machine with `kv`, and where its clients find it.
struct Server {
    guest: Guest,
    redis: SocketAddr,
    memcached: SocketAddr,
}

impl Server {
    /// Behind QEMU's user network, at ports of this host's: enough for a few clients.
    fn boot(manifest: &'static str, disk: Option<&Path>) -> Result<Server> {
        let redis = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let memcached = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let network = format!("user,hostfwd=tcp:{redis}-:{REDIS},hostfwd=udp:{memcached}-:{MEMCACHED}");
        let setup = Setup::new(manifest).network(network);
        let setup = disk.into_iter().fold(setup, Setup::disk);
        let (guest, _) = setup.boot()?;
        Server { guest, redis, memcached }.served()
    }

    /// On the tap's link.
    fn boot_near(manifest: &'static str) -> Result<Server> {
        let guest = boot_near(Setup::new(manifest))?;
        Server { guest, redis: (NEAR, REDIS).into(), memcached: (NEAR, MEMCACHED).into() }.served()
    }

    fn served(mut self) -> Result<Server> {
        self.wait_serving()?;
        Ok(self)
    }

    fn wait_serving(&mut self) -> Result<()> {
        self.guest.status_until("serving", |status| status.app("kv").is_some_and(|app| app.ready))?;
        let deadline = Instant::now() + LIMIT;
        while self.ask("PING\r\n").ok().as_deref() != Some("+PONG") {
            self.guest.check(Instant::now() < deadline, "PING is not answered")?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.redis)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The first line of the answer to an inline command, on a connection of its own.
    fn ask(&self, command: &str) -> Result<String> {
        let mut stream = self.connect()?;
        stream.write_all(command.as_bytes())?;
        line(&mut stream)
    }

    /// The text that a datagram with `text` is answered with.
    fn ask_datagram(&self, text: &str) -> Result<String> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (header, mut answer) = (b"\x12\x34\0\0\0\x01\0\0", [0; 1500]);
        // One may be lost; all that are sent here may be repeated.
        for _ in 0..5 {
            socket.send_to(&[header, text.as_bytes()].concat(), self.memcached)?;
            if let Ok(len) = socket.recv(&mut answer) {
                ensure!(answer.get(..8) == Some(header), "the header came back as {:x?}", &answer[..8]);
                return Ok(String::from_utf8_lossy(&answer[8..len]).into_owned());
            }
        }
        Err(self.guest.failure("no datagram is answered"))
    }

    /// Waits for its end, and starts it again.
    fn restart_killed(&mut self) -> Result<()> {
        self.guest
            .status_until("killed", |status| status.app("kv").is_some_and(|app| app.state == "killed"))?;
        self.guest.type_line("restart kv")?;
        self.wait_serving()
    }

    /// Ends the application and starts it again.
    fn kill_and_restart(&mut self) -> Result<()> {
        self.guest.type_line("kill kv")?;
        let is_dead = |state: &str| state == "killed";
        self.guest
            .status_until("killed", |status| status.app("kv").is_some_and(|app| is_dead(&app.state)))?;
        self.guest.type_line("restart kv")?;
        self.wait_serving()
    }
}

/// A line, without its end.
fn line(stream: &mut TcpStream) -> Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}

/// What a program of Redis' says.
fn run(program: &Path, server: SocketAddr, args: &str) -> Result<String> {
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args(["-h", &server.ip().to_string(), "-p", &server.port().to_string()]);
    let output = command.args(args.split_whitespace()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{args}: {}: {said} {error}", output.status);
    Ok(said)
}

fn clients_of_redis_and_memcached() -> Result<()> {
    let Redis { cli, benchmark } = redis()?;
    let mut server = Server::boot_near("kv")?;
    for (command, answer) in [
        ("set greeting hello", "OK"),
        ("get greeting", "hello"),
        ("append greeting !", "6"),
        ("mget greeting nothing", "hello!"),
        ("incr n", "1"),
        ("set brief x px 100000", "OK"),
        ("ttl brief", "100"),
        ("config get maxmemory", "maxmemory\n16777216"),
        ("lpush a b", "ERR unknown command 'lpush', with args beginning with: 'a' 'b'"),
        ("dbsize", "3"),
    ] {
        let said = run(&cli, server.redis, command)?;
        server.guest.check(said.trim_end() == answer, &format!("{command}: {said:?}, not {answer:?}"))?;
    }
    ensure!(server.ask_datagram("get greeting\r\n")? == "VALUE greeting 0 6\r\nhello!\r\nEND\r\n");
    ensure!(server.ask_datagram("set other 7 0 2\r\nab\r\n")? == "STORED\r\n");
    ensure!(run(&cli, server.redis, "get other")? == "ab");
    pipelined_in_pieces(&server)?;
    let before = server.guest.counted("kv", |app| app.rx_packets > 0)?;
    let args = "-t ping_mbulk,set,get,incr,mset -n 20000 -c 20 -P 16 -r 1000 -d 64 --csv";
    let said = run(&benchmark, server.redis, args)?;
    let rates = said.lines().filter(|line| line.starts_with('"') && !line.contains("rps")).count();
    server.guest.check(rates == 5 && !said.contains("rror"), &format!("redis-benchmark said {said}"))?;
    let app = server.guest.counted("kv", |app| app.rx_packets > before.rx_packets + 1000)?;
    // Not for a request: for memory, a MiB at a time, which what is kept and fifty connections take.
    let entries = app.data_path_kernel_entries - before.data_path_kernel_entries;
    let is_for_memory = entries <= 16 && app.rx_packets > 1000 * entries;
    server.guest.check(is_for_memory && app.restarts == 0, &format!("{app:?}"))?;
    server.guest.power_off()
}

/// A thousand commands at once, cut where no command ends.
fn pipelined_in_pieces(server: &Server) -> Result<()> {
    let mut stream = server.connect()?;
    let commands: String =
        (0..1000).map(|n| format!("*3\r\n$6\r\nAPPEND\r\n$1\r\np\r\n$3\r\n{n:03}\r\n")).collect();
    let mut writer = stream.try_clone()?;
    let sender = std::thread::spawn(move || {
        commands.as_bytes().chunks(777).try_for_each(|piece| writer.write_all(piece))
    });
    for number in 1..=1000 {
        let said = line(&mut stream)?;
        ensure!(said == format!(":{}", 3 * number), "answer {number}: {said}");
    }
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?.context("sending")
}

fn contents_end_with_the_program() -> Result<()> {
    let mut server = Server::boot("kv", None)?;
    ensure!(server.ask("SET a b\r\n")? == "+OK" && server.ask("STRLEN a\r\n")? == ":1");
    server.kill_and_restart()?;
    let said = server.ask("STRLEN a\r\n")?;
    server.guest.check(said == ":0", &format!("there is something left: {said}"))?;
    server.guest.power_off()
}

/// Bytes of the image; `kv` uses halves of it.
const IMAGE_BYTES: u64 = 24 << 20;
/// Keys that are written in turn, each time with the number of the write and as many bytes.
const KEYS: u64 = 100;
const VALUE_BYTES: usize = 4000;
/// Writes under way at once.
const WINDOW: u64 = 8;

fn value(number: u64) -> String {
    format!("{number:0VALUE_BYTES$}")
}

/// Writes from number `first` on until `enough` were acknowledged, and then `end` ends the server. Gives the first number that was
/// not acknowledged, and the first that was not sent.
fn write_until(
    server: &mut Server,
    first: u64,
    enough: u64,
    end: impl FnOnce(&mut Server) -> Result<()>,
) -> Result<(u64, u64)> {
    let mut stream = server.connect()?;
    let (mut sent, mut acknowledged, mut end) = (first, first, Some(end));
    loop {
        while sent < acknowledged + WINDOW {
            let command = format!("SET k{} {}\r\n", sent % KEYS, value(sent));
            if stream.write_all(command.as_bytes()).is_err() {
                return Ok((acknowledged, sent + 1));
            }
            sent += 1;
        }
        match line(&mut stream) {
            Ok(said) => ensure!(said == "+OK", "write {acknowledged}: {said}"),
            Err(_) => return Ok((acknowledged, sent)),
        }
        acknowledged += 1;
        if acknowledged == first + enough
            && let Some(end) = end.take()
        {
            end(server)?;
        }
    }
}

/// Each key must have its last acknowledged write, or a later one that was sent. Gives how many are later.
fn check_kept(server: &Server, acknowledged: u64, sent: u64) -> Result<u64> {
    let mut stream = server.connect()?;
    let mut later = 0;
    for key in 0..KEYS {
        let Some(last) =
            (0..acknowledged).rev().take(usize::try_from(KEYS)?).find(|number| number % KEYS == key)
        else {
            continue;
        };
        stream.write_all(format!("GET k{key}\r\n").as_bytes())?;
        let length = line(&mut stream)?;
        server
            .guest
            .check(length == format!("${VALUE_BYTES}"), &format!("k{key} is {length}, not write {last}"))?;
        let found = line(&mut stream)?;
        let number = (last..sent).find(|number| number % KEYS == key && found == value(*number));
        let Some(number) = number else {
            return Err(server
                .guest
                .failure(&format!("k{key} is not write {last} or a later one, but {found:.60}")));
        };
        later += u64::from(number > last);
    }
    Ok(later)
}

/// Killed while it writes, three times, through a rewrite of the disk; then the power fails.
fn what_was_acknowledged_survives() -> Result<()> {
    let image = NamedTempFile::with_prefix("kv")?;
    image.as_file().set_len(IMAGE_BYTES)?;
    let mut server = Server::boot("kv-log", Some(image.path()))?;
    ensure!(server.ask_datagram("set a 0 0 1\r\nb\r\n")?.starts_with("SERVER_ERROR writes are not taken"));
    let mut next = 0;
    for _ in 0..3 {
        let kill = |server: &mut Server| server.guest.type_line("kill kv");
        let (acknowledged, sent) = write_until(&mut server, next, 1200, kill)?;
        server.restart_killed()?;
        check_kept(&server, acknowledged, sent)?;
        next = sent;
    }
    let (acknowledged, sent) =
        write_until(&mut server, next, 300, |server| server.guest.type_line("poweroff"))?;
    drop(server);
    let server = Server::boot("kv-log", Some(image.path()))?;
    check_kept(&server, acknowledged, sent)?;
    server.guest.power_off()
}
