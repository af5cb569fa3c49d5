//! A sign on paper: the notice laid out, the code large, everything as outlines, so that a print shop needs none of our fonts.
//!
//! Laid out in millimetres on A3 upright and scaled to the paper asked for. The code with its quiet border takes two fifths of the width
//! (never less than a quarter). Text is set as large as there is room for, and down to [`SMALLEST`] where there is little; below that the sheet is refused, because a sign that
//! cannot be read is none. Colours: safety blue and white of ISO 3864, black modules on white.

use svg2pdf::usvg::WriteOptions;
use svg2pdf::{ConversionOptions, PageOptions};

use super::code::{self, CodeError};
use super::notice::{Notice, Part};
use super::pictogram;
use super::typeset::{FontError, Fonts, escape};
use super::wording::Language;
use crate::clock::{Stamp, Utc, format_utc};

/// A3 upright, mm: what the layout is made for.
const WIDTH: f32 = 297.0;
const HEIGHT: f32 = 420.0;
const MARGIN: f32 = 17.0;
/// With the quiet border.
const CODE: f32 = 118.0;
const QUIET_MODULES: f32 = 4.0;
/// Of the size that texts are meant to have.
const LARGEST: f32 = 1.24;
const SMALLEST: f32 = 0.62;
const BLUE: &str = "#154889";
const INK: &str = "#14171c";
const GREY: &str = "#59616d";

#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    #[error(transparent)]
    Font(#[from] FontError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error(
        "the words of sign `{0}` do not fit on a sheet at a size that can be read: shorten controller and contact, or print fewer languages"
    )]
    TooMuch(String),
    #[error("the PDF could not be made: {0}")]
    Pdf(String),
}

/// What paper; A-sizes are alike, so a sheet is drawn once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Paper {
    A0,
    A1,
    A2,
    A3,
    A4,
}

impl Paper {
    /// mm.
    pub const fn size(self) -> (f32, f32) {
        match self {
            Self::A0 => (841.0, 1_189.0),
            Self::A1 => (594.0, 841.0),
            Self::A2 => (420.0, 594.0),
            Self::A3 => (WIDTH, HEIGHT),
            Self::A4 => (210.0, 297.0),
        }
    }
}

/// What is to be drawn.
pub struct Sheet<'a> {
    pub notice: &'a Notice,
    /// The code's text; `None`: a draft, which says so across the page and has no code.
    pub code: Option<&'a str>,
    pub issued: Stamp<Utc>,
    pub paper: Paper,
}

/// A sheet in both forms.
pub struct Printed {
    pub svg: String,
    pub pdf: Vec<u8>,
    /// Width of one of the code's modules, mm; what a camera must resolve.
    pub module_mm: Option<f32>,
}

/// How a run of text looks. Sizes in mm.
#[derive(Clone, Copy)]
struct Style {
    size: f32,
    bold: bool,
    colour: &'static str,
}

const fn plain(size: f32, colour: &'static str) -> Style {
    Style { size, bold: false, colour }
}
const fn bold(size: f32, colour: &'static str) -> Style {
    Style { size, bold: true, colour }
}

/// The sheet while it is drawn.
struct Page<'f> {
    fonts: &'f Fonts,
    svg: String,
    /// Texts are set at this share of their sizes.
    scale: f32,
}

impl Page<'_> {
    /// `text` in lines between `x` and `x + width`, the first one's top at `y`; answers the last one's bottom.
    fn write(&mut self, text: &str, language: Language, style: Style, (x, y): (f32, f32), width: f32) -> f32 {
        let chinese = language == Language::Chinese;
        let size = style.size * self.scale;
        let leading = size * if chinese { 1.42 } else { 1.32 };
        let mut baseline = y + size * 0.88;
        let lines = self.fonts.lines(style.bold, text, width / size);
        for line in &lines {
            self.line(line, chinese, style, (x, baseline));
            baseline += leading;
        }
        y + leading * lines.len() as f32
    }

    fn line(&mut self, text: &str, chinese: bool, style: Style, (x, baseline): (f32, f32)) {
        let (families, size, weight) = (self.fonts.families(chinese), style.size * self.scale, if style.bold { 700 } else { 400 });
        // Many a Chinese font has no bold: an outline of its own colour makes it one.
        let stroke = if style.bold && chinese {
            format!(r#" stroke="{}" stroke-width="{:.2}" stroke-linejoin="round""#, style.colour, size * 0.018)
        } else {
            String::new()
        };
        self.svg += &format!(
            "<text x=\"{x:.2}\" y=\"{baseline:.2}\" font-family=\"{families}\" font-size=\"{size:.2}\" font-weight=\"{weight}\" fill=\"{}\"{stroke}>{}</text>\n",
            style.colour,
            escape(text)
        );
    }

    fn rectangle(&mut self, [x, y, w, h]: [f32; 4], radius: f32, fill: &str) {
        self.svg += &format!("<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" rx=\"{radius}\" fill=\"{fill}\"/>\n");
    }

    /// The blue head: pictogram and headings; answers its bottom.
    fn head(&mut self, notice: &Notice) -> f32 {
        let (side, top) = (96.0, 18.0);
        let width = WIDTH - 2.0 * MARGIN - side - 13.0;
        let x = MARGIN + side + 13.0;
        // The headings go on top of the ground, whose height they decide.
        let before = self.svg.len();
        let used = self.headings(notice, (x, 0.0), width);
        self.svg.truncate(before);
        let height = used.max(side) + 2.0 * top;
        self.rectangle([0.0, 0.0, WIDTH, height], 0.0, BLUE);
        let above = (height - side) / 2.0;
        self.rectangle([MARGIN, above, side, side], 9.0, "#ffffff");
        self.svg += &format!("<g transform=\"translate({} {}) scale({})\">", MARGIN + 6.0, above + 5.0, (side - 11.0) / 100.0);
        self.svg += &pictogram::draw(BLUE, "#ffffff");
        self.svg += "</g>\n";
        self.headings(notice, (x, (height - used) / 2.0), width);
        height
    }

    /// Heading and lead in each language; answers the last one's bottom.
    fn headings(&mut self, notice: &Notice, (x, y): (f32, f32), width: f32) -> f32 {
        let mut y = y;
        for (i, part) in notice.parts.iter().enumerate() {
            let (mut size, lines) = match (part.language, i) {
                (Language::Chinese, _) => (25.0, 1),
                (Language::English, 0) => (23.0, 2),
                (Language::English, _) => (15.5, 1),
            };
            while size > 8.0 && self.fonts.lines(true, part.said.heading, width / (size * self.scale)).len() > lines {
                size -= 0.25;
            }
            let lead = if i == 0 { plain(6.9, "#ffffff") } else { plain(5.4, "#dbe6f5") };
            y += if i > 0 { 6.5 } else { 0.0 };
            y = self.write(part.said.heading, part.language, bold(size, "#ffffff"), (x, y), width) + 0.5;
            y = self.write(part.said.lead, part.language, lead, (x, y), width);
        }
        y
    }

    /// A label in all languages, and under it what it stands for in each; answers the bottom.
    fn field(&mut self, label: &str, said: &[(Language, String)], first: Style, (x, y): (f32, f32), width: f32) -> f32 {
        let language = said.first().map_or(Language::English, |s| s.0);
        let mut y = self.write(label, language, bold(5.0, BLUE), (x, y), width) + 0.8;
        for (i, (language, text)) in said.iter().enumerate() {
            let style = if i == 0 { first } else { plain(5.3, GREY) };
            y = self.write(text, *language, style, (x, y), width) + 0.6;
        }
        y + 6.2 * self.scale
    }

    fn fields(&mut self, notice: &Notice, (x, y): (f32, f32), width: f32) -> f32 {
        let label = |of: fn(&Part) -> &'static str| notice.parts.iter().map(of).collect::<Vec<_>>().join("  ");
        let each = |of: &dyn Fn(&Part) -> String| notice.parts.iter().map(|p| (p.language, of(p))).collect::<Vec<_>>();
        let once = |text: &str| notice.parts.first().map(|p| (p.language, text.to_owned())).into_iter().collect::<Vec<_>>();
        let joined = |p: &Part| p.purposes.join(if p.language == Language::Chinese { "；" } else { "; " });
        let (strong, fine) = (bold(7.2, INK), plain(5.6, INK));
        let mut y = self.field(&label(|p| p.wording.purpose_label), &each(&joined), strong, (x, y), width);
        y = self.field(&label(|p| p.wording.controller_label), &once(&notice.controller), strong, (x, y), width);
        y = self.field(&label(|p| p.wording.contact_label), &once(&notice.contact), strong, (x, y), width);
        if let Some(page) = &notice.status_page {
            y = self.field(&label(|p| p.wording.status_label), &once(page), strong, (x, y), width);
        }
        self.field(&label(|p| p.wording.basis_label), &each(&|p: &Part| p.said.basis.to_owned()), fine, (x, y), width)
    }

    /// The code on white with its quiet border, or where it would be; answers the bottom of what is said under it.
    fn code(&mut self, modules: Option<&[Vec<bool>]>, notice: &Notice, (x, y): (f32, f32)) -> f32 {
        self.rectangle([x, y, CODE, CODE], 0.0, "#ffffff");
        match modules {
            Some(rows) => {
                let module = module_mm(rows.len());
                let mut path = String::new();
                for (row, cells) in rows.iter().enumerate() {
                    let mut from = 0;
                    while let Some(start) = cells[from..].iter().position(|dark| *dark).map(|p| p + from) {
                        let run = cells[start..].iter().take_while(|dark| **dark).count();
                        path += &format!("M{start} {row}h{run}v1h-{run}z");
                        from = start + run;
                    }
                }
                let inset = QUIET_MODULES * module;
                self.svg += &format!(
                    "<path transform=\"translate({:.3} {:.3}) scale({module:.5})\" d=\"{path}\" fill=\"#000000\" shape-rendering=\"crispEdges\"/>\n",
                    x + inset,
                    y + inset
                );
            }
            None => self.rectangle([x + 10.0, y + 10.0, CODE - 20.0, CODE - 20.0], 3.0, "#e3e7ec"),
        }
        let mut below = y + CODE;
        for part in &notice.parts {
            let size = if part.language == Language::Chinese { 4.6 } else { 4.3 };
            let inset = 11.0;
            below = self.write(part.code, part.language, plain(size, GREY), (x + inset, below), CODE - 2.0 * inset);
        }
        below
    }

    /// Rights side by side on a pale ground; answers the bottom.
    fn rights(&mut self, notice: &Notice, y: f32) -> f32 {
        let (columns, gap, pad) = (notice.parts.len().max(1), 12.0, 9.0);
        let width = (WIDTH - 2.0 * MARGIN - 2.0 * pad - gap * (columns as f32 - 1.0)) / columns as f32;
        let kept = self.svg.len();
        let bottom = self.rights_columns(notice, (y + pad, pad), (width, gap));
        let drawn = self.svg.split_off(kept);
        self.rectangle([MARGIN, y, WIDTH - 2.0 * MARGIN, bottom + pad - 3.0 - y], 5.0, "#eef3fa");
        self.svg += &drawn;
        bottom + pad - 3.0
    }

    fn rights_columns(&mut self, notice: &Notice, (y, pad): (f32, f32), (width, gap): (f32, f32)) -> f32 {
        let mut bottom = y;
        for (i, part) in notice.parts.iter().enumerate() {
            let x = MARGIN + pad + i as f32 * (width + gap);
            let chinese = part.language == Language::Chinese;
            let mut at = self.write(part.wording.rights_label, part.language, bold(6.0, BLUE), (x, y), width) + 1.6;
            let size = if chinese { 5.4 } else { 5.0 };
            for right in part.wording.rights {
                let middle = at + size * self.scale * 0.55;
                self.svg += &format!("<circle cx=\"{:.2}\" cy=\"{middle:.2}\" r=\"1\" fill=\"{BLUE}\"/>\n", x + 1.2);
                at = self.write(right, part.language, plain(size, INK), (x + 5.0, at), width - 5.0) + 1.4;
            }
            bottom = bottom.max(at);
        }
        bottom
    }

    fn foot(&mut self, sheet: &Sheet) {
        let notice = sheet.notice;
        let date = format_utc(sheet.issued);
        let words = crate::hex::of(&code::words_digest(&notice.text()));
        let (left, right) = (
            format!("{} · {} · {}", notice.sign, notice.zone, notice.site),
            format!("{} · {} · {words}", date.get(..10).unwrap_or_default(), notice.regime),
        );
        let style = Style { size: 3.5 / self.scale, bold: false, colour: GREY };
        let baseline = HEIGHT - 9.0;
        self.line(&left, false, style, (MARGIN, baseline));
        let width = self.fonts.width(false, &right) * 3.5;
        self.line(&right, false, style, (WIDTH - MARGIN - width, baseline));
    }
}

fn module_mm(modules: usize) -> f32 {
    CODE / (modules as f32 + 2.0 * QUIET_MODULES)
}

impl Sheet<'_> {
    /// Draws it; fonts are those of this machine.
    pub fn print(&self) -> Result<Printed, SheetError> {
        let mut fonts = Fonts::installed(self.notice.has(Language::Chinese))?;
        self.print_with(&mut fonts)
    }

    fn print_with(&self, fonts: &mut Fonts) -> Result<Printed, SheetError> {
        let modules = self.code.map(code::modules).transpose()?;
        self.measure(fonts)?;
        let mut scale = LARGEST;
        let svg = loop {
            if let Some(svg) = self.laid_out(fonts, modules.as_deref(), scale) {
                break svg;
            }
            scale *= 0.97;
            if scale < SMALLEST {
                return Err(SheetError::TooMuch(self.notice.sign.clone()));
            }
        };
        let tree = fonts.outline(&svg)?;
        let written = tree.to_string(&WriteOptions { preserve_text: false, ..WriteOptions::default() });
        let conversion = ConversionOptions { embed_text: false, ..ConversionOptions::default() };
        // usvg counts in 96ths of an inch.
        let pdf = svg2pdf::to_pdf(&tree, conversion, PageOptions { dpi: 96.0 }).map_err(|e| SheetError::Pdf(e.to_string()))?;
        let size = self.paper.size().0 / WIDTH;
        Ok(Printed { svg: written, pdf, module_mm: modules.map(|rows| module_mm(rows.len()) * size) })
    }

    fn measure(&self, fonts: &mut Fonts) -> Result<(), FontError> {
        let notice = self.notice;
        let text = notice.text();
        let foot = format!("{} {} {} {} 0123456789abcdef·-", notice.sign, notice.zone, notice.site, notice.regime);
        let first = notice.has(Language::Chinese);
        let codes = notice.parts.iter().map(|p| (p.language == Language::Chinese, false, p.code));
        let all = [(first, false, text.as_str()), (first, true, text.as_str()), (false, false, foot.as_str())];
        fonts.measure(all.into_iter().chain(codes))
    }

    /// `None` where it does not fit at this scale.
    fn laid_out(&self, fonts: &Fonts, modules: Option<&[Vec<bool>]>, scale: f32) -> Option<String> {
        let (width, height) = self.paper.size();
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\n"
        );
        let mut page = Page { fonts, svg, scale };
        page.rectangle([0.0, 0.0, WIDTH, HEIGHT], 0.0, "#ffffff");
        let body = page.head(self.notice) + 12.0;
        // Its dark modules end where everything else does.
        let code_x = WIDTH - MARGIN - CODE + 9.5;
        let fields = page.fields(self.notice, (MARGIN, body), code_x - MARGIN - 2.0);
        let code = page.code(modules, self.notice, (code_x, body - 8.0));
        let kept = page.svg.len();
        let used = page.rights(self.notice, 0.0);
        page.svg.truncate(kept);
        let room = HEIGHT - 18.0 - fields.max(code + 5.0);
        if room < used {
            return None;
        }
        // At the foot of the page, whatever is above it.
        page.rights(self.notice, HEIGHT - 18.0 - used);
        page.foot(self);
        if self.code.is_none() {
            page.svg += &format!("<g transform=\"translate({} {}) rotate(-28)\" opacity=\"0.22\">", MARGIN + 12.0, HEIGHT * 0.78);
            let style = Style { size: 74.0 / scale, bold: true, colour: "#c3122f" };
            page.line("DRAFT", false, style, (0.0, 0.0));
            page.svg += "</g>\n";
        }
        page.svg += "</svg>\n";
        Some(page.svg)
    }
}

#[cfg(test)]
mod tests;
