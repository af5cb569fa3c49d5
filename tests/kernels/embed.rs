//! `kernels/embed/best_shots.cu` against the processor's normalised mean.

use placard::embedding::twin::mean;

use crate::battery::{Case, Draw, prove};
use crate::job::{Job, Outputs, bytes};

/// `tracks`: the shots of each.
fn case(name: &str, dim: usize, tracks: &[Vec<Vec<f32>>], threads: u32) -> Case {
    let mut job = Job::default();
    let shots: Vec<f32> = tracks.iter().flatten().flatten().copied().collect();
    let mut starts = vec![0_u32];
    for shots in tracks {
        starts.push(starts[starts.len() - 1] + u32::try_from(shots.len()).expect("few"));
    }
    let values = job.input(bytes(&shots, f32::to_le_bytes));
    let starts = job.input(bytes(&starts, u32::to_le_bytes));
    let out = job.output(vec![0xcd; 4 * dim * tracks.len()]);
    let sound = job.output(vec![0xcd; 4 * tracks.len()]);
    let (count, width) = (u32::try_from(tracks.len()).expect("few"), u32::try_from(dim).expect("small"));
    job.launch("embed_best_shots", [count, 1, 1], [threads, 1, 1], &[values.into(), starts.into(), out.into(), sound.into(), width.into()]);
    let expected: Vec<Option<Vec<f32>>> =
        tracks.iter().map(|shots| mean(&shots.iter().map(Vec::as_slice).collect::<Vec<_>>()).ok()).collect();
    let check = move |outputs: &Outputs<'_>| {
        let (got, sound) = (outputs.f32s(out), outputs.u32s(sound));
        for (track, expected) in expected.iter().enumerate() {
            if sound[track] != u32::from(expected.is_some()) {
                return Err(format!("track {track}: sound {} instead of {}", sound[track], expected.is_some()));
            }
            for (i, got) in got[track * dim..][..dim].iter().enumerate() {
                let want = expected.as_ref().map_or(0.0, |mean| mean[i]);
                // One unit in the last place.
                if !(*got == want || *got == want.next_up() || *got == want.next_down()) {
                    return Err(format!("track {track}, value {i}: {got} instead of {want}"));
                }
            }
        }
        Ok(())
    };
    Case { name: name.to_owned(), job, check: Box::new(check) }
}

pub fn cases() -> Vec<Case> {
    let mut draw = Draw(43);
    let mut shots = |dim: usize, count: usize| (0..count).map(|_| draw.direction(dim)).collect::<Vec<_>>();
    let mut cases = Vec::new();
    for (dim, threads) in [(1, 32), (64, 32), (127, 64), (512, 128), (513, 512), (4_096, 1_024)] {
        let tracks = [shots(dim, 1), shots(dim, 5), Vec::new(), shots(dim, 2)];
        cases.push(case(&format!("{dim} values, {threads} threads"), dim, &tracks, threads));
    }
    let [plain, mut broken, mut endless] = [0, 1, 2].map(|_| shots(100, 3));
    (broken[1][99], endless[0][0]) = (f32::NAN, f32::NEG_INFINITY);
    let opposite: Vec<Vec<f32>> = vec![plain[0].clone(), plain[0].iter().map(|v| -v).collect()];
    let large = vec![vec![3e38; 100], vec![3e38; 100]];
    let raw = vec![plain[0].iter().map(|v| 1e25 * v).collect::<Vec<f32>>()];
    let tiny = vec![plain[0].iter().map(|v| 1e-7 * v).collect::<Vec<f32>>()];
    cases.push(case("what is no direction", 100, &[broken, endless, opposite, large, raw, tiny, plain], 64));
    cases
}

#[test]
fn the_device_takes_the_mean_that_the_processor_takes() {
    prove(&cases());
}
