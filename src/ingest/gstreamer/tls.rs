//! With whom a camera's connection is (C02): `rtsps://`.
//!
//! A stream that pins a certificate (`tls_sha256`) takes that one and no other, whoever signed it: cameras sign their own. A stream that
//! pins none takes what the machine's certificate authorities vouch for. Either way it is noted whose connection it is, for the register's
//! `[[device]]`, whose pin two people signed (`policy/device.rs`).
//!
//! GLib asks a handler only about certificates that it does not trust. So it is given a list of authorities that vouches for nobody, and
//! every certificate is asked about, before user and password are sent. A connection that resumes an earlier one shows none and is not asked
//! about: it is with whom that one was with, which is remembered by address, and before its first picture counts it is judged by that.
//!
//! Over TLS pictures travel in the connection: apart from it, over UDP, they would come in clear from anybody.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use gio::prelude::*;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::GObjectExtManualGst as _;
use nix::sys::memfd::{MFdFlags, memfd_create};
use parking_lot::Mutex;

use super::super::health::StreamHealth;

/// The list of authorities (an empty one GLib takes for damaged): a certificate that may sign nothing, ran out the day after it was made,
/// and whose key was thrown away.
const NOBODY: &str = include_str!("nobody.pem");
/// By address: the certificate that was last accepted. GLib resumes sessions of this process alone.
static ACCEPTED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
/// RFC 5280, 4.2.1.12: id-kp-serverAuth.
const SERVER_AUTHENTICATION: &str = "1.3.6.1.5.5.7.3.1";

/// Decides about every certificate that `source`, an `rtspsrc`, is shown. `pin`: SHA-256 of the certificate (DER), lower-case hex digits.
pub(super) fn watch(source: &gst::Element, pin: Option<&str>, health: &Arc<StreamHealth>) -> Result<(), String> {
    source.set_property("tls-database", &vouching_for_nobody()?);
    source.set_property_from_str("protocols", "tcp");
    let address = address_of(source);
    health.expects_certificate(address.clone());
    let (pin, health) = (pin.map(str::to_owned), Arc::clone(health));
    source.connect("accept-certificate", false, move |values| {
        let connection = values.get(1).and_then(|v| v.get::<gio::TlsConnection>().ok());
        let certificate = values.get(2).and_then(|v| v.get::<gio::TlsCertificate>().ok());
        let accepted = match (connection, certificate) {
            (Some(connection), Some(certificate)) => accept(&connection, &certificate, pin.as_deref(), &health, &address),
            _ => false,
        };
        Some(accepted.to_value())
    });
    Ok(())
}

fn vouching_for_nobody() -> Result<gio::TlsFileDatabase, String> {
    let in_memory = || -> std::io::Result<std::fs::File> {
        let mut file = std::fs::File::from(memfd_create(c"authorities", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(NOBODY.as_bytes())?;
        Ok(file)
    };
    let file = in_memory().map_err(|e| format!("the list of authorities cannot be kept in memory: {e}"))?;
    // Read at once: the file may go afterwards.
    gio::TlsFileDatabase::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|e| format!("GLib has no TLS, or reads no certificates ({e}): install the package glib-networking"))
}

fn accept(
    connection: &gio::TlsConnection,
    certificate: &gio::TlsCertificate,
    pin: Option<&str>,
    health: &StreamHealth,
    address: &str,
) -> bool {
    let Some(der) = certificate.certificate() else {
        health.refused_certificate("the camera showed a certificate that cannot be read".to_owned());
        return false;
    };
    let seen = crate::hex::sha256(&der);
    let objection = match pin {
        Some(pin) if pin == seen => None,
        Some(pin) => Some(format!(
            "the camera showed the certificate {seen}, and tls_sha256 pins {pin}: the camera or its certificate was exchanged, or somebody is \
             between; once you know which, pin the new one"
        )),
        None => distrust(connection, certificate).map(|why| {
            format!("the camera showed the certificate {seen}, {why}: if it is this camera's own, pin it with tls_sha256 = \"{seen}\"")
        }),
    };
    match objection {
        None => {
            ACCEPTED.lock().insert(address.to_owned(), seen.clone());
            health.accepted_certificate(seen);
        }
        Some(why) => {
            health.refused_certificate(why);
            return false;
        }
    }
    true
}

/// Host and port, as the address names them.
fn address_of(source: &gst::Element) -> String {
    let url = source.property::<Option<glib::GString>>("location").unwrap_or_default();
    let after = url.split_once("://").map_or("", |(_, rest)| rest);
    after.split(['/', '?']).next().unwrap_or_default().to_ascii_lowercase()
}

/// Before the first picture of a connection counts: whose it is, where nobody was asked because it resumed an earlier one.
pub(in super::super) fn settle(health: &StreamHealth, pin: Option<&str>) -> Result<(), String> {
    let Some(address) = health.certificate_expected() else { return Ok(()) };
    if health.certificate().is_some() {
        return Ok(());
    }
    let known = ACCEPTED.lock().get(&address).cloned();
    match (known, pin) {
        (Some(known), Some(pin)) if known != pin => Err(format!(
            "the connection resumes one with the certificate {known}, and tls_sha256 pins {pin}: restart the service, or wait until the camera \
             forgets it"
        )),
        (Some(known), _) => {
            health.accepted_certificate(known);
            Ok(())
        }
        (None, _) => Err("the camera has shown no certificate: restart the service".to_owned()),
    }
}

/// Why the machine's certificate authorities do not vouch for it; `None`: they do.
fn distrust(connection: &gio::TlsConnection, certificate: &gio::TlsCertificate) -> Option<String> {
    let authorities = gio::TlsBackend::default().default_database();
    let identity = connection.downcast_ref::<gio::TlsClientConnection>().and_then(TlsClientConnectionExt::server_identity);
    let Some(identity) = identity else { return Some("whose name is not known".to_owned()) };
    let flags = gio::TlsDatabaseVerifyFlags::NONE;
    let verdict = authorities.verify_chain(
        certificate,
        SERVER_AUTHENTICATION,
        Some(&identity),
        None::<&gio::TlsInteraction>,
        flags,
        None::<&gio::Cancellable>,
    );
    match verdict {
        Ok(wrong) if wrong.is_empty() => None,
        Ok(wrong) => Some(format!("for which no certificate authority of this machine vouches ({})", words(wrong))),
        Err(error) => Some(format!("which could not be judged ({error})")),
    }
}

fn words(wrong: gio::TlsCertificateFlags) -> String {
    let names = [
        (gio::TlsCertificateFlags::UNKNOWN_CA, "unknown authority"),
        (gio::TlsCertificateFlags::BAD_IDENTITY, "another name"),
        (gio::TlsCertificateFlags::NOT_ACTIVATED, "not valid yet"),
        (gio::TlsCertificateFlags::EXPIRED, "expired"),
        (gio::TlsCertificateFlags::REVOKED, "revoked"),
        (gio::TlsCertificateFlags::INSECURE, "weak"),
    ];
    let found: Vec<&str> = names.iter().filter(|(flag, _)| wrong.contains(*flag)).map(|(_, name)| *name).collect();
    if found.is_empty() { "for a reason that GLib does not name".to_owned() } else { found.join(", ") }
}

/// Whether an `rtspsrc` is told to speak TLS.
pub(super) fn is_asked_for(source: &gst::Element) -> bool {
    source.property::<Option<glib::GString>>("location").is_some_and(|url| url.starts_with("rtsps"))
}
