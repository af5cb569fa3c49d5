//! NumPy's `.npy` files, as far as templates come in them: two dimensions, `<f4`, rows one after the other.
//!
//! ```text
//! 0  93 "NUMPY" · 6 u8 major, u8 minor · 8 length of the text: u16 (version 1) or u32 (2, 3), little endian
//! …  text: {'descr': '<f4', 'fortran_order': False, 'shape': (ROWS, VALUES), }   then the values
//! ```
//!
//! Anything else is refused with what to do about it. Every length is checked before it is used: the text has [`MAX_TEXT`] bytes at most, and
//! rows and values must make the file exactly as long as it is.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// Bytes of the text.
const MAX_TEXT: usize = 4_096;
/// Values of a row, and rows.
const MAX_VALUES: u64 = 4_096;
const MAX_ROWS: u64 = 100_000_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    #[error("is no .npy file: it does not begin as one")]
    Magic,
    #[error("ends within its first {0} bytes")]
    Short(usize),
    #[error("is of .npy version {0}, which is none of 1, 2, 3")]
    Version(u8),
    #[error("has a header of {0} bytes: at most {MAX_TEXT} are read")]
    LongText(usize),
    #[error("has a header that cannot be read: {0}")]
    Text(&'static str),
    #[error("holds values of type {0}: save it again as `array.astype('<f4')`")]
    Type(String),
    #[error("is in column order: save it again as `numpy.ascontiguousarray(array)`")]
    Fortran,
    #[error("is of shape {0}: (rows, values) is needed, at most {MAX_ROWS} rows of {MAX_VALUES} values")]
    Shape(String),
    #[error("has {found} bytes, its header says {want}")]
    Length { found: u64, want: u64 },
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub rows: u64,
    pub values: usize,
    /// Where the values begin.
    pub begins_at: u64,
}

/// Reads the header, which `bytes` begins with.
pub fn header(bytes: &[u8]) -> Result<Shape, NpyError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(NpyError::Magic);
    }
    let short = NpyError::Short(bytes.len());
    let (major, length) = match bytes.get(6..12).ok_or(short.clone())? {
        [1, _, a, b, ..] => (1, usize::from(u16::from_le_bytes([*a, *b]))),
        [major @ (2 | 3), _, a, b, c, d] => (*major, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        [major, ..] => return Err(NpyError::Version(*major)),
        [] => return Err(short),
    };
    if length > MAX_TEXT {
        return Err(NpyError::LongText(length));
    }
    let from = if major == 1 { 10 } else { 12 };
    let text = bytes.get(from..from + length).ok_or(short)?;
    let text = std::str::from_utf8(text).map_err(|_| NpyError::Text("it is no text"))?;
    let (rows, values) = described(text)?;
    Ok(Shape { rows, values, begins_at: (from + length) as u64 })
}

/// The dictionary's three entries, whatever their order.
fn described(text: &str) -> Result<(u64, usize), NpyError> {
    let inner = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or(NpyError::Text("it is no dictionary"))?;
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or(NpyError::Text("an entry without a value"))?;
        let after = after.trim_start();
        let end = match after.as_bytes().first() {
            Some(b'(') => after.find(')').map(|end| end + 1),
            _ => Some(after.find(',').unwrap_or(after.len())),
        };
        let value = after.get(..end.ok_or(NpyError::Text("a bracket is not closed"))?).unwrap_or_default().trim();
        let place = match key.trim() {
            "'descr'" | "\"descr\"" => &mut descr,
            "'fortran_order'" | "\"fortran_order\"" => &mut fortran,
            "'shape'" | "\"shape\"" => &mut shape,
            _ => return Err(NpyError::Text("an entry of another name than descr, fortran_order, shape")),
        };
        if place.replace(value).is_some() {
            return Err(NpyError::Text("an entry twice"));
        }
        rest = after.get(end.unwrap_or(after.len())..).unwrap_or_default().trim_start().trim_start_matches(',').trim_start();
    }
    let missing = NpyError::Text("one of descr, fortran_order, shape is missing");
    let descr = descr.ok_or(missing.clone())?;
    if !["'<f4'", "\"<f4\""].contains(&descr) {
        return Err(NpyError::Type(descr.chars().take(40).collect()));
    }
    match fortran.ok_or(missing.clone())? {
        "False" => {}
        "True" => return Err(NpyError::Fortran),
        _ => return Err(NpyError::Text("fortran_order is neither True nor False")),
    }
    let shape = shape.ok_or(missing)?;
    let refused = || NpyError::Shape(shape.chars().take(60).collect());
    let inner = shape.strip_prefix('(').and_then(|s| s.strip_suffix(')')).ok_or_else(refused)?;
    let numbers: Vec<u64> =
        inner.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().map_err(|_| refused())).collect::<Result<_, _>>()?;
    match numbers[..] {
        [rows, values] if rows <= MAX_ROWS && (1..=MAX_VALUES).contains(&values) => {
            Ok((rows, usize::try_from(values).map_err(|_| refused())?))
        }
        _ => Err(refused()),
    }
}

/// A file that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{} {error}", path.display())]
    Refused { path: PathBuf, error: NpyError },
}

/// An open file of templates. What was read is wiped with it.
pub struct Rows {
    path: PathBuf,
    shape: Shape,
    reader: BufReader<std::fs::File>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Rows {
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::Read { path: path.to_owned(), error };
        let refused = |error| FileError::Refused { path: path.to_owned(), error };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        let mut begin = Vec::with_capacity(MAX_TEXT + 12);
        Read::by_ref(&mut file).take((MAX_TEXT + 12) as u64).read_to_end(&mut begin).map_err(failed)?;
        let shape = header(&begin).map_err(refused)?;
        let want = shape.begins_at + shape.rows * shape.values as u64 * 4;
        if found != want {
            return Err(refused(NpyError::Length { found, want }));
        }
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(shape.begins_at)).map_err(failed)?;
        let bytes = Zeroizing::new(vec![0; shape.values * 4]);
        Ok(Self { path: path.to_owned(), shape, reader: BufReader::with_capacity(1 << 20, file), bytes })
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The next row's values.
    pub fn read(&mut self) -> Result<Zeroizing<Vec<f32>>, FileError> {
        self.reader.read_exact(&mut self.bytes).map_err(|error| FileError::Read { path: self.path.clone(), error })?;
        let mut values = Zeroizing::new(Vec::with_capacity(self.shape.values));
        values.extend(self.bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)));
        self.bytes.zeroize();
        self.bytes.resize(self.shape.values * 4, 0);
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, text: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        let length = u32::try_from(text.len()).expect("short");
        bytes.extend(&length.to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn what_numpy_writes_is_read_and_anything_else_is_refused_with_the_remedy() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 512), }     \n";
        assert_eq!(header(&file(1, good)), Ok(Shape { rows: 100_000, values: 512, begins_at: 10 + good.len() as u64 }));
        assert_eq!(header(&file(3, good)).map(|s| s.begins_at), Ok(12 + good.len() as u64));
        let other_order = "{'shape':(3,4),'fortran_order':False,'descr':'<f4'}";
        assert_eq!(header(&file(2, other_order)).map(|s| (s.rows, s.values)), Ok((3, 4)));
        let with = |from: &str, to: &str| header(&file(1, &good.replace(from, to))).expect_err(to);
        assert!(matches!(with("<f4", "<f8"), NpyError::Type(_)) && with("<f4", "<f8").to_string().contains("astype"));
        assert!(matches!(with("<f4", "|O"), NpyError::Type(_)));
        assert_eq!(with("False", "True"), NpyError::Fortran);
        for shape in
            ["(5,)", "()", "(1, 2, 3)", "(1, 0)", "(1, 5000)", "(999999999, 4)", "(-1, 4)", "(1e3, 4)", "(18446744073709551616, 4)", "7"]
        {
            assert!(matches!(with("(100000, 512)", shape), NpyError::Shape(_)), "{shape}");
        }
        for text in ["", "{", "{}", "{'descr': '<f4'}", "{'descr'}", "{'shape': (1", "{'a': 1}", "{'descr': '<f4', 'descr': '<f4'}"] {
            assert!(header(&file(1, text)).is_err(), "{text}");
        }
        let whole = file(1, good);
        (0..whole.len()).for_each(|length| assert!(header(&whole[..length]).is_err(), "{length} bytes"));
        assert_eq!(header(&file(9, good)), Err(NpyError::Version(9)));
    }

    #[test]
    fn a_file_must_be_as_long_as_it_says() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("t.npy");
        let mut bytes = file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
        bytes.extend((0..6_u8).flat_map(|n| f32::from(n).to_le_bytes()));
        std::fs::write(&path, &bytes).expect("written");
        let mut rows = Rows::open(&path).expect("opens");
        assert_eq!([rows.read().expect("row").to_vec(), rows.read().expect("row").to_vec()], [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        assert!(rows.read().is_err());
        for length in [bytes.len() - 1, bytes.len() + 4] {
            let mut other = bytes.clone();
            other.resize(length, 0);
            std::fs::write(&path, other).expect("written");
            assert!(matches!(Rows::open(&path), Err(FileError::Refused { error: NpyError::Length { .. }, .. })));
        }
    }
}
