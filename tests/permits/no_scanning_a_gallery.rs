//! Scans are the gallery's own: outside nobody has one in hand, or can name what searches it.

use placard::gallery::Scan;
use placard::gallery::exact::ExactScan;

fn main() {}
