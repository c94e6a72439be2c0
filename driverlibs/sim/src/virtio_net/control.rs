//! The device's side of the control queue (virtio 1.2 §5.1.6.5) and what follows from it.

use super::steering::Steering;
use super::{Chain, VirtioNet, feature};

/// What the driver asked for.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Every frame.
    pub is_promiscuous: bool,
    /// Every multicast frame.
    pub all_multicast: bool,
    /// Commands so far: class, number.
    pub commands: Vec<(u8, u8)>,
    /// Pairs of queues in use beyond the first.
    pub(super) more_pairs: u16,
    pub(super) steering: Option<Steering>,
}

const OK: u8 = 0;
const ERROR: u8 = 1;

impl VirtioNet {
    /// What the driver asked for since the last reset.
    #[must_use]
    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// The MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Wants its owner to announce itself.
    pub fn ask_for_announcement(&mut self) {
        self.wants_announcement = true;
        self.change_config();
    }

    /// The number of the control queue: behind the pairs, all of them only with `MQ`.
    pub(super) fn control_index(&self) -> usize {
        let has_several = self.driver_features & feature::MQ != 0;
        2 * usize::from(if has_several { self.behaviour.pairs } else { 1 })
    }

    /// Does what the driver commands.
    pub(super) fn obey(&mut self) {
        let index = self.control_index();
        if self.driver_features & feature::CTRL_VQ == 0 || !self.is_running(index) {
            return;
        }
        while let Some(chain) = self.queues[index].pop(&self.window, self.driver_features) {
            let question = self.read_parts(&chain);
            let answer =
                if self.refuses_commands { ERROR } else { self.command(&question).map_or(ERROR, |()| OK) };
            self.answer(index, &chain, answer);
        }
        self.publish_used(index);
    }

    fn answer(&mut self, index: usize, chain: &Chain, answer: u8) {
        let answer = self.malice.twist_u16(answer.into()).to_le_bytes();
        if let Some(part) = chain.parts.iter().find(|part| part.device_writes) {
            self.window.write(part.addr, &answer[..1]);
        }
        self.queues[index].push(chain.id, 1);
    }

    fn command(&mut self, question: &[u8]) -> Option<()> {
        let (&[class, number], data) = question.split_first_chunk::<2>()?;
        self.wishes.commands.push((class, number));
        match (class, number) {
            (0, 0) => self.wishes.is_promiscuous = *data.first()? != 0,
            (0, 1) => self.wishes.all_multicast = *data.first()? != 0,
            (1, 1) => self.mac = *data.first_chunk()?,
            (3, 0) => self.wants_announcement = false,
            (4, 0) => {
                let pairs = u16::from_le_bytes(*data.first_chunk()?);
                (1..=self.behaviour.pairs).contains(&pairs).then_some(())?;
                self.wishes.more_pairs = pairs - 1;
            }
            (4, 1) => self.wishes.steering = Some(Steering::parse(data)?),
            _ => return None,
        }
        Some(())
    }
}
