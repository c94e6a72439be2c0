//! What boots: the kernel and a bundle made from a manifest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use weir_abi::choice::IommuChoice;
use weir_abi::manifest::{DeviceGrant, DeviceSelect};

use crate::build::{self, Profile};
use crate::cli::SystemOptions;
use crate::manifest::Checked;
use crate::{bundle, manifest, workspace};

/// A system, built.
#[derive(Debug, Default)]
pub struct System {
    /// The kernel's ELF file, with symbols.
    pub kernel: PathBuf,
    /// The bundle's file.
    pub bundle: PathBuf,
    /// The applications: name and ELF file, with symbols.
    pub programs: Vec<(String, PathBuf)>,
    /// How the kernel is to confine devices, where the manifest says.
    pub iommu: Option<IommuChoice>,
    /// What the person should know, one line each.
    pub notices: Vec<String>,
    /// How many `edu` devices the manifest grants by id.
    pub edus: usize,
}

/// Vendor and device id of QEMU's `edu`.
const EDU: (u16, u16) = (0x1234, 0x11e8);

impl System {
    /// Builds the system that `options` name; the bundle goes below the target directory.
    ///
    /// # Errors
    /// No such manifest, a wrong one, or something does not build.
    pub fn build(options: &SystemOptions) -> Result<System> {
        let profile = if options.debug { Profile::Debug } else { Profile::Release };
        System::from_manifest(&manifest_path(options)?, options.cpus, profile)
    }

    /// Builds the system that the manifest at `path` describes.
    ///
    /// # Errors
    /// As [`System::build`].
    pub fn from_manifest(path: &Path, cpus: u32, profile: Profile) -> Result<System> {
        let checked = manifest::read(path, cpus)?;
        let mut names = vec![weir_abi::bundle::INIT];
        names.extend(checked.programs());
        build::check_programs(&names)?;
        let kernel = build::kernel(profile)?;
        let files = build::programs(&names, profile)?;
        let file_of = |program: &str| Some(files[names.iter().position(|name| *name == program)?].clone());

        let mut contents = vec![(weir_abi::bundle::MANIFEST, postcard::to_stdvec(&checked.manifest)?)];
        for (name, file) in names.iter().zip(&files) {
            let elf = fs::read(file).with_context(|| format!("cannot read {}", workspace::shown(file)))?;
            contents.push((name, bundle::stripped(&elf).with_context(|| workspace::shown(file))?));
        }
        for (name, folder) in &checked.files {
            contents.push((name, bundle::folder(&workspace::root().join(folder))?));
        }
        let apps = checked.manifest.apps.iter();
        let mut programs: Vec<_> =
            apps.filter_map(|app| Some((app.name.clone(), file_of(&app.program)?))).collect();
        programs
            .extend(file_of(weir_abi::bundle::INIT).map(|file| (weir_abi::bundle::INIT.to_owned(), file)));
        let name = path.file_stem().unwrap_or_default().display();
        let name = format!("{name}-{cpus}-{}", profile.word());
        let bundle = keep(&name, &bundle::write(&contents)?)?;
        let edus =
            checked.manifest.apps.iter().flat_map(|app| &app.devices).filter(|grant| is_edu(grant)).count();
        let Checked { iommu, notices, .. } = checked;
        Ok(System { kernel, bundle, programs, iommu, notices, edus })
    }

    /// Builds a system whose first process, in the supervisor's place, is the program `first`, which finds `files`
    /// (name, contents) in the bundle; `name` is the bundle's file's.
    ///
    /// # Errors
    /// Something does not build.
    pub fn alone(name: &str, first: &str, files: &[(&str, Vec<u8>)]) -> Result<System> {
        let profile = Profile::Release;
        build::check_programs(&[first])?;
        let kernel = build::kernel(profile)?;
        let file = build::programs(&[first], profile)?.remove(0);
        let elf = fs::read(&file).with_context(|| format!("cannot read {}", workspace::shown(&file)))?;
        let mut contents = vec![(weir_abi::bundle::INIT, bundle::stripped(&elf)?)];
        contents.extend(files.iter().cloned());
        let bundle = keep(name, &bundle::write(&contents)?)?;
        let programs = vec![(weir_abi::bundle::INIT.to_owned(), file)];
        Ok(System { kernel, bundle, programs, ..System::default() })
    }
}

fn is_edu(grant: &DeviceGrant) -> bool {
    matches!(grant.select, DeviceSelect::Id { vendor, device, .. } if (vendor, device) == EDU)
}

/// Writes the bundle under a name that stays, so that a command line shown to people can be typed again;
/// replaced whole, so that runs at the same time do not disturb each other.
fn keep(name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let dir = workspace::target_dir().join("bundle");
    fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{name}.bin"));
    let temporary = tempfile::NamedTempFile::new_in(&dir)?;
    fs::write(temporary.path(), bytes).context("cannot write the bundle")?;
    temporary.persist(&file)?;
    Ok(file)
}

/// The manifest that `options` name.
///
/// # Errors
/// There is none of that name.
pub fn manifest_path(options: &SystemOptions) -> Result<PathBuf> {
    match &options.manifest {
        Some(file) => Ok(file.clone()),
        None => manifest_file(&options.system),
    }
}

/// The manifest that a person calls `system`.
fn manifest_file(system: &str) -> Result<PathBuf> {
    let folder = workspace::root().join("apps/manifests");
    let named = folder.join(format!("{system}.toml"));
    if named.is_file() {
        return Ok(named);
    }
    if Path::new(system).is_file() {
        return Ok(system.into());
    }
    let mut names: Vec<String> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    bail!("there is no system or manifest {system}; systems: {}", names.join(", "))
}
