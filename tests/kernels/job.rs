//! A job for the runner: buffers, launches, seeds; and what came of it. The format is at the head of `kernels/host/runner.cpp`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::compiler::Runner;

/// Orders of threads: 0 is in order, 1 the other way round, the others are drawn.
pub const SEEDS: std::ops::Range<u64> = 0..10;

/// A buffer of a job.
#[derive(Clone, Copy, Debug)]
pub struct Buffer(u32);

/// What a kernel is called with.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A value's bytes, and how many of them.
    Value([u8; 8], u32),
    /// A buffer from a byte on.
    At(Buffer, u64),
    Null,
}

impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        Self::Value(u64::from(value).to_le_bytes(), 4)
    }
}
impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self::from(value.to_bits())
    }
}
impl From<u64> for Argument {
    fn from(value: u64) -> Self {
        Self::Value(value.to_le_bytes(), 8)
    }
}
impl From<i64> for Argument {
    fn from(value: i64) -> Self {
        Self::Value(value.to_le_bytes(), 8)
    }
}
impl From<Buffer> for Argument {
    fn from(buffer: Buffer) -> Self {
        Self::At(buffer, 0)
    }
}

/// Values as a buffer's bytes.
pub fn bytes<T: Copy, const N: usize>(values: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| to_bytes(*value)).collect()
}

/// A barrier or a wait of a kernel: file and line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    pub file: String,
    pub line: u32,
}

/// Blocks of a grid, threads of a block, and what the kernel is called with.
#[derive(Clone)]
struct Launch {
    kernel: String,
    grid: [u32; 3],
    block: [u32; 3],
    arguments: Vec<Argument>,
}

#[derive(Clone, Default)]
pub struct Job {
    buffers: Vec<(bool, Vec<u8>)>,
    pointers: Vec<(Buffer, u64, Buffer, u64)>,
    launches: Vec<Launch>,
}

/// What one order of threads left in the wanted buffers.
pub struct Outputs<'a> {
    job: &'a Job,
    bytes: &'a [u8],
}

impl Outputs<'_> {
    pub fn bytes(&self, buffer: Buffer) -> &[u8] {
        let before = &self.job.buffers[..buffer.0 as usize];
        let start = before.iter().filter(|(wanted, _)| *wanted).map(|(_, bytes)| bytes.len()).sum::<usize>();
        let (wanted, bytes) = &self.job.buffers[buffer.0 as usize];
        assert!(*wanted, "{buffer:?} is an input");
        &self.bytes[start..start + bytes.len()]
    }
    pub fn values<T, const N: usize>(&self, buffer: Buffer, from_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.bytes(buffer).as_chunks::<N>().0.iter().map(|chunk| from_bytes(*chunk)).collect()
    }
    pub fn u32s(&self, buffer: Buffer) -> Vec<u32> {
        self.values(buffer, u32::from_le_bytes)
    }
    pub fn f32s(&self, buffer: Buffer) -> Vec<f32> {
        self.values(buffer, f32::from_le_bytes)
    }
}

impl Job {
    pub fn input(&mut self, bytes: Vec<u8>) -> Buffer {
        self.buffers.push((false, bytes));
        Buffer(u32::try_from(self.buffers.len() - 1).expect("few buffers"))
    }

    /// Read back afterwards.
    pub fn output(&mut self, bytes: Vec<u8>) -> Buffer {
        let buffer = self.input(bytes);
        self.buffers[buffer.0 as usize].0 = true;
        buffer
    }

    /// Puts the address of byte `offset` of `target` at byte `at` of `table`.
    pub fn point(&mut self, table: Buffer, at: u64, target: Buffer, offset: u64) {
        self.pointers.push((table, at, target, offset));
    }

    pub fn launch(&mut self, kernel: &str, grid: [u32; 3], block: [u32; 3], arguments: &[Argument]) {
        self.launches.push(Launch { kernel: kernel.to_owned(), grid, block, arguments: arguments.to_vec() });
    }

    /// Kernels that it launches.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.launches.iter().map(|launch| launch.kernel.as_str())
    }

    fn encode(&self, seeds: &[u64], left_out: Option<&Site>) -> Vec<u8> {
        let mut to = Vec::new();
        let number = |to: &mut Vec<u8>, value: u32| to.extend(value.to_le_bytes());
        let count = |value: usize| u32::try_from(value).expect("few");
        let text = |to: &mut Vec<u8>, text: &str| {
            number(to, count(text.len()));
            to.extend(text.as_bytes());
        };
        text(&mut to, left_out.map_or("", |site| &site.file));
        number(&mut to, left_out.map_or(0, |site| site.line));
        number(&mut to, count(seeds.len()));
        seeds.iter().for_each(|seed| to.extend(seed.to_le_bytes()));
        number(&mut to, count(self.buffers.len()));
        for (wanted, bytes) in &self.buffers {
            to.push(u8::from(*wanted));
            to.extend((bytes.len() as u64).to_le_bytes());
            to.extend(bytes);
        }
        number(&mut to, count(self.pointers.len()));
        for (table, at, target, offset) in &self.pointers {
            number(&mut to, table.0);
            to.extend(at.to_le_bytes());
            number(&mut to, target.0);
            to.extend(offset.to_le_bytes());
        }
        number(&mut to, count(self.launches.len()));
        for Launch { kernel, grid, block, arguments } in &self.launches {
            text(&mut to, kernel);
            grid.iter().chain(block).for_each(|size| number(&mut to, *size));
            number(&mut to, count(arguments.len()));
            for argument in arguments {
                let value = |to: &mut Vec<u8>, bytes: &[u8]| {
                    to.push(0);
                    number(to, count(bytes.len()));
                    to.extend(bytes);
                };
                match argument {
                    Argument::Value(bytes, length) => value(&mut to, &bytes[..*length as usize]),
                    Argument::Null => value(&mut to, &[0; 8]),
                    Argument::At(buffer, offset) => {
                        to.push(1);
                        number(&mut to, buffer.0);
                        to.extend(offset.to_le_bytes());
                    }
                }
            }
        }
        to
    }

    /// Runs the job once for each seed. The answer: bytes for each seed, and the barriers and waits that threads came to; or what the shim
    /// or a sanitizer says.
    fn answer(&self, runner: &Runner, seeds: &[u64], left_out: Option<&Site>) -> Result<(Vec<Vec<u8>>, Vec<Site>), String> {
        let job = self.encode(seeds, left_out);
        let mut child = Command::new(&runner.program)
            .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=0")
            .env("UBSAN_OPTIONS", "print_stacktrace=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the runner starts");
        let mut to = child.stdin.take().expect("piped");
        // A runner that ends at once reads nothing more: what it says counts.
        let written = std::thread::spawn(move || to.write_all(&job).is_ok());
        let output = child.wait_with_output().expect("the runner ends");
        written.join().expect("writing does not panic");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}", output.status, first_words(&said)));
        }
        let wanted: usize = self.buffers.iter().filter(|(wanted, _)| *wanted).map(|(_, bytes)| bytes.len()).sum();
        let (results, sites) = output.stdout.split_at(wanted * seeds.len());
        let results = if wanted == 0 { vec![Vec::new(); seeds.len()] } else { results.chunks(wanted).map(<[u8]>::to_vec).collect() };
        Ok((results, read_sites(sites)))
    }

    /// Runs it under every seed and hands each result to `check`. An error says which seed.
    pub fn run(
        &self,
        runner: &Runner,
        left_out: Option<&Site>,
        check: impl Fn(&Outputs<'_>) -> Result<(), String>,
    ) -> Result<Vec<Site>, String> {
        let seeds: Vec<u64> = SEEDS.collect();
        let (results, sites) = self.answer(runner, &seeds, left_out)?;
        for (seed, bytes) in seeds.iter().zip(&results) {
            check(&Outputs { job: self, bytes }).map_err(|wrong| format!("seed {seed}: {wrong}"))?;
        }
        Ok(sites)
    }
}

/// The lines that say what is wrong.
fn first_words(said: &str) -> String {
    let telling = |line: &&str| {
        line.contains("shim:")
            || line.contains("ERROR:")
            || line.contains("runtime error")
            || line.contains("#0 ")
            || line.contains("runner:")
    };
    let lines: Vec<&str> = said.lines().filter(telling).take(3).map(str::trim).collect();
    if lines.is_empty() { said.chars().take(400).collect() } else { lines.join(" | ") }
}

fn read_sites(mut bytes: &[u8]) -> Vec<Site> {
    let number = |bytes: &mut &[u8]| {
        let (first, rest) = bytes.split_first_chunk::<4>().expect("the answer is whole");
        *bytes = rest;
        u32::from_le_bytes(*first) as usize
    };
    let count = number(&mut bytes);
    let mut sites = Vec::new();
    for _ in 0..count {
        let length = number(&mut bytes);
        let (text, rest) = bytes.split_at(length);
        bytes = rest;
        let text = String::from_utf8_lossy(text).into_owned();
        let (line, file) = text.split_once(' ').expect("line and file");
        sites.push(Site { file: file.to_owned(), line: line.parse().expect("a line") });
    }
    sites
}
