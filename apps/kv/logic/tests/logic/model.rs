//! Sequences of commands against a model; any bytes, cut anywhere.

use std::collections::BTreeMap;

use crate::talk::{command, feed_all, store, talk};
use proptest::collection::vec;
use proptest::prelude::*;
use weir_kv_logic::{Close, Limits, Session};

#[derive(Clone, Debug)]
enum Act {
    Get(u8),
    Set(u8, Vec<u8>),
    SetPx(u8, Vec<u8>, u64),
    SetNx(u8, Vec<u8>),
    Append(u8, Vec<u8>),
    IncrBy(u8, i64),
    Del(u8, u8),
    Pexpire(u8, u64),
    Pttl(u8),
    Persist(u8),
    Flush,
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Act> {
    let key = 0..6_u8;
    let value = vec(any::<u8>(), 0..40);
    let number = prop_oneof![Just(i64::MAX), Just(i64::MIN), -100..100_i64];
    prop_oneof![
        5 => key.clone().prop_map(Act::Get),
        3 => (key.clone(), value.clone()).prop_map(|(k, v)| Act::Set(k, v)),
        2 => (key.clone(), value.clone(), 1..50_u64).prop_map(|(k, v, ms)| Act::SetPx(k, v, ms)),
        2 => (key.clone(), value.clone()).prop_map(|(k, v)| Act::SetNx(k, v)),
        2 => (key.clone(), value).prop_map(|(k, v)| Act::Append(k, v)),
        3 => (key.clone(), number).prop_map(|(k, n)| Act::IncrBy(k, n)),
        2 => (key.clone(), key.clone()).prop_map(|(a, b)| Act::Del(a, b)),
        2 => (key.clone(), 1..50_u64).prop_map(|(k, ms)| Act::Pexpire(k, ms)),
        2 => key.clone().prop_map(Act::Pttl),
        1 => key.prop_map(Act::Persist),
        1 => Just(Act::Flush),
        3 => (1..30_u64).prop_map(Act::Pass),
    ]
}

/// What the contents are, without a hash table, and without taking anything back.
#[derive(Default)]
struct Model {
    now_ms: u64,
    entries: BTreeMap<u8, (Vec<u8>, Option<u64>)>,
}

impl Model {
    fn live(&mut self, key: u8) -> Option<&mut (Vec<u8>, Option<u64>)> {
        let now_ms = self.now_ms;
        self.entries.get_mut(&key).filter(|(_, end)| end.is_none_or(|end| end > now_ms))
    }

    /// The command that `act` is, and its answer.
    fn play(&mut self, act: &Act) -> Option<(Vec<u8>, String)> {
        let text = |number: &dyn ToString| number.to_string().into_bytes();
        let bulk = |bytes: &[u8]| format!("${}\r\n{}\r\n", bytes.len(), bytes.escape_ascii());
        Some(match act {
            Act::Get(k) => {
                let answer = self.live(*k).map_or("$-1\r\n".into(), |(value, _)| bulk(value));
                (command(&[b"GET", &[*k]]), answer)
            }
            Act::Set(k, v) => {
                self.entries.insert(*k, (v.clone(), None));
                (command(&[b"SET", &[*k], v]), "+OK\r\n".into())
            }
            Act::SetPx(k, v, ms) => {
                self.entries.insert(*k, (v.clone(), Some(self.now_ms + ms)));
                (command(&[b"set", &[*k], v, b"px", &text(ms)]), "+OK\r\n".into())
            }
            Act::SetNx(k, v) => {
                let is_new = self.live(*k).is_none();
                if is_new {
                    self.entries.insert(*k, (v.clone(), None));
                }
                (command(&[b"SETNX", &[*k], v]), format!(":{}\r\n", u8::from(is_new)))
            }
            Act::Append(k, v) => {
                if self.live(*k).is_none() {
                    self.entries.insert(*k, (Vec::new(), None));
                }
                let (value, _) = self.live(*k).unwrap();
                value.extend(v);
                (command(&[b"APPEND", &[*k], v]), format!(":{}\r\n", value.len()))
            }
            Act::IncrBy(k, by) => (command(&[b"INCRBY", &[*k], &text(by)]), self.add(*k, *by)),
            Act::Del(a, b) => {
                let mut count = 0;
                for key in [a, b] {
                    count += u8::from(self.live(*key).is_some());
                    self.entries.remove(key);
                }
                (command(&[b"DEL", &[*a], &[*b]]), format!(":{count}\r\n"))
            }
            Act::Pexpire(k, ms) => {
                let end_ms = self.now_ms + ms;
                let found = self.live(*k).map(|(_, end)| *end = Some(end_ms));
                (command(&[b"PEXPIRE", &[*k], &text(ms)]), format!(":{}\r\n", u8::from(found.is_some())))
            }
            Act::Pttl(k) => {
                let now_ms = self.now_ms;
                let left = match self.live(*k) {
                    None => "-2".to_owned(),
                    Some((_, None)) => "-1".to_owned(),
                    Some((_, Some(end))) => (*end - now_ms).to_string(),
                };
                (command(&[b"PTTL", &[*k]]), format!(":{left}\r\n"))
            }
            Act::Persist(k) => {
                let end = self.live(*k).and_then(|(_, end)| end.take());
                (command(&[b"PERSIST", &[*k]]), format!(":{}\r\n", u8::from(end.is_some())))
            }
            Act::Flush => {
                self.entries.clear();
                (command(&[b"FLUSHALL"]), "+OK\r\n".into())
            }
            Act::Pass(ms) => {
                self.now_ms += ms;
                return None;
            }
        })
    }

    fn add(&mut self, key: u8, by: i64) -> String {
        let old = match self.live(key) {
            None => Some(0),
            Some((value, _)) => String::from_utf8(value.clone())
                .ok()
                .and_then(|text| text.parse::<i64>().ok().filter(|number| number.to_string() == text)),
        };
        let Some(old) = old else {
            return "-ERR value is not an integer or out of range\r\n".into();
        };
        let Some(new) = old.checked_add(by) else {
            return "-ERR increment or decrement would overflow\r\n".into();
        };
        let end = self.live(key).and_then(|(_, end)| *end);
        self.entries.insert(key, (new.to_string().into_bytes(), end));
        format!(":{new}\r\n")
    }
}

/// Bytes that are often nearly commands.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".to_vec()),
        Just(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nabc\r\n".to_vec()),
        Just(b"APPEND a \"b c\"\r\n".to_vec()),
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"INCR n\n".to_vec()),
        (0..40_u8).prop_map(|n| format!("*{n}\r\n${n}\r\n").into_bytes()),
        vec(any::<u8>(), 0..8),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Small ones, so that they are met.
const LIMITS: Limits =
    Limits { args_max: 8, bulk_max_bytes: 30, command_max_bytes: 60, output_max_bytes: 40 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn commands_do_what_the_model_does(acts in vec(acts(), 1..80)) {
        let (mut store, mut model) = (store(1 << 20), Model { now_ms: 5, ..Model::default() });
        for act in &acts {
            let Some((bytes, wanted)) = model.play(act) else { continue };
            let (answer, _) = talk(&mut store, model.now_ms, &bytes);
            let answer = answer.escape_ascii().to_string().replace("\\r\\n", "\r\n").replace("\\'", "'");
            // A value may hold a line's end, or a quote: then both sides are compared escaped.
            let wanted = wanted.replace("\\r\\n", "\r\n").replace("\\'", "'");
            prop_assert_eq!(answer, wanted, "{:?}", act);
        }
    }

    #[test]
    fn cuts_do_not_matter(bytes in noise(), cuts in vec(0..200_usize, 0..20)) {
        let whole = answers(&bytes, &[]);
        prop_assert_eq!(answers(&bytes, &cuts), whole.clone());
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(answers(&bytes, &every), whole);
    }
}

/// What `bytes` are answered with when they come in pieces that end at `cuts`.
fn answers(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<(), Close>) {
    let (mut store, mut session, mut answers) = (store(1 << 20), Session::new(LIMITS), Vec::new());
    let mut cuts: Vec<usize> =
        cuts.iter().map(|cut| *cut.min(&bytes.len())).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        let end = feed_all(&mut session, &mut store, 0, &bytes[pair[0]..pair[1]], &mut answers);
        if end.is_err() {
            return (answers, end);
        }
    }
    (answers, Ok(()))
}
