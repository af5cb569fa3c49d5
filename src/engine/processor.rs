//! What a processor is called, and which instructions for small numbers it has: what was measured on one says nothing of another. And its time.

/// This machine's, from the kernel.
pub fn processor() -> String {
    described(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn described(cpuinfo: &str) -> String {
    let field = |key: &str| {
        let (_, value) = cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key)?;
        Some(value.trim())
    };
    let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
    let known = ["avx2", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"];
    let has = known.into_iter().filter(|flag| flags.split_whitespace().any(|f| f == *flag));
    std::iter::once(field("model name").unwrap_or(std::env::consts::ARCH)).chain(has).collect::<Vec<_>>().join(" ")
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
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 9000\nflags\t\t: fpu avx2 sse avx512bw avx512_vnni\n";
        assert_eq!(described(text), "AMD EPYC 9000 avx2 avx512bw avx512_vnni");
        assert_eq!(described(""), std::env::consts::ARCH);
    }
}
