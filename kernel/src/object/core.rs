//! Whole-core grants.

use weir_abi::Error;
use weir_kernel::refs::Ref;

use crate::cpus;
use crate::sched::SCHED;

/// CPU `cpu`, taken out of the shared pool for as long as this lives.
pub(crate) struct Core {
    pub(crate) cpu: u32,
}

impl Core {
    /// Takes a CPU out of the shared pool; the threads that share it move to others.
    pub(crate) fn open(index: u64) -> Result<Ref<Core>, Error> {
        let cpu = u32::try_from(index).ok().filter(|c| *c < cpus::count()).ok_or(Error::NotFound)?;
        if cpu == 0 {
            return Err(Error::BadArgument);
        }
        SCHED.lock().grant_cpu(cpu)?;
        // Where memory ran out, dropping the value gives the CPU back.
        Ref::try_new(Core { cpu }).ok_or(Error::NoMemory)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        SCHED.lock().return_cpu(self.cpu);
    }
}
