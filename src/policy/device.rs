//! Cameras that think for themselves (C02): a device whose own face analytics or whose own recording is on keeps and finds what no permit
//! was given for, whatever Placard does with its picture. So a stream whose `[[device]]` names an ONVIF service counts only while that
//! service was asked and said that neither is on. What cannot be asked is not known, and what is not known is off.

use std::time::Duration;

use super::facts::{Device, Register};
use super::observed::{DeviceFinding, Moment};
use super::rules::{Reason, Rule};

/// How long an answer counts: two rounds, and a minute for a device that is slow to answer.
pub fn counts_for(check_every_s: u32) -> Duration {
    Duration::from_secs(2 * u64::from(check_every_s) + 60)
}

/// How long it counts whose connection a stream has: it is looked at every second, but for a camera that is slow to answer.
const LOOKED_AT_FOR: Duration = Duration::from_secs(60);

/// Whether nothing speaks against the device that delivers `stream`.
pub fn device_holds(register: &Register, stream: &str, moment: Moment<'_>) -> Result<(), Reason> {
    let no = |fact: String, remedy: &str| Err(Reason::new(Rule::DeviceClean, fact, remedy));
    let mut devices = register.devices.iter().filter(|d| d.stream == stream).peekable();
    if devices.peek().is_none() && register.rules.registered_devices_only {
        return no(format!("no device is recorded for stream `{stream}`"), "record a [[device]] for it");
    }
    for device in devices {
        certificate_holds(device, moment)?;
        let Some(service) = &device.onvif else { continue };
        let Some(answer) = moment.observed.devices.get(stream) else {
            return no(format!("the camera of stream `{stream}` has not been asked yet what it does by itself ({service})"), "wait");
        };
        let age_ns = moment.now.monotonic.since_ns(answer.at);
        if u128::try_from(age_ns).is_ok_and(|age| age > counts_for(device.check_every_s).as_nanos()) {
            let fact =
                format!("the camera of stream `{stream}` has not been asked for {} s what it does by itself", age_ns / 1_000_000_000);
            return no(fact, "see the service's log: its device thread does not get through");
        }
        match &answer.what {
            DeviceFinding::Clean => {}
            DeviceFinding::FaceAnalytics(name) => {
                let fact = format!("the camera of stream `{stream}` looks for faces by itself (`{name}`)");
                return no(fact, "remove that analytics module or rule in the camera's settings; it is asked again by itself");
            }
            DeviceFinding::Records(job) => {
                let fact = format!("the camera of stream `{stream}` records by itself (job `{job}`)");
                return no(fact, "end its recording to card or network share; it is asked again by itself");
            }
            DeviceFinding::NoAnswer(why) => {
                let fact = format!("the camera of stream `{stream}` does not say what it does by itself: {why}");
                return no(fact, "mend the way to its ONVIF service, or take `onvif` out of its [[device]] (two people's decision)");
            }
        }
    }
    Ok(())
}

/// Whether the stream's connection is with the camera that was recorded.
fn certificate_holds(device: &Device, moment: Moment<'_>) -> Result<(), Reason> {
    let (Some(pin), stream) = (&device.tls_sha256, device.stream.as_str()) else { return Ok(()) };
    let no = |fact: String, remedy: &str| Err(Reason::new(Rule::DeviceClean, fact, remedy));
    let Some(shown) = moment.observed.certificates.get(stream) else {
        let fact = format!("the camera of stream `{stream}` has shown no certificate, and its [[device]] names one");
        return no(fact, "connect it by rtsps://, and see `placard status` for what is wrong with the connection");
    };
    if shown.what != *pin {
        let fact = format!("the camera of stream `{stream}` shows the certificate {}, and its [[device]] names {pin}", shown.what);
        return no(fact, "if the camera was exchanged, record its certificate (two people's decision); if not, somebody is between");
    }
    let age_ns = moment.now.monotonic.since_ns(shown.at);
    if u128::try_from(age_ns).is_ok_and(|age| age > LOOKED_AT_FOR.as_nanos()) {
        let fact = format!("nobody has looked for {} s whose connection stream `{stream}` has", age_ns / 1_000_000_000);
        return no(fact, "see the service's log: its device thread does not get through");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::good;
    use super::super::facts::{Capability, Device};
    use super::super::observed::{At, Observed};
    use super::*;
    use crate::clock::{Now, Stamp};

    fn verdict(finding: Option<DeviceFinding>, asked_s_ago: i64, only: bool) -> Result<(), Reason> {
        let mut register = good();
        register.rules.registered_devices_only = only;
        if !only {
            let onvif = Some("http://192.0.2.7/onvif/device_service".to_owned());
            register.devices.push(Device {
                stream: "north".into(),
                capability: Capability::Camera,
                onvif,
                tls_sha256: None,
                check_every_s: 300,
            });
        }
        let mut observed = Observed::default();
        let now = Now { monotonic: Stamp::from_ns(10_000_000_000_000), utc: Stamp::from_ns(0) };
        let at = Stamp::from_ns(now.monotonic.ns() - asked_s_ago * 1_000_000_000);
        observed.devices.extend(finding.map(|what| ("north".into(), At { what, at })));
        device_holds(&register, "north", Moment { now, observed: &observed })
    }

    #[test]
    fn only_a_device_that_said_it_is_clean_not_long_ago_counts() {
        assert_eq!(verdict(Some(DeviceFinding::Clean), 660, false), Ok(()));
        let refused = |finding, age| verdict(finding, age, false).expect_err("refused").to_string();
        assert!(refused(Some(DeviceFinding::Clean), 661).contains("661 s"));
        assert!(refused(None, 0).contains("has not been asked yet"));
        assert!(refused(Some(DeviceFinding::FaceAnalytics("tt:FaceRecognition".into())), 0).contains("tt:FaceRecognition"));
        assert!(refused(Some(DeviceFinding::Records("job-1".into())), 0).contains("job-1"));
        assert!(refused(Some(DeviceFinding::NoAnswer("401".into())), 0).contains("401"));
        assert!(verdict(None, 0, true).expect_err("none recorded").to_string().contains("[[device]]"));
    }

    #[test]
    fn a_device_s_connection_counts_only_while_it_is_with_the_certificate_that_was_recorded() {
        let mut register = good();
        let pin = Some("ab".repeat(32));
        register.devices.push(Device {
            stream: "north".into(),
            capability: Capability::Camera,
            onvif: None,
            tls_sha256: pin,
            check_every_s: 300,
        });
        let now = Now { monotonic: Stamp::from_ns(1_000_000_000_000), utc: Stamp::from_ns(0) };
        let verdict = |shown: Option<&str>, seen_s_ago: i64| {
            let mut observed = Observed::default();
            let at = Stamp::from_ns(now.monotonic.ns() - seen_s_ago * 1_000_000_000);
            observed.certificates.extend(shown.map(|byte| ("north".into(), At { what: byte.repeat(32), at })));
            device_holds(&register, "north", Moment { now, observed: &observed }).map_err(|reason| reason.to_string())
        };
        assert_eq!(verdict(Some("ab"), 60), Ok(()));
        assert!(verdict(Some("ab"), 61).expect_err("nobody looked").contains("61 s"));
        assert!(verdict(Some("ac"), 0).expect_err("another").contains(&"ac".repeat(32)));
        assert!(verdict(None, 0).expect_err("none").contains("shown no certificate"));
        // What is asked for without anybody observing: all that the register asks about is as it should be.
        let utc = Stamp::from_ns(0);
        assert_eq!(device_holds(&register, "north", Observed::all_well(&register).on(utc)), Ok(()));
    }
}
