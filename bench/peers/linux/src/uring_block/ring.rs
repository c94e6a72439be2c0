//! io_uring as it is set up where speed counts: one program, one thread, buffers, disk and the ring itself registered.
//!
//! **Invariant: the program never touches a buffer**, so that none is touched while the kernel or the disk has it.
#![expect(unsafe_code, reason = "io_uring is told addresses")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::types::Fixed;
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode};

use crate::Failure;

/// Bytes of a request.
pub(crate) const BYTES: u32 = 4096;
/// Requests under way, at most; each has a buffer of its own.
pub(crate) const DEPTH_MAX: u16 = 128;
/// The disk, in the ring's table of files.
const DISK: Fixed = Fixed(0);

/// A buffer.
#[repr(align(4096))]
#[derive(Clone)]
struct Page([u8; BYTES as usize]);

/// What a request does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Read,
    Write,
}

/// A ring; `is_polled`: the kernel looks for completions when asked, and the disk raises no interrupt.
pub(crate) fn open(is_polled: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    if is_polled {
        builder.setup_iopoll();
    }
    builder.build(DEPTH_MAX.into())
}

/// The ring in use.
pub(crate) struct Ring<'a> {
    submitter: Submitter<'a>,
    submissions: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
    buffers: &'static mut [Page],
}

impl<'a> Ring<'a> {
    /// Registers buffers, the disk, and the ring.
    pub(crate) fn new(ring: &'a mut IoUring, disk: &File) -> io::Result<Ring<'a>> {
        let (mut submitter, submissions, completions) = ring.split();
        let buffers = vec![Page([0; BYTES as usize]); DEPTH_MAX.into()].leak();
        let places: Vec<libc::iovec> = buffers
            .iter_mut()
            .map(|page| libc::iovec { iov_base: page.0.as_mut_ptr().cast(), iov_len: page.0.len() })
            .collect();
        // SAFETY: the buffers live for ever, and nothing but the ring's requests touches them.
        unsafe { submitter.register_buffers(&places)? };
        submitter.register_files(&[disk.as_raw_fd()])?;
        submitter.register_ring_fd()?;
        Ok(Ring { submitter, submissions, completions, buffers })
    }

    /// Prepares a request for the bytes from `offset`; `slot` is its buffer and comes back with its completion.
    #[inline]
    pub(crate) fn prepare(&mut self, act: Act, offset: u64, slot: u16) -> Result<(), Failure> {
        let page = self.buffers.get_mut(usize::from(slot)).ok_or(Failure::Slot(slot.into()))?;
        let place = page.0.as_mut_ptr();
        let entry: Entry = match act {
            Act::Read => opcode::ReadFixed::new(DISK, place, BYTES, slot).offset(offset).build(),
            Act::Write => opcode::WriteFixed::new(DISK, place, BYTES, slot).offset(offset).build(),
        };
        // SAFETY: the buffer and the file are registered; the buffer lives for ever and nobody else touches it.
        unsafe { self.submissions.push(&entry.user_data(slot.into())) }.map_err(|_| Failure::Full)
    }

    /// Submits what is prepared, waits until `completions` of all requests under way are done, and gives the slots of
    /// those that are to `done`.
    #[inline]
    pub(crate) fn enter(&mut self, completions: usize, mut done: impl FnMut(u16)) -> Result<(), Failure> {
        self.submissions.sync();
        self.submitter.submit_and_wait(completions)?;
        self.completions.sync();
        for completion in &mut self.completions {
            let slot =
                u16::try_from(completion.user_data()).map_err(|_| Failure::Slot(completion.user_data()))?;
            match u32::try_from(completion.result()) {
                Ok(BYTES) => done(slot),
                Ok(bytes) => return Err(Failure::Short(bytes)),
                Err(_) => return Err(io::Error::from_raw_os_error(-completion.result()).into()),
            }
        }
        Ok(())
    }
}
