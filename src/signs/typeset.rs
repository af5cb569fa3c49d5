//! Fonts, widths and lines: what is needed to set text before it becomes outlines.
//!
//! Widths come from the layout engine that later draws the letters, a character at a time; Chinese breaks between any two characters
//! (never before a closing mark), other languages between words. Units: a line's width in ems.

use std::collections::HashMap;
use std::sync::Arc;

use svg2pdf::usvg::{self, fontdb};

/// In order of preference; the first that is installed is used.
const CHINESE: [&str; 9] = [
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "AR PL UMing CN",
    "PingFang SC",
];
const LATIN: [&str; 8] = ["Noto Sans", "Inter", "Open Sans", "Liberation Sans", "Noto Sans CJK SC", "DejaVu Sans", "FreeSans", "Arial"];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FontError {
    #[error("no font for Chinese is installed: `apt-get install fonts-noto-cjk` (or fonts-wqy-zenhei), or print with `--language en`")]
    NoChinese,
    #[error("no font is installed: `apt-get install fonts-noto-core` (or fonts-dejavu-core)")]
    None,
    #[error("the page could not be set: {0}")]
    NotSet(String),
}

/// The machine's fonts, and the families that signs are set in.
pub struct Fonts {
    options: usvg::Options<'static>,
    latin: String,
    chinese: Option<String>,
    /// Of a character: width in ems, by (bold, character).
    widths: HashMap<(bool, char), f32>,
}

impl Fonts {
    /// Those installed on this machine.
    pub fn installed(chinese: bool) -> Result<Self, FontError> {
        let mut database = fontdb::Database::new();
        database.load_system_fonts();
        Self::of(database, chinese)
    }

    fn of(database: fontdb::Database, chinese: bool) -> Result<Self, FontError> {
        let there = |family: &&str| database.faces().any(|f| f.families.iter().any(|(name, _)| name == *family));
        let first = |families: &[&str]| families.iter().find(|f| there(f)).map(|f| (*f).to_owned());
        let found = first(&CHINESE);
        if chinese && found.is_none() {
            return Err(FontError::NoChinese);
        }
        let any = || database.faces().next().and_then(|f| f.families.first()).map(|(name, _)| name.clone());
        let latin = first(&LATIN).or_else(any).ok_or(FontError::None)?;
        let options = usvg::Options { fontdb: Arc::new(database), ..usvg::Options::default() };
        Ok(Self { options, latin, chinese: found, widths: HashMap::new() })
    }

    /// For an SVG's `font-family`.
    pub fn families(&self, chinese: bool) -> String {
        match &self.chinese {
            Some(family) if chinese => format!("'{family}', '{}'", self.latin),
            Some(family) => format!("'{}', '{family}'", self.latin),
            None => format!("'{}'", self.latin),
        }
    }

    /// The page with every letter as an outline.
    pub fn outline(&self, svg: &str) -> Result<usvg::Tree, FontError> {
        usvg::Tree::from_str(svg, &self.options).map_err(|e| FontError::NotSet(e.to_string()))
    }

    /// Measures every character of `texts` that has not been measured.
    pub fn measure<'t>(&mut self, texts: impl Iterator<Item = (bool, bool, &'t str)>) -> Result<(), FontError> {
        let mut wanted: Vec<(bool, bool, char)> = Vec::new();
        for (chinese, bold, text) in texts {
            for c in text.chars().filter(|c| !c.is_whitespace()) {
                if !self.widths.contains_key(&(bold, c)) && !wanted.iter().any(|w| (w.1, w.2) == (bold, c)) {
                    wanted.push((chinese, bold, c));
                }
            }
        }
        let mut svg = String::from(r#"<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="1000">"#);
        for (i, (chinese, bold, c)) in wanted.iter().enumerate() {
            let (families, weight) = (self.families(*chinese), if *bold { 700 } else { 400 });
            let c = escape(&c.to_string());
            svg += &format!(r#"<text id="c{i}" x="0" y="500" font-family="{families}" font-size="100" font-weight="{weight}">{c}</text>"#);
        }
        svg += "</svg>";
        let tree = self.outline(&svg)?;
        for (i, (_, bold, c)) in wanted.into_iter().enumerate() {
            let width = match tree.node_by_id(&format!("c{i}")) {
                Some(usvg::Node::Text(text)) => text.bounding_box().width() / 100.0,
                // Nothing was drawn for it: as wide as any.
                _ => 1.0,
            };
            self.widths.insert((bold, c), width);
        }
        Ok(())
    }

    /// Ems. What was not measured counts as one.
    pub fn width(&self, bold: bool, text: &str) -> f32 {
        let one = |c: char| if c.is_whitespace() { 0.28 } else { self.widths.get(&(bold, c)).copied().unwrap_or(1.0) };
        text.chars().map(one).sum()
    }

    /// `text` in lines no wider than `ems`; a word that is wider stands alone.
    pub fn lines(&self, bold: bool, text: &str, ems: f32) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        for piece in pieces(text) {
            let tried = format!("{line}{piece}");
            if !line.is_empty() && self.width(bold, tried.trim_end()) > ems {
                lines.push(line.trim_end().to_owned());
                line = piece.trim_start().to_owned();
            } else {
                line = tried;
            }
        }
        lines.push(line.trim_end().to_owned());
        lines
    }
}

/// Marks that no line begins with.
const CLOSING: &str = "，。；：、）》！？」』”,.;:)!?";
/// Marks that no line ends with.
const OPENING: &str = "（《「『“(";

/// What may stand on a line of its own: words with the blank after them, Chinese characters with the marks that belong to them.
fn pieces(text: &str) -> Vec<String> {
    let wide = |c: char| c as u32 >= 0x2e80;
    let mut pieces: Vec<String> = Vec::new();
    let mut last: Option<char> = None;
    for c in text.chars() {
        let joins = last.is_some_and(|l| {
            let within_word = !wide(l) && !wide(c) && !l.is_whitespace();
            CLOSING.contains(c) || OPENING.contains(l) || c.is_whitespace() || within_word
        });
        match pieces.last_mut() {
            Some(piece) if joins => piece.push(c),
            _ => pieces.push(c.to_string()),
        }
        last = Some(c);
    }
    pieces
}

/// For an SVG's text and attributes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fonts() -> Fonts {
        let options = usvg::Options::default();
        Fonts { options, latin: "none".to_owned(), chinese: None, widths: HashMap::new() }
    }

    #[test]
    fn lines_break_between_words_or_characters_and_not_before_closing_marks() {
        let f = fonts();
        assert_eq!(f.lines(false, "aa bb cc", 5.0), ["aa bb", "cc"]);
        assert_eq!(f.lines(false, "不保存任何信息。", 4.0), ["不保存任", "何信息。"]);
        assert_eq!(f.lines(false, "《法》第一条，第二条", 4.0).iter().filter(|l| l.starts_with(['，', '》'])).count(), 0);
        assert_eq!(f.lines(false, "unbreakable", 3.0), ["unbreakable"]);
        assert_eq!(escape("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
    }

    #[test]
    fn without_fonts_it_says_which_package_to_install() {
        let none = |chinese| Fonts::of(fontdb::Database::new(), chinese).err().expect("none").to_string();
        assert!(none(true).contains("fonts-noto-cjk") && none(true).contains("--language en"));
        assert!(none(false).contains("apt-get install"));
    }
}
