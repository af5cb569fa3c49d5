//! `source = "…"` of a stream, parsed.
//!
//! Invariants: a [`SourceSpec`] never holds a user name or password, and its `Display` (what status pages, logs and errors show) never
//! shows the query of an address, where some cameras want a token. Paths are resolved against the pipeline file's directory; neither
//! `~` nor environment variables are expanded.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// More turns than this are not held in memory, and nobody waits for them to come again.
const MAX_TURNS: u32 = 64;

/// What may be on a scene's sign, and what may happen to it.
const ACTS: [&str; 5] = ["sign", "covered", "foreign", "moved", "panned"];

/// A share from 0 to 1, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u16);

impl Share {
    pub fn as_f32(self) -> f32 {
        f32::from(self.0) / 1_000.0
    }
}

impl std::str::FromStr for Share {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let share = text.parse::<f32>().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or(())?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        Ok(Self((share * 1_000.0).round() as u16))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f32())
    }
}

/// Where a stream's frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// `rtsp://` or `rtsps://`, without user and password.
    Rtsp { url: String },
    /// A capture device, as an absolute path.
    V4l2 { device: PathBuf },
    /// A clip.
    File { path: PathBuf },
    /// A still picture.
    Image { path: PathBuf },
    /// The rendered concourse. After `turns` turns the same people walk the same ways again; `None`: never. `masked`: how many wear a mask;
    /// `None`: as many as the scene has it. `acts`: what is on its sign, and what happens to it (`render/acts.rs`), by name.
    Rendered { scene: String, seed: u64, turns: Option<NonZeroU32>, masked: Option<Share>, acts: Vec<(String, String)> },
    /// Only the stream's own fragment (`gst = "…"`) says.
    Gst,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error(
        "`{0}` is not a source: use rtsp://HOST/PATH, rtsps://…, v4l2:/dev/videoN, file:PATH, image:PATH, rendered:SCENE?seed=N, or `gst` with the fragment in `gst`"
    )]
    Unknown(String),
    #[error("the address holds a user or password: put `user:password` into a file of mode 0600 and name it in `credential_file`")]
    UserInfo,
    #[error("`{0}` names no host: write rtsp://HOST/PATH or rtsp://HOST:PORT/PATH")]
    NoHost(String),
    #[error("port `{0}` is not a number from 1 to 65535")]
    Port(String),
    #[error("the address holds a blank or a control character")]
    Blank,
    #[error("`{0}:` names no file: write `{0}:PATH`")]
    NoPath(&'static str),
    #[error("`{0}` is not a capture device: write v4l2:/dev/videoN (an absolute path)")]
    Device(String),
    #[error("`~` is not expanded: write the whole path, or one relative to this file")]
    Tilde,
    #[error("scene `{0}`: 1 to 64 letters, digits, `-`, `_`")]
    Scene(String),
    #[error(
        "`{0}` is not understood: `?seed=N` (0 to 18446744073709551615), `turns=N` (1 to {MAX_TURNS}) and `masked=SHARE` (0 to 1), and what happens to its sign (docs/rendered.md), joined by `&`, may follow a scene"
    )]
    Query(String),
}

impl SourceSpec {
    /// Parses `text`; relative paths start at `base`, the directory of the pipeline file.
    pub fn parse(text: &str, base: &Path) -> Result<Self, SourceError> {
        if text == "gst" {
            return Ok(Self::Gst);
        }
        if text.starts_with("rtsp://") || text.starts_with("rtsps://") {
            return check_address(text).map(|()| Self::Rtsp { url: text.to_owned() });
        }
        let unknown = || SourceError::Unknown(shorten(text));
        let (scheme, rest) = text.split_once(':').ok_or_else(unknown)?;
        match scheme {
            "v4l2" if rest.starts_with('/') => Ok(Self::V4l2 { device: PathBuf::from(rest) }),
            "v4l2" => Err(SourceError::Device(shorten(rest))),
            "file" => Ok(Self::File { path: resolve_file("file", rest, base)? }),
            "image" => Ok(Self::Image { path: resolve_file("image", rest, base)? }),
            "rendered" => parse_rendered(rest),
            _ => Err(unknown()),
        }
    }

    /// The part before the colon, as status and metrics name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rtsp { .. } => "rtsp",
            Self::V4l2 { .. } => "v4l2",
            Self::File { .. } => "file",
            Self::Image { .. } => "image",
            Self::Rendered { .. } => "rendered",
            Self::Gst => "gst",
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtsp { url } => match url.split_once('?') {
                Some((address, _)) => write!(f, "{address}?…"),
                None => f.write_str(url),
            },
            Self::V4l2 { device } => write!(f, "v4l2:{}", device.display()),
            Self::File { path } => write!(f, "file:{}", path.display()),
            Self::Image { path } => write!(f, "image:{}", path.display()),
            Self::Rendered { scene, seed, turns, masked, acts } => {
                write!(f, "rendered:{scene}?seed={seed}")?;
                turns.iter().try_for_each(|turns| write!(f, "&turns={turns}"))?;
                masked.iter().try_for_each(|masked| write!(f, "&masked={masked}"))?;
                // A sign's code is long.
                acts.iter().try_for_each(|(name, value)| write!(f, "&{name}={}", if name == "sign" { "…" } else { value }))
            }
            Self::Gst => f.write_str("gst"),
        }
    }
}

/// A path as the operator wrote it, resolved against the pipeline file's directory.
pub fn resolve(written: &Path, base: &Path) -> Result<PathBuf, SourceError> {
    if written.starts_with("~") || written.to_str().is_some_and(|p| p.starts_with('~')) {
        return Err(SourceError::Tilde);
    }
    Ok(if written.is_absolute() { written.to_owned() } else { base.join(written) })
}

fn resolve_file(scheme: &'static str, rest: &str, base: &Path) -> Result<PathBuf, SourceError> {
    // `file:///path` is how GStreamer writes it; with a host it would be somebody else's file.
    let path = match rest.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err(SourceError::Unknown(shorten(&format!("{scheme}:{rest}")))),
        None => rest,
    };
    if path.is_empty() {
        return Err(SourceError::NoPath(scheme));
    }
    resolve(Path::new(path), base)
}

/// Refuses user information and what cannot be an address; leaves the rest to the RTSP client.
pub(super) fn check_address(url: &str) -> Result<(), SourceError> {
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SourceError::Blank);
    }
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password may hold an unescaped `/` or `?`, which moves the `@` out of the authority: refuse that too, before any `?`'s value.
    if authority.contains('@') || rest.split('?').next().unwrap_or_default().contains('@') {
        return Err(SourceError::UserInfo);
    }
    // `[::1]:554`: the colons within brackets are the address's own.
    let after_brackets = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    let (host_end, port) = after_brackets.split_once(':').map_or((after_brackets, None), |(host, port)| (host, Some(port)));
    if host_end.is_empty() && !authority.starts_with('[') {
        return Err(SourceError::NoHost(shorten(url)));
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(_) => Err(SourceError::Port(shorten(port.unwrap_or_default()))),
    }
}

fn parse_rendered(rest: &str) -> Result<SourceSpec, SourceError> {
    let (scene, query) = rest.split_once('?').map_or((rest, None), |(scene, query)| (scene, Some(query)));
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if scene.is_empty() || scene.len() > 64 || !scene.chars().all(good) {
        return Err(SourceError::Scene(shorten(scene)));
    }
    let (mut seed, mut turns, mut masked, mut acts) = (None, None, None, Vec::new());
    for part in query.iter().flat_map(|query| query.split('&')) {
        let bad = || SourceError::Query(shorten(part));
        match part.split_once('=') {
            Some(("seed", value)) if seed.is_none() => seed = Some(value.parse().map_err(|_not_a_number| bad())?),
            Some(("turns", value)) if turns.is_none() => {
                turns = Some(value.parse().ok().filter(|turns: &NonZeroU32| turns.get() <= MAX_TURNS).ok_or_else(bad)?);
            }
            Some(("masked", value)) if masked.is_none() => masked = Some(value.parse().map_err(|()| bad())?),
            Some((name, value)) if ACTS.contains(&name) => acts.push((name.to_owned(), value.to_owned())),
            _ => return Err(bad()),
        }
    }
    Ok(SourceSpec::Rendered { scene: scene.to_owned(), seed: seed.unwrap_or(0), turns, masked, acts })
}

/// What an operator wrote, short enough for one line of an error. An unknown source may still be a mistyped address with a password in
/// it, so nothing up to its last `@` is repeated.
fn shorten(text: &str) -> String {
    let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, after)| format!("…@{after}"));
    if shown.chars().count() <= 80 { shown } else { shown.chars().take(79).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceSpec, SourceError> {
        SourceSpec::parse(text, Path::new("/etc/placard"))
    }

    #[test]
    fn every_kind_of_source_parses_and_prints_itself() {
        let same = [
            "rtsp://10.0.0.7/stream1",
            "rtsps://cam.example:322/main",
            "rtsp://[fe80::1]:8554/a",
            "v4l2:/dev/video0",
            "v4l2:/dev/v4l/by-id/usb-cam-video-index0",
            "file:/srv/clip.mp4",
            "image:/srv/still.jpg",
            "rendered:concourse-1?seed=7",
            "rendered:gates?seed=0&turns=2",
            "rendered:gates?seed=3&turns=1&masked=0.5",
            "rendered:gates?seed=3&masked=1",
            "gst",
        ];
        for text in same {
            let spec = parse(text).expect(text);
            assert_eq!(spec.to_string(), text);
            assert!(text.starts_with(spec.kind()), "{text}");
        }
        assert_eq!(parse("file:clips/a.mkv"), Ok(SourceSpec::File { path: "/etc/placard/clips/a.mkv".into() }));
        assert_eq!(parse("file:///srv/a.mkv"), Ok(SourceSpec::File { path: "/srv/a.mkv".into() }));
        assert_eq!(
            parse("rendered:hall"),
            Ok(SourceSpec::Rendered { scene: "hall".into(), seed: 0, turns: None, masked: None, acts: Vec::new() })
        );
        let text = "rendered:hall?seed=1&sign=PLACARD1:A B%$&covered=3-9&moved=12-";
        assert_eq!(parse(text).expect("a source").to_string(), "rendered:hall?seed=1&sign=…&covered=3-9&moved=12-");
    }

    #[test]
    fn nothing_secret_is_taken_or_shown() {
        for url in ["rtsp://admin:hunter2@10.0.0.7/", "rtsp://admin@cam/", "rtsp://u:p/hunter2@cam/x", "rtsps://a:b%40@[::1]/"] {
            assert_eq!(parse(url), Err(SourceError::UserInfo), "{url}");
        }
        let unknown = parse("rtps://admin:hunter2@cam/").expect_err("mistyped scheme").to_string();
        assert!(!unknown.contains("hunter2") && unknown.contains("…@cam/"), "{unknown}");
        let spec = parse("rtsp://cam/live?token=hunter2").expect("a query is the camera's business");
        assert_eq!(spec.to_string(), "rtsp://cam/live?…");
        // An `@` in a query is no user information.
        assert!(parse("rtsp://cam/live?id=a@b").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = [
            ("http://cam/", "is not a source"),
            ("", "is not a source"),
            ("/dev/video0", "is not a source"),
            ("v4l2:video0", "absolute path"),
            ("v4l2:", "absolute path"),
            ("file:", "names no file"),
            ("file://host/clip.mp4", "is not a source"),
            ("image:~/still.jpg", "`~` is not expanded"),
            ("rtsp:///path", "names no host"),
            ("rtsp://:554/path", "names no host"),
            ("rtsp://cam:port/", "port `port`"),
            ("rtsp://cam:0/", "port `0`"),
            ("rtsp://cam/a b", "blank"),
            ("rendered:", "scene ``"),
            ("rendered:a/b", "scene `a/b`"),
            ("rendered:hall?speed=2", "?seed=N"),
            ("rendered:hall?seed=-1", "?seed=N"),
            ("rendered:hall?turns=0", "`turns=0`"),
            ("rendered:hall?turns=1&turns=2", "`turns=2`"),
            ("rendered:hall?masked=1.01", "`masked=1.01`"),
            ("rendered:hall?masked=nan", "`masked=nan`"),
        ];
        for (text, reason) in refused {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
