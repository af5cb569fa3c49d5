//! Takes secrets out of texts that come from elsewhere (GStreamer's messages, a peer's error) before anyone sees them.
//!
//! Invariants: what [`Redactor::clean`] returns holds no password of the stream, no `user:password@` of any address and no query of an
//! RTSP address (some cameras want a token there).

use zeroize::Zeroizing;

use super::credential::Credential;

/// What stands where a secret stood.
const MASK: &str = "•••";

/// Knows one stream's secrets.
#[derive(Default)]
pub struct Redactor {
    user: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    pub fn new(credential: Option<&Credential>) -> Self {
        let copy = |text: &str| Some(Zeroizing::new(text.to_owned())).filter(|t| !t.is_empty());
        Self { user: credential.and_then(|c| copy(c.user())), password: credential.and_then(|c| copy(c.password())) }
    }

    pub fn clean(&self, text: &str) -> String {
        let mut clean = hide_addresses(text);
        if let Some(password) = &self.password {
            clean = clean.replace(password.as_str(), MASK);
        }
        if let Some(user) = &self.user {
            clean = replace_word(&clean, user);
        }
        clean
    }
}

/// Hides user information and RTSP queries in everything that looks like an address.
fn hide_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ')' | '>')).unwrap_or(after.len());
        let (address, tail) = after.split_at(end);
        let rtsp =
            before.ends_with("rtsp://") || before.ends_with("rtsps://") || before.ends_with("rtspt://") || before.ends_with("rtspu://");
        let shown = match address.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("…@");
                host
            }
            None => address,
        };
        match shown.split_once('?') {
            Some((path, _)) if rtsp => {
                out.push_str(path);
                out.push_str("?…");
            }
            _ => out.push_str(shown),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Replaces `word` where it stands alone, so that a user called `a` does not eat every `a`.
fn replace_word(text: &str, word: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let alone = !before.ends_with(part_of_word) && !after.starts_with(part_of_word);
        out.push_str(before);
        out.push_str(if alone { MASK } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_and_tokens_go() {
        let none = Redactor::default();
        assert_eq!(none.clean("open rtsp://admin:hunter2@cam:554/x failed"), "open rtsp://…@cam:554/x failed");
        assert_eq!(none.clean("\"rtsp://a:p@ss@cam/\", http://b@c/"), "\"rtsp://…@cam/\", http://…@c/");
        assert_eq!(none.clean("(rtsp://cam/live?token=abc) x?y"), "(rtsp://cam/live?…) x?y");
        assert_eq!(none.clean("nothing :// here"), "nothing :// here");
    }

    #[test]
    fn the_stream_s_own_secrets_go_wherever_they_stand() {
        let credential = Credential::parse("ad:p4ss word").expect("well formed");
        let redactor = Redactor::new(Some(&credential));
        assert_eq!(redactor.clean("user-id=ad pw=p4ss word; address ad-hoc"), "user-id=••• pw=•••; address ad-hoc");
        assert_eq!(format!("{redactor:?}"), "Redactor");
    }
}
