//! One sealed template as it lies in the vault.
//!
//! ```text
//! 0      u16 LE   header length H
//! 2      H bytes  header: JSON, readable; it is the associated data of what follows
//! 2+H    sealed   nonce (12) | template, f32 little endian × dim | tag (16)
//! ```
//!
//! Invariant: the header names subject, purpose and ordinal, and so does the row's key; both must agree, and the header is bound to the
//! template by the AEAD. So a row that was moved to another purpose, subject or expiry does not open.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::seal::{SealError, SealingKey};
use super::{SubjectId, TemplateModel};
use crate::purpose::Purpose;

/// Of a record that is written now. One of format 1 names no zones, and is read as what it is: to be searched for wherever its purpose is granted.
pub(super) const FORMAT: u16 = 2;

/// How a template came to be. Closed (C27): a record that names another channel, such as e-mail, does not open. There is none for cameras:
/// nobody is enrolled from a stream (C09).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// An image file that an operator handed over.
    ImageFile,
    /// A template that was made elsewhere, with the same model, and that an operator handed over in a file: no picture was seen here.
    TemplateFile,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub format: u16,
    pub subject: SubjectId,
    pub purpose: Purpose,
    /// Which of the subject's templates for this purpose.
    pub ordinal: u8,
    pub model: String,
    pub model_sha256: String,
    pub dim: usize,
    /// Unix time, UTC.
    pub enrolled_at_ns: i64,
    pub expires_at_ns: i64,
    pub channel: Channel,
    /// Id of the consent that it rests on, if it rests on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    /// Where a template file came from, in the words of who handed it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Zones that it may be searched for in, sorted, each once. Unset in format 1, and there alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<Vec<String>>,
}

impl Header {
    pub fn is_of(&self, model: &TemplateModel) -> bool {
        *self.model == *model.name && *self.model_sha256 == *model.sha256 && self.dim == model.dim
    }

    /// Seals `template` under the subject's key. None of the plain bytes survive the call.
    pub fn seal(&self, key: &SealingKey, template: &[f32]) -> Result<Vec<u8>, SealError> {
        let header = serde_json::to_vec(self).map_err(|_| SealError::Library("write a record's header"))?;
        let length = u16::try_from(header.len()).map_err(|_| SealError::Library("fit a record's header into 64 KiB"))?;
        let mut plain = Zeroizing::new(Vec::with_capacity(size_of_val(template)));
        for value in template {
            let mut bytes = value.to_le_bytes();
            plain.extend_from_slice(&bytes);
            bytes.zeroize();
        }
        let sealed = key.seal(&header, &plain)?;
        let mut record = Vec::with_capacity(2 + header.len() + sealed.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&header);
        record.extend_from_slice(&sealed);
        Ok(record)
    }
}

/// A record whose header was read and found to belong where it lies. It is not authentic before [`Record::open`] succeeded.
pub(super) struct Record<'a> {
    pub header: Header,
    bound: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Record<'a> {
    /// `key` is the row's key: (purpose, subject, ordinal).
    pub fn parse(bytes: &'a [u8], key: (&str, &str, u8)) -> Result<Self, SealError> {
        let record = Self::read(bytes)?;
        let Header { subject, purpose, ordinal, .. } = &record.header;
        let at_home = purpose.to_string() == key.0 && *subject.0 == *key.1 && *ordinal == key.2;
        if at_home { Ok(record) } else { Err(SealError::NotAuthentic) }
    }

    /// Wherever it lies: whoever calls compares its header with the place.
    pub fn read(bytes: &'a [u8]) -> Result<Self, SealError> {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(SealError::NotAuthentic)?;
        let (bound, sealed) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(SealError::NotAuthentic)?;
        let header: Header = serde_json::from_slice(bound).map_err(|_| SealError::NotAuthentic)?;
        let known = match (header.format, &header.zones) {
            (1, None) => true,
            (FORMAT, Some(zones)) => zones.is_sorted_by(|a, b| a < b),
            _ => false,
        };
        if known { Ok(Self { header, bound, sealed }) } else { Err(SealError::NotAuthentic) }
    }

    pub fn open(&self, key: &SealingKey) -> Result<Zeroizing<Vec<f32>>, SealError> {
        let plain = key.open(self.bound, self.sealed)?;
        if plain.len() != self.header.dim.saturating_mul(4) {
            return Err(SealError::NotAuthentic);
        }
        let (values, _) = plain.as_chunks::<4>();
        let mut template = Zeroizing::new(Vec::with_capacity(values.len()));
        template.extend(values.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_its_zones_and_one_of_the_first_format_none() {
        let key = SealingKey::new(&[7; 32]).expect("key");
        let zones = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let read = |format, zones: Option<Vec<String>>| {
            let header = Header {
                format,
                subject: SubjectId("0123456789abcdef0123456789abcdef".into()),
                purpose: "missing-person:mp-7".parse().expect("purpose"),
                ordinal: 0,
                model: "m".into(),
                model_sha256: "aa".into(),
                dim: 1,
                enrolled_at_ns: 1,
                expires_at_ns: 2,
                channel: Channel::ImageFile,
                consent: None,
                source: None,
                zones,
            };
            let sealed = header.seal(&key, &[1.0]).expect("sealed");
            Record::read(&sealed).is_ok_and(|record| record.open(&key).is_ok())
        };
        assert!(read(1, None) && read(2, zones(&["hall", "stairs"])) && read(2, zones(&[])));
        assert!(!read(1, zones(&["hall"])) && !read(2, None) && !read(3, zones(&[])));
        assert!(!read(2, zones(&["stairs", "hall"])) && !read(2, zones(&["hall", "hall"])));
    }

    #[test]
    fn pictures_come_over_the_desk_and_by_no_other_way() {
        assert_eq!(serde_json::to_string(&[Channel::ImageFile, Channel::TemplateFile]).expect("text"), r#"["image-file","template-file"]"#);
        for other in ["e-mail", "email", "camera", "stream", "web", "Image-File", ""] {
            assert!(serde_json::from_value::<Channel>(other.into()).is_err(), "{other} must not be a channel");
        }
    }
}
