//! The pictogram: a camera that looks at a face, in the manner of ISO 7010. Drawn by us, in a square of 100 by 100, one colour on its ground.
//!
//! No registered symbol exists for face recognition; this one follows the rules of those that do (one plain figure, bold strokes, no
//! detail that is lost at a distance).

/// As SVG elements; `ink` on `ground`.
pub fn draw(ink: &str, ground: &str) -> String {
    format!(
        r#"<g fill="none" stroke="{ink}" stroke-width="5" stroke-linecap="round" stroke-linejoin="round">
<path d="M38 34 V27 Q38 22 43 22 M85 22 Q90 22 90 27 V34 M90 80 V87 Q90 92 85 92 M43 92 Q38 92 38 87 V80" stroke-width="4.6"/>
</g>
<path d="M64 33 C53.5 33 47.5 41 47.5 51.5 C47.5 64 55 76.5 64 76.5 C73 76.5 80.5 64 80.5 51.5 C80.5 41 74.5 33 64 33 Z" fill="{ink}"/>
<path d="M46 92 C47 83 53.5 79.5 58 78.5 C60 80.3 62 81 64 81 C66 81 68 80.3 70 78.5 C74.5 79.5 81 83 82 92 Z" fill="{ink}"/>
<g fill="{ground}">
<circle cx="57.6" cy="51.5" r="2.9"/>
<circle cx="70.4" cy="51.5" r="2.9"/>
</g>
<path d="M64 53 V60.5 M58.8 67.6 H69.2" fill="none" stroke="{ground}" stroke-width="2.6" stroke-linecap="round"/>
<g transform="translate(6 6) rotate(24 15 14)">
<path d="M2 7.5 Q2 4 5.5 4 H27 Q30.5 4 30.5 7.5 V18.5 Q30.5 22 27 22 H5.5 Q2 22 2 18.5 Z" fill="{ink}" stroke="{ground}" stroke-width="2.4"/>
<path d="M31.6 7.2 L39 5.2 V20.8 L31.6 18.8 Z" fill="{ink}" stroke="{ink}" stroke-width="1.2" stroke-linejoin="round"/>
<circle cx="20.5" cy="13" r="4.6" fill="{ground}"/>
<circle cx="20.5" cy="13" r="2" fill="{ink}"/>
</g>
<path d="M6 37 V30.5 Q6 27.5 9 26.5 L14 24.5 M1.6 38 H12.4" fill="none" stroke="{ink}" stroke-width="4.2" stroke-linecap="round"/>"#
    )
}
