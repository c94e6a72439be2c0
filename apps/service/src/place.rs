//! Where frames come from: a device, or a channel to who has one.

use weir_rt::Env;
use weir_rt::channel;
use weir_rt::hal::Function;

use crate::Failure;

/// What the manifest grants.
pub(crate) enum Place {
    /// A device of its own.
    Device(Function),
    /// A port of a switch, whose program may be replaced meanwhile.
    Port(channel::nic::Port),
}

impl Place {
    /// The device granted as `nic`, or where there is none, the end of the first channel.
    pub(crate) fn find(env: &mut Env) -> Result<Place, Failure> {
        let missing = match env.device("nic") {
            Ok(device) => return Ok(Place::Device(Function::new(device)?)),
            Err(missing) => missing,
        };
        // Without either it is the device that is missed.
        let Ok(mut channels) = env.channels() else { return Err(missing.into()) };
        let name = channels.pools().first().cloned().unwrap_or_default();
        Ok(Place::Port(channels.port(&name)?))
    }
}
