//! The checks, each with the line it complains about.

use std::fmt;
use std::ops::Range;
use std::path::{Component, PathBuf};

use toml::Spanned;
use weir_abi::bundle::{ENTRY_NAME_BYTES, INIT, MANIFEST};
use weir_abi::choice::IommuChoice;
use weir_abi::device::DevicePolicy;
use weir_abi::info::{NAME_BYTES, Quota};
use weir_abi::layout::PAGE_BYTES;
use weir_abi::manifest::{App, DeviceGrant, DeviceSelect, Manifest};

use super::{Checked, channels, file};
use crate::port::{Port, Protocol};

/// What is wrong with a manifest, and in which line (from 1).
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    line: usize,
    text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// What is wrong, and where in the text.
pub(super) type Wrong = (Range<usize>, String);

/// Smallest memory of an application: its program and a stack must fit.
const MEMORY_MIN_BYTES: u64 = 1 << 20;
/// Largest memory of an application.
const MEMORY_MAX_BYTES: u64 = 1 << 40;

/// Checks the manifest `text` for a machine with `cpus` CPUs.
///
/// # Errors
/// The first problem.
pub fn check(text: &str, cpus: u32) -> Result<Checked, Problem> {
    let problem = |(span, wrong): Wrong| {
        let line = text.get(..span.start).unwrap_or(text).matches('\n').count() + 1;
        Problem { line, text: wrong }
    };
    let converted = parse(text).and_then(|file| convert(file, cpus)).map_err(problem)?;
    let Converted { manifest, iommu, ports, notices, ambiguity, files } = converted;
    Ok(Checked { manifest, iommu, ports, notices, ambiguity: ambiguity.map(problem), files })
}

/// A manifest whose complaints do not know their lines yet.
struct Converted {
    manifest: Manifest,
    iommu: Option<IommuChoice>,
    ports: Vec<Port>,
    notices: Vec<String>,
    ambiguity: Option<Wrong>,
    files: Vec<(String, PathBuf)>,
}

fn parse(text: &str) -> Result<file::File, Wrong> {
    toml::from_str(text).map_err(|error| {
        let words: Vec<&str> = error.message().lines().map(str::trim).collect();
        (error.span().unwrap_or(0..0), words.join(" "))
    })
}

fn convert(file: file::File, cpus: u32) -> Result<Converted, Wrong> {
    let iommu = file.iommu.as_ref().map(iommu_choice).transpose()?;
    let ports = file.port.iter().map(port).collect::<Result<_, _>>()?;
    let mut notices = Vec::new();
    let ambiguity = ambiguity(&file.app)?;
    let mut spare = cpus - 1;
    let mut apps: Vec<App> = Vec::new();
    let (mut files, mut wanted) = (Vec::new(), Vec::new());
    for app in file.app {
        unique(&app.name, apps.iter().map(|earlier| earlier.name.as_str()), "application")?;
        let cores = cores(&app, cpus, &mut spare, &mut notices)?;
        let devices = devices(&app, &apps)?;
        apps.push(App {
            name: short_name(&app.name)?,
            program: program(&app.program)?,
            replacements: replacements(&app)?,
            memory_bytes: memory(app.memory.as_ref())?,
            args: app.args,
            cores,
            restart: app.restart.into(),
            devices,
            sees_status: app.status,
            may_start: app.may_start.as_ref().map(short_name).transpose()?,
            files: app.files.as_ref().map(|folder| add_files(&mut files, &app.name, folder)).transpose()?,
        });
        wanted.extend(app.may_start);
    }
    for name in &wanted {
        if !apps.iter().any(|app| &app.name == name.get_ref()) {
            return Err((name.span(), format!("there is no application {}", name.get_ref())));
        }
    }
    let (pools, channels) = channels::channels(&file.channel, &apps)?;
    let when_done = file.when_done.into();
    let manifest = Manifest { unsafe_no_iommu: file.unsafe_no_iommu, when_done, apps, pools, channels };
    Ok(Converted { manifest, iommu, ports, notices, ambiguity, files })
}

/// Adds the folder of an application's files to `files`; gives its name in the bundle.
fn add_files(
    files: &mut Vec<(String, PathBuf)>,
    app: &Spanned<String>,
    folder: &Spanned<String>,
) -> Result<String, Wrong> {
    let path = PathBuf::from(folder.get_ref());
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_inside || path.as_os_str().is_empty() {
        return Err((folder.span(), "files are a folder of this tree, named from its top".to_owned()));
    }
    let name = format!("files:{}", app.get_ref());
    files.push((name.clone(), path));
    Ok(name)
}

fn iommu_choice(word: &Spanned<String>) -> Result<IommuChoice, Wrong> {
    let unknown = || (word.span(), format!("iommu is one of {}", IommuChoice::LIST));
    IommuChoice::from_word(word.get_ref()).ok_or_else(unknown)
}

/// A port of the guest's, as `tcp:80`.
fn port(port: &file::Port) -> Result<Port, Wrong> {
    let parsed = port.to.get_ref().split_once(':').and_then(|(protocol, number)| {
        let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.word() == protocol)?;
        Some((protocol, number.parse().ok().filter(|&number| number > 0)?))
    });
    let (protocol, guest) =
        parsed.ok_or_else(|| (port.to.span(), "a port is tcp:NUMBER or udp:NUMBER".to_owned()))?;
    if *port.from.get_ref() < 1024 {
        return Err((port.from.span(), "ports of this host below 1024 are the administrator's".to_owned()));
    }
    Ok(Port { protocol, guest, preferred: *port.from.get_ref(), hint: Some(port.hint.clone()) })
}

/// Cores to grant: one CPU always stays with the supervisor and the applications that share.
fn cores(app: &file::App, cpus: u32, spare: &mut u32, notices: &mut Vec<String>) -> Result<u32, Wrong> {
    let Some(wanted) = &app.cores else { return Ok(0) };
    let (name, count) = (app.name.get_ref(), *wanted.get_ref());
    if let Some(left) = spare.checked_sub(count) {
        *spare = left;
        return Ok(count);
    }
    let lack = format!("{name} wants {count} whole core(s), {spare} to spare on {cpus} CPU(s)");
    if app.cores_optional {
        notices.push(format!("{lack}: it shares a core and sleeps when idle"));
        return Ok(0);
    }
    Err((wanted.span(), format!("{lack}; give more with --cpus")))
}

fn devices(app: &file::App, earlier: &[App]) -> Result<Vec<DeviceGrant>, Wrong> {
    let mut grants: Vec<DeviceGrant> = Vec::new();
    for device in &app.device {
        unique(&device.name, grants.iter().map(|grant| grant.name.as_str()), "device")?;
        let select = select(device)?;
        let owner = earlier.iter().find(|other| other.devices.iter().any(|grant| grant.select == select));
        if owner.is_some() || grants.iter().any(|grant| grant.select == select) {
            let owner = owner.map_or(app.name.get_ref(), |app| &app.name);
            return Err((device.name.span(), format!("this device already belongs to {owner}")));
        }
        let (name, policy) = (grant_name(&device.name)?, policy(device)?);
        grants.push(DeviceGrant { name, select, optional: device.optional, policy });
    }
    Ok(grants)
}

fn policy(device: &file::Device) -> Result<DevicePolicy, Wrong> {
    let budget = |given: &Option<Spanned<u32>>, default| match given {
        None => Ok(default),
        Some(number) if *number.get_ref() == 0 => {
            Err((number.span(), "a budget is at least 1 per 100 ms".to_owned()))
        }
        Some(number) => Ok(*number.get_ref()),
    };
    let storm = match device.on_storm {
        file::StormWord::Revoke => DevicePolicy::REVOKE_ON_STORM,
        file::StormWord::Mute => 0,
    };
    let revoked = match device.when_revoked {
        file::RevokedWord::Block => 0,
        file::RevokedWord::Scratch => DevicePolicy::SCRATCH,
    };
    Ok(DevicePolicy {
        fault_budget: budget(&device.fault_budget, DevicePolicy::DEFAULT.fault_budget)?,
        interrupt_budget: budget(&device.interrupt_budget, DevicePolicy::DEFAULT.interrupt_budget)?,
        flags: storm | revoked,
        reset_us: reset_us(device.reset_ms.as_ref())?,
    })
}

fn reset_us(reset_ms: Option<&Spanned<u32>>) -> Result<u32, Wrong> {
    let Some(reset_ms) = reset_ms else { return Ok(DevicePolicy::DEFAULT.reset_us) };
    match reset_ms.get_ref().checked_mul(1000) {
        Some(us @ 1..=DevicePolicy::RESET_US) => Ok(us),
        _ => {
            let most_ms = DevicePolicy::RESET_US / 1000;
            Err((reset_ms.span(), format!("a device is left alone for 1 to {most_ms} ms after a reset")))
        }
    }
}

/// The first selector that another one may turn out to mean the same device as; only a machine can tell.
fn ambiguity(apps: &[file::App]) -> Result<Option<Wrong>, Wrong> {
    let mut earlier: Vec<(&file::App, &file::Device, DeviceSelect)> = Vec::new();
    for app in apps {
        for device in &app.device {
            let select = select(device)?;
            for (other_app, other, other_select) in &earlier {
                let (this, that) = ((app.name.get_ref(), device), (other_app.name.get_ref(), *other));
                if let Some(why) = is_ambiguous((device, select), (other, *other_select)) {
                    let named = |(app, device): (&String, &file::Device)| {
                        format!("{} of {app}", device.name.get_ref())
                    };
                    let text = format!("{} may be the same device as {}: {why}", named(this), named(that));
                    return Ok(Some((device.name.span(), text)));
                }
            }
            earlier.push((app, device, select));
        }
    }
    Ok(None)
}

/// Why two selectors could mean one device.
fn is_ambiguous(
    (one, one_select): (&file::Device, DeviceSelect),
    (other, other_select): (&file::Device, DeviceSelect),
) -> Option<&'static str> {
    use DeviceSelect::{Address, Id, Virtual};
    let id = |select| if let Id { vendor, device, .. } = select { Some((vendor, device)) } else { None };
    match (one_select, other_select) {
        (Address(_), Id { .. }) | (Id { .. }, Address(_)) => Some("one is named by address, the other by id"),
        (Virtual { .. }, Id { .. }) | (Id { .. }, Virtual { .. }) => {
            Some("one is a virtual function, the other named by id")
        }
        (Address(address), Virtual { physical, .. }) | (Virtual { physical, .. }, Address(address))
            if address != physical && address >> 8 == physical >> 8 =>
        {
            Some("one is a virtual function, the other a place on its bus")
        }
        _ if id(one_select).is_some()
            && id(one_select) == id(other_select)
            && one.index.is_none() != other.index.is_none() =>
        {
            Some("they have the same id, and only one says which (`index`)")
        }
        _ => None,
    }
}

fn select(device: &file::Device) -> Result<DeviceSelect, Wrong> {
    let address = |address: &Spanned<String>| {
        let wrong = || (address.span(), "an address looks like \"0000:01:00.0\"".to_owned());
        pci_address(address.get_ref()).ok_or_else(wrong)
    };
    if let (None, Some(physical), None, Some(number)) =
        (&device.id, &device.address, &device.index, &device.vf)
    {
        return Ok(DeviceSelect::Virtual { physical: address(physical)?, number: *number.get_ref() });
    }
    if let Some(number) = &device.vf {
        return Err((number.span(), "a virtual function is one of the function at `address`".to_owned()));
    }
    match (&device.id, &device.address, &device.index) {
        (Some(id), None, index) => {
            let (vendor, product) = id
                .get_ref()
                .split_once(':')
                .and_then(|(vendor, product)| Some((hex16(vendor)?, hex16(product)?)))
                .ok_or_else(|| (id.span(), "an id looks like \"1af4:1041\"".to_owned()))?;
            let index = index.as_ref().map_or(0, |index| *index.get_ref());
            Ok(DeviceSelect::Id { vendor, device: product, index })
        }
        (None, Some(place), None) => address(place).map(DeviceSelect::Address),
        _ => Err((device.name.span(), "a device has either id (and index) or address".to_owned())),
    }
}

fn hex16(text: &str) -> Option<u16> {
    let is_hex = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(text, 16).ok())?
}

/// `segment:bus:device.function`, hexadecimal.
fn pci_address(text: &str) -> Option<u32> {
    let (segment, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let part = |text: &str, digits: usize, below: u32| {
        let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16).ok().filter(|number| is_hex && *number < below)
    };
    let (segment, bus) = (part(segment, 4, 1 << 16)?, part(bus, 2, 1 << 8)?);
    Some(segment << 16 | bus << 8 | part(device, 2, 32)? << 3 | part(function, 1, 8)?)
}

pub(super) fn unique<'a>(
    name: &Spanned<String>,
    mut earlier: impl Iterator<Item = &'a str>,
    what: &str,
) -> Result<(), Wrong> {
    if earlier.any(|other| other == name.get_ref()) {
        return Err((name.span(), format!("a second {what} named {}", name.get_ref())));
    }
    Ok(())
}

/// A name that fits a field of `limit` bytes and can be typed at the console.
fn word(name: &Spanned<String>, limit: usize) -> Result<String, Wrong> {
    let text = name.get_ref();
    let is_word =
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if text.is_empty() || text.len() > limit || !is_word {
        return Err((name.span(), format!("a name has 1 to {limit} of a-z, 0-9, - and _")));
    }
    Ok(text.clone())
}

pub(super) fn short_name(name: &Spanned<String>) -> Result<String, Wrong> {
    word(name, NAME_BYTES)
}

fn grant_name(name: &Spanned<String>) -> Result<String, Wrong> {
    let text = word(name, NAME_BYTES)?;
    let is_core = text.strip_prefix("core").is_some_and(|rest| rest.parse::<u32>().is_ok());
    if ["stats", "status", "request", "files"].contains(&text.as_str()) || is_core {
        return Err((name.span(), format!("the name {text} is taken by the system")));
    }
    Ok(text)
}

fn program(name: &Spanned<String>) -> Result<String, Wrong> {
    let text = word(name, ENTRY_NAME_BYTES)?;
    if text == INIT || text == MANIFEST {
        return Err((name.span(), format!("{text} is no program for an application")));
    }
    Ok(text)
}

/// The programs that may take its place, each named once.
fn replacements(app: &file::App) -> Result<Vec<String>, Wrong> {
    let mut programs = vec![app.program.get_ref().clone()];
    for other in &app.replacements {
        unique(other, programs.iter().map(String::as_str), "program")?;
        programs.push(program(other)?);
    }
    Ok(programs.split_off(1))
}

fn memory(size: Option<&Spanned<String>>) -> Result<u64, Wrong> {
    let Some(size) = size else { return Ok(Quota::DEFAULT.frames * PAGE_BYTES) };
    let bytes = bytes(size.get_ref()).ok_or_else(|| {
        (size.span(), "a size is a number followed by K, M or G, such as \"32M\"".to_owned())
    })?;
    if !(MEMORY_MIN_BYTES..=MEMORY_MAX_BYTES).contains(&bytes) {
        return Err((size.span(), "an application's memory is 1M to 1024G".to_owned()));
    }
    Ok(bytes)
}

/// Bytes of a size such as `32M`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let unit = match text.bytes().last()? {
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        b'G' => 1u64 << 30,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let number: u64 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    number.checked_mul(unit)
}
