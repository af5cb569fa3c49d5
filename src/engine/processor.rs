//! What a processor is called, and which instructions for small numbers it has: what was measured on one says nothing of another. And its time.
//!
//! The processor itself is asked, not the kernel's `/proc/cpuinfo`: a service that sees no processes but its own (`ProcSubset=pid`) has none.

/// This machine's.
pub fn processor() -> String {
    described(name().as_deref(), &instructions())
}

fn described(name: Option<&str>, has: &[&str]) -> String {
    let name = name.filter(|name| !name.is_empty()).unwrap_or(std::env::consts::ARCH);
    std::iter::once(name).chain(has.iter().copied()).collect::<Vec<_>>().join(" ")
}

/// Those that the executors and the runtime use for 8 bits, as far as the kernel lets programs use them.
#[cfg(target_arch = "x86_64")]
fn instructions() -> Vec<&'static str> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // Leaf 7 says in bit 25 of edx whether there are tiles of bytes; the library has no stable word for it.
    let has_tiles = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx >> 25 & 1 == 1;
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512_vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx_vnni", is_x86_feature_detected!("avxvnni")),
        ("amx_int8", has_tiles),
    ];
    all.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn instructions() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected;
    let all = [("asimddp", is_aarch64_feature_detected!("dotprod")), ("i8mm", is_aarch64_feature_detected!("i8mm"))];
    all.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions() -> Vec<&'static str> {
    Vec::new()
}

/// The brand string: 48 bytes in leaves 8000_0002 to 8000_0004, filled up with zeros (Intel SDM 3, CPUID).
#[cfg(target_arch = "x86_64")]
fn name() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    const FIRST: u32 = 0x8000_0002;
    if __cpuid(0x8000_0000).eax < FIRST + 2 {
        return None;
    }
    let leaves = [FIRST, FIRST + 1, FIRST + 2].map(__cpuid);
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]).flat_map(u32::to_le_bytes).collect();
    let text = String::from_utf8_lossy(&bytes);
    Some(text.split('\0').next().unwrap_or_default().trim().to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn name() -> Option<String> {
    None
}

/// CPU time of the calling thread, ns.
pub fn spent_ns() -> i64 {
    let id = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    id.now().map_or(0, |t| t.tv_sec().saturating_mul(1_000_000_000).saturating_add(t.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_its_name_and_what_counts_for_int8() {
        assert_eq!(described(Some("AMD EPYC 9000"), &["avx2", "avx512_vnni"]), "AMD EPYC 9000 avx2 avx512_vnni");
        assert_eq!(described(None, &[]), std::env::consts::ARCH);
        assert_eq!(described(Some(""), &["i8mm"]), format!("{} i8mm", std::env::consts::ARCH));
    }

    /// Tables that were measured before are described by what the kernel says.
    #[test]
    fn the_processor_says_of_itself_what_the_kernel_says_of_it() {
        let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") else { return };
        let field = |key: &str| {
            let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key)?;
            Some(value.trim())
        };
        if let Some(said) = name() {
            assert_eq!(Some(&*said), field("model name"));
        }
        let flags: Vec<&str> = field("flags").or_else(|| field("Features")).unwrap_or_default().split_whitespace().collect();
        assert!(instructions().iter().all(|instruction| flags.contains(instruction)), "{:?} of {flags:?}", instructions());
    }
}
