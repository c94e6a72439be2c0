//! Starting an application: a process with its program, stack, counters, cores, devices and start block.
//!
//! **Invariant: the process gets its first thread last, and one that is not completed is killed**, so no
//! application ever runs with less than it was promised (but for what the manifest calls optional, and cores).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::info::Quota;
use weir_abi::layout::PAGE_BYTES;
use weir_abi::manifest;
use weir_abi::start::{Grant, Start};
use weir_abi::{Error, Rights, bundle};
use weir_init_logic::program::{Permission, Program, ProgramError, Segment};
use weir_init_logic::select::Selection;
use weir_rt::clock::now_ns;
use weir_rt::env::StatsView;
use weir_rt::process::Placement;
use weir_rt::thread::{STACK_BYTES, stack_end};
use weir_rt::{Access, Core, Event, Memory, Process, System, log};

use crate::board::{Board, Request};
use crate::channels::{Channels, Ends};
use crate::devices::Devices;

/// A running application.
pub(crate) struct Life {
    pub(crate) process: Process,
    /// The process's number.
    pub(crate) id: u32,
    /// Its side of its channels.
    pub(crate) ends: Option<Ends>,
    /// Its counters.
    pub(crate) stats: StatsView,
    /// When it began.
    pub(crate) started_ns: u64,
    /// The word by which it asks for another application.
    pub(crate) request: Option<Request>,
    /// Its cores, which go back when this is dropped.
    _cores: Vec<Core>,
}

/// What the supervisor keeps of an application that runs.
struct Held {
    stats: StatsView,
    request: Option<Request>,
    cores: Vec<Core>,
}

/// Why an application was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("the bundle holds no program `{0}`")]
    NoProgram(String),
    #[error("its program is refused: {0}")]
    Program(#[from] ProgramError),
    #[error("there is no device `{name}` ({selection})")]
    NoDevice { name: String, selection: Selection },
    #[error("device `{name}` ({selection}) is refused: {error}")]
    Device { name: String, selection: Selection, error: Error },
    #[error("{what}: {error}")]
    Kernel { what: &'static str, error: Error },
}

impl LaunchError {
    /// Whether a device is missing, or not usable now.
    pub(crate) fn is_of_device(&self) -> bool {
        matches!(self, LaunchError::NoDevice { .. } | LaunchError::Device { .. })
    }
}

/// Names what the kernel refused.
fn refused(what: &'static str) -> impl Fn(Error) -> LaunchError {
    move |error| LaunchError::Kernel { what, error }
}

/// What every start needs.
pub(crate) struct Launcher<'a> {
    pub(crate) system: System,
    pub(crate) files: &'a [u8],
    pub(crate) devices: &'a Devices,
    pub(crate) channels: &'a Channels,
    /// What an application sees that sees how the machine is.
    pub(crate) board: Option<&'a Board>,
    /// Signalled when a process ends.
    pub(crate) ended: &'a Event,
}

impl Launcher<'_> {
    /// Starts `program` as `app`, number `index` of the manifest, which was started `restarts` times before.
    pub(crate) fn launch(
        &self,
        index: usize,
        app: &manifest::App,
        program: &str,
        restarts: u32,
    ) -> Result<Life, LaunchError> {
        let (file, program) = find_program(self.files, program)?;
        // A heap's mapping each MiB, so that all of the memory can be used.
        let heap = u32::try_from(app.memory_bytes >> 20).unwrap_or(u32::MAX);
        let mappings = Quota::DEFAULT.mappings.saturating_add(heap);
        let quota = Quota { frames: app.memory_bytes / PAGE_BYTES, mappings, ..Quota::DEFAULT };
        let process =
            Process::create(&self.system, &app.name, &quota).map_err(refused("no process could be made"))?;
        let granted =
            self.channels.grant(index, &process).map_err(refused("its channels could not be granted"));
        let result = granted.and_then(|granted| {
            let (channels, ends) = granted.unzip();
            let held = self.complete(app, restarts, channels, file, &program, &process)?;
            let id = process.info().map_err(refused("it could not be asked about"))?.id;
            Ok((id, ends, held))
        });
        match result {
            Ok((id, ends, Held { stats, request, cores })) => {
                Ok(Life { process, id, ends, stats, started_ns: now_ns(), request, _cores: cores })
            }
            Err(error) => {
                // Frees what it holds, above all its devices. It has no thread, so it is not `Gone`.
                let _ = process.kill();
                Err(error)
            }
        }
    }

    /// Fills the process and starts its thread.
    fn complete(
        &self,
        app: &manifest::App,
        restarts: u32,
        channels: Option<weir_abi::start::Channels>,
        file: &[u8],
        program: &Program,
        process: &Process,
    ) -> Result<Held, LaunchError> {
        for segment in &program.segments {
            load(process, segment, file).map_err(refused("its program could not be mapped"))?;
        }
        map_stack(process).map_err(refused("its stack could not be mapped"))?;
        let mut grants = Vec::new();
        let stats =
            grant_stats(process, &mut grants).map_err(refused("its counters could not be granted"))?;
        let cores =
            self.grant_cores(app, process, &mut grants).map_err(refused("its cores could not be granted"))?;
        let request = self
            .grant_views(app, process, &mut grants)
            .map_err(refused("it could not be shown what its manifest says"))?;
        self.grant_devices(app, process, &mut grants)?;
        let (name, args) = (app.name.clone(), app.args.clone());
        let start = Start { name, args, restarts, grants, channels };
        let block = map_start(process, &start).map_err(refused("its start block could not be mapped"))?;
        process.watch(self.ended).map_err(refused("it could not be watched"))?;
        process
            .start_thread(program.entry, stack_end(0), block, cores.first())
            .map_err(refused("its thread could not be started"))?;
        Ok(Held { stats, request, cores })
    }

    /// Grants what it sees besides its own: the board, the word by which it asks, its files.
    fn grant_views(
        &self,
        app: &manifest::App,
        process: &Process,
        grants: &mut Vec<Grant>,
    ) -> Result<Option<Request>, Error> {
        if let Some(board) = self.board.filter(|_| app.sees_status) {
            board.grant(process, grants)?;
        }
        if let Some(entry) = &app.files {
            let files = bundle::find(self.files, entry).ok_or(Error::NotFound)?;
            grant_files(process, files, grants)?;
        }
        app.may_start.as_ref().map(|_| Request::grant(process, grants)).transpose()
    }

    /// Grants as many whole cores as there are, up to what the manifest says.
    fn grant_cores(
        &self,
        app: &manifest::App,
        process: &Process,
        grants: &mut Vec<Grant>,
    ) -> Result<Vec<Core>, Error> {
        let mut cores = Vec::new();
        // CPU 0 stays shared; the first index past the last CPU ends the search.
        for cpu in 1.. {
            if cores.len() == app.cores as usize {
                break;
            }
            match self.system.open_core(cpu) {
                Ok(core) => {
                    let handle = process.give(&core, Rights::ALL)?;
                    grants.push(Grant { name: format!("core{}", cores.len()), handle });
                    cores.push(core);
                }
                Err(Error::Busy) => {}
                Err(Error::NotFound) => {
                    log!(
                        "app {}: {} of {} cores granted, no more are free",
                        app.name,
                        cores.len(),
                        app.cores
                    );
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(cores)
    }

    fn grant_devices(
        &self,
        app: &manifest::App,
        process: &Process,
        grants: &mut Vec<Grant>,
    ) -> Result<(), LaunchError> {
        for grant in &app.devices {
            match self.devices.assign(grant, process) {
                Ok(handle) => grants.push(Grant { name: grant.name.clone(), handle }),
                Err(error) if grant.optional => log!("app {} runs without: {error}", app.name),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The program of that name among `files`: its bytes, and what they mean.
///
/// # Errors
/// There is none, or it cannot be one.
pub(crate) fn find_program<'a>(files: &'a [u8], name: &str) -> Result<(&'a [u8], Program), LaunchError> {
    let file = bundle::find(files, name).ok_or_else(|| LaunchError::NoProgram(name.into()))?;
    Ok((file, Program::parse(file)?))
}

/// Copies a segment's contents into fresh memory and maps that.
fn load(process: &Process, segment: &Segment, file: &[u8]) -> Result<(), Error> {
    let memory = Memory::create(segment.bytes)?;
    let contents = &file[segment.file.clone()];
    memory.map(Access::ReadWrite)?.write(segment.offset, contents).ok_or(Error::BadArgument)?;
    let access = match segment.permission {
        Permission::Read => Access::Read,
        Permission::Write => Access::ReadWrite,
        Permission::Execute => Access::ReadExecute,
    };
    process.map(&memory, Placement { offset: 0, bytes: segment.bytes, address: segment.address, access })?;
    Ok(())
}

/// Maps the first thread's stack.
fn map_stack(process: &Process) -> Result<(), Error> {
    let (bytes, address) = (STACK_BYTES, stack_end(0) - STACK_BYTES);
    let memory = Memory::create(bytes)?;
    process.map(&memory, Placement { offset: 0, bytes, address, access: Access::ReadWrite })?;
    Ok(())
}

/// Makes the counters' page and grants it as `stats`.
fn grant_stats(process: &Process, grants: &mut Vec<Grant>) -> Result<StatsView, Error> {
    let memory = Memory::create(size_of::<weir_abi::stats::Stats>() as u64)?;
    let handle = process.give(&memory, Rights::READ.union(Rights::WRITE))?;
    grants.push(Grant { name: "stats".into(), handle });
    StatsView::map(&memory)
}

/// Copies `files` to memory that nobody can write to any more, and grants it as `files`.
fn grant_files(process: &Process, files: &[u8], grants: &mut Vec<Grant>) -> Result<(), Error> {
    let memory = Memory::create(files.len() as u64)?;
    memory.map(Access::ReadWrite)?.write(0, files).ok_or(Error::BadArgument)?;
    grants.push(Grant { name: "files".into(), handle: process.give(&memory, Rights::READ)? });
    Ok(())
}

/// Maps the encoded start block, read-only; gives its address and length.
fn map_start(process: &Process, start: &Start) -> Result<[u64; 2], Error> {
    let block = postcard::to_allocvec(start).map_err(|_| Error::NoMemory)?;
    let memory = Memory::create(block.len() as u64)?;
    memory.map(Access::ReadWrite)?.write(0, &block).ok_or(Error::BadArgument)?;
    let bytes = memory.bytes()?;
    let address = process.map(&memory, Placement { offset: 0, bytes, address: 0, access: Access::Read })?;
    Ok([address, block.len() as u64])
}
