//! Interrupt messages, counted.

use std::sync::{Arc, Mutex, PoisonError};

use weir_hal::{Error, Interrupt};

#[derive(Clone, Copy, Default)]
struct Line {
    count: u64,
    is_unmasked: bool,
    is_bound: bool,
}

/// What the world does while the program sleeps.
type Meanwhile = Box<dyn FnMut() + Send>;

/// The interrupt messages of one device; clones are the same.
#[derive(Clone)]
pub struct Interrupts {
    lines: Arc<Mutex<Vec<Line>>>,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

impl Interrupts {
    /// `count` messages, all masked.
    #[must_use]
    pub fn new(count: u16) -> Interrupts {
        let lines = vec![Line::default(); usize::from(count)];
        Interrupts { lines: Arc::new(Mutex::new(lines)), meanwhile: Arc::default() }
    }

    /// Sets what happens whenever the program sleeps in [`Interrupt::wait`]; `None` for nothing.
    pub fn set_meanwhile(&self, act: Option<Meanwhile>) {
        *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }

    /// What a device does to raise message `index`; nothing where it is masked or does not exist.
    pub fn raise(&self, index: u16) {
        self.with(index, |line| line.count += u64::from(line.is_unmasked));
    }

    /// How often message `index` came through.
    #[must_use]
    pub fn count(&self, index: u16) -> u64 {
        self.with(index, |line| line.count).unwrap_or(0)
    }

    /// Binds message `index`.
    ///
    /// # Errors
    /// `OutOfRange`, `Busy`.
    pub fn bind(&self, index: u16) -> Result<SimInterrupt, Error> {
        let was_bound = self.with(index, |line| std::mem::replace(&mut line.is_bound, true));
        match was_bound {
            None => Err(Error::OutOfRange),
            Some(true) => Err(Error::Busy),
            Some(false) => Ok(SimInterrupt { interrupts: self.clone(), index }),
        }
    }

    fn with<R>(&self, index: u16, act: impl FnOnce(&mut Line) -> R) -> Option<R> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get_mut(usize::from(index)).map(act)
    }
}

/// A bound interrupt message.
pub struct SimInterrupt {
    interrupts: Interrupts,
    index: u16,
}

impl Interrupt for SimInterrupt {
    fn count(&self) -> u64 {
        self.interrupts.count(self.index)
    }

    fn unmask(&self) -> Result<(), Error> {
        self.interrupts.with(self.index, |line| line.is_unmasked = true).ok_or(Error::Gone)
    }

    fn mask(&self) -> Result<(), Error> {
        self.interrupts.with(self.index, |line| line.is_unmasked = false).ok_or(Error::Gone)
    }

    /// Only [`Interrupts::set_meanwhile`] happens while the one thread sleeps; a count that this leaves as it was
    /// means that the deadline passes.
    fn wait(&self, seen: u64, _deadline_ns: u64) -> Result<u64, Error> {
        if self.count() == seen
            && let Some(act) = &mut *self.interrupts.meanwhile.lock().unwrap_or_else(PoisonError::into_inner)
        {
            act();
        }
        let count = self.count();
        if count == seen { Err(Error::TimedOut { limit_us: 0 }) } else { Ok(count) }
    }
}

impl Drop for SimInterrupt {
    fn drop(&mut self) {
        self.interrupts.with(self.index, |line| *line = Line { count: line.count, ..Line::default() });
    }
}
