//! `[[channel]]`: rings between two applications, and the pools they share.

use toml::Spanned;
use weir_abi::channel::{BUFFERS, MAX_ENDS, MAX_USERS};
use weir_abi::manifest::{App, Channel, Pool};

use super::check::{Wrong, short_name, unique};
use super::file;

/// Buffers of a pool whose channel does not say.
const DEFAULT_BUFFERS: u32 = 1024;

/// The pools and channels of `written`, between `apps`.
pub(super) fn channels(written: &[file::Channel], apps: &[App]) -> Result<(Vec<Pool>, Vec<Channel>), Wrong> {
    let (mut pools, mut channels): (Vec<Pool>, Vec<Channel>) = (Vec::new(), Vec::new());
    for channel in written {
        unique(&channel.name, channels.iter().map(|earlier| earlier.name.as_str()), "channel")?;
        let ends = [position(&channel.from, apps)?, position(&channel.to, apps)?];
        if ends[0] == ends[1] {
            return Err((channel.to.span(), "a channel has two different applications".to_owned()));
        }
        let pool = match &channel.pool {
            Some(of) => join(of, channel, ends, &channels, &mut pools)?,
            None => {
                pools.push(Pool { buffers: buffers(channel)?, users: ends.into() });
                pools.len() - 1
            }
        };
        let entries = entries(channel, pools[pool].buffers)?;
        #[expect(clippy::cast_possible_truncation, reason = "no longer than the manifest has lines")]
        let pool = pool as u32;
        channels.push(Channel { name: short_name(&channel.name)?, ends, entries, pool });
        for (end, named) in ends.iter().zip([&channel.from, &channel.to]) {
            if channels.iter().filter(|channel| channel.ends.contains(end)).count() > MAX_ENDS {
                return Err((named.span(), format!("{} has more than {MAX_ENDS} channels", named.get_ref())));
            }
        }
    }
    Ok((pools, channels))
}

fn position(name: &Spanned<String>, apps: &[App]) -> Result<u32, Wrong> {
    let position = apps.iter().position(|app| app.name == *name.get_ref());
    let position = position.and_then(|position| u32::try_from(position).ok());
    position.ok_or_else(|| (name.span(), format!("there is no application {}", name.get_ref())))
}

/// Adds the channel's far end to the pool of an earlier channel, which its near end uses.
fn join(
    of: &Spanned<String>,
    channel: &file::Channel,
    [from, to]: [u32; 2],
    earlier: &[Channel],
    pools: &mut [Pool],
) -> Result<usize, Wrong> {
    if let Some(buffers) = &channel.buffers {
        return Err((buffers.span(), "a channel has either buffers or the pool of another".to_owned()));
    }
    let named = earlier.iter().find(|other| other.name == *of.get_ref());
    let Some(other) = named else {
        return Err((of.span(), format!("no channel {} stands above this one", of.get_ref())));
    };
    let users = &mut pools[other.pool as usize].users;
    if !users.contains(&from) {
        return Err((channel.from.span(), format!("{} does not use that pool", channel.from.get_ref())));
    }
    if users.contains(&to) {
        let text = format!("{} uses that pool already: each has one way to its home", channel.to.get_ref());
        return Err((channel.to.span(), text));
    }
    if users.len() == MAX_USERS {
        return Err((of.span(), format!("a pool has at most {MAX_USERS} users")));
    }
    users.push(to);
    Ok(other.pool as usize)
}

fn buffers(channel: &file::Channel) -> Result<u32, Wrong> {
    let Some(buffers) = &channel.buffers else { return Ok(DEFAULT_BUFFERS) };
    if BUFFERS.contains(buffers.get_ref()) {
        return Ok(*buffers.get_ref());
    }
    Err((buffers.span(), format!("a pool has {} to {} buffers of 2 KiB", BUFFERS.start(), BUFFERS.end())))
}

/// As many as the pool has buffers, rounded up, are never all in use.
fn entries(channel: &file::Channel, buffers: u32) -> Result<u32, Wrong> {
    let Some(entries) = &channel.entries else { return Ok(buffers.next_power_of_two()) };
    let number = *entries.get_ref();
    if number.is_power_of_two() && number <= *BUFFERS.end() {
        return Ok(number);
    }
    Err((entries.span(), format!("a ring has a power of two of entries, at most {}", BUFFERS.end())))
}
