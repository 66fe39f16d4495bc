//! What the bridge of the frame port tells of its stations, on its way to the router.

#[cfg(feature = "host")]
use std::time::Duration;

use tokio::sync::mpsc;

use super::BridgePort;
use crate::driver::Input;
#[cfg(feature = "host")]
use crate::host::FdbWatch;

/// Tells the router which stations its bridge has, as it changes.
#[cfg(feature = "host")]
pub(super) fn watch(bridge: BridgePort, inputs: &mpsc::Sender<Input>) {
    let inputs = inputs.clone();
    tokio::spawn(async move {
        loop {
            let mut watch = match FdbWatch::open(&bridge.bridge, &bridge.port) {
                Ok(watch) => watch,
                Err(error) => {
                    tracing::warn!("stations that leave the bridge are not noticed: {error}");
                    tokio::time::sleep(WATCH_PAUSE).await;
                    continue;
                }
            };
            loop {
                match watch.next().await {
                    Ok(changes) => {
                        if inputs.send(Input::Port(changes)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "stations that leave the bridge are not noticed");
                        break;
                    }
                }
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    });
}

/// Without netlink there is nobody to ask.
#[cfg(not(feature = "host"))]
pub(super) fn watch(_bridge: BridgePort, _inputs: &mpsc::Sender<Input>) {}

/// The bridge is asked again so long after a failure: it may have been removed, and made anew.
#[cfg(feature = "host")]
const WATCH_PAUSE: Duration = Duration::from_secs(10);
