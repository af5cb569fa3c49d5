//! The page's frame: escaping, sections, figures, the style sheet.

/// Laid out for a screen of any width and for paper.
const STYLE: &str = include_str!("report.css");

/// Markup as it grows.
#[derive(Default)]
pub struct Page {
    body: String,
}

impl Page {
    pub fn add(&mut self, markup: &str) {
        self.body.push_str(markup);
        self.body.push('\n');
    }

    /// A section with a heading and a sentence that says what it shows (markup).
    pub fn section(&mut self, id: &str, title: &str, lead: &str, inner: &str) {
        self.add(&format!("<section id=\"{id}\"><h2>{}</h2><p class=\"lead\">{lead}</p>\n{inner}</section>", escape(title)));
    }

    pub fn finish(self, title: &str) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n{}</main></body></html>\n",
            escape(title),
            self.body
        )
    }
}

/// Text for an element or an attribute in double quotes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text in which `words` between backticks become code.
pub fn with_code(text: &str) -> String {
    let parts = escape(text);
    let coded = parts.split('`').enumerate().map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() });
    coded.collect()
}

/// A figure and what it counts.
pub fn figure(value: &str, what: &str, kind: &str) -> String {
    format!("<div class=\"figure {kind}\"><b>{}</b><span>{}</span></div>", escape(value), escape(what))
}

/// Rows of cells (markup); the first row is the heading. Cells from `numbers` on are set as figures.
pub fn table(rows: &[Vec<String>], numbers: usize) -> String {
    let row = |(number, cells): (usize, &Vec<String>)| {
        let tag = if number == 0 { "th" } else { "td" };
        let cell = |(i, text): (usize, &String)| {
            let class = if i >= numbers { " class=\"number\"" } else { "" };
            format!("<{tag}{class}>{text}</{tag}>")
        };
        format!("<tr>{}</tr>", cells.iter().enumerate().map(cell).collect::<String>())
    };
    format!("<div class=\"wide\"><table>{}</table></div>", rows.iter().enumerate().map(row).collect::<String>())
}

/// A picture that is part of the page.
pub fn picture(data: &str, alt: &str, class: &str) -> String {
    format!("<img class=\"{class}\" alt=\"{}\" src=\"{data}\">", escape(alt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_told_becomes_markup() {
        let mut page = Page::default();
        page.section("streams", "A < B", "lead", &table(&[vec!["a".to_owned()], vec![escape("\"<b>\"")]], 1));
        let page = page.finish("t");
        assert!(page.contains("A &lt; B") && page.contains("&quot;&lt;b&gt;&quot;") && page.starts_with("<!doctype html>"));
        assert_eq!(with_code("run `placard <x>` now"), "run <code>placard &lt;x&gt;</code> now");
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"), "the style sheet fetches nothing");
    }
}
