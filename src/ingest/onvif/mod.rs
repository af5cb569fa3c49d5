//! Asks a camera over ONVIF what it does by itself: whether a face analytics module or rule is configured, whether a recording job of its
//! own is active (C02). Profile M is the one that announces such modules; cameras of Profile T or S have them too, so it is not the
//! profile that is asked for but the modules.
//!
//! ```text
//! GetServices ─▶ media, media2 ─▶ analytics configurations: modules and rules whose name or type speaks of faces ─▶ FaceAnalytics
//!             └▶ recording     ─▶ GetRecordingJobs: one that is Active ─────────────────────────────────────────▶ Records
//! ```
//!
//! A service that the camera does not have is not asked. One that it has and that does not answer leaves the question open, which the
//! caller takes for *no*. Answers are bounded in size and time, and read by a parser that expands no entities. Sources: ONVIF Core
//! Specification 5 (services, UsernameToken), Media Service 5.9, Media2 Service 5.3, Analytics Service 5.3, Recording Control 5.15.
//!
//! Runs on the device thread of the appliance, or of `placard device`.

mod soap;

use std::time::Duration;

use roxmltree::{Document, Node};

use super::credential::Credential;
use crate::policy::observed::DeviceFinding;
use soap::{Soap, SoapError};

const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
const MEDIA: &str = "http://www.onvif.org/ver10/media/wsdl";
const MEDIA2: &str = "http://www.onvif.org/ver20/media/wsdl";
const RECORDING: &str = "http://www.onvif.org/ver10/recording/wsdl";

/// What a module's or rule's name and type are searched for, in lower case; cameras for the Chinese market name theirs 人脸.
const FACES: [&str; 2] = ["face", "人脸"];

/// Longest wait for one answer.
pub const ANSWER: Duration = Duration::from_secs(5);

/// Asks the camera whose device service is at `url`.
pub fn ask(url: &str, credential: Option<&Credential>) -> DeviceFinding {
    Camera { soap: Soap::new(credential, ANSWER) }.ask(url).unwrap_or_else(|error| DeviceFinding::NoAnswer(error.to_string()))
}

struct Camera<'a> {
    soap: Soap<'a>,
}

impl Camera<'_> {
    fn ask(&mut self, url: &str) -> Result<DeviceFinding, SoapError> {
        let clock = self.soap.call_openly(url, &format!("<t:GetSystemDateAndTime xmlns:t=\"{DEVICE}\"/>"))?;
        self.soap.set_clock(&parsed(&clock)?);
        let services = self
            .soap
            .call(url, &format!("<t:GetServices xmlns:t=\"{DEVICE}\"><t:IncludeCapability>false</t:IncludeCapability></t:GetServices>"))?;
        let services = services_of(&parsed(&services)?);
        if services.is_empty() {
            return Err(SoapError::Answer("GetServices names no service".to_owned()));
        }
        let at = |namespace: &str| services.iter().find(|s| s.namespace == namespace).map(|s| s.address.as_str());
        if at(MEDIA).or(at(MEDIA2)).is_none() {
            // A camera has one: without it nothing says that it does not look for faces.
            return Err(SoapError::Answer(
                "GetServices names no media service, which would say whether its face analytics are on".to_owned(),
            ));
        }
        for (address, namespace, question) in
            [(at(MEDIA), MEDIA, "GetVideoAnalyticsConfigurations"), (at(MEDIA2), MEDIA2, "GetAnalyticsConfigurations")]
        {
            let Some(address) = address else { continue };
            let answer = self.soap.call(address, &format!("<t:{question} xmlns:t=\"{namespace}\"/>"))?;
            if let Some(name) = face_module(&parsed(&answer)?) {
                return Ok(DeviceFinding::FaceAnalytics(name));
            }
        }
        if let Some(address) = at(RECORDING) {
            let answer = self.soap.call(address, &format!("<t:GetRecordingJobs xmlns:t=\"{RECORDING}\"/>"))?;
            if let Some(job) = active_job(&parsed(&answer)?) {
                return Ok(DeviceFinding::Records(job));
            }
        }
        Ok(DeviceFinding::Clean)
    }
}

fn parsed(text: &str) -> Result<Document<'_>, SoapError> {
    Document::parse(text).map_err(|error| SoapError::Answer(format!("not XML: {error}")))
}

/// All elements of this name, whatever prefix the camera chose.
fn all<'a, 'd>(document: &'a Document<'d>, name: &'static str) -> impl Iterator<Item = Node<'a, 'd>> {
    document.descendants().filter(move |node| node.is_element() && node.tag_name().name() == name)
}

fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.descendants().find(|n| n.is_element() && n.tag_name().name() == name)?.text().map(str::trim)
}

struct Service {
    namespace: String,
    address: String,
}

fn services_of(document: &Document<'_>) -> Vec<Service> {
    let service = |node| Some(Service { namespace: text_of(node, "Namespace")?.to_owned(), address: text_of(node, "XAddr")?.to_owned() });
    all(document, "Service").filter_map(service).collect()
}

/// The first module or rule that speaks of faces: its type where it has one, else its name.
fn face_module(document: &Document<'_>) -> Option<String> {
    let mut found = all(document, "AnalyticsModule").chain(all(document, "Rule"));
    found.find_map(|node| {
        let said = [node.attribute("Type"), node.attribute("Name")];
        let speaks = |text: &&str| FACES.iter().any(|face| text.to_lowercase().contains(face));
        said.into_iter().flatten().find(speaks).map(short)
    })
}

fn active_job(document: &Document<'_>) -> Option<String> {
    let active = |node: &Node<'_, '_>| text_of(*node, "Mode").is_some_and(|mode| mode.eq_ignore_ascii_case("active"));
    all(document, "JobItem").find(active).map(|node| short(text_of(node, "JobToken").unwrap_or("without a token")))
}

/// What a camera says of itself goes into reasons and logs: short, and on one line.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_rules_are_judged_by_type_and_name_whatever_the_prefixes() {
        let xml = |inner: &str| {
            format!("<x:E xmlns:x=\"u\" xmlns:tt=\"v\"><tt:AnalyticsEngineConfiguration>{inner}</tt:AnalyticsEngineConfiguration></x:E>")
        };
        let module = |inner: &str| face_module(&Document::parse(&xml(inner)).expect("XML"));
        assert_eq!(module("<tt:AnalyticsModule Name=\"Motion\" Type=\"tt:CellMotionEngine\"/>"), None);
        assert_eq!(module("<tt:AnalyticsModule Name=\"a\" Type=\"axt:FaceRecognition\"/>").as_deref(), Some("axt:FaceRecognition"));
        assert_eq!(module("<x:Rule Name=\"人脸抓拍\" Type=\"hik:Smart\"/>").as_deref(), Some("人脸抓拍"));
        assert_eq!(module(&format!("<x:Rule Name=\"FACE{}\"/>", "x".repeat(500))).map(|n| n.len()), Some(80));
    }

    #[test]
    fn an_idle_job_records_nothing() {
        let jobs = |mode: &str| {
            format!("<a><JobItem><JobToken>j1</JobToken><JobConfiguration><Mode>{mode}</Mode></JobConfiguration></JobItem></a>")
        };
        assert_eq!(active_job(&Document::parse(&jobs("Idle")).expect("XML")), None);
        assert_eq!(active_job(&Document::parse(&jobs("Active")).expect("XML")).as_deref(), Some("j1"));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        assert!(matches!(parsed("<html>"), Err(SoapError::Answer(_))));
        assert!(matches!(ask("ftp://192.0.2.1/", None), DeviceFinding::NoAnswer(_)));
    }
}
