//! Packages of the distribution, unpacked as plain files beside the system, without root.
//!
//! `apt-get` resolves and downloads with a state of its own, so that the system's is neither needed nor
//! changed, and checks signatures as always; `dpkg-deb` unpacks. **Invariant: a directory either holds the
//! complete packages or does not exist**: all happens in a temporary sibling that is renamed at the end.
//! No maintainer script is run. Programs are started by the unpacked loader with the unpacked libraries.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Archive, Distribution, cache_dir};
use crate::progress::Step;

/// A suite to take packages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The suite that is preferred.
    pub suite: &'static str,
    /// The suite that completes it; the same where it is complete by itself.
    pub base: &'static str,
}

/// Packages, unpacked.
#[derive(Clone, Debug)]
pub struct Unpacked {
    dir: PathBuf,
}

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The loader of the packages' programs.
pub(super) const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

impl Unpacked {
    /// A file of the packages, by its path in the system they are made for.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path)
    }

    /// Writes a script that runs program `path` with the unpacked loader and libraries, and `setup` before
    /// (shell assignments) and `args` after its name; both may use `$root`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn wrapper(&self, path: &str, setup: &str, args: &str) -> Result<PathBuf> {
        let name = Path::new(path).file_name().and_then(OsStr::to_str).context("a program has a name")?;
        let script = format!(
            "#!/bin/sh\n\
             # Runs the unpacked program by its own loader, with its own libraries.\n\
             root=${{0%/*}}/root\n\
             lib=$root/{LIBRARIES}\n\
             {setup} exec \"$lib/ld-linux-x86-64.so.2\" --library-path \"$lib:$lib/pulseaudio\" \
             \"$root/{path}\" {args} \"$@\"\n"
        );
        self.script(name, &script)
    }

    /// Writes a script beside the files, which it finds in `${0%/*}/root`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn script(&self, name: &str, script: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let file = self.dir.join(name);
        // Written once: one that is open for writing anywhere cannot be started ("text file busy").
        if fs::read_to_string(&file).is_ok_and(|there| there == script) {
            return Ok(file);
        }
        // Closed before it has its name: a script that another process is starting is never half there.
        let temporary = tempfile::NamedTempFile::new_in(&self.dir)?.into_temp_path();
        fs::write(&temporary, script)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755))?;
        temporary.persist(&file)?;
        Ok(file)
    }
}

/// The packages `names` of `release`, unpacked below the cache directory as `name`; fetched if not there yet.
///
/// # Errors
/// The archive cannot be reached, a signature or a package is missing, or the disk refuses.
pub fn unpacked(archive: &Archive, release: Release, names: &[&str]) -> Result<Unpacked> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let dir = cache.join(format!("{}-{}", names.join("+"), release.suite));
    let lock = File::create(cache.join("lock")).context("cannot write to the cache directory")?;
    lock.lock().context("cannot lock the cache directory")?;
    if !dir.exists() {
        fetch(archive, release, names, &cache, &dir)?;
    }
    Ok(Unpacked { dir })
}

fn fetch(archive: &Archive, release: Release, names: &[&str], cache: &Path, dir: &Path) -> Result<()> {
    let step = Step::begin(format!("fetching {} of {} (once)", names.join(", "), release.suite));
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache)?;
    let apt = Apt::new(work.path(), archive, release)?;
    apt.update(&step).or_else(|error| apt.renew_keyring(&step, error))?;
    apt.download(&step, names)?;
    let root = work.path().join("done/root");
    apt.unpack(&step, &root)?;
    fs::rename(work.path().join("done"), dir).context("cannot put the unpacked packages in place")?;
    step.done();
    Ok(())
}

/// An `apt-get` with a state of its own below `dir`.
struct Apt<'a> {
    dir: &'a Path,
    archive: &'a Archive,
    release: Release,
}

impl<'a> Apt<'a> {
    fn new(dir: &'a Path, archive: &'a Archive, release: Release) -> Result<Apt<'a>> {
        for folder in ["state", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        File::create(dir.join("status"))?;
        let apt = Apt { dir, archive, release };
        apt.write_configuration()?;
        apt.write_sources(&[release.base, release.suite], archive.signed_by.as_deref())?;
        Ok(apt)
    }

    /// The machine's own settings (proxies, keys) stay; hooks that touch the system's state go.
    fn write_configuration(&self) -> Result<()> {
        let dir = self.dir.display();
        // Root's apt would else become a user who cannot enter root's cache directory.
        let text = format!(
            r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Default-Release;
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{dir}/state";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
Dir::Log "{dir}";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
"#
        );
        fs::write(self.dir.join("apt.conf"), text).context("cannot write apt's configuration")
    }

    fn write_sources(&self, suites: &[&str], keyring: Option<&Path>) -> Result<()> {
        let options = keyring.map(|file| format!("[signed-by={}] ", file.display())).unwrap_or_default();
        let components = match self.archive.distribution {
            Distribution::Debian => "main",
            Distribution::Ubuntu => "main universe",
        };
        let mut text = String::new();
        for (i, suite) in suites.iter().enumerate() {
            if !suites[..i].contains(suite) {
                writeln!(text, "deb {options}{} {suite} {components}", self.archive.uri)?;
            }
        }
        fs::write(self.dir.join("sources.list"), text).context("cannot write apt's sources")
    }

    fn update(&self, step: &Step) -> Result<()> {
        self.run(step, &["update"])
    }

    /// Where the machine's keyring is older than the release: the archive's newer keyring is itself a package
    /// of the machine's own release, so the keys the machine trusts vouch for it.
    fn renew_keyring(&self, step: &Step, error: anyhow::Error) -> Result<()> {
        if !format!("{error:#}").contains("NO_PUBKEY") {
            return Err(error);
        }
        let (package, file) = match self.archive.distribution {
            Distribution::Debian => ("debian-archive-keyring", "debian-archive-keyring.gpg"),
            Distribution::Ubuntu => ("ubuntu-keyring", "ubuntu-archive-keyring.gpg"),
        };
        let own = self.archive.codename.as_str();
        self.write_sources(&[own], self.archive.signed_by.as_deref())?;
        self.update(step)?;
        self.run(step, &["install", "--download-only", "--yes", package])?;
        self.unpack(step, &self.dir.join("keys"))?;
        let keyring = self.dir.join("keys/usr/share/keyrings").join(file);
        self.write_sources(&[self.release.base, self.release.suite], Some(&keyring))?;
        self.update(step)
    }

    fn download(&self, step: &Step, names: &[&str]) -> Result<()> {
        let mut words = vec!["install", "--download-only", "--yes", "-t", self.release.suite];
        words.extend(names);
        self.run(step, &words)
    }

    /// Unpacks every package downloaded so far into `root`, and forgets it.
    fn unpack(&self, step: &Step, root: &Path) -> Result<()> {
        fs::create_dir_all(root)?;
        for entry in fs::read_dir(self.dir.join("cache/archives"))? {
            let file = entry?.path();
            if file.extension().is_some_and(|ext| ext == "deb") {
                step.say(&format!("unpacking {}", file.file_name().unwrap_or_default().display()));
                run_quietly(Command::new("dpkg-deb").arg("-x").arg(&file).arg(root), |_| ())?;
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    fn run(&self, step: &Step, words: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.dir.join("apt.conf")).arg("-q").args(words).env("LC_ALL", "C");
        run_quietly(&mut command, |line| {
            // "Get:12 http://… trixie/main amd64 libfoo amd64 1.2 [34 kB]": the address is no news.
            if let Some(rest) = line.strip_prefix("Get:") {
                let words: Vec<&str> = rest.split_whitespace().skip(2).collect();
                step.say(&words.join(" "));
            }
        })
    }
}

/// Runs `command`, giving each line of its output to `line`; its errors become ours, in one line.
fn run_quietly(command: &mut Command, line: impl Fn(&str)) -> Result<()> {
    let name = command.get_program().display().to_string();
    let errors = tempfile::tempfile()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut output = String::new();
    for text in BufReader::new(child.stdout.take().context("piped above")?).lines() {
        let text = text?;
        line(&text);
        output.push_str(&text);
        output.push('\n');
    }
    if child.wait()?.success() {
        return Ok(());
    }
    bail!("{name}: {}", complaint(errors, output)?)
}

/// What went wrong: apt's `E:` and `W:` lines, else whatever was said last.
fn complaint(mut errors: File, output: String) -> Result<String> {
    use std::io::Seek;
    let mut text = output;
    errors.rewind()?;
    errors.read_to_string(&mut text)?;
    let told: Vec<&str> = text.lines().filter(|l| l.starts_with("E: ") || l.starts_with("W: ")).collect();
    let last = text.lines().last().unwrap_or("failed").to_owned();
    Ok(if told.is_empty() { last } else { told.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_one_line() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo Reading; echo 'E: no such package' >&2; echo 'W: old' >&2; exit 100"]);
        let error = run_quietly(&mut command, |_| ()).unwrap_err().to_string();
        assert_eq!(error, "sh: E: no such package; W: old");
    }

    #[test]
    fn wrapper_runs_the_program_by_the_unpacked_loader() {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = Unpacked { dir: dir.path().to_owned() };
        // The "loader" shows how it was called.
        let loader = unpacked.file(LIBRARIES).join("ld-linux-x86-64.so.2");
        fs::create_dir_all(loader.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/bin/echo", &loader).unwrap();
        let script = unpacked.wrapper("usr/bin/tool", "", "-L \"$root/share\"").unwrap();
        let output = Command::new(script).arg("a b").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let root = unpacked.file("");
        assert!(text.starts_with("--library-path "), "{text}");
        assert!(
            text.contains(&format!("{}usr/bin/tool -L {}share a b", root.display(), root.display())),
            "{text}"
        );
    }
}
