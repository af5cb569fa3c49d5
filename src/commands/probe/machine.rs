//! What the machine has: cameras, decoders, processor, GPU, ONNX Runtime.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Everything `placard probe` knows without opening a source.
#[derive(Serialize)]
pub struct Machine {
    cameras: Vec<Camera>,
    /// Unset in a build without GStreamer, or where it does not start.
    gstreamer: Option<Gstreamer>,
    processor: Processor,
    gpus: Vec<Gpu>,
    onnxruntime: OnnxRuntime,
}

#[derive(Serialize)]
struct Camera {
    device: PathBuf,
    name: String,
}

#[derive(Serialize)]
struct Gstreamer {
    version: String,
    #[cfg(feature = "gst")]
    decoders: Vec<crate::ingest::gstreamer::decoders::Decoder>,
}

#[derive(Serialize)]
struct Processor {
    model: String,
    cores: usize,
    avx2: bool,
    avx512: bool,
    vnni: bool,
}

#[derive(Serialize)]
struct Gpu {
    device: PathBuf,
    model: Option<String>,
}

#[derive(Serialize)]
struct OnnxRuntime {
    path: PathBuf,
    found: bool,
}

impl Machine {
    pub fn inspect() -> Self {
        let path = crate::engine::onnxruntime::library_path(None);
        let found = path.is_file();
        Self {
            cameras: cameras(Path::new("/sys/class/video4linux")),
            gstreamer: gstreamer(),
            processor: processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            gpus: gpus(Path::new("/dev"), Path::new("/proc/driver/nvidia/gpus")),
            onnxruntime: OnnxRuntime { path, found },
        }
    }

    /// The processor in a few words: what a figure was measured on.
    pub fn line() -> String {
        let cpu = processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
        format!("{}, {} cores", cpu.model, cpu.cores)
    }

    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let yes = |has: bool, name: &str| if has { format!(" {name}") } else { String::new() };
        let cpu = &self.processor;
        let features = [yes(cpu.avx2, "avx2"), yes(cpu.avx512, "avx512"), yes(cpu.vnni, "vnni")].concat();
        writeln!(
            out,
            "processor    {}, {} cores,{}",
            cpu.model,
            cpu.cores,
            if features.is_empty() { " no vector units" } else { &features }
        )?;
        if self.gpus.is_empty() {
            writeln!(out, "GPU          none")?;
        }
        for gpu in &self.gpus {
            writeln!(out, "GPU          {} ({})", gpu.model.as_deref().unwrap_or("NVIDIA"), gpu.device.display())?;
        }
        let state = if self.onnxruntime.found { "" } else { " (not found: run `make deps`)" };
        writeln!(out, "ONNX Runtime {}{state}", self.onnxruntime.path.display())?;
        if self.cameras.is_empty() {
            writeln!(out, "cameras      none (V4L2)")?;
        }
        for camera in &self.cameras {
            writeln!(out, "camera       v4l2:{}  {}", camera.device.display(), camera.name)?;
        }
        let Some(gstreamer) = &self.gstreamer else { return writeln!(out, "GStreamer    not in this build, or it does not start") };
        writeln!(out, "GStreamer    {}", gstreamer.version)?;
        #[cfg(feature = "gst")]
        for decoder in &gstreamer.decoders {
            let hardware = if decoder.hardware { ", hardware" } else { "" };
            writeln!(out, "decoder      {:<6} {:<16} rank {:>3}{hardware}", decoder.codec, decoder.element, decoder.rank)?;
        }
        Ok(())
    }
}

#[cfg(feature = "gst")]
fn gstreamer() -> Option<Gstreamer> {
    use crate::ingest::gstreamer;
    gstreamer::init("probe").ok()?;
    Some(Gstreamer { version: gstreamer::version(), decoders: gstreamer::decoders::installed() })
}

#[cfg(not(feature = "gst"))]
fn gstreamer() -> Option<Gstreamer> {
    None
}

/// `sysfs`: one directory per device node, its name in `name`.
fn cameras(sysfs: &Path) -> Vec<Camera> {
    let mut found: Vec<Camera> = std::fs::read_dir(sysfs)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("video"))
        .map(|entry| {
            let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default().trim().to_owned();
            Camera { device: Path::new("/dev").join(entry.file_name()), name }
        })
        .collect();
    found.sort_by(|a, b| a.device.as_os_str().len().cmp(&b.device.as_os_str().len()).then_with(|| a.device.cmp(&b.device)));
    found
}

fn processor(cpuinfo: &str) -> Processor {
    let field = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let flags = field("flags").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|f| f == flag);
    Processor {
        model: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        avx2: has("avx2"),
        avx512: has("avx512f") && has("avx512bw"),
        vnni: has("avx512_vnni") || has("avx_vnni"),
    }
}

/// NVIDIA device nodes, with the models that the driver names.
fn gpus(dev: &Path, driver: &Path) -> Vec<Gpu> {
    let mut models: Vec<(String, String)> = std::fs::read_dir(driver)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path().join("information")).ok()?;
            let field = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).map(|v| v.trim().to_owned());
            Some((field("Device Minor:")?, field("Model:")?))
        })
        .collect();
    models.sort();
    let mut found: Vec<Gpu> = std::fs::read_dir(dev)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let minor = name.strip_prefix("nvidia").filter(|m| !m.is_empty() && m.bytes().all(|b| b.is_ascii_digit()))?;
            let model = models.iter().find(|(m, _)| m == minor).map(|(_, model)| model.clone());
            Some(Gpu { device: entry.path(), model })
        })
        .collect();
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_described_by_its_flags() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: fpu avx2 avx512f avx512bw avx512_vnni\n";
        let cpu = processor(text);
        assert_eq!((cpu.model.as_str(), cpu.avx2, cpu.avx512, cpu.vnni), ("Some CPU @ 2.00GHz", true, true, true));
        let plain = processor("processor : 0\n");
        assert!(!plain.avx2 && !plain.avx512 && !plain.vnni && plain.cores >= 1);
    }

    #[test]
    fn cameras_and_gpus_are_found_by_their_nodes() {
        let root = tempfile::tempdir().expect("temporary directory");
        for (path, contents) in [
            ("v4l/video10/name", "Tenth\n"),
            ("v4l/video2/name", "Second\n"),
            ("v4l/v4l-subdev0/name", "no camera\n"),
            ("gpus/0000:01:00.0/information", "Model: \t\t NVIDIA Example\nDevice Minor: \t 0\n"),
            ("dev/nvidia0", ""),
            ("dev/nvidiactl", ""),
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, contents).expect("write");
        }
        let names: Vec<String> = cameras(&root.path().join("v4l")).into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["Second", "Tenth"]);
        let gpus = gpus(&root.path().join("dev"), &root.path().join("gpus"));
        assert_eq!(gpus.len(), 1);
        assert_eq!(gpus[0].model.as_deref(), Some("NVIDIA Example"));
    }
}
