//! One SOAP 1.2 question and its answer over HTTP, with the WS-Security UsernameToken that ONVIF asks for (Core Specification 5.9.4).
//!
//! Invariants: the password leaves this process as a digest only; the credential is sent to nobody but the address that the operator named
//! and addresses on the same host that it announces; an answer is at most [`MOST_BYTES`] long; a redirect is not followed.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Document;

use crate::clock::{Clock, Stamp, SystemClock, Utc, format_utc};
use crate::ingest::credential::Credential;

/// No camera's list of modules is longer.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum SoapError {
    #[error("`{0}` is not an http:// or https:// address without a user in it")]
    Address(String),
    #[error("the camera names a service on another host, `{0}`: it is not asked")]
    Elsewhere(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("the camera refuses the user or the password (HTTP {0}); give its ONVIF user in the stream's credential file")]
    Refused(u16),
    #[error("the camera answers HTTP {status}: {reason}")]
    Fault { status: u16, reason: String },
    #[error("the answer cannot be understood: {0}")]
    Answer(String),
    #[error("no random number for the question: {0}")]
    Random(String),
}

pub(super) struct Soap<'a> {
    agent: ureq::Agent,
    credential: Option<&'a Credential>,
    /// The camera's clock less ours, nanoseconds: a token made by another clock is refused.
    clock_offset_ns: i64,
    host: Option<String>,
}

impl<'a> Soap<'a> {
    pub fn new(credential: Option<&'a Credential>, answer_within: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(answer_within))
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .new_agent();
        Self { agent, credential, clock_offset_ns: 0, host: None }
    }

    /// Without the token: for the question that every camera answers, what time it has.
    pub fn call_openly(&mut self, url: &str, body: &str) -> Result<String, SoapError> {
        self.post(url, "", body)
    }

    pub fn call(&mut self, url: &str, body: &str) -> Result<String, SoapError> {
        let now = Stamp::from_ns(SystemClock.utc().ns().saturating_add(self.clock_offset_ns));
        let header = match self.credential {
            Some(credential) => {
                let mut nonce = [0; 16];
                getrandom::fill(&mut nonce).map_err(|error| SoapError::Random(error.to_string()))?;
                security(credential, &nonce, &format_utc(now))
            }
            None => String::new(),
        };
        self.post(url, &header, body)
    }

    /// From the answer to GetSystemDateAndTime. A camera without a clock, or with one that cannot be read, is taken to have ours.
    pub fn set_clock(&mut self, answer: &Document<'_>) {
        if let Some(theirs) = utc_of(answer) {
            self.clock_offset_ns = theirs.since_ns(SystemClock.utc());
        }
    }

    fn post(&mut self, url: &str, header: &str, body: &str) -> Result<String, SoapError> {
        let host = host_of(url).ok_or_else(|| SoapError::Address(url.to_owned()))?;
        if *self.host.get_or_insert_with(|| host.to_owned()) != host {
            return Err(SoapError::Elsewhere(url.to_owned()));
        }
        let envelope = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">\
             <s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        );
        let sent = self.agent.post(url).content_type("application/soap+xml; charset=utf-8").send(&envelope);
        let mut response = sent.map_err(|error| SoapError::Unreachable(error.to_string()))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_string();
        let text = text.map_err(|error| SoapError::Answer(error.to_string()))?;
        match status {
            200 => Ok(text),
            401 | 403 => Err(SoapError::Refused(status)),
            _ => Err(fault(status, &text)),
        }
    }
}

fn fault(status: u16, text: &str) -> SoapError {
    let reason = Document::parse(text).ok().and_then(|document| {
        let said = |name| document.descendants().find(|n| n.is_element() && n.tag_name().name() == name);
        // ONVIF cameras tell a refused token as a fault.
        let subcode = document.descendants().filter(|n| n.is_element() && n.tag_name().name() == "Value").filter_map(|n| n.text());
        if subcode.into_iter().any(|value| value.ends_with("NotAuthorized")) {
            return None;
        }
        Some(said("Text")?.text()?.chars().take(120).collect::<String>())
    });
    match reason {
        Some(reason) => SoapError::Fault { status, reason },
        None if text.contains("NotAuthorized") => SoapError::Refused(status),
        None => SoapError::Fault { status, reason: "without a reason".to_owned() },
    }
}

/// The host of an address that carries no user.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    // An IPv6 address stands in brackets.
    Some(match authority.rfind(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    })
}

/// `wsse:Security` with the digest of nonce, time and password.
fn security(credential: &Credential, nonce: &[u8], created: &str) -> String {
    const WSS: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss";
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(nonce);
    digest.update(created.as_bytes());
    digest.update(credential.password().as_bytes());
    let (digest, nonce) = (STANDARD.encode(digest.finish()), STANDARD.encode(nonce));
    format!(
        "<w:Security s:mustUnderstand=\"1\" xmlns:w=\"{WSS}-wssecurity-secext-1.0.xsd\" xmlns:u=\"{WSS}-wssecurity-utility-1.0.xsd\">\
         <w:UsernameToken><w:Username>{}</w:Username>\
         <w:Password Type=\"{WSS}-username-token-profile-1.0#PasswordDigest\">{digest}</w:Password>\
         <w:Nonce EncodingType=\"{WSS}-soap-message-security-1.0#Base64Binary\">{nonce}</w:Nonce>\
         <u:Created>{created}</u:Created></w:UsernameToken></w:Security>",
        escaped(credential.user())
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `tt:UTCDateTime` of an answer.
fn utc_of(answer: &Document<'_>) -> Option<Stamp<Utc>> {
    let utc = answer.descendants().find(|n| n.is_element() && n.tag_name().name() == "UTCDateTime")?;
    let number = |name: &str| -> Option<u32> {
        utc.descendants().find(|n| n.is_element() && n.tag_name().name() == name)?.text()?.trim().parse().ok()
    };
    let (year, month, day) = (number("Year")?, number("Month")?, number("Day")?);
    let (hour, minute, second) = (number("Hour")?, number("Minute")?, number("Second")?);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    text.parse::<crate::policy::when::When>().ok().map(|when| when.at())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_of_the_specification_s_example() {
        // ONVIF Programmer's Guide, 6.1.1.3: nonce, time and password "userpassword".
        let nonce = STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").expect("base64");
        let credential = Credential::parse("user:userpassword").expect("a credential");
        let header = security(&credential, &nonce, "2010-09-16T07:50:45Z");
        assert!(header.contains(">tuOSpGlFlIXsozq4HFNeeGeFLEI=<"), "{header}");
        assert!(!header.contains("userpassword"), "the password itself is never sent");
    }

    #[test]
    fn hosts_are_compared_and_addresses_with_users_refused() {
        assert_eq!(host_of("http://192.0.2.7:8080/onvif"), Some("192.0.2.7"));
        assert_eq!(host_of("https://[2001:db8::1]:443/x"), Some("[2001:db8::1]"));
        for bad in ["rtsp://a/", "http://", "http://me:secret@a/", "a.example"] {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_envelope() {
        assert_eq!(escaped("a<b>&\"c"), "a&lt;b&gt;&amp;&quot;c");
    }
}
